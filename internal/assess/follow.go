package assess

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/sighting"
	"quell/internal/sqldb"
)

// rushFrom is how many new entries a second, of all nodes, are a rush: what each of them costs here is
// then a part of what the machine does, and alerts wait for it.
const rushFrom = 1000

// Follow tells the node which homes to wait for: those of alerts that were suppressed a short time
// ago, by any node. It runs on each node, until ctx ends. A home that is heard again in the second
// or two before that is not noticed; a hub takes longer to come back. In a rush only its hub and its
// meter are waited for at once, and its other devices as soon as the rush is over.
func (a *Assessor) Follow(ctx context.Context) {
	var meters, others int64 // entries up to these were read
	begun := false
	looked := a.Cluster.Now()
	expired, calm := time.Now(), time.Now()
	for ctx.Err() == nil {
		now := a.Cluster.Now()
		if !begun {
			seq, err := a.entryBefore(ctx, now.Add(-sighting.WatchFor))
			meters, others, begun = seq, seq, err == nil
		}
		if begun && a.Sightings.On() {
			before := meters
			meters, _ = a.follow(ctx, meters, a.watchMeters) // what fails is read again a second later
			a.rush.Store(float64(meters-before) > rushFrom*now.Sub(looked).Seconds())
			if !a.rush.Load() || time.Since(calm) > longestRest {
				others, _ = a.follow(ctx, others, a.watchOthers)
				calm = time.Now()
			}
		}
		looked = now
		if time.Since(expired) > time.Minute {
			expired = time.Now()
			a.Sightings.Expire(now)
		}
		pause(ctx, every)
	}
}

// A lost home is that of an entry.
type lostHome struct {
	seq      int64
	hub      outage.DeviceID
	meter    outage.DeviceID
	mpxn     string
	received time.Time
}

// follow waits for devices of the homes of entries after one, and returns the last of them.
func (a *Assessor) follow(ctx context.Context, seq int64, watch func(context.Context, []lostHome) error) (int64, error) {
	for {
		rows, err := a.DB.Query(ctx, `SELECT seq, chf, esme, mpxn, received_at FROM suppression WHERE seq > ? ORDER BY seq LIMIT ?`, seq, entryPage)
		homes, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, h *lostHome) error {
			var hub, meter, received int64
			err := rows.Scan(&h.seq, &hub, &meter, &h.mpxn, &received)
			h.hub, h.meter, h.received = outage.DeviceID(hub), outage.DeviceID(meter), sqldb.Instant(received)
			return err
		})
		if err != nil || len(homes) == 0 {
			return seq, err
		}
		if err := watch(ctx, homes); err != nil {
			return seq, err
		}
		seq = homes[len(homes)-1].seq
		if len(homes) < entryPage {
			return seq, nil
		}
	}
}

// watchMeters waits for the hubs and the meters of homes.
func (a *Assessor) watchMeters(_ context.Context, homes []lostHome) error {
	for i := range homes {
		h := &homes[i]
		a.Sightings.Watch(h.hub, h.hub, h.received)
		a.Sightings.Watch(h.meter, h.hub, h.received)
	}
	return nil
}

// watchOthers waits for all devices of homes that the inventory has.
func (a *Assessor) watchOthers(ctx context.Context, homes []lostHome) error {
	var mpxns []string
	received := map[outage.DeviceID]time.Time{} // by hub
	for i := range homes {
		h := &homes[i]
		if h.mpxn != "" {
			mpxns = append(mpxns, h.mpxn)
		}
		received[h.hub] = h.received
	}
	devices, err := a.Devices.OfMPxNs(ctx, mpxns)
	for i := range devices {
		d := &devices[i]
		if at, ok := received[d.CHF]; ok && d.CHF != 0 {
			a.Sightings.Watch(d.ID, d.CHF, at)
		}
	}
	return err
}

// FollowOnce waits for the homes of all entries that are young enough. It is for tests and commands.
func (a *Assessor) FollowOnce(ctx context.Context) error {
	seq, err := a.entryBefore(ctx, a.Cluster.Now().Add(-sighting.WatchFor))
	if err != nil {
		return err
	}
	if _, err := a.follow(ctx, seq, a.watchMeters); err != nil {
		return err
	}
	_, err = a.follow(ctx, seq, a.watchOthers)
	return err
}
