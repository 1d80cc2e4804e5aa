package motorway

import (
	"sync"
	"time"

	"quell/internal/store"
)

// receipts gives instants of receipt, which never go backwards: the order of
// arrival decides, whatever the clock says. When the clock is set back, they go on
// at half the speed until it has caught up.
type receipts struct {
	mu   sync.Mutex // guards what follows
	last time.Time
	seen time.Time // what the clock said then, with the monotonic clock
}

// next gives the instant of a receipt at which the clock says now, in UTC and
// truncated to store.Precision, and how far it is ahead of that.
func (r *receipts) next(now time.Time) (at time.Time, ahead time.Duration) {
	at = now.UTC().Round(0).Truncate(store.Precision)
	r.mu.Lock()
	defer r.mu.Unlock()
	if at.Before(r.last) {
		ahead = r.last.Sub(at)
		at = r.last.Add(max(0, now.Sub(r.seen)) / 2).Truncate(store.Precision)
	}
	r.last, r.seen = at, now
	return at, ahead
}
