// Package storecopy copies a store from SQLite into PostgreSQL, and verifies that each row of the
// copy is the same.
package storecopy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"quell/internal/datadir"
	"quell/internal/sqldb"
	"quell/internal/store"
)

// ErrNotEmpty says that a database has data that was not copied, or was used.
var ErrNotEmpty = errors.New("the database is in use or has been: copy into an empty one")

// copyPage is how many rows are read and compared at once.
const copyPage = 5000

// table is a table that Copy copies.
type table struct {
	name   string
	key    string // the columns of its primary key
	serial bool   // the database gives out the keys
}

// tables are all tables, except those of nodes and of migrations, which each database has for
// itself.
var tables = []table{
	{"setting", "name", false},
	{"counter", "name", false},
	{"event", "id", true},
	{"audit", "no", false},
	{"audit_chain", "which", false},
	{"import", "no", true},
	{"import_change", "import_no", false},
	{"device_list", "import_no, device_id", false},
	{"inventory", "device_id, import_no", false},
	{"supply_point", "mpxn, import_no, device_id", false},
	{"inventory_place", "place, import_no, device_id", false},
	{"activation", "id", true},
	{"suppression", "seq", true},
	{"forwarded", "alert_id, chf, outage_start", false},
	{"passed", "id", true},
	{"held", "id", true},
	{"released", "id", true},
	{"untracked", "esme, received_at, request_id, form", false},
	{"flow", "minute, run", false},
	{"flow_entry", "minute, run, distributor", false},
	{"flow_run", "id", false},
	{"flow_since", "minute", false},
	{"last_counter", "target, originator, form", false},
	{"correction", "id", true},
	{"report", "no", true},
	{"report_file", "stream, report_no", false},
	{"delivery", "remote, report_no, stream", false},
	{"token", "id", false},
	{"sighting", "id", true},
	{"evidence", "seq", false},
	{"quiet", "block", false},
	{"evidence_change", "id", true},
	{"learned", "name", false},
}

// Copied says what was copied of one table: how many rows, and the SHA-256 of the rows in order of
// their keys, which is the same on both sides.
type Copied struct {
	Table  string
	Rows   int64
	SHA256 string
}

// Copy copies the SQLite store of a data folder into an empty PostgreSQL database. Then it reads
// both completely, and compares counts and sums. If it is interrupted, call it again. It then
// copies what has changed: a page of rows that is the same is left alone, any other is written
// again. It may be called until a quell has used the database, also to find out whether an earlier
// call has completed the copy.
//
// If a quell runs on the folder, Copy copies what that has now, and the error is datadir.ErrInUse.
// To complete the copy, stop that quell and call Copy again. A quell that is started on a database
// whose copy is not complete gets store.ErrCopying. The error is ErrNotEmpty if nothing may be
// copied into the database.
//
// progress is called with how many rows are done, and how many there are.
func Copy(ctx context.Context, dir, database string, log *slog.Logger, progress func(done, total int64)) ([]Copied, error) {
	c := &copying{progress: progress}
	var running error
	source, err := openSource(ctx, dir, log)
	if errors.Is(err, datadir.ErrInUse) {
		running = err
		source, err = openRunning(ctx, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	defer source.close()
	c.source = source.db
	if c.target, err = openTarget(ctx, database, log); err != nil {
		return nil, fmt.Errorf("the database: %w", err)
	}
	defer c.target.Close()
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	for _, t := range tables {
		if err := c.copyTable(ctx, t); err != nil {
			return nil, fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	if running != nil {
		return nil, running
	}
	var list []Copied
	for _, t := range tables {
		one, err := c.verify(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", t.name, err)
		}
		list = append(list, one)
	}
	return list, c.finish(ctx)
}

// source is the SQLite store that is copied.
type source struct {
	db    *sqldb.DB
	close func()
}

// openSource opens the store of a data folder, and plays its journal. No quell can be started on
// the folder until the source is closed.
func openSource(ctx context.Context, dir string, log *slog.Logger) (*source, error) {
	if _, err := os.Stat(filepath.Join(dir, "quell.db")); err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, store.Options{Dir: dir, Log: log})
	if err != nil {
		return nil, err
	}
	if err = s.DB.Ping(ctx); err == nil && s.Ledger.Pending() > 0 {
		err = errors.New("the journal cannot be played")
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return &source{s.DB, func() { s.Close() }}, nil
}

// openRunning opens the database of a quell that is running.
func openRunning(ctx context.Context, dir string) (*source, error) {
	db, err := sqldb.Open(sqldb.Options{Path: filepath.Join(dir, "quell.db")})
	if err != nil {
		return nil, err
	}
	have, err := db.Migrated(ctx)
	if err == nil {
		var want []string
		if want, err = fs.Glob(store.Migrations, "migrations/*.sql"); err == nil && !slices.Equal(have, want) {
			err = errors.New("the quell that runs is of another version than this program")
		}
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	db.SetReady()
	return &source{db, db.Close}, nil
}

// openTarget opens a database without a writer of its own: the caller writes to it.
func openTarget(ctx context.Context, database string, log *slog.Logger) (*sqldb.DB, error) {
	db, err := sqldb.Open(sqldb.Options{Address: database, Log: log})
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, store.Migrations); err != nil {
		db.Close()
		return nil, err
	}
	db.SetReady()
	return db, nil
}

type copying struct {
	source, target *sqldb.DB
	progress       func(done, total int64)
	done, total    int64
}

// begin marks the database as being copied into, unless it was used, and counts the rows.
func (c *copying) begin(ctx context.Context) error {
	used := false
	err := c.target.InTx(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		mark, err := store.ReadMark(ctx, tx)
		if err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM event) OR EXISTS (SELECT 1 FROM activation) OR EXISTS (SELECT 1 FROM suppression)
			OR EXISTS (SELECT 1 FROM forwarded) OR EXISTS (SELECT 1 FROM passed) OR EXISTS (SELECT 1 FROM setting) OR EXISTS (SELECT 1 FROM node)`).Scan(&used); err != nil {
			return err
		}
		if used = used && mark == store.NotCopied; used {
			return nil
		}
		return store.SetMark(ctx, tx, store.CopyBegun)
	})
	if err == nil && used {
		err = ErrNotEmpty
	}
	for _, t := range tables {
		if err != nil {
			return err
		}
		var n int64
		err = c.source.QueryRow(ctx, `SELECT count(*) FROM `+t.name).Scan(&n)
		c.total += 2 * n // to copy, and to verify
	}
	return err
}

// copyTable makes a table in the target the same as in the source.
func (c *copying) copyTable(ctx context.Context, t table) error {
	columns, err := c.columns(ctx, t)
	if err != nil {
		return err
	}
	var after []any
	for more := true; more; {
		rows, err := page(ctx, c.source, t, columns, after, nil)
		if err != nil {
			return err
		}
		var upTo []any
		if more = len(rows) == copyPage; more {
			upTo = t.keyOf(columns, rows[len(rows)-1])
		}
		have, err := page(ctx, c.target, t, columns, after, upTo)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(rows, have) {
			if err := c.write(ctx, t, columns, rows, after, upTo); err != nil {
				return err
			}
		}
		after = upTo
		c.advance(len(rows))
	}
	return nil
}

// write replaces the rows with keys after one key, up to another.
func (c *copying) write(ctx context.Context, t table, columns []string, rows [][]any, after, upTo []any) error {
	cond, args := t.between(after, upTo)
	return c.target.InTx(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM `+t.name+` WHERE `+cond, args...); err != nil {
			return err
		}
		return sqldb.CopyFrom(ctx, tx, t.name, columns, rows)
	})
}

// verify reads a table on both sides, and compares the sums.
func (c *copying) verify(ctx context.Context, t table) (Copied, error) {
	columns, err := c.columns(ctx, t)
	if err != nil {
		return Copied{}, err
	}
	var there, here Copied
	var errThere, errHere error
	var wg sync.WaitGroup
	wg.Go(func() { there, errThere = sum(ctx, c.target, t, columns, func(int) {}) })
	here, errHere = sum(ctx, c.source, t, columns, c.advance)
	wg.Wait()
	if err := errors.Join(errHere, errThere); err != nil {
		return Copied{}, err
	}
	if here != there {
		return here, fmt.Errorf("the copy differs: %d rows with the sum %s here, %d rows with the sum %s there", here.Rows, here.SHA256, there.Rows, there.SHA256)
	}
	return here, nil
}

// finish makes the database give out keys after those that were copied, and marks the copy as
// complete.
func (c *copying) finish(ctx context.Context) error {
	return c.target.InTx(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		for _, t := range tables {
			if !t.serial {
				continue
			}
			if _, err := tx.Exec(ctx, `SELECT setval(pg_get_serial_sequence('`+t.name+`', '`+t.key+`'), coalesce(max(`+t.key+`), 0) + 1, false) FROM `+t.name); err != nil {
				return err
			}
		}
		return store.SetMark(ctx, tx, store.CopyDone)
	})
}

func (c *copying) advance(rows int) {
	c.done += int64(rows)
	c.progress(c.done, c.total)
}

// columns returns the columns of a table, as the source has them.
func (c *copying) columns(ctx context.Context, t table) ([]string, error) {
	return c.source.Columns(ctx, t.name)
}

// keyOf returns the key of a row.
func (t table) keyOf(columns []string, row []any) (key []any) {
	for _, name := range strings.Split(t.key, ", ") {
		key = append(key, row[slices.Index(columns, name)])
	}
	return key
}

// between returns the condition for keys after one key, up to another; nil is no bound.
func (t table) between(after, upTo []any) (cond string, args []any) {
	cond = "TRUE"
	for _, b := range []struct {
		than string
		key  []any
	}{{" > ", after}, {" <= ", upTo}} {
		if b.key != nil {
			cond += " AND (" + t.key + ")" + b.than + "(?" + strings.Repeat(", ?", len(b.key)-1) + ")"
			args = append(args, b.key...)
		}
	}
	return cond, args
}

// page reads up to copyPage rows with keys after one key, up to another, in order of the keys.
// Texts are ordered by their bytes on both sides.
func page(ctx context.Context, q *sqldb.DB, t table, columns []string, after, upTo []any) ([][]any, error) {
	cond, args := t.between(after, upTo)
	rows, err := q.Query(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+t.name+` WHERE `+cond+` ORDER BY `+t.key+` LIMIT `+strconv.Itoa(copyPage), args...)
	return sqldb.Scan(rows, err, func(rows sqldb.Rows, row *[]any) error {
		*row = make([]any, len(columns))
		to := make([]any, len(columns))
		for i := range to {
			to[i] = &(*row)[i]
		}
		return rows.Scan(to...)
	})
}

// sum counts the rows of a table, and computes their SHA-256.
func sum(ctx context.Context, q *sqldb.DB, t table, columns []string, progress func(rows int)) (Copied, error) {
	out, digest := Copied{Table: t.name}, sha256.New()
	var text []byte
	var after []any
	for {
		rows, err := page(ctx, q, t, columns, after, nil)
		if err != nil {
			return out, err
		}
		for _, row := range rows {
			text = text[:0]
			for _, v := range row {
				if text, err = appendValue(text, v); err != nil {
					return out, err
				}
			}
			digest.Write(text)
		}
		out.Rows += int64(len(rows))
		progress(len(rows))
		if len(rows) < copyPage {
			out.SHA256 = hex.EncodeToString(digest.Sum(nil))
			return out, nil
		}
		after = t.keyOf(columns, rows[len(rows)-1])
	}
}

// appendValue appends a value in a form in which no two rows have the same text.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, 'n'), nil
	case int64:
		return append(strconv.AppendInt(append(b, 'i'), v, 10), ';'), nil
	case []byte:
		return append(append(strconv.AppendInt(append(b, 'b'), int64(len(v)), 10), ':'), v...), nil
	case string:
		return append(append(strconv.AppendInt(append(b, 't'), int64(len(v)), 10), ':'), v...), nil
	}
	return b, fmt.Errorf("a value of the unknown type %T", v)
}
