package windows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Which selects windows. Exactly one of its fields is set.
type Which struct {
	Device   outage.DeviceID // a hub or a meter
	Request  outage.RequestID
	Supplier outage.DeviceID // that sent the requests
	All      bool
}

// String returns the text for events and reports.
func (w Which) String() string {
	switch {
	case w.Device != 0:
		return w.Device.String()
	case w.Request != outage.RequestID{}:
		return w.Request.String()
	case w.Supplier != 0:
		return "supplier " + w.Supplier.String()
	case w.All:
		return "all"
	}
	return ""
}

// where returns the condition for a query, and its parameter ?3. It selects few activations by
// their ids, so that no database reads all of them instead.
func (w Which) where() (cond string, arg any) {
	switch {
	case w.Device != 0:
		return `id IN (SELECT id FROM activation WHERE chf = ?3 UNION SELECT id FROM activation WHERE esme = ?3)`, int64(w.Device)
	case w.Request != outage.RequestID{}:
		return `id IN (SELECT id FROM activation WHERE request_id = ?3)`, w.Request.String()
	case w.Supplier != 0: // not a range of texts, since their order depends on the database
		return `substr(request_id, 1, 24) = ?3`, w.Supplier.String() + ":"
	}
	return `CAST(?3 AS BIGINT) = 1`, sqldb.Bool(w.All)
}

// windowsSQL finds the windows of all by the index of their ends. "standing + 0" keeps the
// database from the index of standing windows, which begins with the hub.
const windowsSQL = `SELECT ` + activationColumns + ` FROM activation WHERE standing + 0 = 1 AND ends_at > ?1 AND `

// InForce returns up to limit windows that are open at the instant now, or pending, in order
// of their starts. If there are more, it returns those that end first; these also start first,
// unless the length of windows was changed.
func (w *Windows) InForce(ctx context.Context, which Which, now time.Time, limit int) ([]outage.Activation, error) {
	cond, arg := which.where()
	list, err := scanActivations(w.db.Query(ctx, windowsSQL+cond+` ORDER BY ends_at, starts_at LIMIT ?2`, sqldb.Micros(now), limit, arg))
	slices.SortStableFunc(list, func(a, b outage.Activation) int { return a.Start.Compare(b.Start) })
	return list, sqldb.Unavailable(err)
}

// ErrNoWindows says that there is no window to close.
var ErrNoWindows = errors.New("no window is open or pending")

// closeBatchSize is how many windows are closed in one transaction.
const closeBatchSize = 1000

// canOpen is the condition that an activation has a window that is not over at the instant ?1,
// or may still get one: it was superseded by a request that may be refused; or it is uncertain,
// and may be accepted.
const canOpen = `ends_at > ?1 AND state IN ('unanswered', 'accepted', 'uncertain')`

// refused is the condition that an attempt was refused. If the same message was sent again before
// that, and is still on its way, it may yet be accepted.
const refused = `ends_at > ?1 AND state = 'withdrawn'`

// closedBy begins the reason of what was closed by hand. RecordAnswer finds it.
const closedBy = "by "

const (
	closableSQL  = `SELECT id FROM activation WHERE (` + canOpen + ` OR ` + refused + `) AND `
	closablePage = ` AND id > ?4 AND id <= ?5 ORDER BY id LIMIT ?2`
)

// Close closes by hand the windows that are not over at the instant at. It returns how many,
// and up to keep of them as they were before. A closed window stays closed: neither the next
// hop's answer to its request nor a retry of the request opens it. What the request had
// superseded stays superseded. A refused request, which does not count, stays closed too if an
// attempt that is still on its way is accepted.
//
// Every node asks the database which windows are open, so each commit closes them on all
// nodes. Each transaction has an event that says how many windows it closed; nearly always one
// transaction is enough. After an error some windows may be closed, which are returned; Close
// may be called again. The error is ErrNoWindows, or sqldb.ErrUnavailable.
func (w *Windows) Close(ctx context.Context, which Which, who, why string, at time.Time, keep int) (closed int, was []outage.Activation, err error) {
	// The writer plays the journal before this: windows in it are older than the call.
	upTo, err := sqldb.Write(ctx, w.db, sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) (id int64, err error) {
		err = tx.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&id)
		return id, err
	})
	cond, arg := which.where()
	how := sqldb.Retry
	e := events.Event{At: at, Who: who, What: "windows", New: which.String(), Why: why}.By(ctx)
	for from := int64(0); err == nil; {
		var ids []int64
		ids, err = sqldb.Numbers(w.db.Query(ctx, closableSQL+cond+closablePage, sqldb.Micros(at), closeBatchSize, arg, from, upTo))
		if err != nil || len(ids) == 0 {
			err = sqldb.Unavailable(err)
			break
		}
		var some []outage.Activation
		if some, err = w.closeBatch(ctx, how, e, ids); err == nil {
			closed += len(some)
			was = append(was, some[:min(len(some), keep-len(was))]...)
		}
		from = ids[len(ids)-1]
		e.At = e.At.Add(sqldb.Precision)     // makes the next event a different one
		how = sqldb.Retry | sqldb.Background // alerts do not wait for the rest
	}
	if err == nil && closed == 0 {
		err = ErrNoWindows
	}
	return closed, was, err
}

// closeBatch closes the windows of some activations, and returns these as they were before. It
// leaves out those that can no longer open.
func (w *Windows) closeBatch(ctx context.Context, how sqldb.How, e events.Event, ids []int64) ([]outage.Activation, error) {
	const listed = ` id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?2)) AND `
	const these = listed + canOpen
	why := fmt.Sprintf("%s%s: %s", closedBy, e.Who, e.Why)
	var was []outage.Activation // closed by an earlier try, whose answer may be lost; only the writer uses it
	return sqldb.Write(ctx, w.db, how, func(ctx context.Context, tx sqldb.Tx) ([]outage.Activation, error) {
		list, err := scanActivations(tx.Query(ctx, `SELECT `+activationColumns+` FROM activation WHERE`+these+` ORDER BY id`, sqldb.Micros(e.At), sqldb.Column(ids)))
		if err != nil {
			return nil, err
		}
		if err := tx.Later(ctx, `UPDATE activation SET why = ?3 WHERE`+listed+refused+` AND why = ''`, sqldb.Micros(e.At), sqldb.Column(ids), why); err != nil {
			return nil, err
		}
		if len(list) == 0 {
			_, done, err := events.Find(ctx, tx, e)
			if !done {
				was = nil
			}
			return was, err
		}
		was = list
		if err := tx.Later(ctx, `UPDATE activation SET state = 'closed', standing = 0, why = ?3 WHERE`+these,
			sqldb.Micros(e.At), sqldb.Column(ids), why); err != nil {
			return nil, err
		}
		e := e
		e.Old = strconv.Itoa(len(list))
		return list, events.Insert(ctx, tx, e)
	})
}
