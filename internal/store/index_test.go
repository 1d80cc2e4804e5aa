package store

import (
	"math/rand/v2"
	"sync"
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
		eventually(t, "the filter is built", func() bool { return !x.building.Load() })
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
		if len(set)+perhaps > 0 && perhaps > 2*n/100+int(x.removed.Load()) {
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

// While the filter is built anew nobody waits for it: it is asked, and added to,
// and nothing that is added meanwhile is missing from it afterwards.
func TestIndexIsBuiltBeside(t *testing.T) {
	var x index
	const n = minCapacity
	for i := range n {
		x.add(hub(i))
	}
	was := x.filter.Load()
	last := &x.shards[len(x.shards)-1]
	last.mu.Lock() // here it stops
	added := 0
	for i := n; added < 1000; i++ {
		if id := hub(i); x.shard(id) != last {
			x.add(id)
			added++
			if !x.has(id) || x.filter.Load() != was {
				t.Fatalf("hub %d: %v", i, x.has(id))
			}
		}
	}
	if !x.building.Load() {
		t.Fatal("no filter is built")
	}
	last.mu.Unlock()
	eventually(t, "it is built", func() bool { return !x.building.Load() })
	if x.filter.Load() == was {
		t.Error("it is the old one")
	}
	for i, found := n, 0; found < added; i++ {
		if id := hub(i); x.shard(id) != last {
			if found++; !x.has(id) {
				t.Fatalf("hub %d is missing", i)
			}
		}
	}
	most := 0
	for i := range x.shards {
		most = max(most, len(x.shards[i].hubs))
	}
	if most > 2*x.len()/len(x.shards) {
		t.Errorf("one part of %d has %d of %d hubs", len(x.shards), most, x.len())
	}
}

// Hubs are added by many while filters are built: each is there at once, and stays.
func TestIndexGrowsWhileAsked(t *testing.T) {
	var x index
	const adders, each = 4, minCapacity
	var all sync.WaitGroup
	for a := range adders {
		all.Go(func() {
			for i := range each {
				id := hub(a*each + i)
				if x.add(id); !x.has(id) {
					t.Errorf("hub %s is missing", id)
					return
				}
			}
		})
	}
	all.Wait()
	eventually(t, "the filter is built", func() bool { return !x.building.Load() })
	for i := range adders * each {
		if !x.has(hub(i)) {
			t.Fatalf("hub %d is missing", i)
		}
	}
}
