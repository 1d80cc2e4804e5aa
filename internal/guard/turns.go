package guard

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Bounds of what one client asks at once. An answer may take 30 MiB while it is made, and a client
// that reads slowly keeps it: without a bound, one could use up the memory that messages need.
const (
	turnsEach = 8
	turnWait  = 5 * time.Second
)

var errTurns = errors.New("too many requests at once")

// turns lets each client have up to turnsEach requests under way. Others of the same client wait.
type turns struct {
	mu sync.Mutex // guards the map, and the counts in it
	of map[string]*turn
}

type turn struct {
	places chan struct{}
	users  int // requests that have a place or wait for one
}

// begin waits for a place of a client, up to turnWait. The caller calls end when the request is over;
// end is nil if there was no place.
func (t *turns) begin(ctx context.Context, key string) (end func()) {
	t.mu.Lock()
	if t.of == nil {
		t.of = map[string]*turn{}
	}
	one, ok := t.of[key]
	if !ok {
		one = &turn{places: make(chan struct{}, turnsEach)}
		t.of[key] = one
	}
	one.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(t.of, key)
		}
	}
	wait := time.NewTimer(turnWait)
	defer wait.Stop()
	select {
	case one.places <- struct{}{}:
		return func() { <-one.places; leave() }
	case <-wait.C:
	case <-ctx.Done():
	}
	leave()
	return nil
}
