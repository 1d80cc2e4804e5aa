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
	Activations, Entries, Notes, Untracked, Reports, Events int
}

// Limits says what Housekeep may delete.
type Limits struct {
	// Requests that were received, and whose windows have been over, since before
	// this instant, and so were those of all earlier requests of the same meter:
	// what a request has closed must not open again. And requests that were not
	// tracked, received before it.
	WindowsBefore time.Time
	// Log entries and notes of forwarded alerts received before this instant.
	LogBefore time.Time
	// The remotes in use: an entry is kept until each of them that is to have
	// it has confirmed it.
	Remotes []string
	// Reports that were cut before this instant and of which no entry is in the log,
	// and events before it, as far as no report that is kept tells of them.
	ReportsBefore time.Time
}

// Housekeep deletes what is old, but no entry that is not in a report, or whose
// correction is not. It works in small transactions behind what is urgent, until
// nothing is left to do or ctx ends. The error may be ErrNotLeading.
//
// The last activation stays as long as it has entries, and the last correction stays:
// SQLite would give their numbers out again, and what is known by such a number would
// be of another.
func (s *Store) Housekeep(ctx context.Context, l Limits) (h Housekeeping, err error) {
	fromEarlier, corrections := 0, 0
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
			WHERE keep_until > 0 AND keep_until < ?1 AND (id < (SELECT max(id) FROM activation)
				OR NOT EXISTS (SELECT 1 FROM suppression s WHERE s.esme = activation.esme AND s.activation_id = activation.id)) ORDER BY keep_until LIMIT ?2) RETURNING chf`,
			[]any{micros(l.WindowsBefore), housekeepBatch}},
		{&h.Notes, `DELETE FROM forwarded WHERE (alert_id, chf, outage_start) IN (SELECT alert_id, chf, outage_start FROM forwarded
			WHERE received_at < ?1 ORDER BY received_at LIMIT ?2) RETURNING chf`, []any{micros(l.LogBefore), housekeepBatch}},
		{&h.Untracked, `DELETE FROM untracked WHERE (esme, received_at, request_id, form) IN (SELECT esme, received_at, request_id, form FROM untracked
			WHERE received_at < ?1 ORDER BY received_at LIMIT ?2) RETURNING 0`, []any{micros(l.WindowsBefore), housekeepBatch}},
		// Those of entries that an earlier version deleted, and the last of then.
		{&corrections, `DELETE FROM correction WHERE id IN (SELECT id FROM correction
			WHERE seq < coalesce((SELECT min(seq) FROM suppression), (SELECT value + 1 FROM counter WHERE name = 'suppression'))
			AND id < (SELECT max(id) FROM correction) ORDER BY seq LIMIT ?1) RETURNING 0`, []any{housekeepBatch}},
	} {
		for n := housekeepBatch; n == housekeepBatch; *step.count += n {
			if n, err = s.purge(ctx, step.query, step.args...); err != nil {
				return h, err
			}
		}
	}
	if h.Entries, err = s.purgeEntries(ctx, l); err != nil {
		return h, err
	}
	h.Reports, h.Events, err = s.purgeReports(ctx, l)
	return h, err
}

// purgeReports deletes old reports, and old events. It keeps of each stream the files
// that one which is kept names as that before it, so that chains go on; and of events
// what the oldest report that is kept begins with.
func (s *Store) purgeReports(ctx context.Context, l Limits) (reports, events int, err error) {
	// From the first report that is not old on all are kept, and the one before it.
	var keep int64
	if err := s.reader.QueryRowContext(ctx, `SELECT coalesce(max(no), 0) FROM report WHERE no < (SELECT min(no) FROM (
			SELECT max(no) AS no FROM report
			UNION ALL SELECT min(no) FROM report WHERE cut_at >= ?1
			UNION ALL SELECT min(no) FROM report WHERE last_seq >= (SELECT min(seq) FROM suppression)
			UNION ALL SELECT min(report_no) FROM report_file WHERE sha256 = ''
			UNION ALL SELECT min(report_no) FROM delivery WHERE state <> 'confirmed' AND remote IN (SELECT value->>0 FROM json_each(?2))) AS young)`,
		micros(l.ReportsBefore), column(l.Remotes)).Scan(&keep); err != nil {
		return 0, 0, wrapRead(err)
	}
	for n := housekeepBatch; n == housekeepBatch; reports += n {
		if n, err = s.purgeSomeReports(ctx, keep); err != nil {
			return reports, 0, err
		}
	}
	for n := housekeepBatch; n == housekeepBatch; events += n {
		n, err = s.purge(ctx, `DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < ?1 AND id < (SELECT last_event FROM report WHERE no = ?2)
			AND EXISTS (SELECT 1 FROM event e WHERE e.what = event.what AND e.id > event.id AND e.id <= (SELECT last_event FROM report WHERE no = ?2))
			ORDER BY id LIMIT ?3) RETURNING 0`, micros(l.ReportsBefore), keep, housekeepBatch)
		if err != nil {
			return reports, events, err
		}
	}
	return reports, events, nil
}

// purgeSomeReports deletes reports with numbers below one, with their files and
// deliveries.
func (s *Store) purgeSomeReports(ctx context.Context, keep int64) (n int, err error) {
	old, err := numbers(s.reader.QueryContext(ctx, `SELECT no FROM report WHERE no < ?1 AND NOT EXISTS (SELECT 1 FROM report_file f WHERE f.report_no = report.no
		AND NOT EXISTS (SELECT 1 FROM report_file g WHERE g.stream = f.stream AND g.report_no > f.report_no AND g.report_no <= ?1)) ORDER BY no LIMIT ?2`, keep, housekeepBatch))
	if err != nil || len(old) == 0 {
		return 0, wrapRead(err)
	}
	err = s.do(ctx, leading, func(ctx context.Context) error {
		for _, of := range []string{"delivery WHERE report_no", "report_file WHERE report_no", "report WHERE no"} {
			if err := s.conn.later(ctx, `DELETE FROM `+of+` IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?))`, column(old)); err != nil {
				return err
			}
		}
		return nil
	})
	return len(old), err
}

// purgeEntries deletes old entries, and their corrections. It goes along them in the
// order in which they were received, and passes over those that are to be kept.
func (s *Store) purgeEntries(ctx context.Context, l Limits) (deleted int, err error) {
	// They only grow while this runs, unless a report is asked to be sent again.
	out, corrected, err := s.settledReports(ctx, l.Remotes)
	if err != nil {
		return 0, wrapRead(err)
	}
	from := [2]int64{-1 << 63, 0} // when it was received, and its number
	for n := housekeepBatch; n == housekeepBatch; {
		rows, err := s.reader.QueryContext(ctx, `SELECT received_at, seq FROM suppression
			WHERE received_at < ? AND (received_at, seq) > (?, ?) ORDER BY received_at, seq LIMIT ?`, micros(l.LogBefore), from[0], from[1], housekeepBatch)
		list, err := scan(rows, err, func(rows rowSet) (k [2]int64, err error) { return k, rows.Scan(&k[0], &k[1]) })
		if err != nil {
			return deleted, wrapRead(err)
		}
		n = len(list)
		var old []int64
		for _, k := range list {
			if from = k; k[1] <= out {
				old = append(old, k[1])
			}
		}
		if len(old) == 0 {
			continue
		}
		few, err := s.purge(ctx, `DELETE FROM suppression WHERE seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?1))
			AND NOT EXISTS (SELECT 1 FROM correction c WHERE c.seq = suppression.seq AND c.id > ?2) RETURNING chf`, column(old), corrected)
		if deleted += few; err != nil {
			return deleted, err
		}
		if _, err := s.purge(ctx, `DELETE FROM correction WHERE seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?1))
			AND id < (SELECT max(id) FROM correction) AND NOT EXISTS (SELECT 1 FROM suppression s WHERE s.seq = correction.seq) RETURNING 0`, column(old)); err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// settledReports says up to which entry, and up to which correction, all are in
// reports that are written, and confirmed by each of the remotes they were cut for.
func (s *Store) settledReports(ctx context.Context, remotes []string) (seq, correction int64, err error) {
	if seq, err = reported(ctx, s.reader, remotes); err != nil {
		return 0, 0, err
	}
	err = s.reader.QueryRowContext(ctx, `SELECT coalesce((SELECT last_correction FROM report WHERE no < coalesce((SELECT min(no) FROM (
			SELECT min(report_no) AS no FROM report_file WHERE sha256 = ''
			UNION ALL SELECT min(report_no) FROM delivery WHERE state <> 'confirmed' AND remote IN (SELECT value->>0 FROM json_each(?))) AS waiting),
		9223372036854775807) ORDER BY no DESC LIMIT 1), 0)`, column(remotes)).Scan(&correction)
	return seq, correction, err
}

// purge runs one delete as a transaction, and forgets the hubs of which nothing is
// left to ask for.
func (s *Store) purge(ctx context.Context, query string, args ...any) (n int, err error) {
	type purged struct {
		rows int
		gone []outage.DeviceID
	}
	p, err := write(ctx, s, leading, func(ctx context.Context) (p purged, err error) {
		hubs, err := numbers(s.conn.QueryContext(ctx, query, args...))
		if err != nil {
			return p, err
		}
		p.rows = len(hubs)
		if !s.remote { // else another node may record an activation of the hub; see prune
			p.gone, err = s.nothingLeft(ctx, hubs)
		}
		return p, err
	}, func(p purged) {
		for _, chf := range p.gone {
			s.index.remove(chf)
		}
	})
	return p.rows, err
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
