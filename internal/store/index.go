package store

import (
	"sync"
	"sync/atomic"

	"quell/internal/outage"
)

// index is the set of hubs that the store must be asked about: those with an
// activation or a log entry. Any other hub has no window, which is the answer
// to nearly every alert. It is a filter only: what it holds too much costs a
// question. Of a node's own requests it never holds too little, since a hub is
// added before its request is forwarded and taken out only when its last row is
// gone; of other nodes' it may for a moment, and alerts then go forward.
type index struct {
	// unresolved counts journaled activations whose hub is not known yet;
	// while there are any, every hub may have a window.
	unresolved atomic.Int64

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

func (x *index) shard(id outage.DeviceID) *shard { return &x.shards[spread(id)>>24&0x3f] }

func (x *index) has(id outage.DeviceID) bool {
	if f := x.filter.Load(); f == nil || !f.has(id) {
		return x.unresolved.Load() > 0
	}
	part := x.shard(id)
	part.mu.RLock()
	_, ok := part.hubs[id]
	part.mu.RUnlock()
	return ok || x.unresolved.Load() > 0
}

func (x *index) add(id outage.DeviceID) {
	if id == 0 {
		return // not known
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

// all lists the hubs.
func (x *index) all() []int64 {
	list := make([]int64, 0, x.len())
	for i := range x.shards {
		list = x.shards[i].list(list)
	}
	return list
}

func (x *index) remove(id outage.DeviceID) {
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
func (x *index) rebuild() {
	if !x.building.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer x.building.Store(false)
		removed := x.removed.Load()
		f := newFilter(2 * x.len())
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

func (x *index) len() int { return int(x.hubs.Load()) }

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

// MayHold reports whether an alert of the hub must be put to Decide. If not, it is
// to be forwarded and noted: the hub has no window that this node knows of.
func (s *Store) MayHold(chf outage.DeviceID) bool { return s.index.has(chf) }

// Hubs is how many hubs the store is asked about.
func (s *Store) Hubs() int { return s.index.len() }
