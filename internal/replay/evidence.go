package replay

import (
	"maps"
	"slices"
	"time"

	"quell/internal/assess"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sighting"
)

// assessor assesses the entries of a replay, with the engine that assesses those of a running
// quell. It knows as much of homes as the inventory that was given, or else the recording: there
// only meters that had an 11.3 have a home, so no neighbours are counted.
type assessor struct {
	r         *replay
	engine    *evidence.Engine
	resolver  *assess.Resolver
	sightings *sighting.Sightings // of all nodes: a home may be heard again at another one
	meters    map[outage.DeviceID]*meterOn
	onHub     map[outage.DeviceID][]*meterOn // in the order of their ids, if an inventory was given
	hasMPxN   map[string]bool
	inAreas   map[evidence.Area]int         // hubs; of a distributor, supply points
	last      map[int64]evidence.Assessment // of each entry
	alerts    []Alert                       // that are counted, if somebody wants them
	counted   map[int64]bool                // entries that are
	entries   []*outage.Entry               // by number, from 1
	advanced  time.Time
}

// meterOn is a meter on a hub.
type meterOn struct {
	home evidence.Home
	mpxn string
}

// advanceEvery is how often the engine is asked for assessments.
const advanceEvery = 15 * time.Second

func newAssessor(r *replay) *assessor {
	a := &assessor{r: r, resolver: assess.NewResolver(), meters: map[outage.DeviceID]*meterOn{}, onHub: map[outage.DeviceID][]*meterOn{}, hasMPxN: map[string]bool{},
		inAreas: map[evidence.Area]int{}, last: map[int64]evidence.Assessment{}, counted: map[int64]bool{}}
	a.engine = evidence.New(evidence.Options{Hubs: func(area evidence.Area) int { return a.inAreas[area] }})
	a.sightings = sighting.Collect(a.see)
	points := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(r.Inventory)) {
		d := r.Inventory[id]
		a.place(d)
		if len(d.MPxN) == 13 && !points[d.MPxN] {
			points[d.MPxN] = true
			a.inAreas[assess.Distributor(d.MPxN[:2])]++
		}
	}
	return a
}

// place notes where a device is, if it is a meter on a hub.
func (a *assessor) place(d *outage.Device) {
	if !d.IsMeter() || d.CHF == 0 {
		return
	}
	m := &meterOn{assess.HomeOf(d), d.MPxN}
	a.meters[d.ID] = m
	others := a.onHub[d.CHF]
	for _, area := range []evidence.Area{m.home.Postcode, m.home.Sector} {
		if area != 0 && !slices.ContainsFunc(others, func(o *meterOn) bool { return o.home.Postcode == area || o.home.Sector == area }) {
			a.inAreas[area]++
		}
	}
	a.onHub[d.CHF] = append(others, m)
	if d.MPxN != "" {
		a.hasMPxN[d.MPxN] = true
	}
}

// see takes a sighting, and adds where it was.
func (a *assessor) see(s *sighting.Seen) {
	at := s.Sighting
	hub := at.Home.Hub
	distributor, valid := outage.DistributorOf(s.MPAN)
	switch m := a.meters[at.Meter]; {
	case m != nil:
		at.Home = m.home
	case at.Kind == evidence.Lost:
		if m = a.lost(hub, s.MPAN); m != nil {
			at.Home = m.home
		} else if valid {
			at.Home.Distributor = assess.Distributor(distributor.ID)
		}
	}
	if hub != 0 {
		at.Home.Hub = hub
	}
	for _, s := range a.resolver.Resolve(at) {
		a.engine.Add(s)
	}
}

// lost returns the meter that an AD1 of a hub is about; nil if it is not known. A running quell looks the MPxN up in
// the inventory. In most recordings another has its place, of which only the distributor is right: so
// it is a meter of the hub with that distributor. Without an inventory MPxNs are not known.
func (a *assessor) lost(hub outage.DeviceID, mpan string) *meterOn {
	if a.hasMPxN[mpan] {
		for _, m := range slices.Backward(a.onHub[hub]) { // of several the last, as package assess
			if m.mpxn == mpan {
				return m
			}
		}
		return nil
	}
	for _, m := range a.onHub[hub] {
		if id := outage.DistributorID(mpan); a.r.Inventory == nil || id != "" && id == outage.DistributorID(m.mpxn) {
			return m
		}
	}
	return nil
}

// entry takes an entry of the log, and waits for its home.
func (a *assessor) entry(e *outage.Entry) {
	s := evidence.Sighting{Kind: evidence.Lost, Received: e.Received, Meter: e.ESME, Start: e.OutageStart, Entry: e.Seq, WindowStart: e.WindowStart, WindowEnd: e.WindowEnd}
	s.Request, _ = outage.ParseRequestID(e.RequestID)
	if m := a.meters[e.ESME]; m != nil {
		s.Home = m.home
	}
	if s.Home.Distributor == 0 {
		s.Home.Distributor = assess.Distributor(e.Distributor)
	}
	s.Home.Hub = e.CHF
	a.engine.Add(s)
	a.entries = append(a.entries, e)
	a.sightings.Watch(e.CHF, e.CHF, e.Received)
	a.sightings.Watch(e.ESME, e.CHF, e.Received)
}

// advance goes on to an instant.
func (a *assessor) advance(now time.Time) {
	if now.Sub(a.advanced) < advanceEvery {
		return
	}
	a.advanced = now
	for _, s := range a.engine.Advance(now) {
		a.last[s.Entry] = s
	}
}

// count keeps an alert until all is known.
func (a *assessor) count(alert *Alert) {
	if alert.Entry != 0 {
		a.counted[alert.Entry] = true
	}
	if a.r.Alert != nil {
		a.alerts = append(a.alerts, *alert)
	}
}

// end says what is known at the end of the recordings. The last line may have an earlier time than one
// before it.
func (a *assessor) end() error {
	now := a.advanced
	if l := a.r.current; l != nil && l.At.After(now) {
		now = l.At
	}
	a.advanced = time.Time{}
	a.advance(now)
	r := a.r.result
	r.Levels = map[evidence.Level]int{}
	for _, e := range a.entries {
		s, ok := a.last[e.Seq]
		if !ok || !a.counted[e.Seq] {
			continue
		}
		r.Levels[s.Level]++
		if s.Level == evidence.Strong {
			r.Strong = append(r.Strong, Genuine{e, s})
		}
	}
	for i := range a.alerts {
		x := &a.alerts[i]
		if s, ok := a.last[x.Entry]; ok && x.Entry != 0 {
			x.Evidence = &s
		}
		if err := a.r.Alert(x); err != nil {
			return err
		}
	}
	return nil
}
