package draw

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"quell/internal/motorway"
	"quell/internal/outage"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// TestTimeline: the picture is to scale around the window; what is far from it is counted, and in
// the table all the same.
func TestTimeline(t *testing.T) {
	at := func(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }
	begin, end := at(0), at(30)
	x := &motorway.Explanation{At: at(6 * 60),
		Activations: []motorway.Activation{
			{RequestID: "request", Received: at(-3 * 24 * 60), WindowStart: &begin, WindowEnd: &end, Standing: true, State: outage.Accepted},
			{RequestID: "request", Received: at(-6), State: outage.Accepted, Kind: outage.Cancellation},
		},
		Entries: []outage.Entry{
			{Seq: 2, Received: at(24 * 60), Outcome: outage.Suppressed},
			{Seq: 1, Received: at(15), OutageStart: at(12), Outcome: outage.Suppressed, WindowStart: begin, WindowEnd: end},
		}}
	l := NewTimeline(x, &x.Entries[1], nil, nil)
	if !l.From.Equal(at(-9)) || !l.To.Equal(at(33)) || l.Now != nil {
		t.Errorf("from %v to %v, now %v", l.From, l.To, l.Now)
	}
	var have []string
	for _, n := range l.Lanes {
		text := fmt.Sprintf("%d %d:", n.Earlier, n.Later)
		for _, s := range n.Spans {
			text += fmt.Sprintf(" %s+%s", s.X, s.Width)
		}
		for _, m := range n.Marks {
			text += " " + m.X.String()
		}
		have = append(have, text)
	}
	// The picture has 42 minutes.
	want := []string{"1 0: 7.143%", "0 0: 21.429%+71.429%", "0 1: 57.143%", "0 0: 50.000%", "0 0:"}
	if strings.Join(have, "|") != strings.Join(want, "|") {
		t.Errorf("lanes\n%q, want\n%q", have, want)
	}
	var table []string
	for _, e := range l.Events {
		table = append(table, e.What)
	}
	if s := strings.Join(table, ", "); s != "Request, Request, Window begins, Outage began, AD1 suppressed, Window ends, AD1 suppressed" {
		t.Errorf("table: %s", s)
	}
	if l := NewTimeline(&motorway.Explanation{}, nil, nil, nil); l != nil {
		t.Errorf("of nothing: %+v", l)
	}
	if l := NewTimeline(&motorway.Explanation{At: at(0), Entries: x.Entries[:1]}, nil, nil, nil); l == nil || !l.From.Before(l.To) {
		t.Errorf("of one instant: %+v", l)
	}
}

func TestTicks(t *testing.T) {
	for _, x := range []struct {
		length time.Duration
		want   string
	}{
		{24 * time.Hour, "00:00 0.000% start, 03:00 12.500% middle, 06:00 25.000% middle, 09:00 37.500% middle, 12:00 50.000% middle, 15:00 62.500% middle, 18:00 75.000% middle, 21:00 87.500% middle, 00:00 100.000% end"},
		{40 * time.Second, "00:00:00 0.000% start, 00:00:05 12.500% middle, 00:00:10 25.000% middle, 00:00:15 37.500% middle, 00:00:20 50.000% middle, 00:00:25 62.500% middle, 00:00:30 75.000% middle, 00:00:35 87.500% middle, 00:00:40 100.000% end"},
	} {
		from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		var have []string
		for _, k := range (Axis{from, from.Add(x.length)}).Ticks(8) {
			have = append(have, fmt.Sprint(k.Text, " ", k.X, " ", k.Anchor))
		}
		if strings.Join(have, ", ") != x.want {
			t.Errorf("%v: %s", x.length, strings.Join(have, ", "))
		}
	}
}
