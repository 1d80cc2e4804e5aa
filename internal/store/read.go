package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"quell/internal/outage"
)

const activationColumns = `id, request_id, form, kind, execute_at, esme, chf, received_at, starts_at, ends_at, state, standing, superseded_by, why`

// scan reads all rows of a query by one function, and closes them.
func scan[T any](rows rowSet, err error, one func(rowSet) (T, error)) (list []T, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		v, err := one(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

func numbers(rows rowSet, err error) ([]int64, error) {
	return scan(rows, err, func(rows rowSet) (v int64, err error) { return v, rows.Scan(&v) })
}

func texts(rows rowSet, err error) ([]string, error) {
	return scan(rows, err, func(rows rowSet) (v string, err error) { return v, rows.Scan(&v) })
}

func scanActivations(rows rowSet, err error) ([]outage.Activation, error) {
	return scan(rows, err, func(rows rowSet) (a outage.Activation, err error) {
		var id string
		var at, esme, chf, received, start, end, standing int64
		if err := rows.Scan(&a.ID, &id, &a.Form, &a.Order.Kind, &at, &esme, &chf, &received, &start, &end, &a.State, &standing, &a.SupersededBy, &a.Why); err != nil {
			return a, err
		}
		a.RequestID, err = outage.ParseRequestID(id)
		a.Order.At, a.ESME, a.CHF = instant(at), outage.DeviceID(esme), outage.DeviceID(chf)
		a.Received, a.Start, a.End, a.Standing = instant(received), instant(start), instant(end), standing != 0
		return a, err
	})
}

const entryColumns = `seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at,
	request_id, mode, window_start, window_end, throttled_sequence, throttled_count, outcome, started_before, repeated`

// scanEntries scans into plain types, for which database/sql needs no reflection:
// reports read entries by the million.
func scanEntries(rows rowSet, err error) ([]outage.Entry, error) {
	return scan(rows, err, func(rows rowSet) (e outage.Entry, err error) {
		var chf, esme, outageStart, received, start, end int64
		var mode, outcome string
		var valid, before, repeated int64
		var sequence, count sql.NullInt64
		err = rows.Scan(&e.Seq, &e.AlertID, &e.AlertCode, &chf, &esme, &e.MPxN, &valid, &e.Distributor, &outageStart, &received,
			&e.RequestID, &mode, &start, &end, &sequence, &count, &outcome, &before, &repeated)
		e.CHF, e.ESME = outage.DeviceID(chf), outage.DeviceID(esme)
		e.OutageStart, e.Received = time.UnixMicro(outageStart).UTC(), instant(received)
		e.WindowStart, e.WindowEnd = instant(start), instant(end)
		e.Mode, e.Outcome = outage.Kind(mode), outage.Outcome(outcome)
		e.MPxNValid, e.StartedBefore, e.Repeated = valid != 0, before != 0, repeated != 0
		e.Throttled.SequenceID, e.Throttled.Count = optional(sequence), optional(count)
		return e, err
	})
}

func optional(v sql.NullInt64) *uint32 {
	if !v.Valid {
		return nil
	}
	n := uint32(v.Int64)
	return &n
}

const forwardedColumns = `alert_id, chf, outage_start, received_at, reason`

func scanForwarded(rows rowSet, err error) ([]Forwarded, error) {
	return scan(rows, err, func(rows rowSet) (f Forwarded, err error) {
		var chf, start, received int64
		err = rows.Scan(&f.AlertID, &chf, &start, &received, &f.Reason)
		f.CHF, f.Received = outage.DeviceID(chf), instant(received)
		if start != noStart {
			f.OutageStart = time.UnixMicro(start).UTC()
		}
		return f, err
	})
}

// Find says which records are looked for. They match any of its fields that
// are set; where none is set, or none applies, nothing is found.
type Find struct {
	CHF, ESME outage.DeviceID
	MPxN      string
	RequestID outage.RequestID
	AlertID   string
}

// where makes the condition of a query: of the given columns, those whose
// value is set.
func where(pairs ...any) (cond string, args []any) {
	cond = "FALSE"
	for i := 0; i < len(pairs); i += 2 {
		if v := pairs[i+1]; v != "" && v != int64(0) {
			cond += " OR " + pairs[i].(string) + " = ?"
			args = append(args, v)
		}
	}
	return "(" + cond + ")", args
}

// Activations returns up to limit activations of a hub, a meter or a request,
// the latest first.
func (s *Store) Activations(ctx context.Context, f Find, limit int) ([]outage.Activation, error) {
	cond, args := where("chf", int64(f.CHF), "esme", int64(f.ESME), "request_id", f.RequestID.String())
	list, err := scanActivations(s.reader.QueryContext(ctx, `SELECT `+activationColumns+` FROM activation WHERE `+cond+`
		ORDER BY received_at DESC, id DESC LIMIT ?`, append(args, limit)...))
	return list, wrapRead(err)
}

// EntriesAfter returns up to limit entries of the suppression log with a
// sequence number greater than after, in order.
func (s *Store) EntriesAfter(ctx context.Context, after int64, limit int) ([]outage.Entry, error) {
	list, err := scanEntries(s.reader.QueryContext(ctx, `SELECT `+entryColumns+` FROM suppression WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit))
	return list, wrapRead(err)
}

// Entries returns up to limit entries of a hub, a meter, an MPxN, a request or
// an alert, the latest first.
func (s *Store) Entries(ctx context.Context, f Find, limit int) ([]outage.Entry, error) {
	query, args := entriesQuery(f, limit)
	list, err := scanEntries(s.reader.QueryContext(ctx, query, args...))
	return list, wrapRead(err)
}

// entriesQuery finds the entries by an index each, those of a request by its meter's.
// That they are not in order of the bare number keeps the database from going
// through the log from its end.
func entriesQuery(f Find, limit int) (query string, args []any) {
	query = `SELECT ` + entryColumns + ` FROM suppression WHERE seq IN (SELECT 0 AS seq`
	one := func(set bool, cond string, values ...any) {
		if set {
			query += ` UNION ALL SELECT seq FROM (SELECT seq FROM suppression WHERE ` + cond + ` ORDER BY seq + 0 DESC LIMIT ?) AS found`
			args = append(append(args, values...), limit)
		}
	}
	one(f.CHF != 0, "chf = ?", int64(f.CHF))
	one(f.ESME != 0, "esme = ?", int64(f.ESME))
	one(f.MPxN != "", "mpxn = ?", f.MPxN)
	one(f.RequestID != (outage.RequestID{}), "esme = ? AND request_id = ?", int64(f.RequestID.Target), f.RequestID.String())
	one(f.AlertID != "", "alert_id = ?", f.AlertID)
	return query + `) ORDER BY seq DESC LIMIT ?`, append(args, limit)
}

// ForwardedAlerts returns up to limit alerts that went forward, by hub or
// alert, the latest first.
func (s *Store) ForwardedAlerts(ctx context.Context, f Find, limit int) ([]Forwarded, error) {
	cond, args := where("chf", int64(f.CHF), "alert_id", f.AlertID)
	list, err := scanForwarded(s.reader.QueryContext(ctx, `SELECT `+forwardedColumns+` FROM forwarded WHERE `+cond+`
		ORDER BY received_at DESC LIMIT ?`, append(args, limit)...))
	return list, wrapRead(err)
}

const deviceColumns = `d.device_id, d.device_type, d.smets_version, d.manufacturer, d.model, d.chf, d.mpxn`

// newest restricts inventory rows d to those in force: of the imports that
// were completed, the last that names the device.
const newest = `d.import_no = (SELECT max(o.import_no) FROM inventory o JOIN import i ON i.no = o.import_no AND i.state = 'done' WHERE o.device_id = d.device_id)`

// listInForce is the number of the device list in force.
const listInForce = `(SELECT max(no) FROM import WHERE kind = 'devices' AND state = 'done')`

func scanDevices(rows rowSet, err error) ([]outage.Device, error) {
	return scan(rows, err, func(rows rowSet) (d outage.Device, err error) {
		var id, chf int64
		err = rows.Scan(&id, &d.Type, &d.SMETSVersion, &d.Manufacturer, &d.Model, &chf, &d.MPxN)
		d.ID, d.CHF = outage.DeviceID(id), outage.DeviceID(chf)
		return d, err
	})
}

// Device returns what the inventory says of a device, nil if it does not know
// it, and whether the device stands in the device list in force. The error is
// ErrUnavailable.
func (s *Store) Device(ctx context.Context, id outage.DeviceID) (d *outage.Device, listed bool, err error) {
	d, listed, err = device(ctx, s.reader, id)
	return d, listed, wrapRead(err)
}

func device(ctx context.Context, q querier, id outage.DeviceID) (d *outage.Device, listed bool, err error) {
	list, err := scanDevices(q.QueryContext(ctx, `SELECT `+deviceColumns+` FROM inventory d WHERE d.device_id = ? AND `+newest, int64(id)))
	if err != nil {
		return nil, false, err
	}
	if len(list) > 0 {
		d = &list[0]
	}
	var one int
	err = q.QueryRowContext(ctx, `SELECT 1 FROM device_list WHERE import_no = `+listInForce+` AND device_id = ?`, int64(id)).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return d, false, nil
	}
	return d, err == nil, err
}

// DevicesAt returns up to limit devices of the inventory at an MPxN.
func (s *Store) DevicesAt(ctx context.Context, mpxn string, limit int) ([]outage.Device, error) {
	list, err := scanDevices(s.reader.QueryContext(ctx, `SELECT `+deviceColumns+` FROM inventory d
		JOIN supply_point p ON p.device_id = d.device_id AND p.import_no = d.import_no
		WHERE p.mpxn = ? AND p.mpxn <> '' AND `+newest+` ORDER BY d.device_id LIMIT ?`, mpxn, limit))
	return list, wrapRead(err)
}
