package windows

import (
	"context"
	"errors"
	"strings"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Recorded is the result of Record.
type Recorded struct {
	// Hub is the hub of the window; 0 if it is not known, or nothing was recorded.
	Hub outage.DeviceID
	// Repeated says that the same message was recorded before, and neither withdrawn nor
	// failed. Nothing changed. If its window was closed by hand, it stays closed.
	Repeated bool
	// TooMany says that the meter has as many windows in force as it may have. The request
	// closed what was pending, and opened none.
	TooMany bool
	// Replayed says that the message is an old one: see raiseCounter. It closed what was pending,
	// and opened no window.
	Replayed bool
	// Nothing says that nothing was recorded, since there was nothing to close.
	Nothing bool
}

// sameMessage is the condition that a row is of a message, which parameters ?1 to ?4 name. The
// row asks for the same, or it was recorded as a closing.
const sameMessage = `request_id = ?1 AND form = ?2 AND (kind = ?3 AND execute_at = ?4 OR kind = 'closing')`

func messageKey(a *outage.Activation) []any {
	return []any{a.RequestID.String(), string(a.Form), string(a.Order.Kind), sqldb.Micros(a.Order.At)}
}

// Record records an activation, and works out which windows of its meter are in force now. It
// does nothing if the same message was recorded before, or the same attempt was (the journal
// may be played twice). A closing opens no window, and is recorded only if the meter has a
// window that is not over; so is an old message that is sent again. The window is on the hub that
// the inventory has for the meter.
func (w *Windows) Record(ctx context.Context, tx sqldb.Tx, a outage.Activation, closing bool) (r Recorded, err error) {
	key := messageKey(&a)
	if a.Verified {
		if r.Replayed, err = w.raiseCounter(ctx, tx, &a); err != nil {
			return r, err
		}
		closing = closing || r.Replayed
	}
	if closing {
		a = a.AsClosing()
	}
	var chf int64
	args := append(key, string(a.Order.Kind), sqldb.Micros(a.Order.At), string(a.Mode()), int64(a.ESME), int64(a.CHF), sqldb.Micros(a.Received),
		sqldb.Micros(a.Start), sqldb.Micros(a.End), string(a.State), sqldb.Bool(closing))
	err = tx.QueryRow(ctx, `
		INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing, keep_until)
		SELECT ?1, ?2, ?5, ?6, ?7, ?8, coalesce(`+w.hubOf("?8")+`, ?9), ?10, ?11, ?12, ?13, 0,
			(SELECT max(k) FROM (SELECT CAST(?10 AS BIGINT) AS k UNION ALL SELECT CAST(?12 AS BIGINT)
				UNION ALL SELECT coalesce((SELECT max(ends_at) FROM activation WHERE esme = ?8), 0)) AS kept)
		WHERE NOT EXISTS (SELECT 1 FROM activation WHERE request_id = ?1 AND form = ?2 AND (kind = ?3 AND execute_at = ?4 OR kind = ?5 AND execute_at = ?6)
			AND (state IN ('unanswered', 'accepted', 'closed') OR received_at = ?10))
		AND (CAST(?14 AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM activation WHERE esme = ?8 AND ends_at > ?10))
		RETURNING id, chf`, args...).Scan(&a.ID, &chf)
	if errors.Is(err, sqldb.ErrNoRows) {
		err = tx.QueryRow(ctx, `SELECT chf FROM activation WHERE `+sameMessage+` AND (state IN ('unanswered', 'accepted', 'closed') OR received_at = ?5)
			ORDER BY received_at DESC, id DESC LIMIT 1`, append(key, sqldb.Micros(a.Received))...).Scan(&chf)
		if errors.Is(err, sqldb.ErrNoRows) {
			return Recorded{Replayed: r.Replayed, Nothing: true}, nil
		}
		return Recorded{Hub: outage.DeviceID(chf), Repeated: true}, err
	}
	if err != nil {
		return r, err
	}
	// Requests that came after it, but were recorded before it, are kept as long as it is.
	if err := tx.Later(ctx, `UPDATE activation SET keep_until = ?1 WHERE esme = ?2 AND (received_at > ?3 OR received_at = ?3 AND id > ?4)
		AND received_at < ?1 AND state <> 'withdrawn' AND keep_until > 0 AND keep_until < ?1`, sqldb.Micros(a.End), int64(a.ESME), sqldb.Micros(a.Received), a.ID); err != nil {
		return r, err
	}
	if r.TooMany, err = w.resolveNew(ctx, tx, &a); err != nil {
		return r, err
	}
	r.Hub = outage.DeviceID(chf)
	return r, tx.Notify(ctx)
}

// RecordAnswer records the next hop's answer to an attempt: Accepted, Withdrawn or Uncertain.
// a is the attempt as it was given to Record. An activation becomes withdrawn or uncertain
// only if no other attempt was accepted. If one was accepted it stays accepted, whatever
// happens to other attempts.
func (w *Windows) RecordAnswer(ctx context.Context, tx sqldb.Tx, a *outage.Activation, answer outage.State) error {
	// The latest recorded attempt up to this one. If this attempt repeated an earlier one, its
	// answer counts for the earlier one.
	rows, err := scanActivations(tx.Query(ctx, `SELECT `+activationColumns+` FROM activation
		WHERE `+sameMessage+` AND received_at <= ?5 ORDER BY received_at DESC, id DESC LIMIT 1`, append(messageKey(a), sqldb.Micros(a.Received))...))
	if err != nil || len(rows) == 0 {
		return err
	}
	last := &rows[0]
	switch {
	case answer == outage.Accepted && last.State == outage.Unanswered:
		return w.setState(ctx, tx, last.ID, answer)
	case last.State == outage.Withdrawn && last.Why != "" && answer != outage.Withdrawn:
		// It may have been delivered, and did not run: see Fail. Or it was closed by hand meanwhile.
		if last.State = outage.Failed; strings.HasPrefix(last.Why, closedBy) {
			last.State = outage.Closed
		}
		if err := w.setState(ctx, tx, last.ID, last.State); err != nil {
			return err
		}
		_, err = w.resolveNew(ctx, tx, last)
		return err
	case answer == outage.Accepted && (last.State == outage.Withdrawn || last.State == outage.Uncertain):
		return w.accept(ctx, tx, last)
	case answer == outage.Withdrawn && last.State == outage.Unanswered:
		return errors.Join(w.setState(ctx, tx, last.ID, answer), w.resolveWithdrawn(ctx, tx, last))
	case answer == outage.Uncertain && (last.State == outage.Unanswered || last.State == outage.Withdrawn):
		if err := w.setState(ctx, tx, last.ID, answer); err != nil {
			return err
		}
		last.State = answer
		_, err = w.resolveNew(ctx, tx, last)
		return err
	}
	return nil // another attempt was accepted; or it failed, or was closed by hand
}

// accept accepts an attempt that was withdrawn or uncertain. If the same message was sent again
// meanwhile, and has no answer yet, that attempt becomes a repetition of this one.
func (w *Windows) accept(ctx context.Context, tx sqldb.Tx, a *outage.Activation) error {
	others, err := scanActivations(tx.Query(ctx, `SELECT `+activationColumns+` FROM activation
		WHERE request_id = ? AND form = ? AND kind = ? AND execute_at = ? AND state IN ('unanswered', 'accepted', 'closed')`, messageKey(a)...))
	if err != nil {
		return err
	}
	for i := range others {
		if others[i].State == outage.Accepted || others[i].State == outage.Closed {
			return nil
		}
		if err := errors.Join(w.setState(ctx, tx, others[i].ID, outage.Withdrawn), w.resolveWithdrawn(ctx, tx, &others[i])); err != nil {
			return err
		}
	}
	if err := w.setState(ctx, tx, a.ID, outage.Accepted); err != nil {
		return err
	}
	a.State = outage.Accepted
	_, err = w.resolveNew(ctx, tx, a)
	return err
}

// setState changes the state of an attempt. Record does not extend keep_until of withdrawn
// attempts: so one that was withdrawn is now kept as long as every request of its meter.
func (w *Windows) setState(ctx context.Context, tx sqldb.Tx, id int64, to outage.State) error {
	return tx.Later(ctx, `UPDATE activation SET state = ?1, keep_until = CASE WHEN state = 'withdrawn' AND keep_until > 0 THEN
		(SELECT max(k) FROM (SELECT activation.keep_until AS k UNION ALL SELECT max(b.ends_at) FROM activation b WHERE b.esme = activation.esme) AS kept)
		ELSE keep_until END WHERE id = ?2`, string(to), id)
}

// Failed says that the firmware activation of a request did not run, and why.
type Failed struct {
	Request outage.RequestID `json:"request"`
	Why     string           `json:"why"` // a few words
}

// Fail closes the windows of requests whose activation did not run. It ignores requests that
// are not known. What a request had replaced stays replaced: the meter may have forgotten it.
func Fail(ctx context.Context, tx sqldb.Tx, list []Failed) error {
	for _, f := range list {
		if err := tx.Later(ctx, `UPDATE activation SET state = 'failed', standing = 0, why = ? WHERE request_id = ? AND state IN ('unanswered', 'accepted', 'uncertain')`,
			f.Why, f.Request.String()); err != nil {
			return err
		}
		// If attempts overlap, one that is withdrawn now may still be accepted. The reason is
		// kept for RecordAnswer.
		if err := tx.Later(ctx, `UPDATE activation SET why = ? WHERE request_id = ? AND state = 'withdrawn'`, f.Why, f.Request.String()); err != nil {
			return err
		}
	}
	return nil
}
