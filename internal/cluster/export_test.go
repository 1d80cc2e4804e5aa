package cluster

import (
	"context"
	"time"
)

// For the tests in package cluster_test.
const (
	LeaseTime = leaseTime
	BeatEvery = beatEvery
)

func (c *Cluster) ReadClock(ctx context.Context) error { return c.readClock(ctx) }

// FollowAndPrune follows, and prunes at every look.
func (c *Cluster) FollowAndPrune(ctx context.Context, every time.Duration) { c.follow(ctx, every) }
