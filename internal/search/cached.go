package search

import (
	"context"
	"sync"
	"time"
)

const (
	// A count is made again when somebody asks and the last one is at least freshFor old, and as old
	// as it took to make, times restShare: counting uses no more than that share of a reader.
	freshFor  = 15 * time.Second
	restShare = 5
	// countLimit is how long a count may take.
	countLimit = 30 * time.Minute
)

// cached is a value that takes long to compute.
type cached[T any] struct {
	mu      sync.Mutex // guards the next fields
	value   T
	known   bool
	failed  error         // why the last computation failed; nil if it did not
	due     time.Time     // when the next computation may start
	running chan struct{} // closed when the computation under way ends; nil if there is none
}

// get returns the last value. If it is old, a computation starts in the background. known is false
// until the first one has succeeded; a caller before that waits for it, at most that long.
func (c *cached[T]) get(ctx context.Context, wait time.Duration, compute func(context.Context) (T, error)) (value T, known bool) {
	c.mu.Lock()
	if c.running == nil && !time.Now().Before(c.due) {
		c.running = make(chan struct{})
		go c.run(c.running, compute)
	}
	value, known = c.value, c.known
	running := c.running
	c.mu.Unlock()
	if known || running == nil {
		return value, known
	}
	select {
	case <-running:
	case <-time.After(wait):
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.known
}

func (c *cached[T]) run(done chan struct{}, compute func(context.Context) (T, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), countLimit)
	defer cancel()
	began := time.Now()
	value, err := compute(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed = err; err == nil {
		c.value, c.known = value, true
	}
	c.due = time.Now().Add(max(freshFor, restShare*time.Since(began)))
	c.running = nil
	close(done)
}

// failure returns why there is no value; nil if there is one, or one is being computed.
func (c *cached[T]) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known || c.running != nil {
		return nil
	}
	return c.failed
}

// rest waits after a step of a count as long as the step took, so that others come first.
func rest(ctx context.Context, began time.Time) error {
	select {
	case <-time.After(min(time.Since(began), 100*time.Millisecond)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
