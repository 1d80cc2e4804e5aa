// Package windows keeps the requests (11.3) that meters were sent, and works out which windows
// of a meter are in force.
//
// A window is in force if its request may open one, and no later request has taken its place.
// Package outage has the rules, as a function of all requests of a meter in order of arrival.
// Whether a window is in force depends only on the requests that came after its own. So not all
// have to be followed again for each: see resolve.go.
//
// In doubt an alert is forwarded. So opening a window needs every condition, and closing one
// needs none: a request that may not open a window, for whatever reason, is recorded as a
// closing, if there is one of its meter to close. A request is kept as long as any earlier one
// of its meter (keep_until), so that deleting it opens nothing again.
//
// The database has one row for each attempt to send a request. The same message is one row,
// unless it was withdrawn or failed and was sent again.
package windows

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Windows are the requests and windows of a database. Methods that take a transaction are
// called by the writer; the others from any goroutine.
type Windows struct {
	db    *sqldb.DB
	hubOf func(meter string) string
	count windowCount
}

// New knows the windows of a database. hubOf makes SQL for the hub of a meter, which is given
// as SQL; it is NULL if the hub is not known.
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

// Filter says which requests are looked for. They match any of its fields that are set; where
// none is set, nothing is found.
type Filter struct {
	CHF, ESME outage.DeviceID
	RequestID outage.RequestID
}

// where is the condition of a query.
func (f *Filter) where() (cond string, args []any) {
	cond = "FALSE"
	one := func(set bool, text string, arg any) {
		if set {
			cond += " OR " + text
			args = append(args, arg)
		}
	}
	one(f.CHF != 0, "chf = ?", int64(f.CHF))
	one(f.ESME != 0, "esme = ?", int64(f.ESME))
	one(f.RequestID != outage.RequestID{}, "request_id = ?", f.RequestID.String())
	return "(" + cond + ")", args
}

// Activations returns up to limit activations of a hub, a meter or a request,
// the latest first.
func (w *Windows) Activations(ctx context.Context, f Filter, limit int) ([]outage.Activation, error) {
	cond, args := f.where()
	list, err := scanActivations(w.db.Query(ctx, `SELECT `+activationColumns+` FROM activation WHERE `+cond+`
		ORDER BY received_at DESC, id DESC LIMIT ?`, append(args, limit)...))
	return list, sqldb.Unavailable(err)
}

// reasonSQL finds what says why the alerts of some hubs are not suppressed: the
// latest requests, and those whose windows are the last.
const reasonSQL = `SELECT ` + activationColumns + ` FROM activation WHERE id IN (
	SELECT a.id FROM (SELECT CAST(value->>0 AS BIGINT) AS chf FROM json_each(?)) AS h JOIN activation a ON a.id IN (
		SELECT id FROM (SELECT id FROM activation l WHERE l.chf = h.chf ORDER BY l.received_at DESC LIMIT 50) AS latest
		UNION SELECT id FROM (SELECT id FROM activation e WHERE e.chf = h.chf AND e.standing = 1 ORDER BY e.ends_at DESC LIMIT 50) AS last))`

// OfHubs returns what says why alerts of some hubs are not suppressed, by hub.
func OfHubs(ctx context.Context, q sqldb.Querier, hubs []int64) (map[outage.DeviceID][]outage.Activation, error) {
	list, err := scanActivations(q.Query(ctx, reasonSQL, sqldb.Column(hubs)))
	of := map[outage.DeviceID][]outage.Activation{}
	for _, a := range list {
		of[a.CHF] = append(of[a.CHF], a)
	}
	return of, err
}

// SetKeepUntil says of up to limit requests that an earlier version recorded how long they are
// kept. It returns how many.
func SetKeepUntil(ctx context.Context, tx sqldb.Tx, limit int) (int, error) {
	n, err := tx.Exec(ctx, `UPDATE activation SET keep_until = (SELECT max(k) FROM (
		SELECT max(b.ends_at) AS k FROM activation b WHERE b.esme = activation.esme
		UNION ALL SELECT max(b.received_at) FROM activation b WHERE b.esme = activation.esme) AS kept)
		WHERE id IN (SELECT id FROM activation WHERE keep_until = 0 LIMIT ?1)`, limit)
	return int(n), err
}

// Delete deletes up to limit requests that were received, and whose windows have been over,
// since before an instant, and so were those of all earlier requests of the same meter. It
// returns their hubs.
//
// The last request stays as long as it has log entries: SQLite would give its number out
// again, and what is known by such a number would be of another.
func Delete(ctx context.Context, tx sqldb.Tx, before time.Time, limit int) (hubs []int64, err error) {
	return sqldb.Numbers(tx.Query(ctx, `DELETE FROM activation WHERE id IN (SELECT id FROM activation
		WHERE keep_until > 0 AND keep_until < ?1 AND (id < (SELECT max(id) FROM activation)
			OR NOT EXISTS (SELECT 1 FROM suppression s WHERE s.esme = activation.esme AND s.activation_id = activation.id)) ORDER BY keep_until LIMIT ?2) RETURNING chf`,
		sqldb.Micros(before), limit))
}
