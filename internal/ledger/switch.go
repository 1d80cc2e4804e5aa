package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/audit"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Switch returns the switch in force on this node; "" if it was never set, or while the
// database has not been reached.
func (l *Ledger) Switch() outage.Switch {
	sw, _ := l.sw.value.Load().(outage.Switch)
	return sw
}

// switchState is the switch as this node knows it.
type switchState struct {
	value atomic.Value // outage.Switch

	mu       sync.Mutex // guards the next fields, and writing value
	changes  int        // how often it was changed, on this node or on others, or keptOff ended
	changing int        // how many changes on this node have begun and not ended
	keptOff  bool       // it was turned off on this node, and the store does not have that yet
}

// beginChange says that this node is changing the switch, until end is called. A value that is
// read in the store meanwhile may be that change.
func (s *switchState) beginChange() (end func()) {
	add := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changing += n
	}
	add(1)
	return func() { add(-1) }
}

func (s *switchState) set(to outage.Switch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.value.Store(to)
}

func (s *switchState) changeCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// follow takes over the value that was read in the store. changes is what changeCount returned
// before the store was read. follow does nothing if the value may be out of date: the switch
// was changed since, this node is changing it, or the store does not have its last change.
func (s *switchState) follow(to outage.Switch, changes int) (was outage.Switch, followed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, _ = s.value.Load().(outage.Switch)
	if to == was || changes != s.changes || s.changing > 0 || s.keptOff {
		return was, false
	}
	s.changes++
	s.value.Store(to)
	return was, true
}

// keepOff makes the switch stay off on this node, whatever the store says, until storeHasAll
// ends that.
func (s *switchState) keepOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keptOff = true
}

// storeHasAll ends keepOff if all reports that the store has everything from the journal. What
// was read before that is too old to follow.
func (s *switchState) storeHasAll(all func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keptOff && all() {
		s.keptOff = false
		s.changes++
	}
}

// ErrHereOnly says that the switch is off on this node only. When the store answers, quell
// writes that to the store, and the other nodes follow.
var ErrHereOnly = errors.New("off on this node only, until the store answers")

// SetSwitch changes the switch. The store has the change, with who, when and why, before it is
// in force: on this node when SetSwitch returns, and on others when they follow. The error is
// sqldb.ErrUnavailable if the store does not confirm the change within seconds; the change may
// be made all the same.
//
// Off is in force on this node at once. If the store does not take it within offTimeout, it is
// in the journal, and the error is ErrHereOnly. That is safe, since alerts go forward.
func (l *Ledger) SetSwitch(ctx context.Context, to outage.Switch, who, why string, at time.Time) (outage.Switch, error) {
	defer l.sw.beginChange()()
	e := events.Event{At: at, Who: sqldb.Text(who), What: "switch", New: string(to), Why: sqldb.Text(why)}.By(ctx)
	if to == outage.SwitchOff {
		return l.switchOff(ctx, e)
	}
	return l.storeSwitch(ctx, e)
}

// storeSwitch writes a change of the switch to the store.
func (l *Ledger) storeSwitch(ctx context.Context, e events.Event) (outage.Switch, error) {
	return sqldb.Write(ctx, l.db, sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) (old outage.Switch, err error) {
		return l.writeSwitch(ctx, tx, e)
	},
		func(outage.Switch) { l.sw.set(outage.Switch(e.New)) })
}

// offTimeout limits the wait for the store when the switch is already off on this node.
const offTimeout = time.Second

func (l *Ledger) switchOff(ctx context.Context, e events.Event) (outage.Switch, error) {
	here := l.Switch()
	l.sw.set(outage.SwitchOff)
	limited, cancel := context.WithTimeout(ctx, offTimeout)
	defer cancel()
	old, err := l.storeSwitch(limited, e)
	switch {
	case err == nil:
		return old, nil
	case l.db.Refuses(err):
		l.sw.set(here) // the store would refuse it later too
		return "", err
	}
	l.remember(ctx, record{Switch: &e})
	l.sw.keepOff()
	return here, fmt.Errorf("%w: %w", ErrHereOnly, err)
}

// writeSwitch changes the switch in a transaction, unless the same event has done so before. It
// returns the value before the change.
func (l *Ledger) writeSwitch(ctx context.Context, tx sqldb.Tx, e events.Event) (old outage.Switch, err error) {
	before, done, err := events.Find(ctx, tx, e)
	if err != nil {
		return "", err
	}
	if done {
		return outage.Switch(before.Old), nil // the answer of an earlier try was lost
	}
	if old, err = ReadSwitch(ctx, tx); err != nil {
		return "", err
	}
	if err := tx.Later(ctx, `INSERT INTO setting (name, value) VALUES ('switch', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1`, e.New); err != nil {
		return "", err
	}
	e.Old = string(old)
	return old, errors.Join(events.Insert(ctx, tx, e), tx.Notify(ctx))
}

// playSwitch changes the switch as the journal says, unless another node has changed it later.
func (l *Ledger) playSwitch(ctx context.Context, tx sqldb.Tx, e events.Event) error {
	if l.db.Remote() {
		later, err := events.After(ctx, tx, e.What, e.At)
		if err != nil {
			return err
		}
		if later {
			l.log.Warn("the switch was turned off on this node while the store did not answer, and changed on another node since; the later change counts", "who", e.Who, "at", e.At)
			return audit.AppendOnce(ctx, tx, audit.Record{At: e.At, Who: e.Who, Role: e.Role, From: e.From, What: e.What, Object: e.New, Outcome: audit.Done, Why: e.Why,
				Detail: "on one node only, while the store did not answer"})
		}
	}
	_, err := l.writeSwitch(ctx, tx, e)
	return err
}

// FirstSwitch sets the switch if it was never set.
func (l *Ledger) FirstSwitch(ctx context.Context, to outage.Switch, who, why string, at time.Time) error {
	if l.Switch() != "" {
		return nil
	}
	defer l.sw.beginChange()()
	_, err := sqldb.Write(ctx, l.db, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) (now outage.Switch, err error) {
		n, err := tx.Exec(ctx, `INSERT INTO setting (name, value) VALUES ('switch', ?) ON CONFLICT DO NOTHING`, string(to))
		if err != nil {
			return "", err
		}
		if n == 0 { // another node was first
			return ReadSwitch(ctx, tx)
		}
		return to, events.Insert(ctx, tx, events.Event{At: at, Who: who, What: "switch", Old: "", New: string(to), Why: why}.By(ctx))
	}, l.sw.set)
	return err
}

// ReadSwitch returns the switch that the store has; "" if it has none.
func ReadSwitch(ctx context.Context, q sqldb.Querier) (sw outage.Switch, err error) {
	err = q.QueryRow(ctx, `SELECT value FROM setting WHERE name = 'switch'`).Scan((*string)(&sw))
	if errors.Is(err, sqldb.ErrNoRows) {
		err = nil
	}
	return sw, err
}
