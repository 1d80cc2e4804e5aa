package web

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"quell/internal/motorway"
	"quell/internal/outage"
)

// TestTimeline: the picture is to scale around the window; what is far from it is counted, and in
// the table all the same.
func TestTimeline(t *testing.T) {
	at := func(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }
	begin, end := at(0), at(30)
	x := &motorway.Explanation{At: at(6 * 60),
		Activations: []motorway.Activation{
			{RequestID: request, Received: at(-3 * 24 * 60), WindowStart: &begin, WindowEnd: &end, Standing: true, State: outage.Accepted},
			{RequestID: request, Received: at(-6), State: outage.Accepted, Kind: outage.Cancellation},
		},
		Entries: []outage.Entry{
			{Seq: 2, Received: at(24 * 60), Outcome: outage.Suppressed},
			{Seq: 1, Received: at(15), OutageStart: at(12), Outcome: outage.Suppressed, WindowStart: begin, WindowEnd: end},
		}}
	l := newTimeline(x, &x.Entries[1], nil, nil)
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
	if l := newTimeline(&motorway.Explanation{}, nil, nil, nil); l != nil {
		t.Errorf("of nothing: %+v", l)
	}
	if l := newTimeline(&motorway.Explanation{At: at(0), Entries: x.Entries[:1]}, nil, nil, nil); l == nil || !l.From.Before(l.To) {
		t.Errorf("of one instant: %+v", l)
	}
}

// TestRemedies: what to do is about texts that docs/operations.md has.
func TestRemedies(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range remedies {
		if !strings.Contains(string(text), r.has) {
			t.Errorf("docs/operations.md does not have %q", r.has)
		}
	}
}
