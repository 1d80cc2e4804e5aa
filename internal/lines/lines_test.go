package lines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// changes collects the calls of changed.
type changes struct {
	mu   sync.Mutex
	text []string
}

func (o *changes) changed(err error, lost uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, fmt.Sprintf("%v, %d lost", err, lost))
}

func (o *changes) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.text, "; ")
}

// Lines of many writers arrive whole. Those of each writer are in order, and none is
// lost.
// rest is that of the audit trail.
const rest = 20 * time.Millisecond

func TestOrder(t *testing.T) {
	var out bytes.Buffer
	var o changes
	q := New(&out, 1<<20, rest, o.changed)
	const writers, each = 8, 1000
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				if _, err := fmt.Fprintf(q, "%d %d\n", w, n); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := q.Close(time.Minute); err != nil {
		t.Error(err)
	}
	var next [writers]int
	for line := range strings.Lines(out.String()) {
		var w, n int
		if _, err := fmt.Sscanf(line, "%d %d\n", &w, &n); err != nil || n != next[w] {
			t.Fatalf("line %q, want number %d", line, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("%d lines of writer %d", n, w)
		}
	}
	if q.Trouble() != "" || q.Dropped() != 0 || o.String() != "" {
		t.Errorf("trouble %q, changes %q", q.Trouble(), &o)
	}
	if _, err := q.Write([]byte("late\n")); !errors.Is(err, ErrFull) {
		t.Errorf("a line after the end: %v", err)
	}
}

// A real pipe that nobody reads: no write waits, lines that do not fit are counted,
// and what was taken is read later, in order. Close gives up in time.
func TestHangs(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.Fd() // makes it block, as standard error does
	var o changes
	const limit = 200_000
	q := New(w, limit, rest, o.changed)
	taken, lines := 0, 0
	for n := range 10_000 {
		line := fmt.Sprintf("%d %s\n", n, strings.Repeat("x", 100))
		if _, err := io.WriteString(q, line); err == nil {
			taken += len(line)
			lines++
		}
	}
	if q.Dropped() != uint64(10_000-lines) || taken < limit/2 || taken > limit+1<<17 {
		t.Errorf("%d bytes taken, %d lines dropped", taken, q.Dropped())
	}
	if got := q.Trouble(); !strings.Contains(got, fmt.Sprintf("%d lines were dropped", 10_000-lines)) {
		t.Errorf("trouble: %q", got)
	}
	if got := o.String(); got != ErrFull.Error()+", 0 lost" {
		t.Errorf("changes %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := q.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush: %v", err)
	}
	if err := q.Close(10 * time.Millisecond); err == nil {
		t.Error("closed, although it hangs")
	}
	got := make(chan string)
	go func() { b, _ := io.ReadAll(r); got <- string(b) }()
	<-q.done
	w.Close()
	last := -1
	read := <-got
	for line := range strings.Lines(read) {
		var n int
		if _, err := fmt.Sscanf(line, "%d x", &n); err != nil || n <= last || !strings.HasSuffix(line, "x\n") {
			t.Fatalf("after %d comes %q", last, line)
		}
		last = n
	}
	if len(read) != taken {
		t.Errorf("%d bytes read, %d taken", len(read), taken)
	}
	if got := o.String(); got != fmt.Sprintf("%v, 0 lost; <nil>, %d lost", ErrFull, 10_000-lines) {
		t.Errorf("changes %q", got)
	}
}

// script is a writer that does what each call says.
type script struct {
	out   bytes.Buffer
	steps []func(p []byte) (int, error)
}

func (s *script) Write(p []byte) (int, error) {
	if len(s.steps) > 0 {
		step := s.steps[0]
		s.steps = s.steps[1:]
		n, err := step(p)
		s.out.Write(p[:n])
		return n, err
	}
	return s.out.Write(p)
}

// A failed write is retried from where it stopped. changed is called once when it
// fails, and once when it works again.
func TestFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("full")
		fail := func(n int, err error) func([]byte) (int, error) {
			return func([]byte) (int, error) { return n, err }
		}
		s := &script{steps: []func([]byte) (int, error){fail(3, full), fail(0, full), fail(2, nil)}}
		var o changes
		q := New(s, 100, rest, o.changed)
		io.WriteString(q, "abcdefgh\n")
		synctest.Wait()
		if q.Trouble() != "full" || !q.Stuck() || o.String() != "full, 0 lost" {
			t.Errorf("trouble %q, changes %q", q.Trouble(), &o)
		}
		io.WriteString(q, strings.Repeat("y", 99)+"\n")
		io.WriteString(q, "second\n")
		time.Sleep(5 * retryAfter)
		synctest.Wait()
		if got := s.out.String(); got != "abcdefgh\nsecond\n" {
			t.Errorf("written: %q", got)
		}
		if o.String() != "full, 0 lost; <nil>, 1 lost" {
			t.Errorf("changes %q", &o)
		}
		if got := q.Trouble(); got != "lines arrive faster than they are written; 1 lines were dropped since the start" {
			t.Errorf("trouble %q", got)
		}
		time.Sleep(showDropped)
		if q.Trouble() != "" || q.Stuck() || q.Dropped() != 1 {
			t.Errorf("a minute later: %q, %d", q.Trouble(), q.Dropped())
		}
		if err := q.Close(time.Second); err != nil {
			t.Error(err)
		}
	})
}

// Close tries once more, and not again.
func TestCloseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, tries := errors.New("gone"), 0
		q := New(writer(func([]byte) (int, error) { tries++; return 0, gone }), 100, rest, func(error, uint64) {})
		io.WriteString(q, "first\n")
		synctest.Wait()
		if err := q.Close(time.Hour); !errors.Is(err, gone) || tries != 2 || !q.Closed() {
			t.Errorf("%v after %d tries", err, tries)
		}
		if err := q.Flush(t.Context()); !errors.Is(err, gone) {
			t.Errorf("flush of a closed queue: %v", err)
		}
	})
}

// A hanging writer shows before a line is dropped. A slow writer does not hang.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = hangsAfter - time.Second
		var pause atomic.Int64
		pause.Store(int64(slow))
		q := New(writer(func(p []byte) (int, error) {
			time.Sleep(time.Duration(pause.Load()))
			return len(p), nil
		}), 1<<20, rest, func(error, uint64) {})
		for range 10_000 {
			io.WriteString(q, strings.Repeat("z", 99)+"\n")
		}
		time.Sleep(2*slow + slow/2) // one million bytes are many writes
		if q.Trouble() != "" || q.Stuck() {
			t.Errorf("a slow writer: %q", q.Trouble())
		}
		pause.Store(int64(time.Hour))
		time.Sleep(time.Hour / 2)
		if !strings.HasPrefix(q.Trouble(), "nothing was written for ") || !q.Stuck() {
			t.Errorf("a writer that hangs: %q", q.Trouble())
		}
		if err := q.Close(30 * time.Hour); err != nil {
			t.Error(err)
		}
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// An empty write reaches the writer by itself.
func TestWake(t *testing.T) {
	woken := make(chan int, 1)
	q := New(writer(func(p []byte) (int, error) { woken <- len(p); return len(p), nil }), 100, rest, func(error, uint64) {})
	q.Write(nil)
	if n := <-woken; n != 0 {
		t.Errorf("%d bytes written", n)
	}
	if err := q.Close(time.Minute); err != nil {
		t.Error(err)
	}
}

// Lines that come soon after one another are written together, unless somebody waits for
// them.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var batches []int
		began := time.Now()
		q := New(writer(func(p []byte) (int, error) { batches = append(batches, len(p)); return len(p), nil }), 100, rest, func(error, uint64) {})
		io.WriteString(q, "1\n")
		synctest.Wait()
		for range 3 {
			time.Sleep(rest / 4)
			io.WriteString(q, "2\n")
		}
		time.Sleep(2 * rest)
		synctest.Wait()
		if fmt.Sprint(batches) != "[2 6]" {
			t.Errorf("batches of %d bytes", batches)
		}
		io.WriteString(q, "3\n")
		synctest.Wait()
		io.WriteString(q, "4\n")
		before := time.Since(began)
		if err := q.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		io.WriteString(q, "5\n")
		if err := q.Close(time.Minute); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began) - before; waited != 0 || len(batches) != 5 {
			t.Errorf("waited for %s, batches of %d bytes", waited, batches)
		}
	})
}

// Write allocates nothing for a line that is made on the stack.
func TestWriteAllocates(t *testing.T) {
	q := New(io.Discard, 1<<20, rest, func(error, uint64) {})
	defer q.Close(time.Minute)
	write := func() {
		for range 2000 {
			var line [100]byte
			line[99] = '\n'
			q.Write(line[:])
		}
		q.Flush(t.Context())
	}
	write()
	if n := testing.AllocsPerRun(10, write); n > 20 { // those of Flush
		t.Errorf("%v allocations for 2000 lines", n)
	}
}

func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc… (4 bytes)"},
		{"ab€", 4, "ab… (5 bytes)"},
		{"ab€", 3, "ab… (5 bytes)"},
		{"ab€x", 5, "ab€… (6 bytes)"},
		{"€", 1, "… (3 bytes)"},
		{"abc\xb0\xb0\xb0\xb0\xb0", 6, "ab… (8 bytes)"},
	} {
		if got := Truncate(c.text, c.limit); got != c.want {
			t.Errorf("Truncate(%q, %d) = %q, want %q", c.text, c.limit, got, c.want)
		}
	}
	for n := range 12 {
		if got := Truncate("a€b😀cé", n); !utf8.ValidString(got) {
			t.Errorf("%d: %q", n, got)
		}
	}
}
