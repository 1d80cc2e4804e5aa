package evidence

import (
	"testing"
	"time"

	"quell/internal/outage"
)

// A hub is one neighbour, however many AD1s it sends within a minute and a half.
func TestOneHubIsOneNeighbour(t *testing.T) {
	for _, order := range [][]time.Duration{{-20 * time.Second, 0, 20 * time.Second}, {20 * time.Second, 0, -20 * time.Second}} {
		e := New(Options{Hubs: func(Area) int { return 20 }})
		here := Home{Postcode: 3, Sector: 2, Distributor: 1}
		home := func(n int) Home { h := here; h.Hub = outage.DeviceID(n); return h }
		activated := evening.Add(-5 * time.Minute)
		for hub := 2; hub <= 3; hub++ {
			for i, d := range order {
				e.Add(Sighting{Kind: Lost, Received: evening.Add(time.Duration(i) * time.Second), Home: home(hub), Start: evening.Add(d - 200*time.Second)})
			}
		}
		e.Add(Sighting{Kind: Lost, Received: evening.Add(10 * time.Second), Home: home(1), Start: evening.Add(-200 * time.Second), Entry: 1, WindowStart: activated, WindowEnd: activated.Add(30 * time.Minute)})
		said := e.Advance(evening.Add(time.Minute))
		f := said[len(said)-1].Facts
		if f.Postcode.K != 2 || f.Sector.K != 2 || f.Distributor.K != 2 {
			t.Errorf("two hubs count as %d, %d, %d", f.Postcode.K, f.Sector.K, f.Distributor.K)
		}
	}
}

// However much one hub is said to have sent, of each kind and with entries or not, what is kept of it and
// what an engine does for one more are bounded.
func TestFloodOfOneHub(t *testing.T) {
	const n = 20_000
	e := New(Options{Hubs: func(Area) int { return 20 }})
	home := Home{Hub: 7, Postcode: 3, Sector: 2, Distributor: 1, Model: "A"}
	began := time.Now()
	said := 0
	for i := range n {
		at := evening.Add(time.Duration(i) * time.Millisecond)
		request := outage.RequestID{Originator: 1, Target: 9, Counter: uint64(i)}
		lost := Sighting{Kind: Lost, Received: at, Home: home, Start: at.Add(-200 * time.Second)}
		if i%2 == 0 {
			lost.Entry, lost.WindowStart, lost.WindowEnd = int64(i+1), evening.Add(-time.Minute), evening.Add(time.Minute)
		}
		e.Add(lost)
		e.Add(Sighting{Kind: Restored, Received: at, Home: home, Meter: 9, Start: lost.Start, End: at})
		e.Add(Sighting{Kind: Ordered, Received: at, Home: home, Meter: 9, Request: request, Form: outage.SignedPreCommand, Start: at})
		request.Originator++
		e.Add(Sighting{Kind: NotRun, Received: at, Home: home, Meter: 9, Request: request, Why: "x"})
		if i%100 == 0 {
			said += len(e.Advance(at))
			h := e.hubs[7]
			if most := min(i+1, maxOfHub); len(h.outages) != most || len(h.restored) != most || len(h.orders) != most || len(h.loose) != most {
				t.Fatalf("after %d: %d outages, %d restorations, %d orders, %d that did not run are kept", i+1, len(h.outages), len(h.restored), len(h.orders), len(h.loose))
			}
		}
	}
	said += len(e.Advance(evening.Add(48 * time.Hour)))
	if most := 5 * maxOfHub * maxOfHub; said > most {
		t.Errorf("%d assessments, more than %d", said, most)
	}
	t.Logf("%d messages of each kind: %d assessments, %s", n, said, time.Since(began))
}

// If nobody can say how many hubs there are in an area, those that lost supply there say nothing: one
// of one is not half of all.
func TestUnknownHubs(t *testing.T) {
	for _, known := range []int{20, -1} {
		e := New(Options{Hubs: func(Area) int { return known }})
		here := Home{Postcode: 3, Sector: 2, Distributor: 1}
		activated := evening.Add(-20 * time.Minute)
		for hub := range 5 {
			here.Hub = outage.DeviceID(hub + 2)
			e.Add(Sighting{Kind: Lost, Received: evening, Home: here, Start: evening.Add(-200 * time.Second)})
		}
		here.Hub = 1
		e.Add(Sighting{Kind: Lost, Received: evening, Home: here, Start: evening.Add(-200 * time.Second), Entry: 1, WindowStart: activated, WindowEnd: activated.Add(30 * time.Minute)})
		said := e.Advance(evening.Add(time.Second))
		x := said[len(said)-1]
		if known < 0 && (x.Level != None || x.Facts.Postcode != Count{} || x.Facts.Sector != Count{} || x.Facts.Distributor != Count{}) {
			t.Errorf("of nobody knows how many hubs: %+v", x)
		}
		if known > 0 && x.Level == None {
			t.Errorf("5 of %d: %+v", known, x)
		}
	}
}
