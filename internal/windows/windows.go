// Package windows keeps the requests (11.3) to meters, and works out which windows of a meter
// are in force.
//
// A window is in force if its request may open one, and no later request has taken its place.
// Package outage has the rules, as a function of all requests of a meter in order of arrival.
// Whether a window is in force depends only on the requests that came after its own. So a new
// request does not need all of them read again: see resolve.go.
//
// In doubt an alert is forwarded. So opening a window needs every condition, and closing one
// needs none. A request that may not open a window, for whatever reason, is recorded as a
// closing, if its meter has a window to close. A request is kept as long as every earlier one
// of its meter (keep_until), so that deleting it opens no window again.
//
// The database has one row for each attempt to send a request. A message that is repeated has
// one row, unless it was withdrawn or failed before it was sent again.
package windows

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Windows are the requests and windows of a database. Only the writer may call methods that
// take a transaction; any goroutine may call the others.
type Windows struct {
	db    *sqldb.DB
	hubOf func(meter string) string
	count windowCount
}

// New returns the windows of a database. hubOf returns SQL for the hub of a meter, which is
// given as SQL; it must be NULL if the hub is not known.
func New(db *sqldb.DB, hubOf func(meter string) string) *Windows {
	return &Windows{db: db, hubOf: hubOf}
}

const activationColumns = `id, request_id, form, kind, execute_at, esme, chf, received_at, starts_at, ends_at, state, standing, superseded_by, why`

func scanActivations(rows sqldb.Rows, err error) ([]outage.Activation, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, a *outage.Activation) error {
		var err error
		var id string
		var at, esme, chf, received, start, end, standing int64
		if err := rows.Scan(&a.ID, &id, &a.Form, &a.Order.Kind, &at, &esme, &chf, &received, &start, &end, &a.State, &standing, &a.SupersededBy, &a.Why); err != nil {
			return err
		}
		a.RequestID, err = outage.ParseRequestID(id)
		a.Order.At, a.ESME, a.CHF = sqldb.Instant(at), outage.DeviceID(esme), outage.DeviceID(chf)
		a.Received, a.Start, a.End, a.Standing = sqldb.Instant(received), sqldb.Instant(start), sqldb.Instant(end), standing != 0
		return err
	})
}

// ActivationColumns and ScanActivations are for other queries of activations.
const ActivationColumns = activationColumns

func ScanActivations(rows sqldb.Rows, err error) ([]outage.Activation, error) {
	return scanActivations(rows, err)
}

// Filter selects requests that match any of its fields that are set. If no field is set, it
// selects nothing.
type Filter struct {
	CHF, ESME outage.DeviceID
	RequestID outage.RequestID
}

// where returns the condition for a query.
func (f *Filter) where() (cond string, args []any) {
	cond = "FALSE"
	or := func(set bool, text string, arg any) {
		if set {
			cond += " OR " + text
			args = append(args, arg)
		}
	}
	or(f.CHF != 0, "chf = ?", int64(f.CHF))
	or(f.ESME != 0, "esme = ?", int64(f.ESME))
	or(f.RequestID != outage.RequestID{}, "request_id = ?", f.RequestID.String())
	return "(" + cond + ")", args
}

// Activations returns up to limit activations of a hub, a meter or a request, the latest
// first.
func (w *Windows) Activations(ctx context.Context, f Filter, limit int) ([]outage.Activation, error) {
	cond, args := f.where()
	list, err := scanActivations(w.db.Query(ctx, `SELECT `+activationColumns+` FROM activation WHERE `+cond+`
		ORDER BY received_at DESC, id DESC LIMIT ?`, append(args, limit)...))
	return list, sqldb.Unavailable(err)
}

// reasonSQL finds the activations of some hubs that explain why alerts are not suppressed:
// the latest 50 requests, and the 50 windows in force that end last.
const reasonSQL = `SELECT ` + activationColumns + ` FROM activation WHERE id IN (
	SELECT a.id FROM (SELECT CAST(value->>0 AS BIGINT) AS chf FROM json_each(?)) AS h JOIN activation a ON a.id IN (
		SELECT id FROM (SELECT id FROM activation l WHERE l.chf = h.chf ORDER BY l.received_at DESC LIMIT 50) AS latest
		UNION SELECT id FROM (SELECT id FROM activation e WHERE e.chf = h.chf AND e.standing = 1 ORDER BY e.ends_at DESC LIMIT 50) AS last))`

// KnownSQL finds those of some hubs that have an activation or a log entry. PostgreSQL may answer
// EXISTS with a hash of the whole table; a value it looks up.
const KnownSQL = `SELECT h.chf FROM (SELECT DISTINCT CAST(value->>0 AS BIGINT) AS chf FROM json_each(?)) AS h
	WHERE coalesce((SELECT 1 FROM activation a WHERE a.chf = h.chf LIMIT 1), (SELECT 1 FROM suppression s WHERE s.chf = h.chf LIMIT 1), 0) = 1`

// Known returns those of some hubs that have an activation or a log entry.
func Known(ctx context.Context, q sqldb.Querier, hubs []int64) ([]int64, error) {
	return sqldb.Numbers(q.Query(ctx, KnownSQL, sqldb.Column(hubs)))
}

// OfHubs returns the activations of some hubs that explain why alerts are not suppressed, by
// hub.
func OfHubs(ctx context.Context, q sqldb.Querier, hubs []int64) (map[outage.DeviceID][]outage.Activation, error) {
	list, err := scanActivations(q.Query(ctx, reasonSQL, sqldb.Column(hubs)))
	of := map[outage.DeviceID][]outage.Activation{}
	for _, a := range list {
		of[a.CHF] = append(of[a.CHF], a)
	}
	return of, err
}

// SetKeepUntil sets how long requests are kept that an earlier version of quell recorded
// without that, for up to limit requests. It returns how many.
func SetKeepUntil(ctx context.Context, tx sqldb.Tx, limit int) (int, error) {
	n, err := tx.Exec(ctx, `UPDATE activation SET keep_until = (SELECT max(k) FROM (
		SELECT max(b.ends_at) AS k FROM activation b WHERE b.esme = activation.esme
		UNION ALL SELECT max(b.received_at) FROM activation b WHERE b.esme = activation.esme) AS kept)
		WHERE id IN (SELECT id FROM activation WHERE keep_until = 0 LIMIT ?1)`, limit)
	return int(n), err
}

// Delete deletes up to limit requests that were received before an instant and whose windows
// were over by then, if the same is true of all earlier requests of the meter. It returns
// their hubs.
//
// The last request is kept as long as it has log entries. SQLite would give its number to
// another request, and the entries would then point to that one.
func Delete(ctx context.Context, tx sqldb.Tx, before time.Time, limit int) (hubs []int64, err error) {
	return sqldb.Numbers(tx.Query(ctx, `DELETE FROM activation WHERE id IN (SELECT id FROM activation
		WHERE keep_until > 0 AND keep_until < ?1 AND (id < (SELECT max(id) FROM activation)
			OR NOT EXISTS (SELECT 1 FROM suppression s WHERE s.esme = activation.esme AND s.activation_id = activation.id)) ORDER BY keep_until LIMIT ?2) RETURNING chf`,
		sqldb.Micros(before), limit))
}
