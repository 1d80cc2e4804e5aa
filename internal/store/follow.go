package store

import (
	"context"
	"time"

	"quell/internal/outage"
)

// followEvery is how often a node looks for what other nodes have written.
const followEvery = 250 * time.Millisecond

// follow keeps the index and the switch up to what other nodes write, from the
// activation with the id last on, until ctx ends. What it does not see for a while does no harm: a hub without an entry in
// the index is one whose alerts go forward, and no false alert comes sooner
// than minutes after its activation.
//
// Ids are given out while the writer's lock is held, and so in the order of
// commits: whatever is committed later has a higher one.
func (s *Store) follow(ctx context.Context, last int64) {
	for {
		if to, err := s.followOnce(ctx, last); err == nil {
			last = to
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return
		}
	}
}

// followOnce takes over what has come since the activation with the id last, and
// returns the last now.
func (s *Store) followOnce(ctx context.Context, last int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	var most int64
	var sw string
	if err := s.reader.QueryRowContext(ctx, `SELECT coalesce((SELECT max(id) FROM activation), 0),
		coalesce((SELECT value FROM setting WHERE name = 'switch'), '')`).Scan(&most, &sw); err != nil {
		return last, err
	}
	if sw != "" && outage.Switch(sw) != s.Switch() {
		s.opts.Log.Warn("the switch was turned on another node", "old", s.Switch(), "new", sw)
		s.sw.Store(outage.Switch(sw))
	}
	if most < last {
		last = 0 // the database was set back: from the beginning
	}
	if most == last {
		return last, nil
	}
	hubs, err := numbers(s.reader.QueryContext(ctx, `SELECT DISTINCT chf FROM activation WHERE id > ? AND id <= ?`, last, most))
	if err != nil {
		return last, err
	}
	for _, chf := range hubs {
		s.index.add(outage.DeviceID(chf))
	}
	return most, nil
}
