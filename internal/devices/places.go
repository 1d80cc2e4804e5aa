package devices

import (
	"context"

	"quell/internal/outage"
)

// NewPlaces returns a function that sets the places of a device from its postcode and group, as an
// import does, and drops these texts. The hashes have a key of their own, so they compare with
// each other only.
func NewPlaces() func(d *outage.Device) {
	p := places{key: []byte("no store has this key"), known: map[string]int64{}}
	return func(d *outage.Device) { _ = p.set(context.Background(), d) } // with a key it asks no store
}
