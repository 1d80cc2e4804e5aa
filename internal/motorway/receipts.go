package motorway

import (
	"sync"
	"time"

	"quell/internal/sqldb"
)

// receipts gives instants of receipt, which never go backwards: the order of
// arrival decides, whatever the clock says. When the clock is set back, they go on
// at half the speed until it has caught up.
type receipts struct {
	mu     sync.Mutex // guards what follows
	last   time.Time
	behind bool          // the clock says earlier than last
	from   time.Time     // the last before that
	since  time.Duration // what elapsed said then
}

// maxStep is how far the clock may have been set back while quell did not run. What
// was received at a later time was received by a clock that was wrong.
const maxStep = time.Hour

// after has receipts come after one of before this program ran, if the clock, which
// says now, was not set back by more than maxStep since.
func (r *receipts) after(last, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last.Sub(now) <= maxStep && last.After(r.last) {
		r.last = last
	}
}

// next gives the instant of a receipt at which the clock says now, in UTC and
// truncated to sqldb.Precision, and how far it is ahead of that. elapsed is the time
// since some instant, whatever the clock is set to.
func (r *receipts) next(now time.Time, elapsed func() time.Duration) (at time.Time, ahead time.Duration) {
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
