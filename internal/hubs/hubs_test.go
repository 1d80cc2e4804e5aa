package hubs

import (
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"quell/internal/outage"
)

func hub(n int) outage.DeviceID { return outage.DeviceID(0x8873845700000000 + uint64(n)) }

func mapOf(ids []outage.DeviceID) map[outage.DeviceID]bool {
	m := map[outage.DeviceID]bool{}
	for _, id := range ids {
		m[id] = true
	}
	return m
}

// same checks that the set has the hubs of a map, and none of others.
func same(t *testing.T, x *Set, want map[outage.DeviceID]bool, others []outage.DeviceID) {
	t.Helper()
	if x.Len() != len(want) {
		t.Fatalf("Len says %d, want %d", x.Len(), len(want))
	}
	list := x.All()
	if len(list) != len(want) {
		t.Fatalf("All lists %d hubs, want %d", len(list), len(want))
	}
	for _, id := range list {
		if !want[outage.DeviceID(id)] {
			t.Fatalf("All lists %s, which is not in the set, or twice", outage.DeviceID(id))
		}
	}
	for _, id := range append(slices.Collect(maps.Keys(want)), others...) {
		if x.Has(id) != want[id] {
			t.Fatalf("hub %s: Has says %v", id, !want[id])
		}
	}
}

// The set agrees with a map while it grows and shrinks, whatever the hubs' ids are like. Half of
// them are in one shard, where groups get full and empty again.
func TestSet(t *testing.T) {
	var x Set
	if x.Has(hub(1)) || x.Len() != 0 || len(x.All()) != 0 {
		t.Fatal("an empty set has a hub")
	}
	x.Remove(hub(1))
	x.Add(0)
	ids := []outage.DeviceID{1, 2, 1 << 63, 1<<64 - 1}
	for i := 0; len(ids) < 4000; i++ {
		if id := hub(i); x.shard(spread(id)) == &x.shards[7] {
			ids = append(ids, id, hub(-i), outage.DeviceID(uint64(i)<<40))
		}
	}
	want := map[outage.DeviceID]bool{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		share := []int{100, 90, 50, 10, 3, 0}[round%6] // of all hubs, in a hundred
		for range 2 * len(ids) {
			id := ids[rnd.IntN(len(ids))]
			if rnd.IntN(100) < share {
				x.Add(id)
				want[id] = true
			} else {
				x.Remove(id)
				delete(want, id)
			}
		}
		same(t, &x, want, append(ids, 0, hub(-1)))
	}
	add, rest := x.AddMany()
	for _, id := range ids {
		add(id)
	}
	rest()
	want = mapOf(ids)
	same(t, &x, want, []outage.DeviceID{0, hub(-1)})
	for id := range want {
		x.Remove(id)
	}
	same(t, &x, nil, ids)
	for i := range x.shards {
		if to := x.shards[i].table.Load(); to != nil && len(to.marks) > 1 {
			t.Errorf("the shard %d is empty, and has %d groups", i, len(to.marks))
		}
	}
}

// Several goroutines change and read the set at once, each with hubs of its own. For each of them
// the set agrees with a map at all times.
func TestSetConcurrent(t *testing.T) {
	var x Set
	const workers, each, steps = 4, 20_000, 100_000
	all := make([]map[outage.DeviceID]bool, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			want, rnd := map[outage.DeviceID]bool{}, rand.New(rand.NewPCG(uint64(w), 3))
			for step := range steps {
				id := hub(rnd.IntN(each)*workers + w)
				switch growing := step/(steps/4)%2 == 0; {
				case rnd.IntN(3) == 0:
				case growing == (rnd.IntN(8) > 0):
					x.Add(id)
					want[id] = true
				default:
					x.Remove(id)
					delete(want, id)
				}
				if x.Has(id) != want[id] {
					t.Errorf("hub %s: Has says %v", id, !want[id])
					return
				}
			}
			all[w] = want
		})
	}
	wg.Wait()
	want := map[outage.DeviceID]bool{}
	for _, m := range all {
		maps.Copy(want, m)
	}
	same(t, &x, want, []outage.DeviceID{hub(-1)})
}

// A hub that was added is found by everybody from then on, while the table of its shard grows,
// shrinks and is replaced.
func TestNeverMissed(t *testing.T) {
	var x Set
	const stay, pass, rounds = 3000, 20_000, 12
	var ids []outage.DeviceID // all of one shard, so that it is replaced often, and for long
	for i := 0; len(ids) < stay+pass; i++ {
		if x.shard(spread(hub(i))) == &x.shards[7] {
			ids = append(ids, hub(i))
		}
	}
	var added atomic.Int64 // so many of the hubs are in the set, and stay
	var done atomic.Bool
	var wg sync.WaitGroup
	for reader := range 2 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(reader), 4))
			for !done.Load() {
				have := int(added.Load())
				for range min(have, 1000) {
					if i := have - 1 - rnd.IntN(have)*rnd.IntN(2); !x.Has(ids[i]) { // the last one, or any
						t.Errorf("hub %d of %d is missing", i, have)
						return
					}
				}
				if list := x.All(); len(list) < have {
					t.Errorf("All lists %d hubs of %d", len(list), have)
					return
				}
			}
		})
	}
	for i := range stay {
		x.Add(ids[i])
		added.Store(int64(i + 1))
	}
	for range rounds {
		for _, id := range ids[stay:] {
			x.Add(id)
		}
		for _, id := range ids[stay:] {
			x.Remove(id)
		}
	}
	done.Store(true)
	wg.Wait()
	same(t, &x, mapOf(ids[:stay]), ids)
}

// No shard is much larger than others, whichever bits of the ids differ: the longest pause is that
// of the largest one. A hub takes at most 26 bytes.
func TestShards(t *testing.T) {
	for _, c := range []struct {
		name string
		id   func(i int) outage.DeviceID
	}{
		{"one after the other", hub},
		{"high bits", func(i int) outage.DeviceID { return outage.DeviceID(uint64(i+1) << 44) }},
		{"every 4096th", func(i int) outage.DeviceID { return hub(i << 12) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			const n = 200_000 // when half of the tables have just grown
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			x := new(Set)
			for i := range n {
				x.Add(c.id(i))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if each := float64(after.HeapAlloc-before.HeapAlloc) / n; each > 26 {
				t.Errorf("%.1f bytes a hub", each)
			}
			most := 0
			for i := range x.shards {
				most = max(most, x.shards[i].size)
			}
			if mean := n / len(x.shards); most > mean*3/2 {
				t.Errorf("one shard has %d hubs, the mean is %d", most, mean)
			}
			runtime.KeepAlive(x)
		})
	}
}
