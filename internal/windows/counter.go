package windows

import (
	"context"
	"errors"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// raiseCounter keeps the highest counter of an originator's verified requests for a meter. It
// reports whether this request is an old one, which somebody may have copied and sent again: its
// counter is not above the last. The last request itself may be sent again while its first attempt
// is kept, unless that could open no window, or its activation failed: a meter takes no counter
// twice.
//
// Counters can be believed only if the request's signature was verified. Otherwise anyone could
// raise them to the highest number.
func (w *Windows) raiseCounter(ctx context.Context, tx sqldb.Tx, a *outage.Activation) (old bool, err error) {
	var one int
	err = tx.QueryRow(ctx, `INSERT INTO last_counter (originator, target, form, counter) VALUES (?, ?, ?, ?)
		ON CONFLICT (target, originator, form) DO UPDATE SET counter = excluded.counter WHERE last_counter.counter < excluded.counter
		RETURNING 1`, int64(a.RequestID.Originator), int64(a.RequestID.Target), string(a.Form), signed(a.RequestID.Counter)).Scan(&one)
	if !errors.Is(err, sqldb.ErrNoRows) {
		return false, err
	}
	var again bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM last_counter WHERE originator = ?5 AND target = ?6 AND form = ?2 AND counter = ?7)
		AND EXISTS (SELECT 1 FROM activation WHERE request_id = ?1 AND form = ?2 AND kind = ?3 AND execute_at = ?4)
		AND NOT EXISTS (SELECT 1 FROM activation WHERE `+sameMessage+` AND state = 'failed')`,
		append(messageKey(a), int64(a.RequestID.Originator), int64(a.RequestID.Target), signed(a.RequestID.Counter))...).Scan(&again)
	return !again, err
}

// signed returns a counter as a signed number, in the same order.
func signed(counter uint64) int64 { return int64(counter ^ 1<<63) }
