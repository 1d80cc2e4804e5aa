package receipts

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// Times of receipt never go backwards, whatever the clock does. While they are ahead of the
// clock, they go on at half the speed.
func TestReceipts(t *testing.T) {
	var r Times
	var elapsed time.Duration
	next := func(clock, passed time.Duration) (at, ahead time.Duration) {
		elapsed += passed
		received, a := r.Next(t0.Add(clock), func() time.Duration { return elapsed })
		return received.Sub(t0), a
	}
	for i, c := range []struct{ clock, passed, at, ahead time.Duration }{
		{0, 0, 0, 0},
		{time.Minute, time.Minute, time.Minute, 0},
		{59 * time.Second, 0, time.Minute, time.Second}, // set back by a second
		{59*time.Second + 500*time.Millisecond, 500 * time.Millisecond, 60250 * time.Millisecond, 750 * time.Millisecond},
		{61 * time.Second, 1500 * time.Millisecond, 61 * time.Second, 0}, // it has caught up
		{61 * time.Second, 0, 61 * time.Second, 0},                       // within one microsecond
		{time.Hour, time.Second, time.Hour, 0},                           // ahead
		{0, 0, time.Hour, time.Hour},                                     // far back
		{10 * time.Minute, 10 * time.Minute, time.Hour + 5*time.Minute, 55 * time.Minute},
		{5 * time.Minute, 0, time.Hour + 5*time.Minute, time.Hour}, // and back again
	} {
		if at, ahead := next(c.clock, c.passed); at != c.at || ahead != c.ahead {
			t.Errorf("%d: %s, ahead by %s", i, at, ahead)
		}
	}
}
