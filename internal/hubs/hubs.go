// Package hubs is a set of hubs in memory. For nearly all hubs that are not in it, it
// answers from one cache line. A look-up never waits. A change waits at most while a
// thousandth of the set is copied.
package hubs

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"quell/internal/outage"
)

// Set is a set of hubs. Its zero value is empty. Its methods may be called from any
// goroutine. Has and All take no lock.
type Set struct {
	size   atomic.Int64
	shards [1 << shardBits]shard
}

// There are so many shards that one has 10,000 hubs if the set has ten million. To copy it
// then takes less than a millisecond.
const shardBits = 10

// shard is a part of the set.
type shard struct {
	mu    sync.Mutex            // held by who changes the shard
	table atomic.Pointer[table] // nil if there never was a hub
	// size is how many hubs the table has, and used how many of its places are not free.
	// Both are guarded by mu.
	size, used int
}

// table is a hash table with open addressing, in groups of eight places. A hub is in the
// first group from its own on that had a free place when it was added. So a group with a
// free place ends a search. In a full group, the place of a hub that is removed does not get
// free again until the table is replaced.
//
// Has and All read a table while it is changed. They miss no hub that is there all the time,
// since no hub is ever moved within a table.
type table struct {
	// marks has a word for each group, with a byte for each place: 0 if it is free, removed,
	// or 0x80 and seven bits of the hub's hash. They are a filter: they answer for nearly all
	// hubs that are not in the set, and fit into the processor's caches when the hubs, which
	// take eight times the room, do not.
	marks []atomic.Uint64
	hubs  []atomic.Uint64 // eight for each mark
}

const (
	groupSize = 8
	removed   = 1                  // the mark of a place whose hub was removed
	lowBits   = 0x0101010101010101 // the lowest bit of each byte
	highBits  = 0x8080808080808080 // the highest
)

func newTable(groups int) *table {
	return &table{make([]atomic.Uint64, groups), make([]atomic.Uint64, groups*groupSize)}
}

// full reports whether so many used places are too many: more than three of four.
func (t *table) full(used int) bool { return used > len(t.hubs)*3/4 }

// spread is the finalizer of MurmurHash3, which spreads ids that differ in few bits. Its
// highest bits choose the shard, its lowest the group, and those between the mark.
func spread(id outage.DeviceID) uint64 {
	h := uint64(id)
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// zeros returns the highest bit of each byte that is 0. Above the lowest of them there may be
// others by mistake.
func zeros(bytes uint64) uint64 { return (bytes - lowBits) &^ bytes & highBits }

func mark(hash uint64) uint64 { return hash>>40&0x7f | 0x80 }

func (s *Set) shard(hash uint64) *shard { return &s.shards[hash>>(64-shardBits)] }

// find returns the place of a hub, and whether the hub is there. If it is not, the place is
// the free one for it.
func (t *table) find(id outage.DeviceID, hash uint64) (place uint64, ok bool) {
	last := uint64(len(t.marks) - 1)
	for g := hash & last; ; g = (g + 1) & last {
		marks := t.marks[g].Load()
		for like := zeros(marks ^ mark(hash)*lowBits); like != 0; like &= like - 1 {
			place := g*groupSize + uint64(bits.TrailingZeros64(like)/8)
			if t.hubs[place].Load() == uint64(id) {
				return place, true
			}
		}
		if free := zeros(marks); free != 0 {
			return g*groupSize + uint64(bits.TrailingZeros64(free)/8), false
		}
	}
}

// put puts a hub into a free place that find returned.
func (t *table) put(place uint64, id outage.DeviceID, hash uint64) {
	t.hubs[place].Store(uint64(id))
	t.marks[place/groupSize].Or(mark(hash) << (place % groupSize * 8))
}

// each calls f with each hub.
func (t *table) each(f func(id outage.DeviceID)) {
	for g := range t.marks {
		marks := t.marks[g].Load()
		for p := range groupSize {
			if marks>>(p*8)&0x80 != 0 {
				f(outage.DeviceID(t.hubs[g*groupSize+p].Load()))
			}
		}
	}
}

// replace replaces the shard's table by one of so many groups, and returns that.
func (p *shard) replace(groups int) *table {
	to := newTable(groups)
	p.table.Load().each(func(id outage.DeviceID) {
		hash := spread(id)
		place, _ := to.find(id, hash)
		to.put(place, id, hash)
	})
	p.used = p.size
	p.table.Store(to)
	return to
}

// Has reports whether a hub is in the set.
func (s *Set) Has(id outage.DeviceID) bool {
	hash := spread(id)
	t := s.shard(hash).table.Load()
	if t == nil {
		return false
	}
	_, ok := t.find(id, hash)
	return ok
}

// Add adds a hub. It ignores the id 0, which says that the hub is not known.
func (s *Set) Add(id outage.DeviceID) {
	if id == 0 {
		return
	}
	hash := spread(id)
	p := s.shard(hash)
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.table.Load()
	if t == nil {
		t = newTable(1)
		p.table.Store(t)
	}
	place, ok := t.find(id, hash)
	if ok {
		return
	}
	if t.full(p.used + 1) {
		groups := len(t.marks)
		if p.size > len(t.hubs)/2 { // most places are not of hubs that were removed
			groups *= 2
		}
		t = p.replace(groups)
		place, _ = t.find(id, hash)
	}
	t.put(place, id, hash)
	p.size++
	p.used++
	s.size.Add(1)
}

// AddMany returns a function that adds hubs, some hundred at a time, and one that adds the rest of
// them. One goroutine may call them. They first look which hubs are missing: look-ups overlap,
// since the processor waits for several parts of memory at once. So they take a third less time
// than Add.
func (s *Set) AddMany() (add func(id outage.DeviceID), rest func()) {
	some := make([]outage.DeviceID, 0, 256)
	rest = func() {
		missing := some[:0]
		for _, id := range some {
			if !s.Has(id) {
				missing = append(missing, id)
			}
		}
		for _, id := range missing {
			s.Add(id)
		}
		some = some[:0]
	}
	return func(id outage.DeviceID) {
		if some = append(some, id); len(some) == cap(some) {
			rest()
		}
	}, rest
}

// Remove removes a hub.
func (s *Set) Remove(id outage.DeviceID) {
	hash := spread(id)
	p := s.shard(hash)
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.table.Load()
	if t == nil {
		return
	}
	place, ok := t.find(id, hash)
	if !ok {
		return
	}
	marks := &t.marks[place/groupSize]
	was, shift := marks.Load(), place%groupSize*8
	now := was &^ (0xff << shift) // the place is free
	if zeros(was) == 0 {
		now |= removed << shift
	} else {
		p.used--
	}
	marks.Store(now)
	p.size--
	s.size.Add(-1)
	if p.size < len(t.hubs)/8 && len(t.marks) > 1 {
		p.replace(len(t.marks) / 2)
	}
}

// All lists the hubs.
func (s *Set) All() []int64 {
	list := make([]int64, 0, s.Len())
	for i := range s.shards {
		if t := s.shards[i].table.Load(); t != nil {
			t.each(func(id outage.DeviceID) { list = append(list, int64(id)) })
		}
	}
	return list
}

// Len returns how many hubs are in the set.
func (s *Set) Len() int { return int(s.size.Load()) }
