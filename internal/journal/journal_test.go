package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// note is a record of these tests.
type note struct {
	Name string    `json:"name"`
	Text string    `json:"text,omitempty"`
	At   time.Time `json:"at,omitzero"`
	Mark bool      `json:"mark,omitempty"`
}

func numbered(n int) note { return note{Name: fmt.Sprint(n), Text: strings.Repeat("x", 60)} }

func openJournal(t *testing.T, path string) *Journal[note] {
	t.Helper()
	j, err := Open(Options[note]{Path: path, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Marked: func(n note) bool { return n.Mark }})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// playAll plays all records of a journal, as if into a database.
func playAll(t *testing.T, j *Journal[note], rnd *rand.Rand) (names []string) {
	t.Helper()
	for j.Pending() > 0 {
		d, err := j.Next(1 + rnd.IntN(5))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range d.Records {
			names = append(names, r.Name)
		}
		j.Done(&d)
	}
	return names
}

// eventually waits until a condition holds that another goroutine changes.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Of a file with damaged lines, all whole records are played, in order. Bytes are damaged
// at random, newlines too. The last line may be incomplete.
func TestJournalDamaged(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 14))
		path := filepath.Join(t.TempDir(), "pending")
		n := 1 + rnd.IntN(30)
		var lines [][]byte
		for i := range n {
			r := numbered(i)
			if rnd.IntN(3) == 0 {
				r.Text = strings.Repeat("{\"y\": 1} ", i)
			}
			lines = append(lines, lineOf(t, r))
		}
		whole := make([]bool, n)
		for i := range whole {
			whole[i] = true
		}
		for range rnd.IntN(n + 1) {
			i := rnd.IntN(n)
			at := rnd.IntN(len(lines[i]))
			was := lines[i][at]
			lines[i][at] = byte(rnd.IntN(256))
			// Without its newline, a line is still whole.
			if lines[i][at] != was && at < len(lines[i])-1 {
				whole[i] = false
			}
		}
		damaged := slices.Concat(lines...)
		if rnd.IntN(2) == 0 {
			torn := lineOf(t, numbered(n))
			damaged = append(damaged, torn[:rnd.IntN(len(torn)-2)]...)
		}
		var want []string
		for i, ok := range whole {
			if ok {
				want = append(want, fmt.Sprint(i))
			}
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		j := openJournal(t, path)
		j.Append(t.Context(), numbered(n+1))
		got := playAll(t, j, rnd)
		j.Close()
		if want = append(want, fmt.Sprint(n+1)); !slices.Equal(got, want) {
			t.Fatalf("seed %d: played %v, want %v of\n%q", seed, got, want, damaged)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != 0 {
			t.Fatalf("seed %d: the file was not emptied: %v", seed, err)
		}
	}
}

func lineOf(t *testing.T, r note) []byte {
	t.Helper()
	j := &Journal[note]{queue: []*queued[note]{{record: r}}}
	text, _ := j.nextLines()
	return text
}

// Whether the file can be written or not, and when it can be written again, records are
// played in the order in which they were appended, and records in memory get to the file.
func TestJournalKeepsOrder(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 15))
		j := openJournal(t, filepath.Join(t.TempDir(), "pending"))
		good := j.file
		closed, err := os.Create(filepath.Join(t.TempDir(), "closed"))
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		var want []string
		works := true
		for n := range 40 {
			if rnd.IntN(4) == 0 {
				works = !works
				j.mu.Lock()
				if j.file = closed; works {
					j.file = good
				}
				j.mu.Unlock()
			}
			j.Append(t.Context(), numbered(n))
			want = append(want, fmt.Sprint(n))
		}
		j.mu.Lock()
		j.file = good
		j.mu.Unlock()
		if seed%2 == 0 {
			eventually(t, "the queue is written", func() bool {
				j.queueMu.Lock()
				defer j.queueMu.Unlock()
				return len(j.queue) == 0
			})
		}
		if got := playAll(t, j, rnd); !slices.Equal(got, want) {
			t.Fatalf("seed %d: played %v, want %v", seed, got, want)
		}
		j.Close()
	}
}

// badDisk cannot be read between two offsets.
type badDisk struct {
	*bytes.Reader
	from, to int64
}

func (b *badDisk) ReadAt(p []byte, off int64) (int, error) {
	if off < b.to && off+int64(len(p)) > b.from {
		return 0, errors.New("input/output error")
	}
	return b.Reader.ReadAt(p, off)
}

// If a part of the file cannot be read, the rest is played.
func TestJournalUnreadable(t *testing.T) {
	var text []byte
	var begins []int
	for n := range 40 {
		begins = append(begins, len(text))
		text = append(text, lineOf(t, numbered(n))...)
	}
	bad := &badDisk{bytes.NewReader(text), 2 * sector, 2*sector + 10}
	var got, want []string
	_, err := readLines(&zeroUnreadable{bad}, 0, int64(len(text)), -1, func(_ []byte, list []note, _ bool) {
		for _, r := range list {
			got = append(got, r.Name)
		}
	})
	for n, begin := range begins {
		if end := begin + len(lineOf(t, numbered(n))) - 1; end <= 2*sector || begin >= 3*sector {
			want = append(want, fmt.Sprint(n))
		}
	}
	if err != nil || !slices.Equal(got, want) || len(want) < 30 {
		t.Errorf("read %v, want %v, %v", got, want, err)
	}
	if _, err := readLines(bad, 0, int64(len(text)), -1, func([]byte, []note, bool) {}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("without zeroUnreadable: %v", err)
	}

	// The reader of the journal is told of it some times, and then gets the rest.
	path := filepath.Join(t.TempDir(), "pending")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := Open(Options[note]{Path: path, Log: slog.New(slog.DiscardHandler), OpenFile: func(path string) (File, error) {
		f, err := os.OpenFile(path, os.O_RDWR, 0o600)
		return &badFile{f, bad}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	got = nil
	for failed := 0; j.Pending() > 0; {
		d, err := j.Next(len(begins))
		if err != nil {
			if failed++; failed > 2*maxReadTries {
				t.Fatalf("it is never passed over: %v", err)
			}
			continue
		}
		for _, r := range d.Records {
			got = append(got, r.Name)
		}
		j.Done(&d)
	}
	if !slices.Equal(got, want) {
		t.Errorf("played %v, want %v", got, want)
	}
}

// badFile is a file on a badDisk.
type badFile struct {
	*os.File
	disk *badDisk
}

func (f *badFile) ReadAt(p []byte, off int64) (int, error) { return f.disk.ReadAt(p, off) }

// A marked record counts only while it is in the journal: not if it is dropped or damaged.
func TestMarked(t *testing.T) {
	marked := note{Name: "marked", Text: strings.Repeat("x", 60), Mark: true}
	rnd := rand.New(rand.NewPCG(1, 1))
	t.Run("dropped", func(t *testing.T) {
		j := openJournal(t, filepath.Join(t.TempDir(), "pending"))
		j.mu.Lock() // as in a write that hangs
		for n := range maxHeld {
			j.enqueue(&queued[note]{record: numbered(n)})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		j.Append(ctx, marked)
		j.mu.Unlock()
		if j.dropped != 1 || j.Marked() != 0 {
			t.Errorf("%d dropped, want 1; %d marked, want 0", j.dropped, j.Marked())
		}
		j.Close()
	})
	t.Run("damaged", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pending")
		j := openJournal(t, path)
		j.Append(t.Context(), marked)
		if j.Marked() != 1 {
			t.Error("the marked record does not count")
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte("?"), 30)
		f.Close()
		if got := playAll(t, j, rnd); len(got) != 0 || j.Marked() != 0 {
			t.Errorf("played %v, %d marked, want none", got, j.Marked())
		}
		j.Close()
	})
}
