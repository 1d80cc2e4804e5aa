package store

import "time"

// clock is what a look at the database's clock showed.
type clock struct {
	server time.Time
	at     time.Time     // when it was so here; with the monotonic clock
	within time.Duration // how far the look may be off
}

// Now is the time: this node's, or the database's where that differs by more
// than the tolerance that SetClockTolerance was told.
func (s *Store) Now() time.Time {
	now := s.opts.Now()
	if off, wrong := s.clockOffset(now); wrong {
		return now.Add(-off)
	}
	return now
}

// ClockOffset is how far this node's clock is ahead of the database's, and
// whether that is too far. Without a database to compare with it is 0.
func (s *Store) ClockOffset() (ahead time.Duration, wrong bool) { return s.clockOffset(s.opts.Now()) }

func (s *Store) clockOffset(now time.Time) (ahead time.Duration, wrong bool) {
	c := s.clock.Load()
	if c == nil {
		return 0, false
	}
	// The monotonic clock counts on where somebody sets the other.
	ahead = now.Round(0).Sub(c.server.Add(now.Sub(c.at)))
	tolerance := time.Duration(s.tolerance.Load())
	return ahead, tolerance > 0 && ahead.Abs()-c.within > tolerance
}

// SetClockTolerance says how far clocks may differ.
func (s *Store) SetClockTolerance(d time.Duration) { s.tolerance.Store(int64(d)) }

// sawClock takes over a look at the database's clock that began and ended here
// at two instants.
func (s *Store) sawClock(server, began, ended time.Time) {
	half := ended.Sub(began) / 2
	_, was := s.ClockOffset()
	s.clock.Store(&clock{server, began.Add(half), half})
	switch ahead, wrong := s.ClockOffset(); {
	case wrong && !was:
		s.opts.Log.Error("this node's clock and the database's differ; the database's counts", "ahead", ahead.Round(time.Millisecond))
	case was && !wrong:
		s.opts.Log.Info("this node's clock is right again")
	}
}
