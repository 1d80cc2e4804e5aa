package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"quell/internal/inventory"
	"quell/internal/outage"
)

// importBatch is how many rows one transaction of an import writes: few, since
// decisions wait for it.
const importBatch = 1000

// Import is one import of the inventory or of a device list.
type Import struct {
	No     int64     `json:"no"`
	Source string    `json:"source"` // file names, or "built in"
	SHA256 string    `json:"sha256"` // of the files' octets, one after the other, in hexadecimal
	Rows   int       `json:"rows"`   // devices
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
}

// A File is one file of an import.
type File struct {
	Name string
	io.Reader
}

// ImportInventory takes the devices of the files that next yields, until it
// returns io.EOF, into the inventory: all of them, or none if there is a fault
// in any. Devices that the inventory knows already are replaced, others stay.
// Faults of a file are inventory.LineErrors, wrapped with the file's name;
// ErrUnavailable is the store's.
//
// The rows are written in small transactions behind all that is urgent, and
// come into force in the last.
func (s *Store) ImportInventory(ctx context.Context, who string, at time.Time, next func() (File, error)) (Import, error) {
	const insert = `INSERT INTO inventory (import_no, device_id, device_type, smets_version, manufacturer, model, chf, mpxn)
		SELECT ?1, value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6 FROM json_each(?2) WHERE TRUE
		ON CONFLICT DO NOTHING`
	im := &importer{store: s, insert: insert, unique: true}
	out, err := im.run(ctx, "inventory", who, at, next, func(r io.Reader) error {
		return inventory.ReadDevices(r, func(d outage.Device) error {
			return im.add(ctx, d.ID, func(b []byte) []byte {
				for _, text := range []string{d.Type, d.SMETSVersion, d.Manufacturer, d.Model} {
					b = appendJSON(append(b, ','), text)
				}
				b = strconv.AppendInt(append(b, ','), int64(d.CHF), 10)
				return appendJSON(append(b, ','), d.MPxN)
			})
		})
	})
	if err == nil {
		err = s.dropReplaced(ctx)
	}
	return out, err
}

// ImportList puts the device list of a file into force in place of the one
// before, or leaves that if there is a fault in the file.
func (s *Store) ImportList(ctx context.Context, who string, at time.Time, f File) (Import, error) {
	const insert = `INSERT INTO device_list (import_no, device_id) SELECT ?1, value->>0 FROM json_each(?2) WHERE TRUE ON CONFLICT DO NOTHING`
	im := &importer{store: s, insert: insert}
	files := []File{f}
	out, err := im.run(ctx, "devices", who, at, func() (File, error) {
		if len(files) == 0 {
			return File{}, io.EOF
		}
		f, files = files[0], nil
		return f, nil
	}, func(r io.Reader) error {
		return inventory.ReadList(r, func(id outage.DeviceID) error {
			return im.add(ctx, id, func(b []byte) []byte { return b })
		})
	})
	if err == nil {
		err = s.dropOldLists(ctx)
	}
	return out, err
}

// ErrImporting says that another import is under way.
var ErrImporting = errors.New("another import is under way")

// importer collects rows and writes them in batches.
type importer struct {
	store  *Store
	insert string
	unique bool // the same device twice is a fault
	no     int64
	rows   int
	buf    []byte // JSON array of the rows that wait
	ids    []outage.DeviceID
}

// run makes an import of what read finds in the files.
func (im *importer) run(ctx context.Context, kind, who string, at time.Time, next func() (File, error), read func(io.Reader) error) (Import, error) {
	s := im.store
	if !s.importing.TryLock() {
		return Import{}, ErrImporting
	}
	defer s.importing.Unlock()
	if err := im.begin(ctx, kind, who, at); err != nil {
		return Import{}, err
	}
	sum, source := sha256.New(), ""
	for {
		f, err := next()
		if err == io.EOF {
			err = im.flush(ctx)
			if err == nil {
				out := Import{No: im.no, Source: source, SHA256: hex.EncodeToString(sum.Sum(nil)), Rows: im.rows, At: at, Who: who}
				return out, im.finish(ctx, kind, out)
			}
		} else if err == nil {
			if source != "" {
				source += ", "
			}
			source += f.Name
			if err = read(io.TeeReader(f, sum)); err == nil {
				// What the reader left unread belongs to the digest too.
				_, err = io.Copy(sum, f)
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", f.Name, err)
			}
		}
		if err != nil {
			// The rows are garbage already; they go now, or at the next import.
			s.drop(context.WithoutCancel(ctx), im.no)
			return Import{}, err
		}
	}
}

func (im *importer) begin(ctx context.Context, kind, who string, at time.Time) error {
	s := im.store
	// What is still running now was cut off by a crash.
	var left []int64
	err := s.doLater(ctx, func(ctx context.Context) error {
		rows, err := s.conn.QueryContext(ctx, `SELECT no FROM import WHERE kind = ? AND state = 'running'`, kind)
		left, err = scan(rows, err, func(rows *sql.Rows) (no int64, err error) { return no, rows.Scan(&no) })
		if err != nil {
			return err
		}
		return s.conn.QueryRowContext(ctx, `INSERT INTO import (kind, source, sha256, rows, at, who, state) VALUES (?, '', '', 0, ?, ?, 'running') RETURNING no`,
			kind, micros(at), who).Scan(&im.no)
	}, nil)
	for _, no := range left {
		if err == nil {
			err = s.drop(ctx, no)
		}
	}
	return err
}

// add adds one row: the device's id, and what more appends.
func (im *importer) add(ctx context.Context, id outage.DeviceID, more func([]byte) []byte) error {
	im.buf = append(im.buf, "[,"[min(len(im.ids), 1)], '[')
	im.buf = strconv.AppendInt(im.buf, int64(id), 10)
	im.buf = append(more(im.buf), ']')
	im.ids = append(im.ids, id)
	if len(im.ids) < importBatch {
		return nil
	}
	return im.flush(ctx)
}

func (im *importer) flush(ctx context.Context) error {
	if len(im.ids) == 0 {
		return nil
	}
	s := im.store
	err := s.doLater(ctx, func(ctx context.Context) error {
		res, err := s.conn.ExecContext(ctx, im.insert, im.no, string(append(im.buf, ']')))
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if im.rows += int(n); im.unique && int(n) < len(im.ids) {
			return &refusal{ErrTwice}
		}
		return nil
	}, nil)
	if errors.Is(err, ErrTwice) {
		err = im.twice(ctx)
	}
	im.buf, im.ids = im.buf[:0], im.ids[:0]
	return err
}

// ErrTwice says that an inventory names a device twice.
var ErrTwice = errors.New("a device stands twice")

// twice names the device of the refused batch that stands twice, in it or
// before it.
func (im *importer) twice(ctx context.Context) error {
	seen := map[outage.DeviceID]bool{}
	for _, id := range im.ids {
		var before bool
		err := im.store.reader.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM inventory WHERE device_id = ? AND import_no = ?)`, int64(id), im.no).Scan(&before)
		if err != nil {
			return wrapRead(err)
		}
		if before || seen[id] {
			return fmt.Errorf("%w: %s", ErrTwice, id)
		}
		seen[id] = true
	}
	return ErrTwice
}

func (im *importer) finish(ctx context.Context, kind string, out Import) error {
	s := im.store
	return s.doLater(ctx, func(ctx context.Context) error {
		old, err := lastImport(ctx, s.conn, kind)
		if err != nil {
			return err
		}
		if _, err := s.conn.ExecContext(ctx, `UPDATE import SET source = ?, sha256 = ?, rows = ?, state = 'done' WHERE no = ? AND state = 'running'`,
			out.Source, out.SHA256, out.Rows, out.No); err != nil {
			return err
		}
		return s.insertEvent(ctx, Event{At: out.At, Who: out.Who, What: kind, Old: old.SHA256, New: out.SHA256, Why: out.Source})
	}, nil)
}

// LastImport returns the last import of "inventory" or "devices" that was
// completed; its number is 0 if there was none.
func (s *Store) LastImport(ctx context.Context, kind string) (Import, error) {
	i, err := lastImport(ctx, s.reader, kind)
	return i, wrapRead(err)
}

func lastImport(ctx context.Context, q querier, kind string) (i Import, err error) {
	var at int64
	err = q.QueryRowContext(ctx, `SELECT no, source, sha256, rows, at, who FROM import WHERE kind = ? AND state = 'done' ORDER BY no DESC LIMIT 1`, kind).
		Scan(&i.No, &i.Source, &i.SHA256, &i.Rows, &at, &i.Who)
	i.At = instant(at)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return i, err
}

// List returns up to limit devices of the device list in force with ids after
// the given one, in order of the id as a signed number.
func (s *Store) List(ctx context.Context, after *outage.DeviceID, limit int) ([]outage.DeviceID, error) {
	from := int64(-1 << 63)
	if after != nil {
		from = int64(*after) + 1
		if from == -1<<63 {
			return nil, nil
		}
	}
	rows, err := s.reader.QueryContext(ctx, `SELECT device_id FROM device_list WHERE import_no = `+listInForce+` AND device_id >= ? ORDER BY device_id LIMIT ?`, from, limit)
	list, err := scan(rows, err, func(rows *sql.Rows) (outage.DeviceID, error) {
		var id int64
		err := rows.Scan(&id)
		return outage.DeviceID(id), err
	})
	return list, wrapRead(err)
}

// inSteps runs a statement behind all that is urgent until it changes nothing.
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

// drop deletes the rows of an import that failed.
func (s *Store) drop(ctx context.Context, no int64) error {
	if err := s.inSteps(ctx, `UPDATE import SET state = 'dropped' WHERE no = ? AND state = 'running'`, no); err != nil {
		return err
	}
	if err := s.inSteps(ctx, `DELETE FROM device_list WHERE (import_no, device_id) IN (SELECT import_no, device_id FROM device_list WHERE import_no = ? LIMIT ?)`, no, importBatch); err != nil {
		return err
	}
	return s.dropInventory(ctx, `import_no = ?`, no)
}

// dropOldLists deletes the device lists that are no longer in force.
func (s *Store) dropOldLists(ctx context.Context) error {
	return s.inSteps(ctx, `DELETE FROM device_list WHERE (import_no, device_id) IN (SELECT import_no, device_id FROM device_list WHERE import_no < `+listInForce+` LIMIT ?)`, importBatch)
}

// dropReplaced deletes the inventory rows that a later import replaced.
func (s *Store) dropReplaced(ctx context.Context) error {
	return s.dropInventory(ctx, `EXISTS (SELECT 1 FROM inventory o JOIN import i ON i.no = o.import_no AND i.state = 'done'
		WHERE o.device_id = inventory.device_id AND o.import_no > inventory.import_no)`)
}

// dropInventory walks through the inventory in order of the device, a stretch
// in each transaction, and deletes the rows to which cond applies.
func (s *Store) dropInventory(ctx context.Context, cond string, args ...any) error {
	from, more := int64(-1<<63), true
	for more {
		var to sql.NullInt64
		err := s.reader.QueryRowContext(ctx, `SELECT max(device_id) FROM (SELECT device_id FROM inventory WHERE device_id >= ? ORDER BY device_id LIMIT ?)`,
			from, 5*importBatch).Scan(&to)
		if err != nil {
			return wrapRead(err)
		}
		if !to.Valid {
			return nil
		}
		rows, err := s.reader.QueryContext(ctx, `SELECT device_id, import_no FROM inventory WHERE device_id BETWEEN ? AND ? AND `+cond,
			append([]any{from, to.Int64}, args...)...)
		found, err := scan(rows, err, func(rows *sql.Rows) (k [2]int64, err error) { return k, rows.Scan(&k[0], &k[1]) })
		if err != nil {
			return wrapRead(err)
		}
		for len(found) > 0 {
			var some [][2]int64
			some, found = cut(found, importBatch)
			keys, _ := json.Marshal(some) // numbers always marshal
			if err := s.doLater(ctx, func(ctx context.Context) error {
				_, err := s.conn.ExecContext(ctx, `DELETE FROM inventory WHERE (device_id, import_no) IN (SELECT value->>0, value->>1 FROM json_each(?))`, string(keys))
				return err
			}, nil); err != nil {
				return err
			}
		}
		from, more = to.Int64+1, to.Int64 < 1<<63-1
	}
	return nil
}
