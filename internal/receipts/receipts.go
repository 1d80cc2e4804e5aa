// Package receipts gives out times of receipt.
package receipts

import (
	"sync"
	"time"

	"quell/internal/sqldb"
)

// Times gives out times of receipt, which never go backwards: the order of arrival
// decides, whatever the clock says. When the clock is set back, they go on at half the
// speed until the clock has caught up.
type Times struct {
	mu     sync.Mutex // guards the fields below
	last   time.Time
	behind bool          // the clock is earlier than last
	from   time.Time     // last, when the clock fell behind
	since  time.Duration // elapsed, when the clock fell behind
}

// maxStep is how far the clock may have been set back while quell did not run. If the last
// receipt is further ahead than that, the clock was wrong then.
const maxStep = time.Hour

// Resume makes times of receipt later than last, the last one before the start. It ignores
// last if that is more than maxStep ahead of the clock, which says now.
func (r *Times) Resume(last, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last.Sub(now) <= maxStep && last.After(r.last) {
		r.last = last
	}
}

// Next returns the time of a receipt, in UTC and truncated to sqldb.Precision, and how far
// that is ahead of the clock, which says now. elapsed returns the time since a fixed
// instant, and does not depend on the clock.
func (r *Times) Next(now time.Time, elapsed func() time.Duration) (at time.Time, ahead time.Duration) {
	at = now.UTC().Round(0).Truncate(sqldb.Precision)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !at.Before(r.last) {
		r.last, r.behind = at, false
		return at, 0
	}
	e := elapsed()
	if !r.behind {
		r.behind, r.from, r.since = true, r.last, e
	}
	if next := r.from.Add((e - r.since) / 2).Truncate(sqldb.Precision); next.After(r.last) {
		r.last = next
	}
	return r.last, r.last.Sub(at)
}
