package sqldb

import (
	"context"
	"sync"
)

// maxBatch is how many values of a lane one transaction writes at most, so that the first
// of many does not have to wait for all of them.
const maxBatch = 1000

// MaxWaiting is how many values of a lane may wait while the database hangs, unless the
// lane sets another limit. They take about 20 MB at most.
const MaxWaiting = 20_000

// LaneOptions say how the values of a lane are written.
type LaneOptions[T any] struct {
	Max   int  // how many may wait; MaxWaiting if it is 0
	Early bool // the values are written before the changes of Write, not after them
	// Write writes values in a transaction. If the database refuses some, it is called
	// again with parts of them.
	Write func(ctx context.Context, tx Tx, list []T) error
	// Done is called when the transaction is over. The error wraps ErrUnavailable.
	Done func(list []T, err error)
	// Gone, if it is set, reports whether nobody waits for a value any more; it is dropped.
	Gone func(T) bool
	// Left, if it is set, is called after a commit, before Done. It divides the values
	// into those that are done, and those that need another transaction.
	Left func(list []T) (done, left []T)
}

// Lane collects values of one kind for the writer, which writes many at a time.
type Lane[T any] struct {
	LaneOptions[T]
	queue   *queue
	waiting []T // guarded by queue.mu
}

// NewLane adds a lane to a database whose writer is not started. In a transaction, lanes
// are written in the order in which they were added.
func NewLane[T any](db *DB, opts LaneOptions[T]) *Lane[T] {
	l := newLane(&db.queue, opts)
	if opts.Early {
		db.queue.first = append(db.queue.first, l)
	} else {
		db.queue.last = append(db.queue.last, l)
	}
	return l
}

func newLane[T any](q *queue, opts LaneOptions[T]) *Lane[T] {
	if opts.Max == 0 {
		opts.Max = MaxWaiting
	}
	return &Lane[T]{LaneOptions: opts, queue: q}
}

// Add adds a value to the lane, and does not wait. It returns false if the lane is full or
// the database is closed.
func (l *Lane[T]) Add(v T) bool {
	l.queue.mu.Lock()
	ok := !l.queue.closed && len(l.waiting) < l.Max
	if ok {
		l.waiting = append(l.waiting, v)
	}
	l.queue.mu.Unlock()
	l.queue.wakeUp()
	return ok
}

// Waiting returns how many values wait.
func (l *Lane[T]) Waiting() int {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return len(l.waiting)
}

// queue is what waits for the writer.
type queue struct {
	wake chan struct{} // holds a token when something may wait

	mu          sync.Mutex // guards closed, and the values that wait in the lanes
	closed      bool
	first, last []lane
	tasks       *Lane[*task]
	background  *Lane[*task]
}

func (q *queue) init(db *DB) {
	q.wake = make(chan struct{}, 1)
	changes := LaneOptions[*task]{
		Write: func(ctx context.Context, tx Tx, list []*task) error {
			for _, t := range list {
				if err := t.run(ctx, tx); err != nil {
					return err
				}
			}
			return nil
		},
		Done: func(list []*task, err error) {
			for _, t := range list {
				t.done(err)
			}
		},
	}
	q.tasks, q.background = newLane(q, changes), newLane(q, changes)
}

func (q *queue) wakeUp() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Wake makes the writer run at once, when Prepare has something to do.
func (db *DB) Wake() { db.queue.wakeUp() }

// lanes returns the urgent lanes, in the order in which they are written.
func (q *queue) lanes() []lane {
	list := append(make([]lane, 0, 8), q.first...)
	return append(append(list, q.tasks), q.last...)
}

// take returns the next batch: everything urgent, up to maxBatch of each lane; or one
// background task, if nothing urgent waits or background asks for a task first.
func (q *queue) take(background bool) (b batch, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lanes := q.lanes()
	if !background || q.background.empty() {
		for _, l := range lanes {
			if p := l.take(maxBatch); p != nil {
				b.parts = append(b.parts, p)
			}
		}
	}
	if len(b.parts) == 0 {
		if p := q.background.take(1); p != nil {
			b.parts, b.background = append(b.parts, p), true
		}
	}
	more = !q.background.empty()
	for _, l := range lanes {
		more = more || !l.empty()
	}
	return b, more
}

// close makes the lanes refuse values from now on.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// A lane is a Lane of any type. Callers hold queue.mu.
type lane interface {
	empty() bool
	take(n int) part // nil if nothing waits
}

// A part is what one batch has of one lane.
type part interface {
	size() int
	split(n int) (front, rest part)
	write(ctx context.Context, tx Tx) error
	left() part // what needs another transaction; nil if nothing
	done(err error)
}

func (l *Lane[T]) empty() bool { return len(l.waiting) == 0 }

func (l *Lane[T]) take(n int) part {
	var some []T
	some, l.waiting = cut(l.waiting, n)
	if l.Gone != nil {
		live := some[:0]
		for _, v := range some {
			if !l.Gone(v) {
				live = append(live, v)
			}
		}
		some = live
	}
	if len(some) == 0 {
		return nil
	}
	return &partOf[T]{l, some}
}

type partOf[T any] struct {
	lane *Lane[T]
	list []T
}

func (p *partOf[T]) size() int { return len(p.list) }

func (p *partOf[T]) split(n int) (front, rest part) {
	a, b := cut(p.list, n)
	return &partOf[T]{p.lane, a}, &partOf[T]{p.lane, b}
}

func (p *partOf[T]) write(ctx context.Context, tx Tx) error {
	if len(p.list) == 0 {
		return nil
	}
	return p.lane.Write(ctx, tx, p.list)
}

func (p *partOf[T]) left() part {
	if p.lane.Left == nil {
		return nil
	}
	var left []T
	if p.list, left = p.lane.Left(p.list); len(left) == 0 {
		return nil
	}
	return &partOf[T]{p.lane, left}
}

func (p *partOf[T]) done(err error) {
	if len(p.list) > 0 {
		p.lane.Done(p.list, err)
	}
}

// cut takes up to n values from the front of s.
func cut[T any](s []T, n int) (front, rest []T) {
	if len(s) <= n {
		return s, nil
	}
	return s[:n:n], s[n:]
}
