package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/datadir"
)

// maxHeld bounds the records in memory while the journal cannot be written either; about
// 50 MB.
const maxHeld = 100_000

// chunk limits the records that are written with one sync.
const chunk = 500

// File has the methods of a file that a journal needs. An *os.File is one.
type File interface {
	io.ReaderAt
	io.WriterAt
	Stat() (os.FileInfo, error)
	Sync() error
	Truncate(size int64) error
	Close() error
}

// Options are what Open needs to know. Path is required.
type Options[R any] struct {
	Path string
	Log  *slog.Logger
	// Found is called with each record that is in the file when it is opened.
	Found func(R)
	// Marked reports whether Journal.Marked counts a record.
	Marked func(R) bool
	// OpenFile opens the file; datadir.Open if nil.
	OpenFile func(path string) (File, error)
}

// Journal is a node's journal of records. Its methods may be called from any goroutine;
// but Next, Done and SetAside only by one at a time, the one that plays the journal.
type Journal[R any] struct {
	opts Options[R]
	path string
	log  *slog.Logger

	wake    chan struct{} // holds a token when there may be something to write
	quit    chan struct{} // closed by Close
	stopped chan struct{} // closed when run has ended
	pending atomic.Int64  // records in the file and the queue that are not played
	marked  atomic.Int64  // of those, the ones that are marked

	mu       sync.Mutex // guards the next fields; held while the file is written
	file     File
	size     int64 // bytes that are written and synced
	played   int64 // bytes from the start of the file that are played
	failures int   // how often reading the next part has failed

	queueMu    sync.Mutex   // guards the next fields; only held for a short time
	queue      []*queued[R] // records that are not in the file yet, in order
	lastNumber uint64       // of the last record that was queued
	dropped    int
	failed     error     // why the file cannot be written; nil if it can
	complained time.Time // when this was last logged
}

// queued is a record that is not in the file yet.
type queued[R any] struct {
	record     R
	number     uint64
	unwritable bool          // it cannot be written as JSON; guarded by Journal.mu
	done       chan struct{} // closed by release; nil if nobody waits
}

// release ends the wait for a record, which is now durable, or cannot be written.
func (a *queued[R]) release() {
	if a.done != nil {
		close(a.done)
		a.done = nil
	}
}

// Open opens or creates the file, and reads what it holds. If the last line is incomplete,
// and has no whole record, it is removed.
func Open[R any](opts Options[R]) (*Journal[R], error) {
	if opts.OpenFile == nil {
		opts.OpenFile = func(path string) (File, error) { return datadir.Open(path, os.O_RDWR) }
	}
	f, err := opts.OpenFile(opts.Path)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal[R]{opts: opts, path: opts.Path, log: opts.Log, file: f, wake: make(chan struct{}, 1), quit: make(chan struct{}), stopped: make(chan struct{})}
	if err = j.recover(); err == nil {
		err = errors.Join(f.Sync(), datadir.Sync(filepath.Dir(opts.Path)))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("journal: %w", err)
	}
	go j.run()
	return j, nil
}

// mark adds by to the count of marked records, if the record is marked.
func (j *Journal[R]) mark(r R, by int64) {
	if j.opts.Marked != nil && j.opts.Marked(r) {
		j.marked.Add(by)
	}
}

// Pending returns how many records are not played.
func (j *Journal[R]) Pending() int { return int(j.pending.Load()) }

// Marked returns how many of the records that are not played are marked.
func (j *Journal[R]) Marked() int { return int(j.marked.Load()) }

// recover reads what the file holds, and makes it end with a whole line.
func (j *Journal[R]) recover() error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	end, damaged := info.Size(), 0
	// A part that cannot be read counts as damaged for now. Next tries to read it again.
	last, err := readLines(&zeroUnreadable{file: j.file}, 0, end, -1, func(line []byte, list []R, ok bool) {
		for _, r := range list {
			if j.opts.Found != nil {
				j.opts.Found(r)
			}
			j.mark(r, 1)
		}
		j.pending.Add(int64(len(list)))
		if !ok {
			damaged++
			j.pending.Add(1) // the line has to be set aside
		}
	})
	if err != nil {
		return err
	}
	j.size = end
	switch {
	case last.end == end: // a whole line
	case last.records > 0: // only the newline is missing, or wrong
		_, err = j.file.WriteAt([]byte("\n"), end)
		j.size++
	default:
		j.log.Warn("the last line of the journal is incomplete, and was removed", "file", j.path, "bytes", end-last.end)
		err = j.file.Truncate(last.end)
		j.size, damaged = last.end, damaged-1
		j.pending.Add(-1)
	}
	if damaged > 0 {
		j.log.Error("lines of the journal are damaged; the lines after them are played", "file", j.path, "lines", damaged)
	}
	return err
}

// Close writes what is in the queue, if that works, and closes the file.
func (j *Journal[R]) Close() {
	close(j.quit)
	<-j.stopped
	j.file.Close()
}

// Append makes a record durable, or keeps it in memory if the file cannot be written. It
// returns when that is done, or when ctx ends: then the record is still in the queue.
func (j *Journal[R]) Append(ctx context.Context, r R) {
	done := make(chan struct{})
	if !j.enqueue(&queued[R]{record: r, done: done}) {
		return // it is lost, and counted
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
	select {
	case <-done:
	case <-j.stopped: // nobody writes any more
	case <-ctx.Done():
	}
}

// enqueue adds a record to the queue, unless that is full.
func (j *Journal[R]) enqueue(a *queued[R]) bool {
	j.queueMu.Lock()
	defer j.queueMu.Unlock()
	if len(j.queue) >= maxHeld {
		j.dropped++
		j.complain(errors.New("too many records wait for it"))
		return false
	}
	j.lastNumber++
	a.number = j.lastNumber
	j.queue = append(j.queue, a)
	j.pending.Add(1)
	j.mark(a.record, 1)
	return true
}

// complain logs, once a second at most, that the file cannot be written. The caller holds
// j.queueMu.
func (j *Journal[R]) complain(err error) {
	if time.Since(j.complained) < time.Second {
		return
	}
	j.complained = time.Now()
	j.log.Error("THE JOURNAL CANNOT BE WRITTEN; new records are in memory only, and lost if this process ends",
		"file", j.path, "error", err, "held", len(j.queue), "lost", j.dropped)
}

// Failing returns how many records are in memory only, how many were lost since there was
// no room for them, and why the file cannot be written; nil if it can.
func (j *Journal[R]) Failing() (held, lost int, err error) {
	j.queueMu.Lock()
	defer j.queueMu.Unlock()
	return len(j.queue), j.dropped, j.failed
}

// retryEvery is the pause before another try to write what could not be written.
const retryEvery = time.Second

// run writes what is in the queue, and retries when that fails.
func (j *Journal[R]) run() {
	defer close(j.stopped)
	for {
		var again <-chan time.Time
		if !j.writeQueue() {
			again = time.After(retryEvery)
		}
		select {
		case <-j.wake:
		case <-again:
		case <-j.quit:
			j.writeQueue()
			return
		}
	}
}

// writeQueue writes all that is in the queue, and reports whether it could. If it could
// not, nobody waits for these records any longer.
func (j *Journal[R]) writeQueue() bool {
	for {
		n, err := j.writeBatch()
		if err != nil {
			j.queueMu.Lock()
			for _, a := range j.queue {
				a.release()
			}
			j.failed = err
			j.complain(err)
			j.queueMu.Unlock()
			return false
		}
		j.queueMu.Lock()
		j.failed = nil
		j.queueMu.Unlock()
		if n == 0 {
			return true
		}
	}
}

// writeBatch moves the first records of the queue to the file, with one sync, and returns
// how many these were.
func (j *Journal[R]) writeBatch() (n int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	text, batch := j.nextLines()
	if len(batch) == 0 {
		return 0, nil
	}
	if _, err = j.file.WriteAt(text, j.size); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// Remove what was written, or it would be left behind a shorter next batch.
		return 0, errors.Join(err, j.file.Truncate(j.size))
	}
	j.size += int64(len(text))
	j.queueMu.Lock()
	defer j.queueMu.Unlock()
	for _, a := range batch {
		a.release()
	}
	// Nobody else took records from the queue meanwhile: that needs j.mu.
	j.queue = slices.DeleteFunc(j.queue, func(a *queued[R]) bool { return !a.unwritable && a.number <= batch[len(batch)-1].number })
	return len(batch), nil
}

// nextLines returns the lines of the first records of the queue. A record that cannot be
// written as JSON, such as one with a date after the year 9999, stays in memory and is
// played from there. The caller holds j.mu.
func (j *Journal[R]) nextLines() (text []byte, batch []*queued[R]) {
	j.queueMu.Lock()
	defer j.queueMu.Unlock()
	for _, a := range j.queue {
		if a.unwritable {
			continue
		}
		line, err := json.Marshal(&a.record)
		if err != nil {
			a.unwritable = true
			a.release()
			j.log.Error("a record cannot be written to the journal; it is in memory only", "error", err)
			continue
		}
		text = fmt.Appendf(text, "%s %s\n", checksum(line), line)
		if batch = append(batch, a); len(batch) == chunk {
			break
		}
	}
	return text, batch
}

// Keep writes several records, without a time limit. It returns when they are written, or
// cannot be.
func (j *Journal[R]) Keep(list ...R) {
	for _, r := range list {
		j.enqueue(&queued[R]{record: r})
	}
	if len(list) > 0 {
		j.writeQueue()
	}
}

// Due is what is to be played next.
type Due[R any] struct {
	Records []R
	damaged [][]byte // the damaged lines among them
	to      int64    // the offset in the file after them
	last    uint64   // the number of the last record, if it was in the queue
}

// maxReadTries is how often a part of the file is read that cannot be read, before it is
// skipped.
const maxReadTries = 5

// Empty reports whether there is nothing to play or to set aside.
func (d *Due[R]) Empty() bool { return len(d.Records) == 0 && len(d.damaged) == 0 }

// Next returns the n oldest records that are not played.
func (j *Journal[R]) Next(n int) (d Due[R], err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d.to = j.played
	if j.played < j.size {
		take := func(line []byte, list []R, ok bool) {
			d.Records = append(d.Records, list...)
			if !ok {
				d.damaged = append(d.damaged, line)
			}
		}
		last, err := readLines(j.file, j.played, j.size, n, take)
		if err != nil {
			if j.failures++; j.failures < maxReadTries {
				return Due[R]{}, fmt.Errorf("journal: cannot read %s: %w", j.path, err)
			}
			j.log.Error("a part of the journal cannot be read, and is skipped", "file", j.path, "error", err)
			d.Records, d.damaged = nil, nil
			if last, err = readLines(&zeroUnreadable{file: j.file}, j.played, j.size, n, take); err != nil {
				return Due[R]{}, err
			}
		}
		d.to = last.to
		return d, nil
	}
	j.queueMu.Lock()
	defer j.queueMu.Unlock()
	for _, a := range j.queue[:min(n, len(j.queue))] {
		d.Records, d.last = append(d.Records, a.record), a.number
	}
	return d, nil
}

// Done says that the records were played, or set aside. It sets damaged lines aside, and
// empties the file when nothing is left to play.
func (j *Journal[R]) Done(d *Due[R]) {
	for _, line := range d.damaged {
		j.putAside(".damaged", line, "a line of the journal is damaged; set aside", nil)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queueMu.Lock()
	defer j.queueMu.Unlock()
	if d.to == j.played {
		// Records that were written meanwhile are played from the file once more.
		n := 0
		for ; n < len(j.queue) && j.queue[n].number <= d.last; n++ {
			j.queue[n].release()
			j.mark(j.queue[n].record, -1)
		}
		j.queue = j.queue[n:]
		j.pending.Add(-int64(n))
		return
	}
	for _, r := range d.Records {
		j.mark(r, -1)
	}
	j.played, j.failures = d.to, 0
	if j.played < j.size {
		j.pending.Store(max(j.pending.Load()-int64(len(d.Records)+len(d.damaged)), int64(len(j.queue))+1))
		return
	}
	// Count again: lines may have been damaged after they were written.
	j.pending.Store(int64(len(j.queue)))
	j.marked.Store(0)
	for _, a := range j.queue {
		j.mark(a.record, 1)
	}
	if err := errors.Join(j.file.Truncate(0), j.file.Sync()); err != nil {
		j.log.Warn("the journal cannot be emptied, it will be played again at the next start", "file", j.path, "error", err)
		return
	}
	j.size, j.played = 0, 0
}

// SetAside puts a record that the database refuses into a file beside the journal.
func (j *Journal[R]) SetAside(r R, why error) {
	line, _ := json.Marshal(r)
	j.putAside(".refused", append(line, '\n'), "the store refuses a record of the journal; set aside", why)
}

// putAside appends to a file beside the journal, and logs that.
func (j *Journal[R]) putAside(ending string, line []byte, what string, why error) {
	f, err := os.OpenFile(j.path+ending, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.Write(line)
		err = errors.Join(err, f.Sync(), f.Close(), datadir.Sync(filepath.Dir(j.path)))
	}
	j.log.Error(what, "file", j.path+ending, "error", why, "kept", err == nil)
}
