package nation

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
)

// A Scenario says what a night is like.
type Scenario struct {
	Name  string
	About string
	Storm bool
	// WrongList is the share of the campaign's homes whose model reboots and is not in the
	// device list.
	WrongList float64
	// Violations is the share of reboots that are followed by a restoration alert.
	Violations  float64
	NoPostcodes bool
	// MoreFaults is by how much faults in fair weather are more frequent than they are; 0 is 1.
	MoreFaults float64
}

// Scenarios are the six that docs/outage-safety.md is about.
var Scenarios = []Scenario{
	{Name: "quiet campaign", About: "fair weather; the list is right, and A5 holds"},
	{Name: "campaign in a storm", About: "0.5 to 8 % of all homes are cut off in the night", Storm: true},
	{Name: "wrong list", About: "30 % of the activated meters reboot and are not in the list", WrongList: .3},
	{Name: "A5 broken by 1 %", About: "1 % of the reboots are followed by a restoration alert", Violations: .01},
	{Name: "A5 broken by 20 %", About: "20 % of the reboots are followed by a restoration alert", Violations: .2},
	{Name: "postcode missing", About: "the inventory has neither postcodes nor groups", NoPostcodes: true},
}

// A Night is what quell sees of a night, in the order of receipt, and what was really so.
type Night struct {
	Begin, End time.Time
	Sightings  []evidence.Sighting
	Alerts     []Alert // those that were suppressed; of several entries about one outage, the first
	Faults     []Fault
	Activated  int
	Cut        int // homes cut off
}

// An Alert is a suppressed one, and the truth of it.
type Alert struct {
	Entry   int64
	Home    int
	Genuine bool
	Size    Size // of the fault
	// NearFault says of a false alert that its sector had a fault at about that time.
	NearFault bool
	Hidden    bool // the supply failed only while the hub was rebooting
	// CutSoon says of a false alert that the home lost supply within 15 minutes after it began:
	// the hub was back by then, and its own alert about that was lost, or came as well.
	CutSoon bool
}

// Size is how much a fault takes out.
type Size int

const (
	NoFault Size = iota
	Isolated
	Street
	Transformer
	Feeder
)

func (s Size) String() string {
	return [...]string{"none", "one home", "street", "transformer", "feeder"}[s]
}

// A Fault is one power cut: homes from First to before Last, each Every-th of them.
type Fault struct {
	Size               Size
	First, Last, Every int
	From, To           float64 // seconds since the night began
}

const (
	minutes = 60.0
	window  = 30 * minutes
	// tolerance is that of quell for clocks, by default.
	tolerance = 60.0
	perYear   = 1 / (365.25 * 24) // hours
)

// Night makes up one night of a world.
func (w *World) Night(s Scenario, seed uint64, begin time.Time) *Night {
	g := &generator{World: w, Scenario: s, r: rand.New(rand.NewPCG(seed, 0xB0B)), begin: begin, state: map[int]*state{}}
	g.faults()
	g.campaign()
	g.swaps()
	n := &Night{Begin: begin, End: begin.Add(time.Duration(nightHours) * time.Hour), Faults: g.fault}
	touched := make([]int, 0, len(g.state))
	for i := range g.state {
		touched = append(touched, i)
	}
	slices.Sort(touched)
	for _, i := range touched {
		g.home(n, i, g.state[i])
	}
	slices.SortFunc(n.Sightings, func(a, b evidence.Sighting) int {
		return cmp.Or(a.Received.Compare(b.Received), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Home.Hub, b.Home.Hub), a.Start.Compare(b.Start), cmp.Compare(a.Form, b.Form), cmp.Compare(a.Entry, b.Entry))
	})
	g.near(n)
	return n
}

// generator makes a night up. Times are seconds since it began.
type generator struct {
	*World
	Scenario
	r       *rand.Rand
	begin   time.Time
	fault   []Fault
	state   map[int]*state // of homes that anything happens to
	request uint64
	entry   int64
}

// state is what happens to a home.
type state struct {
	orders  []order
	reboot  *interval
	cuts    []interval // supply
	swapped []interval
}

type order struct {
	received, start float64
	signed, tracked bool
	request         outage.RequestID
	notRun          float64 // when that is known; 0: it ran
}

type interval struct {
	from, to float64
	size     Size
}

func (g *generator) at(seconds float64) time.Time {
	return g.begin.Add(time.Duration(seconds*1e6) * time.Microsecond)
}

func (g *generator) of(i int) *state {
	if g.state[i] == nil {
		g.state[i] = new(state)
	}
	return g.state[i]
}

// poisson draws how often something happens.
func (g *generator) poisson(mean float64) (n int) {
	for mean > 500 {
		// The sum of two is the same, and does not underflow.
		n += g.poisson(500)
		mean -= 500
	}
	limit := math.Exp(-mean)
	for p := g.r.Float64(); p > limit; p *= g.r.Float64() {
		n++
	}
	return n
}

func (g *generator) faults() {
	r := g.r
	cut := float64(len(g.Homes)) * cutsPerYear * nightHours * perYear * max(1, g.MoreFaults)
	if g.Storm {
		cut = float64(len(g.Homes)) * stormCuts.draw(r)
	}
	for _, kind := range []struct {
		size  Size
		share float64
		runs  []run
	}{{Isolated, isolatedShare, nil}, {Street, streetShare, g.streets}, {Transformer, transformerShare, g.transformers}, {Feeder, feederShare, g.feeders}} {
		homes := 1.0 // of one fault
		if kind.runs != nil {
			homes = float64(len(g.Homes)) / float64(len(kind.runs))
		}
		if kind.size == Street {
			homes *= 1 - onePhase*2/3
		}
		for range g.poisson(cut * kind.share / homes) {
			f := Fault{Size: kind.size, Every: 1, From: r.Float64() * nightHours * 3600}
			if kind.runs == nil {
				f.First = r.IntN(len(g.Homes))
				f.Last = f.First + 1
			} else {
				run := kind.runs[r.IntN(len(kind.runs))]
				f.First, f.Last = run.first, run.end
			}
			if kind.size == Street && r.Float64() < onePhase {
				f.Every = 3
				f.First = min(f.First+r.IntN(3), f.Last-1)
			}
			short := .1
			if kind.size == Feeder {
				short = shortShare
			}
			lasts := logNormal(r, longMedian.draw(r), longWidth)
			if r.Float64() < short {
				lasts = shortCut.draw(r)
			}
			f.To = f.From + max(lasts, 185)
			g.cut(f)
			if g.Storm && r.Float64() < stormAgain {
				again := f
				again.From = f.To + 60 + 900*r.Float64()
				again.To = again.From + 200 + 3000*r.Float64()
				g.cut(again)
			}
		}
	}
}

func (g *generator) cut(f Fault) {
	g.fault = append(g.fault, f)
	for i := f.First; i < f.Last; i += f.Every {
		st := g.of(i)
		// Feeders are cut within a second; the ends of a cut differ, as it is restored in parts.
		to := f.To
		if f.Size >= Transformer {
			to += 60 * float64((i-f.First)*4/(f.Last-f.First))
		}
		st.cuts = append(st.cuts, interval{f.From, to, f.Size})
	}
}

// campaign activates the firmware of one night.
func (g *generator) campaign() {
	r := g.r
	share := campaignShare.draw(r)
	dated := futureDated.draw(r)
	inPlaces := r.Float64() < byArea
	rate := nightHours*3600 - window
	for i := range g.Homes {
		h := &g.Homes[i]
		m := &g.models[h.model]
		tracked := m.listed
		// With a wrong list another model is in the campaign as well, and reboots.
		if !tracked && (g.WrongList == 0 || h.model != listedModels) {
			continue
		}
		if r.Float64() > share {
			continue
		}
		start := r.Float64() * rate
		if inPlaces {
			start = math.Mod(float64(i)/float64(len(g.Homes))*rate+600*r.Float64(), rate)
		}
		st := g.of(i)
		g.request++
		o := order{received: start, start: start, signed: true, tracked: tracked, request: outage.RequestID{Originator: 0x7000_0000_0001, Target: h.Meter, Counter: g.request}}
		request := o
		request.signed = false
		switch {
		case r.Float64() < dated:
			// At a whole quarter of an hour, and ordered an hour or more before.
			o.start = math.Floor(start/900) * 900
			o.received = o.start - 3600*(1+10*r.Float64())
			request.received, request.start = o.received-30-60*r.Float64(), o.start
		default:
			request.received = o.received - 20 - 60*r.Float64()
			request.start = request.received
		}
		st.orders = append(st.orders, request)
		if r.Float64() < onlyRequested {
			continue // it never reached the meter
		}
		st.orders = append(st.orders, o)
		at := o.start
		if r.Float64() < notRunShare {
			st.orders[len(st.orders)-1].notRun = at + 30 + 90*r.Float64()
			continue
		}
		if r.Float64() < orderedAgain {
			g.request++
			again := o
			again.received = at + 60 + 600*r.Float64()
			again.start, again.request.Counter = again.received, g.request
			st.orders = append(st.orders, again)
		}
		if g.isCut(st, at) || r.Float64() > m.reboots {
			continue
		}
		u := logNormal(r, m.at, m.width)
		if r.Float64() < m.stray {
			u = window * r.Float64()
		}
		from := at + u
		if g.isCut(st, from) {
			continue // the meter has no supply
		}
		st.reboot = &interval{from: from, to: from + max(185, logNormal(r, m.lasts, m.lastsWidth))}
	}
}

func (g *generator) isCut(st *state, t float64) bool {
	for _, c := range st.cuts {
		if t >= c.from && t < c.to {
			return true
		}
	}
	return false
}

// swaps unplugs hubs.
func (g *generator) swaps() {
	for range g.poisson(float64(len(g.Homes)) * hubSwaps * nightHours * perYear) {
		from := g.r.Float64() * nightHours * 3600
		st := g.of(g.r.IntN(len(g.Homes)))
		st.swapped = append(st.swapped, interval{from: from, to: from + 1800})
	}
}

// without are the times in which a hub has no power: each with its reasons.
func (st *state) without() (all []struct {
	interval
	reboot bool
	cut    *interval // the first
}) {
	type part struct {
		interval
		reboot bool
		cut    *interval
	}
	var parts []part
	for i := range st.cuts {
		parts = append(parts, part{st.cuts[i], false, &st.cuts[i]})
	}
	if st.reboot != nil {
		parts = append(parts, part{*st.reboot, true, nil})
	}
	for _, s := range st.swapped {
		parts = append(parts, part{s, false, nil})
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.from, b.from) })
	for _, p := range parts {
		if n := len(all); n > 0 && p.from <= all[n-1].to {
			last := &all[n-1]
			last.to = max(last.to, p.to)
			last.reboot = last.reboot || p.reboot
			if last.cut == nil {
				last.cut = p.cut
			}
			continue
		}
		all = append(all, struct {
			interval
			reboot bool
			cut    *interval
		}{p.interval, p.reboot, p.cut})
	}
	return all
}

// home adds what quell sees of one home.
func (g *generator) home(n *Night, i int, st *state) {
	r := g.r
	h := &g.Homes[i]
	m := &g.models[h.model]
	add := func(k evidence.Kind, received float64, s evidence.Sighting) {
		s.Kind, s.Received, s.Home = k, g.at(received), h.Home
		if g.NoPostcodes {
			s.Home.Postcode, s.Home.Sector = 0, 0
		}
		n.Sightings = append(n.Sightings, s)
	}
	if len(st.orders) > 0 {
		n.Activated++
	}
	for _, o := range st.orders {
		form := outage.ServiceRequest
		if o.signed {
			form = outage.SignedPreCommand
		}
		add(evidence.Ordered, o.received, evidence.Sighting{Meter: h.Meter, Request: o.request, Form: form, Firmware: "f" + string(h.Model), Tracked: o.tracked, Start: g.at(o.start)})
		if o.notRun != 0 {
			add(evidence.NotRun, o.notRun, evidence.Sighting{Request: o.request, Why: "the meter says that it failed"})
		}
	}
	n.Cut += min(1, len(st.cuts))

	// The clocks of this hub and meter.
	hubClock, meterClock := clockSigma*r.NormFloat64(), clockSigma*r.NormFloat64()
	if r.Float64() < clockWrong {
		hubClock = (2*r.Float64() - 1) * 86400
	}
	violates := m.breaks
	if g.Violations > 0 {
		violates = g.Violations
	}
	off := st.without()
	for j, o := range off {
		if o.to-o.from < alertAfter {
			continue
		}
		byCut := o.cut != nil && o.cut.from <= o.from // it began with the cut
		sent := true
		if o.cut != nil && byCut {
			sent = r.Float64() < reported.draw(r)
		}
		lag := logNormal(r, usualLag, lagWidth)
		slow := slowShare
		if g.Storm {
			slow = slowInStorm
		}
		if r.Float64() < slow {
			lag += 3600 * r.Float64()
		}
		received := o.from + alertAfter + lag
		w := st.openWindow(received)
		if o.from+hubClock > received+tolerance {
			w = nil // by the hub's clock the outage has not begun: quell forwards that
		}
		suppressed := int64(0)
		if sent {
			times := []float64{received}
			if r.Float64() < twoUsers {
				times = append(times, received+.05+r.Float64())
			}
			for k, t := range times {
				lost := evidence.Sighting{Start: g.at(o.from + hubClock).Truncate(time.Second)}
				if w != nil && t < w.start+window {
					g.entry++
					lost.Entry, lost.Meter = g.entry, h.Meter
					lost.WindowStart, lost.WindowEnd = g.at(w.start), g.at(w.start+window)
					if k == 0 {
						suppressed = g.entry
						a := Alert{Entry: g.entry, Home: i, Genuine: o.cut != nil}
						for _, c := range st.cuts {
							a.CutSoon = a.CutSoon || o.cut == nil && c.from > o.from && c.from < o.from+15*minutes
						}
						if o.cut != nil {
							a.Size, a.Hidden = o.cut.size, !byCut
						}
						n.Alerts = append(n.Alerts, a)
					}
				}
				add(evidence.Lost, t, lost)
				if r.Float64() < retried {
					add(evidence.Lost, t+300, lost)
				}
			}
		}
		// The home is heard again when it has power, if it says anything.
		if suppressed != 0 || o.reboot {
			next := math.Inf(1)
			if j+1 < len(off) {
				next = off[j+1].from
			}
			heard := math.Inf(1)
			if r.Float64() < m.heard {
				heard = o.to + m.heardAfter*(.5+r.Float64())
			}
			heard = min(heard, o.to+chatterHours*3600*r.ExpFloat64())
			if heard <= received {
				heard = received + 60*r.Float64() // it goes on
			}
			if heard < next {
				add(evidence.Heard, heard, evidence.Sighting{})
			}
		}
		restored := func(from, to float64) {
			lag := restoredLag.draw(r)
			if g.Storm {
				lag += 1800 * r.ExpFloat64()
			}
			add(evidence.Restored, to+lag, evidence.Sighting{Meter: h.Meter, Start: g.at(from + meterClock), End: g.at(to + meterClock)})
		}
		switch {
		case o.cut != nil:
			if r.Float64() < restoredBy.draw(r) {
				restored(o.cut.from, o.to)
			}
		case o.reboot && r.Float64() < violates:
			from, to := o.from, o.to
			if r.Float64() < violationWrong {
				if r.IntN(2) == 0 {
					to += 3600
				} else {
					from -= 110 // within what matches, and before the activation if it was soon
				}
			}
			restored(from, to)
		}
	}
}

// openWindow returns the order whose window is open, as the ledger decides: the one that starts
// first. A Signed Pre-Command replaces its Service Request.
func (st *state) openWindow(t float64) *order {
	var open *order
	for k := range st.orders {
		o := &st.orders[k]
		replaced := !o.signed && len(st.orders) > k+1 && st.orders[k+1].received <= t
		if !o.tracked || replaced || o.received > t || t < o.start || t >= o.start+window || o.notRun != 0 && o.notRun <= t {
			continue
		}
		if open == nil || o.start < open.start {
			open = o
		}
	}
	return open
}

// near marks the false alerts that have to do with a fault.
func (g *generator) near(n *Night) {
	bySector := map[evidence.Area][]Fault{}
	for _, f := range g.fault {
		last := evidence.Area(0)
		for i := f.First; i < f.Last; i++ {
			if s := g.Homes[i].Sector; s != last {
				bySector[s] = append(bySector[s], f)
				last = s
			}
		}
	}
	started := map[int64]float64{}
	for _, s := range n.Sightings {
		if s.Entry != 0 {
			started[s.Entry] = s.Received.Sub(g.begin).Seconds() - 200
		}
	}
	for k := range n.Alerts {
		a := &n.Alerts[k]
		for _, f := range bySector[g.Homes[a.Home].Sector] {
			if t := started[a.Entry]; !a.Genuine && math.Abs(f.From-t) < 15*minutes {
				a.NearFault = true
			}
		}
	}
}
