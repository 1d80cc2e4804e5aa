package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/outage"
)

// Event is one change that an operator, or the program for one, made.
type Event struct {
	ID   int64     `json:"id"`
	At   time.Time `json:"at"`
	Who  string    `json:"who"`
	What string    `json:"what"` // switch, inventory, devices, windows or reports
	Old  string    `json:"old"`
	New  string    `json:"new"`
	Why  string    `json:"why"`
}

func (s *Store) insertEvent(ctx context.Context, e Event) error {
	return s.conn.later(ctx, `INSERT INTO event (at, who, what, old_value, new_value, why) VALUES (?, ?, ?, ?, ?, ?)`,
		micros(e.At), storable(e.Who), e.What, e.Old, e.New, storable(e.Why))
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

// Switch is the feature switch in force on this node; "" if it was never turned,
// or while the database has not been reached.
func (s *Store) Switch() outage.Switch {
	sw, _ := s.sw.is.Load().(outage.Switch)
	return sw
}

// position is the switch as this node knows it.
type position struct {
	is atomic.Value // outage.Switch

	mu      sync.Mutex // guards what follows, and writing the above
	turns   int        // here, or followed
	turning int        // turns here that are under way
	kept    bool       // it was turned off here, and the store does not know that yet
}

// begin says that the switch is being turned here, until end is called: what is
// read in the store meanwhile may be that.
func (p *position) begin() (end func()) {
	add := func(n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.turning += n
	}
	add(1)
	return func() { add(-1) }
}

func (p *position) turn(to outage.Switch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns++
	p.is.Store(to)
}

func (p *position) turned() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turns
}

// follow takes over what was read in the store, unless the switch is being turned
// here, or the store does not know yet that it was, or there were more turns since
// the reading began: what was read may then be older.
func (p *position) follow(to outage.Switch, turns int) (was outage.Switch, followed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, _ = p.is.Load().(outage.Switch)
	if to == was || turns != p.turns || p.turning > 0 || p.kept {
		return was, false
	}
	p.turns++
	p.is.Store(to)
	return was, true
}

// keepOff has the switch stay off, whatever the store says, until told is called with
// nothing left to tell it.
func (p *position) keepOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = true
}

// told says that the store knows all that the journal had for it, if that is so.
func (p *position) told(all func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept && all() {
		p.kept = false
	}
}

// ErrHereOnly says that the switch is off on this node, and that the store, and with it
// the other nodes, will be told when it answers.
var ErrHereOnly = errors.New("off on this node only, until the store answers")

// SetSwitch turns the switch. It is kept, with who, when and why, before it
// comes into force, on this node when SetSwitch returns and on others when they
// look next. The error is ErrUnavailable
// if the store does not say within seconds that it is done; it may be all the same.
//
// Off is in force on this node at once. If the store does not take it within
// offTime, the journal has it, and the error is ErrHereOnly: that is safe, since
// alerts go forward.
func (s *Store) SetSwitch(ctx context.Context, to outage.Switch, who, why string, at time.Time) (outage.Switch, error) {
	defer s.sw.begin()()
	e := Event{At: at, Who: storable(who), What: "switch", New: string(to), Why: storable(why)}
	if to == outage.SwitchOff {
		return s.switchOff(ctx, e)
	}
	return s.keepSwitch(ctx, e)
}

// keepSwitch has the store keep a change of the switch.
func (s *Store) keepSwitch(ctx context.Context, e Event) (outage.Switch, error) {
	return write(ctx, s, surely, func(ctx context.Context) (old outage.Switch, err error) { return s.writeSwitch(ctx, e) },
		func(outage.Switch) { s.sw.turn(outage.Switch(e.New)) })
}

// offTime is how long the store is waited for where the switch is off here already.
const offTime = time.Second

func (s *Store) switchOff(ctx context.Context, e Event) (outage.Switch, error) {
	here := s.Switch()
	s.sw.turn(outage.SwitchOff)
	ask, cancel := context.WithTimeout(ctx, offTime)
	defer cancel()
	old, err := s.keepSwitch(ask, e)
	switch {
	case err == nil:
		return old, nil
	case s.reader.engine.refuses(err):
		s.sw.turn(here) // it would be refused later, too
		return "", err
	}
	s.remember(ctx, record{Switch: &e})
	s.sw.keepOff()
	return here, fmt.Errorf("%w: %w", ErrHereOnly, err)
}

// writeSwitch turns the switch within the committer's transaction, unless it was done
// by the same event, and says how it was.
func (s *Store) writeSwitch(ctx context.Context, e Event) (old outage.Switch, err error) {
	before, err := texts(s.conn.QueryContext(ctx, `SELECT old_value FROM event WHERE at = ? AND who = ? AND what = ? AND new_value = ? AND why = ?`,
		micros(e.At), e.Who, e.What, e.New, e.Why))
	if err != nil {
		return "", err
	}
	if len(before) > 0 {
		return outage.Switch(before[0]), nil // it was done, and the answer was lost
	}
	if old, err = readSwitch(ctx, s.conn); err != nil {
		return "", err
	}
	if err := s.conn.later(ctx, `INSERT INTO setting (name, value) VALUES ('switch', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1`, e.New); err != nil {
		return "", err
	}
	e.Old = string(old)
	return old, errors.Join(s.insertEvent(ctx, e), s.tell(ctx))
}

// playSwitch turns the switch as the journal says, unless another node has turned it
// since: its operator had the last word.
func (s *Store) playSwitch(ctx context.Context, e Event) error {
	if s.remote {
		var later bool
		if err := s.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM event WHERE what = 'switch' AND at > ?)`, micros(e.At)).Scan(&later); err != nil {
			return err
		}
		if later {
			s.opts.Log.Warn("the switch was turned off on this node while the store was away, and on another since: that counts", "who", e.Who, "at", e.At)
			return nil
		}
	}
	_, err := s.writeSwitch(ctx, e)
	return err
}

// FirstSwitch turns the switch if it was never turned.
func (s *Store) FirstSwitch(ctx context.Context, to outage.Switch, who, why string, at time.Time) error {
	if s.Switch() != "" {
		return nil
	}
	defer s.sw.begin()()
	_, err := write(ctx, s, urgent, func(ctx context.Context) (is outage.Switch, err error) {
		res, err := s.conn.ExecContext(ctx, `INSERT INTO setting (name, value) VALUES ('switch', ?) ON CONFLICT DO NOTHING`, string(to))
		if err != nil {
			return "", err
		}
		if n, err := res.RowsAffected(); n == 0 || err != nil { // another node was first
			err = errors.Join(err, s.conn.QueryRowContext(ctx, `SELECT value FROM setting WHERE name = 'switch'`).Scan((*string)(&is)))
			return is, err
		}
		return to, s.insertEvent(ctx, Event{At: at, Who: who, What: "switch", Old: "", New: string(to), Why: why})
	}, s.sw.turn)
	return err
}

func (s *Store) loadSwitch(ctx context.Context) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	sw, err := readSwitch(ctx, s.reader)
	if err == nil && sw != "" {
		s.sw.follow(sw, s.sw.turned()) // the journal may know better
	}
	return err
}

// readSwitch reads the switch that the store has, "" if it has none.
func readSwitch(ctx context.Context, q querier) (sw outage.Switch, err error) {
	err = q.QueryRowContext(ctx, `SELECT value FROM setting WHERE name = 'switch'`).Scan((*string)(&sw))
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return sw, err
}
