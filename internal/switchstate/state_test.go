package switchstate

import (
	"testing"

	"quell/internal/outage"
)

// Of two reads of the switch, the one that began later counts, whichever ends first.
func TestSwitchReadTwice(t *testing.T) {
	var s State
	s.Set(outage.SwitchOn)
	changes := s.ChangeCount()
	if _, followed := s.Follow(outage.SwitchOff, changes); !followed {
		t.Error("a change on another node is not followed")
	}
	if _, followed := s.Follow(outage.SwitchOn, changes); followed {
		t.Error("the value of an earlier read counts")
	}
	if _, followed := s.Follow(outage.SwitchShadow, s.ChangeCount()); !followed {
		t.Error("a later change on another node is not followed")
	}
}

// A value that was read before the store had "off" from the journal is too old to follow.
func TestReadBeforeStoreHasAll(t *testing.T) {
	var s State
	s.Set(outage.SwitchOff)
	s.KeepOff()
	changes := s.ChangeCount() // the reading begins
	s.StoreHasAll(func() bool { return true })
	if _, followed := s.Follow(outage.SwitchOn, changes); followed {
		t.Error("the switch is on, as it was before the store had the journal")
	}
	if _, followed := s.Follow(outage.SwitchOn, s.ChangeCount()); !followed {
		t.Error("a change on another node is not followed")
	}
}
