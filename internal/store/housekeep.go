package store

import (
	"context"
	"database/sql"
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

// Housekeep deletes activations whose windows have been over since before
// windowsBefore (cancellations by their receipt), and log entries and notes of
// forwarded alerts received before logBefore. It works in small transactions
// behind whatever else waits, until nothing is left to do or ctx ends.
func (s *Store) Housekeep(ctx context.Context, windowsBefore, logBefore time.Time) (h Housekeeping, err error) {
	purge := func(count *int, query string, before time.Time) error {
		for {
			var gone []outage.DeviceID
			n := 0
			err := s.doLater(ctx, func(ctx context.Context) (err error) {
				gone, n, err = s.purge(ctx, query, before)
				return err
			}, func() {
				for _, chf := range gone {
					s.index.remove(chf)
				}
			})
			*count += n
			if err != nil || n < housekeepBatch {
				return err
			}
		}
	}
	for _, step := range []struct {
		count  *int
		query  string
		before time.Time
	}{
		{&h.Activations, `DELETE FROM activation WHERE id IN (SELECT id FROM activation
			WHERE ends_at < ?1 AND received_at < ?1 ORDER BY ends_at LIMIT ?2) RETURNING chf`, windowsBefore},
		// Entries are numbered about in order of receipt. Only the first are
		// looked at: a look through the whole log would hold up decisions.
		{&h.Entries, `DELETE FROM suppression WHERE received_at < ?1 AND seq IN (SELECT seq FROM suppression
			ORDER BY seq LIMIT ?2) RETURNING chf`, logBefore},
		{&h.Notes, `DELETE FROM forwarded WHERE alert_id IN (SELECT alert_id FROM forwarded
			WHERE received_at < ?1 ORDER BY received_at LIMIT ?2) RETURNING chf`, logBefore},
	} {
		if err := purge(step.count, step.query, step.before); err != nil {
			return h, err
		}
	}
	return h, nil
}

// purge runs one delete, and says of which hubs nothing is left to ask for.
func (s *Store) purge(ctx context.Context, query string, before time.Time) (gone []outage.DeviceID, n int, err error) {
	rows, err := s.conn.QueryContext(ctx, query, micros(before), housekeepBatch)
	hubs, err := scan(rows, err, func(rows *sql.Rows) (chf int64, err error) { return chf, rows.Scan(&chf) })
	if err != nil {
		return nil, 0, err
	}
	for _, chf := range hubs {
		var left bool
		if err := s.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM activation WHERE chf = ?1) OR EXISTS (SELECT 1 FROM suppression WHERE chf = ?1)`,
			chf).Scan(&left); err != nil {
			return nil, 0, err
		}
		if !left {
			gone = append(gone, outage.DeviceID(chf))
		}
	}
	return gone, len(hubs), nil
}
