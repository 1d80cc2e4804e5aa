package flow_test

import (
	"testing"
	"time"

	"quell/internal/flow"
	"quell/internal/store/storetest"
)

// TestRecent: an AD1 is in the last hour for 60 minutes with the present one, and in the last day for
// 1,440.
func TestRecent(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s, c := open(t, t.TempDir())
		for _, e := range []flow.End{flow.Forwarded, flow.Shadow, flow.Refused, flow.Failed, flow.Suppressed, flow.Suppressed} {
			s.Flow.Received(t0, london).End(e)
		}
		s.Flow.Received(t0, eastern) // under way
		flush(t, s)
		all := flow.Totals{Received: 7, Forwarded: 1, Shadow: 1, Refused: 1, Failed: 1, Suppressed: 2, UnderWay: 1}
		for _, x := range []struct {
			at        time.Duration
			hour, day flow.Totals
		}{
			{0, all, all},
			{59*time.Minute + 59*time.Second, all, all},
			{time.Hour, flow.Totals{}, all},
			{24*time.Hour - time.Second, flow.Totals{}, all},
			{24 * time.Hour, flow.Totals{}, flow.Totals{}},
			{-time.Minute, flow.Totals{}, flow.Totals{}},
		} {
			c.set(t0.Add(x.at))
			hour, day, err := s.Flow.Recent(t.Context(), t0.Add(x.at))
			if hour != x.hour || day != x.day || err != nil {
				t.Errorf("after %v: %+v, %+v, %v", x.at, hour, day, err)
			}
		}
		if size, err := s.DB.Size(t.Context()); size < 10_000 || err != nil {
			t.Errorf("the store has %d bytes, %v", size, err)
		}
	})
}
