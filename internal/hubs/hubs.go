// Package hubs is a set of hubs in memory. For nearly all hubs that are not in it, it
// answers from one cache line.
package hubs

import (
	"sync"
	"sync/atomic"

	"quell/internal/outage"
)

// Set is a set of hubs. Its zero value is empty. Its methods may be called from any
// goroutine.
type Set struct {
	// filter answers for most hubs that are not in the set. The set itself does not fit
	// into the processor's caches once it has millions of hubs.
	filter atomic.Pointer[filter]
	// next is the filter that is being built to replace filter. Nobody waits for it: hubs
	// that are added meanwhile are added to both.
	next     atomic.Pointer[filter]
	building atomic.Bool

	hubs    atomic.Int64 // in the set
	removed atomic.Int64 // from the set, but not from the filter
	shards  [64]shard
}

// shard is a part of the set. To list one takes a millisecond when the set has millions of
// hubs.
type shard struct {
	mu   sync.RWMutex // guards hubs
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

func (s *Set) shard(id outage.DeviceID) *shard { return &s.shards[spread(id)>>24&0x3f] }

// Has reports whether a hub is in the set.
func (s *Set) Has(id outage.DeviceID) bool {
	if f := s.filter.Load(); f == nil || !f.has(id) {
		return false
	}
	part := s.shard(id)
	part.mu.RLock()
	_, ok := part.hubs[id]
	part.mu.RUnlock()
	return ok
}

// Add adds a hub. It ignores the id 0, which says that the hub is not known.
func (s *Set) Add(id outage.DeviceID) {
	if id == 0 {
		return
	}
	if s.filter.Load() == nil {
		s.filter.CompareAndSwap(nil, newFilter(0))
	}
	part := s.shard(id)
	part.mu.Lock()
	if _, ok := part.hubs[id]; ok {
		part.mu.Unlock()
		return
	}
	if part.hubs == nil {
		part.hubs = map[outage.DeviceID]struct{}{}
	}
	part.hubs[id] = struct{}{}
	// The order matters. If next is gone, it has become the filter. If it is not there
	// yet, rebuild will find the hub in the set.
	if next := s.next.Load(); next != nil {
		next.add(id)
	}
	f := s.filter.Load()
	f.add(id)
	part.mu.Unlock()
	if s.hubs.Add(1)+s.removed.Load() > int64(f.capacity()) {
		s.rebuild()
	}
}

// All lists the hubs.
func (s *Set) All() []int64 {
	list := make([]int64, 0, s.Len())
	for i := range s.shards {
		list = s.shards[i].list(list)
	}
	return list
}

// Remove removes a hub.
func (s *Set) Remove(id outage.DeviceID) {
	part := s.shard(id)
	part.mu.Lock()
	_, ok := part.hubs[id]
	delete(part.hubs, id)
	part.mu.Unlock()
	if !ok {
		return
	}
	left := s.hubs.Add(-1)
	if removed := s.removed.Add(1); removed > left && removed > minCapacity {
		s.rebuild()
	}
}

// rebuild starts to build a new filter, with room for twice the hubs, unless one is being
// built.
func (s *Set) rebuild() {
	if !s.building.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer s.building.Store(false)
		removed := s.removed.Load()
		f := newFilter(2 * s.Len())
		s.next.Store(f)
		for i := range s.shards {
			for _, id := range s.shards[i].list(nil) {
				f.add(outage.DeviceID(id))
			}
		}
		s.filter.Store(f)
		s.next.Store(nil)
		s.removed.Add(-removed)
	}()
}

// Len returns how many hubs are in the set.
func (s *Set) Len() int { return int(s.hubs.Load()) }

// filter is a Bloom filter in blocks of 32 bytes, so that a lookup touches one cache line.
// Each hub has four bits, one in each word of its block. A full filter has 16 hubs a block,
// and then says "perhaps" for 1 in 400 hubs that are not in it.
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

// place returns a hub's block, and 24 bits that choose the bits in it.
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
