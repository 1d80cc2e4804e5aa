package store

import (
	"sync/atomic"
	"testing"
	"time"
)

// A clock that jumps after the last look at the database's is noticed before the
// next message: whether somebody set it, or the machine was asleep.
func TestClockJumps(t *testing.T) {
	if !onPostgres() {
		t.Skip("skip allowed: SQLite has no clock of its own; TestOnPostgreSQL runs this")
	}
	for _, c := range []struct {
		name        string
		set, asleep time.Duration
		sure        bool
		now         time.Duration // after what the database would say
	}{
		{"nothing happened", 0, 0, true, 0},
		{"asleep for 40 minutes", 0, 40 * time.Minute, true, 0},
		{"set 40 minutes ahead", 40 * time.Minute, 0, false, 0},
		{"set 40 minutes back", -40 * time.Minute, 0, false, -40 * time.Minute},
		{"set a second back", -time.Second, 0, true, -time.Second},
	} {
		var set, asleep atomic.Int64
		began := time.Now()
		s := openIn(t, t.TempDir(), func(o *Options) {
			// A machine that was asleep finds its clock ahead, and its own count with it.
			o.Now = func() time.Time { return time.Now().Add(time.Duration(set.Load() + asleep.Load())).Round(0) }
			o.Elapsed = func() time.Duration { return time.Since(began) + time.Duration(asleep.Load()) }
		})
		s.SetClockTolerance(time.Minute)
		eventually(t, "the clock was looked at", func() bool { return s.clock.Load() != nil })
		s.stop() // no more looks
		s.following.Wait()
		asleep.Store(int64(c.asleep))
		set.Store(int64(c.set))
		if s.ClockSure() != c.sure {
			t.Errorf("%s: sure is %v", c.name, !c.sure)
		}
		if off := time.Until(s.Now()) - c.asleep - c.now; off.Abs() > 30*time.Second {
			t.Errorf("%s: the time is %s off", c.name, off)
		}
	}
}
