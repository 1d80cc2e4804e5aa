package ledger

import (
	"testing"

	"quell/internal/outage"
)

// Of two reads of the switch, the one that began later counts, whichever ends first.
func TestSwitchReadTwice(t *testing.T) {
	var s switchState
	s.set(outage.SwitchOn)
	changes := s.changeCount()
	if _, followed := s.follow(outage.SwitchOff, changes); !followed {
		t.Error("a change on another node is not followed")
	}
	if _, followed := s.follow(outage.SwitchOn, changes); followed {
		t.Error("the value of an earlier read counts")
	}
	if _, followed := s.follow(outage.SwitchShadow, s.changeCount()); !followed {
		t.Error("a later change on another node is not followed")
	}
}

// A value that was read before the store had "off" from the journal is too old to follow.
func TestReadBeforeStoreHasAll(t *testing.T) {
	var s switchState
	s.set(outage.SwitchOff)
	s.keepOff()
	changes := s.changeCount() // the reading begins
	s.storeHasAll(func() bool { return true })
	if _, followed := s.follow(outage.SwitchOn, changes); followed {
		t.Error("the switch is on, as it was before the store had the journal")
	}
	if _, followed := s.follow(outage.SwitchOn, s.changeCount()); !followed {
		t.Error("a change on another node is not followed")
	}
}
