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
	// Activations after rereadFrom, up to rereadTo, are read once more. The newest one that was
	// known is gone, as in a database that was restored, and others may have come under the
	// same numbers.
	rereadFrom, rereadTo int64
	lastMove             int64 // the last import whose moves of windows are known
}

// Follow takes over what other nodes have written since the last call: one page of requests at
// most, and one page of those that are read once more. It reports whether there is more. Only
// one caller at a time may call it. A delay does no harm: alerts of a hub that this node does
// not know go forward, and a false alert comes minutes after its activation at the earliest.
//
// Ids are given out while the writer's lock is held, so they rise in the order of commits.
func (l *Ledger) Follow(ctx context.Context) (more bool, err error) {
	if l.Passed.IsLoaded() {
		if more, err = l.Passed.Follow(ctx); err != nil {
			return false, err
		}
	}
	others, err := l.follow(ctx, &l.followed)
	return more || others, err
}

func (l *Ledger) follow(ctx context.Context, at *followed) (more bool, err error) {
	var most, moves int64
	var sw string
	changes := l.sw.ChangeCount()
	if err := l.db.QueryRow(ctx, `SELECT coalesce((SELECT max(id) FROM activation), 0),
		coalesce((SELECT max(moved) FROM activation WHERE moved <> 0), 0),
		coalesce((SELECT value FROM setting WHERE name = 'switch'), '')`).Scan(&most, &moves, &sw); err != nil {
		return false, err
	}
	l.followSwitch(outage.Switch(sw), changes)
	if most < at.last {
		*at = followed{last: most, rereadTo: most, lastMove: at.lastMove}
	}
	if moves > at.lastMove {
		if _, err := l.addHubs(l.db.Query(ctx, `SELECT DISTINCT chf FROM activation WHERE moved > ? AND moved <> 0`, at.lastMove)); err != nil {
			return false, err
		}
		at.lastMove = moves
	}
	if most > at.last {
		n, err := l.addPage(ctx, "activation", "id", &at.last)
		if err != nil {
			return false, err
		}
		more = n == fillPage
	}
	if at.rereadFrom < at.rereadTo {
		n, err := l.addPage(ctx, "activation", "id", &at.rereadFrom)
		if err != nil {
			return false, err
		}
		if n < fillPage {
			at.rereadFrom = at.rereadTo
		}
	}
	return more || at.rereadFrom < at.rereadTo, nil
}

// ReadSwitch reads the switch in a transaction. then takes it over.
func (l *Ledger) ReadSwitch(ctx context.Context, tx sqldb.Tx) (then func(), err error) {
	changes := l.sw.ChangeCount()
	sw, err := ReadSwitch(ctx, tx)
	return func() { l.followSwitch(sw, changes) }, err
}

// followSwitch takes over the switch as the store has it, "" if it has none. changes is what
// ChangeCount returned before the store was read.
func (l *Ledger) followSwitch(to outage.Switch, changes int) {
	if to == "" {
		return
	}
	if was, followed := l.sw.Follow(to, changes); followed {
		l.log.Warn("the switch was changed on another node", "old", was, "new", to)
	}
}

// pruneBatch is how many hubs one query checks.
const pruneBatch = 1000

// prune removes the hubs from the set that no longer have an activation or a log entry.
// Housekeeping does that only on the node where it runs.
func (l *Ledger) prune(ctx context.Context) error {
	for some := range slices.Chunk(l.hubs.All(), pruneBatch) {
		limited, cancel := l.db.Bounded(ctx)
		gone, err := sqldb.Numbers(l.db.Query(limited, `SELECT h.chf FROM (SELECT CAST(value->>0 AS BIGINT) AS chf FROM json_each(?)) AS h
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
