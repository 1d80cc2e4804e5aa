package journal

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// disk is a file whose changes are only durable after Sync.
type disk struct {
	mu          sync.Mutex // guards what follows
	is, durable []byte
}

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.NewReader(d.is).ReadAt(p, off)
}

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off > int64(len(d.is)) {
		return 0, io.ErrShortWrite // a gap
	}
	d.is = append(d.is[:off:off], p...)
	return len(p), nil
}

func (d *disk) Truncate(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.is = d.is[:size:size]
	return nil
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.durable = d.is
	return nil
}

func (d *disk) Close() error { return nil }

// sized is what a journal asks of a FileInfo.
type sized struct {
	os.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }

func (d *disk) Stat() (os.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sized{size: int64(len(d.is))}, nil
}

// unsynced reports whether a power cut would undo a change.
func (d *disk) unsynced() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !bytes.Equal(d.is, d.durable)
}

// cut returns what is left of the file after a power cut: what is durable, and sometimes a part
// of a record that was being written.
func (d *disk) cut(t *testing.T, rnd *rand.Rand) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := bytes.Clone(d.durable)
	if torn := lineOf(t, numbered(-1)); rnd.IntN(2) == 0 {
		left = append(left, torn[:rnd.IntN(len(torn)-2)]...)
	}
	return &disk{is: left, durable: left}
}

// The power fails at random moments. The next start finds each record for which Append or Keep
// has returned, in order, and counts those that are marked. Records that were played before
// the journal was emptied do not come back.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 16))
		d := &disk{}
		path := filepath.Join(t.TempDir(), "pending")
		var j *Journal[note]
		var held []note // records since the journal was empty
		open := func() (found []note) {
			t.Helper()
			var err error
			j, err = Open(Options[note]{Path: path, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), OpenFile: func(string) (File, error) { return d, nil },
				Found: func(n note) { found = append(found, n) }, Marked: func(n note) bool { return n.Mark }})
			if err != nil {
				t.Fatal(err)
			}
			if d.unsynced() {
				t.Fatalf("seed %d: the repairs of the start are not durable", seed)
			}
			return found
		}
		open()
		played := 0 // of those that are held
		for n := range 60 {
			some := []note{numbered(n)}
			some[0].Mark = rnd.IntN(3) == 0
			switch rnd.IntN(6) {
			case 0, 1:
				j.Append(t.Context(), some[0])
				held = append(held, some...)
			case 2:
				some = append(some, note{Name: fmt.Sprint(n, " too")})
				j.Keep(some...)
				held = append(held, some...)
			case 3, 4:
				due, err := j.Next(1 + rnd.IntN(4))
				if err != nil {
					t.Fatal(err)
				}
				played += len(due.Records)
				j.Done(&due)
				if played == len(held) {
					held, played = nil, 0
				}
				if j.Pending() == 0 && d.unsynced() {
					t.Fatalf("seed %d: step %d: the journal is empty, but what was in it comes back", seed, n)
				}
			default:
				left := d.cut(t, rnd)
				j.Close()
				d = left
				if found := open(); !slices.Equal(found, held) {
					t.Fatalf("seed %d: step %d: after a power cut there is %v, want %v", seed, n, found, held)
				}
				played = 0 // all are played again
			}
			marked := 0
			for _, r := range held[played:] {
				if r.Mark {
					marked++
				}
			}
			if j.Pending() != len(held)-played || j.Marked() != marked {
				t.Fatalf("seed %d: step %d: %d records, %d marked; want %d, %d", seed, n, j.Pending(), j.Marked(), len(held)-played, marked)
			}
		}
		j.Close()
	}
}

// A journal is only opened if its folder can be synced: a new file may not be in it for good.
func TestFolderIsSynced(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	j, err := Open(Options[note]{Path: filepath.Join(gone, "pending"), Log: slog.New(slog.DiscardHandler), OpenFile: func(string) (File, error) { return &disk{}, nil }})
	if err == nil {
		j.Close()
		t.Error("the folder is not there, and the journal was opened")
	}
}
