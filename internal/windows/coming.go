package windows

import (
	"context"
	"time"

	"quell/internal/outage"
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

// Started returns how many windows of Signed Pre-Commands, which are in force, started from one
// instant to another, up to limit.
func (w *Windows) Started(ctx context.Context, from, to time.Time, limit int) (int, error) {
	return w.countSome(ctx, from, to.Add(outage.MaxWindow), `starts_at >= ?4 AND starts_at < ?5 AND standing = 1 AND form = 'signed-pre-command'`, limit, from, to)
}

// WereOpen returns how many windows were open at some time from one instant to another, up to
// limit, whatever has become of them.
func (w *Windows) WereOpen(ctx context.Context, from, to time.Time, limit int) (int, error) {
	return w.countSome(ctx, from, to.Add(outage.MaxWindow), `starts_at >= ?4 AND starts_at < ?5`, limit, time.UnixMicro(1), to)
}

// countSome counts up to limit windows that ended after an instant and by another.
func (w *Windows) countSome(ctx context.Context, after, by time.Time, cond string, limit int, from, to time.Time) (n int, err error) {
	err = w.db.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 FROM activation WHERE ends_at > ?1 AND ends_at <= ?2 AND `+cond+` LIMIT ?3) AS few`,
		sqldb.Micros(after), sqldb.Micros(by), limit, sqldb.Micros(from), sqldb.Micros(to)).Scan(&n)
	return n, sqldb.Unavailable(err)
}
