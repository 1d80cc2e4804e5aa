package assess

import (
	"context"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sighting"
)

// homes remembers how many hubs there are in an area, since counting takes time.
type homes struct {
	mu     sync.Mutex // guards counts
	counts map[evidence.Area]count
}

type count struct {
	n  int
	at time.Time
}

const (
	// countFor is how long a count is used.
	countFor = time.Hour
	// maxCounts bounds how many counts are in memory.
	maxCounts = 100_000
	// countTimeout bounds how long a count may take. Without one, neighbours in the area say nothing.
	countTimeout = 10 * time.Second
	// countAgain is how long after a count that failed it is tried again.
	countAgain = time.Minute
)

// hubsIn returns the function that tells the engine how many hubs the inventory has in an area.
func (a *Assessor) hubsIn(ctx context.Context) func(evidence.Area) int {
	return func(area evidence.Area) int {
		if area == 0 {
			return 0
		}
		a.homes.mu.Lock()
		have, ok := a.homes.counts[area]
		a.homes.mu.Unlock()
		if ok && time.Since(have.at) < countFor {
			return have.n
		}
		counting, cancel := context.WithTimeout(ctx, countTimeout)
		defer cancel()
		var n int
		var err error
		if id, is := distributorIDs[area]; is {
			n, err = a.Devices.SupplyPoints(counting, id)
		} else {
			n, err = a.Devices.HubsIn(counting, int64(area))
		}
		at := time.Now()
		if err != nil {
			if n = have.n; !ok {
				n = -1
			}
			if ctx.Err() != nil {
				return n
			}
			at = at.Add(countAgain - countFor)
		}
		a.homes.mu.Lock()
		defer a.homes.mu.Unlock()
		if a.homes.counts == nil || len(a.homes.counts) >= maxCounts {
			a.homes.counts = map[evidence.Area]count{}
		}
		a.homes.counts[area] = count{n, at}
		return n
	}
}

// Distributor returns the area of a distributor, by the first two digits of its MPANs; 0 for "".
func Distributor(id string) evidence.Area {
	if id == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte("distributor " + id))
	return evidence.Area(h.Sum64())
}

// distributorIDs is the inverse of Distributor.
var distributorIDs = func() map[evidence.Area]string {
	ids := map[evidence.Area]string{}
	for a := '0'; a <= '9'; a++ {
		for b := '0'; b <= '9'; b++ {
			id := string(a) + string(b)
			ids[Distributor(id)] = id
		}
	}
	return ids
}()

// ModelOf returns what meters that behave alike have in common.
func ModelOf(d *outage.Device) evidence.Model {
	return evidence.Model(strings.TrimSpace(d.Manufacturer + " " + d.Model))
}

// homeOf returns the home of a meter.
func homeOf(d *outage.Device) evidence.Home {
	h := evidence.Home{Hub: d.CHF, Model: ModelOf(d), Postcode: evidence.Area(d.Area), Sector: evidence.Area(d.Sector)}
	h.Group = devices.IsGroup(d.Area)
	if dist, ok := outage.DistributorOf(d.MPxN); ok {
		h.Distributor = Distributor(dist.ID)
	}
	return h
}

// place says of the sightings of rows where they were, as the inventory says now.
func (a *Assessor) place(ctx context.Context, rows []sighting.Row) error {
	var ids []int64
	var mpans []string
	for i := range rows {
		for j := range rows[i].Seen {
			if s := &rows[i].Seen[j]; s.Meter != 0 {
				ids = append(ids, int64(s.Meter))
			} else if s.MPAN != "" {
				mpans = append(mpans, s.MPAN)
			}
		}
	}
	byID, byMPAN, err := a.look(ctx, ids, mpans)
	if err != nil {
		return err
	}
	for i := range rows {
		for j := range rows[i].Seen {
			s := &rows[i].Seen[j]
			hub := s.Home.Hub
			if d := byID[s.Meter]; d != nil {
				s.Home = homeOf(d)
			} else if d := onHub(byMPAN[s.MPAN], hub); d != nil {
				s.Home = homeOf(d)
			} else if dist, ok := outage.DistributorOf(s.MPAN); ok {
				s.Home.Distributor = Distributor(dist.ID)
			}
			if hub != 0 {
				s.Home.Hub = hub // it was the hub then
			}
		}
	}
	return nil
}

// placeEntries returns entries as sightings, with where they were.
func (a *Assessor) placeEntries(ctx context.Context, list []outage.Entry) ([]evidence.Sighting, error) {
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = int64(list[i].ESME)
	}
	byID, _, err := a.look(ctx, ids, nil)
	if err != nil {
		return nil, err
	}
	lost := make([]evidence.Sighting, len(list))
	for i := range list {
		e := &list[i]
		s := evidence.Sighting{Kind: evidence.Lost, Received: e.Received, Meter: e.ESME, Start: e.OutageStart, Entry: e.Seq, WindowStart: e.WindowStart, WindowEnd: e.WindowEnd}
		s.Request, _ = outage.ParseRequestID(e.RequestID)
		if d := byID[e.ESME]; d != nil {
			s.Home = homeOf(d)
		}
		if s.Home.Distributor == 0 {
			s.Home.Distributor = Distributor(e.Distributor)
		}
		s.Home.Hub = e.CHF
		lost[i] = s
	}
	return lost, nil
}

// lookPage is how many devices one query looks up.
const lookPage = 1000

// onHub returns the meter on a hub, or else one whose hub is not known; nil if there is none. The inventory may have
// others at the same supply point, such as those that were replaced. Of several the last by its id counts, so that it is
// always the same.
func onHub(meters []*outage.Device, hub outage.DeviceID) (found *outage.Device) {
	for _, d := range meters {
		switch {
		case d.CHF != hub && d.CHF != 0, d.CHF == 0 && found != nil && found.CHF != 0:
		case found == nil || found.CHF != d.CHF || d.ID > found.ID:
			found = d
		}
	}
	return found
}

// look looks devices up in the inventory: by their ids, and meters by their MPANs.
func (a *Assessor) look(ctx context.Context, ids []int64, mpans []string) (byID map[outage.DeviceID]*outage.Device, byMPAN map[string][]*outage.Device, err error) {
	byID, byMPAN = map[outage.DeviceID]*outage.Device{}, map[string][]*outage.Device{}
	for len(ids) > 0 {
		n := min(len(ids), lookPage)
		list, err := a.Devices.OfIDs(ctx, ids[:n])
		if err != nil {
			return nil, nil, err
		}
		for i := range list {
			byID[list[i].ID] = &list[i]
		}
		ids = ids[n:]
	}
	for len(mpans) > 0 {
		n := min(len(mpans), lookPage)
		list, err := a.Devices.OfMPxNs(ctx, mpans[:n])
		if err != nil {
			return nil, nil, err
		}
		for i := range list {
			if d := &list[i]; d.IsMeter() {
				byMPAN[d.MPxN] = append(byMPAN[d.MPxN], d)
			}
		}
		mpans = mpans[n:]
	}
	return byID, byMPAN, nil
}
