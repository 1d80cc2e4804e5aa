package ledger

import (
	"context"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// Recorded is the result of Record.
type Recorded struct {
	windows.Recorded
	// Remembered says that the database did not answer, and that the activation is in the
	// journal.
	Remembered bool
}

// Record makes an activation durable, and works out which windows of its meter are in force
// now. It returns after the commit. If the database fails or ctx ends first, the activation
// counts on this node at once, and is written to the journal, so that the request can be
// forwarded all the same. It never fails.
//
// The window is on the hub that the inventory has for the meter when it is recorded.
func (l *Ledger) Record(ctx context.Context, a outage.Activation) Recorded {
	return l.record(ctx, a, false)
}

// RecordClosing is Record for an activation that may open no window. It records nothing if the
// meter has no window that it may have to close.
func (l *Ledger) RecordClosing(ctx context.Context, a outage.Activation) Recorded {
	return l.record(ctx, a, true)
}

func (l *Ledger) record(ctx context.Context, a outage.Activation, closing bool) Recorded {
	r, err := sqldb.Write(ctx, l.db, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) (windows.Recorded, error) {
		return l.windows.Record(ctx, tx, a, closing)
	}, func(r windows.Recorded) { l.hubs.Add(r.Hub) })
	if err != nil {
		l.hubs.Add(a.CHF)
		l.remember(ctx, record{Activation: &a, Closing: closing, SwitchUnknown: l.Switch() == ""})
		return Recorded{Remembered: true}
	}
	return Recorded{Recorded: r}
}

// RecordUnresolved puts an activation into the journal when the inventory does not say whether
// its meter is tracked, who supplies it, and which window it has. That is looked up when the database
// answers again. Until then any hub may have a window. A closing opens none.
func (l *Ledger) RecordUnresolved(ctx context.Context, a outage.Activation, m outage.Manufacturers, s outage.Spans, closing bool) {
	l.remember(ctx, record{Activation: &a, Unresolved: true, Manufacturers: m, Spans: s, Closing: closing, SwitchUnknown: l.Switch() == ""})
}

// RecordAnswer records the next hop's answer to an attempt, as windows.RecordAnswer does. If the
// database does not answer, it puts the answer into the journal, and returns true.
func (l *Ledger) RecordAnswer(ctx context.Context, a outage.Activation, answer outage.State) (remembered bool) {
	err := l.db.Do(ctx, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error { return l.windows.RecordAnswer(ctx, tx, &a, answer) })
	if err != nil {
		l.remember(ctx, record{Answer: &a, Accepted: answer == outage.Accepted, Uncertain: answer == outage.Uncertain})
	}
	return err != nil
}

// playActivation records an activation from the journal, after it has found out whether that may
// open a window. It returns its hub.
func (l *Ledger) playActivation(ctx context.Context, tx sqldb.Tx, r *record) (hub outage.DeviceID, err error) {
	a, closing, reason := *r.Activation, r.Closing, outage.Reason("")
	if r.SwitchUnknown && l.Switch() == outage.SwitchOff && !closing {
		closing, reason = true, outage.ReasonSwitchedOff
	}
	if r.Unresolved {
		d, listed, err := l.opts.Device(ctx, tx, a.ESME)
		if err != nil {
			return 0, err
		}
		if !d.SuppliedBy(a.RequestID.Originator) {
			l.log.Info("an activation from the journal is of another supplier", "request", a.RequestID, "esme", a.ESME)
			return 0, l.noteUntracked(ctx, tx, &a, outage.ReasonOtherSupplier)
		}
		if a = a.On(d, r.Spans); d == nil {
			a.Verified = false // no counters are kept of meters that are invented
		}
		if ok, why := outage.Eligible(d, listed, r.Manufacturers); !ok && !closing {
			l.log.Info("an activation from the journal is not tracked", "request", a.RequestID, "esme", a.ESME, "reason", why)
			closing, reason = true, why
		}
	}
	recorded, err := l.windows.Record(ctx, tx, a, closing)
	if err == nil && recorded.Replayed && !closing {
		reason = outage.ReasonReplayed
	}
	if err == nil && reason != "" {
		err = l.noteUntracked(ctx, tx, &a, reason)
	}
	return recorded.Hub, err
}

func (l *Ledger) noteUntracked(ctx context.Context, tx sqldb.Tx, a *outage.Activation, reason outage.Reason) error {
	return l.windows.NoteUntracked(ctx, tx, []windows.Untracked{{RequestID: a.RequestID.String(), Form: a.Form, ESME: a.ESME, Received: a.Received, Reason: reason}})
}

// Fail closes the windows of a request whose activation did not run, as windows.Fail does. It
// does not wait.
func (l *Ledger) Fail(f windows.Failed) {
	if !l.failed.Add(f) {
		l.lostFailed.Add(1)
	}
}

// failedDone puts failures into the journal if the database failed.
func (l *Ledger) failedDone(list []windows.Failed, err error) {
	if n := l.lostFailed.Swap(0); n > 0 {
		l.log.Error("failures of activations were not noted, their windows may be open", "failures", n)
	}
	if err != nil && !l.db.Refuses(err) {
		records := make([]record, len(list))
		for i := range list {
			records[i].Failed = &list[i]
		}
		l.journal.Keep(records...)
	}
}

// NoteUntracked notes that an 11.3 was not tracked. It does not wait. If the database fails, the
// note is lost; the audit trail has the request.
func (l *Ledger) NoteUntracked(u windows.Untracked) {
	if !l.untracked.Add(u) {
		l.lostUntracked.Add(1)
	}
}

func (l *Ledger) untrackedDone(list []windows.Untracked, err error) {
	if err != nil {
		l.lostUntracked.Add(int64(len(list)))
	} else if lost := l.lostUntracked.Swap(0); lost > 0 {
		l.log.Warn("11.3s that were not tracked could not be noted, the audit trail has them", "requests", lost)
	}
}

// PrepareMove is windows.PrepareMove. move returns then, which is called after the commit.
func (l *Ledger) PrepareMove(ctx context.Context, im windows.InventoryImport) (move func(ctx context.Context, tx sqldb.Tx) (then func(), err error), err error) {
	prepared, err := l.windows.PrepareMove(ctx, im)
	return func(ctx context.Context, tx sqldb.Tx) (func(), error) {
		m, err := prepared(ctx, tx)
		if err != nil {
			return nil, err
		}
		gone, err := l.nothingLeft(ctx, tx, m.From)
		return func() {
			for _, chf := range m.To {
				l.hubs.Add(chf)
			}
			l.removeHubs(gone)
		}, err
	}, err
}
