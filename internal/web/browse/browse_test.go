package browse

import (
	"fmt"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/search"
)

// TestDraw: windows are drawn to scale, and as many as there is room for.
func TestDraw(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	at := t0.Add(24 * time.Hour)
	v := ganttView{Gantt: &search.Gantt{Bars: []search.Bar{{Start: t0, End: t0.Add(time.Hour), ESME: 1}, {Start: t0.Add(24 * time.Hour), End: t0.Add(25 * time.Hour), ESME: 2}, {Start: t0.Add(49 * time.Hour), End: t0.Add(50 * time.Hour), ESME: 1}}}}
	v.draw(at)
	// 50 hours, and one on either side.
	if len(v.Lanes) != 2 || len(v.Lanes[0].Bars) != 2 || v.Lanes[0].Bars[0].X.String() != "1.923%" || v.Lanes[1].Bars[0].X.String() != "48.077%" || v.Lanes[1].Bars[0].Width.String() != "1.923%" || v.Now.String() != "48.077%" {
		t.Errorf("%+v", v.Lanes)
	}
	for phase, b := range map[string]search.Bar{"not in force": {Start: at, End: at.Add(1)}, "pending": {Start: at.Add(1), End: at.Add(2), InForce: true}, "open": {Start: at, End: at.Add(1), InForce: true}, "over": {Start: at.Add(-1), End: at, InForce: true}} {
		if v.Phase(b) != phase {
			t.Errorf("%s: %s", phase, v.Phase(b))
		}
	}
	v = ganttView{Gantt: &search.Gantt{}}
	for i := range 300 {
		v.Gantt.Bars = append(v.Gantt.Bars, search.Bar{Start: t0, End: t0.Add(time.Hour), ESME: outage.DeviceID(i)})
	}
	if v.draw(at.AddDate(1, 0, 0)); len(v.Lanes) != lanesLimit || v.MoreOf != 300-lanesLimit || len(v.Listed) != listedLimit || v.MoreBars != 100 || v.Now != 0 {
		t.Errorf("%d lanes, %d more; %d bars, %d more; now %v", len(v.Lanes), v.MoreOf, len(v.Listed), v.MoreBars, v.Now)
	}
}

func TestHeat(t *testing.T) {
	for _, x := range []struct {
		peak  int
		heats string
		of    map[int]int
	}{
		{0, "[]", map[int]int{0: 0}}, {1, "[1]", map[int]int{0: 0, 1: 1}}, {10, "[1 2 4 7]", map[int]int{1: 1, 2: 2, 10: 4}}, {100_000, "[1 1001 10001 30001 60001]", map[int]int{1: 1, 1000: 1, 1001: 2, 60_000: 4, 100_000: 5}},
	} {
		v := calendarView{Peak: x.peak}
		if have := fmt.Sprint(v.Heats()); have != x.heats {
			t.Errorf("peak %d: %s, want %s", x.peak, have, x.heats)
		}
		for n, want := range x.of {
			if have := v.heat(n); have != want {
				t.Errorf("peak %d, %d windows: %d, want %d", x.peak, n, have, want)
			}
		}
	}
	for f, want := range map[float64]int{0: 0, -1: 0, 0.01: 1, 1.5: 2, 1234.4: 1234} {
		if about(f) != want {
			t.Errorf("about(%v) = %d", f, about(f))
		}
	}
}
