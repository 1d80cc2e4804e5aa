// Package switchstate is what one node knows of the feature switch: its position, and which of
// two values that were read at about the same time is the later one. It reads and writes nothing.
package switchstate

import (
	"sync"
	"sync/atomic"

	"quell/internal/outage"
)

// State is the switch as this node knows it. The zero value knows nothing.
type State struct {
	value atomic.Value // outage.Switch

	mu       sync.Mutex // guards the next fields, and writing value
	changes  int        // how often it was changed, on this node or on others, or keptOff ended
	changing int        // how many changes on this node have begun and not ended
	keptOff  bool       // it was turned off on this node, and the store does not have that yet
}

// Value returns the switch in force; "" if none is known.
func (s *State) Value() outage.Switch {
	sw, _ := s.value.Load().(outage.Switch)
	return sw
}

// BeginChange says that this node is changing the switch, until end is called. A value that is
// read in the store meanwhile may be that change.
func (s *State) BeginChange() (end func()) {
	add := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changing += n
	}
	add(1)
	return func() { add(-1) }
}

// Set says that the switch was changed.
func (s *State) Set(to outage.Switch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.value.Store(to)
}

// ChangeCount returns how often the switch was changed, as far as this node knows.
func (s *State) ChangeCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// Follow takes over the value that was read in the store. changes is what ChangeCount returned
// before the store was read. Follow does nothing if the value may be out of date: the switch
// was changed since, this node is changing it, or the store does not have its last change.
func (s *State) Follow(to outage.Switch, changes int) (was outage.Switch, followed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, _ = s.value.Load().(outage.Switch)
	if to == was || changes != s.changes || s.changing > 0 || s.keptOff {
		return was, false
	}
	s.changes++
	s.value.Store(to)
	return was, true
}

// KeepOff makes the switch stay off on this node, whatever the store says, until StoreHasAll
// ends that.
func (s *State) KeepOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keptOff = true
}

// StoreHasAll ends KeepOff if all reports that the store has everything from the journal. What
// was read before that is too old to follow.
func (s *State) StoreHasAll(all func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keptOff && all() {
		s.keptOff = false
		s.changes++
	}
}
