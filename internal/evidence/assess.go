package evidence

import (
	"cmp"
	"slices"
	"time"

	"quell/internal/outage"
)

// A cause is an activation that an AD1 may come from.
type cause struct {
	start         micros
	model         Model
	notRun        string
	onlyRequested bool
}

// sameTime is how exactly the start of a window is known.
const sameTime = micros(time.Second / time.Microsecond)

// causes are the activations of a hub that an outage may come from: the one that opened the
// window of its entry x, if it has one, and all of half an hour before.
func (o *outageOf) causes(x *entry) []cause {
	var found []cause
	own := x == nil
	for _, a := range o.hub.orders {
		isOwn := x != nil && x.openedBy(a)
		if a.signed && a.begun && (isOwn || a.start <= o.received && a.start >= o.start-effect.Microseconds()) {
			found = append(found, cause{start: a.start, model: a.model, notRun: a.notRun})
			own = own || isOwn
		}
	}
	if !own {
		found = append(found, x.unordered())
	}
	return found
}

// openedBy reports whether an order opened the window of an entry. The window starts when the
// activation begins, unless the model has a window of its own, which starts later; then the id
// of the request says it.
func (x *entry) openedBy(a *order) bool {
	return a.meter == x.meter && (max(a.start-x.from, x.from-a.start) <= sameTime || a.start < x.from && a.request == x.request && a.request != (outage.RequestID{}))
}

// unordered is the cause of an entry whose window was not opened by a Signed Pre-Command that
// is known.
func (x *entry) unordered() cause {
	c := cause{start: x.from, model: x.model}
	requested, signed := false, false
	for _, a := range x.out.hub.orders {
		if a.meter != x.meter {
			continue
		}
		signed = signed || a.signed
		if !a.signed && x.openedBy(a) {
			requested = true
			c.start = a.start
			c.notRun = cmp.Or(c.notRun, a.notRun)
		}
	}
	c.onlyRequested = requested && !signed
	for _, l := range x.out.hub.loose {
		if l.meter == x.meter && l.received >= x.from && !requested {
			c.notRun = cmp.Or(c.notRun, l.why)
		}
	}
	return c
}

// facts gathers what is known at the time e.now of an outage. If it may come from several
// activations, they are about the one that it is most probably from. window is where other
// outages of the hub count as other outages of the same window.
func (e *Engine) facts(o *outageOf, causes []cause, window span) (f Facts, reboots float64, b *Behaviour) {
	most := -1.0
	var act micros
	for _, c := range causes {
		b1 := e.learned.of(c.model)
		u := time.Duration(o.start-c.start) * time.Microsecond
		rate := b1.perActivation() * b1.density(u)
		early := o.received-c.start < earliest.Microseconds()
		w := rate
		if early {
			w *= tooEarly
		}
		if c.notRun != "" || c.onlyRequested {
			w *= notRun
		}
		if w > most {
			most, reboots, b, act = w, rate, b1, c.start
			f.SinceActivation, f.Share = u, rate*binWidth.Seconds()
			f.TooEarly, f.NotRun, f.OnlyRequested = early, c.notRun, c.onlyRequested
		}
	}
	f.OutageStart, f.ClockWrong = time.UnixMicro(o.start).UTC(), o.start != o.said
	f.RestoredShare = b.restoredShare()
	for _, other := range o.hub.outages {
		switch d := other.start - o.start; {
		case d > distinct.Microseconds():
			f.Again = true
		case -d > distinct.Microseconds() && other.received >= window.from && other.received < window.to:
			f.Second = true
		}
	}
	if o.heard != 0 {
		f.Heard = time.Duration(o.heard-o.received) * time.Microsecond
	}
	f.Silent = e.now-o.received >= silence.Microseconds() && (o.heard == 0 || f.Heard > silence)
	if r := o.restoration(f.Again, act); r != nil {
		f.Restored, f.RestoredLong = true, r.long(act)
		f.RestoredStart, f.RestoredEnd = time.UnixMicro(r.start).UTC(), time.UnixMicro(r.end).UTC()
	}
	f.HasPostcode, f.HasSector = o.areas[0] != 0, o.areas[1] != 0
	now := [3]*Count{&f.Postcode, &f.Sector, &f.Distributor}
	next := [3]*Count{&f.LaterPostcode, &f.LaterSector, &f.LaterDistributor}
	var uncounted [3]bool
	e.eachArea(o.areas, func(a *area, i int) {
		hubs := e.opts.Hubs(o.areas[i])
		if hubs < 0 {
			uncounted[i] = true // some of nobody knows how many say nothing
			return
		}
		n := max(0, hubs-a.busyAt(o.start))
		k := between(a.lost, o.start-near.Microseconds(), o.start+near.Microseconds())
		l := between(a.lost, o.start+near.Microseconds()+1, o.start+later.Microseconds())
		*now[i], *next[i] = Count{k, max(n, k)}, Count{l, max(n, l)}
	})
	o.withoutOwn(now, next, uncounted)
	return f, reboots, b
}

// withoutOwn takes the hub itself out of the counts of its neighbours: it is none, whatever else
// it has sent.
func (o *outageOf) withoutOwn(now, next [3]*Count, uncounted [3]bool) {
	busy := slices.ContainsFunc(o.hub.busy, func(b span) bool { return b.from <= o.start && o.start <= b.to })
	for i := range now {
		if o.areas[i] == 0 || uncounted[i] {
			continue
		}
		own := func(c *Count, from, to micros) {
			n := c.N
			for _, other := range o.hub.outages {
				if other.counted && from <= other.start && other.start <= to {
					c.K--
				}
			}
			if !busy {
				n--
			}
			c.N = max(n, c.K)
		}
		own(now[i], o.start-near.Microseconds(), o.start+near.Microseconds())
		own(next[i], o.start+near.Microseconds()+1, o.start+later.Microseconds())
	}
}

// restoration returns the alert that says when the outage was over, if there is one. One about an
// outage that began after the home was heard again is not: in the simulation that made the
// evidence more precise, and hid nothing (docs/outage-safety.md).
func (o *outageOf) restoration(again bool, act micros) *restoration {
	var best *restoration
	for _, r := range o.hub.restored {
		d := r.start - o.start
		if o.heard != 0 && o.heard < r.start {
			continue // the home had supply in between: it is about another outage
		}
		if d < -matchNear.Microseconds() || d > matchNear.Microseconds() && (again || d > matchLater.Microseconds()) {
			continue
		}
		if best == nil || !best.long(act) && r.long(act) || best.long(act) == r.long(act) && cmp.Or(cmp.Compare(r.start, best.start), cmp.Compare(r.end, best.end)) < 0 {
			best = r
		}
	}
	return best
}

// long reports whether what a restoration alert says does not look like a reboot.
func (r *restoration) long(activation micros) bool {
	return r.end-r.start > longReboot.Microseconds() || activation-r.start > distinct.Microseconds()
}

// assess assesses the entries in the queue.
func (e *Engine) assess() {
	slices.SortFunc(e.queue, func(a, b *entry) int { return cmp.Compare(a.seq, b.seq) })
	for _, x := range e.queue {
		final := x.atStage && x.stage == Final
		f, reboots, b := e.facts(x.out, x.out.causes(x), span{x.from, x.to})
		f.Group = x.out.hub.home.Group
		f.Missing = final && !f.Restored
		odds := f.base(reboots) * f.hearing(b.heardShare(), final) * f.restoration(b.restoredShare(), final)
		if x.atStage || x.own || level(odds) != x.level {
			stage := x.stage
			if !x.atStage && e.now > x.to && e.now > x.received+after15.Microseconds() {
				stage = Later
			}
			x.level = level(odds)
			e.said = append(e.said, Assessment{Entry: x.seq, At: time.UnixMicro(e.now).UTC(), Stage: stage, Level: x.level, Odds: odds, Facts: f})
		}
		x.atStage, x.own, x.queued = false, false, false
		if final {
			x.finished = true
			e.eachArea(x.out.areas, func(a *area, i int) {
				if i < 2 {
					a.removeEntry(x)
				}
			})
		}
	}
	clear(e.queue)
	e.queue = e.queue[:0]
}

// genuine reports whether an outage is, whatever there is to learn of restoration alerts and of
// what is heard: by neighbours and timing alone, or with a restoration alert that would say so
// even if the model sent one after each reboot.
func (e *Engine) genuine(o *outageOf) bool {
	var x *entry
	window := span{o.received - effect.Microseconds(), o.received}
	if len(o.entries) > 0 {
		x = o.entries[0]
		window = span{x.from, x.to}
	}
	causes := o.causes(x)
	if len(causes) == 0 {
		return false
	}
	f, reboots, _ := e.facts(o, causes, window)
	return level(f.base(reboots)*max(1, f.restoration(1, false))) == Strong
}

// effectOf reports whether an outage counts as the effect of an activation.
func (o *outageOf) effectOf(a *order) bool {
	return a.signed && a.begun && a.notRun == "" && o.received >= a.start && o.received < a.start+effect.Microseconds()
}

// learn learns from an activation, one hour after it.
func (e *Engine) learn(h *hub, a *order, at micros) {
	if a.notRun != "" {
		return
	}
	for _, earlier := range h.orders {
		if earlier != a && earlier.meter == a.meter && earlier.signed && earlier.notRun == "" && earlier.start <= a.start && earlier.start > a.start-effect.Microseconds() &&
			(earlier.start < a.start || earlier.received < a.received) {
			return // it was ordered again, and counts once
		}
	}
	var first *outageOf
	genuine := false
	for _, o := range h.outages {
		if !o.effectOf(a) {
			continue
		}
		if first == nil || o.start < first.start {
			first = o
		}
		o.genuine = o.genuine || e.genuine(o)
		genuine = genuine || o.genuine
	}
	var b Behaviour
	switch {
	case genuine:
		b.Genuine = 1
		for _, o := range h.outages {
			if o.genuine && o.restored != nil { // it was counted before it was known to be genuine
				if at > e.skip {
					e.learned.behaviour(o.restored.model).Restored--
				}
				o.restored = nil
			}
		}
	case first == nil:
		b.Activations = 1
	default:
		b.Activations, b.AD1s = 1, 1
		if u := first.start - a.start; u >= 0 && u < binCount*binWidth.Microseconds() {
			b.Bins[u/binWidth.Microseconds()] = 1
		}
		b.Came[(first.received-a.start)/binWidth.Microseconds()] = 1 // within 30 minutes: see effectOf
		if first.heard != 0 && first.heard-first.received <= heardWithin.Microseconds() {
			b.Heard = 1
		}
		if a.tracked && first.restored == nil && first.restoration(h.later(first), a.start) != nil {
			b.Restored, first.restored = 1, a
		}
	}
	if at <= e.skip {
		return
	}
	if a.tracked {
		e.learned.behaviour(a.model).add(&b)
	}
	r := e.learned.rate(a.model, a.firmware, a.tracked)
	r.Activations += b.Activations
	r.AD1s += b.AD1s
}

// later reports whether the hub had another outage after o.
func (h *hub) later(o *outageOf) bool {
	return slices.ContainsFunc(h.outages, func(other *outageOf) bool { return other.start-o.start > distinct.Microseconds() })
}

// learnRestored learns from the restoration alerts of a hub, without waiting for learn.
func (e *Engine) learnRestored(h *hub, at micros) {
	for _, o := range h.outages {
		if o.restored != nil || o.genuine {
			continue
		}
		for _, a := range h.orders {
			if a.tracked && o.effectOf(a) && o.restoration(h.later(o), a.start) != nil && !e.genuine(o) {
				o.restored = a
				if at > e.skip {
					e.learned.behaviour(a.model).Restored++
				}
				break
			}
		}
	}
}

// look has a hub looked at, for what to forget, at about that time.
func (e *Engine) look(h *hub, t micros) {
	t = max(t, e.now) / hour
	if h.look == 0 || t < h.look {
		h.look = t
		e.looks[t] = append(e.looks[t], h)
	}
}

// forget drops what is too old to matter.
func (e *Engine) forget() {
	old := e.now - keep.Microseconds()
	for t, hubs := range e.looks {
		if t >= e.now/hour {
			continue
		}
		delete(e.looks, t)
		for _, h := range hubs {
			if h.look == t {
				h.look = 0
				e.forgetOf(h, old)
			}
		}
	}
	for _, areas := range e.areas {
		for name, a := range areas {
			if a.forget(old); a.empty() {
				delete(areas, name)
			}
		}
	}
}

// forgetOf drops what is old of a hub, and the hub if nothing is left.
func (e *Engine) forgetOf(h *hub, old micros) {
	next := e.now + keep.Microseconds()/4
	for _, o := range h.outages {
		due := o.received + learnAfter.Microseconds()
		switch at := nextHour(due); { // when it is counted, also by an engine before a restart
		case o.quiet:
		case at > e.now:
			next = min(next, due)
		default:
			o.quiet = true
			if o.counted && at > e.skip {
				e.learned.addQuiet(time.UnixMicro(o.received).UTC().Format(time.DateOnly), 1)
			}
		}
	}
	h.outages = slices.DeleteFunc(h.outages, func(o *outageOf) bool {
		return o.received < old && !slices.ContainsFunc(o.entries, func(x *entry) bool { return !x.finished })
	})
	if len(h.outages) == 0 { // else an entry may still need to know what was ordered before it
		h.orders = slices.DeleteFunc(h.orders, func(a *order) bool { return a.begun && max(a.start, a.received) < old })
	}
	h.restored = slices.DeleteFunc(h.restored, func(r *restoration) bool { return r.received < old })
	h.loose = slices.DeleteFunc(h.loose, func(l looseEnd) bool { return l.received < old })
	h.busy = slices.DeleteFunc(h.busy, func(s span) bool { return s.to < old })
	if len(h.outages)+len(h.orders)+len(h.restored)+len(h.loose)+len(h.busy) == 0 {
		delete(e.hubs, h.id)
		return
	}
	e.look(h, next)
}
