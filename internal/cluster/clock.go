package cluster

import (
	"context"
	"time"

	"quell/internal/sqldb"
)

// clock is what a look at the database's clock showed.
type clock struct {
	server time.Time
	here   time.Time     // what this node's clock said then
	at     time.Duration // when it was so here, by Options.Elapsed
	within time.Duration // how far the look may be off
}

// Now is the time: this node's, or the database's where that differs by more than the
// tolerance.
func (c *Cluster) Now() time.Time {
	now := c.opts.Now()
	ahead, wrong := c.offset(now)
	if wrong && (ahead > 0 || c.ClockSure()) {
		return now.Add(-ahead)
	}
	return now
}

// Elapsed is the time since some instant, whatever the clock is set to.
func (c *Cluster) Elapsed() time.Duration { return c.opts.Elapsed() }

// ClockSure reports whether this node knows the time. It does not when its clock has been
// set since the last look at the database's. Until the next look the time is then the
// earlier of the two, which opens no window too late.
func (c *Cluster) ClockSure() bool {
	seen := c.clock.Load()
	if seen == nil {
		return true
	}
	jump := c.opts.Now().Round(0).Sub(seen.here) - (c.opts.Elapsed() - seen.at)
	tolerance := time.Duration(c.tolerance.Load())
	return tolerance <= 0 || jump.Abs() <= tolerance
}

// ClockOffset is how far this node's clock is ahead of the database's, and whether that is
// too far. It is 0 where there is no other clock to compare with.
func (c *Cluster) ClockOffset() (ahead time.Duration, wrong bool) { return c.offset(c.opts.Now()) }

func (c *Cluster) offset(now time.Time) (ahead time.Duration, wrong bool) {
	seen := c.clock.Load()
	if seen == nil {
		return 0, false
	}
	ahead = now.Round(0).Sub(seen.server.Add(c.opts.Elapsed() - seen.at))
	tolerance := time.Duration(c.tolerance.Load())
	return ahead, tolerance > 0 && ahead.Abs()-seen.within > tolerance
}

// SetClockTolerance says how far clocks may differ.
func (c *Cluster) SetClockTolerance(d time.Duration) { c.tolerance.Store(int64(d)) }

// readClock compares this node's clock with the database's.
func (c *Cluster) readClock(ctx context.Context) error {
	here, at := c.opts.Now().Round(0), c.opts.Elapsed()
	var server int64
	if err := c.db.QueryRow(ctx, `SELECT `+sqldb.ServerTime).Scan(&server); err != nil {
		return err
	}
	half := (c.opts.Elapsed() - at) / 2
	_, was := c.ClockOffset()
	c.clock.Store(&clock{sqldb.Instant(server), here.Add(half), at + half, half})
	switch ahead, wrong := c.ClockOffset(); {
	case wrong && !was:
		c.opts.Log.Error("this node's clock and the database's differ; the database's counts", "ahead", ahead.Round(time.Millisecond))
	case was && !wrong:
		c.opts.Log.Info("this node's clock is right again")
	}
	return nil
}
