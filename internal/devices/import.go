package devices

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// importBatch is how many rows one transaction of an import writes: few, since decisions
// wait for it.
const importBatch = 250

// Import is one import of the inventory or of a device list.
type Import struct {
	No     int64     `json:"no"`
	Source string    `json:"source"` // file names, or "built in"
	SHA256 string    `json:"sha256"` // of the files' bytes, one after the other, in hexadecimal
	Rows   int       `json:"rows"`   // devices
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	// Skipped is how many devices in the files are gone: decommissioned or withdrawn. It is
	// not stored: only ImportInventory sets it.
	Skipped int `json:"skipped,omitempty"`
}

// A File is one file of an import.
type File struct {
	Name string
	io.Reader
}

// ImportInventory imports the devices of the files that next returns, until it returns
// io.EOF: all of them, or none if any has a fault. Devices that the inventory has already
// are replaced; its other devices stay. Faults of a file are LineErrors, wrapped with the
// file's name, or ErrTwice. The error may also be ErrImporting, sqldb.ErrUnavailable, or
// that of a check. The checks run before anything is changed.
func (ds *Devices) ImportInventory(ctx context.Context, who string, at time.Time, next func() (File, error), checks ...Check) (Import, error) {
	skipped := 0
	where := places{ds: ds, plain: ds.plain.Load(), known: map[string]int64{}}
	out, err := ds.runImport(ctx, "inventory", who, at, next, checks, func(r io.Reader, s *Staged) error {
		n, err := ReadInventory(r, func(d outage.Device) error {
			if err := where.set(ctx, &d); err != nil {
				return err
			}
			return s.add(d.ID, d.MPxN, deviceRow(d), placesOf(&d)...)
		})
		skipped += n
		return err
	})
	if where.odd > 0 && err == nil {
		ds.log.Warn("an inventory has texts in the column postcode that are no postcodes; they count as unknown", "devices", where.odd)
	}
	out.Skipped = skipped
	return out, err
}

// deviceRow returns a device as it is staged.
func deviceRow(d outage.Device) []byte {
	row := strconv.AppendInt([]byte("["), int64(d.ID), 10)
	for _, text := range []string{d.Type, d.SMETSVersion, d.Manufacturer, d.Model} {
		row = sqldb.AppendText(append(row, ','), text)
	}
	row = strconv.AppendInt(append(row, ','), int64(d.CHF), 10)
	row = sqldb.AppendText(append(row, ','), d.MPxN)
	for _, n := range []int64{int64(d.Supplier), d.Area, d.Sector} {
		row = strconv.AppendInt(append(row, ','), n, 10)
	}
	for _, text := range []string{d.Postcode, d.Group} {
		row = sqldb.AppendText(append(row, ','), text)
	}
	return append(row, ']')
}

// ImportList replaces the device list in force with that of a file; it changes nothing if
// the file has a fault. A device that is in the file twice counts once. Errors are those of
// ImportInventory.
func (ds *Devices) ImportList(ctx context.Context, who string, at time.Time, f File, checks ...Check) (Import, error) {
	files := []File{f}
	out, err := ds.runImport(ctx, "devices", who, at, func() (File, error) {
		if len(files) == 0 {
			return File{}, io.EOF
		}
		f, files = files[0], nil
		return f, nil
	}, checks, func(r io.Reader, s *Staged) error {
		return ReadList(r, func(id outage.DeviceID) error { return s.add(id, "", nil) })
	})
	if err == nil {
		ds.warnRowsLeft(ds.dropOldLists(ctx))
	}
	return out, err
}

// warnRowsLeft logs that the rows that an import has replaced could not be deleted. The
// import is in force all the same, and the next one deletes them.
func (ds *Devices) warnRowsLeft(err error) {
	if err != nil {
		ds.log.Warn("rows that an import has replaced were not deleted; the next import deletes them", "error", err)
	}
}

var (
	// ErrImporting says that another import is under way.
	ErrImporting = errors.New("another import is under way")
	// errDropped says that an import made no progress for too long, and that another node
	// has given it up.
	errDropped = fmt.Errorf("%w: it has dropped this one, which made no progress for too long", ErrImporting)
	// ErrTwice says that an inventory has a device twice.
	ErrTwice = errors.New("a device is in the files twice")
)

// runImport stages what read finds in the files, without a change of the store. Then it
// writes that in order of the device: in small transactions after what is urgent. The last
// one puts it into force.
func (ds *Devices) runImport(ctx context.Context, kind, who string, at time.Time, next func() (File, error), checks []Check, read func(io.Reader, *Staged) error) (Import, error) {
	if !ds.importing.TryLock() {
		return Import{}, ErrImporting
	}
	defer ds.importing.Unlock()
	s, err := openStaged(ctx, filepath.Join(ds.opts.Dir, "import.tmp"))
	if err != nil {
		return Import{}, fmt.Errorf("%w: %w", sqldb.ErrUnavailable, err)
	}
	defer s.close()
	im := Import{At: at, Who: sqldb.Text(who)}
	sum := sha256.New()
	for {
		f, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Import{}, err
		}
		if im.Source != "" {
			im.Source += ", "
		}
		im.Source += f.Name
		if err = read(io.TeeReader(f, sum), s); err == nil {
			_, err = io.Copy(sum, f) // the digest is also of what the reader left unread
		}
		if err != nil {
			return Import{}, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	im.SHA256, im.Source = hex.EncodeToString(sum.Sum(nil)), sqldb.Text(im.Source)
	change, err := ds.runChecks(ctx, kind, s, im, checks)
	if err != nil {
		return Import{}, err
	}
	if im.No, err = ds.beginImport(ctx, kind, &im); err != nil {
		return Import{}, err
	}
	err = ds.writeStaged(ctx, kind, s, &im)
	if err == nil {
		err = ds.finishImport(ctx, kind, &im, change, s)
	}
	if err != nil {
		// Its rows do not count. They are deleted now; or by the next import, if nobody waits
		// for this one any more.
		if ds.giveUpImport(ctx, im.No) == nil && ctx.Err() == nil {
			ds.dropImport(ctx, im.No, s)
		}
		return Import{}, err
	}
	if kind == "inventory" {
		ds.warnRowsLeft(ds.dropReplaced(ctx, im.No, s))
	}
	return im, nil
}

// writeStaged writes what is staged, and counts the devices.
func (ds *Devices) writeStaged(ctx context.Context, kind string, s *Staged, im *Import) error {
	if kind == "devices" {
		w := ds.listWriter(im.No)
		last, first := int64(0), true
		err := s.each(ctx, `SELECT id, '' FROM staged ORDER BY id`, func(id int64, _ string) error {
			if id == last && !first {
				return nil
			}
			last, first = id, false
			im.Rows++
			return w.add(ctx, append(strconv.AppendInt([]byte("["), id, 10), ']'))
		})
		return cmp.Or(err, w.flush(ctx))
	}
	w := &writer{devices: ds, importNo: im.No, insert: `INSERT INTO inventory (import_no, device_id, device_type, smets_version, manufacturer, model, chf, mpxn, supplier, area, sector, postcode, feeder)
		SELECT ?1, CAST(value->>0 AS BIGINT), value->>1, value->>2, value->>3, value->>4, CAST(value->>5 AS BIGINT), value->>6, CAST(value->>7 AS BIGINT),
			CAST(value->>8 AS BIGINT), CAST(value->>9 AS BIGINT), value->>10, value->>11 FROM json_each(?2)`}
	last := int64(0) // no device has the id 0
	var ids []int64
	err := s.each(ctx, `SELECT id, row FROM staged ORDER BY id`, func(id int64, row string) error {
		if id == last {
			return fmt.Errorf("%w: %s", ErrTwice, outage.DeviceID(id))
		}
		last = id
		im.Rows++
		if ids = append(ids, id); len(ids) == scanBatch {
			if err := ds.stageReplaced(ctx, s, ids, im.No); err != nil {
				return err
			}
			ids = ids[:0]
		}
		return w.add(ctx, []byte(row))
	})
	if err := cmp.Or(err, ds.stageReplaced(ctx, s, ids, im.No), w.flush(ctx)); err != nil {
		return err
	}
	w.insert = `INSERT INTO supply_point (import_no, device_id, mpxn) SELECT ?1, CAST(value->>0 AS BIGINT), value->>1 FROM json_each(?2)`
	err = s.each(ctx, `SELECT id, mpxn FROM staged WHERE mpxn <> '' ORDER BY mpxn, id`, func(id int64, mpxn string) error {
		return w.add(ctx, append(sqldb.AppendText(append(strconv.AppendInt([]byte("["), id, 10), ','), mpxn), ']'))
	})
	if err := cmp.Or(err, w.flush(ctx)); err != nil {
		return err
	}
	w.insert = `INSERT INTO inventory_place (import_no, place, device_id) SELECT ?1, CAST(value->>0 AS BIGINT), CAST(value->>1 AS BIGINT) FROM json_each(?2)`
	err = s.each(ctx, `SELECT place, CAST(id AS TEXT) FROM staged_place ORDER BY place, id`, func(place int64, id string) error {
		return w.add(ctx, append(append(append(strconv.AppendInt([]byte("["), place, 10), ','), id...), ']'))
	})
	return cmp.Or(err, w.flush(ctx))
}

// writer writes rows, which are JSON arrays, in batches.
type writer struct {
	devices  *Devices
	insert   string
	importNo int64
	buf      []byte
	n        int
}

// listWriter returns a writer of rows of a device list.
func (ds *Devices) listWriter(no int64) *writer {
	return &writer{devices: ds, importNo: no, insert: `INSERT INTO device_list (import_no, device_id) SELECT ?1, CAST(value->>0 AS BIGINT) FROM json_each(?2)`}
}

func (w *writer) add(ctx context.Context, row []byte) error {
	w.buf = append(append(w.buf, "[,"[min(w.n, 1)]), row...)
	if w.n++; w.n < importBatch {
		return nil
	}
	return w.flush(ctx)
}

func (w *writer) flush(ctx context.Context) error {
	if w.n == 0 {
		return nil
	}
	insert, rows := w.insert, string(append(w.buf, ']')) // copies: the change may run after Do has returned
	w.buf, w.n = w.buf[:0], 0
	return w.devices.db.Do(ctx, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
		if err := w.devices.touchImport(ctx, tx, w.importNo); err != nil {
			return err
		}
		return tx.Later(ctx, insert, w.importNo, rows)
	})
}

// beginImport gives an import its number, and deletes what a crash left of others.
func (ds *Devices) beginImport(ctx context.Context, kind string, im *Import) (int64, error) {
	type begun struct {
		no   int64
		left []int64 // the numbers of imports that did not end
	}
	b, err := sqldb.Write(ctx, ds.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (b begun, err error) {
		b.left, err = sqldb.Numbers(tx.Query(ctx, `SELECT no FROM import WHERE state IN ('running', 'dropping')`))
		if err != nil {
			return b, err
		}
		if ds.db.Remote() && len(b.left) > 0 {
			var others bool // another node is importing
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM import WHERE state = 'running' AND touched > `+sqldb.ServerTime+` - ?)`,
				importTimeout.Microseconds()).Scan(&others); err != nil {
				return b, err
			}
			if others {
				return b, sqldb.Unchanged(ErrImporting)
			}
		}
		err = tx.QueryRow(ctx, `INSERT INTO import (kind, source, sha256, rows, at, who, state) VALUES (?, ?, ?, 0, ?, ?, 'running') RETURNING no`,
			kind, im.Source, im.SHA256, sqldb.Micros(im.At), im.Who).Scan(&b.no)
		if err != nil {
			return b, err
		}
		return b, ds.touchImport(ctx, tx, b.no)
	})
	if err != nil {
		return 0, err
	}
	for _, no := range b.left {
		if err := ds.giveUpImport(ctx, no); err != nil {
			return 0, err
		}
		if err := ds.dropImport(ctx, no, nil); err != nil {
			return 0, err
		}
	}
	return b.no, nil
}

// importTimeout is how long an import may make no progress before another node drops it.
const importTimeout = time.Minute

// touchImport shows other nodes that an import makes progress. The error is errDropped if
// one of them has dropped it.
func (ds *Devices) touchImport(ctx context.Context, tx sqldb.Tx, no int64) error {
	if !ds.db.Remote() {
		return nil
	}
	n, err := tx.Exec(ctx, `UPDATE import SET touched = `+sqldb.ServerTime+` WHERE no = ? AND state = 'running'`, no)
	if err == nil && n == 0 {
		err = sqldb.Unchanged(errDropped)
	}
	return err
}

// finishImport puts an import into force, unless it is in force already.
func (ds *Devices) finishImport(ctx context.Context, kind string, im *Import, c *Change, s *Staged) error {
	move := func(context.Context, sqldb.Tx) (func(), error) { return func() {}, nil }
	if kind == "inventory" {
		var err error
		if move, err = ds.opts.PrepareInventory(ctx, *im, s); err != nil {
			return sqldb.Unavailable(err)
		}
	}
	by := events.Event{}.By(ctx)
	_, err := sqldb.Write(ctx, ds.db, sqldb.Background|sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) (then func(), err error) {
		old, err := LastImport(ctx, tx, kind)
		if err != nil {
			return nil, err
		}
		n, err := tx.Exec(ctx, `UPDATE import SET rows = ?, state = 'done', untidy = ? WHERE no = ? AND state = 'running'`,
			im.Rows, sqldb.Bool(kind == "inventory"), im.No)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			var state string
			if err := tx.QueryRow(ctx, `SELECT state FROM import WHERE no = ?`, im.No).Scan(&state); err != nil {
				return nil, err
			}
			if state != "done" {
				return nil, sqldb.Unchanged(errDropped)
			}
			return func() {}, nil // an earlier try put it into force, and the answer was lost
		}
		if then, err = move(ctx, tx); err == nil && c != nil {
			err = tx.Later(ctx, `INSERT INTO import_change (import_no, had, has, added, removed, changed, additions, removals) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				im.No, c.Before, c.After, c.Added, c.Removed, c.Changed, numbersOf(c.Additions), numbersOf(c.Removals))
		}
		if err != nil {
			return nil, err
		}
		e := events.Event{At: im.At, Who: im.Who, What: kind, Old: old.SHA256, New: im.SHA256, Why: im.Source, Role: by.Role, From: by.From}
		return then, errors.Join(events.Insert(ctx, tx, e), tx.Notify(ctx))
	}, func(then func()) { then() })
	return err
}

// numbersOf returns devices as a JSON array of numbers.
func numbersOf(list []outage.DeviceID) string {
	ids := make([]int64, len(list))
	for i, id := range list {
		ids[i] = int64(id)
	}
	text, _ := json.Marshal(ids) // numbers always marshal
	return string(text)
}

// LastImport is the function LastImport in the store. The error is sqldb.ErrUnavailable.
func (ds *Devices) LastImport(ctx context.Context, kind string) (Import, error) {
	ctx, cancel := ds.db.Bounded(ctx)
	defer cancel()
	i, err := LastImport(ctx, ds.db, kind)
	return i, sqldb.Unavailable(err)
}

// LastImport returns the last completed import of a kind, "inventory" or "devices"; its
// number is 0 if there was none.
func LastImport(ctx context.Context, q sqldb.Querier, kind string) (i Import, err error) {
	var at int64
	err = q.QueryRow(ctx, `SELECT no, source, sha256, rows, at, who FROM import WHERE kind = ? AND state = 'done' ORDER BY no DESC LIMIT 1`, kind).
		Scan(&i.No, &i.Source, &i.SHA256, &i.Rows, &at, &i.Who)
	i.At = sqldb.Instant(at)
	if errors.Is(err, sqldb.ErrNoRows) {
		err = nil
	}
	return i, err
}
