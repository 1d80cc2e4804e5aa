package evidence

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"quell/internal/outage"
)

var evening = time.Date(2026, 11, 26, 22, 0, 0, 0, time.UTC)

// frozen is Learning that nothing is added to, so that it can be compared with.
func frozen(r *rand.Rand) *Learning {
	l := &Learning{Until: evening.AddDate(1, 0, 0), Models: map[Model]*Behaviour{}}
	for _, m := range []Model{"A", "B"} {
		b := &Behaviour{Activations: 1000 + r.IntN(1000), AD1s: 500 + r.IntN(500), Restored: r.IntN(3) * r.IntN(50), Heard: r.IntN(500)}
		for range b.AD1s {
			b.Bins[min(119, max(0, int(12+4*r.NormFloat64())))]++
		}
		l.Models[m] = b
	}
	return l
}

// night makes up a night in a small town in which everything happens often, in every order.
func night(r *rand.Rand) (sightings []Sighting, hubs map[Area]int) {
	hubs = map[Area]int{}
	var homes []Home
	for i := range 40 {
		h := Home{Hub: outage.DeviceID(1000 + i), Model: Model("ABC"[i%3 : i%3+1]), Distributor: 3000}
		if i >= 4 {
			h.Sector = Area(2000 + i/20)
		}
		if i >= 8 {
			h.Postcode = Area(1000 + i/10)
		}
		for _, a := range h.areas() {
			hubs[a]++
		}
		homes = append(homes, h)
	}
	delete(hubs, 0)
	at := func(from time.Time, seconds float64) time.Time {
		return from.Add(time.Duration(seconds*1e6).Truncate(100*time.Microsecond) * 1000)
	}
	request := uint64(0)
	entry := int64(0)
	// Things come to pass around few times, so that they meet.
	var times []time.Time
	for range 4 {
		times = append(times, at(evening, r.Float64()*3600*4))
	}
	some := func() time.Time { return times[r.IntN(len(times))] }
	for _, h := range homes {
		meter := h.Hub + 1_000_000
		var window [2]time.Time
		for range r.IntN(3) {
			request++
			received := at(some(), -600+1200*r.Float64())
			s := Sighting{Kind: Ordered, Received: received, Start: received, Home: h, Meter: meter, Request: outage.RequestID{Originator: 7, Target: meter, Counter: request},
				Form: outage.SignedPreCommand, Tracked: r.IntN(3) > 0, Firmware: "f"}
			if r.IntN(4) == 0 {
				s.Form = outage.ServiceRequest
			}
			if r.IntN(4) == 0 {
				s.Start = at(received, 3000*r.Float64()) // future dated
			}
			if r.IntN(8) > 0 {
				sightings = append(sightings, s)
			}
			if s.Tracked {
				window = [2]time.Time{s.Start, s.Start.Add(30 * time.Minute)}
			}
			if r.IntN(6) == 0 {
				sightings = append(sightings, Sighting{Kind: NotRun, Received: at(received, 2000*r.Float64()), Home: h, Request: s.Request, Why: "cancelled"})
			}
		}
		for range r.IntN(3) {
			start := at(some(), 60*r.NormFloat64())
			if r.IntN(4) == 0 {
				start = at(start, 400*r.Float64())
			}
			if !window[0].IsZero() && r.IntN(2) == 0 {
				start = at(window[0], -200+900*r.Float64())
			}
			lost := Sighting{Kind: Lost, Received: at(start, 180+100*r.Float64()), Start: start, Home: h}
			if r.IntN(6) == 0 {
				lost.Received = at(start, 2000*r.Float64())
			}
			copies := 1 + r.IntN(2)
			for range copies {
				s := lost
				s.Received = at(lost.Received, 3*r.Float64())
				if !s.Received.Before(window[0]) && s.Received.Before(window[1]) {
					entry++
					s.Entry, s.WindowStart, s.WindowEnd, s.Meter = entry, window[0], window[1], meter
				}
				sightings = append(sightings, s)
			}
			for range r.IntN(2) {
				sightings = append(sightings, Sighting{Kind: Heard, Received: at(lost.Received, -100+2000*r.Float64()), Home: h})
			}
			if r.IntN(2) == 0 {
				begun := at(start, -200+400*r.Float64())
				if r.IntN(4) == 0 {
					begun = at(start, 1000*r.Float64())
				}
				over := at(begun, 200+2000*r.Float64())
				sightings = append(sightings, Sighting{Kind: Restored, Received: at(over, 3000*r.Float64()), Start: begun, End: over, Home: h, Meter: meter})
			}
		}
	}
	return sightings, hubs
}

// run plays sightings in shuffled, with some of them twice, and Advance at random times. What an engine says must
// not depend on either.
func run(r *rand.Rand, e *Engine, sightings []Sighting) (said []Assessment) {
	todo := slices.Clone(sightings)
	for _, s := range sightings {
		if r.IntN(4) == 0 {
			todo = append(todo, s)
		}
	}
	slices.SortFunc(todo, func(a, b Sighting) int { return a.Received.Compare(b.Received) })
	for len(todo) > 0 {
		n := 1 + r.IntN(len(todo))
		if r.IntN(2) == 0 {
			n = 1 + r.IntN(min(10, len(todo)))
		}
		for n < len(todo) && todo[n].Received.Equal(todo[n-1].Received) {
			n++
		}
		now := todo[n-1].Received
		chunk := todo[:n]
		todo = todo[n:]
		r.Shuffle(n, func(i, j int) { chunk[i], chunk[j] = chunk[j], chunk[i] })
		for _, s := range chunk {
			e.Add(s)
		}
		said = append(said, e.Advance(now)...)
	}
	said = append(said, e.Advance(evening.Add(60*time.Hour))...)
	slices.SortStableFunc(said, func(a, b Assessment) int { return int(a.Entry - b.Entry) })
	return said
}

// TestAgainstNaive compares each assessment of random nights with the formula.
func TestAgainstNaive(t *testing.T) {
	levels := map[Level]int{}
	stages := map[Stage]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		sightings, hubs := night(r)
		l := frozen(r)
		e := New(Options{Hubs: func(a Area) int { return hubs[a] }})
		e.SetLearning(l)
		n := naive{sightings: sightings, hubs: hubs, learned: l.Models}
		for _, a := range run(r, e, sightings) {
			levels[a.Level]++
			stages[a.Stage]++
			want := n.odds(a.Entry, a.At, a.Stage == Final)
			if math.Abs(a.Odds-want) > 1e-9*want {
				t.Fatalf("seed %d, entry %d at %s, stage %d: odds %g, want %g\n%+v", seed, a.Entry, a.At, a.Stage, a.Odds, want, a.Facts)
			}
		}
	}
	t.Log(levels, stages)
	for _, level := range []Level{None, Weak, Strong} {
		if levels[level] < 100 {
			t.Errorf("%d assessments are %s: the nights test little", levels[level], level)
		}
	}
}

// TestDeterministic holds that neither the order of sightings nor when Advance is called matters.
func TestDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		sightings, hubs := night(r)
		var first []Assessment
		var learned string
		for i := range 4 {
			e := New(Options{Hubs: func(a Area) int { return hubs[a] }})
			said := run(r, e, sightings)
			l, err := json.Marshal(e.Learning())
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first, learned = said, string(l)
				continue
			}
			if len(said) != len(first) {
				t.Fatalf("seed %d: %d assessments, then %d", seed, len(first), len(said))
			}
			for j := range said {
				if !reflect.DeepEqual(said[j], first[j]) {
					t.Fatalf("seed %d:\n%+v, then\n%+v", seed, first[j], said[j])
				}
			}
			if string(l) != learned {
				t.Errorf("seed %d: learned\n%s, then\n%s", seed, learned, l)
			}
		}
	}
}
