package passed

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// deleteBatch is how many rows one transaction deletes: few, since decisions wait for it.
const deleteBatch = 250

// Run makes a change in a transaction of housekeeping, and returns how many rows are gone.
type Run = func(change func(ctx context.Context, tx sqldb.Tx) (gone int, err error)) (gone int, err error)

// Housekeep deletes the notes of alerts that passed and were received before an instant, and
// merges the rows of the others. It returns how many rows of the table forwarded it has deleted.
// Only one caller at a time may call it.
func (n *Notes) Housekeep(ctx context.Context, before time.Time, run Run) (deleted int, err error) {
	if deleted, err = n.deleteForwarded(ctx, before, run); err != nil {
		return deleted, err
	}
	for gone := deleteBatch; gone == deleteBatch; {
		if gone, err = run(func(ctx context.Context, tx sqldb.Tx) (int, error) {
			gone, err := tx.Exec(ctx, `DELETE FROM passed WHERE id IN (SELECT id FROM passed WHERE minute < ?1 ORDER BY id LIMIT ?2)`, int64(minuteOf(before)), deleteBatch)
			return int(gone), err
		}); err != nil {
			return deleted, err
		}
	}
	at, done := int64(0), false
	for !done {
		if _, err := run(func(ctx context.Context, tx sqldb.Tx) (gone int, err error) {
			at, gone, done, err = merge(ctx, tx, at)
			return gone, err
		}); err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// deleteForwarded deletes old notes with ids of alerts whose hubs have neither requests nor
// entries: an earlier version wrote one for each alert that passed. It goes through them once
// in the life of a process.
func (n *Notes) deleteForwarded(ctx context.Context, before time.Time, run Run) (deleted int, err error) {
	for {
		var to int64
		if err := n.db.QueryRow(ctx, `SELECT coalesce(max(received_at), 0) FROM (SELECT received_at FROM forwarded
			WHERE received_at > ? AND received_at < ? ORDER BY received_at LIMIT ?) AS old`, n.cleared.Load(), sqldb.Micros(before), deleteBatch).Scan(&to); err != nil {
			return deleted, sqldb.Unavailable(err)
		}
		if to == 0 {
			return deleted, nil
		}
		gone, err := run(func(ctx context.Context, tx sqldb.Tx) (int, error) {
			gone, err := tx.Exec(ctx, `DELETE FROM forwarded WHERE received_at > ?1 AND received_at <= ?2 AND reason IN (?3, ?4)
				AND NOT EXISTS (SELECT 1 FROM activation a WHERE a.chf = forwarded.chf) AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.chf = forwarded.chf)`,
				n.cleared.Load(), to, string(outage.ReasonNoWindow), string(outage.ReasonSwitchedOff))
			return int(gone), err
		})
		if deleted += gone; err != nil {
			return deleted, err
		}
		n.cleared.Store(to)
	}
}
