package store

import (
	"context"
	"database/sql"
	"errors"

	"quell/internal/outage"
)

// Recorded is what Record answers.
type Recorded struct {
	// Repeated says that the same message had been recorded before, and neither
	// withdrawn nor failed: nothing changed. If its window was closed by hand, it
	// stays closed.
	Repeated bool
	// Remembered says that the store did not answer, and that the journal
	// holds the activation.
	Remembered bool
	// TooMany says that as many windows of the meter stand as may: it closed what
	// was pending, and opened none.
	TooMany bool
	// Nothing says that there was nothing to close: nothing was recorded.
	Nothing bool
}

// Record makes an activation durable, and works out which windows of its meter
// stand now. It returns after the commit. If the store fails or ctx ends first, the
// activation counts at once on this node, and is written to the journal; the
// request is forwarded all the same. It never fails.
//
// The window is on the hub that the inventory names when it is recorded.
func (s *Store) Record(ctx context.Context, a outage.Activation) Recorded {
	return s.record(ctx, a, false)
}

// RecordClosing records an activation that may open no window, if there is any window of
// its meter that it may have to close. It is otherwise as Record.
func (s *Store) RecordClosing(ctx context.Context, a outage.Activation) Recorded {
	return s.record(ctx, a, true)
}

func (s *Store) record(ctx context.Context, a outage.Activation, closing bool) Recorded {
	type recorded struct {
		Recorded
		hub outage.DeviceID
	}
	r, err := write(ctx, s, urgent, func(ctx context.Context) (r recorded, err error) {
		r.hub, r.Recorded, err = s.insertActivation(ctx, a, closing)
		return r, err
	}, func(r recorded) { s.index.add(r.hub) })
	if err != nil {
		s.index.add(a.CHF)
		s.remember(ctx, record{Activation: &a, Closing: closing, SwitchUnknown: s.Switch() == ""})
		return Recorded{Remembered: true}
	}
	return r.Recorded
}

// RecordUnresolved remembers an activation in the journal when the inventory
// cannot be asked whether its meter is tracked. That is found out when the
// store answers again; until then any hub may have a window.
func (s *Store) RecordUnresolved(ctx context.Context, a outage.Activation, m outage.Manufacturers) {
	s.remember(ctx, record{Activation: &a, Unresolved: true, Manufacturers: m, SwitchUnknown: s.Switch() == ""})
}

// Settle records the next hop's answer to an attempt, which is Accepted, Withdrawn or
// Uncertain: a, as it was recorded or found repeated. An activation is withdrawn, or
// uncertain, unless another attempt was accepted; one that was accepted stands,
// whatever became of others. Without the store it is remembered in the journal.
func (s *Store) Settle(ctx context.Context, a outage.Activation, answer outage.State) (remembered bool) {
	err := s.do(ctx, urgent, func(ctx context.Context) error { return s.settleActivation(ctx, &a, answer) })
	if err != nil {
		s.remember(ctx, record{Answer: &a, Accepted: answer == outage.Accepted, Uncertain: answer == outage.Uncertain})
	}
	return err != nil
}

// sameMessage is the condition, of the first four parameters, that a row is of a
// message: it asks for the same, or it was kept as a closing.
const sameMessage = `request_id = ?1 AND form = ?2 AND (kind = ?3 AND execute_at = ?4 OR kind = 'closing')`

func messageKey(a *outage.Activation) []any {
	return []any{a.RequestID.String(), string(a.Form), string(a.Order.Kind), micros(a.Order.At)}
}

// insertActivation inserts an activation unless the same message is there, or
// this very attempt was recorded before (the journal may be played twice); a
// closing only if the meter has a window that is not over. It says on which hub
// the window is, 0 if that is not known or nothing was recorded.
func (s *Store) insertActivation(ctx context.Context, a outage.Activation, closing bool) (hub outage.DeviceID, r Recorded, err error) {
	key := messageKey(&a)
	if closing {
		a = a.Closes()
	}
	var chf int64
	args := append(key, string(a.Order.Kind), micros(a.Order.At), string(a.Mode()), int64(a.ESME), int64(a.CHF), micros(a.Received),
		micros(a.Start), micros(a.End), string(a.State), truth(closing))
	err = s.conn.QueryRowContext(ctx, `
		INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing, keep_until)
		SELECT ?1, ?2, ?5, ?6, ?7, ?8, coalesce((SELECT d.chf FROM inventory d WHERE d.device_id = ?8 AND `+newest+`), ?9), ?10, ?11, ?12, ?13, 0,
			(SELECT max(k) FROM (SELECT CAST(?10 AS BIGINT) AS k UNION ALL SELECT CAST(?12 AS BIGINT)
				UNION ALL SELECT coalesce((SELECT max(ends_at) FROM activation WHERE esme = ?8), 0)) AS kept)
		WHERE NOT EXISTS (SELECT 1 FROM activation WHERE request_id = ?1 AND form = ?2 AND (kind = ?3 AND execute_at = ?4 OR kind = ?5 AND execute_at = ?6)
			AND (state IN ('unanswered', 'accepted', 'closed') OR received_at = ?10))
		AND (CAST(?14 AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM activation WHERE esme = ?8 AND ends_at > ?10))
		RETURNING id, chf`, args...).Scan(&a.ID, &chf)
	if errors.Is(err, sql.ErrNoRows) {
		err = s.conn.QueryRowContext(ctx, `SELECT chf FROM activation WHERE `+sameMessage+` AND (state IN ('unanswered', 'accepted', 'closed') OR received_at = ?5)
			ORDER BY received_at DESC, id DESC LIMIT 1`, append(key, micros(a.Received))...).Scan(&chf)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, Recorded{Nothing: true}, nil
		}
		return outage.DeviceID(chf), Recorded{Repeated: true}, err
	}
	if err != nil {
		return 0, r, err
	}
	// Those that came after it, and were recorded before, are kept as long as it is.
	if err := s.conn.later(ctx, `UPDATE activation SET keep_until = ?1 WHERE esme = ?2 AND (received_at > ?3 OR received_at = ?3 AND id > ?4)
		AND received_at < ?1 AND state <> 'withdrawn' AND keep_until > 0 AND keep_until < ?1`, micros(a.End), int64(a.ESME), micros(a.Received), a.ID); err != nil {
		return 0, r, err
	}
	if r.TooMany, err = s.settleNew(ctx, &a); err != nil {
		return 0, r, err
	}
	return outage.DeviceID(chf), r, s.tell(ctx)
}

func (s *Store) settleActivation(ctx context.Context, a *outage.Activation, answer outage.State) error {
	// The latest attempt that is not younger than this answer. An answer to an
	// attempt that repeated another settles that other.
	rows, err := scanActivations(s.conn.QueryContext(ctx, `SELECT `+activationColumns+` FROM activation
		WHERE `+sameMessage+` AND received_at <= ?5 ORDER BY received_at DESC, id DESC LIMIT 1`, append(messageKey(a), micros(a.Received))...))
	if err != nil || len(rows) == 0 {
		return err
	}
	is := &rows[0]
	switch {
	case answer == outage.Accepted && is.State == outage.Unanswered:
		return s.setState(ctx, is.ID, answer)
	case is.State == outage.Withdrawn && is.Why != "" && answer != outage.Withdrawn:
		// It was delivered, perhaps, and did not run.
		if err := s.setState(ctx, is.ID, outage.Failed); err != nil {
			return err
		}
		is.State = outage.Failed
		_, err = s.settleNew(ctx, is)
		return err
	case answer == outage.Accepted && (is.State == outage.Withdrawn || is.State == outage.Uncertain):
		return s.revive(ctx, is)
	case answer == outage.Withdrawn && is.State == outage.Unanswered:
		return errors.Join(s.setState(ctx, is.ID, answer), s.settleGone(ctx, is))
	case answer == outage.Uncertain && (is.State == outage.Unanswered || is.State == outage.Withdrawn):
		if err := s.setState(ctx, is.ID, answer); err != nil {
			return err
		}
		is.State = answer
		_, err = s.settleNew(ctx, is)
		return err
	}
	return nil // another attempt was accepted, or it failed, or was closed by hand
}

// revive accepts an attempt that was withdrawn. If the same message was sent again
// meanwhile, and is not answered, that is a repetition of this.
func (s *Store) revive(ctx context.Context, a *outage.Activation) error {
	others, err := scanActivations(s.conn.QueryContext(ctx, `SELECT `+activationColumns+` FROM activation
		WHERE request_id = ? AND form = ? AND kind = ? AND execute_at = ? AND state IN ('unanswered', 'accepted', 'closed')`, messageKey(a)...))
	if err != nil {
		return err
	}
	for i := range others {
		if others[i].State == outage.Accepted || others[i].State == outage.Closed {
			return nil
		}
		if err := errors.Join(s.setState(ctx, others[i].ID, outage.Withdrawn), s.settleGone(ctx, &others[i])); err != nil {
			return err
		}
	}
	if err := s.setState(ctx, a.ID, outage.Accepted); err != nil {
		return err
	}
	a.State = outage.Accepted
	_, err = s.settleNew(ctx, a)
	return err
}

// setState changes a state. One that was withdrawn was passed over when an earlier one
// was recorded late: it is now kept as long as any of its meter.
func (s *Store) setState(ctx context.Context, id int64, to outage.State) error {
	return s.conn.later(ctx, `UPDATE activation SET state = ?1, keep_until = CASE WHEN state = 'withdrawn' AND keep_until > 0 THEN
		(SELECT max(k) FROM (SELECT activation.keep_until AS k UNION ALL SELECT max(b.ends_at) FROM activation b WHERE b.esme = activation.esme) AS kept)
		ELSE keep_until END WHERE id = ?2`, string(to), id)
}

// resolve finds out whether a journaled activation may open a window.
func (s *Store) resolve(ctx context.Context, r *record) (a outage.Activation, opens bool, err error) {
	a = *r.Activation
	if r.Closing {
		return a, false, nil
	}
	untracked := func(reason outage.Reason) error {
		return s.insertUntracked(ctx, []Untracked{{RequestID: a.RequestID.String(), Form: a.Form, ESME: a.ESME, Received: a.Received, Reason: reason}})
	}
	if r.SwitchUnknown && s.Switch() == outage.SwitchOff {
		return a.Closes(), false, untracked(outage.ReasonSwitchedOff)
	}
	if !r.Unresolved {
		return a, true, nil
	}
	d, listed, err := device(ctx, s.conn, a.ESME)
	if err != nil {
		return a, false, err
	}
	ok, reason := outage.Eligible(d, listed, r.Manufacturers)
	if !ok {
		s.opts.Log.Info("an activation from the journal is not tracked", "request", a.RequestID, "esme", a.ESME, "reason", reason)
		return a.Closes(), false, untracked(reason)
	}
	a.CHF = d.CHF
	return a, true, nil
}

func wrapRead(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(ErrUnavailable, err)
}
