// Package hubs is a set of hubs in memory. It answers most questions for a hub that is
// not in it from one cache line.
package hubs

import (
	"sync"
	"sync/atomic"

	"quell/internal/outage"
)

// Set is a set of hubs. Its zero value is empty. Its methods may be called from any
// goroutine.
type Set struct {
	// filter answers for most hubs that are not in the set. The set itself,
	// once it has millions of hubs, is far out of the processor's caches.
	filter atomic.Pointer[filter]
	// next is the filter that is being built to take its place. Nobody waits for
	// that: what is added meanwhile is added to both.
	next     atomic.Pointer[filter]
	building atomic.Bool

	hubs    atomic.Int64 // in the set
	removed atomic.Int64 // from the set, but not from the filter
	shards  [64]shard
}

// shard is a part of the set: to go through one of them takes a millisecond, with
// millions of hubs.
type shard struct {
	mu   sync.RWMutex // guards what follows
	hubs map[outage.DeviceID]struct{}
}

// list appends the shard's hubs to a list.
func (p *shard) list(list []int64) []int64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for id := range p.hubs {
		list = append(list, int64(id))
	}
	return list
}

func (x *Set) shard(id outage.DeviceID) *shard { return &x.shards[spread(id)>>24&0x3f] }

// Has reports whether a hub is in the set.
func (x *Set) Has(id outage.DeviceID) bool {
	if f := x.filter.Load(); f == nil || !f.has(id) {
		return false
	}
	part := x.shard(id)
	part.mu.RLock()
	_, ok := part.hubs[id]
	part.mu.RUnlock()
	return ok
}

// Add adds a hub, unless its id is 0: it is not known.
func (x *Set) Add(id outage.DeviceID) {
	if id == 0 {
		return
	}
	if x.filter.Load() == nil {
		x.filter.CompareAndSwap(nil, newFilter(0))
	}
	part := x.shard(id)
	part.mu.Lock()
	if _, ok := part.hubs[id]; ok {
		part.mu.Unlock()
		return
	}
	if part.hubs == nil {
		part.hubs = map[outage.DeviceID]struct{}{}
	}
	part.hubs[id] = struct{}{}
	// In this order: if there is no next one any more, it is the filter by now; if
	// there is none yet, rebuild finds the hub in the set.
	if next := x.next.Load(); next != nil {
		next.add(id)
	}
	f := x.filter.Load()
	f.add(id)
	part.mu.Unlock()
	if x.hubs.Add(1)+x.removed.Load() > int64(f.capacity()) {
		x.rebuild()
	}
}

// All lists the hubs.
func (x *Set) All() []int64 {
	list := make([]int64, 0, x.Len())
	for i := range x.shards {
		list = x.shards[i].list(list)
	}
	return list
}

// Remove removes a hub.
func (x *Set) Remove(id outage.DeviceID) {
	part := x.shard(id)
	part.mu.Lock()
	_, ok := part.hubs[id]
	delete(part.hubs, id)
	part.mu.Unlock()
	if !ok {
		return
	}
	left := x.hubs.Add(-1)
	if removed := x.removed.Add(1); removed > left && removed > minCapacity {
		x.rebuild()
	}
}

// rebuild has a new filter made with room for as many hubs again, unless one is
// being made.
func (x *Set) rebuild() {
	if !x.building.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer x.building.Store(false)
		removed := x.removed.Load()
		f := newFilter(2 * x.Len())
		x.next.Store(f)
		for i := range x.shards {
			for _, id := range x.shards[i].list(nil) {
				f.add(outage.DeviceID(id))
			}
		}
		x.filter.Store(f)
		x.next.Store(nil)
		x.removed.Add(-removed)
	}()
}

// Len is how many hubs are in the set.
func (x *Set) Len() int { return int(x.hubs.Load()) }

// filter is a Bloom filter in blocks of 32 bytes, so that a question touches
// one cache line: four bits a hub, one in each word of its block. At 16 hubs a
// block, full, it says "perhaps" to 1 in 400 hubs that are not in it.
type filter []block

type block [4]atomic.Uint64

const (
	blockHubs   = 16
	minCapacity = 1 << 16
)

func newFilter(hubs int) *filter {
	f := make(filter, max(hubs, minCapacity)/blockHubs)
	return &f
}

func (f *filter) capacity() int { return len(*f) * blockHubs }

// spread is the finalizer of MurmurHash3, which spreads ids that differ in few bits.
func spread(id outage.DeviceID) uint64 {
	h := uint64(id)
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// place gives a hub's block, and 24 bits that choose the bits in it.
func (f *filter) place(id outage.DeviceID) (*block, uint64) {
	h := spread(id)
	return &(*f)[h>>32*uint64(len(*f))>>32], h
}

func (f *filter) has(id outage.DeviceID) bool {
	b, h := f.place(id)
	return b[0].Load()>>(h&63)&(b[1].Load()>>(h>>6&63))&(b[2].Load()>>(h>>12&63))&(b[3].Load()>>(h>>18&63))&1 != 0
}

func (f *filter) add(id outage.DeviceID) {
	b, h := f.place(id)
	for i := range b {
		b[i].Or(1 << (h >> (6 * i) & 63))
	}
}
