package ledger

import (
	"context"
	"slices"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// followed is how far a node has followed the others.
type followed struct {
	last int64 // activations up to this one are known
	// Those behind the one and up to the other are read once more: the newest that
	// was known is not there any more, as in a database that was set back, and others
	// may have come under the same numbers.
	again, until int64
	moves        int64 // the last import whose moves of windows are known
}

// Follow takes over what other nodes have written since it was called before, by one at a
// time: a page of requests at most, and a page of those that are to be read once more. It
// reports whether there is more. What it does not see for a while does no harm: the alerts
// of a hub that this node does not know go forward, and no false alert comes sooner than
// minutes after its activation.
//
// Ids are given out while the writer's lock is held, and so in the order of commits: what is
// committed later has a higher one.
func (l *Ledger) Follow(ctx context.Context) (more bool, err error) {
	return l.follow(ctx, &l.followed)
}

func (l *Ledger) follow(ctx context.Context, at *followed) (more bool, err error) {
	var most, moves int64
	var sw string
	turns := l.sw.turned()
	if err := l.db.QueryRow(ctx, `SELECT coalesce((SELECT max(id) FROM activation), 0),
		coalesce((SELECT max(moved) FROM activation WHERE moved <> 0), 0),
		coalesce((SELECT value FROM setting WHERE name = 'switch'), '')`).Scan(&most, &moves, &sw); err != nil {
		return false, err
	}
	l.followSwitch(outage.Switch(sw), turns)
	if most < at.last {
		*at = followed{last: most, until: most, moves: at.moves}
	}
	if moves > at.moves {
		hubs, err := sqldb.Numbers(l.db.Query(ctx, `SELECT DISTINCT chf FROM activation WHERE moved > ? AND moved <> 0`, at.moves))
		if err != nil {
			return false, err
		}
		for _, chf := range hubs {
			l.hubs.Add(outage.DeviceID(chf))
		}
		at.moves = moves
	}
	if most > at.last {
		n, err := l.addHubs(ctx, "activation", "id", &at.last)
		if err != nil {
			return false, err
		}
		more = n == fillPage
	}
	if at.again < at.until {
		n, err := l.addHubs(ctx, "activation", "id", &at.again)
		if err != nil {
			return false, err
		}
		if n < fillPage {
			at.again = at.until
		}
	}
	return more || at.again < at.until, nil
}

// ReadSwitch reads the switch in a transaction. then takes it over.
func (l *Ledger) ReadSwitch(ctx context.Context, tx sqldb.Tx) (then func(), err error) {
	turns := l.sw.turned()
	sw, err := ReadSwitch(ctx, tx)
	return func() { l.followSwitch(sw, turns) }, err
}

// followSwitch takes over the switch as the store has it, "" if it has none; turns
// is what turned said before the store was asked.
func (l *Ledger) followSwitch(to outage.Switch, turns int) {
	if to == "" {
		return
	}
	if was, followed := l.sw.follow(to, turns); followed {
		l.log.Warn("the switch was turned on another node", "old", was, "new", to)
	}
}

// pruneBatch is how many hubs one question is about.
const pruneBatch = 1000

// prune takes hubs out of the index that have neither an activation nor a log
// entry any more: housekeeping does so by itself only where it runs.
func (l *Ledger) prune(ctx context.Context) error {
	for some := range slices.Chunk(l.hubs.All(), pruneBatch) {
		ask, cancel := l.db.Bounded(ctx)
		gone, err := sqldb.Numbers(l.db.Query(ask, `SELECT h.chf FROM (SELECT CAST(value->>0 AS BIGINT) AS chf FROM json_each(?)) AS h
			WHERE NOT EXISTS (SELECT 1 FROM activation a WHERE a.chf = h.chf) AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.chf = h.chf)`, sqldb.Column(some)))
		cancel()
		if err != nil {
			return err
		}
		for _, chf := range gone {
			l.hubs.Remove(outage.DeviceID(chf))
		}
	}
	return nil
}
