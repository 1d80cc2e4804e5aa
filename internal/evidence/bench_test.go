package evidence

import (
	"math/rand/v2"
	"testing"
	"time"

	"quell/internal/outage"
)

// BenchmarkNight is a night of 500,000 suppressed alerts, with all their assessments until they
// are final: 600,000 activations in 8 hours, and a storm that cuts off 100,000 other hubs. Most
// homes are heard again, and some send restoration alerts. One core has 60 s for it.
func BenchmarkNight(b *testing.B) {
	const homes, activated, cut = 2_000_000, 600_000, 100_000
	home := func(i int) Home {
		return Home{Hub: outage.DeviceID(1 + i), Model: "A", Postcode: Area(1 + i/17), Sector: Area(1 + i/2500), Distributor: Area(1 + i/1_000_000)}
	}
	sizes := [3]int{17, 2500, 1_000_000}
	for b.Loop() {
		r := rand.New(rand.NewPCG(1, 1))
		e := New(Options{Hubs: func(a Area) int { return sizes[0] }})
		said, strong := 0, 0
		var add []Sighting
		at := func(t time.Time, seconds float64) time.Time { return t.Add(time.Duration(seconds * 1e9)) }
		entry := int64(0)
		for i := range activated {
			h := home(r.IntN(homes))
			t := at(evening, 8*3600*float64(i)/activated)
			meter := h.Hub + 1e9
			add = append(add, Sighting{Kind: Ordered, Received: t, Start: t, Home: h, Meter: meter, Request: outage.RequestID{Originator: 7, Target: meter, Counter: uint64(i + 1)}, Form: outage.SignedPreCommand, Firmware: "f", Tracked: true})
			if i%6 == 0 {
				continue
			}
			entry++
			start := at(t, 100+30*r.NormFloat64())
			add = append(add, Sighting{Kind: Lost, Received: at(start, 190), Start: start, Home: h, Meter: meter, Entry: entry, WindowStart: t, WindowEnd: t.Add(30 * time.Minute)})
			if i%10 > 0 {
				add = append(add, Sighting{Kind: Heard, Received: at(start, 300+300*r.Float64()), Home: h})
			}
			if i%100 == 1 {
				add = append(add, Sighting{Kind: Restored, Received: at(start, 400), Start: start, End: at(start, 200), Home: h, Meter: meter})
			}
		}
		for range cut / 500 {
			t, first := at(evening, 8*3600*r.Float64()), r.IntN(homes-500)
			for j := range 500 {
				add = append(add, Sighting{Kind: Lost, Received: at(t, 180+120*r.Float64()), Start: t, Home: home(first + j)})
			}
		}
		b.ResetTimer()
		buckets := make([][]Sighting, 10*360)
		for _, s := range add {
			i := min(max(int(s.Received.Sub(evening)/(10*time.Second)), 0), len(buckets)-1)
			buckets[i] = append(buckets[i], s)
		}
		for i, bucket := range buckets {
			for _, s := range bucket {
				e.Add(s)
			}
			for _, a := range e.Advance(evening.Add(time.Duration(i) * 10 * time.Second)) {
				said++
				if a.Level == Strong {
					strong++
				}
			}
		}
		for i := range 24 * 6 {
			said += len(e.Advance(evening.Add(10*time.Hour + time.Duration(i)*10*time.Minute)))
		}
		b.ReportMetric(float64(entry), "alerts")
		b.ReportMetric(float64(said), "assessments")
		b.ReportMetric(float64(strong), "strong")
	}
}
