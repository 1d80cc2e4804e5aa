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

// maxHeld bounds the records that are in memory while even the journal cannot be
// written; about 50 MB.
const maxHeld = 100_000

// chunk limits the records that are written with one sync.
const chunk = 500

// File is what a journal needs of a file. An *os.File is one.
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
	// Found is called with each record that the file has when it is opened.
	Found func(R)
	// Marked reports whether a record is one that Journal.Marked counts.
	Marked func(R) bool
	// OpenFile opens the file; datadir.Open if nil.
	OpenFile func(path string) (File, error)
}

// Journal is a node's journal of records. Its methods may be called from any goroutine;
// Next, Done and SetAside by one at a time, who plays it.
type Journal[R any] struct {
	opts Options[R]
	path string
	log  *slog.Logger

	wake    chan struct{} // holds a token when there may be something to write
	quit    chan struct{} // closed by Close
	stopped chan struct{} // closed when run has ended
	pending atomic.Int64  // records in the file and in line that are not played
	marked  atomic.Int64  // those of them that are marked

	mu         sync.Mutex // guards what follows; is held while the file is written
	file       File
	size       int64 // written and synced
	played     int64 // from the file's beginning
	unreadable int   // how often the next part of it could not be read

	lineMu     sync.Mutex     // guards what follows; is never waited for long
	line       []*appended[R] // what is not in the file yet, in order
	number     uint64         // of the last that came into line
	dropped    int
	failed     error     // why the file cannot be written; nil if it can
	complained time.Time // when it was last logged that the file cannot be written
}

type appended[R any] struct {
	record R
	number uint64
	memory bool          // it has no form that can be written; guarded by journal.mu
	done   chan struct{} // closed when the record is durable, or cannot be; nil when that was said
}

// said tells who waits for a record that it is durable, or cannot be.
func (a *appended[R]) said() {
	if a.done != nil {
		close(a.done)
		a.done = nil
	}
}

// Open opens or creates the file, and finds out what it holds. The end of a line that is
// torn is cut off.
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

// mark counts a record that is marked, or no longer does.
func (j *Journal[R]) mark(r R, by int64) {
	if j.opts.Marked != nil && j.opts.Marked(r) {
		j.marked.Add(by)
	}
}

// Pending is how many records are not played.
func (j *Journal[R]) Pending() int { return int(j.pending.Load()) }

// Marked is how many of the records that are not played are marked.
func (j *Journal[R]) Marked() int { return int(j.marked.Load()) }

// recover finds out what the file holds, and has it end with a whole line.
func (j *Journal[R]) recover() error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	end, damaged := info.Size(), 0
	// A part that cannot be read is damaged by what is known now; whether it is,
	// is found out when it is played.
	last, err := readLines(&sturdy{file: j.file}, 0, end, -1, func(line []byte, list []R, ok bool) {
		for _, r := range list {
			if j.opts.Found != nil {
				j.opts.Found(r)
			}
			j.mark(r, 1)
		}
		j.pending.Add(int64(len(list)))
		if !ok {
			damaged++
			j.pending.Add(1) // it has to be set aside
		}
	})
	if err != nil {
		return err
	}
	j.size = end
	switch {
	case last.end == end: // a whole line
	case last.records > 0: // all but its end is there
		_, err = j.file.WriteAt([]byte("\n"), end)
		j.size++
	default:
		j.log.Warn("the journal's end is torn, cut off", "file", j.path, "bytes", end-last.end)
		err = j.file.Truncate(last.end)
		j.size, damaged = last.end, damaged-1
		j.pending.Add(-1)
	}
	if damaged > 0 {
		j.log.Error("lines of the journal are damaged; what comes after them is played", "file", j.path, "lines", damaged)
	}
	return err
}

// Close writes what is in line, if that works, and closes the file.
func (j *Journal[R]) Close() {
	close(j.quit)
	<-j.stopped
	j.file.Close()
}

// Append makes a record durable, or keeps it in memory if the file cannot be written. It
// returns when that is so, or when ctx ends: the record is in line then.
func (j *Journal[R]) Append(ctx context.Context, r R) {
	done := make(chan struct{})
	if !j.queue(&appended[R]{record: r, done: done}) {
		return
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

// queue puts a record in line, unless that is full.
func (j *Journal[R]) queue(a *appended[R]) bool {
	j.lineMu.Lock()
	defer j.lineMu.Unlock()
	if len(j.line) >= maxHeld {
		j.dropped++
		j.complain(errors.New("too many records wait for it"))
		return false
	}
	j.number++
	a.number = j.number
	j.line = append(j.line, a)
	j.pending.Add(1)
	j.mark(a.record, 1)
	return true
}

// complain logs, once a second at most, that the file cannot be written. j.lineMu is held.
func (j *Journal[R]) complain(err error) {
	if time.Since(j.complained) < time.Second {
		return
	}
	j.complained = time.Now()
	j.log.Error("THE JOURNAL CANNOT BE WRITTEN; what it should hold is in memory only, and lost if this process ends",
		"file", j.path, "error", err, "held", len(j.line), "lost", j.dropped)
}

// Failing is why the file cannot be written, nil if it can, and how many records are in
// memory only, and how many were lost since there was no room for them.
func (j *Journal[R]) Failing() (held, lost int, err error) {
	j.lineMu.Lock()
	defer j.lineMu.Unlock()
	return len(j.line), j.dropped, j.failed
}

// rewriteEvery is how often it is tried to write what could not be written.
const rewriteEvery = time.Second

// run writes what is in line, and tries again what could not be written.
func (j *Journal[R]) run() {
	defer close(j.stopped)
	for {
		var again <-chan time.Time
		if !j.writeLine() {
			again = time.After(rewriteEvery)
		}
		select {
		case <-j.wake:
		case <-again:
		case <-j.quit:
			j.writeLine()
			return
		}
	}
}

// writeLine writes all that is in line, and reports whether it could. Who waits
// for a record that cannot be written is told so.
func (j *Journal[R]) writeLine() bool {
	for {
		n, err := j.writeSome()
		if err != nil {
			j.lineMu.Lock()
			for _, a := range j.line {
				a.said()
			}
			j.failed = err
			j.complain(err)
			j.lineMu.Unlock()
			return false
		}
		j.lineMu.Lock()
		j.failed = nil
		j.lineMu.Unlock()
		if n == 0 {
			return true
		}
	}
}

// writeSome moves what is first in line to the file, with one sync, and says how
// many records that were.
func (j *Journal[R]) writeSome() (n int, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	text, some := j.lines()
	if len(some) == 0 {
		return 0, nil
	}
	if _, err = j.file.WriteAt(text, j.size); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// What was written of it would come after what is written next time.
		return 0, errors.Join(err, j.file.Truncate(j.size))
	}
	j.size += int64(len(text))
	j.lineMu.Lock()
	defer j.lineMu.Unlock()
	for _, a := range some {
		a.said()
	}
	// Nothing else has left the line meanwhile, since that needs j.mu.
	j.line = slices.DeleteFunc(j.line, func(a *appended[R]) bool { return !a.memory && a.number <= some[len(some)-1].number })
	return len(some), nil
}

// lines makes the lines of what is first in line. A record that has no form, as
// one with a date beyond the year 9999, is played from memory. j.mu is held.
func (j *Journal[R]) lines() (text []byte, some []*appended[R]) {
	j.lineMu.Lock()
	defer j.lineMu.Unlock()
	for _, a := range j.line {
		if a.memory {
			continue
		}
		line, err := json.Marshal(&a.record)
		if err != nil {
			a.memory = true
			a.said()
			j.log.Error("a record cannot be written to the journal; it is in memory only", "error", err)
			continue
		}
		text = fmt.Appendf(text, "%s %s\n", checksum(line), line)
		if some = append(some, a); len(some) == chunk {
			break
		}
	}
	return text, some
}

// Keep writes records that nobody waits for. It returns when they are written, or cannot be.
func (j *Journal[R]) Keep(list ...R) {
	for _, r := range list {
		j.queue(&appended[R]{record: r})
	}
	if len(list) > 0 {
		j.writeLine()
	}
}

// Due is what is to be played next.
type Due[R any] struct {
	Records []R
	damaged [][]byte // lines of the file among it
	to      int64    // the offset in the file behind it
	last    uint64   // the number of its last record, if that was in line
}

// unreadableTries is how often it is tried to read what cannot be read, before it
// is passed over.
const unreadableTries = 5

// Empty reports whether nothing is to be played or set aside.
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
			if j.unreadable++; j.unreadable < unreadableTries {
				return Due[R]{}, fmt.Errorf("journal: cannot read %s: %w", j.path, err)
			}
			j.log.Error("a part of the journal cannot be read, and is passed over", "file", j.path, "error", err)
			d.Records, d.damaged = nil, nil
			if last, err = readLines(&sturdy{file: j.file}, j.played, j.size, n, take); err != nil {
				return Due[R]{}, err
			}
		}
		d.to = last.to
		return d, nil
	}
	j.lineMu.Lock()
	defer j.lineMu.Unlock()
	for _, a := range j.line[:min(n, len(j.line))] {
		d.Records, d.last = append(d.Records, a.record), a.number
	}
	return d, nil
}

// Done says that what was due is played, or set aside. It empties the file when nothing is
// left to play.
func (j *Journal[R]) Done(d *Due[R]) {
	for _, line := range d.damaged {
		j.putAside(".damaged", line, "a line of the journal is damaged; set aside", nil)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lineMu.Lock()
	defer j.lineMu.Unlock()
	if d.to == j.played {
		// What has been written meanwhile is played from the file once more.
		n := 0
		for ; n < len(j.line) && j.line[n].number <= d.last; n++ {
			j.line[n].said()
			j.mark(j.line[n].record, -1)
		}
		j.line = j.line[n:]
		j.pending.Add(-int64(n))
		return
	}
	for _, r := range d.Records {
		j.mark(r, -1)
	}
	j.played, j.unreadable = d.to, 0
	if j.played < j.size {
		j.pending.Store(max(j.pending.Load()-int64(len(d.Records)+len(d.damaged)), int64(len(j.line))+1))
		return
	}
	// What became of lines that were damaged after they were written is not known.
	j.pending.Store(int64(len(j.line)))
	j.marked.Store(0)
	for _, a := range j.line {
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
		err = errors.Join(err, f.Sync(), f.Close())
	}
	j.log.Error(what, "file", j.path+ending, "error", why, "kept", err == nil)
}
