package ledger

import (
	"context"
	"time"

	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/passed"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// A record is one record of the journal. Exactly one of its pointers is set.
type record struct {
	Activation    *outage.Activation   `json:"activation,omitempty"`
	Unresolved    bool                 `json:"unresolved,omitempty"` // look up the hub, and whether the meter is tracked
	Manufacturers outage.Manufacturers `json:"manufacturers,omitempty"`
	Closing       bool                 `json:"closing,omitempty"`        // the activation opens no window
	SwitchUnknown bool                 `json:"switch_unknown,omitempty"` // it opens none if the store says that the switch is off

	Answer    *outage.Activation `json:"answer,omitempty"` // the next hop's answer to this activation
	Accepted  bool               `json:"accepted,omitempty"`
	Uncertain bool               `json:"uncertain,omitempty"` // if neither is set, it was refused

	Forwarded *ForwardedNote `json:"forwarded,omitempty"` // an alert went forward, whatever the database may say

	Passed []byte `json:"passed,omitempty"` // notes of alerts that passed, as package passed writes them

	Failed *windows.Failed `json:"failed,omitempty"` // an activation did not run

	Switch *events.Event `json:"switch,omitempty"` // it was turned off on this node
}

// answer returns the answer of a record that has one.
func (r *record) answer() outage.State {
	switch {
	case r.Accepted:
		return outage.Accepted
	case r.Uncertain:
		return outage.Uncertain
	}
	return outage.Withdrawn
}

// journalTimeout limits the wait for the journal, which is a local file.
const journalTimeout = 250 * time.Millisecond

// remember puts a record into the journal. It returns within journalTimeout, so that no message
// waits for a disk that hangs.
func (l *Ledger) remember(ctx context.Context, r record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	l.journal.Append(ctx, r)
	l.db.Wake() // to play it
}

// RememberForwarded is NoteForwarded for when the store may not answer. It waits until the note
// is in the journal, for journalTimeout at most.
func (l *Ledger) RememberForwarded(ctx context.Context, f ForwardedNote) {
	l.remember(ctx, record{Forwarded: &f})
}

// maxPlayBatch is how many records are played in one transaction at most.
const maxPlayBatch = 500

// PlayJournal plays all that the journal holds. A transaction that fails is retried with half as
// many records, since its time is limited. A record is set aside if the database refuses its
// content. If the database is away, is not whole, or is locked, that is no refusal.
//
// The writer calls it before each batch, since the journal's windows and corrections are older.
// A record that gets into the journal later is of a message that has no answer yet.
func (l *Ledger) PlayJournal(ctx context.Context) error {
	j := l.journal
	defer l.sw.StoreHasAll(func() bool { return j.Pending() == 0 })
	for j.Pending() > 0 {
		due, err := j.Next(l.playBatch)
		if err != nil {
			return err
		}
		if due.Empty() {
			return nil
		}
		list := due.Records
		if len(list) > 0 {
			err = l.play(ctx, list)
		}
		switch refused := l.db.Refuses(err); {
		case refused && l.playBatch > 1:
			l.playBatch = 1 // to find out which record is refused
			continue
		case refused:
			if err := l.playEach(ctx, list); err != nil {
				return err
			}
		case err != nil:
			l.playBatch = max(len(list)/2, 1)
			return err
		}
		l.playBatch = min(2*l.playBatch, maxPlayBatch)
		j.Done(&due)
		l.db.ClearTrouble("the store answers again, the journal is played", "records", len(list))
	}
	return nil
}

// playEach plays records one by one, and sets aside those that are refused. There may be two: a
// damaged line may hold several.
func (l *Ledger) playEach(ctx context.Context, list []record) error {
	for _, r := range list {
		err := l.play(ctx, []record{r})
		if l.db.Refuses(err) {
			l.journal.SetAside(r, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) play(ctx context.Context, list []record) error {
	var found []outage.DeviceID
	err := l.db.InTx(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var notes []ForwardedNote // written together, since there may be many
		for _, r := range list {
			var err error
			switch {
			case r.Activation != nil:
				var hub outage.DeviceID
				hub, err = l.playActivation(ctx, tx, &r)
				found = append(found, hub)
			case r.Switch != nil:
				err = l.playSwitch(ctx, tx, *r.Switch)
			case r.Failed != nil:
				err = windows.Fail(ctx, tx, []windows.Failed{*r.Failed})
			case r.Answer != nil:
				err = l.windows.RecordAnswer(ctx, tx, r.Answer, r.answer())
			case r.Passed != nil:
				err = passed.Insert(ctx, tx, r.Passed)
			case r.Forwarded != nil:
				notes = append(notes, *r.Forwarded)
			}
			if err != nil {
				return err
			}
		}
		return l.correct(ctx, tx, notes...)
	})
	if err == nil {
		for _, chf := range found {
			l.hubs.Add(chf)
		}
	}
	return err
}
