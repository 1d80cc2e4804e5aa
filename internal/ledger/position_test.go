package ledger

import (
	"testing"

	"quell/internal/outage"
)

// Of two readings of the switch the later that was begun counts, whichever comes
// first.
func TestSwitchReadTwice(t *testing.T) {
	var p position
	p.turn(outage.SwitchOn)
	turns := p.turned()
	if _, followed := p.follow(outage.SwitchOff, turns); !followed {
		t.Error("what another node turned is not followed")
	}
	if _, followed := p.follow(outage.SwitchOn, turns); followed {
		t.Error("an earlier reading counts")
	}
	if _, followed := p.follow(outage.SwitchShadow, p.turned()); !followed {
		t.Error("what another node turned then is not followed")
	}
}
