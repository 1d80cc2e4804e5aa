package ledger

import (
	"context"
	"slices"
	"time"

	"quell/internal/outage"
	"quell/internal/passed"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// housekeepBatch is how many rows one transaction deletes: few, since decisions wait for it.
const housekeepBatch = 250

// Deleted says how many rows of each kind Housekeep has deleted.
type Deleted struct {
	Activations, Entries, Notes, Untracked int
}

// Limits says what Housekeep may delete.
type Limits struct {
	// Requests that were received before this instant and whose windows were over by then, if
	// the same is true of all earlier requests of the meter: what a request has closed must not
	// open again. Also requests that were not tracked, received before this instant.
	WindowsBefore time.Time
	// Log entries and notes of forwarded alerts received before this instant.
	LogBefore time.Time
	// Notes of passed alerts received before this instant.
	NotesBefore time.Time
	// The last entry and the last correction up to which all are safe elsewhere.
	Entry, Correction int64
	// Check is called in each transaction before anything is deleted. Its error ends
	// housekeeping.
	Check func(ctx context.Context, tx sqldb.Tx) error
}

// Housekeep deletes what is old, except entries and corrections that are not safe elsewhere. It
// works in small transactions, after what is urgent, until nothing is left to do or ctx ends.
//
// The last activation is kept as long as it has entries, and the last correction is kept always.
// SQLite would give their numbers to others, and references would then point to those.
func (l *Ledger) Housekeep(ctx context.Context, m Limits) (h Deleted, err error) {
	fromEarlier, corrections := 0, 0
	for _, step := range []struct {
		count *int
		do    step
	}{
		{&fromEarlier, func(ctx context.Context, tx sqldb.Tx) (int, []int64, error) {
			n, err := windows.SetKeepUntil(ctx, tx, housekeepBatch)
			return n, nil, err
		}},
		{&h.Activations, func(ctx context.Context, tx sqldb.Tx) (int, []int64, error) {
			hubs, err := windows.Delete(ctx, tx, m.WindowsBefore, housekeepBatch)
			return len(hubs), hubs, err
		}},
		{&h.Untracked, func(ctx context.Context, tx sqldb.Tx) (int, []int64, error) {
			n, err := windows.DeleteUntracked(ctx, tx, m.WindowsBefore, housekeepBatch)
			return n, nil, err
		}},
		{&h.Notes, rowsOnly(func(ctx context.Context, tx sqldb.Tx) (int, error) {
			return passed.DeleteForwarded(ctx, tx, m.LogBefore, housekeepBatch)
		})},
		// Corrections of entries that an earlier version deleted, and a last one that was kept.
		{&corrections, statement(`DELETE FROM correction WHERE id IN (SELECT id FROM correction
			WHERE seq < coalesce((SELECT min(seq) FROM suppression), (SELECT value + 1 FROM counter WHERE name = 'suppression'))
			AND id < (SELECT max(id) FROM correction) ORDER BY seq LIMIT ?1)`, housekeepBatch)},
	} {
		for n := housekeepBatch; n == housekeepBatch; *step.count += n {
			if n, err = l.purge(ctx, m, step.do); err != nil {
				return h, err
			}
		}
	}
	gone, err := l.Passed.Housekeep(ctx, m.NotesBefore, func(change func(ctx context.Context, tx sqldb.Tx) (int, error)) (int, error) {
		return l.purge(ctx, m, rowsOnly(change))
	})
	if h.Notes += gone; err != nil {
		return h, err
	}
	h.Entries, err = l.purgeEntries(ctx, m)
	return h, err
}

// A step is one transaction of housekeeping. It returns how many rows it deleted, and hubs that
// may have nothing left.
type step func(ctx context.Context, tx sqldb.Tx) (n int, hubs []int64, err error)

// statement returns a step that deletes neither requests nor entries.
func statement(query string, args ...any) step {
	return rowsOnly(func(ctx context.Context, tx sqldb.Tx) (int, error) {
		n, err := tx.Exec(ctx, query, args...)
		return int(n), err
	})
}

// rowsOnly returns a step for a change of other rows than requests and entries.
func rowsOnly(change func(ctx context.Context, tx sqldb.Tx) (int, error)) step {
	return func(ctx context.Context, tx sqldb.Tx) (int, []int64, error) {
		n, err := change(ctx, tx)
		return n, nil, err
	}
}

// purgeEntries deletes old entries, and their corrections. It goes through the entries in the
// order in which they were received, and skips those that must be kept.
func (l *Ledger) purgeEntries(ctx context.Context, m Limits) (deleted int, err error) {
	from := [2]int64{-1 << 63, 0} // when the last entry was received, and its number
	for n := housekeepBatch; n == housekeepBatch; {
		rows, err := l.db.Query(ctx, `SELECT received_at, seq FROM suppression
			WHERE received_at < ? AND (received_at, seq) > (?, ?) ORDER BY received_at, seq LIMIT ?`, sqldb.Micros(m.LogBefore), from[0], from[1], housekeepBatch)
		list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, k *[2]int64) error { return rows.Scan(&k[0], &k[1]) })
		if err != nil {
			return deleted, sqldb.Unavailable(err)
		}
		n = len(list)
		var old []int64
		for _, k := range list {
			if from = k; k[1] <= m.Entry {
				old = append(old, k[1])
			}
		}
		if len(old) == 0 {
			continue
		}
		purged, err := l.purge(ctx, m, func(ctx context.Context, tx sqldb.Tx) (int, []int64, error) {
			hubs, err := sqldb.Numbers(tx.Query(ctx, `DELETE FROM suppression WHERE seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?1))
				AND NOT EXISTS (SELECT 1 FROM correction c WHERE c.seq = suppression.seq AND c.id > ?2) RETURNING chf`, sqldb.Column(old), m.Correction))
			return len(hubs), hubs, err
		})
		if deleted += purged; err != nil {
			return deleted, err
		}
		if _, err := l.purge(ctx, m, statement(`DELETE FROM correction WHERE seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?1))
			AND id < (SELECT max(id) FROM correction) AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.seq = correction.seq)`, sqldb.Column(old))); err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// purge runs one step, and forgets the hubs that have nothing left.
func (l *Ledger) purge(ctx context.Context, m Limits, do step) (n int, err error) {
	type purged struct {
		rows int
		gone []outage.DeviceID
	}
	p, err := sqldb.Write(ctx, l.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (p purged, err error) {
		if err := m.Check(ctx, tx); err != nil {
			return p, err
		}
		var hubs []int64
		if p.rows, hubs, err = do(ctx, tx); err == nil {
			p.gone, err = l.nothingLeft(ctx, tx, hubs)
		}
		return p, err
	}, func(p purged) { l.removeHubs(p.gone) })
	return p.rows, err
}

func (l *Ledger) removeHubs(list []outage.DeviceID) {
	for _, chf := range list {
		l.hubs.Remove(chf)
	}
}

// nothingLeft returns those of some hubs that have neither an activation nor an entry. It returns
// none if other nodes may record activations: see Prune.
func (l *Ledger) nothingLeft(ctx context.Context, tx sqldb.Tx, hubs []int64) (gone []outage.DeviceID, err error) {
	if l.db.Remote() || len(hubs) == 0 {
		return nil, nil
	}
	known, err := windows.Known(ctx, tx, hubs)
	for _, chf := range hubs {
		if !slices.Contains(known, chf) {
			gone = append(gone, outage.DeviceID(chf))
		}
	}
	return gone, err
}
