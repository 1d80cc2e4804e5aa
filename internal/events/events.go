// Package events keeps a record of what operators changed, or the program for them: who,
// what, when and why.
package events

import (
	"context"
	"time"

	"quell/internal/audit"
	"quell/internal/sqldb"
)

// Event is one change. Its JSON is part of the API.
type Event struct {
	ID   int64     `json:"id"`
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	What string    `json:"what"` // switch, inventory, devices, windows, reports, release or token
	Old  string    `json:"old"`
	New  string    `json:"new"`
	Why  string    `json:"why"`

	// In which role, and from where: only the audit log keeps these.
	Role string `json:"role,omitempty"`
	From string `json:"from,omitempty"`
}

// By returns the event with the role and the origin of the caller, as the context says.
func (e Event) By(ctx context.Context) Event {
	c := audit.CallerOf(ctx)
	e.Role, e.From = c.Role, c.From
	return e
}

// Insert adds an event, and a record of it to the audit log. Call it in the transaction of the
// change.
func Insert(ctx context.Context, tx sqldb.Tx, e Event) error {
	if err := audit.Append(ctx, tx, audit.Record{At: e.At, Who: e.Who, Role: e.Role, From: e.From, What: e.What, Object: e.New, Outcome: audit.Done, Why: e.Why, Detail: e.Old}); err != nil {
		return err
	}
	return tx.Later(ctx, `INSERT INTO event (at, who, what, old_value, new_value, why) VALUES (?, ?, ?, ?, ?, ?)`,
		sqldb.Micros(e.At), sqldb.Text(e.Who), e.What, e.Old, e.New, sqldb.Text(e.Why))
}

// Find returns the event of the same change as e; its old value may differ. With it a
// change finds out whether it was made before. ok is false if there is no such event.
func Find(ctx context.Context, q sqldb.Querier, e Event) (found Event, ok bool, err error) {
	list, err := read(ctx, q, `WHERE at = ? AND who = ? AND what = ? AND new_value = ? AND why = ?`,
		sqldb.Micros(e.At), sqldb.Text(e.Who), e.What, e.New, sqldb.Text(e.Why))
	if err != nil || len(list) == 0 {
		return Event{}, false, err
	}
	return list[0], true, nil
}

// maxAhead is how far the time of an event may be ahead of the database's clock. If it is more, the
// event is from a time when a clock was wrong.
const maxAhead = time.Hour

// After reports whether there is an event of a kind after an instant. It leaves out those from a clock
// that was ahead, which come after everything until that time. The database is PostgreSQL's.
func After(ctx context.Context, q sqldb.Querier, what string, at time.Time) (exists bool, err error) {
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM event WHERE what = ? AND at > ? AND at < `+sqldb.ServerTime+` + ?)`,
		what, sqldb.Micros(at), maxAhead.Microseconds()).Scan(&exists)
	return exists, err
}

// Latest returns the last n events, the latest first.
func Latest(ctx context.Context, q sqldb.Querier, n int) ([]Event, error) {
	list, err := read(ctx, q, `ORDER BY id DESC LIMIT ?`, n)
	return list, sqldb.Unavailable(err)
}

// LatestOf returns the last n events of a kind with id < before, the latest first; of all ids if
// before is 0.
func LatestOf(ctx context.Context, q sqldb.Querier, what string, before int64, n int) ([]Event, error) {
	if before == 0 {
		before = 1 << 62
	}
	list, err := read(ctx, q, `WHERE id < ? AND what = ? ORDER BY id DESC LIMIT ?`, before, what, n)
	return list, sqldb.Unavailable(err)
}

// LastID returns the id of the last event; 0 if there is none.
func LastID(ctx context.Context, q sqldb.Querier) (id int64, err error) {
	err = q.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM event`).Scan(&id)
	return id, err
}

// FirstAt returns the time of the first event that is kept; the zero time if there is none.
func FirstAt(ctx context.Context, q sqldb.Querier) (time.Time, error) {
	var at int64
	err := q.QueryRow(ctx, `SELECT coalesce((SELECT at FROM event WHERE id = (SELECT min(id) FROM event)), 0)`).Scan(&at)
	return sqldb.Instant(at), err
}

// Between returns up to limit events of the kinds, in order, with after < id ≤ last.
func Between(ctx context.Context, q sqldb.Querier, kinds []string, after, last int64, limit int) ([]Event, error) {
	return read(ctx, q, `WHERE id > ?1 AND id <= ?2 AND what IN (SELECT value->>0 FROM json_each(?3)) ORDER BY id LIMIT ?4`, after, last, sqldb.Column(kinds), limit)
}

// LastOfEach returns the last event of each of the kinds with id ≤ last, in order of ids.
func LastOfEach(ctx context.Context, q sqldb.Querier, kinds []string, last int64) ([]Event, error) {
	return read(ctx, q, `WHERE id IN (SELECT max(id) FROM event WHERE id <= ?1 AND what IN (SELECT value->>0 FROM json_each(?2)) GROUP BY what) ORDER BY id`,
		last, sqldb.Column(kinds))
}

// Delete deletes up to limit events from before an instant and with id < below, the oldest
// first, and returns how many. Of each kind it keeps the last event with id ≤ below.
func Delete(ctx context.Context, tx sqldb.Tx, before time.Time, below int64, limit int) (int, error) {
	n, err := tx.Exec(ctx, `DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < ?1 AND id < ?2
		AND EXISTS (SELECT 1 FROM event e WHERE e.what = event.what AND e.id > event.id AND e.id <= ?2) ORDER BY id LIMIT ?3)`,
		sqldb.Micros(before), below, limit)
	return int(n), err
}

func read(ctx context.Context, q sqldb.Querier, cond string, args ...any) ([]Event, error) {
	rows, err := q.Query(ctx, `SELECT id, at, who, what, old_value, new_value, why FROM event `+cond, args...)
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, e *Event) error {
		var at int64
		err := rows.Scan(&e.ID, &at, &e.Who, &e.What, &e.Old, &e.New, &e.Why)
		e.At = sqldb.Instant(at)
		return err
	})
}
