package cluster

import (
	"context"
	"time"
)

const (
	// followEvery is how often a node reads what other nodes have written, if the database
	// does not notify it before.
	followEvery = 250 * time.Millisecond
	// pruneEvery is how often a node forgets what other nodes have deleted.
	pruneEvery = time.Hour
	// followTimeout is how long followOnce may take before it counts as failed.
	followTimeout = time.Second
)

// Following reports whether this node knows what other nodes have written, as far as it can
// see. It is false while the database does not answer.
func (c *Cluster) Following() bool {
	if !c.db.Remote() {
		return true
	}
	began := c.followingSince.Load()
	return c.db.Available() && !c.behind.Load() && (began == 0 || c.opts.Elapsed()-time.Duration(began) < followTimeout)
}

// follow reads what other nodes write, and the database's clock, until ctx ends.
func (c *Cluster) follow(ctx context.Context, pruneEvery time.Duration) {
	notified := make(chan struct{}, 1)
	c.running.Go(func() { c.db.Listen(ctx, notified) })
	pruned := time.Now()
	for {
		c.followingSince.Store(int64(c.opts.Elapsed()))
		more, err := c.followOnce(ctx)
		failing := c.behind.Swap(err != nil)
		c.followingSince.Store(0)
		switch {
		case err == nil && failing:
			c.opts.Log.Info("other nodes can be followed again")
		case err != nil && !failing && ctx.Err() == nil:
			c.opts.Log.Error("other nodes cannot be followed: their windows are not known here", "error", err)
		}
		pause := followEvery
		if more {
			pause = 0
		}
		if time.Since(pruned) > pruneEvery {
			// If it fails, the next followOnce fails too, and that is logged.
			done, err := c.opts.Prune(ctx)
			if done && err == nil {
				pause = 0 // reads again what was forgotten and has come back meanwhile
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

func (c *Cluster) followOnce(ctx context.Context) (more bool, err error) {
	ctx, cancel := c.db.Bounded(ctx)
	defer cancel()
	if err := c.readClock(ctx); err != nil {
		return false, err
	}
	return c.opts.Follow(ctx)
}
