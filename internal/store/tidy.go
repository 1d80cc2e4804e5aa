package store

import (
	"context"
	"database/sql"
	"encoding/json"
)

// inSteps runs a statement behind what is urgent until it changes nothing.
func (s *Store) inSteps(ctx context.Context, query string, args ...any) error {
	for n := int64(1); n > 0; {
		err := s.doLater(ctx, func(ctx context.Context) error {
			res, err := s.conn.ExecContext(ctx, query, args...)
			if err != nil {
				return err
			}
			n, err = res.RowsAffected()
			return err
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// drop deletes the rows of an import that failed, unless it is in force: its
// failure may have been that the store's answer was lost. What it had staged says
// which devices they are of; without that all are looked at.
func (s *Store) drop(ctx context.Context, no int64, g *stage) error {
	dropping := false
	err := s.doLater(ctx, func(ctx context.Context) error {
		res, err := s.conn.ExecContext(ctx, `UPDATE import SET state = 'dropping' WHERE no = ? AND state IN ('running', 'dropping')`, no)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		dropping = n > 0
		return err
	}, nil)
	if err != nil || !dropping {
		return err
	}
	if err := s.inSteps(ctx, `DELETE FROM device_list WHERE (import_no, device_id) IN (SELECT import_no, device_id FROM device_list WHERE import_no = ? LIMIT ?)`, no, importBatch); err != nil {
		return err
	}
	if g != nil {
		err = s.dropStaged(ctx, g, `import_no = ?2`, no)
	} else {
		err = s.dropInventory(ctx, `import_no = ?`, no)
	}
	if err != nil {
		return err
	}
	return s.doLater(ctx, func(ctx context.Context) error {
		return s.conn.later(ctx, `UPDATE import SET state = 'dropped' WHERE no = ? AND state = 'dropping'`, no)
	}, nil)
}

// dropOldLists deletes the device lists that are no longer in force.
func (s *Store) dropOldLists(ctx context.Context) error {
	return s.inSteps(ctx, `DELETE FROM device_list WHERE (import_no, device_id) IN (SELECT import_no, device_id FROM device_list WHERE import_no < `+listInForce+` LIMIT ?)`, importBatch)
}

// dropReplaced deletes the inventory rows that an import has replaced, and, if an
// import before it did not come to that, those that any has.
func (s *Store) dropReplaced(ctx context.Context, no int64, g *stage) error {
	var before bool
	err := s.reader.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM import WHERE untidy = 1 AND no <> ?)`, no).Scan(&before)
	switch {
	case err != nil:
		return wrapRead(err)
	case before:
		err = s.dropInventory(ctx, `EXISTS (SELECT 1 FROM inventory o JOIN import i ON i.no = o.import_no AND i.state = 'done'
			WHERE o.device_id = inventory.device_id AND o.import_no > inventory.import_no)`)
	default:
		err = s.dropStaged(ctx, g, `import_no < ?2`, no)
	}
	if err != nil {
		return err
	}
	return s.doLater(ctx, func(ctx context.Context) error {
		return s.conn.later(ctx, `UPDATE import SET untidy = 0 WHERE untidy = 1 AND no <= ?`, no)
	}, nil)
}

// stretch is how many devices of the inventory are looked at at once.
const stretch = 20 * importBatch

// dropStaged deletes the rows of the devices that an import has staged to which cond
// applies; no is its second parameter.
func (s *Store) dropStaged(ctx context.Context, g *stage, cond string, no int64) error {
	return g.ids(ctx, stretch, func(ids []int64) error {
		return s.dropRows(ctx, `SELECT device_id, import_no, mpxn FROM inventory
			WHERE device_id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?1)) AND `+cond, column(ids), no)
	})
}

// dropInventory walks through the inventory in order of the device, a stretch
// in each transaction, and deletes the rows to which cond applies.
func (s *Store) dropInventory(ctx context.Context, cond string, args ...any) error {
	from, more := int64(-1<<63), true
	for more {
		var to sql.NullInt64
		err := s.reader.QueryRowContext(ctx, `SELECT max(device_id) FROM (SELECT device_id FROM inventory WHERE device_id >= ? ORDER BY device_id LIMIT ?) AS stretch`,
			from, stretch).Scan(&to)
		if err != nil {
			return wrapRead(err)
		}
		if !to.Valid {
			return nil
		}
		if err := s.dropRows(ctx, `SELECT device_id, import_no, mpxn FROM inventory WHERE device_id BETWEEN ? AND ? AND `+cond,
			append([]any{from, to.Int64}, args...)...); err != nil {
			return err
		}
		from, more = to.Int64+1, to.Int64 < 1<<63-1
	}
	return nil
}

// dropRows deletes the rows of the inventory that a query finds, in small transactions.
func (s *Store) dropRows(ctx context.Context, query string, args ...any) error {
	rows, err := s.reader.QueryContext(ctx, query, args...)
	found, err := scan(rows, err, func(rows rowSet) (k [3]any, err error) {
		var id, no int64
		var mpxn string
		err = rows.Scan(&id, &no, &mpxn)
		return [3]any{id, no, mpxn}, err
	})
	if err != nil {
		return wrapRead(err)
	}
	for len(found) > 0 {
		var some [][3]any
		some, found = cut(found, importBatch)
		keys, _ := json.Marshal(some) // numbers and text always marshal
		if err := s.doLater(ctx, func(ctx context.Context) error {
			if _, err := s.conn.ExecContext(ctx, `DELETE FROM supply_point WHERE (mpxn, import_no, device_id) IN
				(SELECT value->>2, CAST(value->>1 AS BIGINT), CAST(value->>0 AS BIGINT) FROM json_each(?))`, string(keys)); err != nil {
				return err
			}
			_, err := s.conn.ExecContext(ctx, `DELETE FROM inventory WHERE (device_id, import_no) IN (SELECT CAST(value->>0 AS BIGINT), CAST(value->>1 AS BIGINT) FROM json_each(?))`, string(keys))
			return err
		}, nil); err != nil {
			return err
		}
	}
	return nil
}
