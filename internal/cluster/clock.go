package cluster

import (
	"context"
	"time"

	"quell/internal/sqldb"
)

// clock is the result of reading the database's clock.
type clock struct {
	server time.Time
	here   time.Time     // this node's clock at that instant
	at     time.Duration // Options.Elapsed at that instant
	margin time.Duration // how far the reading may be wrong
}

// Now returns the time by this node's clock; or by the database's, if the two differ by
// more than the tolerance.
func (c *Cluster) Now() time.Time {
	now := c.opts.Now()
	ahead, wrong := c.offset(now)
	if wrong && (ahead > 0 || c.ClockSure()) {
		return now.Add(-ahead)
	}
	return now
}

// Elapsed returns the time since a fixed instant. It does not change when the clock is set.
func (c *Cluster) Elapsed() time.Duration { return c.opts.Elapsed() }

// ClockSure reports whether this node is sure of the time. It is not if its clock was set
// since it last read the database's. Then, until it reads that again, Now returns the
// earlier of the two, which opens no window too late.
func (c *Cluster) ClockSure() bool {
	last := c.clock.Load()
	if last == nil {
		return true
	}
	jump := c.opts.Now().Round(0).Sub(last.here) - (c.opts.Elapsed() - last.at)
	tolerance := time.Duration(c.tolerance.Load())
	return tolerance <= 0 || jump.Abs() <= tolerance
}

// ClockOffset returns how far this node's clock is ahead of the database's, and whether that
// is too far. The offset is 0 if there is no other clock to compare with.
func (c *Cluster) ClockOffset() (ahead time.Duration, wrong bool) { return c.offset(c.opts.Now()) }

func (c *Cluster) offset(now time.Time) (ahead time.Duration, wrong bool) {
	last := c.clock.Load()
	if last == nil {
		return 0, false
	}
	ahead = now.Round(0).Sub(last.server.Add(c.opts.Elapsed() - last.at))
	tolerance := time.Duration(c.tolerance.Load())
	return ahead, tolerance > 0 && ahead.Abs()-last.margin > tolerance
}

// SetClockTolerance sets how far clocks may differ. With 0 they are not compared.
func (c *Cluster) SetClockTolerance(d time.Duration) { c.tolerance.Store(int64(d)) }

// readClock compares this node's clock with the database's.
func (c *Cluster) readClock(ctx context.Context) error {
	here, at := c.opts.Now().Round(0), c.opts.Elapsed()
	var server int64
	if err := c.db.QueryRow(ctx, `SELECT `+sqldb.ServerTime).Scan(&server); err != nil {
		return err
	}
	half := (c.opts.Elapsed() - at) / 2
	_, wasWrong := c.ClockOffset()
	c.clock.Store(&clock{sqldb.Instant(server), here.Add(half), at + half, half})
	switch ahead, wrong := c.ClockOffset(); {
	case wrong && !wasWrong:
		c.opts.Log.Error("this node's clock and the database's differ; the database's counts", "ahead", ahead.Round(time.Millisecond))
	case wasWrong && !wrong:
		c.opts.Log.Info("this node's clock is right again")
	}
	return nil
}
