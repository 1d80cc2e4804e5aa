package nation

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"quell/internal/evidence"
)

var begin = time.Date(2026, 11, 26, 22, 0, 0, 0, time.UTC)

// TestScenarios holds that a small version of each scenario gives sensible results: what is
// called strong is nearly always genuine, and most genuine alerts are found in the end. There are
// few genuine alerts in so few nights, so the bounds are wide: docs/outage-safety.md has the measurement.
func TestScenarios(t *testing.T) {
	const homes = 30_000
	for i, s := range Scenarios {
		s, nights := s, uint64(3)
		if s.Storm {
			nights = 8
		}
		if !s.Storm && !s.NoPostcodes {
			s.MoreFaults = 30
		}
		w := NewWorld(uint64(i), homes)
		for _, d := range s.Details() {
			learned := w.Run(w.Night(s, 1, begin), d, nil, nil).Learning()
			var c Counts
			for k := range nights {
				c.Add(w.Measure(s, w.Night(s, 2+k, begin.AddDate(0, 1, int(k))), d, learned))
			}
			t.Logf("%s, %s: %d false, %d genuine", s.Name, d, c.Alerts, c.Genuine)
			for m := range Moments {
				strong := (c.TruePositive[m] + c.FalsePositive[m]) * max(1, s.MoreFaults)
				t.Logf("  %s: precision %.3f, recall %.3f", Moments[m].Name, c.Precision(m), c.Recall(m))
				if c.Precision(m) < .9 && strong > 20 {
					t.Errorf("%s, %s, %s: of %.0f strong alerts %.3f are genuine", s.Name, d, Moments[m].Name, strong, c.Precision(m))
				}
			}
			if r := c.Recall(2); r < .7 && c.Genuine > 20 {
				t.Errorf("%s, %s: of %d genuine alerts %.3f are found", s.Name, d, c.Genuine, r)
			}
			if c.FalseFar[2] > 1 {
				t.Errorf("%s, %s: %d strong alerts with no fault near", s.Name, d, c.FalseFar[2])
			}
			if c.Alerts < 3000 {
				t.Errorf("%s, %s: only %d false alerts", s.Name, d, c.Alerts)
			}
		}
	}
}

// TestNight holds that a night is as the assumptions say, and the same from the same seed.
func TestNight(t *testing.T) {
	w := NewWorld(7, 50_000)
	var cut, activated, alerts, genuine float64
	const nights = 40
	for seed := range uint64(nights) {
		s := Scenarios[0]
		s.MoreFaults = 20
		n := w.Night(s, seed, begin)
		cut += float64(n.Cut)
		activated += float64(n.Activated)
		started := map[int64]evidence.Sighting{}
		for i, x := range n.Sightings {
			if i > 0 && x.Received.Before(n.Sightings[i-1].Received) {
				t.Fatal("sightings are not in order")
			}
			if _, seen := started[x.Entry]; x.Entry != 0 && !seen {
				started[x.Entry] = x
			}
		}
		for _, a := range n.Alerts {
			x := started[a.Entry]
			if x.Received.Before(x.WindowStart) || !x.Received.Before(x.WindowEnd) {
				t.Fatalf("an alert outside its window: %+v", x)
			}
			faulty := false
			for _, f := range n.Faults {
				in := a.Home >= f.First && a.Home < f.Last && (a.Home-f.First)%f.Every == 0
				since := x.Received.Sub(n.Begin).Seconds() - f.From
				faulty = faulty || in && since > -600 && since < 2*3600 // it may fail after the alert, while the hub reboots
			}
			if a.Genuine && !faulty {
				t.Fatalf("a genuine alert without a fault: %+v", a)
			}
			alerts++
			if a.Genuine {
				genuine++
			}
		}
		if seed == 0 {
			if again := w.Night(s, seed, begin); !reflect.DeepEqual(n, again) {
				t.Error("the same seed gives another night")
			}
			var sightings, truth bytes.Buffer
			if n.WriteSightings(&sightings) != nil || n.WriteTruth(&truth) != nil || bytes.Count(sightings.Bytes(), []byte("\n")) != len(n.Sightings) || bytes.Count(truth.Bytes(), []byte("\n")) != len(n.Faults)+len(n.Alerts) {
				t.Error("not all is written")
			}
		}
	}
	// Once in two years; by 20. Few large faults make most of it, so it varies.
	if want := 50_000 * nights * .5 * 8 / 8766 * 20; math.Abs(cut/want-1) > .4 {
		t.Errorf("%.0f homes were cut off, want about %.0f", cut, want)
	}
	// One genuine alert to some 27,000 false ones.
	if ratio := alerts / genuine * 20; ratio < 15_000 || ratio > 45_000 {
		t.Errorf("1 genuine alert to %.0f", ratio)
	}
	if share := activated / nights / 50_000; share < .1 || share > .35 {
		t.Errorf("%.2f of the homes are activated in a night", share)
	}
}
