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

// Which says whose windows are meant. Exactly one of its fields is set.
type Which struct {
	Device   outage.DeviceID // a hub or a meter
	Request  outage.RequestID
	Supplier outage.DeviceID // that sent the requests
	All      bool
}

// String is how the audit and the reports name it.
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

// where is the condition of a query that the activations are meant, by its parameter ?3.
// It has few of them looked up by ids, so that no database looks through all instead.
func (w Which) where() (cond string, arg any) {
	switch {
	case w.Device != 0:
		return `id IN (SELECT id FROM activation WHERE chf = ?3 UNION SELECT id FROM activation WHERE esme = ?3)`, int64(w.Device)
	case w.Request != outage.RequestID{}:
		return `id IN (SELECT id FROM activation WHERE request_id = ?3)`, w.Request.String()
	case w.Supplier != 0: // no range of texts, whose order is the database's affair
		return `substr(request_id, 1, 24) = ?3`, w.Supplier.String() + ":"
	}
	return `CAST(?3 AS BIGINT) = 1`, sqldb.Bool(w.All)
}

// windowsSQL has the windows of all found in the order of their ends, by the index of
// these: that of those that stand begins with the hub.
const windowsSQL = `SELECT ` + activationColumns + ` FROM activation WHERE standing + 0 = 1 AND ends_at > ?1 AND `

// InForce returns up to limit windows that are open at the instant now, or have not
// begun, the next to begin first. Which of more than limit, the order of their ends
// says: it is the same, unless the length of windows was changed meanwhile.
func (w *Windows) InForce(ctx context.Context, which Which, now time.Time, limit int) ([]outage.Activation, error) {
	cond, arg := which.where()
	list, err := scanActivations(w.db.Query(ctx, windowsSQL+cond+` ORDER BY ends_at, starts_at LIMIT ?2`, sqldb.Micros(now), limit, arg))
	slices.SortStableFunc(list, func(a, b outage.Activation) int { return a.Start.Compare(b.Start) })
	return list, sqldb.Unavailable(err)
}

// ErrNoWindows says that there is no window to close.
var ErrNoWindows = errors.New("no window is open or pending")

// closeStep is how many windows are closed in one transaction.
const closeStep = 1000

// canOpen says that an activation has a window that is not over at the instant ?1, or
// may yet have: it was replaced, and what replaced it may be refused; or it is
// uncertain, and may be accepted.
const canOpen = `ends_at > ?1 AND state IN ('unanswered', 'accepted', 'uncertain')`

const (
	closableSQL  = `SELECT id FROM activation WHERE ` + canOpen + ` AND `
	closablePage = ` AND id > ?4 AND id <= ?5 ORDER BY id LIMIT ?2`
)

// Close closes, by hand, the windows that are recorded and not over at the
// instant at, and returns how many, and as they were up to keep of them. They open no
// more: neither the next hop's answer to their request, nor a retry of it, changes
// that. What they had replaced stays replaced.
//
// Any node asks the database which windows are open, so that they are closed on all
// of them at each commit. There is an event in each transaction that says how many it
// closed: nearly always, one. On an error those of some may be closed, and are
// returned; it may be asked for again. The error is ErrNoWindows, or sqldb.ErrUnavailable.
func (w *Windows) Close(ctx context.Context, which Which, who, why string, at time.Time, keep int) (closed int, was []outage.Activation, err error) {
	// The journal is played before: its windows are older.
	upTo, err := sqldb.Write(ctx, w.db, sqldb.Surely, func(ctx context.Context, tx sqldb.Tx) (id int64, err error) {
		err = tx.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&id)
		return id, err
	})
	cond, arg := which.where()
	how := sqldb.Surely
	e := events.Event{At: at, Who: who, What: "windows", New: which.String(), Why: why}
	for from := int64(0); err == nil; {
		var ids []int64
		ids, err = sqldb.Numbers(w.db.Query(ctx, closableSQL+cond+closablePage, sqldb.Micros(at), closeStep, arg, from, upTo))
		if err != nil || len(ids) == 0 {
			err = sqldb.Unavailable(err)
			break
		}
		var some []outage.Activation
		if some, err = w.closeSome(ctx, how, e, ids); err == nil {
			closed += len(some)
			was = append(was, some[:min(len(some), keep-len(was))]...)
		}
		from = ids[len(ids)-1]
		e.At = e.At.Add(sqldb.Precision)      // it is another event
		how = sqldb.Surely | sqldb.Background // alerts need not wait for the rest
	}
	if err == nil && closed == 0 {
		err = ErrNoWindows
	}
	return closed, was, err
}

// closeSome closes the windows of some activations, unless they have come to be closed
// otherwise, and returns them as they were.
func (w *Windows) closeSome(ctx context.Context, how sqldb.How, e events.Event, ids []int64) ([]outage.Activation, error) {
	const these = ` id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?2)) AND ` + canOpen
	var was []outage.Activation // what an earlier try has closed, whose answer may have been lost; the writer's
	return sqldb.Write(ctx, w.db, how, func(ctx context.Context, tx sqldb.Tx) ([]outage.Activation, error) {
		list, err := scanActivations(tx.Query(ctx, `SELECT `+activationColumns+` FROM activation WHERE`+these+` ORDER BY id`, sqldb.Micros(e.At), sqldb.Column(ids)))
		if err != nil {
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
			sqldb.Micros(e.At), sqldb.Column(ids), fmt.Sprintf("by %s: %s", e.Who, e.Why)); err != nil {
			return nil, err
		}
		e := e
		e.Old = strconv.Itoa(len(list))
		return list, events.Insert(ctx, tx, e)
	})
}
