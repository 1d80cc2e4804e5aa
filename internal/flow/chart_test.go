package flow_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"quell/internal/flow"
	"quell/internal/store/storetest"
)

// A chart has each AD1 in its step, by what became of it.
func TestChart(t *testing.T) { storetest.EachEngine(t, testChart) }

func testChart(t *testing.T) {
	s, c := open(t, t.TempDir())
	for _, x := range []struct {
		after time.Duration
		mpan  string
		end   flow.End
		n     int
	}{
		{0, london, flow.Suppressed, 3}, {9 * time.Minute, london, flow.Forwarded, 2}, {10 * time.Minute, eastern, flow.Shadow, 1}, {59 * time.Minute, "", flow.Refused, 4},
		{70 * time.Minute, london, flow.Failed, 1}, {71 * time.Minute, london, 0, 1}, {26 * time.Hour, london, flow.Suppressed, 5},
	} {
		c.set(t0.Add(x.after))
		for range x.n {
			cell := s.Flow.Received(t0.Add(x.after), x.mpan)
			if x.end != 0 {
				cell.End(x.end)
			}
		}
	}
	c.set(t0.Add(26*time.Hour + 30*time.Second))
	flush(t, s)
	chart, err := s.Flow.Chart(t.Context(), t0, t0.Add(90*time.Minute), 10*time.Minute, c.now())
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]flow.Counted{0: {Received: 5, Suppressed: 3, Forwarded: 2}, 1: {Received: 1, Shadow: 1}, 5: {Received: 4, Refused: 4}, 7: {Received: 2, Failed: 1}}
	for i, p := range chart.Points {
		if p.Counted != want[i] || !p.From.Equal(t0.Add(time.Duration(i)*10*time.Minute)) {
			t.Errorf("point %d: %+v, want %+v", i, p, want[i])
		}
	}
	total := flow.Counted{Received: 12, Forwarded: 2, Suppressed: 3, Shadow: 1, Refused: 4, Failed: 1}
	if chart.Total != total || len(chart.Points) != 9 || len(chart.Distributors) != 3 || *chart.Distributors["unknown"] != (flow.Counted{Received: 4, Refused: 4}) || chart.Since.IsZero() {
		t.Errorf("%+v", chart)
	}
	if chart.LastHour != (flow.Counted{Received: 5, Suppressed: 5}) || chart.LastDay != (flow.Counted{Received: 5, Suppressed: 5}) {
		t.Errorf("last hour %+v, last day %+v", chart.LastHour, chart.LastDay)
	}
	c.set(t0.Add(25*time.Hour + 9*time.Minute + 30*time.Second))
	if chart, err = s.Flow.Chart(t.Context(), t0, t0.Add(time.Hour), time.Hour, c.now()); err != nil || chart.LastDay != (flow.Counted{Received: 2, Failed: 1}) {
		t.Errorf("%+v, %v", chart, err)
	}
	for _, x := range [][3]time.Duration{{0, 0, time.Minute}, {0, time.Hour, time.Second}, {0, time.Hour, 90 * time.Second}, {0, 32 * 24 * time.Hour, 24 * time.Hour}, {0, 25 * time.Hour, time.Minute}, {time.Hour, 0, time.Minute}} {
		if _, err := s.Flow.Chart(t.Context(), t0.Add(x[0]), t0.Add(x[1]), x[2], c.now()); !errors.Is(err, flow.ErrRange) {
			t.Errorf("%v: %v", x, err)
		}
	}
	if plan := storetest.PlanOf(t, s, flow.ChartSQL, 1, 2); storetest.WholeTable.MatchString(plan) {
		t.Errorf("the plan:\n%s", plan)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Flow.Chart(ended, t0, t0.Add(time.Hour), time.Minute, c.now()); err == nil {
		t.Error("no error without a store")
	}
}
