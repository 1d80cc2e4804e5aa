package windows

import (
	"context"
	"time"

	"quell/internal/sqldb"
)

// Coming are activations of one model, at homes of one distributor, that begin within the same
// step of time.
type Coming struct {
	Manufacturer, Model string // as the inventory has them
	Distributor         string // the first two digits of the MPxN; "" if that is not known
	Begins              time.Time
	Count               int
}

// Coming returns the activations in force whose windows are not over at an instant, and that
// begin before another. newest is the condition for rows d of the inventory that are in force.
func (w *Windows) Coming(ctx context.Context, newest string, now, until time.Time, step time.Duration) ([]Coming, error) {
	rows, err := w.db.Query(ctx, `SELECT coalesce(d.manufacturer, ''), coalesce(d.model, ''), substr(coalesce(d.mpxn, ''), 1, 2), a.slot, count(*)
		FROM (SELECT esme, (CASE WHEN mode = 'future-dated' THEN execute_at ELSE received_at END) / CAST(?3 AS BIGINT) AS slot FROM activation
			WHERE standing + 0 = 1 AND ends_at > ?1) AS a
		LEFT JOIN inventory d ON d.device_id = a.esme AND `+newest+`
		WHERE a.slot < ?2 GROUP BY 1, 2, 3, 4 ORDER BY 4, 1, 2, 3`, sqldb.Micros(now), sqldb.Micros(until)/step.Microseconds(), step.Microseconds())
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, c *Coming) error {
		var slot int64
		err := rows.Scan(&c.Manufacturer, &c.Model, &c.Distributor, &slot, &c.Count)
		c.Begins = sqldb.Instant(slot * step.Microseconds())
		return err
	})
	return list, sqldb.Unavailable(err)
}

// Begun returns how many windows were open at some time from one instant to another, up to
// limit, whatever became of them.
func (w *Windows) Begun(ctx context.Context, from, to time.Time, limit int) (n int, err error) {
	err = w.db.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM activation WHERE ends_at > ?1 AND starts_at < ?2 AND state <> 'withdrawn' LIMIT ?3) AS few`,
		sqldb.Micros(from), sqldb.Micros(to), limit).Scan(&n)
	return n, sqldb.Unavailable(err)
}
