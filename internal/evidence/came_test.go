package evidence

import (
	"fmt"
	"testing"
	"time"

	"quell/internal/outage"
)

// An AD1 is counted by when its outage began, and by when it was received, both from the
// activation on, at each end of the half hour.
func TestCame(t *testing.T) {
	begins := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		start, received time.Duration // after the activation
		bin, came       int           // -1: not counted
	}{
		{100 * time.Second, 300 * time.Second, 6, 20},
		{0, 164999999 * time.Microsecond, 0, 10},
		{0, 165 * time.Second, 0, 11},
		{25 * time.Minute, 30*time.Minute - time.Microsecond, 100, 119},
		{25 * time.Minute, 30 * time.Minute, -1, -1},
	} {
		e := New(Options{Hubs: func(Area) int { return 0 }})
		home := Home{Hub: 1, Model: "M"}
		request := outage.RequestID{Originator: 1, Target: 2, Counter: 3}
		e.Add(Sighting{Kind: Ordered, Received: begins.Add(-time.Hour), Home: home, Meter: 2, Request: request, Form: outage.SignedPreCommand, Tracked: true, Start: begins})
		e.Add(Sighting{Kind: Lost, Received: begins.Add(c.received), Home: home, Start: begins.Add(c.start)})
		e.Advance(begins.Add(3 * time.Hour))
		b := e.Learning().Models["M"]
		if b == nil || b.Activations != 1 {
			t.Fatalf("%+v", b)
		}
		var bins, came [binCount]int
		if c.bin >= 0 {
			bins[c.bin], came[c.came] = 1, 1
		}
		if b.Bins != bins || b.Came != came {
			t.Errorf("%v, received %v: %v and %v", c.start, c.received, b.Bins, b.Came)
		}
	}
}

// A window that does not start with its activation, since its model has a window of its own,
// changes nothing of the evidence: the entry says which request opened it.
func TestWindowOfModel(t *testing.T) {
	for _, form := range []outage.Form{outage.SignedPreCommand, outage.ServiceRequest} {
		var said []string
		for _, from := range []int{0, 165} {
			order := activation(here)
			order.Form = form
			lost := alert(280, 80)
			lost.Request, lost.WindowStart, lost.WindowEnd = request, at(from), at(1800)
			e := New(Options{Hubs: func(Area) int { return 17 }})
			for _, s := range append(neighbours(3, 281, 80), order, lost) {
				e.Add(s)
			}
			text := ""
			for _, a := range e.Advance(at(25 * 3600)) {
				text += fmt.Sprintf("%v %v %.12g %+v\n", a.At, a.Level, a.Odds, a.Facts)
			}
			said = append(said, text)
		}
		if said[0] != said[1] || len(said[0]) < 100 {
			t.Errorf("%s: with a window from the activation\n%s\nand with one that starts later\n%s", form, said[0], said[1])
		}
	}
}
