package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Traffic makes the AD1s of a storm: each of a hub drawn at random from some
// of the town, of which a share are to have a window. The same seed, town and
// numbers make the same draw. It is for one goroutine.
type Traffic struct {
	// Windowed are the homes whose electricity meter is to be activated, which
	// is the caller's business. They are homes whose activations are tracked.
	Windowed []*Home

	town   *Town
	rng    *rand.Rand
	others []*Home
}

// NewTraffic takes the homes of a storm, hubs of them, from the town, so that
// nothing else is given them.
func NewTraffic(seed uint64, t *Town, hubs int, share float64) (*Traffic, error) {
	windowed := make([]class, int(share*float64(hubs)+0.5)) // plain, all of them
	tr := &Traffic{town: t, rng: rand.New(rand.NewPCG(seed, 0x73746f726d))}
	var err error
	if tr.Windowed, err = t.take(windowed...); err == nil {
		tr.others, err = t.takeAny(hubs - len(windowed))
	}
	if err != nil {
		return nil, fmt.Errorf("traffic of %d hubs: %w", hubs, err)
	}
	return tr, nil
}

// Next makes an AD1 of an outage that began at the instant at, in the home h.
func (tr *Traffic) Next(at time.Time) (h *Home, body []byte) {
	n := tr.rng.IntN(len(tr.Windowed) + len(tr.others))
	if n < len(tr.Windowed) {
		h = tr.Windowed[n]
	} else {
		h = tr.others[n-len(tr.Windowed)]
	}
	return h, tr.town.powerOutage(h, at, at)
}
