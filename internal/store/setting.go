package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"quell/internal/outage"
)

// Event is one change that an operator, or the program for one, made.
type Event struct {
	ID   int64     `json:"id"`
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	What string    `json:"what"` // switch, inventory or devices
	Old  string    `json:"old"`
	New  string    `json:"new"`
	Why  string    `json:"why"`
}

func (s *Store) insertEvent(ctx context.Context, e Event) error {
	return s.conn.later(ctx, `INSERT INTO event (at, who, what, old_value, new_value, why) VALUES (?, ?, ?, ?, ?, ?)`,
		micros(e.At), e.Who, e.What, e.Old, e.New, e.Why)
}

const eventColumns = `id, at, who, what, old_value, new_value, why`

func scanEvents(rows rowSet, err error) ([]Event, error) {
	return scan(rows, err, func(rows rowSet) (e Event, err error) {
		var at int64
		err = rows.Scan(&e.ID, &at, &e.Who, &e.What, &e.Old, &e.New, &e.Why)
		e.At = instant(at)
		return e, err
	})
}

// Events returns the last n events, the latest first.
func (s *Store) Events(ctx context.Context, n int) ([]Event, error) {
	list, err := scanEvents(s.reader.QueryContext(ctx, `SELECT `+eventColumns+` FROM event ORDER BY id DESC LIMIT ?`, n))
	return list, wrapRead(err)
}

// Switch is the feature switch in force; "" until SetSwitch was first called
// on this store.
func (s *Store) Switch() outage.Switch {
	sw, _ := s.sw.Load().(outage.Switch)
	return sw
}

// SetSwitch turns the switch. It is kept, with who, when and why, before it
// comes into force, which is when SetSwitch returns. The error is ErrUnavailable.
func (s *Store) SetSwitch(ctx context.Context, to outage.Switch, who, why string, at time.Time) (old outage.Switch, err error) {
	old = s.Switch()
	err = s.do(ctx, func(ctx context.Context) error {
		if _, err := s.conn.ExecContext(ctx, `INSERT INTO setting (name, value) VALUES ('switch', ?1)
			ON CONFLICT (name) DO UPDATE SET value = ?1`, string(to)); err != nil {
			return err
		}
		if err := s.tell(ctx); err != nil {
			return err
		}
		return s.insertEvent(ctx, Event{At: at, Who: who, What: "switch", Old: string(old), New: string(to), Why: why})
	}, func() { s.sw.Store(to) })
	return old, err
}

// FirstSwitch turns the switch if it was never turned.
func (s *Store) FirstSwitch(ctx context.Context, to outage.Switch, who, why string, at time.Time) error {
	if s.Switch() != "" {
		return nil
	}
	var is outage.Switch
	return s.do(ctx, func(ctx context.Context) error {
		res, err := s.conn.ExecContext(ctx, `INSERT INTO setting (name, value) VALUES ('switch', ?) ON CONFLICT DO NOTHING`, string(to))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); n == 0 || err != nil { // another node was first
			return errors.Join(err, s.conn.QueryRowContext(ctx, `SELECT value FROM setting WHERE name = 'switch'`).Scan((*string)(&is)))
		}
		is = to
		return s.insertEvent(ctx, Event{At: at, Who: who, What: "switch", Old: "", New: string(to), Why: why})
	}, func() { s.sw.Store(is) })
}

func (s *Store) loadSwitch(ctx context.Context) error {
	var sw string
	err := s.reader.QueryRowContext(ctx, `SELECT value FROM setting WHERE name = 'switch'`).Scan(&sw)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	s.sw.Store(outage.Switch(sw))
	return err
}
