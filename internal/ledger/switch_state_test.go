package ledger

import (
	"testing"

	"quell/internal/outage"
)

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
