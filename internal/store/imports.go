package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"quell/internal/inventory"
	"quell/internal/outage"
)

// importBatch is how many rows one transaction of an import writes: few, since
// decisions wait for it.
const importBatch = 250

// Import is one import of the inventory or of a device list.
type Import struct {
	No     int64     `json:"no"`
	Source string    `json:"source"` // file names, or "built in"
	SHA256 string    `json:"sha256"` // of the files' bytes, one after the other, in hexadecimal
	Rows   int       `json:"rows"`   // devices
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	// Skipped is how many devices the files have that are gone: decommissioned or
	// withdrawn. It is known of an import that has just been made.
	Skipped int `json:"skipped,omitempty"`
}

// A File is one file of an import.
type File struct {
	Name string
	io.Reader
}

// ImportInventory takes the devices of the files that next yields, until it
// returns io.EOF, into the inventory: all of them, or none if there is a fault
// in any. Devices that the inventory knows already are replaced, others stay.
// Faults of a file are inventory.LineErrors, wrapped with the file's name, or
// ErrTwice; ErrUnavailable is the store's, ErrImporting another import's.
// Each of the checks is asked before anything is changed.
func (s *Store) ImportInventory(ctx context.Context, who string, at time.Time, next func() (File, error), checks ...Check) (Import, error) {
	skipped := 0
	out, err := s.runImport(ctx, "inventory", who, at, next, checks, func(r io.Reader, g *stage) error {
		n, err := inventory.ReadDevices(r, func(d outage.Device) error { return g.add(d.ID, d.MPxN, deviceRow(d)) })
		skipped += n
		return err
	})
	out.Skipped = skipped
	return out, err
}

// deviceRow is a device as it is staged.
func deviceRow(d outage.Device) []byte {
	row := strconv.AppendInt([]byte("["), int64(d.ID), 10)
	for _, text := range []string{d.Type, d.SMETSVersion, d.Manufacturer, d.Model} {
		row = appendJSON(append(row, ','), text)
	}
	row = strconv.AppendInt(append(row, ','), int64(d.CHF), 10)
	return append(appendJSON(append(row, ','), d.MPxN), ']')
}

// ImportList puts the device list of a file into force in place of the one
// before, or leaves that if there is a fault in the file. A device that stands
// twice counts once. Errors are those of ImportInventory.
func (s *Store) ImportList(ctx context.Context, who string, at time.Time, f File, checks ...Check) (Import, error) {
	files := []File{f}
	out, err := s.runImport(ctx, "devices", who, at, func() (File, error) {
		if len(files) == 0 {
			return File{}, io.EOF
		}
		f, files = files[0], nil
		return f, nil
	}, checks, func(r io.Reader, g *stage) error {
		return inventory.ReadList(r, func(id outage.DeviceID) error { return g.add(id, "", nil) })
	})
	if err == nil {
		s.tidied(s.dropOldLists(ctx))
	}
	return out, err
}

// tidied tells that the rows an import has replaced could not be deleted. The
// import is in force all the same, and the next deletes them.
func (s *Store) tidied(err error) {
	if err != nil {
		s.opts.Log.Warn("rows that an import has replaced are left for the next", "error", err)
	}
}

var (
	// ErrImporting says that another import is under way.
	ErrImporting = errors.New("another import is under way")
	// errDropped says that an import was not heard of for too long, and that
	// another node has dropped it.
	errDropped = fmt.Errorf("%w: it had not heard of this one for too long, and dropped it", ErrImporting)
	// ErrTwice says that an inventory names a device twice.
	ErrTwice = errors.New("a device stands twice")
)

// runImport stages what read finds in the files, which changes nothing of the
// store, and then loads it in order of the device: in small transactions behind
// what is urgent, the last of which puts it into force.
func (s *Store) runImport(ctx context.Context, kind, who string, at time.Time, next func() (File, error), checks []Check, read func(io.Reader, *stage) error) (Import, error) {
	if !s.importing.TryLock() {
		return Import{}, ErrImporting
	}
	defer s.importing.Unlock()
	g, err := openStage(ctx, filepath.Join(s.opts.Dir, "import.tmp"))
	if err != nil {
		return Import{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer g.close()
	im := Import{At: at, Who: storable(who)}
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
		if err = read(io.TeeReader(f, sum), g); err == nil {
			_, err = io.Copy(sum, f) // what the reader left unread belongs to the digest too
		}
		if err != nil {
			return Import{}, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	im.SHA256, im.Source = hex.EncodeToString(sum.Sum(nil)), storable(im.Source)
	if err := s.ask(ctx, kind, g, im, checks); err != nil {
		return Import{}, err
	}
	if im.No, err = s.beginImport(ctx, kind, &im); err != nil {
		return Import{}, err
	}
	err = s.loadStaged(ctx, kind, g, &im)
	if err == nil {
		err = s.finishImport(ctx, kind, &im, g)
	}
	if err != nil {
		// Its rows are garbage already; they go now, or, if nobody waits any more, at the
		// next import.
		if s.giveUpImport(ctx, im.No) == nil && ctx.Err() == nil {
			s.dropImport(ctx, im.No, g)
		}
		return Import{}, err
	}
	if kind == "inventory" {
		s.tidied(s.dropReplaced(ctx, im.No, g))
	}
	return im, nil
}

// loadStaged loads what is staged, and counts the devices.
func (s *Store) loadStaged(ctx context.Context, kind string, g *stage, im *Import) error {
	if kind == "devices" {
		l := &load{store: s, no: im.No, insert: `INSERT INTO device_list (import_no, device_id) SELECT ?1, CAST(value->>0 AS BIGINT) FROM json_each(?2)`}
		last, first := int64(0), true
		err := g.each(ctx, `SELECT id, '' FROM staged ORDER BY id`, func(id int64, _ string) error {
			if id == last && !first {
				return nil
			}
			last, first = id, false
			im.Rows++
			return l.add(ctx, append(strconv.AppendInt([]byte("["), id, 10), ']'))
		})
		return cmp.Or(err, l.flush(ctx))
	}
	l := &load{store: s, no: im.No, insert: `INSERT INTO inventory (import_no, device_id, device_type, smets_version, manufacturer, model, chf, mpxn)
		SELECT ?1, CAST(value->>0 AS BIGINT), value->>1, value->>2, value->>3, value->>4, CAST(value->>5 AS BIGINT), value->>6 FROM json_each(?2)`}
	last := int64(0) // no device has the id 0
	var ids []int64
	err := g.each(ctx, `SELECT id, row FROM staged ORDER BY id`, func(id int64, row string) error {
		if id == last {
			return fmt.Errorf("%w: %s", ErrTwice, outage.DeviceID(id))
		}
		last = id
		im.Rows++
		if ids = append(ids, id); len(ids) == stretch {
			if err := s.findReplaced(ctx, g, ids, im.No); err != nil {
				return err
			}
			ids = ids[:0]
		}
		return l.add(ctx, []byte(row))
	})
	if err := cmp.Or(err, s.findReplaced(ctx, g, ids, im.No), l.flush(ctx)); err != nil {
		return err
	}
	l.insert = `INSERT INTO supply_point (import_no, device_id, mpxn) SELECT ?1, CAST(value->>0 AS BIGINT), value->>1 FROM json_each(?2)`
	err = g.each(ctx, `SELECT id, mpxn FROM staged WHERE mpxn <> '' ORDER BY mpxn, id`, func(id int64, mpxn string) error {
		return l.add(ctx, append(appendJSON(append(strconv.AppendInt([]byte("["), id, 10), ','), mpxn), ']'))
	})
	return cmp.Or(err, l.flush(ctx))
}

// load writes rows, JSON values, in batches.
type load struct {
	store  *Store
	insert string
	no     int64
	buf    []byte
	n      int
}

func (l *load) add(ctx context.Context, row []byte) error {
	l.buf = append(append(l.buf, "[,"[min(l.n, 1)]), row...)
	if l.n++; l.n < importBatch {
		return nil
	}
	return l.flush(ctx)
}

func (l *load) flush(ctx context.Context) error {
	if l.n == 0 {
		return nil
	}
	insert, rows := l.insert, string(append(l.buf, ']')) // whoever gives up waiting leaves them
	l.buf, l.n = l.buf[:0], 0
	dropped, err := write(ctx, l.store, later, func(ctx context.Context) (dropped bool, err error) {
		if dropped, err = l.store.touchImport(ctx, l.no); dropped || err != nil {
			return dropped, err
		}
		return false, l.store.conn.later(ctx, insert, l.no, rows)
	})
	if dropped {
		err = errDropped
	}
	return err
}

// stage is a database of its own, beside the store's, in which an import is
// collected and sorted without holding up anything. It need not outlast a crash.
type stage struct {
	path string
	db   *sql.DB
	tx   *sql.Tx
	put  *sql.Stmt
}

func openStage(ctx context.Context, path string) (*stage, error) {
	os.Remove(path) // of an import that a crash cut off
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, "journal_mode(OFF)", "synchronous(OFF)", "cache_size(-16384)", "temp_store(FILE)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	g := &stage{path: path, db: db}
	if _, err = db.ExecContext(ctx, `CREATE TABLE staged (id INTEGER NOT NULL, mpxn TEXT NOT NULL, row TEXT NOT NULL);
		CREATE TABLE replaced (row TEXT NOT NULL)`); err == nil {
		if g.tx, err = db.BeginTx(ctx, nil); err == nil {
			g.put, err = g.tx.PrepareContext(ctx, `INSERT INTO staged (id, mpxn, row) VALUES (?, ?, ?)`)
		}
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *stage) close() {
	g.db.Close()
	os.Remove(g.path)
}

func (g *stage) add(id outage.DeviceID, mpxn string, row []byte) error {
	_, err := g.put.Exec(int64(id), mpxn, string(row))
	return err
}

func (g *stage) each(ctx context.Context, query string, yield func(id int64, text string) error) error {
	rows, err := g.tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var text string
		if err := rows.Scan(&id, &text); err != nil {
			return err
		}
		if err := yield(id, text); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ids yields the devices that are staged, up to n at a time.
func (g *stage) ids(ctx context.Context, n int, yield func([]int64) error) error {
	var ids []int64
	err := g.each(ctx, `SELECT DISTINCT id, '' FROM staged ORDER BY id`, func(id int64, _ string) error {
		if ids = append(ids, id); len(ids) < n {
			return nil
		}
		some := ids
		ids = nil
		return yield(some)
	})
	if err == nil && len(ids) > 0 {
		err = yield(ids)
	}
	return err
}

// beginImport gives an import its number, and drops what a crash left of others.
func (s *Store) beginImport(ctx context.Context, kind string, im *Import) (int64, error) {
	type begun struct {
		no     int64
		left   []int64 // of others
		others bool    // another node imports
	}
	b, err := write(ctx, s, later, func(ctx context.Context) (b begun, err error) {
		b.left, err = numbers(s.conn.QueryContext(ctx, `SELECT no FROM import WHERE state IN ('running', 'dropping')`))
		if err != nil {
			return b, err
		}
		if s.remote && len(b.left) > 0 {
			if err := s.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM import WHERE state = 'running' AND touched > `+serverTime+` - ?)`,
				importSilence.Microseconds()).Scan(&b.others); err != nil || b.others {
				return b, err
			}
		}
		err = s.conn.QueryRowContext(ctx, `INSERT INTO import (kind, source, sha256, rows, at, who, state) VALUES (?, ?, ?, 0, ?, ?, 'running') RETURNING no`,
			kind, im.Source, im.SHA256, micros(im.At), im.Who).Scan(&b.no)
		if err != nil {
			return b, err
		}
		_, err = s.touchImport(ctx, b.no)
		return b, err
	})
	if err != nil {
		return 0, err
	}
	if b.others {
		return 0, ErrImporting
	}
	for _, no := range b.left {
		if err := s.giveUpImport(ctx, no); err != nil {
			return 0, err
		}
		if err := s.dropImport(ctx, no, nil); err != nil {
			return 0, err
		}
	}
	return b.no, nil
}

// importSilence is how long an import is not heard of that counts as cut off.
const importSilence = time.Minute

// touchImport says to other nodes that an import goes on, unless one of them has
// dropped it.
func (s *Store) touchImport(ctx context.Context, no int64) (dropped bool, err error) {
	if !s.remote {
		return false, nil
	}
	res, err := s.conn.ExecContext(ctx, `UPDATE import SET touched = `+serverTime+` WHERE no = ? AND state = 'running'`, no)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 0, err
}

// finishImport puts an import into force, unless it is.
func (s *Store) finishImport(ctx context.Context, kind string, im *Import, g *stage) error {
	var may movable
	if kind == "inventory" {
		var err error
		if may, err = s.movable(ctx, im, g); err != nil {
			return wrapRead(err)
		}
	}
	type finished struct {
		dropped bool
		moves   moved
	}
	f, err := write(ctx, s, later|surely, func(ctx context.Context) (f finished, err error) {
		old, err := lastImport(ctx, s.conn, kind)
		if err != nil {
			return f, err
		}
		res, err := s.conn.ExecContext(ctx, `UPDATE import SET rows = ?, state = 'done', untidy = ? WHERE no = ? AND state = 'running'`,
			im.Rows, truth(kind == "inventory"), im.No)
		if err != nil {
			return f, err
		}
		if n, err := res.RowsAffected(); n == 0 || err != nil {
			var state string
			err = errors.Join(err, s.conn.QueryRowContext(ctx, `SELECT state FROM import WHERE no = ?`, im.No).Scan(&state))
			f.dropped = state != "done" // else it was put into force, and the answer was lost
			return f, err
		}
		if kind == "inventory" {
			if f.moves, err = s.moveWindows(ctx, im, &may); err != nil {
				return f, err
			}
		}
		return f, errors.Join(s.insertEvent(ctx, Event{At: im.At, Who: im.Who, What: kind, Old: old.SHA256, New: im.SHA256, Why: im.Source}), s.tell(ctx))
	}, func(f finished) {
		for _, chf := range f.moves.to {
			s.index.add(chf)
		}
		for _, chf := range f.moves.gone {
			s.index.remove(chf)
		}
	})
	if err == nil && f.dropped {
		err = errDropped
	}
	return err
}

// LastImport returns the last import of "inventory" or "devices" that was
// completed; its number is 0 if there was none.
func (s *Store) LastImport(ctx context.Context, kind string) (Import, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
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
	list, err := scan(rows, err, func(rows rowSet) (outage.DeviceID, error) {
		var id int64
		err := rows.Scan(&id)
		return outage.DeviceID(id), err
	})
	return list, wrapRead(err)
}
