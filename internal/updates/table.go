package updates

import (
	"context"
	"strconv"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// writeBatch is how many rows one transaction writes: few, since decisions wait for it.
const writeBatch = 250

// page is how many rows are read at once.
const page = 1000

// write writes notes, one of each meter, of meters that are in the inventory: else the ids that somebody
// makes up would fill the disk. A note changes nothing if a later one is there.
func (u *Updates) write(ctx context.Context, batch []note) error {
	rows := make([]byte, 0, 64*len(batch))
	for i, n := range batch {
		rows = append(rows, "[,"[min(i, 1)], '[')
		for k, v := range []int64{int64(n.meter), int64(n.supplier), int64(n.state), n.at} {
			if k > 0 {
				rows = append(rows, ',')
			}
			rows = strconv.AppendInt(rows, v, 10)
		}
		rows = append(rows, ']')
	}
	return u.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `INSERT INTO firmware (esme, supplier, state, known_at, begins_at)
			SELECT CAST(value->>0 AS BIGINT), CAST(value->>1 AS BIGINT), CAST(value->>2 AS BIGINT), CAST(value->>3 AS BIGINT), 0 FROM json_each(?)
			WHERE EXISTS (SELECT 1 FROM inventory d WHERE d.device_id = CAST(value->>0 AS BIGINT))
			ON CONFLICT (esme) DO UPDATE SET supplier = excluded.supplier, state = excluded.state, known_at = excluded.known_at, begins_at = 0
			WHERE excluded.known_at >= firmware.known_at`, string(append(rows, ']')))
	})
}

// begins is when the activation of an update f begins: the first of those that an 11.3 in a Signed
// Pre-Command ordered since it was known, tracked or not. NULL: none has. Of one that was not
// tracked the time of the 11.3 is all that is kept.
const begins = `coalesce((SELECT min(CASE WHEN a.mode = 'future-dated' THEN a.execute_at ELSE a.received_at END) FROM activation a
		WHERE a.esme = f.esme AND a.received_at >= f.known_at AND a.form = 'signed-pre-command' AND a.standing = 1 AND a.starts_at > 0),
	(SELECT min(t.received_at) FROM untracked t WHERE t.esme = f.esme AND t.received_at >= f.known_at AND t.form = 'signed-pre-command'
		AND t.reason IN ('not-listed', 'other-manufacturer', 'switched-off')))`

// Waiting are meters of one model, at homes of one distributor, that have an update on its way,
// of one supplier and since the same hour, and no 11.3 yet.
type Waiting struct {
	Manufacturer, Model string // as the inventory has them
	Distributor         string // the first two digits of the MPxN; "" if that is not known
	Supplier            outage.DeviceID
	Arrived             bool      // the image is at the hub
	Since               time.Time // the 11.1, or the N60
	Count               int
}

// Waiting returns what is waiting at an instant. newest is the condition for rows d of the inventory
// that are in force; meters that are not in it are left out. It reads the whole table.
func (u *Updates) Waiting(ctx context.Context, newest string, now time.Time) ([]Waiting, error) {
	rows, err := u.db.Query(ctx, `SELECT d.manufacturer, d.model, substr(d.mpxn, 1, 2), f.supplier, f.state, f.known_at / 3600000000, count(*)
		FROM firmware f JOIN inventory d ON d.device_id = f.esme AND `+newest+`
		WHERE f.begins_at = 0 AND f.state <> 3 AND f.known_at > ? AND d.device_type = 'ESME' AND `+begins+` IS NULL
		GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 6, 1, 2, 3, 4, 5`, sqldb.Micros(now.Add(-Keep)))
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, w *Waiting) error {
		var supplier, state, hour int64
		err := rows.Scan(&w.Manufacturer, &w.Model, &w.Distributor, &supplier, &state, &hour, &w.Count)
		w.Supplier, w.Arrived, w.Since = outage.DeviceID(supplier), state == int64(arrived), time.Unix(3600*hour, 0).UTC()
		return err
	})
	return list, sqldb.Unavailable(err)
}

// Wait says of how many updates of a supplier the activation began so many hours after it was known.
type Wait struct {
	Supplier outage.DeviceID
	Arrived  bool // known by an N60
	Hours    int
	Count    int
}

// Waits returns how long suppliers have waited until now: what Housekeep has found out.
func (u *Updates) Waits(ctx context.Context) ([]Wait, error) {
	rows, err := u.db.Query(ctx, `SELECT supplier, state, (begins_at - known_at) / 3600000000, count(*) FROM firmware WHERE begins_at > 0 AND state <> 3 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, w *Wait) error {
		var supplier, state int64
		err := rows.Scan(&supplier, &state, &w.Hours, &w.Count)
		w.Supplier, w.Arrived = outage.DeviceID(supplier), state == int64(arrived)
		return err
	})
	return list, sqldb.Unavailable(err)
}

// Housekeep notes which updates have begun, before their 11.3s are deleted, and deletes what is older
// than Keep. check is called in each transaction first.
func (u *Updates) Housekeep(ctx context.Context, now time.Time, check func(context.Context, sqldb.Tx) error) error {
	type begun struct{ esme, known, begins int64 }
	last, more := int64(-1<<63), true
	for more {
		// All rows of a page, so that a database without statistics does not sort the table for each.
		rows, err := u.db.Query(ctx, `SELECT f.esme, f.known_at, CASE WHEN f.begins_at = 0 THEN coalesce(`+begins+`, 0) ELSE 0 END
			FROM (SELECT esme, known_at, begins_at FROM firmware WHERE esme > ?1 ORDER BY esme LIMIT ?2) AS f ORDER BY f.esme`, last, page)
		list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, b *begun) error { return rows.Scan(&b.esme, &b.known, &b.begins) })
		if err != nil {
			return sqldb.Unavailable(err)
		}
		more = len(list) == page
		var found []byte
		for _, b := range list {
			last = b.esme
			if b.begins > 0 && b.begins <= sqldb.Micros(now) { // one that is pending may be cancelled
				found = append(found, "[,"[min(len(found), 1)], '[')
				found = append(strconv.AppendInt(found, b.esme, 10), ',')
				found = append(strconv.AppendInt(found, b.known, 10), ',')
				found = append(strconv.AppendInt(found, b.begins, 10), ']')
			}
		}
		if len(found) == 0 {
			continue
		}
		err = u.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
			if err := check(ctx, tx); err != nil {
				return err
			}
			return tx.Later(ctx, `UPDATE firmware SET begins_at = b.begins_at
				FROM (SELECT CAST(value->>0 AS BIGINT) AS esme, CAST(value->>1 AS BIGINT) AS known_at, CAST(value->>2 AS BIGINT) AS begins_at FROM json_each(?)) AS b
				WHERE firmware.esme = b.esme AND firmware.known_at = b.known_at`, string(append(found, ']')))
		})
		if err != nil {
			return err
		}
	}
	for gone := int64(page); gone == page; {
		var err error
		gone, err = sqldb.Write(ctx, u.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int64, error) {
			if err := check(ctx, tx); err != nil {
				return 0, err
			}
			return tx.Exec(ctx, `DELETE FROM firmware WHERE esme IN (SELECT esme FROM firmware WHERE known_at < ? ORDER BY known_at LIMIT ?)`, sqldb.Micros(now.Add(-Keep)), page)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
