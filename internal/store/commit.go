package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"quell/internal/outage"
)

// maxBatch bounds a transaction, so that the first of many need not wait for
// them all.
const maxBatch = 1000

// maxUrgent is how many transactions of what is urgent may come one after the
// other while a background task waits; a batch that has begun then, of two of
// them, is ended.
const maxUrgent = 6

// maxNotes bounds the forwarded alerts that wait to be noted while a batch is
// under way; about 20 MB.
const maxNotes = 100_000

// maxWaiting bounds the decisions that wait while the database hangs, and the
// tasks; about 20 MB. They are given up long before they are many, and the
// committer finds them when it is free again.
const maxWaiting = 20_000

// queue is what waits for the committer.
type queue struct {
	wake chan struct{} // holds a token when something may wait

	mu         sync.Mutex // guards what follows
	decisions  []*decision
	tasks      []*task
	background []*task
	notes      []Forwarded
	failed     []Failed
	untracked  []Untracked
	lostNotes  int
	lostFailed int
	closed     bool
}

// A task is a change of the store that somebody waits for.
type task struct {
	run  func(ctx context.Context) error // within a transaction of s.conn
	then func()                          // after the commit, before the next batch
	done chan error                      // holds one
}

// The states of a decision. It is abandoned when its alert has gone forward.
const (
	waiting int32 = iota
	taken
	decided
	abandoned
)

type batch struct {
	decisions  []*decision
	tasks      []*task
	notes      []Forwarded
	failed     []Failed
	untracked  []Untracked
	lostNotes  int
	lostFailed int
	later      bool // its task is of the background
}

func (b *batch) size() int {
	return len(b.decisions) + len(b.tasks) + len(b.notes) + len(b.failed) + len(b.untracked)
}

func (b *batch) empty() bool { return b.size() == 0 }

// push adds to the queue by f, which may refuse, unless it is closed; and wakes
// the committer.
func (q *queue) push(f func() bool) bool {
	q.mu.Lock()
	pushed := !q.closed && f()
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return pushed
}

// take returns the next batch: all that is urgent up to the bound, or else, or if
// it is its turn, one background task.
func (q *queue) take(turn bool) (b batch, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer func() {
		more = len(q.decisions)+len(q.tasks)+len(q.notes)+len(q.failed)+len(q.untracked)+len(q.background) > 0
	}()
	if turn && len(q.background) > 0 {
		b.tasks, q.background = cut(q.background, 1)
		b.later = true
		return b, false
	}
	b.decisions, q.decisions = cut(q.decisions, maxBatch)
	b.tasks, q.tasks = cut(q.tasks, maxBatch)
	b.notes, q.notes = cut(q.notes, maxBatch)
	b.notes = append(b.notes, q.notesOf(b.decisions)...)
	b.failed, q.failed = cut(q.failed, maxBatch)
	b.untracked, q.untracked = cut(q.untracked, maxBatch)
	b.lostNotes, q.lostNotes = q.lostNotes, 0
	b.lostFailed, q.lostFailed = q.lostFailed, 0
	if b.empty() {
		b.tasks, q.background = cut(q.background, 1)
		b.later = true
	}
	return b, false
}

// notesOf takes out of the notes that wait those of alerts that are about to be
// decided, so that a retry does not overtake the note of its first try.
func (q *queue) notesOf(ds []*decision) (found []Forwarded) {
	if len(ds) == 0 || len(q.notes) == 0 {
		return nil
	}
	deciding := make(map[alertKey]bool, len(ds))
	for _, d := range ds {
		deciding[keyOfAlert(&d.alert)] = true
	}
	var left []Forwarded
	for i, f := range q.notes {
		switch {
		case !deciding[f.key()]:
			if found != nil {
				left = append(left, f)
			}
		case found == nil:
			left = append(left, q.notes[:i]...)
			fallthrough
		default:
			found = append(found, f)
		}
	}
	if found != nil {
		q.notes = left
	}
	return found
}

// put appends to what waits in a lane, unless that is full.
func put[T any](lane *[]T, v T) bool {
	if len(*lane) >= maxWaiting {
		return false
	}
	*lane = append(*lane, v)
	return true
}

// cut takes up to n from the front of s.
func cut[T any](s []T, n int) (front, rest []T) {
	if len(s) <= n {
		return s, nil
	}
	return s[:n:n], s[n:]
}

// commitLoop is the committer. While the journal holds something, or the store
// is down, it tries again by itself, with growing pauses up to two seconds, each
// taken with a jitter of a half up or down: when a database is back, its nodes
// come one after the other.
func (s *Store) commitLoop(ctx context.Context) {
	defer close(s.stopped)
	pause := 100 * time.Millisecond
	for more := true; ; {
		if !more {
			var retry <-chan time.Time
			if s.journal.pending.Load() > 0 || !s.Available() {
				retry = time.After(pause/2 + rand.N(pause))
				pause = min(2*pause, 2*time.Second)
			} else {
				pause = 100 * time.Millisecond
			}
			select {
			case <-s.queue.wake:
			case <-retry:
			case <-ctx.Done():
				s.drain()
				return
			}
		}
		more, _ = s.commitNext(context.WithoutCancel(ctx)) // the waiting are told
	}
}

// commitNext commits the next batch, or, if the database does not answer before,
// gives up all that waits.
func (s *Store) commitNext(ctx context.Context) (more bool, err error) {
	if err := s.catchUp(ctx); err != nil {
		s.giveUp(err)
		return false, err
	}
	b, more := s.queue.take(s.urgent > maxUrgent)
	if b.later {
		s.urgent = 0
	}
	s.commitBatch(ctx, &b)
	return more, nil
}

// catchUp does what comes before all that waits: the journal's windows and
// corrections are older. A record that gets into it behind this is of an alert
// or a request that is not answered yet.
func (s *Store) catchUp(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	return s.playJournal(ctx)
}

// giveUp fails all that waits: to find out that the database hangs takes seconds,
// in which much may come.
func (s *Store) giveUp(err error) {
	for more := true; more; {
		var b batch
		b, more = s.queue.take(false)
		s.finish(&b, err)
	}
}

// drain commits what waits at Close and refuses what comes later.
func (s *Store) drain() {
	s.queue.mu.Lock()
	s.queue.closed = true
	s.queue.mu.Unlock()
	ctx := context.Background()
	for more := true; more; {
		var err error
		if more, err = s.commitNext(ctx); err != nil {
			return
		}
	}
	// What those have left who did not wait for the last batch.
	if s.playJournal(ctx) == nil && s.remote {
		s.leave(ctx)
	}
}

// commitBatch runs one batch as one transaction. Notes come before decisions,
// so that a retry finds the note of its first try; tasks and failures come before
// decisions, which at worst forwards an alert that arrived with a withdrawal.
//
// What the database refuses fails alone: the batch is then committed in halves.
func (s *Store) commitBatch(ctx context.Context, b *batch) {
	live := b.decisions[:0]
	for _, d := range b.decisions {
		if d.state.CompareAndSwap(waiting, taken) {
			live = append(live, d)
		}
	}
	b.decisions = live
	if b.empty() {
		return // all of it was given up
	}
	if s.oneTrip && len(b.tasks)+len(b.failed)+len(b.untracked) == 0 && len(b.decisions) > 0 && s.opts.BeforeCommit == nil {
		if s.commitInOneTrip(ctx, b); b.empty() {
			return
		}
	}
	start := time.Now()
	s.urgent++
	err := s.inTx(ctx, func(ctx context.Context) error {
		if err := s.correct(ctx, b.notes...); err != nil {
			return err
		}
		for _, t := range b.tasks {
			if err := t.run(ctx); err != nil {
				return err
			}
		}
		if err := s.fail(ctx, b.failed...); err != nil {
			return err
		}
		if err := s.insertUntracked(ctx, b.untracked); err != nil {
			return err
		}
		if err := s.decideBatch(ctx, b.decisions); err != nil {
			return err
		}
		if s.opts.BeforeCommit != nil && len(b.decisions) > 0 {
			s.opts.BeforeCommit()
		}
		return nil
	})
	if b.size() > 1 && s.reader.engine.refuses(err) {
		for _, half := range b.halves() {
			s.commitBatch(ctx, &half)
		}
		return
	}
	s.committed(b, start, err)
}

// halves divides a batch in the order in which its parts are committed.
func (b *batch) halves() [2]batch {
	n := b.size() / 2
	var first, second batch
	first.notes, second.notes = cut(b.notes, n)
	n -= len(first.notes)
	first.tasks, second.tasks = cut(b.tasks, n)
	n -= len(first.tasks)
	first.failed, second.failed = cut(b.failed, n)
	n -= len(first.failed)
	first.untracked, second.untracked = cut(b.untracked, n)
	n -= len(first.untracked)
	first.decisions, second.decisions = cut(b.decisions, n)
	for _, d := range b.decisions {
		d.state.CompareAndSwap(taken, waiting) // unless it has been abandoned meanwhile
	}
	second.lostNotes, second.lostFailed = b.lostNotes, b.lostFailed
	return [2]batch{first, second}
}

// committed tells of a transaction, and finishes its batch.
func (s *Store) committed(b *batch, start time.Time, err error) {
	if s.opts.OnCommit != nil {
		s.opts.OnCommit(len(b.decisions), time.Since(start), err)
	}
	s.finish(b, err)
}

// commitInOneTrip commits what a batch has of suppressions, and its notes, in
// one packet: a lone alert then takes little longer than a lone commit. Nothing
// is known of the other decisions afterwards, so they are left in the batch.
func (s *Store) commitInOneTrip(ctx context.Context, b *batch) {
	start := time.Now()
	s.urgent++
	var list []outage.Entry
	err := s.inTx(ctx, func(ctx context.Context) error {
		if err := s.correct(ctx, b.notes...); err != nil {
			return err
		}
		return s.suppress(ctx, b.decisions, &list)
	})
	done := *b
	*b = batch{}
	switch {
	case err == nil:
		done.decisions, b.decisions = takeEntries(done.decisions, list)
		s.oneTrip = len(b.decisions) == 0
	case done.size() > 1 && s.reader.engine.refuses(err):
		*b, s.oneTrip = done, false // to find out which
		return
	}
	s.committed(&done, start, err)
}

// finish tells the waiting what became of a batch. If it failed, its notes go
// to the journal.
func (s *Store) finish(b *batch, err error) {
	if b.lostFailed > 0 {
		s.opts.Log.Error("failures of activations were not noted, their windows may be open", "failures", b.lostFailed)
	}
	if b.lostNotes > 0 {
		s.opts.Log.Error("forwarded alerts were not noted, their retries will be decided anew", "alerts", b.lostNotes)
	}
	if err != nil {
		s.lostUntracked.Add(int64(len(b.untracked)))
	} else if lost := s.lostUntracked.Swap(0); lost > 0 {
		s.opts.Log.Warn("11.3s that were not tracked were not kept, the audit trail has them", "requests", lost)
	}
	switch {
	case s.reader.engine.refuses(err):
		s.opts.Log.Error("the store refuses what it is asked to keep", "error", err)
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		s.fails(err)
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		s.journal.keep(b.notes, b.failed)
	case !b.empty():
		s.answers()
	}
	for _, t := range b.tasks {
		if err == nil {
			t.then()
		}
		t.done <- err
	}
	for _, d := range b.decisions {
		d.err = err
		d.state.Store(decided) // if it was abandoned, nobody looks any more
		close(d.done)
	}
}

// Note remembers that an alert was forwarded without being asked about, so that
// its retry is forwarded too; if it has an entry, that is corrected. It does not
// wait: an alert that is queued later finds the note.
func (s *Store) Note(f Forwarded) {
	s.queue.push(func() bool {
		if len(s.queue.notes) < maxNotes {
			s.queue.notes = append(s.queue.notes, f)
		} else {
			s.queue.lostNotes++
		}
		return true
	})
}

// Failed says that the activation of a request did not run, and why.
type Failed struct {
	Request outage.RequestID `json:"request"`
	Why     string           `json:"why"` // a few words
}

// Fail closes the windows of a request whose activation did not run, if any is
// known of it. It does not wait.
func (s *Store) Fail(f Failed) {
	s.queue.push(func() bool {
		if len(s.queue.failed) < maxNotes {
			s.queue.failed = append(s.queue.failed, f)
		} else {
			s.queue.lostFailed++
		}
		return true
	})
}

// fail is Fail within the committer's transaction. What the request had replaced
// stays replaced: the meter may have forgotten that.
func (s *Store) fail(ctx context.Context, list ...Failed) error {
	for _, f := range list {
		if err := s.conn.later(ctx, `UPDATE activation SET state = 'failed', standing = 0, why = ? WHERE request_id = ? AND state IN ('unanswered', 'accepted', 'uncertain')`,
			f.Why, f.Request.String()); err != nil {
			return err
		}
		// An attempt that was refused may be accepted yet, where they overlap.
		if err := s.conn.later(ctx, `UPDATE activation SET why = ? WHERE request_id = ? AND state = 'withdrawn'`, f.Why, f.Request.String()); err != nil {
			return err
		}
	}
	return nil
}

// Check reports whether the store answers, by a transaction that changes
// nothing.
func (s *Store) Check(ctx context.Context) error {
	return s.do(ctx, urgent, func(context.Context) error { return nil })
}
