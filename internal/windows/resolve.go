package windows

import (
	"context"
	"slices"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// maxWindows is how many windows of one meter may stand at a time. A supplier that
// sends one request after the other opens no more, so that the cost of recording
// does not grow with what it sends.
const maxWindows = 50

// resolvePage is how many requests are read at once to find the one that takes the
// place of another.
const resolvePage = 200

// Which windows of a meter stand is outage.ResolveWindows over all of its requests. It
// need not follow them all again for each: whether one stands depends on those
// that came after it. So a request meets only the windows that stand and are not
// over, and the first of those after it that takes its place; one that goes gives
// back only what it had replaced.

// resolveNew works out what stands now that a counts: it is new, or its state has
// changed. If more than maxWindows stand then, it opens none.
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
	if tooMany = left >= maxWindows && a.HasWindow() && a.State.Opens(); tooMany {
		// It stays the same message, with no window.
		return true, tx.Later(ctx, `UPDATE activation SET starts_at = 0, ends_at = 0 WHERE id = ?`, a.ID)
	}
	return false, w.resolveOne(ctx, tx, a)
}

// resolveGone works out what stands now that a is withdrawn: each that it had
// replaced stands again, unless another that came after it replaces it too.
func (w *Windows) resolveGone(ctx context.Context, tx sqldb.Tx, a *outage.Activation) error {
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

// resolveOne works out whether b stands by itself, which is so unless one that came
// after it takes its place.
func (w *Windows) resolveOne(ctx context.Context, tx sqldb.Tx, b *outage.Activation) error {
	by := int64(0)
	// What a Signed Pre-Command ordered is replaced while it is pending only.
	if from := *b; b.State.Opens() && b.HasWindow() && (b.Form == outage.ServiceRequest || b.Start.After(b.Received)) {
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
