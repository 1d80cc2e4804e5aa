package store

import (
	"context"
	"errors"
	"time"

	"quell/internal/outage"
)

// Recorded is what Record answers.
type Recorded struct {
	// Repeated says that the same message had been recorded before and not
	// withdrawn: nothing changed.
	Repeated bool
	// Remembered says that the store did not answer, and that the journal
	// holds the activation.
	Remembered bool
}

// Record makes an activation durable, and works out anew which windows of its
// meter stand. It returns after the commit. If the store fails or ctx ends
// first, the activation counts at once on this node, and is written to the
// journal; the request is forwarded all the same. It never fails.
func (s *Store) Record(ctx context.Context, a outage.Activation) Recorded {
	var r Recorded
	err := s.do(ctx, func(ctx context.Context) (err error) {
		r.Repeated, err = s.insertActivation(ctx, &a)
		return err
	}, func() { s.index.add(a.CHF) })
	if err != nil {
		s.index.add(a.CHF)
		s.remember(ctx, record{Activation: &a})
		return Recorded{Remembered: true}
	}
	return r
}

// RecordUnresolved remembers an activation in the journal when the inventory
// cannot be asked whether its meter is tracked. That is found out when the
// store answers again; until then any hub may have a window.
func (s *Store) RecordUnresolved(ctx context.Context, a outage.Activation, m outage.Manufacturers) {
	s.index.unresolved.Add(1)
	s.remember(ctx, record{Activation: &a, Unresolved: true, Manufacturers: m})
}

// Settle records the next hop's answer to an attempt: a, as it was recorded or
// found repeated. An activation that was refused is withdrawn unless another
// attempt was accepted; one that was accepted stands, whatever became of
// others. Without the store it is remembered in the journal.
func (s *Store) Settle(ctx context.Context, a outage.Activation, accepted bool) (remembered bool) {
	err := s.do(ctx, func(ctx context.Context) error { return s.settleActivation(ctx, &a, accepted) }, nil)
	if err != nil {
		s.remember(ctx, record{Answer: &a, Accepted: accepted})
	}
	return err != nil
}

func messageKey(a *outage.Activation) []any {
	return []any{a.RequestID.String(), string(a.Form), string(a.Order.Kind), micros(a.Order.At)}
}

// insertActivation inserts an activation unless the same message stands, or
// this very attempt was recorded before (the journal may be played twice).
func (s *Store) insertActivation(ctx context.Context, a *outage.Activation) (repeated bool, err error) {
	args := append(messageKey(a), string(a.Mode()), int64(a.ESME), int64(a.CHF), micros(a.Received), micros(a.Start), micros(a.End), string(a.State))
	res, err := s.conn.ExecContext(ctx, `
		INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
		SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0
		WHERE NOT EXISTS (SELECT 1 FROM activation WHERE request_id = ?1 AND form = ?2 AND kind = ?3 AND execute_at = ?4
			AND (state <> 'withdrawn' OR received_at = ?8))`, args...)
	if err != nil {
		return false, err
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return true, err
	}
	return false, errors.Join(s.settleMeter(ctx, a.ESME), s.tell(ctx))
}

func (s *Store) settleActivation(ctx context.Context, a *outage.Activation, accepted bool) error {
	// The latest attempt that is not younger than this answer. An answer to an
	// attempt that repeated another settles that other.
	rows, err := scanActivations(s.conn.QueryContext(ctx, `SELECT `+activationColumns+` FROM activation
		WHERE request_id = ? AND form = ? AND kind = ? AND execute_at = ? AND received_at <= ? ORDER BY received_at DESC, id DESC LIMIT 1`,
		append(messageKey(a), micros(a.Received))...))
	if err != nil || len(rows) == 0 {
		return err
	}
	was, now := rows[0].State, outage.Accepted
	if !accepted {
		if was != outage.Unanswered {
			return nil
		}
		now = outage.Withdrawn
	}
	// A withdrawn attempt is not revived beside a younger one that stands.
	res, err := s.conn.ExecContext(ctx, `UPDATE activation SET state = ?1 WHERE id = ?2 AND state <> ?1 AND NOT EXISTS (SELECT 1 FROM activation a
		WHERE a.id <> ?2 AND a.request_id = ?3 AND a.form = ?4 AND a.kind = ?5 AND a.execute_at = ?6 AND a.state <> 'withdrawn')`,
		append([]any{string(now), rows[0].ID}, messageKey(a)...)...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return err
	}
	if was != outage.Withdrawn && now != outage.Withdrawn {
		return nil // an answer that changes no window
	}
	return s.settleMeter(ctx, rows[0].ESME)
}

// settleMeter brings the standing of a meter's activations up to date.
func (s *Store) settleMeter(ctx context.Context, esme outage.DeviceID) error {
	acts, err := scanActivations(s.conn.QueryContext(ctx, `SELECT `+activationColumns+` FROM activation WHERE esme = ?`, int64(esme)))
	if err != nil {
		return err
	}
	outage.SortByArrival(acts)
	was := append([]outage.Activation(nil), acts...)
	outage.Settle(acts)
	for i := range acts {
		if acts[i] == was[i] {
			continue
		}
		if _, err := s.conn.ExecContext(ctx, `UPDATE activation SET standing = ?, superseded_by = ? WHERE id = ?`,
			truth(acts[i].Standing), acts[i].SupersededBy, acts[i].ID); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds out whether the meter of a journaled activation is tracked.
func (s *Store) resolve(ctx context.Context, a *outage.Activation, m outage.Manufacturers) (tracked bool, err error) {
	d, listed, err := device(ctx, s.conn, a.ESME)
	if err != nil {
		return false, err
	}
	ok, reason := outage.Eligible(d, listed, m)
	if !ok {
		s.opts.Log.Info("an activation from the journal is not tracked", "request", a.RequestID, "esme", a.ESME, "reason", reason)
		return false, nil
	}
	a.CHF = d.CHF
	return true, nil
}

// WindowCounts says how many windows are open at the instant now, and how many
// stand and have not begun.
func (s *Store) WindowCounts(ctx context.Context, now time.Time) (open, pending int, err error) {
	err = s.reader.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE starts_at <= ?1), count(*) FILTER (WHERE starts_at > ?1)
		FROM activation WHERE ends_at > ?1 AND standing = 1`, micros(now)).Scan(&open, &pending)
	return open, pending, wrapRead(err)
}

func wrapRead(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(ErrUnavailable, err)
}
