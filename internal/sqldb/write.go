package sqldb

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How says how a change is made. Values may be joined by |.
type How uint8

const (
	// Urgent: in the next transaction, with all else that is urgent.
	Urgent How = 0
	// Background: after what is urgent, in a transaction of its own.
	Background How = 1 << (iota - 1)
	// Retry: if the database fails, the change is made again, for 10 s at most. An answer
	// may have been lost, so the change must find out what it has done already.
	Retry
)

// Write makes a change in a transaction of the writer, and returns its value after the
// commit. then is called with the value after the commit and before the next transaction
// begins. The error is ErrUnavailable if the database fails, or if ctx ends first: the
// change may then still be made.
func Write[T any](ctx context.Context, db *DB, how How, change func(ctx context.Context, tx Tx) (T, error), then ...func(T)) (T, error) {
	if how&Retry == 0 {
		return writeOnce(ctx, db, how, change, then)
	}
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	for refused := false; ; {
		v, err := writeOnce(ctx, db, how, change, then)
		if err == nil || isUnchanged(err) {
			return v, err
		}
		before := refused
		if refused = db.Refuses(err); refused && before {
			return v, err // the first refusal may be of something else in the transaction
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return v, fmt.Errorf("it may have taken effect or not: %w", err)
		}
	}
}

// retryFor limits how long a change is retried.
const retryFor = 10 * time.Second

// Do is Write for a change that has no value.
func (db *DB) Do(ctx context.Context, how How, change func(ctx context.Context, tx Tx) error) error {
	_, err := Write(ctx, db, how, func(ctx context.Context, tx Tx) (struct{}, error) { return struct{}{}, change(ctx, tx) })
	return err
}

// Ping returns nil if the database answers. It runs a transaction that changes nothing.
func (db *DB) Ping(ctx context.Context) error {
	return db.Do(ctx, Urgent, func(context.Context, Tx) error { return nil })
}

// Unchanged wraps the error of a change that has changed nothing, and did not fail because
// of the database. The rest of its transaction is committed, and Write returns an error
// that wraps err.
func Unchanged(err error) error { return &unchanged{err} }

type unchanged struct{ error }

func (u *unchanged) Unwrap() error { return u.error }

func isUnchanged(err error) bool {
	var u *unchanged
	return errors.As(err, &u)
}

// A task is a change whose caller waits for it.
type task struct {
	run  func(ctx context.Context, tx Tx) error
	done func(err error) // called once, when the transaction is over
}

func writeOnce[T any](ctx context.Context, db *DB, how How, change func(ctx context.Context, tx Tx) (T, error), then []func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	out := make(chan result, 1)
	var r result // only the writer uses it, until it is sent
	t := &task{run: func(ctx context.Context, tx Tx) error {
		r.v, r.err = change(ctx, tx)
		if isUnchanged(r.err) {
			return nil
		}
		return r.err
	}, done: func(err error) {
		if err != nil {
			r.err = err
		} else if r.err == nil {
			for _, f := range then {
				f(r.v)
			}
		}
		out <- r
	}}
	lane := db.queue.tasks
	if how&Background != 0 {
		lane = db.queue.background
	}
	var none T
	if !lane.Add(t) {
		return none, ErrUnavailable
	}
	select {
	case r := <-out:
		if r.err != nil {
			return none, r.err
		}
		return r.v, nil
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}
