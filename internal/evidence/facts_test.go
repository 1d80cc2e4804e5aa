package evidence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

// The home of these tests, whose meter is activated at evening, and whose AD1 is received 280 s
// later for an outage that began 80 s after the activation.
var (
	here    = Home{Hub: 1, Model: "A", Postcode: 10, Sector: 20, Distributor: 30}
	meter   = outage.DeviceID(101)
	request = outage.RequestID{Originator: 7, Target: meter, Counter: 1}
)

func at(seconds int) time.Time { return evening.Add(time.Duration(seconds) * time.Second) }

func activation(h Home) Sighting {
	return Sighting{Kind: Ordered, Received: at(0), Start: at(0), Home: h, Meter: meter, Request: request, Form: outage.SignedPreCommand, Tracked: true}
}

func alert(received, start int) Sighting {
	return Sighting{Kind: Lost, Received: at(received), Start: at(start), Home: here, Meter: meter, Entry: 1, WindowStart: at(0), WindowEnd: at(1800)}
}

// neighbours are AD1s of n other hubs in the same postcode.
func neighbours(n, received, start int) (s []Sighting) {
	for i := range n {
		h := here
		h.Hub += outage.DeviceID(i + 1)
		s = append(s, Sighting{Kind: Lost, Received: at(received), Start: at(start), Home: h})
	}
	return s
}

// one is a sighting about the home.
func one(kind Kind, received int, s Sighting) []Sighting {
	s.Kind, s.Received, s.Home = kind, at(received), here
	return []Sighting{s}
}

// TestFacts holds that each kind of evidence is found whenever it comes: before the alert, after
// it, twice, or when the engine is beyond its time already.
func TestFacts(t *testing.T) {
	busy := func(received int) []Sighting { // all neighbours have an 11.3 too
		s := neighbours(14, 281, 80)
		for _, n := range neighbours(14, received, received) {
			n.Kind, n.Form, n.Meter = Ordered, outage.SignedPreCommand, n.Home.Hub+100
			s = append(s, n)
		}
		return s
	}
	for name, c := range map[string]struct {
		fact  func(received int) []Sighting
		times []int // at which it may be received
		is    func(f *Facts) bool
		odds  string // what it does to them
	}{
		"neighbours":       {func(r int) []Sighting { return neighbours(14, r, 75) }, []int{270, 280, 281, 900, 1274}, func(f *Facts) bool { return f.Postcode == Count{14, 16} && f.Sector == Count{14, 99} }, "more"},
		"neighbours later": {func(r int) []Sighting { return neighbours(14, r, 300) }, []int{500, 900, 1400}, func(f *Facts) bool { return f.Postcode.K == 0 && f.LaterPostcode == Count{14, 16} }, "more"},
		"just too late":    {func(r int) []Sighting { return neighbours(14, r, 681) }, []int{900, 1400}, func(f *Facts) bool { return f.Postcode.K == 0 && f.LaterPostcode.K == 0 }, "same"},
		"with windows":     {busy, []int{1, 60, 140}, func(f *Facts) bool { return f.Postcode == Count{0, 2} && f.Sector.K == 0 }, ""},
		"before its 11.3":  {busy, []int{141, 200, 250}, func(f *Facts) bool { return f.Postcode == Count{14, 16} }, "more"},
		"restored": {func(r int) []Sighting { return one(Restored, r, Sighting{Start: at(70), End: at(700), Meter: meter}) }, []int{200, 281, 1500, 9000},
			func(f *Facts) bool { return f.Restored && !f.RestoredLong }, "less"}, // since q is 1/2
		"restored after long": {func(r int) []Sighting { return one(Restored, r, Sighting{Start: at(70), End: at(2000), Meter: meter}) }, []int{281, 9000},
			func(f *Facts) bool { return f.Restored && f.RestoredLong }, "more"},
		"another restored": {func(r int) []Sighting {
			return one(Restored, r, Sighting{Start: at(1000), End: at(2000), Meter: meter})
		}, []int{2000},
			func(f *Facts) bool { return !f.Restored }, ""},
		"restored in between": {func(r int) []Sighting {
			return append(one(Heard, 500, Sighting{}), one(Restored, r, Sighting{Start: at(499), End: at(700), Meter: meter})...)
		}, []int{501, 900, 9000}, func(f *Facts) bool { return f.Restored }, "less"}, // heard soon
		"restored of another": {func(r int) []Sighting {
			return append(one(Heard, 500, Sighting{}), one(Restored, r, Sighting{Start: at(501), End: at(700), Meter: meter})...)
		}, []int{501, 900, 9000}, func(f *Facts) bool { return !f.Restored }, "less"},
		"heard":        {func(r int) []Sighting { return one(Heard, r, Sighting{}) }, []int{281, 1280}, func(f *Facts) bool { return f.Heard > 0 && f.Heard <= 1000*time.Second }, "less"},
		"heard before": {func(r int) []Sighting { return one(Heard, r, Sighting{}) }, []int{0, 279, 280}, func(f *Facts) bool { return f.Heard == 0 && f.Silent }, "same"},
		"heard late":   {func(r int) []Sighting { return one(Heard, r, Sighting{}) }, []int{1281}, func(f *Facts) bool { return f.Heard == 1001*time.Second && f.Silent }, "same"},
		"did not run":  {func(r int) []Sighting { return one(NotRun, r, Sighting{Request: request, Why: "hash mismatch"}) }, []int{10, 281, 9000}, func(f *Facts) bool { return f.NotRun == "hash mismatch" }, "more"},
		"another did not": {func(r int) []Sighting {
			return one(NotRun, r, Sighting{Request: outage.RequestID{Originator: 7, Target: 102, Counter: 9}, Why: "x"})
		}, []int{10, 281}, func(f *Facts) bool { return f.NotRun == "" }, "same"},
		"ordered again": {func(r int) []Sighting {
			again := outage.RequestID{Originator: 7, Target: meter, Counter: 2}
			return append(one(NotRun, r, Sighting{Request: request, Why: "x"}), one(Ordered, r, Sighting{Start: at(40), Request: again, Meter: meter, Form: outage.SignedPreCommand})...)
		}, []int{41, 281, 900}, func(f *Facts) bool { return f.NotRun == "" && f.SinceActivation == 40*time.Second }, "same"},
		"an outage before": {func(r int) []Sighting { return one(Lost, r, Sighting{Start: at(-30)}) }, []int{180, 300}, func(f *Facts) bool { return f.Second && !f.Again }, "more"},
		"the same outage":  {func(r int) []Sighting { return one(Lost, r, Sighting{Start: at(0)}) }, []int{200, 281}, func(f *Facts) bool { return !f.Second && !f.Again }, "same"},
		"an outage later":  {func(r int) []Sighting { return one(Lost, r, Sighting{Start: at(171)}) }, []int{400, 5000}, func(f *Facts) bool { return f.Again && !f.Second }, ""},
		"told again":       {func(r int) []Sighting { s := alert(r, 80); s.Entry = 2; return []Sighting{s} }, []int{280, 281, 1700}, func(f *Facts) bool { return !f.Again && !f.Second && f.Postcode.K == 0 }, "same"},
	} {
		for _, r := range c.times {
			fact := c.fact(r)
			reached := at(10000)
			for how, order := range map[string][][]Sighting{
				"in order":  {slices.Concat([]Sighting{activation(here), alert(280, 80)}, fact)},
				"reversed":  {slices.Concat(fact, []Sighting{alert(280, 80), activation(here)})},
				"twice":     {slices.Concat([]Sighting{activation(here), alert(280, 80)}, fact), fact},
				"seen late": {{activation(here), alert(280, 80)}, fact},
			} {
				e := New(Options{Hubs: func(a Area) int { return map[Area]int{10: 17, 20: 100, 30: 1000}[a] }})
				plain := New(e.opts)
				for _, e := range []*Engine{e, plain} {
					e.SetLearning(&Learning{Until: at(100_000)}) // nothing more
				}
				last := func(e *Engine) (a Assessment) {
					for _, x := range e.Advance(reached) {
						if x.Entry == 1 {
							a = x
						}
					}
					return a
				}
				var got Assessment
				for _, chunk := range order {
					for _, s := range chunk {
						e.Add(s)
					}
					if a := last(e); a.Entry != 0 {
						got = a
					}
				}
				plain.Add(activation(here))
				plain.Add(alert(280, 80))
				without := last(plain)
				if name == "with windows" && how == "seen late" && got.Facts.Postcode.N != 2 {
					continue // that they have 11.3s changes the level of nothing, and waits for the end
				}
				if !c.is(&got.Facts) {
					t.Errorf("%s, received at %d, %s: %+v", name, r, how, got.Facts)
				}
				if change := map[bool]string{got.Odds > without.Odds: "more", got.Odds < without.Odds: "less", got.Odds == without.Odds: "same"}[true]; c.odds != "" && change != c.odds {
					t.Errorf("%s, received at %d, %s: odds are %s (%g, without %g)", name, r, how, change, got.Odds, without.Odds)
				}
			}
		}
	}
}

// TestTimes holds when the assessments of an entry come.
func TestTimes(t *testing.T) {
	e := New(Options{Hubs: func(Area) int { return 17 }})
	e.Add(activation(here))
	e.Add(alert(280, 80))
	for _, s := range neighbours(16, 283, 80) {
		e.Add(s)
	}
	var got []string
	for _, a := range e.Advance(at(100_000)) {
		got = append(got, fmt.Sprintf("%.0f s: stage %d, %s", a.At.Sub(evening).Seconds(), a.Stage, a.Level))
	}
	want := []string{"280 s: stage 0, none", "283 s: stage 0, strong", "580 s: stage 1, strong", "1180 s: stage 2, strong", "1800 s: stage 3, strong", "86680 s: stage 5, weak"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestForgets holds that what is kept is bounded, whatever comes in, and that nothing stays.
func TestForgets(t *testing.T) {
	e := New(Options{Hubs: func(Area) int { return 17 }})
	most := 0
	for day := range 10 {
		for i := range 100 {
			h := Home{Hub: outage.DeviceID(1000*day + i + 1), Model: "A", Postcode: Area(1000*day + i), Sector: Area(day), Distributor: 1}
			start := evening.AddDate(0, 0, day).Add(time.Duration(i) * time.Minute)
			m := h.Hub + 1e6
			e.Add(Sighting{Kind: Ordered, Received: start, Start: start, Home: h, Meter: m, Form: outage.SignedPreCommand, Tracked: true, Request: outage.RequestID{Counter: uint64(h.Hub), Target: m}})
			e.Add(Sighting{Kind: Lost, Received: start.Add(5 * time.Minute), Start: start.Add(time.Minute), Home: h, Meter: m, Entry: int64(h.Hub), WindowStart: start, WindowEnd: start.Add(30 * time.Minute)})
			e.Add(Sighting{Kind: Restored, Received: start.Add(time.Hour), Start: start, End: start, Home: h})
			e.Add(Sighting{Kind: NotRun, Received: start.Add(time.Hour), Request: outage.RequestID{Counter: uint64(h.Hub) + 1e6}, Home: h})
			h.Hub += 500
			e.Add(Sighting{Kind: Lost, Received: start.Add(5 * time.Minute), Start: start.Add(time.Minute), Home: h})
		}
		e.Advance(evening.AddDate(0, 0, day+1))
		most = max(most, len(e.hubs))
	}
	if most > 400 {
		t.Errorf("%d hubs were kept at once", most)
	}
	e.Advance(evening.AddDate(0, 0, 13))
	if n := len(e.hubs) + len(e.looks) + len(e.events) + len(e.pending) + len(e.areas[0]) + len(e.areas[1]) + len(e.areas[2]); n != 0 {
		t.Errorf("%d things were not forgotten: %v", n, e.areas)
	}
}

func TestSentences(t *testing.T) {
	e := New(Options{Hubs: func(a Area) int { return map[Area]int{10: 18, 20: 100, 30: 1000}[a] }})
	e.Add(activation(here))
	e.Add(alert(280, 80))
	for _, s := range neighbours(14, 283, 80) {
		e.Add(s)
	}
	e.Add(one(Restored, 8000, Sighting{Start: at(80), End: at(7900), Meter: meter})[0])
	said := e.Advance(at(9000))
	text := strings.Join(said[len(said)-1].Sentences(), "\n")
	for _, want := range []string{"14 of 17 hubs in the same postcode lost power within a minute.", "14 of 99 hubs in the same postcode sector lost power within a minute.",
		"The outage began 80 seconds after the activation; this model reboots at that moment in 1 of 240 activations.", "The home was heard again 2 hours 8 minutes after the alert.",
		"The meter says that the outage lasted from 22:01:20 to 00:11:40, 2 hours 10 minutes;"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	nowhere := Assessment{Facts: Facts{Distributor: Count{0, 1000}, Share: .01}}
	if text := strings.Join(nowhere.Sentences(), "\n"); !strings.Contains(text, "cannot tell before restoration") || !strings.Contains(text, "None of 1000 hubs of the same distributor") {
		t.Error(text)
	}
}

// TestNoNeighbourOfItsOwn: what the hub itself has sent before its window says nothing about the
// hubs around it.
func TestNoNeighbourOfItsOwn(t *testing.T) {
	e := New(Options{Hubs: func(Area) int { return 17 }})
	own := one(Lost, -20, Sighting{Start: at(-200)})[0]
	for _, s := range append(neighbours(3, 50, -210), own, activation(here), alert(100, -170)) {
		e.Add(s)
	}
	for _, a := range e.Advance(at(400)) {
		if f := a.Facts; f.Postcode != (Count{3, 16}) || f.LaterPostcode != (Count{0, 16}) {
			t.Errorf("%d after the alert: %+v, later %+v", a.Stage, f.Postcode, f.LaterPostcode)
		}
	}
}
