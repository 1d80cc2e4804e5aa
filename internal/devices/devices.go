// Package devices keeps the Smart Metering Inventory, and the device list, which says which
// meters cut their hub's power. It reads their files, imports them, and looks devices up.
//
// The readers of files stream: their memory does not grow with the file. They go on after a
// fault, so that all faults are found at once, and return them by line in a LineErrors.
// After any error nothing of the file may be used, though a part of it may have been
// yielded.
//
// An import is first sorted in a database of its own (Staged), beside the store, so that it
// holds up nobody. Then its rows are written in small transactions, after all that is
// urgent. They carry the number of the import, and count only once it is complete. So an
// import comes into force whole, or not at all. What a crash left of an import, the next
// import deletes.
package devices

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Options are what New needs to know.
type Options struct {
	Dir string // where imports are sorted
	Log *slog.Logger
	// PrepareInventory prepares what an import of the inventory changes elsewhere, before the
	// import comes into force. It returns move, which is called in the transaction that puts
	// the import into force; move returns then, which is called after the commit.
	PrepareInventory func(ctx context.Context, im Import, staged *Staged) (move func(ctx context.Context, tx sqldb.Tx) (then func(), err error), err error)
}

// Devices is the inventory and the device list of a database. Its methods may be called from
// any goroutine.
type Devices struct {
	db   *sqldb.DB
	opts Options
	log  *slog.Logger

	importing sync.Mutex  // held during an import
	plain     atomic.Bool // see KeepPostcodes
}

// New returns the devices of a database.
func New(db *sqldb.DB, opts Options) *Devices {
	return &Devices{db: db, opts: opts, log: opts.Log}
}

// KeepPostcodes says whether imports from now on keep the texts of postcodes and groups, and not
// only hashes of them.
func (ds *Devices) KeepPostcodes(plain bool) { ds.plain.Store(plain) }

const deviceColumns = `d.device_id, d.device_type, d.smets_version, d.manufacturer, d.model, d.chf, d.mpxn, d.supplier, d.area, d.sector`

// newest is a condition for inventory rows d that are in force: the row is of the last
// completed import that has the device.
const newest = `d.import_no = (SELECT max(o.import_no) FROM inventory o JOIN import i ON i.no = o.import_no AND i.state = 'done' WHERE o.device_id = d.device_id)`

// listInForce is SQL for the number of the device list in force.
const listInForce = `(SELECT max(no) FROM import WHERE kind = 'devices' AND state = 'done')`

// HubOf returns SQL for the hub of a meter, which is given as SQL. It is NULL if the
// inventory does not know the meter.
func HubOf(meter string) string {
	return `(SELECT d.chf FROM inventory d WHERE d.device_id = ` + meter + ` AND ` + newest + `)`
}

// Find returns what the inventory says of a device, or nil if it does not know the device;
// and whether the device is in the device list in force.
func Find(ctx context.Context, q sqldb.Querier, id outage.DeviceID) (d *outage.Device, listed bool, err error) {
	list, err := scanDevices(q.Query(ctx, `SELECT `+deviceColumns+` FROM inventory d WHERE d.device_id = ? AND `+newest, int64(id)))
	if err != nil {
		return nil, false, err
	}
	if len(list) > 0 {
		d = &list[0]
	}
	var one int
	err = q.QueryRow(ctx, `SELECT 1 FROM device_list WHERE import_no = `+listInForce+` AND device_id = ?`, int64(id)).Scan(&one)
	if errors.Is(err, sqldb.ErrNoRows) {
		return d, false, nil
	}
	return d, err == nil, err
}

// Device is Find in the store. The error is sqldb.ErrUnavailable.
func (ds *Devices) Device(ctx context.Context, id outage.DeviceID) (d *outage.Device, listed bool, err error) {
	d, listed, err = Find(ctx, ds.db, id)
	return d, listed, sqldb.Unavailable(err)
}

// At returns up to limit devices that the inventory has at an MPxN.
func (ds *Devices) At(ctx context.Context, mpxn string, limit int) ([]outage.Device, error) {
	list, err := scanDevices(ds.db.Query(ctx, `SELECT `+deviceColumns+` FROM inventory d
		JOIN supply_point p ON p.device_id = d.device_id AND p.import_no = d.import_no
		WHERE p.mpxn = ? AND p.mpxn <> '' AND `+newest+` ORDER BY d.device_id LIMIT ?`, mpxn, limit))
	return list, sqldb.Unavailable(err)
}

func scanDevices(rows sqldb.Rows, err error) ([]outage.Device, error) {
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, d *outage.Device) error { return scanDevice(rows, d) })
}

// scanDevice reads deviceColumns, and more columns after these.
func scanDevice(rows sqldb.Rows, d *outage.Device, more ...any) error {
	var id, chf, supplier int64
	err := rows.Scan(append([]any{&id, &d.Type, &d.SMETSVersion, &d.Manufacturer, &d.Model, &chf, &d.MPxN, &supplier, &d.Area, &d.Sector}, more...)...)
	d.ID, d.CHF, d.Supplier = outage.DeviceID(id), outage.DeviceID(chf), outage.DeviceID(supplier)
	return err
}

// List returns up to limit devices of the device list in force whose ids come after the
// given one, in order of the id as a signed number.
func (ds *Devices) List(ctx context.Context, after *outage.DeviceID, limit int) ([]outage.DeviceID, error) {
	from := int64(-1 << 63)
	if after != nil {
		from = int64(*after) + 1
		if from == -1<<63 {
			return nil, nil
		}
	}
	rows, err := ds.db.Query(ctx, `SELECT device_id FROM device_list WHERE import_no = `+listInForce+` AND device_id >= ? ORDER BY device_id LIMIT ?`, from, limit)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, d *outage.DeviceID) error {
		var id int64
		err := rows.Scan(&id)
		*d = outage.DeviceID(id)
		return err
	})
	return list, sqldb.Unavailable(err)
}
