// Package lines puts a queue before a writer of lines. A Queue takes lines at once
// and writes them in order, even if the writer is slow, hangs for ever or fails.
// Lines that do not fit are dropped and counted. So a log that nobody reads, or a
// full disk, never delays a message.
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

// ErrFull says that a line was dropped: too many bytes are waiting, or the queue is
// closed.
var ErrFull = errors.New("too many bytes are waiting to be written")

// errHangs says why a queue was closed before everything was written.
var errHangs = errors.New("the writer hangs")

// Queue is safe for concurrent use. One goroutine calls its writer.
type Queue struct {
	out     io.Writer
	limit   int
	rest    time.Duration // after each write
	changed func(err error, lost uint64)
	done    chan struct{} // closed when nothing more will be written
	hurry   chan struct{} // has a value if Flush waits for the lines that are waiting
	closed  chan struct{} // closed when Close was called

	mu       sync.Mutex // guards the fields below
	cond     *sync.Cond // signals a change of these fields
	waiting  []byte     // lines that run does not have yet
	inFlight int        // bytes that run has, and has not written
	woken    bool       // run must call the writer, even if nothing is waiting
	closing  bool

	taken, written    uint64    // bytes since the start
	since             time.Time // when the current write began; zero if there is none
	err               error     // of the last write
	faulty            bool      // the last call of changed had an error
	dropped, reported uint64    // lines: dropped since the start; of them, those passed to changed
	lastDrop          time.Time
}

// New starts a queue that holds up to limit bytes. After each write it rests, unless somebody
// waits in Flush or Close: to wake up and to write costs as much as tens of lines, so it must
// not be done for a few.
//
// The queue calls changed with an error when the first line is dropped (ErrFull) or
// when the writer starts to fail. When everything that waited is written again, it
// calls changed with nil and the number of lines that were lost. changed must not
// wait for the queue.
func New(out io.Writer, limit int, rest time.Duration, changed func(err error, lost uint64)) *Queue {
	q := &Queue{out: out, limit: limit, rest: rest, changed: changed, done: make(chan struct{}), hurry: make(chan struct{}, 1), closed: make(chan struct{})}
	q.cond = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Write queues one line, which ends with a newline. It never waits for the writer, and
// keeps a copy: so a line may be made on the stack. If the line does not fit, it is
// dropped and the error is ErrFull. An empty slice is not a line: the writer gets an
// empty write.
//
// A line is in memory until the writer has it, at most the rest longer than the writer
// takes. If the process is killed, the lines of that time are lost.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.closing || len(q.waiting)+q.inFlight+len(line) > q.limit {
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
	if !q.woken { // else run will see the line without being woken, which costs more than the line
		q.woken = true
		q.cond.Broadcast()
	}
	q.mu.Unlock()
	return len(line), nil
}

// maxReuse is the size of the largest buffer that is used again.
const maxReuse = 1 << 20

// run writes what is waiting, until the queue is closed.
func (q *Queue) run() {
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		close(q.done)
		q.cond.Broadcast()
	}()
	var spare []byte
	pause := time.NewTimer(0)
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
		q.waiting, q.inFlight, q.woken = spare[:0], len(batch), false
		q.mu.Unlock()
		if !q.writeAll(batch) {
			return
		}
		if spare = batch; cap(spare) > maxReuse {
			spare = nil
		}
		pause.Reset(q.rest)
		select {
		case <-pause.C:
		case <-q.hurry:
		case <-q.closed:
		}
	}
}

// chunk is how many bytes one write has, up to the end of a line. Small writes show
// whether a writer is slow or hangs.
const chunk = 64 << 10

// retryAfter is the pause after a write that failed.
const retryAfter = time.Second

// writeAll writes a batch. If a write fails, it is retried from where it stopped. The
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

// wrote records the result of a write, and calls changed if needed. After an error it
// waits before the next write. The result is false if there must not be another.
func (q *Queue) wrote(n int, err error) bool {
	q.mu.Lock()
	q.since, q.err = time.Time{}, err
	q.inFlight -= n
	q.written += uint64(n)
	report, lost := err != nil && !q.faulty, uint64(0)
	if err != nil {
		q.faulty = true
	} else if q.faulty && q.inFlight == 0 && len(q.waiting) == 0 {
		report, lost = true, q.dropped-q.reported
		q.faulty, q.reported = false, q.dropped
	}
	q.cond.Broadcast()
	q.mu.Unlock()
	if report {
		q.changed(err, lost)
	}
	return err == nil || q.pause()
}

// pause waits before a retry. If the queue is closed meanwhile, one last try follows:
// the result is false only if the queue was closed before.
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

// Flush waits until all lines that were taken before the call are written. The error
// is that of the context, or says that the queue was closed first.
func (q *Queue) Flush(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.cond.Broadcast()
	})()
	select {
	case q.hurry <- struct{}{}:
	default: // it has one
	}
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

// Close takes no more lines, and writes what is waiting, for at most the given time.
// The error says how much was not written. If the writer hangs, Close does not wait
// for it any longer.
func (q *Queue) Close(wait time.Duration) error {
	q.mu.Lock()
	if !q.closing {
		q.closing = true
		close(q.closed)
	}
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

// Closed reports whether the queue will not call the writer again.
func (q *Queue) Closed() bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// Dropped returns how many lines were dropped since the start.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// A writer hangs if one write takes longer than hangsAfter. Trouble mentions dropped
// lines for showDropped.
const (
	hangsAfter  = 5 * time.Second
	showDropped = time.Minute
)

// Stuck reports whether nothing is being written: the writer hangs, or has failed.
func (q *Queue) Stuck() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err != nil || q.hangs() > hangsAfter
}

// hangs returns how long the current write has taken. The caller holds mu.
func (q *Queue) hangs() time.Duration {
	if q.since.IsZero() {
		return 0
	}
	return time.Since(q.since)
}

// Trouble says in words what is wrong now; "" if nothing is.
func (q *Queue) Trouble() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var what string
	switch {
	case q.err != nil:
		what = q.err.Error()
	case q.hangs() > hangsAfter:
		what = fmt.Sprintf("nothing was written for %s", q.hangs().Round(time.Second))
	case q.dropped > 0 && time.Since(q.lastDrop) < showDropped:
		what = "lines arrive faster than they are written"
	default:
		return ""
	}
	if q.dropped > 0 {
		what += fmt.Sprintf("; %d lines were dropped since the start", q.dropped)
	}
	return what
}

// Truncate shortens a text to at most limit bytes of whole characters, and adds how
// long the text was.
func Truncate(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit
	for end > max(0, limit-utf8.UTFMax) && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "… (" + strconv.Itoa(len(text)) + " bytes)"
}
