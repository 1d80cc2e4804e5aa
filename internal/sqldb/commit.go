package sqldb

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// maxUrgent is how many urgent transactions may follow each other while a background
// task waits. A batch that needs several transactions is finished first.
const maxUrgent = 6

// A batch is what one transaction writes.
type batch struct {
	parts      []part
	background bool // it is one background task
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

// left returns what needs another transaction, as the lanes say.
func (b *batch) left() (rest batch) {
	for _, p := range b.parts {
		if left := p.left(); left != nil {
			rest.parts = append(rest.parts, left)
		}
	}
	return rest
}

// writeLoop is the writer. While Prepare has something left to do, or the database does
// not answer, it tries again, with pauses that grow to two seconds. Each is up to a half
// shorter or longer at random, so that nodes do not all return to a database at once.
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
		more, _ = db.writeNext(context.WithoutCancel(ctx)) // those who wait get the error
	}
}

// writeNext commits the next batch. If Prepare.First fails, all that waits fails.
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

// drain commits what waits when the database is closed, and refuses later changes.
func (db *DB) drain() {
	db.queue.close()
	ctx := context.Background()
	for more := true; more; {
		var err error
		if more, err = db.writeNext(ctx); err != nil {
			return
		}
	}
	// Callers that gave up during the last batch may have left work for First.
	if db.prepare.First(ctx) == nil && db.prepare.Last != nil {
		db.prepare.Last(ctx)
	}
}

// commit commits a batch as one transaction. If the database refuses something in it, the
// halves are committed one after the other, until what is refused fails alone.
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

// finish reports the result of a batch to those who wait for it, and logs a failure.
func (db *DB) finish(b batch, err error) {
	switch {
	case db.Refuses(err):
		db.log.Error("the store refuses what it is asked to keep", "error", err)
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		db.setTrouble(err)
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	case b.size() > 0:
		db.ClearTrouble("the store answers again")
	}
	for _, p := range b.parts {
		p.done(err)
	}
}
