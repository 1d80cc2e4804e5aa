package store

import (
	"context"
	"fmt"
	"time"
)

// how says how a change is made. Several may be joined.
type how uint8

const (
	// urgent: in the next transaction, beside all else that is urgent.
	urgent how = 0
	// later: behind what is urgent, in a transaction of its own. One in ten at least, as
	// long as any waits, is of these.
	later how = 1 << (iota - 1)
	// surely: asked again where the store's answer was lost. The change finds out what it
	// has done already, so that doing it again changes nothing.
	surely
	// leading: later, and only while this node leads.
	leading
)

// write makes a change of the store within a transaction of the committer, and returns
// its value when that is committed; then is told it after the commit, before the next
// transaction begins. The error is ErrUnavailable if the store fails, or if ctx ends
// first: the change may then still be made. It is ErrNotLeading if this node does not
// lead, and should.
func write[T any](ctx context.Context, s *Store, h how, change func(ctx context.Context) (T, error), then ...func(T)) (T, error) {
	if h&surely == 0 {
		return writeOnce(ctx, s, h, change, then)
	}
	ctx, cancel := context.WithTimeout(ctx, sureFor)
	defer cancel()
	for refused := false; ; {
		v, err := writeOnce(ctx, s, h, change, then)
		if err == nil {
			return v, nil
		}
		before := refused
		if refused = s.reader.engine.refuses(err); refused && before {
			return v, err // once may be of something else in the transaction
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return v, fmt.Errorf("it may have taken effect or not: %w", err)
		}
	}
}

// sureFor bounds the asking for what is to be surely made.
const sureFor = 10 * time.Second

// writeOnce is write without asking again. The value belongs to the committer until it
// has answered: a caller that gives up waiting does not look at it.
func writeOnce[T any](ctx context.Context, s *Store, h how, change func(ctx context.Context) (T, error), then []func(T)) (none T, _ error) {
	var v T
	leads := true
	t := &task{done: make(chan error, 1), run: func(ctx context.Context) (err error) {
		if h&leading != 0 {
			if leads, err = s.leadsStill(ctx); err != nil || !leads {
				return err
			}
		}
		v, err = change(ctx)
		return err
	}, then: func() {
		for _, f := range then {
			if leads {
				f(v)
			}
		}
	}}
	lane := &s.queue.tasks
	if h&(later|leading) != 0 {
		lane = &s.queue.background
	}
	if !s.queue.push(func() bool { return put(lane, t) }) {
		return none, ErrUnavailable
	}
	select {
	case err := <-t.done:
		switch {
		case err != nil:
			return none, err
		case !leads:
			return none, ErrNotLeading
		}
		return v, nil
	case <-ctx.Done():
		return none, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// do is write for a change that has no value.
func (s *Store) do(ctx context.Context, h how, change func(ctx context.Context) error) error {
	_, err := write(ctx, s, h, func(ctx context.Context) (struct{}, error) { return struct{}{}, change(ctx) })
	return err
}
