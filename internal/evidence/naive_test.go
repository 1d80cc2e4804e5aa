package evidence

import (
	"math"
	"slices"
	"time"

	"quell/internal/outage"
)

// naive computes the odds of an entry at a time from all sightings, straight from the
// formula. It shares nothing with the engine but the types.
type naive struct {
	sightings []Sighting
	hubs      map[Area]int
	learned   map[Model]*Behaviour
}

// event0 is an outage with what belongs to it.
type event0 struct {
	hub         outage.DeviceID
	said, s     float64 // seconds
	received    float64
	home        Home
	windows     [][2]float64 // of its entries
	model       Model
	entryWindow [2]float64
	meter       outage.DeviceID
	asked       bool
}

func sec(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func (n *naive) odds(entry int64, at time.Time, final bool) float64 {
	t := sec(at)
	var seen []Sighting
	for _, s := range n.sightings {
		if sec(s.Received) <= t {
			seen = append(seen, s)
		}
	}
	slices.SortStableFunc(seen, func(a, b Sighting) int { return a.Received.Compare(b.Received) })

	// All outages, each once.
	var all []*event0
	for _, s := range seen {
		if s.Kind != Lost {
			continue
		}
		var o *event0
		for _, have := range all {
			if have.hub == s.Home.Hub && have.said == sec(s.Start) {
				o = have
			}
		}
		if o == nil {
			o = &event0{hub: s.Home.Hub, said: sec(s.Start), s: sec(s.Start), received: sec(s.Received), home: s.Home}
			if d := o.received - o.said; d < 100 || d > 1200 {
				o.s = o.received - 200
			}
			all = append(all, o)
		}
		if s.Entry != 0 {
			o.windows = append(o.windows, [2]float64{sec(s.WindowStart), sec(s.WindowEnd)})
		}
		if s.Entry == entry {
			o.asked, o.meter, o.model = true, s.Meter, s.Home.Model
			o.entryWindow = [2]float64{sec(s.WindowStart), sec(s.WindowEnd)}
		}
	}
	var me *event0
	for _, o := range all {
		if o.asked {
			me = o
		}
	}

	// A hub is busy at a time if it had a window or an 11.3 within two hours before (or a minute after).
	notRun := func(r outage.RequestID, by float64) (string, bool) {
		for _, s := range seen {
			if s.Kind == NotRun && s.Request == r && sec(s.Received) <= by {
				return s.Why, true
			}
		}
		return "", false
	}
	starts := map[outage.DeviceID][]float64{}
	places := map[outage.DeviceID]Home{}
	for _, s := range seen {
		places[s.Home.Hub] = s.Home
		if s.Kind == Ordered && sec(s.Start) <= t {
			// cancelled before it began: it never began
			if _, gone := notRun(s.Request, max(sec(s.Start), sec(s.Received))); !gone {
				starts[s.Home.Hub] = append(starts[s.Home.Hub], sec(s.Start))
			}
		}
	}
	for _, o := range all {
		for _, w := range o.windows {
			starts[o.hub] = append(starts[o.hub], w[0])
		}
	}
	busy := func(h outage.DeviceID, at float64) bool {
		for _, st := range starts[h] {
			if st >= at-7200 && st <= at+60 {
				return true
			}
		}
		return false
	}
	may := func(o *event0) bool { return len(o.windows) == 0 && !busy(o.hub, o.s) }
	// Of the outages of a hub that are at most 90 seconds apart the first is a neighbour's.
	again := func(o *event0) bool {
		for _, p := range all {
			if p.hub == o.hub && may(p) && p.s <= o.s && o.s-p.s <= 90 && (p.s < o.s || p.said < o.said) {
				return true
			}
		}
		return false
	}
	neighbours := func(a Area, of func(Home) Area) (k, l, total float64) {
		if a == 0 {
			return 0, 0, 0
		}
		for _, o := range all {
			if of(o.home) != a || !may(o) || again(o) || o.hub == me.hub {
				continue
			}
			switch d := o.s - me.s; {
			case d >= -60 && d <= 60:
				k++
			case d > 60 && d <= 600:
				l++
			}
		}
		total = float64(n.hubs[a]) - 1 // the hub itself is no neighbour of its own
		for h := range starts {
			if h != me.hub && of(places[h]) == a && busy(h, me.s) {
				total--
			}
		}
		return k, l, max(total, 0)
	}
	ku, lu, nu := neighbours(me.home.Postcode, func(h Home) Area { return h.Postcode })
	ks, ls, ns := neighbours(me.home.Sector, func(h Home) Area { return h.Sector })
	kd, ld, nd := neighbours(me.home.Distributor, func(h Home) Area { return h.Distributor })
	share := func(ku, ks, kd float64) float64 {
		if me.home.Sector == 0 && me.home.Postcode == 0 {
			return (kd + 1.9e-3) / (max(nd, kd) + 1e3)
		}
		ps := 1.9e-6
		if me.home.Sector != 0 {
			ps = (ks + 1.9e-6) / (max(ns, ks) + 1)
		}
		if me.home.Postcode == 0 {
			return ps
		}
		return (ku + ps) / (max(nu, ku) + 1)
	}

	// The other outages of the hub.
	laterAD1, secondOutage := false, false
	heard := math.Inf(1)
	for _, o := range all {
		if o.hub != me.hub || o == me {
			continue
		}
		if o.s-me.s > 90 {
			laterAD1 = true
			if o.received > me.received {
				heard = min(heard, o.received)
			}
		}
		if me.s-o.s > 90 && o.received >= me.entryWindow[0] && o.received < me.entryWindow[1] {
			secondOutage = true
		}
	}
	for _, s := range seen {
		if (s.Kind == Heard || s.Kind == Restored) && s.Home.Hub == me.hub && sec(s.Received) > me.received {
			heard = min(heard, sec(s.Received))
		}
	}

	// How fast the model reboots at this second, by the activation that explains it best.
	type activation struct {
		start  float64
		model  Model
		didNot bool
	}
	var acts []activation
	ownSigned, ownRequest, anySigned := false, false, false
	ownNotRun := false
	for _, s := range seen {
		if s.Kind != Ordered || s.Home.Hub != me.hub {
			continue
		}
		own := s.Meter == me.meter && math.Abs(sec(s.Start)-me.entryWindow[0]) <= 1
		_, gone := notRun(s.Request, math.Inf(1))
		if s.Form == outage.SignedPreCommand {
			anySigned = anySigned || s.Meter == me.meter
			if sec(s.Start) <= t && (own || sec(s.Start) <= me.received && sec(s.Start) >= me.s-1800) {
				acts = append(acts, activation{sec(s.Start), s.Home.Model, gone})
				ownSigned = ownSigned || own
			}
		} else if own {
			ownRequest = true
			ownNotRun = ownNotRun || gone
		}
	}
	if !ownSigned {
		did := ownNotRun || ownRequest && !anySigned
		if !ownRequest {
			for _, s := range seen {
				known := false
				for _, o := range seen {
					known = known || o.Kind == Ordered && o.Request == s.Request
				}
				if s.Kind == NotRun && !known && s.Request.Target == me.meter && sec(s.Received) >= me.entryWindow[0] {
					did = true
				}
			}
		}
		acts = append(acts, activation{me.entryWindow[0], me.model, did})
	}
	best, rate, activated := -1.0, 0.0, 0.0
	var b *Behaviour
	for _, a := range acts {
		l := n.learned[a.model]
		if l == nil {
			l = &Behaviour{}
		}
		c := 1.0
		if me.received-a.start < 165 {
			c *= .01
		}
		if a.didNot {
			c *= .001
		}
		r := perActivation0(l) * density0(l, me.s-a.start) * c
		if r > best {
			best, rate, activated, b = r, r, a.start, l
		}
	}
	if secondOutage {
		rate *= .05
	}
	odds := share(ku, ks, kd) / 120 / (rate + .05/(365.25*86400))
	if !laterAD1 {
		m := min(share(lu, ls, ld)/.8, .95)
		odds += m / (1 - m)
	}

	// Heard again.
	a := min(1, (float64(b.Heard)+.5)/(float64(b.AD1s)+1))
	switch {
	case heard-me.received <= 1000:
		odds *= .15
	case t-me.received >= 900 && heard-me.received > 900 && !final:
		odds *= .6 / (1.02 - a)
	}

	// Restored.
	q := min(1, (float64(b.Restored)+.5)/(float64(b.AD1s)+1))
	r, matched := 1.0, false
	for _, s := range seen {
		if s.Kind != Restored || s.Home.Hub != me.hub {
			continue
		}
		d := sec(s.Start) - me.s
		if heard < sec(s.Start) {
			continue
		}
		if math.Abs(d) > 120 && (d < 0 || d > 900 || laterAD1) {
			continue
		}
		this := .4 / q
		if sec(s.End)-sec(s.Start) > 1200 || activated-sec(s.Start) > 90 {
			this = .4 / (.003*q + 1e-6)
		}
		if !matched || this > r {
			r = this
		}
		matched = true
	}
	if final && !matched {
		r = .12
	}
	return odds * r
}

func perActivation0(l *Behaviour) float64 {
	return min(1, (float64(l.AD1s)+.5)/(float64(l.Activations)+1))
}

func density0(l *Behaviour, u float64) float64 {
	uniform := .03 / 1800
	if u < 0 || u >= 1800 {
		return uniform
	}
	total := 0.0
	var smooth [120]float64
	for i, c := range l.Bins {
		total += float64(c)
		for d, share := range map[int]float64{-1: .25, 0: .5, 1: .25} {
			smooth[min(max(i+d, 0), 119)] += share * float64(c)
		}
	}
	bin := int(math.Floor(u / 15))
	return .97*(smooth[bin]+60.0/120)/(total+60)/15 + uniform
}
