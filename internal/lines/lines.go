// Package lines keeps lines of text away from what they are written to: a Queue
// takes lines at once and writes them in order, while the writer may be slow,
// hang for ever or fail. What finds no place is dropped and counted. So a log
// that nobody reads and a disk that is full delay nobody.
package lines

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// ErrFull says that a line was dropped: too many bytes wait already, or the
// queue is closed.
var ErrFull = errors.New("too much waits to be written")

// errHangs says why a queue was closed before all was written.
var errHangs = errors.New("it hangs")

// Queue is safe for use by many goroutines. Its writer is used by one.
type Queue struct {
	out     io.Writer
	limit   int
	changed func(err error, lost uint64)
	done    chan struct{} // closed when nothing is written any more

	mu      sync.Mutex // guards what follows
	cond    *sync.Cond // something of it has changed
	waiting []byte     // what is not given to run yet
	under   int        // bytes that run has and has not written
	woken   bool       // run is to write, even if nothing waits
	closing bool

	taken, written uint64    // bytes since the start
	since          time.Time // since when the writer has had what it writes; zero: it has nothing
	err            error     // of the last write
	faulty         bool      // changed was told of an error last
	dropped, told  uint64    // lines: since the start; of them, those that changed was told of
	lastDrop       time.Time
}

// New starts a queue that holds up to limit bytes.
//
// changed is told with an error when lines begin to be dropped (ErrFull) and when
// the writer begins to fail; and with nil when all that waited has been written
// again, and how many lines were lost meanwhile. It must not wait for the queue.
func New(out io.Writer, limit int, changed func(err error, lost uint64)) *Queue {
	q := &Queue{out: out, limit: limit, changed: changed, done: make(chan struct{})}
	q.cond = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Write queues one line, which ends with a newline. It never waits for the
// writer. Where there is no place the line is dropped; the error is ErrFull. An
// empty line is no line: the writer gets an empty write.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.closing || len(q.waiting)+q.under+len(line) > q.limit {
		first := !q.faulty
		q.faulty = true
		q.dropped++
		q.lastDrop = time.Now()
		q.mu.Unlock()
		if first {
			q.changed(ErrFull, 0)
		}
		return 0, ErrFull
	}
	q.waiting = append(q.waiting, line...)
	q.taken += uint64(len(line))
	q.woken = true
	q.cond.Broadcast()
	q.mu.Unlock()
	return len(line), nil
}

// keep is the size of a buffer that is used again.
const keep = 256 << 10

// gather is the pause after a batch. To be woken for each line costs more than to
// write it.
const gather = 2 * time.Millisecond

// run writes what waits until the queue is closed.
func (q *Queue) run() {
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		close(q.done)
		q.cond.Broadcast()
	}()
	var spare []byte
	for {
		q.mu.Lock()
		for !q.woken && !q.closing {
			q.cond.Wait()
		}
		if !q.woken {
			q.mu.Unlock()
			return
		}
		batch := q.waiting
		q.waiting, q.under, q.woken = spare[:0], len(batch), false
		q.mu.Unlock()
		if !q.writeAll(batch) {
			return
		}
		if spare = batch; cap(spare) > keep {
			spare = nil
		}
		time.Sleep(gather)
	}
}

// chunk is how many bytes of lines one write has, so that a slow writer is told
// from one that hangs.
const chunk = 64 << 10

// retryAfter is the pause after a write that failed.
const retryAfter = time.Second

// writeAll writes a batch. What fails is tried again, from where it stopped; the
// result is false if the queue was closed meanwhile.
func (q *Queue) writeAll(batch []byte) bool {
	for {
		size := len(batch)
		if size > chunk {
			size = chunk
			if end := bytes.IndexByte(batch[chunk:], '\n'); end >= 0 {
				size += end + 1
			}
		}
		q.mu.Lock()
		q.since = time.Now()
		q.mu.Unlock()
		n, err := q.out.Write(batch[:size])
		if err == nil && n < size {
			err = io.ErrShortWrite
		}
		batch = batch[n:]
		if !q.wrote(n, err) {
			return false
		}
		if err == nil && len(batch) == 0 {
			return true
		}
	}
}

// wrote notes what a write came to, and tells of it. After an error it waits
// before the next; the result is false if there is to be none.
func (q *Queue) wrote(n int, err error) bool {
	q.mu.Lock()
	q.since, q.err = time.Time{}, err
	q.under -= n
	q.written += uint64(n)
	tell, lost := err != nil && !q.faulty, uint64(0)
	if err != nil {
		q.faulty = true
	} else if q.faulty && q.under == 0 && len(q.waiting) == 0 {
		tell, lost = true, q.dropped-q.told
		q.faulty, q.told = false, q.dropped
	}
	q.cond.Broadcast()
	q.mu.Unlock()
	if tell {
		q.changed(err, lost)
	}
	return err == nil || q.pause()
}

// pause waits before what failed is tried again. The result is false when the
// queue is closed: then there has been one try more.
func (q *Queue) pause() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing {
		return false
	}
	over := false
	timer := time.AfterFunc(retryAfter, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		over = true
		q.cond.Broadcast()
	})
	defer timer.Stop()
	for !over && !q.closing {
		q.cond.Wait()
	}
	return true
}

// Flush waits until all lines that were taken before are written. The error is the
// context's, or says that the queue was closed before.
func (q *Queue) Flush(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.cond.Broadcast()
	})()
	q.mu.Lock()
	defer q.mu.Unlock()
	for to := q.taken; q.written < to; q.cond.Wait() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if q.Closed() {
			return cmp.Or(q.err, errHangs)
		}
	}
	return nil
}

// Close writes what waits, for no longer than the given time, and takes no more.
// The error says what was not written. A writer that hangs is left behind.
func (q *Queue) Close(wait time.Duration) error {
	q.mu.Lock()
	q.closing = true
	q.cond.Broadcast()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(wait):
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if left := q.taken - q.written; left > 0 {
		return fmt.Errorf("the last %d bytes were not written (%w)", left, cmp.Or(q.err, errHangs))
	}
	return nil
}

// Closed reports whether the writer is not used any more.
func (q *Queue) Closed() bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// Dropped is how many lines were dropped since the start.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// A writer that has taken nothing for hangsAfter hangs; that lines were dropped is
// said for as long as sayDropped.
const (
	hangsAfter = 5 * time.Second
	sayDropped = time.Minute
)

// Stuck reports whether the writer takes nothing now: it hangs, or it failed.
func (q *Queue) Stuck() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err != nil || q.hangs() > hangsAfter
}

// hangs is how long the writer has had what it writes. The caller holds mu.
func (q *Queue) hangs() time.Duration {
	if q.since.IsZero() {
		return 0
	}
	return time.Since(q.since)
}

// Trouble says what is wrong now, in words; "" if nothing is.
func (q *Queue) Trouble() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var what string
	switch {
	case q.err != nil:
		what = q.err.Error()
	case q.hangs() > hangsAfter:
		what = fmt.Sprintf("nothing was taken for %s", q.hangs().Round(time.Second))
	case q.dropped > 0 && time.Since(q.lastDrop) < sayDropped:
		what = "more comes than is taken"
	default:
		return ""
	}
	if q.dropped > 0 {
		what += fmt.Sprintf("; %d lines were dropped since the start", q.dropped)
	}
	return what
}

// Cut shortens a text to at most limit bytes, at the beginning of a character, and
// says behind it how long it was.
func Cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > max(0, limit-utf8.UTFMax) && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "… (" + strconv.Itoa(len(text)) + " bytes)"
}
