package ledger

import (
	"testing"

	"quell/internal/outage"
)

// The store was read before it was told that the switch is off. What was read is over.
func TestReadBeforeTold(t *testing.T) {
	var p position
	p.turn(outage.SwitchOff)
	p.keepOff()
	turns := p.turned() // the reading begins
	p.told(func() bool { return true })
	if _, followed := p.follow(outage.SwitchOn, turns); followed {
		t.Error("the switch is on, as it was before the store was told")
	}
	if _, followed := p.follow(outage.SwitchOn, p.turned()); !followed {
		t.Error("a turn on another node is not followed")
	}
}
