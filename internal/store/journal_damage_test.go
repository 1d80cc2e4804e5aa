package store

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
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
)

func journalIn(t *testing.T, path string) (*journal, *atomic.Int64) {
	t.Helper()
	var everywhere atomic.Int64
	j, err := openJournal(path, slog.New(slog.NewTextHandler(testLog{t}, nil)), &everywhere, func(record) {})
	if err != nil {
		t.Fatal(err)
	}
	return j, &everywhere
}

// nameOf is which record of a test it is.
func nameOf(r record) string {
	if r.Activation != nil {
		return fmt.Sprint(r.Activation.RequestID.Counter)
	}
	return r.Forwarded.AlertID
}

// playAll takes all records of a journal, as if a store played them.
func playAll(t *testing.T, j *journal, rnd *rand.Rand) (names []string) {
	t.Helper()
	for j.pending.Load() > 0 {
		d, err := j.next(1 + rnd.IntN(5))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range d.list {
			names = append(names, nameOf(r))
		}
		j.done(&d)
	}
	return names
}

func noteNo(n int) record {
	return record{Forwarded: new(noted(n, fmt.Sprint(n), t0, outage.ReasonStoreUnavailable))}
}

// Of a file of records with damaged lines, all that are whole are played, in order.
// Bytes are damaged at random, ends of lines too; the end may be torn.
func TestJournalDamaged(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 14))
		path := filepath.Join(t.TempDir(), "pending")
		n := 1 + rnd.IntN(30)
		var lines [][]byte
		for i := range n {
			r := noteNo(i)
			if rnd.IntN(3) == 0 {
				r = record{Activation: new(onDemand(i, uint64(i), t0))}
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
			// Without its end a line is whole still.
			if lines[i][at] != was && at < len(lines[i])-1 {
				whole[i] = false
			}
		}
		damaged := slices.Concat(lines...)
		if rnd.IntN(2) == 0 {
			torn := lineOf(t, noteNo(n))
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
		j, _ := journalIn(t, path)
		j.append(t.Context(), noteNo(n+1))
		got := playAll(t, j, rnd)
		j.close()
		if want = append(want, fmt.Sprint(n+1)); !slices.Equal(got, want) {
			t.Fatalf("seed %d: played %v, want %v of\n%q", seed, got, want, damaged)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != 0 {
			t.Fatalf("seed %d: it was not emptied: %v", seed, err)
		}
	}
}

func lineOf(t *testing.T, r record) []byte {
	t.Helper()
	j := &journal{line: []*appended{{record: r}}}
	text, _ := j.lines()
	return text
}

// One damaged line loses no other, and is there to be looked at.
func TestDamagedRecordIsSetAside(t *testing.T) {
	dir := t.TempDir()
	var text []byte
	for n := range 9 {
		line := lineOf(t, noteNo(n))
		if n == 1 {
			line[20] ^= 1
		}
		text = append(text, line...)
	}
	if err := os.WriteFile(filepath.Join(dir, "pending"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir)
	eventually(t, "played", func() bool { return s.Pending() == 0 })
	for n := range 9 {
		list, err := s.ForwardedAlerts(t.Context(), Find{AlertID: fmt.Sprint(n)}, 10)
		if err != nil || len(list) == 0 != (n == 1) {
			t.Errorf("record %d: %v %v", n, list, err)
		}
	}
	aside, err := os.ReadFile(filepath.Join(dir, "pending.damaged"))
	if err != nil || bytes.Count(aside, []byte("\n")) != 1 || !bytes.Contains(text, aside) {
		t.Errorf("set aside: %q %v", aside, err)
	}
}

// Whether the file can be written or not, and then can again, records are played in
// the order in which they arose, and what was in memory only gets to the file.
func TestJournalKeepsOrder(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 15))
		j, _ := journalIn(t, filepath.Join(t.TempDir(), "pending"))
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
			j.append(t.Context(), noteNo(n))
			want = append(want, fmt.Sprint(n))
		}
		j.mu.Lock()
		j.file = good
		j.mu.Unlock()
		if seed%2 == 0 {
			eventually(t, "what could not be written is", func() bool {
				j.lineMu.Lock()
				defer j.lineMu.Unlock()
				return len(j.line) == 0
			})
		}
		if got := playAll(t, j, rnd); !slices.Equal(got, want) {
			t.Fatalf("seed %d: played %v", seed, got)
		}
		j.close()
	}
}

// A record that has no form in the file is not lost, nor is any other.
func TestJournalRecordUnwritable(t *testing.T) {
	s := openIn(t, t.TempDir())
	release := holdWriteLock(t, s.opts.Dir)
	late := futureDated(1, 1, t0, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)) // its end is in the year 10000
	s.Remember(t.Context(), noted(1, "a", t0, outage.ReasonStoreUnavailable))
	s.remember(t.Context(), record{Activation: &late})
	s.Remember(t.Context(), noted(1, "b", t0, outage.ReasonStoreUnavailable))
	if s.Pending() != 3 {
		t.Errorf("%d records", s.Pending())
	}
	release()
	eventually(t, "played", func() bool { return s.Pending() == 0 })
	if list, err := s.Activations(t.Context(), Find{CHF: hub(1)}, 10); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	if list, err := s.ForwardedAlerts(t.Context(), Find{CHF: hub(1)}, 10); err != nil || len(list) != 2 {
		t.Error(list, err)
	}
}

// badDisk cannot be read in a stretch.
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

// Where a part of the file cannot be read, the rest is played.
func TestJournalUnreadable(t *testing.T) {
	var text []byte
	var begins []int
	for n := range 40 {
		begins = append(begins, len(text))
		text = append(text, lineOf(t, noteNo(n))...)
	}
	bad := &badDisk{bytes.NewReader(text), 2 * sector, 2*sector + 10}
	var got, want []string
	_, err := readLines(&sturdy{bad}, 0, int64(len(text)), -1, func(_ []byte, list []record, _ bool) {
		for _, r := range list {
			got = append(got, nameOf(r))
		}
	})
	for n, begin := range begins {
		if end := begin + len(lineOf(t, noteNo(n))) - 1; end <= 2*sector || begin >= 3*sector {
			want = append(want, fmt.Sprint(n))
		}
	}
	if err != nil || !slices.Equal(got, want) || len(want) < 30 {
		t.Errorf("read %v, want %v, %v", got, want, err)
	}
	if _, err := readLines(bad, 0, int64(len(text)), -1, func([]byte, []record, bool) {}); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("without that: %v", err)
	}
}

// An activation whose hub is not known makes any hub one that may have a window no
// longer than it is in the journal: not if it is dropped, refused or damaged.
func TestUnresolvedIsTakenBack(t *testing.T) {
	unresolved := record{Activation: new(onDemand(1, 1, t0)), Unresolved: true}
	rnd := rand.New(rand.NewPCG(1, 1))
	t.Run("dropped", func(t *testing.T) {
		j, everywhere := journalIn(t, filepath.Join(t.TempDir(), "pending"))
		j.mu.Lock() // as a write has it that does not end
		for n := range maxHeld {
			j.queue(&appended{record: noteNo(n)})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		j.append(ctx, unresolved)
		j.mu.Unlock()
		if j.dropped != 1 || everywhere.Load() != 0 {
			t.Errorf("%d dropped, %d unresolved", j.dropped, everywhere.Load())
		}
		j.close()
	})
	t.Run("damaged", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "pending")
		j, everywhere := journalIn(t, path)
		j.append(t.Context(), unresolved)
		if everywhere.Load() != 1 {
			t.Error("it does not count")
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte("?"), 30)
		f.Close()
		if got := playAll(t, j, rnd); len(got) != 0 || everywhere.Load() != 0 {
			t.Errorf("%v, %d unresolved", got, everywhere.Load())
		}
		j.close()
	})
	t.Run("refused", func(t *testing.T) {
		s := openIn(t, t.TempDir())
		refuse := `CREATE TRIGGER refuse BEFORE INSERT ON activation BEGIN SELECT RAISE(FAIL, 'refused'); END`
		if onPostgres() {
			refuse = `ALTER TABLE activation ADD CHECK (form = 'none')`
		}
		script(t, s, refuse)
		s.RecordUnresolved(t.Context(), onDemand(1, 1, t0), nil)
		eventually(t, "set aside", func() bool { return s.Pending() == 0 })
		if s.MayHold(hub(9)) {
			t.Error("every hub may have a window")
		}
	})
}

// While the journal cannot be written the store says so, and how much would be lost.
func TestJournalInMemoryIsSaid(t *testing.T) {
	s := openIn(t, t.TempDir())
	free := holdCommitter(t, s)
	defer free()
	closed, err := os.Create(filepath.Join(t.TempDir(), "closed"))
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	swap := func(f *os.File) (was *os.File) {
		s.journal.mu.Lock()
		defer s.journal.mu.Unlock()
		was, s.journal.file = s.journal.file, f
		return was
	}
	good := swap(closed)
	for n := range 3 {
		s.Remember(t.Context(), noted(1, fmt.Sprint(n), t0, outage.ReasonStoreUnavailable))
	}
	if held, lost := s.JournalInMemory(); held != 3 || lost != 0 {
		t.Errorf("%d in memory, %d lost", held, lost)
	}
	if text := strings.Join(s.Conditions(), "\n"); !strings.Contains(text, "the journal cannot be written: 3 records are in memory only") {
		t.Errorf("it says %q", text)
	}
	swap(good)
	eventually(t, "they are written", func() bool { held, _ := s.JournalInMemory(); return held == 0 })
	if text := strings.Join(s.Conditions(), "\n"); strings.Contains(text, "cannot be written") {
		t.Errorf("it still says %q", text)
	}
}
