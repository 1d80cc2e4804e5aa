package windows

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// A window is on the hub of its meter, since alerts name the hub. When an import of the
// inventory puts a meter on another hub, its windows that are not over move to that hub too,
// in the transaction that puts the import into force: the old hub may be in another home by
// then. If the new hub is not known, its windows are on no hub.

// onOtherHub selects the windows of meters in the import ?1 that are not over at the instant
// ?2, and are on another hub than the import says.
const onOtherHub = ` FROM activation a JOIN inventory d ON d.device_id = a.esme AND d.import_no = ?1 WHERE a.ends_at > ?2 AND a.chf <> d.chf`

// smallMove finds these windows for the devices in ?3.
const smallMove = `SELECT a.id FROM (SELECT CAST(value->>0 AS BIGINT) AS id FROM json_each(?3)) AS h
	CROSS JOIN activation a JOIN inventory d ON d.device_id = a.esme AND d.import_no = ?1 WHERE a.esme = h.id AND a.ends_at > ?2 AND a.chf <> d.chf`

// smallImport is how many devices an import may have for smallMove. For a larger one all
// windows are searched.
const smallImport = 5000

// An InventoryImport is an import of the inventory that is not in force yet.
type InventoryImport struct {
	No   int64
	At   time.Time
	Rows int // devices
	// IDs yields the ids of the devices, up to n at a time.
	IDs func(ctx context.Context, n int, yield func([]int64) error) error
}

// Moved says from which hubs windows have moved, and to which: From[i] to To[i].
type Moved struct {
	From []int64
	To   []outage.DeviceID
}

// PrepareMove finds the windows that an import of the inventory moves. It may have to search
// so many that nothing should wait for it. move moves them, and those that were recorded
// since, in the transaction that puts the import into force.
func (w *Windows) PrepareMove(ctx context.Context, im InventoryImport) (move func(ctx context.Context, tx sqldb.Tx) (Moved, error), err error) {
	var upTo int64 // the last activation that is searched here
	if err := w.db.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&upTo); err != nil {
		return nil, err
	}
	var found []int64
	if im.Rows > smallImport {
		found, err = sqldb.Numbers(w.db.Query(ctx, `SELECT a.id`+onOtherHub, im.No, sqldb.Micros(im.At)))
	} else {
		err = im.IDs(ctx, smallImport, func(meters []int64) (err error) {
			found, err = sqldb.Numbers(w.db.Query(ctx, smallMove, im.No, sqldb.Micros(im.At), sqldb.Column(meters)))
			return err
		})
	}
	return func(ctx context.Context, tx sqldb.Tx) (Moved, error) { return w.move(ctx, tx, im, upTo, found) }, err
}

func (w *Windows) move(ctx context.Context, tx sqldb.Tx, im InventoryImport, upTo int64, found []int64) (m Moved, err error) {
	rows, err := tx.Query(ctx, `SELECT a.id, a.chf, d.chf FROM inventory d JOIN (
			SELECT id, esme, chf, ends_at FROM activation WHERE id > ?3
			UNION ALL SELECT id, esme, chf, ends_at FROM activation WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?4)) AND id <= ?3
		) AS a ON d.device_id = a.esme AND d.import_no = ?1 WHERE a.ends_at > ?2 AND a.chf <> d.chf`, im.No, sqldb.Micros(im.At), upTo, sqldb.Column(found))
	moves, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, v *[3]int64) error { return rows.Scan(&v[0], &v[1], &v[2]) })
	if err != nil {
		return m, err
	}
	for _, v := range moves {
		if err := tx.Later(ctx, `UPDATE activation SET chf = ?, moved = ? WHERE id = ?`, v[2], im.No, v[0]); err != nil {
			return m, err
		}
		m.From, m.To = append(m.From, v[1]), append(m.To, outage.DeviceID(v[2]))
	}
	return m, nil
}
