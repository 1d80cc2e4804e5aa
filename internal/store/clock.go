package store

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// clock is what a look at the database's clock showed.
type clock struct {
	server time.Time
	here   time.Time     // what this node's clock said then
	at     time.Duration // when it was so here, by Options.Elapsed
	within time.Duration // how far the look may be off
}

// elapsed is the time since the machine was started, whatever the clock is set to;
// the time that it was asleep counts.
func elapsed() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return time.Since(started) // an old kernel
	}
	return time.Duration(t.Nano())
}

var started = time.Now()

// Now is the time: this node's, or the database's where that differs by more
// than the tolerance that SetClockTolerance was told.
func (s *Store) Now() time.Time {
	now := s.opts.Now()
	ahead, wrong := s.clockOffset(now)
	if wrong && (ahead > 0 || s.ClockSure()) {
		return now.Add(-ahead)
	}
	return now
}

// Elapsed is Options.Elapsed.
func (s *Store) Elapsed() time.Duration { return s.opts.Elapsed() }

// LastReceipt is when the last request was received that this node has recorded, as
// far as that can be told: the zero time where other nodes record too, whose clocks
// are held to the database's.
func (s *Store) LastReceipt(ctx context.Context) (time.Time, error) {
	if s.remote {
		return time.Time{}, nil
	}
	var at int64
	err := s.reader.QueryRowContext(ctx, `SELECT coalesce(max(received_at), 0) FROM (SELECT received_at FROM activation ORDER BY id DESC LIMIT 1000) AS latest`).Scan(&at)
	if last := s.journal.lastReceipt; err != nil || last.After(instant(at)) {
		return last, wrapRead(err)
	}
	return instant(at), nil
}

// ClockSure reports whether this node knows the time. It does not when its clock
// has been set since the last look at the database's: the time is then the earlier
// of the two, which opens no window too late, until the next look.
func (s *Store) ClockSure() bool {
	c := s.clock.Load()
	if c == nil {
		return true
	}
	jump := s.opts.Now().Round(0).Sub(c.here) - (s.opts.Elapsed() - c.at)
	tolerance := time.Duration(s.tolerance.Load())
	return tolerance <= 0 || jump.Abs() <= tolerance
}

// ClockOffset is how far this node's clock is ahead of the database's, and
// whether that is too far. Without a database to compare with it is 0.
func (s *Store) ClockOffset() (ahead time.Duration, wrong bool) { return s.clockOffset(s.opts.Now()) }

func (s *Store) clockOffset(now time.Time) (ahead time.Duration, wrong bool) {
	c := s.clock.Load()
	if c == nil {
		return 0, false
	}
	ahead = now.Round(0).Sub(c.server.Add(s.opts.Elapsed() - c.at))
	tolerance := time.Duration(s.tolerance.Load())
	return ahead, tolerance > 0 && ahead.Abs()-c.within > tolerance
}

// SetClockTolerance says how far clocks may differ.
func (s *Store) SetClockTolerance(d time.Duration) { s.tolerance.Store(int64(d)) }

// look is the beginning of a look at the database's clock.
type look struct {
	here time.Time
	at   time.Duration
}

func (s *Store) beginLook() look { return look{s.opts.Now().Round(0), s.opts.Elapsed()} }

// sawClock takes over a look at the database's clock that ends now.
func (s *Store) sawClock(server time.Time, began look) {
	half := (s.opts.Elapsed() - began.at) / 2
	_, was := s.ClockOffset()
	s.clock.Store(&clock{server, began.here.Add(half), began.at + half, half})
	switch ahead, wrong := s.ClockOffset(); {
	case wrong && !was:
		s.opts.Log.Error("this node's clock and the database's differ; the database's counts", "ahead", ahead.Round(time.Millisecond))
	case was && !wrong:
		s.opts.Log.Info("this node's clock is right again")
	}
}
