package cluster

import (
	"context"
	"time"
)

const (
	// lookEvery is how often a node looks for what other nodes have written, where the
	// database does not notify it.
	lookEvery = 250 * time.Millisecond
	// pruneEvery is how often it forgets what other nodes have deleted.
	pruneEvery = time.Hour
	// lookTime is how long a look may take before it counts as failed.
	lookTime = time.Second
)

// Following reports whether this node knows what other nodes have written, as far as that
// can be told: it does not while the database does not answer.
func (c *Cluster) Following() bool {
	if !c.db.Remote() {
		return true
	}
	began := c.looking.Load()
	return c.db.Available() && !c.behind.Load() && (began == 0 || c.opts.Elapsed()-time.Duration(began) < lookTime)
}

// follow looks at what other nodes write, and at the database's clock, until ctx ends.
func (c *Cluster) follow(ctx context.Context, pruneEvery time.Duration) {
	notified := make(chan struct{}, 1)
	c.running.Go(func() { c.db.Listen(ctx, notified) })
	pruned := time.Now()
	for {
		c.looking.Store(int64(c.opts.Elapsed()))
		more, err := c.look(ctx)
		failing := c.behind.Swap(err != nil)
		c.looking.Store(0)
		switch {
		case err == nil && failing:
			c.opts.Log.Info("other nodes can be followed again")
		case err != nil && !failing && ctx.Err() == nil:
			c.opts.Log.Error("other nodes cannot be followed: their windows are not known here", "error", err)
		}
		pause := lookEvery
		if more {
			pause = 0
		}
		if time.Since(pruned) > pruneEvery {
			// Where it fails, the next look at other nodes says so.
			done, err := c.opts.Prune(ctx)
			if done && err == nil {
				pause = 0 // what was forgotten and has come back meanwhile is seen again
			}
			if done || err != nil {
				pruned = time.Now()
			}
		}
		select {
		case <-notified:
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (c *Cluster) look(ctx context.Context) (more bool, err error) {
	ctx, cancel := c.db.Bounded(ctx)
	defer cancel()
	if err := c.readClock(ctx); err != nil {
		return false, err
	}
	return c.opts.Look(ctx)
}
