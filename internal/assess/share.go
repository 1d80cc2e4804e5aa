package assess

import (
	"quell/internal/evidence"
	"quell/internal/outage"
)

// A Resolver makes of sightings in the order of receipt what an engine gets: it knows which
// activations are pending, and so which did not run. It is not safe for concurrent use.
type Resolver struct{ orders orders }

// NewResolver returns a resolver that has seen nothing.
func NewResolver() *Resolver { return &Resolver{orders{}} }

// Resolve returns what the engine gets for a sighting.
func (r *Resolver) Resolve(s evidence.Sighting) []evidence.Sighting {
	return r.orders.resolve(nil, &s)
}

// HomeOf returns the home of a meter.
func HomeOf(d *outage.Device) evidence.Home { return homeOf(d) }
