package store

import (
	"sync"
	"sync/atomic"

	"quell/internal/outage"
)

// index is the set of hubs that the store must be asked about: those with an
// activation or a log entry. Any other hub has no window, which is the answer
// to nearly every alert. It is a filter only: what it holds too much costs a
// question, and it never holds too little, since a hub is added before its
// request is forwarded and taken out only when its last row is gone.
type index struct {
	// unresolved counts journaled activations whose hub is not known yet;
	// while there are any, every hub may have a window.
	unresolved atomic.Int64
	shards     [64]shard
}

type shard struct {
	mu   sync.RWMutex // guards hubs
	hubs map[outage.DeviceID]struct{}
	_    [64]byte // keeps neighbours off each other's cache line
}

func (x *index) shard(id outage.DeviceID) *shard {
	return &x.shards[uint64(id)*0x9E3779B97F4A7C15>>58]
}

func (x *index) has(id outage.DeviceID) bool {
	s := x.shard(id)
	s.mu.RLock()
	_, ok := s.hubs[id]
	s.mu.RUnlock()
	return ok || x.unresolved.Load() > 0
}

func (x *index) add(id outage.DeviceID) {
	s := x.shard(id)
	s.mu.Lock()
	if s.hubs == nil {
		s.hubs = map[outage.DeviceID]struct{}{}
	}
	s.hubs[id] = struct{}{}
	s.mu.Unlock()
}

func (x *index) remove(id outage.DeviceID) {
	s := x.shard(id)
	s.mu.Lock()
	delete(s.hubs, id)
	s.mu.Unlock()
}

func (x *index) len() (n int) {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		n += len(s.hubs)
		s.mu.RUnlock()
	}
	return n
}

// MayHold reports whether an alert of the hub must be put to Decide. False is
// final: the hub has no window, and no alert of it was ever suppressed.
func (s *Store) MayHold(chf outage.DeviceID) bool { return s.index.has(chf) }

// Hubs is how many hubs the store is asked about.
func (s *Store) Hubs() int { return s.index.len() }
