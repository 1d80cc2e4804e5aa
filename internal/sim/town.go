package sim

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"

	"quell/internal/outage"
)

// Town is a small made-up inventory, which depends only on the seed, with those who sign
// messages about it. Its homes differ in what decides whether an activation is tracked. It
// has homes for all tries of a campaign. It is safe for concurrent use.
type Town struct {
	homes   [tries][][]*home // for each try, and for each of kinds
	counter atomic.Uint64    // in the id of the last message

	organisations map[outage.DeviceID]*organisation
}

// home is one home: a hub and its electricity meter.
type home struct {
	meter    outage.Device
	listed   bool // whether the meter is in the device list
	postcode string
}

// class says which homes a kind of traffic needs.
type class int

const (
	tracked class = iota
	unlisted
	otherMaker
	smets1
	street // tracked, and all in one street
)

// NewTown returns the town of a seed.
func NewTown(seed uint64) *Town {
	b := builder{rng: rand.New(rand.NewPCG(seed, 0x70776e)), hub: 0x8873845700000000, esme: 0x00DB123400000000}
	t := &Town{organisations: map[outage.DeviceID]*organisation{}}
	for _, id := range organisations {
		t.organisations[id] = newOrganisation(id)
	}
	for try := range t.homes {
		theStreet := b.place()
		for _, k := range kinds {
			var homes []*home
			for range k.homes {
				at := theStreet
				if k.class != street {
					at = b.place()
				}
				homes = append(homes, b.home(k.class, at))
			}
			t.homes[try] = append(t.homes[try], homes)
		}
	}
	return t
}

// all calls f for each home.
func (t *Town) all(f func(*home)) {
	for _, try := range t.homes {
		for _, homes := range try {
			for _, h := range homes {
				f(h)
			}
		}
	}
}

// count returns a counter that no message has yet.
func (t *Town) count() uint64 { return t.counter.Add(1) }

// builder makes homes. Ids rise by random steps, so none is used twice.
type builder struct {
	rng       *rand.Rand
	hub, esme outage.DeviceID // the last ones
	places    int             // how many there are
}

func (b *builder) next(id *outage.DeviceID) outage.DeviceID {
	*id += 1 + outage.DeviceID(b.rng.Uint32N(4096))
	return *id
}

// place is where a home is: its distribution area, and its postcode.
type place struct {
	distributor int
	postcode    string
}

// place returns a place in one of the fourteen distribution areas. No other is in its postcode
// sector.
func (b *builder) place() place {
	b.places++
	return place{10 + b.rng.IntN(14), fmt.Sprintf("ZZ%d %dAA", 1+b.places/10, b.places%10)}
}

func (b *builder) home(c class, at place) *home {
	h := &home{listed: c != unlisted, postcode: at.postcode, meter: outage.Device{ID: b.next(&b.esme), Type: "ESME", SMETSVersion: "SMETS2 v4.2",
		Manufacturer: "Landis+Gyr", Model: "E470", CHF: b.next(&b.hub), MPxN: b.mpan(at.distributor)}}
	switch c {
	case otherMaker:
		h.meter.Manufacturer, h.meter.Model = "Kaifa", "M1"
	case smets1:
		h.meter.SMETSVersion = "SMETS1 v1.58"
	}
	return h
}

// mpan returns an MPAN of a distribution area.
func (b *builder) mpan(distributor int) string {
	digits := fmt.Sprintf("%02d%010d", distributor, b.rng.Uint64N(1e10))
	for check := byte('0'); ; check++ { // one of ten is right
		mpan := digits + string(check)
		if _, ok := outage.DistributorOf(mpan); ok {
			return mpan
		}
	}
}

// WriteInventory writes all devices, including hubs, as CSV with the columns of quell's
// inventory.
func (t *Town) WriteInventory(w io.Writer) error {
	out := csv.NewWriter(w)
	err := out.Write([]string{"device_id", "device_type", "smets_version", "manufacturer", "model", "chf_id", "mpxn", "import_supplier", "postcode"})
	t.all(func(h *home) {
		d := &h.meter
		err = errors.Join(err,
			out.Write([]string{d.CHF.String(), "CHF", "CHTS v1.1", "EDMI", "CH1", "", "", "", h.postcode}),
			out.Write([]string{d.ID.String(), d.Type, d.SMETSVersion, d.Manufacturer, d.Model, d.CHF.String(), d.MPxN, supplier.String(), h.postcode}))
	})
	out.Flush()
	return errors.Join(err, out.Error())
}

// WriteDeviceList writes a comment, and the ids of the meters in the device list, one in each
// line. Some of these meters must not be tracked for another reason.
func (t *Town) WriteDeviceList(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "# The device list of a made-up town, one EUI-64 in each line.")
	t.all(func(h *home) {
		if h.listed {
			fmt.Fprintln(out, h.meter.ID)
		}
	})
	return out.Flush()
}
