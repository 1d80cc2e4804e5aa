package assess

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/sighting"
)

// Follow tells the node which homes to wait for: those of alerts that were suppressed a short time
// ago, by any node. It runs on each node, until ctx ends. A home that is heard again in the second
// or two before that is not noticed; a hub takes longer to come back.
func (a *Assessor) Follow(ctx context.Context) {
	var seq int64
	begun := false
	expired := time.Now()
	for ctx.Err() == nil {
		var err error
		now := a.Cluster.Now()
		if !begun {
			seq, err = a.entryBefore(ctx, now.Add(-sighting.WatchFor))
			begun = err == nil
		}
		if begun && a.Sightings.On() {
			seq, _ = a.followOnce(ctx, seq) // what fails is read again a second later
		}
		if time.Since(expired) > time.Minute {
			expired = time.Now()
			a.Sightings.Expire(now)
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
		}
	}
}

// followOnce waits for the homes of the entries after one, and returns the last of them.
func (a *Assessor) followOnce(ctx context.Context, seq int64) (int64, error) {
	for {
		entries, err := a.Ledger.EntriesAfter(ctx, seq, entryPage)
		if err != nil || len(entries) == 0 {
			return seq, err
		}
		var mpxns []string
		for i := range entries {
			if entries[i].MPxN != "" {
				mpxns = append(mpxns, entries[i].MPxN)
			}
		}
		others, err := a.Devices.OfMPxNs(ctx, mpxns)
		if err != nil {
			return seq, err
		}
		byHub := map[outage.DeviceID][]outage.DeviceID{}
		for i := range others {
			byHub[others[i].CHF] = append(byHub[others[i].CHF], others[i].ID)
		}
		for i := range entries {
			e := &entries[i]
			a.Sightings.Watch(e.CHF, e.CHF, e.Received)
			a.Sightings.Watch(e.ESME, e.CHF, e.Received)
			for _, id := range byHub[e.CHF] {
				a.Sightings.Watch(id, e.CHF, e.Received)
			}
		}
		seq = entries[len(entries)-1].Seq
		if len(entries) < entryPage {
			return seq, nil
		}
	}
}

// FollowOnce waits for the homes of all entries that are young enough. It is for tests and commands.
func (a *Assessor) FollowOnce(ctx context.Context) error {
	seq, err := a.entryBefore(ctx, a.Cluster.Now().Add(-sighting.WatchFor))
	if err == nil {
		_, err = a.followOnce(ctx, seq)
	}
	return err
}
