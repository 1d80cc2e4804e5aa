package ledger

import (
	"context"
	"time"

	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// A record is what the journal remembers: exactly one of the pointers is set.
type record struct {
	Activation    *outage.Activation   `json:"activation,omitempty"`
	Unresolved    bool                 `json:"unresolved,omitempty"` // the activation's hub has to be looked up
	Manufacturers outage.Manufacturers `json:"manufacturers,omitempty"`
	Closing       bool                 `json:"closing,omitempty"`        // the activation opens no window
	SwitchUnknown bool                 `json:"switch_unknown,omitempty"` // nor if the switch turns out to be off

	Answer    *outage.Activation `json:"answer,omitempty"` // the next hop's answer to this activation
	Accepted  bool               `json:"accepted,omitempty"`
	Uncertain bool               `json:"uncertain,omitempty"` // if neither: it was refused

	Forwarded *ForwardedNote `json:"forwarded,omitempty"` // went forward, whatever the database was going to say

	Failed *windows.Failed `json:"failed,omitempty"` // an activation did not run

	Switch *events.Event `json:"switch,omitempty"` // it was turned off on this node
}

// answer is the answer of a record that has one.
func (r *record) answer() outage.State {
	switch {
	case r.Accepted:
		return outage.Accepted
	case r.Uncertain:
		return outage.Uncertain
	}
	return outage.Withdrawn
}

// journalTimeout limits the wait for the journal; it is a local file.
const journalTimeout = 250 * time.Millisecond

// remember puts a record into the journal. It returns within journalTimeout, so
// that a disk which hangs holds up no message.
func (l *Ledger) remember(ctx context.Context, r record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	l.journal.Append(ctx, r)
	l.db.Wake() // it is played
}

// RememberForwarded is NoteForwarded for while the store may be away: it waits for the note to be in
// the journal, as far as that can be written at once.
func (l *Ledger) RememberForwarded(ctx context.Context, f ForwardedNote) {
	l.remember(ctx, record{Forwarded: &f})
}

// playChunk is how many records are played in one transaction at most.
const playChunk = 500

// PlayJournal plays all that the journal holds. What fails is tried again with half as many
// records, since a transaction has a time. A record whose content the database refuses is set
// aside; that the database is not there, is not whole, or is held by another, is no refusal.
// The writer calls it, before each transaction of what waits: the journal's windows and
// corrections are older. A record that gets into the journal later is of an alert or a
// request that is not answered yet.
func (l *Ledger) PlayJournal(ctx context.Context) error {
	j := l.journal
	defer l.sw.told(func() bool { return j.Pending() == 0 })
	for j.Pending() > 0 {
		due, err := j.Next(l.atOnce)
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
		case refused && l.atOnce > 1:
			l.atOnce = 1 // to find out which
			continue
		case refused:
			if err := l.playEach(ctx, list); err != nil {
				return err
			}
		case err != nil:
			l.atOnce = max(len(list)/2, 1)
			return err
		}
		l.atOnce = min(2*l.atOnce, playChunk)
		j.Done(&due)
		l.db.Answers("the store answers again, the journal is played", "records", len(list))
	}
	return nil
}

// playEach plays records one by one, and sets aside those that are refused: a line
// that was damaged may hold two.
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
		var notes []ForwardedNote // at once, since there may be many
		for _, r := range list {
			var err error
			switch {
			case r.Activation != nil:
				var did windows.Recorded
				a, opens, e := l.eligible(ctx, tx, &r)
				if err = e; err == nil {
					did, err = l.windows.Record(ctx, tx, a, !opens)
				}
				found = append(found, did.Hub)
			case r.Switch != nil:
				err = l.playSwitch(ctx, tx, *r.Switch)
			case r.Failed != nil:
				err = windows.Fail(ctx, tx, []windows.Failed{*r.Failed})
			case r.Answer != nil:
				err = l.windows.RecordAnswer(ctx, tx, r.Answer, r.answer())
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
