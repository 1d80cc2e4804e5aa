package store

import (
	"context"

	"quell/internal/outage"
)

// remember puts a record into the journal. It returns within journalTimeout, so
// that a disk which hangs holds up no message.
func (s *Store) remember(ctx context.Context, r record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalTimeout)
	defer cancel()
	s.journal.append(ctx, r)
	s.queue.push(func() bool { return true }) // wakes the committer, which plays it
}

// Remember is Note for while the store may be away: it waits for the note to be in
// the journal, as far as that can be written at once.
func (s *Store) Remember(ctx context.Context, f Forwarded) { s.remember(ctx, record{Forwarded: &f}) }

// playJournal plays all that the journal holds into the store. What fails is
// tried again with half as many records, since a transaction has a time. A record
// whose content the database refuses is set aside; that it is not there, is not
// whole, or is held by another, is no refusal.
func (s *Store) playJournal(ctx context.Context) error {
	j := s.journal
	defer s.sw.told(func() bool { return j.pending.Load() == 0 })
	for j.pending.Load() > 0 {
		due, err := j.next(j.atOnce)
		if err != nil {
			return err
		}
		list := due.list
		if len(list) > 0 {
			err = s.play(ctx, list)
		} else if len(due.damaged) == 0 {
			return nil
		}
		switch refused := s.reader.engine.refuses(err); {
		case refused && j.atOnce > 1:
			j.atOnce = 1 // to find out which
			continue
		case refused:
			if err := s.playEach(ctx, list); err != nil {
				return err
			}
		case err != nil:
			j.atOnce = max(len(list)/2, 1)
			return err
		}
		j.atOnce = min(2*j.atOnce, chunk)
		j.done(&due)
		if s.trouble.Swap(nil) != nil {
			s.opts.Log.Info("the store answers again, the journal is played", "records", len(list))
		}
	}
	return nil
}

// playEach plays records one by one, and sets aside those that are refused: a line
// that was damaged may hold two.
func (s *Store) playEach(ctx context.Context, list []record) error {
	for _, r := range list {
		err := s.play(ctx, []record{r})
		if s.reader.engine.refuses(err) {
			s.journal.setAside(r, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) play(ctx context.Context, list []record) error {
	var found []outage.DeviceID
	err := s.inTx(ctx, func(ctx context.Context) error {
		var notes []Forwarded // at once, since there may be many
		for _, r := range list {
			var err error
			switch {
			case r.Activation != nil:
				var hub outage.DeviceID
				a, opens, e := s.resolve(ctx, &r)
				if err = e; err == nil {
					hub, _, err = s.insertActivation(ctx, a, !opens)
				}
				found = append(found, hub)
			case r.Switch != nil:
				err = s.playSwitch(ctx, *r.Switch)
			case r.Failed != nil:
				err = s.fail(ctx, *r.Failed)
			case r.Answer != nil:
				err = s.settleActivation(ctx, r.Answer, r.answer())
			case r.Forwarded != nil:
				notes = append(notes, *r.Forwarded)
			}
			if err != nil {
				return err
			}
		}
		return s.correct(ctx, notes...)
	})
	if err == nil {
		for _, chf := range found {
			s.index.add(chf)
		}
	}
	return err
}
