package hubs

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
)

func hub(n int) outage.DeviceID { return outage.DeviceID(0x8873845700000000 + uint64(n)) }

// waitBuilt waits until no filter is being built.
func waitBuilt(t testing.TB, x *Set) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); x.building.Load(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the filter was not built within 20 s")
		}
	}
}

// The set agrees with a map while it grows, shrinks and is rebuilt. Its filter answers for
// nearly every hub that is not in the set.
func TestSet(t *testing.T) {
	var x Set
	if x.Has(hub(1)) {
		t.Fatal("an empty set has a hub")
	}
	set := map[outage.DeviceID]bool{}
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 3 * minCapacity
	check := func() {
		t.Helper()
		waitBuilt(t, &x)
		perhaps := 0
		for i := range 2 * n {
			if x.Has(hub(i)) != set[hub(i)] {
				t.Fatalf("hub %d: Has says %v", i, !set[hub(i)])
			}
			if !set[hub(i)] && x.filter.Load().has(hub(i)) {
				perhaps++
			}
		}
		// A hundredth is four times what a full filter should let through. Hubs that
		// were removed since the last rebuild are let through too.
		if len(set)+perhaps > 0 && perhaps > 2*n/100+int(x.removed.Load()) {
			t.Errorf("the filter lets through %d of %d", perhaps, 2*n-len(set))
		}
		if x.Len() != len(set) {
			t.Errorf("len %d, want %d", x.Len(), len(set))
		}
	}
	for range n {
		id := hub(rnd.IntN(2 * n))
		x.Add(id)
		x.Add(id)
		set[id] = true
	}
	check()
	for id := range set {
		if len(set) <= 100 {
			break
		}
		x.Remove(id)
		x.Remove(id)
		delete(set, id)
	}
	check()
	if c := x.filter.Load().capacity(); c > n {
		t.Errorf("the filter did not shrink: %d", c)
	}
}

// While the filter is rebuilt, nobody waits for it. The set answers and takes hubs, and
// none that is added meanwhile is missing afterwards.
func TestSetWhileRebuilt(t *testing.T) {
	var x Set
	const n = minCapacity
	for i := range n {
		x.Add(hub(i))
	}
	was := x.filter.Load()
	last := &x.shards[len(x.shards)-1]
	last.mu.Lock() // rebuilding stops here
	begun, added := false, 0
	for i := n; added < 1000; i++ {
		if x.building.Load() && !begun {
			begun = true
			walked(t, &x, n, last)
		}
		if id := hub(i); x.shard(id) != last {
			x.Add(id)
			added++
			if !x.Has(id) || x.filter.Load() != was {
				t.Fatalf("hub %d: Has says %v, or the filter was replaced", i, x.Has(id))
			}
		}
	}
	if !x.building.Load() {
		t.Fatal("no filter is being built")
	}
	last.mu.Unlock()
	waitBuilt(t, &x)
	if x.filter.Load() == was {
		t.Error("the filter is still the old one")
	}
	for i, found := n, 0; found < added; i++ {
		if id := hub(i); x.shard(id) != last {
			if found++; !x.Has(id) {
				t.Fatalf("hub %d is missing", i)
			}
		}
	}
	most := 0
	for i := range x.shards {
		most = max(most, len(x.shards[i].hubs))
	}
	if most > 2*x.Len()/len(x.shards) {
		t.Errorf("one shard of %d has %d of %d hubs", len(x.shards), most, x.Len())
	}
}

// walked waits until the filter that is built has the first n hubs, but those of a part.
func walked(t *testing.T, x *Set, n int, but *shard) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for i := range n {
		for id := hub(i); x.shard(id) != but; time.Sleep(2 * time.Millisecond) {
			if f := x.next.Load(); f != nil && f.has(id) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("hub %d is not in the filter that is built", i)
			}
		}
	}
}

// Several goroutines add hubs while filters are built. Each hub is there at once, and stays.
func TestSetGrowsUnderLoad(t *testing.T) {
	var x Set
	const adders, each = 4, minCapacity
	var all sync.WaitGroup
	for a := range adders {
		all.Go(func() {
			for i := range each {
				id := hub(a*each + i)
				if x.Add(id); !x.Has(id) {
					t.Errorf("hub %s is missing", id)
					return
				}
			}
		})
	}
	all.Wait()
	waitBuilt(t, &x)
	for i := range adders * each {
		if !x.Has(hub(i)) {
			t.Fatalf("hub %d is missing", i)
		}
	}
}

// BenchmarkSet measures Has for a hub without a window, as for nearly every alert, and for
// one with a window.
func BenchmarkSet(b *testing.B) {
	for _, size := range []int{10_000, 5_000_000} {
		var x Set
		for i := range size {
			x.Add(hub(i))
		}
		for _, c := range []struct {
			name string
			from int
		}{{"without", size}, {"with", 0}} {
			b.Run(fmt.Sprintf("%s/windows=%d", c.name, size), func(b *testing.B) {
				n, rnd := 0, uint64(1)
				for b.Loop() {
					rnd = rnd*6364136223846793005 + 1442695040888963407
					if x.Has(hub(c.from + int(rnd>>33)%size)) {
						n++
					}
				}
				if (n > 0) != (c.from == 0) {
					b.Fatal(n)
				}
			})
		}
	}
}
