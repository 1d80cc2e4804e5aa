package sim

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"

	"quell/internal/outage"
)

// demoHomes is a size of town that serves Demo, with homes to spare for kinds
// that have to be tried again.
const demoHomes = 600

// Town is a small inventory, the same for the same seed, of homes that differ
// in what decides whether an activation is tracked. It also gives out the
// homes and the message ids of a campaign, each once. It is safe for use by
// many goroutines.
type Town struct {
	homes []*Home

	mu      sync.Mutex // guards what follows, and Home.taken
	counter uint64     // of the last message id
}

// Home is one home: a hub and its meters, the electricity meters first.
type Home struct {
	CHF    outage.DeviceID
	Meters []outage.Device
	MPAN   string

	listed bool // whether its meters stand in the device list
	class  class
	taken  bool
}

// class says what a home is for. In each but the plain and the twin, exactly
// one of the conditions for tracking does not hold.
type class uint8

const (
	plain      class = iota // one meter, tracked
	twin                    // two meters on one hub, both tracked
	withGas                 // a gas meter beside a tracked meter, and listed too
	unlisted                // the meter does not stand in the device list
	otherMaker              // the meter is another manufacturer's
	smets1                  // the meter is of SMETS1
)

// mix is the classes of every twenty homes.
var mix = [20]class{11: twin, twin, withGas, withGas, unlisted, unlisted, otherMaker, otherMaker, smets1}

var otherMakers = []string{"Aclara", "EDMI", "Elster", "Kaifa"}

// NewTown makes a town for Demo: 600 homes.
func NewTown(seed uint64) *Town { return newTown(seed, demoHomes) }

func newTown(seed uint64, homes int) *Town {
	rng := rand.New(rand.NewPCG(seed, 0x70776e))
	t := &Town{counter: 1000}
	b := builder{rng: rng, hub: 0x8873845700000000, esme: 0x00DB123400000000, gsme: 0x00DB123500000000}
	block := mix
	for i := range homes {
		if i%len(block) == 0 {
			rng.Shuffle(len(block), func(i, j int) { block[i], block[j] = block[j], block[i] })
		}
		t.homes = append(t.homes, b.home(block[i%len(block)]))
	}
	return t
}

// builder makes homes. Its ids rise by random steps, so that none comes twice.
type builder struct {
	rng             *rand.Rand
	hub, esme, gsme outage.DeviceID // the last given out
}

func (b *builder) next(id *outage.DeviceID) outage.DeviceID {
	*id += 1 + outage.DeviceID(b.rng.Uint32N(4096))
	return *id
}

func (b *builder) home(c class) *Home {
	h := &Home{CHF: b.next(&b.hub), class: c, listed: c != unlisted, MPAN: b.mpan()}
	meter := outage.Device{ID: b.next(&b.esme), Type: "ESME", SMETSVersion: "SMETS2 v4.2",
		Manufacturer: []string{"Landis+Gyr", "LANDIS+GYR"}[b.rng.IntN(2)], Model: "E470", CHF: h.CHF, MPxN: h.MPAN}
	switch c {
	case otherMaker:
		meter.Manufacturer, meter.Model = otherMakers[b.rng.IntN(len(otherMakers))], "M1"
	case smets1:
		meter.SMETSVersion = "SMETS1 v1.58"
	}
	h.Meters = []outage.Device{meter}
	switch c {
	case twin:
		meter.ID = b.next(&b.esme)
		h.Meters = append(h.Meters, meter)
	case withGas:
		meter.ID, meter.Type, meter.Model, meter.MPxN = b.next(&b.gsme), "GSME", "G470", b.mprn()
		h.Meters = append(h.Meters, meter)
	}
	return h
}

// mpan makes an MPAN of one of the fourteen distribution areas.
func (b *builder) mpan() string {
	digits := fmt.Sprintf("%02d%010d", 10+b.rng.IntN(14), b.rng.Uint64N(1e10))
	for check := byte('0'); ; check++ { // one of the ten is right
		mpan := digits + string(check)
		if _, ok := outage.DistributorOf(mpan); ok {
			return mpan
		}
	}
}

// mprn makes the ten digits of a gas supply point.
func (b *builder) mprn() string { return strconv.FormatUint(1e9+b.rng.Uint64N(9e9), 10) }

// WriteInventory writes the devices as CSV, hubs among them, with the columns
// of quell's inventory.
func (t *Town) WriteInventory(w io.Writer) error {
	out := csv.NewWriter(w)
	err := out.Write([]string{"device_id", "device_type", "smets_version", "manufacturer", "model", "chf_id", "mpxn"})
	for _, h := range t.homes {
		err = errors.Join(err, out.Write([]string{h.CHF.String(), "CHF", "CHTS v1.1", "EDMI", "CH1", "", ""}))
		for i := range h.Meters {
			d := &h.Meters[i]
			err = errors.Join(err, out.Write([]string{d.ID.String(), d.Type, d.SMETSVersion, d.Manufacturer, d.Model, d.CHF.String(), d.MPxN}))
		}
	}
	out.Flush()
	return errors.Join(err, out.Error())
}

// WriteDeviceList writes the ids of the meters in the device list, one a line
// under a comment. Meters are in it that must not be tracked for another reason.
func (t *Town) WriteDeviceList(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintln(out, "# The device list of a made-up town, one EUI-64 a line.")
	for _, h := range t.homes {
		for i := range h.Meters {
			if h.listed {
				fmt.Fprintln(out, h.Meters[i].ID)
			}
		}
	}
	return out.Flush()
}

// errTooSmall says that a town has no home left of a class that is needed.
var errTooSmall = errors.New("the town has too few homes")

// take gives out a home of each of the classes, in order.
func (t *Town) take(classes ...class) ([]*Home, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var homes []*Home
	for _, c := range classes {
		n := len(homes)
		for _, h := range t.homes {
			if h.class == c && !h.taken {
				h.taken = true
				homes = append(homes, h)
				break
			}
		}
		if len(homes) == n {
			return nil, errTooSmall
		}
	}
	return homes, nil
}

// takeAny gives out n homes of any class, from the end of the town.
func (t *Town) takeAny(n int) ([]*Home, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var homes []*Home
	for i := len(t.homes) - 1; i >= 0 && len(homes) < n; i-- {
		if h := t.homes[i]; !h.taken {
			h.taken = true
			homes = append(homes, h)
		}
	}
	if len(homes) < n {
		return nil, errTooSmall
	}
	return homes, nil
}

func (t *Town) count() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counter++
	return t.counter
}
