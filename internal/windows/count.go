package windows

import (
	"context"
	"errors"
	"sync"
	"time"

	"quell/internal/sqldb"
)

// ErrCounting says that there are many windows, and that they are not counted yet.
var ErrCounting = errors.New("the windows are being counted")

// windowCount is the last count of the windows.
type windowCount struct {
	mu            sync.Mutex // guards the next fields
	open, pending int
	known         bool
	counting      bool
	due           time.Time // when Counts may start the next count
}

// countPage is how many windows one query counts.
const countPage = 10_000

// countShare limits the time for counting to one part in countShare.
const countShare = 100

// Counts returns how many windows are open at the instant now, and how many are pending. If
// countPage or more are not over, it returns the last count, and starts a new count in the
// background from time to time. The error is sqldb.ErrUnavailable, or ErrCounting.
func (w *Windows) Counts(ctx context.Context, now time.Time) (open, pending int, err error) {
	var rows int
	if err = w.db.QueryRow(ctx, countSomeSQL, sqldb.Micros(now), countPage).Scan(&rows, &open, &pending); err != nil {
		return 0, 0, sqldb.Unavailable(err)
	}
	if rows < countPage {
		return open, pending, nil
	}
	c := &w.count
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.counting && !time.Now().Before(c.due) {
		c.counting = true
		go w.countAll(now)
	}
	if !c.known {
		return 0, 0, ErrCounting
	}
	return c.open, c.pending, nil
}

// countSomeSQL counts up to ?2 windows that are not over at the instant ?1.
const countSomeSQL = `SELECT count(*), coalesce(sum(CASE WHEN standing = 1 AND starts_at <= ?1 THEN 1 ELSE 0 END), 0),
	coalesce(sum(CASE WHEN standing = 1 AND starts_at > ?1 THEN 1 ELSE 0 END), 0)
	FROM (SELECT starts_at, standing FROM activation WHERE ends_at > ?1 ORDER BY ends_at LIMIT ?2) AS few`

// countAll counts all windows, a page of activations at a time.
func (w *Windows) countAll(now time.Time) {
	began := time.Now()
	open, pending, err := 0, 0, error(nil)
	for last, n := int64(0), countPage; n == countPage && err == nil; {
		var o, p int
		err = w.db.QueryRow(context.Background(), `SELECT count(*), coalesce(max(id), 0),
			coalesce(sum(CASE WHEN standing = 1 AND ends_at > ?1 AND starts_at <= ?1 THEN 1 ELSE 0 END), 0),
			coalesce(sum(CASE WHEN standing = 1 AND ends_at > ?1 AND starts_at > ?1 THEN 1 ELSE 0 END), 0)
			FROM (SELECT id, starts_at, ends_at, standing FROM activation WHERE id > ?2 ORDER BY id LIMIT ?3) AS page`,
			sqldb.Micros(now), last, countPage).Scan(&n, &last, &o, &p)
		open, pending = open+o, pending+p
	}
	c := &w.count
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counting, c.due = false, time.Now().Add(countShare*time.Since(began))
	if err == nil {
		c.open, c.pending, c.known = open, pending, true
	}
}
