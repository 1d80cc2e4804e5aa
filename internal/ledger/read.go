package ledger

import (
	"context"
	"database/sql"
	"time"

	"quell/internal/outage"
	"quell/internal/passed"
	"quell/internal/sqldb"
)

const entryColumns = `seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at,
	request_id, mode, window_start, window_end, throttled_sequence, throttled_count, outcome, started_before, repeated`

// scanEntries scans into plain types, for which database/sql needs no reflection, since reports
// read millions of entries.
func scanEntries(rows sqldb.Rows, err error) ([]outage.Entry, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, e *outage.Entry) error {
		var chf, esme, outageStart, received, start, end int64
		var mode, outcome string
		var valid, before, repeated int64
		var sequence, count sql.NullInt64
		err := rows.Scan(&e.Seq, &e.AlertID, &e.AlertCode, &chf, &esme, &e.MPxN, &valid, &e.Distributor, &outageStart, &received,
			&e.RequestID, &mode, &start, &end, &sequence, &count, &outcome, &before, &repeated)
		e.CHF, e.ESME = outage.DeviceID(chf), outage.DeviceID(esme)
		e.OutageStart, e.Received = time.UnixMicro(outageStart).UTC(), sqldb.Instant(received)
		e.WindowStart, e.WindowEnd = sqldb.Instant(start), sqldb.Instant(end)
		e.Mode, e.Outcome = outage.Kind(mode), outage.Outcome(outcome)
		e.MPxNValid, e.StartedBefore, e.Repeated = valid != 0, before != 0, repeated != 0
		e.Throttled.SequenceID, e.Throttled.Count = optional(sequence), optional(count)
		return err
	})
}

// EntryColumns and ScanEntries are for other queries of entries.
const EntryColumns = entryColumns

func ScanEntries(rows sqldb.Rows, err error) ([]outage.Entry, error) { return scanEntries(rows, err) }

func optional(v sql.NullInt64) *uint32 {
	if !v.Valid {
		return nil
	}
	n := uint32(v.Int64)
	return &n
}

// Filter selects entries and notes that match any of its fields that are set. If no field that
// applies is set, it selects nothing.
type Filter struct {
	CHF, ESME outage.DeviceID
	MPxN      string
	RequestID outage.RequestID
	AlertID   string
	Entry     int64 // its number
}

// EntriesAfter returns up to limit entries of the suppression log with seq > after, in order.
func (l *Ledger) EntriesAfter(ctx context.Context, after int64, limit int) ([]outage.Entry, error) {
	list, err := scanEntries(l.db.Query(ctx, `SELECT `+entryColumns+` FROM suppression WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit))
	return list, sqldb.Unavailable(err)
}

// EntryOf returns an entry. The error is sqldb.ErrNoRows if there is none with that number.
func EntryOf(ctx context.Context, q sqldb.Querier, seq int64) (e outage.Entry, err error) {
	list, err := scanEntries(q.Query(ctx, `SELECT `+entryColumns+` FROM suppression WHERE seq = ?`, seq))
	if err == nil && len(list) == 0 {
		err = sqldb.ErrNoRows
	}
	if err == nil {
		e = list[0]
	}
	return e, err
}

// Entries returns up to limit entries of a hub, a meter, an MPxN, a request or an alert, or the one
// with a number, the latest first.
func (l *Ledger) Entries(ctx context.Context, f Filter, limit int) ([]outage.Entry, error) {
	query, args := entriesQuery(f, limit)
	list, err := scanEntries(l.db.Query(ctx, query, args...))
	return list, sqldb.Unavailable(err)
}

// entriesQuery has one part for each field of the filter, so that each part uses an index; the
// entries of a request are found by that of its meter. "seq + 0" keeps the database from reading
// the log from its end instead.
func entriesQuery(f Filter, limit int) (query string, args []any) {
	query = `SELECT ` + entryColumns + ` FROM suppression WHERE seq IN (SELECT 0 AS seq`
	add := func(set bool, cond string, values ...any) {
		if set {
			query += ` UNION ALL SELECT seq FROM (SELECT seq FROM suppression WHERE ` + cond + ` ORDER BY seq + 0 DESC LIMIT ?) AS found`
			args = append(append(args, values...), limit)
		}
	}
	add(f.CHF != 0, "chf = ?", int64(f.CHF))
	add(f.ESME != 0, "esme = ?", int64(f.ESME))
	add(f.MPxN != "", "mpxn = ?", f.MPxN)
	add(f.RequestID != (outage.RequestID{}), "esme = ? AND request_id = ?", int64(f.RequestID.Target), f.RequestID.String())
	add(f.AlertID != "", "alert_id = ?", f.AlertID)
	add(f.Entry != 0, "seq = ?", f.Entry)
	return query + `) ORDER BY seq DESC LIMIT ?`, append(args, limit)
}

// ForwardedAlerts returns up to limit notes of alerts that went forward, by hub or alert, the
// latest first.
func (l *Ledger) ForwardedAlerts(ctx context.Context, f Filter, limit int) ([]ForwardedNote, error) {
	list, err := passed.ForwardedAlerts(ctx, l.db, f.CHF, f.AlertID, limit)
	return list, sqldb.Unavailable(err)
}
