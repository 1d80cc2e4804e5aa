package evidence

import (
	"cmp"
	"slices"
	"time"
	"unique"

	"quell/internal/outage"
)

// Options say what an Engine knows besides sightings.
type Options struct {
	// Hubs says how many hubs the inventory has in an area; -1 if it does not say. It is called for
	// each assessment.
	Hubs func(Area) int
}

// An Engine folds sightings into assessments. It takes each sighting at the time at which it
// was received, and assesses with what was received until then, never with what came later: so
// what it says does not depend on the order in which sightings of one Advance were added, nor
// on how often Advance was called. It is not safe for concurrent use.
//
// It keeps what was received within the last 26 hours, and activations that are still to begin.
type Engine struct {
	opts    Options
	learned *Learning
	skip    micros // what is learned until then is in learned already

	now     micros
	pending []Sighting // to be taken, in no order
	events  []event    // a heap
	queue   []*entry   // to be assessed at the present time
	hubs    map[outage.DeviceID]*hub
	areas   [3]map[Area]*area // postcodes, sectors, distributors
	said    []Assessment

	looks map[int64][]*hub // by hour: which hubs may have something to forget
}

// New returns an engine that has learned nothing.
func New(o Options) *Engine {
	e := &Engine{opts: o, hubs: map[outage.DeviceID]*hub{}, now: -1 << 62, looks: map[int64][]*hub{}}
	for i := range e.areas {
		e.areas[i] = map[Area]*area{}
	}
	e.SetLearning(&Learning{})
	return e
}

// Learning returns a copy of what the engine has learned until the last Advance.
func (e *Engine) Learning() *Learning {
	l := e.learned.Clone()
	if t := time.UnixMicro(e.now).UTC(); e.now > -1<<62 && t.After(l.Until) {
		l.Until = t
	}
	return l
}

// SetLearning replaces what the engine has learned. Of what it sees from then on it learns
// only what is to be learned after l.Until: so it may be given again the sightings that l was
// learned from.
func (e *Engine) SetLearning(l *Learning) {
	e.learned = l.Clone()
	e.skip = l.Until.UnixMicro()
}

// Add adds a sighting. The next Advance takes it, in the order of Received. One that comes
// when the engine has advanced beyond its Received is taken then. A sighting may be added
// twice. Heard is of no use unless the hub has an entry in the log or a recent 11.3.
func (e *Engine) Add(s Sighting) {
	if s.Home.Hub != 0 {
		e.pending = append(e.pending, s)
	}
}

// Advance goes on to now, and returns the assessments that are due until then, ordered by
// entry and time. An entry is assessed at each Stage, and when a fact about its hub was
// received; when something about its neighbours was received and its level has changed by
// that. Of an entry without postcode and sector neighbours count at stages only. now must not
// go back: if it does, nothing happens.
func (e *Engine) Advance(now time.Time) []Assessment {
	end := now.UnixMicro()
	if end < e.now {
		return nil
	}
	at := func(s *Sighting) micros { return max(s.Received.UnixMicro(), e.now) }
	slices.SortFunc(e.pending, compareSightings)
	rest := 0
	for rest < len(e.pending) || len(e.events) > 0 {
		t := end + 1
		if rest < len(e.pending) {
			t = min(t, at(&e.pending[rest]))
		}
		if len(e.events) > 0 {
			t = min(t, max(e.events[0].at, e.now))
		}
		if t > end {
			break
		}
		e.now = t
		for ; rest < len(e.pending) && at(&e.pending[rest]) <= t; rest++ {
			e.take(&e.pending[rest])
		}
		for len(e.events) > 0 && e.events[0].at <= t {
			e.happen(e.pop())
		}
		e.assess()
	}
	e.now = end
	n := copy(e.pending, e.pending[rest:])
	clear(e.pending[n:])
	e.pending = e.pending[:n]
	said := e.said
	e.said = nil
	slices.SortFunc(said, func(a, b Assessment) int { return cmp.Or(cmp.Compare(a.Entry, b.Entry), a.At.Compare(b.At)) })
	return said
}

// compareSightings is by time, and then by all that matters: what is equal by it is the same.
func compareSightings(a, b Sighting) int {
	if c := a.Received.Compare(b.Received); c != 0 {
		return c
	}
	tracked := func(s *Sighting) int {
		if s.Tracked {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Home.Hub, b.Home.Hub), a.Start.Compare(b.Start), a.End.Compare(b.End),
		cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Meter, b.Meter), cmp.Compare(a.Request.Originator, b.Request.Originator), cmp.Compare(a.Request.Counter, b.Request.Counter),
		cmp.Compare(a.Request.Target, b.Request.Target), cmp.Compare(a.Form, b.Form), cmp.Compare(a.Firmware, b.Firmware), cmp.Compare(tracked(&a), tracked(&b)), cmp.Compare(a.Why, b.Why),
		a.WindowStart.Compare(b.WindowStart), a.WindowEnd.Compare(b.WindowEnd), cmp.Compare(a.Home.Postcode, b.Home.Postcode), cmp.Compare(a.Home.Sector, b.Home.Sector), cmp.Compare(a.Home.Distributor, b.Home.Distributor), cmp.Compare(a.Home.Model, b.Home.Model))
}

// take folds one sighting in.
func (e *Engine) take(s *Sighting) {
	// They come from a database, with their own text each, and are kept by the million.
	s.Home.Model, s.Firmware = unique.Make(s.Home.Model).Value(), unique.Make(s.Firmware).Value()
	h := e.hubs[s.Home.Hub]
	if h == nil {
		if s.Kind == Heard {
			return
		}
		if len(e.hubs) == 0 {
			e.push(event{at: nextHour(e.now), kind: forgetting})
		}
		h = &hub{id: s.Home.Hub, home: s.Home}
		e.hubs[h.id] = h
		e.look(h, e.now+keep.Microseconds())
	}
	switch s.Kind {
	case Ordered:
		e.ordered(h, s)
	case NotRun:
		e.notRun(h, s)
	case Lost:
		e.lost(h, s)
	case Restored:
		e.restoredAt(h, s)
	case Heard:
		e.heardAt(h, s.Received.UnixMicro())
	}
}

func (e *Engine) ordered(h *hub, s *Sighting) {
	start := s.Start.UnixMicro()
	signed := s.Form == outage.SignedPreCommand
	for _, o := range h.orders {
		// A message that is sent again is the same activation.
		if o.meter == s.Meter && o.signed == signed && (o.request == s.Request && s.Request != (outage.RequestID{}) || o.start == start) {
			o.tracked = o.tracked || s.Tracked
			return
		}
	}
	if len(h.orders) == maxOfHub {
		return
	}
	h.home = s.Home
	o := &order{meter: s.Meter, request: s.Request, signed: signed, tracked: s.Tracked, model: s.Home.Model, firmware: s.Firmware, start: start, received: s.Received.UnixMicro()}
	h.orders = append(h.orders, o)
	for _, l := range h.loose { // of an 11.3 that was seen late
		if l.meter == o.meter && l.request == o.request {
			o.notRun = cmp.Or(o.notRun, l.why)
		}
	}
	if start <= e.now {
		e.begin(h, o)
	} else {
		e.push(event{at: start, kind: beginning, hub: h, order: o})
	}
	e.ownFact(h)
}

// begin is when an activation begins. One that was cancelled before does not.
func (e *Engine) begin(h *hub, o *order) {
	o.begun = true
	if o.notRun != "" {
		return
	}
	e.occupy(h, o.start)
	if o.signed {
		e.push(event{at: o.start + learnAfter.Microseconds(), kind: learning, hub: h, order: o})
	}
}

// occupy notes that the hub has a window or a recent 11.3 from start on. AD1s that it raised
// then are no longer counted.
func (e *Engine) occupy(h *hub, start micros) {
	from, to := start-near.Microseconds(), start+recent.Microseconds()
	var added []span // what is not yet in h.busy
	for _, b := range h.busy {
		if b.to < from {
			continue
		}
		if b.from > from {
			added = append(added, span{from, min(to, b.from-1)})
		}
		from = b.to + 1
		if from > to {
			break
		}
	}
	if from <= to {
		added = append(added, span{from, to})
	}
	for _, s := range added {
		e.eachArea(h.home.areas(), func(a *area, _ int) { a.busy, a.idle = insert(a.busy, s.from), insert(a.idle, s.to) })
	}
	h.busy = append(h.busy, added...)
	slices.SortFunc(h.busy, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	e.count(h)
}

// areas are the postcode, sector and distributor of a home.
func (h *Home) areas() [3]Area { return [3]Area{h.Postcode, h.Sector, h.Distributor} }

// eachArea calls do for the areas that are known, with 0 for the postcode, 1 for the sector, 2
// for the distributor.
func (e *Engine) eachArea(areas [3]Area, do func(a *area, i int)) {
	for i, name := range areas {
		if name == 0 {
			continue
		}
		a := e.areas[i][name]
		if a == nil {
			a = new(area)
			e.areas[i][name] = a
		}
		do(a, i)
	}
}

// count decides which outages of a hub count as a neighbour's: of several that are not distinct, the
// first alone. A hub is one neighbour, however many AD1s it sends.
func (e *Engine) count(h *hub) {
	for _, o := range h.outages {
		counts := o.mayCount()
		for _, other := range h.outages {
			d := o.start - other.start
			counts = counts && (d < 0 || d > distinct.Microseconds() || d == 0 && o.said <= other.said || !other.mayCount())
		}
		if counts != o.counted {
			e.setCounted(o, counts)
		}
	}
}

// mayCount reports whether an outage is a neighbour's, unless it is one with another of its hub.
func (o *outageOf) mayCount() bool {
	return len(o.entries) == 0 && !slices.ContainsFunc(o.hub.busy, func(b span) bool { return b.from <= o.start && o.start <= b.to })
}

// setCounted has an outage count as a neighbour's, or not.
func (e *Engine) setCounted(o *outageOf, counts bool) {
	o.counted = counts
	e.eachArea(o.areas, func(a *area, i int) {
		if counts {
			a.lost = insert(a.lost, o.start)
		} else {
			a.lost = remove(a.lost, o.start)
		}
		// Those for whom it is a neighbour now or later.
		first, _ := slices.BinarySearchFunc(a.entries, o.start-later.Microseconds(), func(x *entry, t micros) int { return cmp.Compare(x.out.start, t) })
		for _, x := range a.entries[first:] {
			if x.out.start > o.start+near.Microseconds() {
				break
			}
			e.enqueue(x)
		}
	})
}

// enqueue has an entry assessed at the present time.
func (e *Engine) enqueue(x *entry) {
	if !x.queued && !x.finished {
		x.queued = true
		e.queue = append(e.queue, x)
	}
}

// ownFact has all entries of a hub assessed.
func (e *Engine) ownFact(h *hub) {
	for _, o := range h.outages {
		for _, x := range o.entries {
			x.own = true
			e.enqueue(x)
		}
	}
}

func (e *Engine) notRun(h *hub, s *Sighting) {
	known := false
	for _, o := range h.orders {
		if o.request == s.Request {
			known = true
			if o.notRun == "" {
				o.notRun = cmp.Or(s.Why, "unknown")
				e.ownFact(h)
			}
		}
	}
	l := looseEnd{meter: s.Request.Target, request: s.Request, received: s.Received.UnixMicro(), why: cmp.Or(s.Why, "unknown")}
	if !known && len(h.loose) < maxOfHub && !slices.ContainsFunc(h.loose, func(have looseEnd) bool { return have.request == l.request }) {
		h.loose = append(h.loose, l)
		e.ownFact(h)
	}
}

func (e *Engine) lost(h *hub, s *Sighting) {
	said, received := s.Start.UnixMicro(), s.Received.UnixMicro()
	i := slices.IndexFunc(h.outages, func(o *outageOf) bool { return o.said == said })
	if i < 0 && len(h.outages) == maxOfHub {
		return
	}
	if i < 0 {
		o := &outageOf{hub: h, said: said, start: said, received: received, areas: s.Home.areas()}
		if d := received - said; d < leastDelay.Microseconds() || d > mostDelay.Microseconds() {
			o.start = received - usualDelay.Microseconds()
		}
		for _, earlier := range h.outages {
			// The hub had power in between.
			if o.start-earlier.start > distinct.Microseconds() && received > earlier.received {
				earlier.hears(received)
			}
		}
		if i = len(h.outages); i == 0 {
			h.outages = h.one[:0]
		}
		h.outages = append(h.outages, o)
		e.look(h, received+learnAfter.Microseconds())
		e.ownFact(h)
	}
	o := h.outages[i]
	if s.Entry != 0 && !slices.ContainsFunc(o.entries, func(x *entry) bool { return x.seq == s.Entry }) {
		x := &entry{seq: s.Entry, out: o, received: received, from: s.WindowStart.UnixMicro(), to: s.WindowEnd.UnixMicro(), meter: s.Meter, request: s.Request, model: s.Home.Model}
		o.entries = append(o.entries, x)
		h.home = s.Home
		e.occupy(h, x.from)
		if o.areas[0]|o.areas[1] != 0 {
			e.eachArea(o.areas, func(a *area, i int) {
				if i < 2 {
					a.addEntry(x)
				}
			})
		}
		e.push(event{at: e.now, kind: staging, entry: x, stage: AtOnce})
		e.push(event{at: x.to, kind: staging, entry: x, stage: AtWindowEnd})
	}
	e.count(h)
}

func (e *Engine) restoredAt(h *hub, s *Sighting) {
	r := &restoration{start: s.Start.UnixMicro(), end: s.End.UnixMicro(), received: s.Received.UnixMicro()}
	for _, have := range h.restored {
		if have.start == r.start && have.end == r.end {
			return
		}
	}
	if len(h.restored) == maxOfHub {
		return
	}
	h.restored = append(h.restored, r)
	e.push(event{at: r.received + learnRestored.Microseconds(), kind: learningRestored, hub: h})
	e.heardAt(h, r.received)
	e.ownFact(h)
}

func (e *Engine) heardAt(h *hub, t micros) {
	changed := false
	for _, o := range h.outages {
		changed = t > o.received && o.hears(t) || changed
	}
	if changed {
		e.ownFact(h)
	}
}

// hears notes that the home was heard, and reports whether it was not heard before.
func (o *outageOf) hears(t micros) bool {
	if o.heard != 0 && o.heard <= t {
		return false
	}
	o.heard = t
	return true
}

// What happens at a time. Of one time they happen in this order.
type eventKind uint8

const (
	beginning        eventKind = iota // an activation
	learningRestored                  // of the restoration alerts of a hub
	learning                          // of an activation
	forgetting                        // what is old
	staging                           // an entry is to be assessed
)

type event struct {
	at    micros
	kind  eventKind
	stage Stage
	hub   *hub
	order *order
	entry *entry
}

const hour = micros(time.Hour / time.Microsecond)

// nextHour is the beginning of the hour after that of t. What is old is forgotten at whole hours,
// so that an engine after a restart does it when the one before has done it.
func nextHour(t micros) micros { return (t/hour + 1) * hour }

func (e *Engine) happen(v event) {
	switch v.kind {
	case beginning:
		e.begin(v.hub, v.order)
	case learningRestored:
		e.learnRestored(v.hub, v.at)
	case learning:
		e.learn(v.hub, v.order, v.at)
	case forgetting:
		e.forget()
		if len(e.hubs) > 0 {
			e.push(event{at: nextHour(e.now), kind: forgetting})
		}
	case staging:
		x := v.entry
		x.stage, x.atStage = v.stage, true
		e.enqueue(x)
		switch v.stage { // the next one: an event each would be most of an entry's memory
		case AtOnce:
			e.push(event{at: x.received + after5.Microseconds(), kind: staging, entry: x, stage: After5})
		case After5:
			e.push(event{at: x.received + after15.Microseconds(), kind: staging, entry: x, stage: After15})
		case After15:
			e.push(event{at: x.received + after24.Microseconds(), kind: staging, entry: x, stage: Final})
		}
	}
}

// before is the order of events. Of two that are equal by it, either may be the first.
func (v *event) before(w *event) bool {
	if v.at != w.at {
		return v.at < w.at
	}
	if v.kind != w.kind {
		return v.kind < w.kind
	}
	id := func(x *event) (hub outage.DeviceID, start micros) {
		if x.order != nil {
			start = x.order.start
		}
		if x.hub != nil {
			hub = x.hub.id
		}
		return hub, start
	}
	vh, vs := id(v)
	wh, ws := id(w)
	return cmp.Or(cmp.Compare(vh, wh), cmp.Compare(vs, ws), cmp.Compare(v.stage, w.stage)) < 0
}

func (e *Engine) push(v event) {
	h := append(e.events, v)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !h[i].before(&h[up]) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
	e.events = h
}

func (e *Engine) pop() event {
	h := e.events
	first := h[0]
	last := len(h) - 1
	h[0], h[last] = h[last], event{}
	h = h[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			break
		}
		if down+1 < last && h[down+1].before(&h[down]) {
			down++
		}
		if !h[down].before(&h[i]) {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	e.events = h
	return first
}
