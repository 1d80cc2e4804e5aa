package store

import (
	"context"
	"time"

	"quell/internal/outage"
)

// housekeepBatch is how many rows one transaction deletes: few, since
// decisions wait for it.
const housekeepBatch = 250

// Housekeeping says what Housekeep deleted.
type Housekeeping struct {
	Activations, Entries, Notes int
}

// Limits says what Housekeep may delete.
type Limits struct {
	// Requests that were received, and whose windows have been over, since before
	// this instant, and so were those of all earlier requests of the same meter:
	// what a request has closed must not open again.
	WindowsBefore time.Time
	// Log entries and notes of forwarded alerts received before this instant.
	LogBefore time.Time
	// The remotes in use: an entry is kept until each of them that is to have
	// it has confirmed it.
	Remotes []string
}

// Housekeep deletes what is old, but no entry that is not in a report. It works
// in small transactions behind whatever else waits, until nothing is left to do
// or ctx ends. The error may be ErrNotLeading.
func (s *Store) Housekeep(ctx context.Context, l Limits) (h Housekeeping, err error) {
	// It only grows while this runs, unless a report is asked to be sent again.
	out, err := reported(ctx, s.reader, l.Remotes)
	if err != nil {
		return h, wrapRead(err)
	}
	fromEarlier, corrections := 0, 0
	purge := func(count *int, query string, args ...any) error {
		for {
			var gone []outage.DeviceID
			n := 0
			err := s.doLeading(ctx, func(ctx context.Context) (err error) {
				gone, n, err = s.purge(ctx, query, args...)
				return err
			}, func() {
				for _, chf := range gone {
					s.index.remove(chf)
				}
			})
			if err != nil {
				return err // the transaction may still be under way
			}
			*count += n
			if n < housekeepBatch {
				return nil
			}
		}
	}
	for _, step := range []struct {
		count *int
		query string
		args  []any
	}{
		{&fromEarlier, `UPDATE activation SET keep_until = (SELECT max(k) FROM (
			SELECT max(b.ends_at) AS k FROM activation b WHERE b.esme = activation.esme
			UNION ALL SELECT max(b.received_at) FROM activation b WHERE b.esme = activation.esme) AS kept)
			WHERE id IN (SELECT id FROM activation WHERE keep_until = 0 LIMIT ?1) RETURNING chf`, []any{housekeepBatch}},
		{&h.Activations, `DELETE FROM activation WHERE id IN (SELECT id FROM activation
			WHERE keep_until > 0 AND keep_until < ?1 ORDER BY keep_until LIMIT ?2) RETURNING chf`, []any{micros(l.WindowsBefore), housekeepBatch}},
		// Entries are numbered about in order of receipt. Only the first are
		// looked at: a look through the whole log would hold up decisions.
		{&h.Entries, `DELETE FROM suppression WHERE received_at < ?1 AND seq IN (SELECT seq FROM suppression
			WHERE seq <= ?3 ORDER BY seq LIMIT ?2) RETURNING chf`, []any{micros(l.LogBefore), housekeepBatch, out}},
		{&corrections, `DELETE FROM correction WHERE id IN (SELECT id FROM correction c
			WHERE NOT EXISTS (SELECT 1 FROM suppression s WHERE s.seq = c.seq) LIMIT ?1) RETURNING 0`, []any{housekeepBatch}},
		{&h.Notes, `DELETE FROM forwarded WHERE (alert_id, chf, outage_start) IN (SELECT alert_id, chf, outage_start FROM forwarded
			WHERE received_at < ?1 ORDER BY received_at LIMIT ?2) RETURNING chf`, []any{micros(l.LogBefore), housekeepBatch}},
	} {
		if err := purge(step.count, step.query, step.args...); err != nil {
			return h, err
		}
	}
	return h, nil
}

// purge runs one delete, and says of which hubs nothing is left to ask for.
func (s *Store) purge(ctx context.Context, query string, args ...any) (gone []outage.DeviceID, n int, err error) {
	hubs, err := numbers(s.conn.QueryContext(ctx, query, args...))
	if err != nil {
		return nil, 0, err
	}
	if s.remote {
		return nil, len(hubs), nil // another node may record an activation of the hub; see prune
	}
	gone, err = s.nothingLeft(ctx, hubs)
	return gone, len(hubs), err
}

// nothingLeft says which of some hubs have neither an activation nor an entry.
func (s *Store) nothingLeft(ctx context.Context, hubs []int64) (gone []outage.DeviceID, err error) {
	for _, chf := range hubs {
		var left bool
		if err := s.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM activation WHERE chf = ?1) OR EXISTS (SELECT 1 FROM suppression WHERE chf = ?1)`,
			chf).Scan(&left); err != nil {
			return nil, err
		}
		if !left {
			gone = append(gone, outage.DeviceID(chf))
		}
	}
	return gone, nil
}
