package replay

import (
	"strings"
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
	r        *replay
	engine   *evidence.Engine
	resolver *assess.Resolver
	meters   map[outage.DeviceID]*evidence.Home // by meter
	hubs     map[outage.DeviceID]*evidence.Home // by hub
	inAreas  map[evidence.Area]int              // hubs
	last     map[int64]evidence.Assessment      // of each entry
	alerts   []Alert                            // that are counted, if somebody wants them
	counted  map[int64]bool                     // entries that are
	entries  []*outage.Entry                    // by number, from 1
	advanced time.Time
}

// advanceEvery is how often the engine is asked for assessments.
const advanceEvery = 15 * time.Second

func newAssessor(r *replay) *assessor {
	a := &assessor{r: r, resolver: assess.NewResolver(), meters: map[outage.DeviceID]*evidence.Home{}, hubs: map[outage.DeviceID]*evidence.Home{},
		inAreas: map[evidence.Area]int{}, last: map[int64]evidence.Assessment{}, counted: map[int64]bool{}}
	a.engine = evidence.New(evidence.Options{Hubs: func(area evidence.Area) int { return a.inAreas[area] }})
	for _, d := range r.Inventory {
		a.place(d)
	}
	return a
}

// place notes where a device is, if it is a meter on a hub.
func (a *assessor) place(d *outage.Device) {
	if !strings.EqualFold(strings.TrimSpace(d.Type), "ESME") || d.CHF == 0 {
		return
	}
	h := assess.HomeOf(d)
	a.meters[d.ID] = &h
	if a.hubs[d.CHF] != nil && *a.hubs[d.CHF] == h {
		return
	}
	if a.hubs[d.CHF] == nil {
		for _, area := range []evidence.Area{h.Postcode, h.Sector, h.Distributor} {
			if area != 0 {
				a.inAreas[area]++
			}
		}
	}
	a.hubs[d.CHF] = &h
}

// see takes a sighting, and adds where it was.
func (a *assessor) see(s *sighting.Seen) {
	at := s.Sighting
	hub := at.Home.Hub
	home := a.meters[at.Meter]
	if home == nil {
		home = a.hubs[hub]
	}
	if home != nil {
		at.Home = *home
	}
	if d, ok := outage.DistributorOf(s.MPAN); ok && at.Home.Distributor == 0 {
		at.Home.Distributor = assess.Distributor(d.ID)
	}
	if hub != 0 {
		at.Home.Hub = hub
	}
	for _, s := range a.resolver.Resolve(at) {
		a.engine.Add(s)
	}
}

// entry takes an entry of the log, and waits for its home.
func (a *assessor) entry(n *node, e *outage.Entry) {
	s := evidence.Sighting{Kind: evidence.Lost, Received: e.Received, Meter: e.ESME, Start: e.OutageStart, Entry: e.Seq, WindowStart: e.WindowStart, WindowEnd: e.WindowEnd}
	s.Request, _ = outage.ParseRequestID(e.RequestID)
	if home := a.meters[e.ESME]; home != nil {
		s.Home = *home
	}
	if s.Home.Distributor == 0 {
		s.Home.Distributor = assess.Distributor(e.Distributor)
	}
	s.Home.Hub = e.CHF
	a.engine.Add(s)
	a.entries = append(a.entries, e)
	n.m.Sightings.Watch(e.CHF, e.CHF, e.Received)
	n.m.Sightings.Watch(e.ESME, e.CHF, e.Received)
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

// end says what is known at the end of the recordings.
func (a *assessor) end() error {
	a.advanced = time.Time{}
	if a.r.current != nil {
		a.advance(a.r.current.At)
	}
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
