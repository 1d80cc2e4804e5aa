package gateway

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/motorway"
	"quell/internal/outage"
)

// TestMutatedWatched: messages that were changed by chance, among them 11.1s, N60s, restoration alerts and
// outcomes of activations, pass with all on that looks at them: sightings, updates and a recording. None panics,
// and none of their bytes is changed.
func TestMutatedWatched(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(executions))
	if err != nil {
		n = 20_000
	}
	seed, err := strconv.ParseUint(os.Getenv("QUELL_TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	m := mutator{Rand: rand.New(rand.NewPCG(seed, 0))}
	attacks := readAttacks(t)
	for _, kind := range slices.Sorted(maps.Keys(attacks)) {
		for _, s := range strikes(t, attacks[kind]) {
			if text := []byte(s.text(s.message)); s.from == nil && len(text) < 4<<10 {
				m.messages = append(m.messages, text)
			}
		}
	}
	w := startedWorldBy(t, func(*world) {})
	id := outage.RequestID{Originator: meterID(1), Target: deviceBase["USER"], Counter: 9}
	restored := gbcs.AppendSigned(nil, gbcs.AppendRestoration(nil, gbcs.Restoration{Code: 0x8F36, Meter: meterID(1), Start: w.now(), End: w.now()}, deviceBase["USER"], 9), [64]byte{1})
	control := [][]byte{updateFor(100, 1, 3).body, duis.AppendDeviceAlert(nil, id, w.now(), "8F36", restored), duis.AppendPowerOutage(nil, outage.RequestID{Originator: hubID(1), Target: 1, Counter: 3}, w.now(), duis.PowerOutage{CHF: hubID(1), Start: w.now(), MPxN: "1200023305967"})}
	for range len(m.messages)/len(control) + 1 {
		m.messages = append(m.messages, control...)
	}
	seen := map[string]int{}
	for i := range n {
		b := m.change(m.messages)
		before := bytes.Clone(b)
		d := outage.South
		p := motorway.Passage{}
		if body := (motorway.Body{XML: true, Head: b, Rest: i%50 == 0}); i%2 == 0 {
			p = w.m.Southbound(t.Context(), body)
			if u := p.Update(); u != nil {
				seen["11.1"]++
				u.Write(b[:m.IntN(len(b)+1)])
				u.Refused()
			}
			w.m.Answered(t.Context(), &p, motorway.Delivery(m.IntN(3)), m.change(m.messages))
		} else {
			d = outage.North
			p = w.m.Northbound(t.Context(), body)
		}
		w.m.Passed(&p, 200)
		if !bytes.Equal(b, before) {
			t.Fatalf("the message %q was changed", before)
		}
		seen[fmt.Sprint(d, " ", p.Decision.Reason)]++
	}
	var list []string
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		list = append(list, fmt.Sprint(what, ": ", seen[what]))
	}
	t.Log(strings.Join(list, ", "))
	if seen["11.1"] == 0 {
		t.Error("no 11.1 was followed")
	}
}
