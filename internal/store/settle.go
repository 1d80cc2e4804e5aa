package store

import (
	"context"

	"quell/internal/outage"
)

// maxWindows is how many windows of one meter may stand at a time. A supplier that
// sends one request after the other opens no more, so that the cost of recording
// does not grow with what it sends.
const maxWindows = 50

// settlePage is how many requests are read at once to find the one that takes the
// place of another.
const settlePage = 200

// Which windows of a meter stand is outage.Settle over all of its requests. It
// need not follow them all again for each: whether one stands depends on those
// that came after it. So a new one meets only the windows that stand and are not
// over, and one that goes gives back only what it had replaced.

// settleNew works out what stands now that a counts: it is new, or was accepted
// after it had been withdrawn. If more than maxWindows stand then, a opens none.
func (s *Store) settleNew(ctx context.Context, a *outage.Activation) (tooMany bool, err error) {
	acts, err := scanActivations(s.conn.QueryContext(ctx, `SELECT `+activationColumns+` FROM activation WHERE id IN (
		SELECT id FROM activation WHERE esme = ?1 AND ends_at > ?2 AND standing = 1
		UNION SELECT id FROM activation WHERE esme = ?1 AND received_at >= ?2
		UNION SELECT CAST(?3 AS BIGINT))`, int64(a.ESME), micros(a.Received), a.ID))
	if err != nil {
		return false, err
	}
	outage.SortByArrival(acts)
	was := append([]outage.Activation(nil), acts...)
	outage.Settle(acts)
	open, self := 0, 0
	for i := range acts {
		if acts[i].Standing && acts[i].End.After(a.Received) {
			open++
		}
		if acts[i].ID == a.ID {
			self = i
		}
	}
	if open > maxWindows && acts[self].Standing && acts[self].HasWindow() {
		acts[self] = acts[self].Closes()
		outage.Settle(acts)
		tooMany = true
		if err := s.conn.later(ctx, `UPDATE activation SET kind = ?, mode = ?, execute_at = 0, starts_at = 0, ends_at = 0 WHERE id = ?`,
			string(outage.Closing), string(outage.Closing), a.ID); err != nil {
			return false, err
		}
	}
	if len(acts) > self+1 && a.HasWindow() { // it arrived before some that are recorded, which are kept as long as it is
		if err := s.conn.later(ctx, `UPDATE activation SET keep_until = ?1 WHERE esme = ?2 AND received_at >= ?3 AND keep_until < ?1`,
			micros(a.End), int64(a.ESME), micros(a.Received)); err != nil {
			return false, err
		}
	}
	return tooMany, s.writeStanding(ctx, acts, was)
}

// settleGone works out what stands now that a is withdrawn: each that it had
// replaced stands again, unless another that came after it replaces it too.
func (s *Store) settleGone(ctx context.Context, a *outage.Activation) error {
	if err := s.conn.later(ctx, `UPDATE activation SET standing = 0, superseded_by = 0 WHERE id = ?`, a.ID); err != nil {
		return err
	}
	list, err := scanActivations(s.conn.QueryContext(ctx, `SELECT `+activationColumns+` FROM activation WHERE superseded_by = ? AND superseded_by <> 0`, a.ID))
	if err != nil || len(list) == 0 {
		return err
	}
	outage.SortByArrival(list)
	was := append([]outage.Activation(nil), list...)
	for i := range list {
		list[i].Standing, list[i].SupersededBy = list[i].State.Opens(), 0
	}
	from := list[0]
	for n := settlePage; n == settlePage; {
		after, err := scanActivations(s.conn.QueryContext(ctx, `SELECT `+activationColumns+` FROM activation
			WHERE esme = ?1 AND (received_at > ?2 OR received_at = ?2 AND id > ?3) ORDER BY received_at, id LIMIT ?4`,
			int64(a.ESME), micros(from.Received), from.ID, settlePage))
		if err != nil {
			return err
		}
		if n = len(after); n > 0 {
			from = after[n-1]
		}
		if !replace(list, after) {
			break
		}
	}
	return s.writeStanding(ctx, list, was)
}

// replace has requests take the place of those in list that they came after, and
// reports whether any of these is left standing.
func replace(list, after []outage.Activation) (left bool) {
	for i := range list {
		b := &list[i]
		for j := range after {
			c := &after[j]
			came := c.Received.After(b.Received) || c.Received.Equal(b.Received) && c.ID > b.ID
			if b.Standing && came && c.State != outage.Withdrawn && c.Supersedes(b) {
				b.Standing, b.SupersededBy = false, c.ID
			}
		}
		left = left || b.Standing
	}
	return left
}

// writeStanding writes what has changed.
func (s *Store) writeStanding(ctx context.Context, acts, was []outage.Activation) error {
	for i := range acts {
		if acts[i].Standing == was[i].Standing && acts[i].SupersededBy == was[i].SupersededBy {
			continue
		}
		if err := s.conn.later(ctx, `UPDATE activation SET standing = ?, superseded_by = ? WHERE id = ?`,
			truth(acts[i].Standing), acts[i].SupersededBy, acts[i].ID); err != nil {
			return err
		}
	}
	return nil
}
