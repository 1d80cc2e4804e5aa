package cluster

import (
	"context"
	"time"
)

// For the tests in package cluster_test.
const (
	LeaseTime      = leaseTime
	HeartbeatEvery = heartbeatEvery
)

func (c *Cluster) ReadClock(ctx context.Context) error { return c.readClock(ctx) }

// FollowAndPrune follows, and prunes at the interval every.
func (c *Cluster) FollowAndPrune(ctx context.Context, every time.Duration) { c.follow(ctx, every) }
