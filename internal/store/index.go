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

	mu      sync.RWMutex // guards what follows
	hubs    map[outage.DeviceID]struct{}
	removed int // from the set, but not from the filter
}

func (x *index) has(id outage.DeviceID) bool {
	if f := x.filter.Load(); f == nil || !f.has(id) {
		return x.unresolved.Load() > 0
	}
	x.mu.RLock()
	_, ok := x.hubs[id]
	x.mu.RUnlock()
	return ok || x.unresolved.Load() > 0
}

func (x *index) add(id outage.DeviceID) {
	if id == 0 {
		return // not known
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.hubs[id]; ok {
		return
	}
	if x.hubs == nil {
		x.hubs = map[outage.DeviceID]struct{}{}
	}
	x.hubs[id] = struct{}{}
	if f := x.filter.Load(); f != nil && len(x.hubs)+x.removed <= f.capacity() {
		f.add(id)
	} else {
		x.rebuild()
	}
}

// all lists the hubs.
func (x *index) all() []int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]int64, 0, len(x.hubs))
	for id := range x.hubs {
		list = append(list, int64(id))
	}
	return list
}

func (x *index) remove(id outage.DeviceID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.hubs[id]; !ok {
		return
	}
	delete(x.hubs, id)
	if x.removed++; x.removed > len(x.hubs) && x.removed > minCapacity {
		x.rebuild()
	}
}

// rebuild makes a new filter with room for as many hubs again. x.mu is held.
func (x *index) rebuild() {
	f := newFilter(2 * len(x.hubs))
	for id := range x.hubs {
		f.add(id)
	}
	x.removed = 0
	x.filter.Store(f)
}

func (x *index) len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.hubs)
}

// filter is a Bloom filter in blocks of 32 octets, so that a question touches
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

// place gives a hub's block, and 24 bits that choose the bits in it.
func (f *filter) place(id outage.DeviceID) (*block, uint64) {
	// The finalizer of MurmurHash3, which spreads ids that differ in few bits.
	h := uint64(id)
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	h ^= h >> 33
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
