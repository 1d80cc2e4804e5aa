package windows

import (
	"context"
	"slices"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// MaxWindows is how many windows of one meter may be in force at a time. A supplier that
// sends one request after the other opens no more than these, so that the cost of recording
// does not grow with what it sends.
const MaxWindows = 50

// resolvePage is how many requests are read at once to find the one that supersedes another.
const resolvePage = 200

// outage.ResolveWindows says which windows of a meter are in force (standing), from all of its
// requests. But whether one is in force depends only on the requests that came after it. So a
// new request is compared only with the windows in force that are not over, and with later
// requests until one supersedes it. When a request is withdrawn, only those that it had
// superseded are worked out again.

// resolveNew works out what is in force now that a counts: it is new, or its state has
// changed. If the meter still has MaxWindows others, a opens none.
func (w *Windows) resolveNew(ctx context.Context, tx sqldb.Tx, a *outage.Activation) (tooMany bool, err error) {
	open, err := scanActivations(tx.Query(ctx, `SELECT `+activationColumns+` FROM activation
		WHERE esme = ? AND ends_at > ? AND standing = 1 AND id <> ?`, int64(a.ESME), sqldb.Micros(a.Received), a.ID))
	if err != nil {
		return false, err
	}
	left := 0
	for i := range open {
		b := &open[i]
		if !after(a, b) || !a.Supersedes(b) {
			left++
			continue
		}
		if err := w.writeStanding(ctx, tx, b.ID, false, a.ID); err != nil {
			return false, err
		}
	}
	if tooMany = left >= MaxWindows && a.HasWindow() && a.State.Opens(); tooMany {
		// It stays recorded as the same message, but has no window.
		return true, tx.Later(ctx, `UPDATE activation SET starts_at = 0, ends_at = 0 WHERE id = ?`, a.ID)
	}
	return false, w.resolveOne(ctx, tx, a)
}

// resolveWithdrawn works out what is in force now that a is withdrawn: each window that a had
// superseded, unless another later request supersedes it too.
func (w *Windows) resolveWithdrawn(ctx context.Context, tx sqldb.Tx, a *outage.Activation) error {
	if err := w.writeStanding(ctx, tx, a.ID, false, 0); err != nil {
		return err
	}
	list, err := scanActivations(tx.Query(ctx, `SELECT `+activationColumns+` FROM activation WHERE superseded_by = ? AND superseded_by <> 0`, a.ID))
	for i := range list {
		if err == nil {
			err = w.resolveOne(ctx, tx, &list[i])
		}
	}
	return err
}

// resolveOne works out whether b is in force: it is, unless a later request supersedes it.
func (w *Windows) resolveOne(ctx context.Context, tx sqldb.Tx, b *outage.Activation) error {
	by := int64(0)
	// The window of a Signed Pre-Command can be superseded only while it is pending.
	if from := *b; b.State.Opens() && b.HasWindow() && (b.Form == outage.ServiceRequest || b.Pending(b.Received)) {
		for n := resolvePage; n == resolvePage && by == 0; {
			list, err := scanActivations(tx.Query(ctx, `SELECT `+activationColumns+` FROM activation
				WHERE esme = ?1 AND state <> 'withdrawn' AND (received_at > ?2 OR received_at = ?2 AND id > ?3) AND received_at < ?4
				ORDER BY received_at, id LIMIT ?5`, int64(b.ESME), sqldb.Micros(from.Received), from.ID, sqldb.Micros(b.End), resolvePage))
			if err != nil {
				return err
			}
			if n = len(list); n > 0 {
				from = list[n-1]
			}
			if i := slices.IndexFunc(list, func(c outage.Activation) bool { return c.Supersedes(b) }); i >= 0 {
				by = list[i].ID
			}
		}
	}
	return w.writeStanding(ctx, tx, b.ID, b.State.Opens() && by == 0, by)
}

// after reports whether a arrived after b.
func after(a, b *outage.Activation) bool {
	return a.Received.After(b.Received) || a.Received.Equal(b.Received) && a.ID > b.ID
}

func (w *Windows) writeStanding(ctx context.Context, tx sqldb.Tx, id int64, standing bool, by int64) error {
	return tx.Later(ctx, `UPDATE activation SET standing = ?, superseded_by = ? WHERE id = ?`, sqldb.Bool(standing), by, id)
}
