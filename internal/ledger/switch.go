package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"quell/internal/audit"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Switch returns the switch in force on this node; "" if it was never set, or while the
// database has not been reached.
func (l *Ledger) Switch() outage.Switch { return l.sw.Value() }

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
	defer l.sw.BeginChange()()
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
		func(outage.Switch) { l.sw.Set(outage.Switch(e.New)) })
}

// offTimeout limits the wait for the store when the switch is already off on this node.
const offTimeout = time.Second

func (l *Ledger) switchOff(ctx context.Context, e events.Event) (outage.Switch, error) {
	here := l.Switch()
	l.sw.Set(outage.SwitchOff)
	limited, cancel := context.WithTimeout(ctx, offTimeout)
	defer cancel()
	old, err := l.storeSwitch(limited, e)
	switch {
	case err == nil:
		return old, nil
	case l.db.Refuses(err):
		l.sw.Set(here) // the store would refuse it later too
		return "", err
	}
	l.remember(ctx, record{Switch: &e})
	l.sw.KeepOff()
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
	defer l.sw.BeginChange()()
	_, err := sqldb.Write(ctx, l.db, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) (now outage.Switch, err error) {
		n, err := tx.Exec(ctx, `INSERT INTO setting (name, value) VALUES ('switch', ?) ON CONFLICT DO NOTHING`, string(to))
		if err != nil {
			return "", err
		}
		if n == 0 { // another node was first
			return ReadSwitch(ctx, tx)
		}
		return to, events.Insert(ctx, tx, events.Event{At: at, Who: who, What: "switch", Old: "", New: string(to), Why: why}.By(ctx))
	}, l.sw.Set)
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
