package evidence

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"quell/internal/outage"
)

// learnedNight is a night with counts that are known: 100 activations of model A, by home:
//
//	0 to 4    did not run
//	5 to 64   have an AD1, 150 to 740 s after the activation; the first 10 of them a restoration alert,
//	          the first 30 are heard 100 s after the AD1, and the others 1,300 s after
//	65 to 74  have an AD1 while their whole postcode is cut off, and a restoration alert
//	75 to 99  have none
//
// Homes 5 and 75 were ordered twice. Ten more with another firmware had no window.
func learnedNight() (s []Sighting) {
	for i := range 110 {
		h := Home{Hub: outage.DeviceID(1 + 1000*i), Model: "A", Postcode: Area(100 + i), Sector: Area(1000 + i), Distributor: 1}
		m := h.Hub + 1e6
		a := Sighting{Kind: Ordered, Received: at(0), Start: at(0), Home: h, Meter: m, Request: outage.RequestID{Target: m, Counter: 1}, Form: outage.SignedPreCommand, Firmware: "f", Tracked: true}
		if i >= 100 {
			a.Firmware, a.Tracked = "g", false
		}
		request := a
		request.Form, request.Received = outage.ServiceRequest, at(-60)
		s = append(s, request, a)
		if i == 5 || i == 75 {
			a.Request.Counter, a.Received, a.Start = 2, at(50), at(50)
			s = append(s, a)
		}
		if i < 5 {
			s = append(s, Sighting{Kind: NotRun, Received: at(20), Home: h, Request: a.Request, Why: "x"})
		}
		start := 100 + 10*i
		lost := Sighting{Kind: Lost, Received: at(start + 190), Start: at(start), Home: h}
		switch {
		case i >= 105:
			s = append(s, lost)
		case i >= 5 && i < 75:
			lost.Entry, lost.Meter, lost.WindowStart, lost.WindowEnd = int64(i), m, at(0), at(1800)
			s = append(s, lost)
			again := lost
			again.Received = at(start + 191)
			again.Entry += 1000
			s = append(s, again)
		}
		restored := Sighting{Kind: Restored, Received: at(start + 600), Start: at(start), End: at(start + 300), Home: h}
		heard := Sighting{Kind: Heard, Received: at(start + 290), Home: h}
		switch {
		case i >= 5 && i < 15, i >= 65 && i < 75:
			s = append(s, restored)
		}
		if i >= 35 {
			heard.Received = at(start + 190 + 1300)
		}
		s = append(s, heard)
		if i >= 65 && i < 75 {
			for k := range 15 {
				n := lost
				n.Home.Hub += outage.DeviceID(k + 1)
				n.Entry = 0
				s = append(s, n)
			}
		}
	}
	return s
}

func hubsAround(a Area) int {
	if a < 1000 && a >= 100 {
		return 16
	}
	return 100
}

func TestLearns(t *testing.T) {
	e := New(Options{Hubs: hubsAround})
	for _, s := range learnedNight() {
		e.Add(s)
	}
	e.Advance(at(1000))
	if b := e.Learning().Models["A"]; b.AD1s != 0 || b.Restored != 10 {
		t.Errorf("before an hour: %d AD1s, %d restored; want 0, and 10 at once", b.AD1s, b.Restored)
	}
	e.Advance(at(4 * 3600))
	got := e.Learning()
	want := Behaviour{Activations: 85, AD1s: 60, Restored: 10, Heard: 30, Genuine: 10}
	for i := 5; i < 65; i++ {
		want.Bins[(100+10*i)/15]++
		want.Came[(100+10*i+190)/15]++
	}
	if *got.Models["A"] != want {
		t.Errorf("%+v\nwant %+v", *got.Models["A"], want)
	}
	if !reflect.DeepEqual(got.Rates, []*Rate{{"A", "f", true, 85, 60}, {"A", "g", false, 10, 5}}) {
		t.Errorf("rates: %+v, %+v", got.Rates[0], got.Rates[1])
	}
	if got.Quiet["2026-11-26"] != 150 {
		t.Errorf("quiet: %v", got.Quiet)
	}

	// It is the same after JSON, and after a restart that adds the night again.
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, until := range []int{310, 1000, 3000, 3700, 4700, 5200, 6000, 7100, 7300, 4 * 3600} {
		first := New(Options{Hubs: hubsAround})
		for _, s := range learnedNight() {
			first.Add(s)
		}
		first.Advance(at(until))
		stored, err := json.Marshal(first.Learning())
		if err != nil {
			t.Fatal(err)
		}
		var l Learning
		if err := json.Unmarshal(stored, &l); err != nil {
			t.Fatal(err)
		}
		next := New(Options{Hubs: hubsAround})
		next.SetLearning(&l)
		for _, s := range learnedNight() {
			next.Add(s)
		}
		next.Advance(at(4 * 3600))
		if again, _ := json.Marshal(next.Learning()); string(again) != string(text) {
			t.Errorf("after a restart at %d s:\n%s\nwant\n%s", until, again, text)
		}
	}

	sum := got.Clone()
	sum.Merge(got)
	if b := sum.Models["A"]; b.AD1s != 120 || b.Bins[20] != 2*got.Models["A"].Bins[20] || sum.Rates[1].Activations != 20 || sum.Quiet["2026-11-26"] != 300 || got.Models["A"].AD1s != 60 {
		t.Errorf("merged: %+v", b)
	}
}

// TestBrokenA5IsLearned holds that a model that begins to send restoration alerts after
// reboots is known to do so within minutes, and does not make its own alerts strong for long.
func TestBrokenA5IsLearned(t *testing.T) {
	e := New(Options{Hubs: func(a Area) int { return 100 }})
	learned := &Learning{}
	b := learned.behaviour("A")
	b.Activations, b.AD1s, b.Heard = 100_000, 80_000, 70_000
	b.Bins[6] = 80_000
	e.SetLearning(learned)
	strong := map[bool]int{}
	for i := range 1000 {
		h := Home{Hub: outage.DeviceID(1 + 10*i), Model: "A", Sector: Area(1000 + i)}
		m := h.Hub + 1e6
		s := 10 * i
		e.Add(Sighting{Kind: Ordered, Received: at(s), Start: at(s), Home: h, Meter: m, Request: outage.RequestID{Target: m, Counter: 1}, Form: outage.SignedPreCommand, Tracked: true})
		e.Add(Sighting{Kind: Lost, Received: at(s + 290), Start: at(s + 100), Home: h, Entry: int64(i + 1), Meter: m, WindowStart: at(s), WindowEnd: at(s + 1800)})
		e.Add(Sighting{Kind: Restored, Received: at(s + 500), Start: at(s + 100), End: at(s + 400), Home: h})
		h.Hub++ // one neighbour of 100 happens to be cut off
		e.Add(Sighting{Kind: Lost, Received: at(s + 290), Start: at(s + 100), Home: h})
	}
	for _, a := range e.Advance(at(40_000)) {
		if a.Level == Strong {
			strong[a.At.After(evening.Add(30*time.Minute))]++
		}
	}
	if strong[false] == 0 || strong[true] > 0 {
		t.Errorf("strong in the first half hour, and later: %v", strong)
	}
	if b := e.Learning().Models["A"]; b.Restored != 1000 || b.Genuine != 0 {
		t.Errorf("learned %d restored, %d genuine", b.Restored, b.Genuine)
	}
}

// TestRestoredOfTwoModels: a hub has two meters of different models, and both are activated. Its restoration
// alert is learned, and then neighbours say that the outage was genuine: it is taken from the model that it was
// learned of. The other one, whose activation is looked at first, is not charged with it.
func TestRestoredOfTwoModels(t *testing.T) {
	for _, tracked := range []bool{true, false} { // of the other one
		e := New(Options{Hubs: func(Area) int { return 20 }})
		for i, m := range []Model{"A", "B"} { // A was ordered first, and begins last
			s := activation(here)
			s.Home.Model, s.Meter = m, meter+outage.DeviceID(i)
			s.Request.Target, s.Received, s.Start = s.Meter, at(i-7200), at(-i)
			s.Tracked = m == "A" || tracked
			e.Add(s)
		}
		e.Add(alert(280, 80))
		e.Add(one(Restored, 400, Sighting{Meter: meter, Start: at(80), End: at(300)})[0])
		e.Advance(at(600))
		if b := e.Learning().Models["A"]; b == nil || b.Restored != 1 {
			t.Fatalf("at first: %+v", b)
		}
		for _, s := range neighbours(14, 700, 80) {
			e.Add(s)
		}
		e.Advance(at(4000))
		for _, m := range []Model{"A", "B"} {
			if b := e.Learning().Models[m]; b != nil && (b.Restored != 0 || b.AD1s != 0 || b.Genuine != 1) {
				t.Errorf("model %s: %d restored, %d AD1s, %d genuine", m, b.Restored, b.AD1s, b.Genuine)
			}
		}
	}
}
