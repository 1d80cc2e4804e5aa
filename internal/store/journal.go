package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/outage"
)

// maxHeld bounds the records that are in memory while even the journal cannot be
// written; about 50 MB.
const maxHeld = 100_000

// chunk bounds the records that are played in one transaction, and that are
// written with one sync.
const chunk = 500

// journalTimeout bounds the wait for the journal; it is a local file.
const journalTimeout = 250 * time.Millisecond

// A record is what the journal remembers: exactly one of the pointers is set.
type record struct {
	Activation    *outage.Activation   `json:"activation,omitempty"`
	Unresolved    bool                 `json:"unresolved,omitempty"` // the activation's hub has to be looked up
	Manufacturers outage.Manufacturers `json:"manufacturers,omitempty"`
	Closing       bool                 `json:"closing,omitempty"`        // the activation opens no window
	SwitchUnknown bool                 `json:"switch_unknown,omitempty"` // nor if the switch turns out to be off

	Answer    *outage.Activation `json:"answer,omitempty"` // the next hop's answer to this activation
	Accepted  bool               `json:"accepted,omitempty"`
	Uncertain bool               `json:"uncertain,omitempty"` // if neither: it was refused

	Forwarded *Forwarded `json:"forwarded,omitempty"` // went forward, whatever the store was going to say

	Failed *Failed `json:"failed,omitempty"` // an activation did not run

	Switch *Event `json:"switch,omitempty"` // it was turned off on this node
}

// answer is the answer of a record that has one.
func (r *record) answer() outage.State {
	switch {
	case r.Accepted:
		return outage.Accepted
	case r.Uncertain:
		return outage.Uncertain
	}
	return outage.Withdrawn
}

// journal is the node's file of what must not be forgotten while the store
// does not answer. One record is one line: the CRC-32 (IEEE) of the JSON text
// in eight hexadecimal digits, a blank, the JSON. Appends are made durable in
// groups. It is emptied when all of it has been played; since playing twice
// changes nothing, a crash in between does no harm.
//
// Records are played in the order in which they arose: those in the file, and then
// those in line for it. One that cannot be written stays in line, in memory, and so
// does what comes after it, until the file can be written again or the store has
// taken them. A line of the file that is damaged is set aside by itself.
type journal struct {
	path string
	log  *slog.Logger

	wake    chan struct{} // holds a token when there may be something to write
	quit    chan struct{} // closed by close
	stopped chan struct{} // closed when run has ended
	pending atomic.Int64  // records in the file and in line that are not played
	atOnce  int           // records that are played in one transaction; the committer's

	mu         sync.Mutex // guards what follows; is held while the file is written
	file       *os.File
	size       int64 // written and synced
	played     int64 // played into the store, from the file's beginning
	unreadable int   // how often the next of it could not be read

	lastReceipt time.Time // of the requests that it held when it was opened

	lineMu     sync.Mutex  // guards what follows; is never waited for long
	line       []*appended // what is not in the file yet, in the order in which it arose
	number     uint64      // of the last that came into line
	dropped    int
	failed     error     // why the file cannot be written; nil if it can
	complained time.Time // when it was last logged that the file cannot be written
	// unresolved is how many activations without a hub are in the journal; each is
	// counted in everywhere too, which makes any hub one that may have a window.
	unresolved int
	everywhere *atomic.Int64
}

type appended struct {
	record record
	number uint64
	memory bool          // it has no form that can be written; guarded by journal.mu
	done   chan struct{} // closed when the record is durable, or cannot be; nil when that was said
}

// said tells who waits for a record that it is durable, or cannot be.
func (a *appended) said() {
	if a.done != nil {
		close(a.done)
		a.done = nil
	}
}

// openJournal opens or creates the file. A torn last line, of a record that
// nobody was told is durable, is cut off. The windows of what it holds are given
// to found; activations without a hub are counted in everywhere.
func openJournal(path string, log *slog.Logger, everywhere *atomic.Int64, found func(record)) (*journal, error) {
	f, err := OpenPrivate(path, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &journal{path: path, log: log, file: f, atOnce: chunk, everywhere: everywhere,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), stopped: make(chan struct{})}
	if err = j.recover(found); err == nil {
		err = errors.Join(f.Sync(), SyncFolder(filepath.Dir(path)))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("journal: %w", err)
	}
	go j.run()
	return j, nil
}

// recover finds out what the file holds, and has it end with a whole line.
func (j *journal) recover(found func(record)) error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	end, damaged := info.Size(), 0
	// A part that cannot be read is damaged by what is known now; whether it is,
	// is found out when it is played.
	last, err := readLines(&sturdy{file: j.file}, 0, end, -1, func(line []byte, list []record, ok bool) {
		for _, r := range list {
			found(r)
			if r.Activation != nil && r.Activation.Received.After(j.lastReceipt) {
				j.lastReceipt = r.Activation.Received
			}
			if r.Unresolved {
				j.unresolved++
				j.everywhere.Add(1)
			}
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

// SyncFolder makes durable which files a folder has.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (j *journal) close() {
	close(j.quit)
	<-j.stopped
	j.file.Close()
}

// append makes a record durable, or keeps it in line if the file cannot be
// written. It returns when that is so, or when ctx ends; the record is on its
// way then.
func (j *journal) append(ctx context.Context, r record) {
	done := make(chan struct{})
	if !j.queue(&appended{record: r, done: done}) {
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
func (j *journal) queue(a *appended) bool {
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
	if a.record.Unresolved {
		j.unresolved++
		j.everywhere.Add(1)
	}
	return true
}

// forget says that a record is not in the journal any more. j.lineMu is held.
func (j *journal) forget(r *record) {
	if r.Unresolved && j.unresolved > 0 {
		j.unresolved--
		j.everywhere.Add(-1)
	}
}

// complain logs, once a second at most, that the file cannot be written. j.lineMu is held.
func (j *journal) complain(err error) {
	if time.Since(j.complained) < time.Second {
		return
	}
	j.complained = time.Now()
	j.log.Error("THE JOURNAL CANNOT BE WRITTEN; what it should hold is in memory only, and lost if this process ends",
		"file", j.path, "error", err, "held", len(j.line), "lost", j.dropped)
}

// inMemory is why the file cannot be written, nil if it can, and how many records are
// in memory only, and how many were lost since there was no room for them.
func (j *journal) inMemory() (held, lost int, err error) {
	j.lineMu.Lock()
	defer j.lineMu.Unlock()
	return len(j.line), j.dropped, j.failed
}

// rewriteEvery is how often it is tried to write what could not be written.
const rewriteEvery = time.Second

// run writes what is in line, and tries again what could not be written.
func (j *journal) run() {
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
func (j *journal) writeLine() bool {
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
func (j *journal) writeSome() (n int, err error) {
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
	j.line = slices.DeleteFunc(j.line, func(a *appended) bool { return !a.memory && a.number <= some[len(some)-1].number })
	return len(some), nil
}

// lines makes the lines of what is first in line. A record that has no form, as
// one with a date beyond the year 9999, is played from memory. j.mu is held.
func (j *journal) lines() (text []byte, some []*appended) {
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

// keep writes notes that the store did not take. Nobody waits for them; the
// committer calls it between two batches.
func (j *journal) keep(notes []Forwarded, failed []Failed) {
	for i := range notes {
		j.queue(&appended{record: record{Forwarded: &notes[i]}})
	}
	for i := range failed {
		j.queue(&appended{record: record{Failed: &failed[i]}})
	}
	if len(notes)+len(failed) > 0 {
		j.writeLine()
	}
}

// due is what is to be played next.
type due struct {
	list    []record
	damaged [][]byte // lines of the file among it
	to      int64    // the offset in the file behind it
	last    uint64   // the number of its last record, if that was in line
}

// unreadableTries is how often it is tried to read what cannot be read, before it
// is passed over.
const unreadableTries = 5

// next returns the n oldest records that are not played.
func (j *journal) next(n int) (d due, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	d.to = j.played
	if j.played < j.size {
		take := func(line []byte, list []record, ok bool) {
			d.list = append(d.list, list...)
			if !ok {
				d.damaged = append(d.damaged, line)
			}
		}
		last, err := readLines(j.file, j.played, j.size, n, take)
		if err != nil {
			if j.unreadable++; j.unreadable < unreadableTries {
				return due{}, fmt.Errorf("journal: cannot read %s: %w", j.path, err)
			}
			j.log.Error("a part of the journal cannot be read, and is passed over", "file", j.path, "error", err)
			d.list, d.damaged = nil, nil
			if last, err = readLines(&sturdy{file: j.file}, j.played, j.size, n, take); err != nil {
				return due{}, err
			}
		}
		d.to = last.to
		return d, nil
	}
	j.lineMu.Lock()
	defer j.lineMu.Unlock()
	some, _ := cut(j.line, n)
	for _, a := range some {
		d.list, d.last = append(d.list, a.record), a.number
	}
	return d, nil
}

// done says that what was due is in the store, or set aside. It empties the file
// when nothing is left to play.
func (j *journal) done(d *due) {
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
			j.forget(&j.line[n].record)
		}
		_, j.line = cut(j.line, n)
		j.pending.Add(-int64(n))
		return
	}
	for i := range d.list {
		j.forget(&d.list[i])
	}
	j.played, j.unreadable = d.to, 0
	if j.played < j.size {
		j.pending.Store(max(j.pending.Load()-int64(len(d.list)+len(d.damaged)), int64(len(j.line))+1))
		return
	}
	// What became of lines that were damaged after they were written is not known.
	j.pending.Store(int64(len(j.line)))
	for ; j.unresolved > 0 && !slices.ContainsFunc(j.line, func(a *appended) bool { return a.record.Unresolved }); j.unresolved-- {
		j.everywhere.Add(-1)
	}
	if err := errors.Join(j.file.Truncate(0), j.file.Sync()); err != nil {
		j.log.Warn("the journal cannot be emptied, it will be played again at the next start", "file", j.path, "error", err)
		return
	}
	j.size, j.played = 0, 0
}

// setAside keeps a record that the store refuses while it takes others, so
// that it does not stand in the way of all that follow.
func (j *journal) setAside(r record, why error) {
	line, _ := json.Marshal(r)
	j.putAside(".refused", append(line, '\n'), "the store refuses a record of the journal; set aside", why)
}

// putAside appends to a file beside the journal, for a person to read, and logs that.
func (j *journal) putAside(ending string, line []byte, what string, why error) {
	f, err := os.OpenFile(j.path+ending, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.Write(line)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	j.log.Error(what, "file", j.path+ending, "error", why, "kept", err == nil)
}
