package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/outage"
)

// maxHeld bounds the records that are held in memory while even the journal
// cannot be written; about 50 MB.
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
type journal struct {
	path string
	log  *slog.Logger

	appends chan *appended
	quit    chan struct{} // closed by close
	stopped chan struct{} // closed when run has ended
	pending atomic.Int64  // records in the file and held that are not played
	atOnce  int           // records that are played in one transaction; the committer's

	mu     sync.Mutex // guards what follows; is held while the file is written
	file   *os.File
	size   int64 // written and synced
	played int64 // played into the store, from the file's beginning

	heldMu  sync.Mutex // guards what follows; is never waited for long
	held    []record   // could not be written
	dropped int
}

type appended struct {
	record record
	done   chan struct{} // closed when the record is durable, or held
}

// openJournal opens or creates the file. A torn last line, of a record that
// nobody was told is durable, is cut off.
func openJournal(path string, log *slog.Logger) (*journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &journal{path: path, log: log, file: f, appends: make(chan *appended, 1024), atOnce: chunk,
		quit: make(chan struct{}), stopped: make(chan struct{})}
	good, err := j.scan(0, -1, func(record) { j.pending.Add(1) })
	if err == nil {
		var end int64
		if end, err = f.Seek(0, io.SeekEnd); err == nil && end > good {
			log.Warn("the journal's end is torn, cut off", "file", path, "octets", end-good)
			err = f.Truncate(good)
		}
		j.size = good
	}
	if err == nil {
		err = errors.Join(f.Sync(), SyncFolder(filepath.Dir(path)))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("journal: %w", err)
	}
	go j.run()
	return j, nil
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

// append makes a record durable, or holds it in memory if the file cannot be
// written. It returns when that is so, or when ctx ends; the record is on its
// way then.
func (j *journal) append(ctx context.Context, r record) {
	a := &appended{r, make(chan struct{})}
	select {
	case j.appends <- a:
	case <-j.quit:
		j.hold([]*appended{a}, os.ErrClosed)
		return
	case <-ctx.Done():
		j.hold([]*appended{a}, context.Cause(ctx))
		return
	}
	select {
	case <-a.done:
	case <-ctx.Done():
	}
}

// run writes what is appended: all that waits with one sync.
func (j *journal) run() {
	defer close(j.stopped)
	for {
		var group []*appended
		select {
		case a := <-j.appends:
			group = append(group, a)
		case <-j.quit:
		}
		for more := true; more && len(group) < chunk; {
			select {
			case a := <-j.appends:
				group = append(group, a)
			default:
				more = false
			}
		}
		if len(group) == 0 {
			return
		}
		if err := j.write(group); err != nil {
			j.hold(group, err)
		}
		for _, a := range group {
			close(a.done)
		}
	}
}

func (j *journal) write(group []*appended) error {
	var text []byte
	written := 0
	for _, a := range group {
		line, err := json.Marshal(a.record)
		if err != nil {
			j.log.Error("a record cannot be written to the journal, and is lost", "error", err)
			continue
		}
		written++
		text = fmt.Appendf(text, "%08x %s\n", crc32.ChecksumIEEE(line), line)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := j.file.WriteAt(text, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return err
	}
	j.size += int64(len(text))
	j.pending.Add(int64(written))
	return nil
}

func (j *journal) hold(group []*appended, err error) {
	j.heldMu.Lock()
	for _, a := range group {
		if len(j.held) >= maxHeld {
			j.dropped++
			continue
		}
		j.held = append(j.held, a.record)
		j.pending.Add(1)
	}
	held, lost := len(j.held), j.dropped
	j.heldMu.Unlock()
	j.log.Error("THE JOURNAL CANNOT BE WRITTEN; what it should hold is in memory only, and lost if this process ends",
		"file", j.path, "error", err, "held", held, "lost", lost)
}

// keep writes notes that the store did not take. Nobody waits for them; the
// committer calls it between two batches.
func (j *journal) keep(notes []Forwarded, failed []Failed) {
	group := make([]*appended, 0, len(notes)+len(failed))
	for i := range notes {
		group = append(group, &appended{record: record{Forwarded: &notes[i]}})
	}
	for i := range failed {
		group = append(group, &appended{record: record{Failed: &failed[i]}})
	}
	if len(group) == 0 {
		return
	}
	if err := j.write(group); err != nil {
		j.hold(group, err)
	}
}

// scan reads records from an offset on, at most n (all if negative), and
// returns the offset behind the last whole one.
func (j *journal) scan(from int64, n int, yield func(record)) (int64, error) {
	r := bufio.NewReader(io.NewSectionReader(j.file, from, 1<<62))
	for ; n != 0; n-- {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return from, nil // a torn line, or none
		}
		if err != nil {
			return from, err
		}
		rec, ok := parseLine(line)
		if !ok {
			return from, nil
		}
		yield(rec)
		from += int64(len(line))
	}
	return from, nil
}

func parseLine(line []byte) (r record, ok bool) {
	sum, text, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !ok {
		return r, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil || uint32(want) != crc32.ChecksumIEEE(text) {
		return r, false
	}
	return r, json.Unmarshal(text, &r) == nil
}

// next returns the n oldest records that are not played, and the offset behind
// them; records held in memory come after the file's.
func (j *journal) next(n int) (list []record, to int64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.played < j.size {
		to, err = j.scan(j.played, n, func(r record) { list = append(list, r) })
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("journal: cannot read %s at %d", j.path, j.played)
		}
		return list, to, err
	}
	j.heldMu.Lock()
	defer j.heldMu.Unlock()
	list, _ = cut(j.held, n)
	return list, j.played, nil
}

// done says that the n records up to the offset are in the store. It empties
// the file when nothing is left to play.
func (j *journal) done(n int, to int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending.Add(-int64(n))
	if to == j.played {
		j.heldMu.Lock()
		defer j.heldMu.Unlock()
		_, j.held = cut(j.held, n)
		return
	}
	j.played = to
	if j.played < j.size {
		return
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
	f, err := os.OpenFile(j.path+".refused", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	j.log.Error("the store refuses a record of the journal; set aside", "file", j.path+".refused", "error", why, "kept", err == nil)
}

// remember puts a record into the journal. It returns within journalTimeout, so
// that a disk which hangs holds up no message.
func (s *Store) remember(ctx context.Context, r record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	s.journal.append(ctx, r)
	s.queue.push(func() bool { return true }) // wakes the committer, which plays it
}

// Remember is Note for while the store may be away: it waits for the note to be in
// the journal, as far as that can be written at once.
func (s *Store) Remember(ctx context.Context, f Forwarded) { s.remember(ctx, record{Forwarded: &f}) }

// loadJournal counts the windows of the journal at once on this node.
func (s *Store) loadJournal() error {
	_, err := s.journal.scan(0, -1, func(r record) {
		switch {
		case r.Activation == nil:
		case r.Unresolved:
			s.index.unresolved.Add(1)
		default:
			s.index.add(r.Activation.CHF)
		}
	})
	return err
}

// playJournal plays all that the journal holds into the store. What fails is
// tried again with half as many records, since a transaction has a time. A record
// whose content the database refuses is set aside; that it is not there, is not
// whole, or is held by another, is no refusal.
func (s *Store) playJournal(ctx context.Context) error {
	j := s.journal
	for j.pending.Load() > 0 {
		list, to, err := j.next(j.atOnce)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		err = s.play(ctx, list)
		switch refused := s.reader.engine.refuses(err); {
		case refused && len(list) > 1:
			j.atOnce = 1 // to find out which
			continue
		case refused:
			j.setAside(list[0], err)
		case err != nil:
			j.atOnce = max(len(list)/2, 1)
			return err
		}
		j.atOnce = min(2*j.atOnce, chunk)
		j.done(len(list), to)
		if s.down.Swap(false) {
			s.opts.Log.Info("the store answers again, the journal is played", "records", len(list))
		}
	}
	return nil
}

func (s *Store) play(ctx context.Context, list []record) error {
	var found []outage.DeviceID
	resolved := int64(0)
	err := s.inTx(ctx, func(ctx context.Context) error {
		var notes []Forwarded // at once, since there may be many
		for _, r := range list {
			var err error
			switch {
			case r.Activation != nil:
				if r.Unresolved {
					resolved++
				}
				var hub outage.DeviceID
				a, opens, e := s.resolve(ctx, &r)
				if err = e; err == nil {
					hub, _, err = s.insertActivation(ctx, a, !opens)
				}
				found = append(found, hub)
			case r.Failed != nil:
				err = s.fail(ctx, *r.Failed)
			case r.Answer != nil:
				err = s.settleActivation(ctx, r.Answer, r.answer())
			case r.Forwarded != nil:
				notes = append(notes, *r.Forwarded)
			}
			if err != nil {
				return err
			}
		}
		return s.correct(ctx, notes...)
	})
	if err == nil {
		for _, chf := range found {
			s.index.add(chf)
		}
		s.index.unresolved.Add(-resolved)
	}
	return err
}
