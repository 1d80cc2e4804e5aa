package windows

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Next returns up to limit windows in force that start after an instant, in order of their start. It
// looks at the countPage windows that end first after it: while more than that are open, it finds none.
func (w *Windows) Next(ctx context.Context, now time.Time, limit int) ([]outage.Activation, error) {
	list, err := scanActivations(w.db.Query(ctx, nextSQL, sqldb.Micros(now), countPage, limit))
	return list, sqldb.Unavailable(err)
}

// nextSQL finds windows by the index of their ends: see windowsSQL.
const nextSQL = `SELECT ` + activationColumns + ` FROM (SELECT * FROM activation WHERE ends_at > ?1 ORDER BY ends_at, starts_at LIMIT ?2) AS few
	WHERE standing = 1 AND starts_at > ?1 ORDER BY starts_at, ends_at LIMIT ?3`

// OpenBy returns how many windows were open at some time in each of some steps from an instant on,
// whatever has become of them: those of superseded requests too.
func (w *Windows) OpenBy(ctx context.Context, from time.Time, step time.Duration, steps int) ([]int64, error) {
	to := from.Add(time.Duration(steps) * step)
	change := make([]int64, steps+1)
	slot := func(at int64) int { return int((at - sqldb.Micros(from)) / step.Microseconds()) }
	var first, last, n int64
	rows, err := w.db.Query(ctx, openBySQL, sqldb.Micros(from), sqldb.Micros(to), sqldb.Micros(to.Add(outage.MaxWindow)), step.Microseconds())
	_, err = sqldb.Each(rows, err, func() {
		change[max(slot(first*step.Microseconds()), 0)] += n
		change[min(slot(last*step.Microseconds())+1, steps)] -= n
	}, &first, &last, &n)
	for i := 1; i < steps; i++ {
		change[i] += change[i-1]
	}
	return change[:steps], sqldb.Unavailable(err)
}

// openBySQL reads only the index of the ends. A window that ends as a step begins is not open in it.
const openBySQL = `SELECT starts_at / CAST(?4 AS BIGINT) AS first, (ends_at - 1) / CAST(?4 AS BIGINT) AS last, count(*) FROM activation
	WHERE ends_at > ?1 AND ends_at <= ?3 AND starts_at < ?2 GROUP BY 1, 2`
