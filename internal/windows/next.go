package windows

import (
	"context"
	"time"

	"quell/internal/sqldb"
)

// Next returns when the first window begins that is pending at the instant now. It looks at the
// countPage windows that end first; the zero time says that none of these is pending.
func (w *Windows) Next(ctx context.Context, now time.Time) (time.Time, error) {
	var at int64
	err := w.db.QueryRow(ctx, nextSQL, sqldb.Micros(now), countPage).Scan(&at)
	return sqldb.Instant(at), sqldb.Unavailable(err)
}

// nextSQL finds windows by the index of their ends: see windowsSQL.
const nextSQL = `SELECT coalesce(min(CASE WHEN standing = 1 AND starts_at > ?1 THEN starts_at END), 0)
	FROM (SELECT starts_at, standing FROM activation WHERE ends_at > ?1 ORDER BY ends_at LIMIT ?2) AS few`
