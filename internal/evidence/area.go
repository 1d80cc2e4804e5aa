package evidence

import (
	"cmp"
	"slices"

	"quell/internal/outage"
)

// Times within the engine are in microseconds since 1970: they are compared and kept by the million.
type micros = int64

// An area is a postcode, a sector or a distributor, with what its neighbours are counted from.
// Each slice is in order.
type area struct {
	lost       []micros // starts of outages of hubs that had no window and no recent 11.3
	busy, idle []micros // the beginnings, and the ends, of the times in which hubs have a window or recent 11.3
	entries    []*entry // by start of the outage; none of a distributor
}

// between counts the times of a from from to to, both included.
func between(a []micros, from, to micros) int {
	first, _ := slices.BinarySearch(a, from)
	n, _ := slices.BinarySearch(a[first:], to+1)
	return n
}

// busyAt counts the hubs that have a window or recent 11.3 at t.
func (a *area) busyAt(t micros) int {
	begun, _ := slices.BinarySearch(a.busy, t+1)
	ended, _ := slices.BinarySearch(a.idle, t)
	return begun - ended
}

func insert(a []micros, t micros) []micros {
	i, _ := slices.BinarySearch(a, t+1) // after its equals: a campaign has many, and those behind it move
	return slices.Insert(a, i, t)
}

func remove(a []micros, t micros) []micros {
	if i, found := slices.BinarySearch(a, t); found {
		return slices.Delete(a, i, i+1)
	}
	return a
}

func (a *area) addEntry(x *entry) {
	i, _ := slices.BinarySearchFunc(a.entries, x, compareEntries)
	a.entries = slices.Insert(a.entries, i, x)
}

func (a *area) removeEntry(x *entry) {
	if i, found := slices.BinarySearchFunc(a.entries, x, compareEntries); found {
		a.entries = slices.Delete(a.entries, i, i+1)
	}
}

func compareEntries(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.out.start, b.out.start), cmp.Compare(a.seq, b.seq))
}

// forget drops the times before t. Of the spans that ended before t the beginnings are not
// exactly those that go, but as many.
func (a *area) forget(t micros) {
	n, _ := slices.BinarySearch(a.lost, t)
	a.lost = slices.Delete(a.lost, 0, n)
	n, _ = slices.BinarySearch(a.idle, t)
	a.idle, a.busy = slices.Delete(a.idle, 0, n), slices.Delete(a.busy, 0, n)
}

func (a *area) empty() bool { return len(a.lost)+len(a.busy)+len(a.entries) == 0 }

// A hub with what was seen of it.
type hub struct {
	id       outage.DeviceID
	home     Home
	orders   []*order
	outages  []*outageOf
	restored []*restoration
	loose    []looseEnd // activations that did not run and are not known
	look     micros     // when it is next looked at, for what to forget; 0 if it is not
	busy     []span     // when it has a window or recent 11.3: in order, and apart from each other

	one [1]*outageOf // the memory of outages, while there is one: most hubs of a storm have no more
}

type span struct{ from, to micros } // both included

// An order is one 11.3 for one of the hub's meters.
type order struct {
	meter    outage.DeviceID
	request  outage.RequestID
	signed   bool // a Signed Pre-Command: it reaches the meter
	tracked  bool
	begun    bool
	model    Model
	firmware string
	start    micros
	received micros
	notRun   string // why it did not
}

// An outageOf a hub is one AD1, with all that tell of it: retries, and copies for other users.
type outageOf struct {
	hub      *hub
	said     micros // when it began, by the AD1
	start    micros // the same, or by the arrival
	received micros // the first
	areas    [3]Area
	counted  bool   // it is in its areas
	quiet    bool   // it was counted as Quiet, or is not to be
	genuine  bool   // it was learned as genuine
	heard    micros // when the home was first heard again; 0 if it was not
	entries  []*entry
	restored *order // whose reboot its restoration alert was learned of; nil if that was not learned
}

type entry struct {
	seq              int64
	out              *outageOf
	received         micros
	from, to         micros // its window
	meter            outage.DeviceID
	request          outage.RequestID // that opened it
	model            Model
	stage            Stage
	level            Level
	atStage, own     bool // why it is to be assessed
	queued, finished bool
}

type restoration struct {
	start, end, received micros
}

type looseEnd struct {
	meter    outage.DeviceID
	request  outage.RequestID
	received micros
	why      string
}
