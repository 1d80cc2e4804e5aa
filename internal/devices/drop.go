package devices

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/internal/sqldb"
)

// inSteps runs a statement, after what is urgent, again and again until it changes nothing.
func (ds *Devices) inSteps(ctx context.Context, query string, args ...any) error {
	for n := int64(1); n > 0; {
		var err error
		n, err = sqldb.Write(ctx, ds.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int64, error) {
			return tx.Exec(ctx, query, args...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// giveUpTimeout bounds the wait for the store when an import is given up.
const giveUpTimeout = time.Second

// giveUpImport marks an import that failed, so that its rows are deleted. It changes nothing
// if the import is in force after all, since only the store's answer was lost. It also works
// after ctx has ended.
func (ds *Devices) giveUpImport(ctx context.Context, no int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTimeout)
	defer cancel()
	return ds.db.Do(ctx, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `UPDATE import SET state = 'dropping' WHERE no = ? AND state = 'running'`, no)
	})
}

// dropImport deletes the rows of an import that was given up. s says which devices have such
// rows; if it is nil, the whole inventory is searched for them.
func (ds *Devices) dropImport(ctx context.Context, no int64, s *Staged) error {
	var dropping bool
	err := ds.db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM import WHERE no = ? AND state = 'dropping')`, no).Scan(&dropping)
	if err != nil || !dropping {
		return sqldb.Unavailable(err)
	}
	if err := ds.inSteps(ctx, `DELETE FROM device_list WHERE (import_no, device_id) IN (SELECT import_no, device_id FROM device_list WHERE import_no = ? LIMIT ?)`, no, importBatch); err != nil {
		return err
	}
	if s != nil {
		err = s.IDs(ctx, scanBatch, func(ids []int64) error {
			rows, err := ds.rowsOfDevices(ctx, ids, `import_no = ?2`, no)
			return cmp.Or(err, ds.dropRows(ctx, rows))
		})
	} else {
		err = ds.dropInventory(ctx, `import_no = ?`, no)
	}
	if err != nil {
		return err
	}
	return ds.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `UPDATE import SET state = 'dropped' WHERE no = ? AND state = 'dropping'`, no)
	})
}

// dropOldLists deletes the device lists that are no longer in force.
func (ds *Devices) dropOldLists(ctx context.Context) error {
	return ds.inSteps(ctx, `DELETE FROM device_list WHERE (import_no, device_id) IN (SELECT import_no, device_id FROM device_list WHERE import_no < `+listInForce+` LIMIT ?)`, importBatch)
}

// dropReplaced deletes the inventory rows that an import has replaced. If an earlier import
// did not delete its own (untidy), it deletes those that any import has replaced.
func (ds *Devices) dropReplaced(ctx context.Context, no int64, s *Staged) error {
	var earlier bool
	err := ds.db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM import WHERE untidy = 1 AND no <> ?)`, no).Scan(&earlier)
	switch {
	case err != nil:
		return sqldb.Unavailable(err)
	case earlier:
		err = ds.dropInventory(ctx, `EXISTS (SELECT 1 FROM inventory o JOIN import i ON i.no = o.import_no AND i.state = 'done'
			WHERE o.device_id = inventory.device_id AND o.import_no > inventory.import_no)`)
	default:
		var rows []string
		err = s.each(ctx, `SELECT 0, row FROM replaced`, func(_ int64, row string) (err error) {
			if rows = append(rows, row); len(rows) == scanBatch {
				err = ds.dropRows(ctx, rows)
				rows = rows[:0]
			}
			return err
		})
		err = cmp.Or(err, ds.dropRows(ctx, rows))
	}
	if err != nil {
		return err
	}
	return ds.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `UPDATE import SET untidy = 0 WHERE untidy = 1 AND no <= ?`, no)
	})
}

// scanBatch is how many devices of the inventory are searched at a time.
const scanBatch = 20 * importBatch

// stageReplaced stages the rows of some devices that an import will replace, for
// dropReplaced. It is called while these devices are being written: to read all that is
// staged once more would cost a large import a tenth of its time.
func (ds *Devices) stageReplaced(ctx context.Context, s *Staged, ids []int64, no int64) error {
	rows, err := ds.rowsOfDevices(ctx, ids, `import_no < ?2`, no)
	for _, row := range rows {
		if err == nil {
			_, err = s.tx.ExecContext(ctx, `INSERT INTO replaced (row) VALUES (?)`, row)
		}
	}
	return err
}

// rowsOfDevices returns the rows of some devices for which cond is true. Its parameter ?2 is
// no.
func (ds *Devices) rowsOfDevices(ctx context.Context, ids []int64, cond string, no int64) ([]string, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return ds.inventoryRows(ctx, `device_id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?1)) AND `+cond, sqldb.Column(ids), no)
}

// dropInventory goes through the inventory in order of the device, scanBatch devices at a
// time, and deletes the rows for which cond is true.
func (ds *Devices) dropInventory(ctx context.Context, cond string, args ...any) error {
	from, more := int64(-1<<63), true
	for more {
		var to sql.NullInt64
		err := ds.db.QueryRow(ctx, `SELECT max(device_id) FROM (SELECT device_id FROM inventory WHERE device_id >= ? ORDER BY device_id LIMIT ?) AS batch`,
			from, scanBatch).Scan(&to)
		if err != nil {
			return sqldb.Unavailable(err)
		}
		if !to.Valid {
			return nil
		}
		rows, err := ds.inventoryRows(ctx, `device_id BETWEEN ? AND ? AND `+cond, append([]any{from, to.Int64}, args...)...)
		if err := cmp.Or(err, ds.dropRows(ctx, rows)); err != nil {
			return err
		}
		from, more = to.Int64+1, to.Int64 < 1<<63-1
	}
	return nil
}

// inventoryRows returns the rows of the inventory for which cond is true, each as a JSON
// array of device, import, MPxN, area and sector.
func (ds *Devices) inventoryRows(ctx context.Context, cond string, args ...any) ([]string, error) {
	rows, err := ds.db.Query(ctx, `SELECT device_id, import_no, mpxn, area, sector FROM inventory WHERE `+cond, args...)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, row *string) error {
		var id, no, area, sector int64
		var mpxn string
		err := rows.Scan(&id, &no, &mpxn, &area, &sector)
		b := append(strconv.AppendInt([]byte("["), id, 10), ',')
		b = sqldb.AppendText(append(strconv.AppendInt(b, no, 10), ','), mpxn)
		b = append(strconv.AppendInt(append(b, ','), area, 10), ',')
		*row = string(append(strconv.AppendInt(b, sector, 10), ']'))
		return err
	})
	return list, sqldb.Unavailable(err)
}

// dropRows deletes rows that inventoryRows returned, in small transactions.
func (ds *Devices) dropRows(ctx context.Context, rows []string) error {
	for some := range slices.Chunk(rows, importBatch) {
		keys := "[" + strings.Join(some, ",") + "]"
		if err := ds.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
			if _, err := tx.Exec(ctx, `DELETE FROM supply_point WHERE (mpxn, import_no, device_id) IN
				(SELECT value->>2, CAST(value->>1 AS BIGINT), CAST(value->>0 AS BIGINT) FROM json_each(?))`, keys); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `DELETE FROM inventory_place WHERE (place, import_no, device_id) IN
				(SELECT CAST(value->>3 AS BIGINT), CAST(value->>1 AS BIGINT), CAST(value->>0 AS BIGINT) FROM json_each(?1)
				UNION ALL SELECT CAST(value->>4 AS BIGINT), CAST(value->>1 AS BIGINT), CAST(value->>0 AS BIGINT) FROM json_each(?1))`, keys); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `DELETE FROM inventory WHERE (device_id, import_no) IN (SELECT CAST(value->>0 AS BIGINT), CAST(value->>1 AS BIGINT) FROM json_each(?))`, keys)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
