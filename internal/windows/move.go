package windows

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// A window is on the hub of its meter, which alerts name. When an import of the
// inventory says that a meter is on another hub, its windows that are not over move
// there with it, in the transaction that puts the import into force: the old hub may
// be in another home by then. A hub that is not known is nobody's.

// onOther finds the windows of an import, ?1, that are not over at the instant ?2
// and are on another hub than it says.
const onOther = ` FROM activation a JOIN inventory d ON d.device_id = a.esme AND d.import_no = ?1 WHERE a.ends_at > ?2 AND a.chf <> d.chf`

// smallMove finds them from the devices in ?3.
const smallMove = `SELECT a.id FROM (SELECT CAST(value->>0 AS BIGINT) AS id FROM json_each(?3)) AS h
	CROSS JOIN activation a JOIN inventory d ON d.device_id = a.esme AND d.import_no = ?1 WHERE a.esme = h.id AND a.ends_at > ?2 AND a.chf <> d.chf`

// smallImport is how many devices an import has at most that asks for the windows of its own
// meters, and not for all there are.
const smallImport = 5000

// An InventoryImport is an import of the inventory that is not in force yet.
type InventoryImport struct {
	No   int64
	At   time.Time
	Rows int // devices
	// IDs yields the devices, up to n at a time.
	IDs func(ctx context.Context, n int, yield func([]int64) error) error
}

// Moved says which hubs windows have moved between.
type Moved struct {
	From []int64
	To   []outage.DeviceID
}

// PrepareMove finds the windows that an import of the inventory moves: so many may have to be
// looked at that nothing should wait for it. move moves them, and those that were recorded
// since, in the transaction that puts the import into force.
func (w *Windows) PrepareMove(ctx context.Context, im InventoryImport) (move func(ctx context.Context, tx sqldb.Tx) (Moved, error), err error) {
	var upTo int64 // the last activation that was looked at
	if err := w.db.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&upTo); err != nil {
		return nil, err
	}
	var found []int64
	if im.Rows > smallImport {
		found, err = sqldb.Numbers(w.db.Query(ctx, `SELECT a.id`+onOther, im.No, sqldb.Micros(im.At)))
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
