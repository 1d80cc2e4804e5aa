package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Switch is the feature switch in force on this node; "" if it was never turned,
// or while the database has not been reached.
func (l *Ledger) Switch() outage.Switch {
	sw, _ := l.sw.is.Load().(outage.Switch)
	return sw
}

// position is the switch as this node knows it.
type position struct {
	is atomic.Value // outage.Switch

	mu      sync.Mutex // guards what follows, and writing the above
	turns   int        // here, or followed; and what was kept here is in the store
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

// told says that the store knows all that the journal had for it, if that is so. What was
// read before is over.
func (p *position) told(all func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept && all() {
		p.kept = false
		p.turns++
	}
}

// ErrHereOnly says that the switch is off on this node, and that the store, and with it
// the other nodes, will be told when it answers.
var ErrHereOnly = errors.New("off on this node only, until the store answers")

// SetSwitch turns the switch. It is kept, with who, when and why, before it
// comes into force, on this node when SetSwitch returns and on others when they
// look next. The error is sqldb.ErrUnavailable
// if the store does not say within seconds that it is done; it may be all the same.
//
// Off is in force on this node at once. If the store does not take it within
// offTime, the journal has it, and the error is ErrHereOnly: that is safe, since
// alerts go forward.
func (l *Ledger) SetSwitch(ctx context.Context, to outage.Switch, who, why string, at time.Time) (outage.Switch, error) {
	defer l.sw.begin()()
	e := events.Event{At: at, Who: sqldb.Text(who), What: "switch", New: string(to), Why: sqldb.Text(why)}
	if to == outage.SwitchOff {
		return l.switchOff(ctx, e)
	}
	return l.keepSwitch(ctx, e)
}

// keepSwitch has the store keep a change of the switch.
func (l *Ledger) keepSwitch(ctx context.Context, e events.Event) (outage.Switch, error) {
	return sqldb.Write(ctx, l.db, sqldb.Surely, func(ctx context.Context, tx sqldb.Tx) (old outage.Switch, err error) {
		return l.writeSwitch(ctx, tx, e)
	},
		func(outage.Switch) { l.sw.turn(outage.Switch(e.New)) })
}

// offTime is how long the store is waited for where the switch is off here already.
const offTime = time.Second

func (l *Ledger) switchOff(ctx context.Context, e events.Event) (outage.Switch, error) {
	here := l.Switch()
	l.sw.turn(outage.SwitchOff)
	ask, cancel := context.WithTimeout(ctx, offTime)
	defer cancel()
	old, err := l.keepSwitch(ask, e)
	switch {
	case err == nil:
		return old, nil
	case l.db.Refuses(err):
		l.sw.turn(here) // it would be refused later, too
		return "", err
	}
	l.remember(ctx, record{Switch: &e})
	l.sw.keepOff()
	return here, fmt.Errorf("%w: %w", ErrHereOnly, err)
}

// writeSwitch turns the switch within the committer's transaction, unless it was done
// by the same event, and says how it was.
func (l *Ledger) writeSwitch(ctx context.Context, tx sqldb.Tx, e events.Event) (old outage.Switch, err error) {
	before, done, err := events.Find(ctx, tx, e)
	if err != nil {
		return "", err
	}
	if done {
		return outage.Switch(before.Old), nil // the answer was lost
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

// playSwitch turns the switch as the journal says, unless another node has turned it
// since: its operator had the last word.
func (l *Ledger) playSwitch(ctx context.Context, tx sqldb.Tx, e events.Event) error {
	if l.db.Remote() {
		later, err := events.After(ctx, tx, e.What, e.At)
		if err != nil {
			return err
		}
		if later {
			l.log.Warn("the switch was turned off on this node while the store was away, and on another since: that counts", "who", e.Who, "at", e.At)
			return nil
		}
	}
	_, err := l.writeSwitch(ctx, tx, e)
	return err
}

// FirstSwitch turns the switch if it was never turned.
func (l *Ledger) FirstSwitch(ctx context.Context, to outage.Switch, who, why string, at time.Time) error {
	if l.Switch() != "" {
		return nil
	}
	defer l.sw.begin()()
	_, err := sqldb.Write(ctx, l.db, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) (is outage.Switch, err error) {
		n, err := tx.Exec(ctx, `INSERT INTO setting (name, value) VALUES ('switch', ?) ON CONFLICT DO NOTHING`, string(to))
		if err != nil {
			return "", err
		}
		if n == 0 { // another node was first
			return ReadSwitch(ctx, tx)
		}
		return to, events.Insert(ctx, tx, events.Event{At: at, Who: who, What: "switch", Old: "", New: string(to), Why: why})
	}, l.sw.turn)
	return err
}

// ReadSwitch reads the switch that the store has, "" if it has none.
func ReadSwitch(ctx context.Context, q sqldb.Querier) (sw outage.Switch, err error) {
	err = q.QueryRow(ctx, `SELECT value FROM setting WHERE name = 'switch'`).Scan((*string)(&sw))
	if errors.Is(err, sqldb.ErrNoRows) {
		err = nil
	}
	return sw, err
}
