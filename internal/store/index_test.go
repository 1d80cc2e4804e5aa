package store

import (
	"math/rand/v2"
	"testing"

	"quell/internal/outage"
)

// The index agrees with a plain set through growth, removal and rebuilding,
// and its filter spares nearly every hub that is not in it the set.
func TestIndex(t *testing.T) {
	var x index
	if x.has(hub(1)) {
		t.Fatal("an empty index has a hub")
	}
	set := map[outage.DeviceID]bool{}
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 3 * minCapacity
	check := func() {
		t.Helper()
		perhaps := 0
		for i := range 2 * n {
			if x.has(hub(i)) != set[hub(i)] {
				t.Fatalf("hub %d: %v", i, !set[hub(i)])
			}
			if !set[hub(i)] && x.filter.Load().has(hub(i)) {
				perhaps++
			}
		}
		// A hundredth is four times what a full filter should let through; no
		// more than that may have been removed since the last rebuild.
		if len(set)+perhaps > 0 && perhaps > 2*n/100+x.removed {
			t.Errorf("the filter lets through %d of %d", perhaps, 2*n-len(set))
		}
		if x.len() != len(set) {
			t.Errorf("len %d, want %d", x.len(), len(set))
		}
	}
	for range n {
		id := hub(rnd.IntN(2 * n))
		x.add(id)
		x.add(id)
		set[id] = true
	}
	check()
	for id := range set {
		if len(set) <= 100 {
			break
		}
		x.remove(id)
		x.remove(id)
		delete(set, id)
	}
	check()
	if c := x.filter.Load().capacity(); c > n {
		t.Errorf("the filter kept its size: %d", c)
	}
	x.unresolved.Add(1)
	if !x.has(hub(4 * n)) {
		t.Error("while an activation is unresolved, every hub may have a window")
	}
}
