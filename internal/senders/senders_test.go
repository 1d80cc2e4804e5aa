package senders

import (
	"math/rand/v2"
	"testing"
	"time"

	"quell/internal/outage"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// However its 11.3s are spread, an originator never has more of them tracked within an hour than
// it may, and one that stays below is never stopped. Hours are counted in whole minutes.
func TestSenders(t *testing.T) {
	const most = 50
	rnd := rand.New(rand.NewPCG(1, 2))
	var s Counts
	tracked := map[outage.DeviceID][]int64{} // minutes of those that were tracked
	at := t0
	for range 20_000 {
		at = at.Add(time.Duration(rnd.IntN(20)*rnd.IntN(20)) * time.Second)
		if rnd.IntN(500) == 0 {
			at = at.Add(time.Duration(rnd.IntN(100)) * time.Minute)
		}
		id, minute := outage.DeviceID(rnd.IntN(3)+1), at.Unix()/60
		within := 0
		for _, m := range tracked[id] {
			if minute-m < 60 {
				within++
			}
		}
		over, first := s.Count(id, at, most)
		if over != (within >= most) || first && !over {
			t.Fatalf("%s: %d of %d within the hour, over %v, first %v", at, within, most, over, first)
		}
		if !over {
			tracked[id] = append(tracked[id], minute)
		}
	}
	if over, _ := s.Count(9, at, 0); over {
		t.Error("without a limit there is one")
	}
}

// Invented originators do not fill the memory, and do not share the count of those that are
// known.
func TestManySenders(t *testing.T) {
	var s Counts
	s.Count(1, t0, 10)
	for i := range 3 * maxSenders {
		s.Count(outage.DeviceID(1000+i), t0, 10)
	}
	if len(s.of) > maxSenders+1 {
		t.Errorf("%d originators are counted", len(s.of))
	}
	if over, _ := s.Count(1, t0, 10); over {
		t.Error("an originator is over its limit because of others")
	}
	if over, _ := s.Count(5, t0, 10); !over {
		t.Error("those beyond have no limit")
	}
	s.Count(2, t0.Add(2*time.Hour), 10)
	if len(s.of) > 10 {
		t.Errorf("%d originators are still counted after two hours", len(s.of))
	}
}
