package sqldb

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// maxUrgent is how many transactions of what is urgent may come one after the other
// while a background task waits; a batch that has begun then, of two transactions, is
// ended.
const maxUrgent = 6

// A batch is what one transaction writes.
type batch struct {
	parts      []part
	background bool // its one task is of the background
}

func (b *batch) size() (n int) {
	for _, p := range b.parts {
		n += p.size()
	}
	return n
}

// halves divides a batch in the order in which its parts are written.
func (b *batch) halves() (first, second batch) {
	n := b.size() / 2
	for _, p := range b.parts {
		front, rest := p.split(n)
		n -= front.size()
		first.parts, second.parts = append(first.parts, front), append(second.parts, rest)
	}
	return first, second
}

// left is what the lanes say needs another transaction.
func (b *batch) left() (rest batch) {
	for _, p := range b.parts {
		if left := p.left(); left != nil {
			rest.parts = append(rest.parts, left)
		}
	}
	return rest
}

// writeLoop is the writer. While Prepare has something left, or the database is away, it
// tries again by itself, with growing pauses up to two seconds, each a half longer or
// shorter by chance: when a database is back, its nodes come one after the other.
func (db *DB) writeLoop(ctx context.Context) {
	defer close(db.stopped)
	pause := 100 * time.Millisecond
	for more := true; ; {
		if !more {
			var retry <-chan time.Time
			if db.prepare.Pending() || !db.Available() {
				retry = time.After(pause/2 + rand.N(pause))
				pause = min(2*pause, 2*time.Second)
			} else {
				pause = 100 * time.Millisecond
			}
			select {
			case <-db.queue.wake:
			case <-retry:
			case <-ctx.Done():
				db.drain()
				return
			}
		}
		more, _ = db.writeNext(context.WithoutCancel(ctx)) // who waits gets the error
	}
}

// writeNext commits the next batch. If Prepare fails before, all that waits fails.
func (db *DB) writeNext(ctx context.Context) (more bool, err error) {
	if err := db.prepare.First(ctx); err != nil {
		db.giveUp(err)
		return false, err
	}
	b, more := db.queue.take(db.urgent > maxUrgent)
	if b.background {
		db.urgent = 0
	}
	db.commit(ctx, b)
	return more, nil
}

// giveUp fails all that waits.
func (db *DB) giveUp(err error) {
	for more := true; more; {
		var b batch
		b, more = db.queue.take(false)
		db.finish(b, err)
	}
}

// drain commits what waits when the database is closed, and refuses what comes later.
func (db *DB) drain() {
	db.queue.close()
	ctx := context.Background()
	for more := true; more; {
		var err error
		if more, err = db.writeNext(ctx); err != nil {
			return
		}
	}
	// What those have left who did not wait for the last batch.
	if db.prepare.First(ctx) == nil && db.prepare.Last != nil {
		db.prepare.Last(ctx)
	}
}

// commit commits a batch as one transaction. What the database refuses fails alone: the
// batch is then committed in halves.
func (db *DB) commit(ctx context.Context, b batch) {
	if b.size() == 0 {
		return
	}
	start := time.Now()
	db.urgent++
	err := db.InTx(ctx, func(ctx context.Context, tx Tx) error {
		for _, p := range b.parts {
			if err := p.write(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if b.size() > 1 && db.Refuses(err) {
		first, second := b.halves()
		db.commit(ctx, first)
		db.commit(ctx, second)
		return
	}
	if db.opts.OnCommit != nil {
		db.opts.OnCommit(time.Since(start), err)
	}
	var left batch
	if err == nil {
		left = b.left()
	}
	db.finish(b, err)
	db.commit(ctx, left)
}

// finish says what became of a batch.
func (db *DB) finish(b batch, err error) {
	switch {
	case db.Refuses(err):
		db.log.Error("the store refuses what it is asked to keep", "error", err)
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		db.fails(err)
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	case b.size() > 0:
		db.answers("the store answers again")
	}
	for _, p := range b.parts {
		p.done(err)
	}
}
