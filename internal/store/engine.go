package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// engine is all that differs between the databases. The SQL of this package is
// what both of them understand, with SQLite's parameters and its json_each over
// an array of rows; bind makes PostgreSQL's of it.
type engine struct {
	migrations string
	begin      string // begins a transaction that no other writer runs beside
	bind       func(query string) string
	// remote engines are across a network: connections break, and are made
	// anew; and may hang, so that a transaction has a time.
	remote bool
}

// remoteTimeout bounds a transaction of an engine across a network.
const remoteTimeout = 10 * time.Second

//go:embed migrations
var migrations embed.FS

var sqlite = engine{
	migrations: "migrations/sqlite",
	begin:      "BEGIN IMMEDIATE",
	bind:       func(q string) string { return q },
}

// One writer at a time, over all nodes: whoever writes holds the advisory lock
// until its commit. The counter's row would have them wait for each other all
// the same, since numbers are given out in the order of commits.
var postgres = engine{
	migrations: "migrations/postgres",
	begin:      fmt.Sprintf("BEGIN; SET LOCAL lock_timeout = '1s'; SELECT pg_advisory_xact_lock(%d)", writerLock),
	bind:       bindPostgres,
	remote:     true,
}

// writerLock is the key of the advisory lock: "quell" in ASCII.
const writerLock = 0x7175656c6c

var (
	parameter = regexp.MustCompile(`\?(\d*)`)
	jsonRows  = regexp.MustCompile(`json_each\((\$\d+)\)`)
	bound     sync.Map // query → query
)

func bindPostgres(q string) string {
	if b, ok := bound.Load(q); ok {
		return b.(string)
	}
	n := 0
	b := parameter.ReplaceAllStringFunc(q, func(p string) string {
		if p != "?" {
			return "$" + p[1:]
		}
		n++
		return "$" + strconv.Itoa(n)
	})
	b = jsonRows.ReplaceAllString(b, `(SELECT n AS key, v AS value FROM jsonb_array_elements(CAST($1 AS jsonb)) WITH ORDINALITY AS e (v, n)) AS json_each`)
	bound.Store(q, b)
	return b
}

// readers are connections that read.
type readers struct {
	*sql.DB
	engine *engine
}

func (r *readers) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	return r.DB.QueryContext(ctx, r.engine.bind(q), args...)
}

func (r *readers) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	return r.DB.QueryRowContext(ctx, r.engine.bind(q), args...)
}

// writer is the one connection that writes; only the committer uses it.
type writer struct {
	engine *engine
	db     *sql.DB
	conn   *sql.Conn
	decide *sql.Stmt
}

// join makes the connection, if there is none.
func (w *writer) join(ctx context.Context) (err error) {
	if w.conn != nil {
		return nil
	}
	if w.conn, err = w.db.Conn(ctx); err != nil {
		w.conn = nil
	}
	return err
}

// undo rolls back what may be under way, and gives up the connection if that
// fails, where another can be made.
func (w *writer) undo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), remoteTimeout)
	defer cancel()
	if w.conn == nil {
		return
	}
	if _, err := w.conn.ExecContext(ctx, "ROLLBACK"); err != nil && w.engine.remote {
		w.conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool drops it
		w.conn.Close()
		w.conn, w.decide = nil, nil
	}
}

func (w *writer) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if err := w.join(ctx); err != nil {
		return nil, err
	}
	return w.conn.ExecContext(ctx, w.engine.bind(q), args...)
}

func (w *writer) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if err := w.join(ctx); err != nil {
		return nil, err
	}
	return w.conn.QueryContext(ctx, w.engine.bind(q), args...)
}

// QueryRowContext is called within a transaction only, when there is a connection.
func (w *writer) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	return w.conn.QueryRowContext(ctx, w.engine.bind(q), args...)
}

// queryDecide runs decideSQL, prepared once for a connection.
func (w *writer) queryDecide(ctx context.Context, rows string) (_ *sql.Rows, err error) {
	if w.decide == nil {
		if w.decide, err = w.conn.PrepareContext(ctx, w.engine.bind(decideSQL)); err != nil {
			return nil, err
		}
	}
	return w.decide.QueryContext(ctx, rows)
}

func (w *writer) close() {
	if w.conn != nil {
		w.conn.Close()
	}
	w.db.Close()
}

// openPostgres opens the pools of a PostgreSQL database.
func openPostgres(dsn string) (w *writer, r *readers, err error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	readDB, err := sql.Open("pgx", dsn)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	readDB.SetMaxOpenConns(4)
	readDB.SetMaxIdleConns(4)
	return &writer{engine: &postgres, db: db}, &readers{readDB, &postgres}, nil
}

// dsn is SQLite's name of a database.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

// openSQLite opens the database of a data folder. The connection that writes
// waits for a lock of another program (a backup, a curious shell) for a second,
// then the batch fails and alerts go forward.
func openSQLite(path string) (*writer, *readers, error) {
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(1000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-65536)", "temp_store(MEMORY)"))
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	readDB, err := sql.Open("sqlite", dsn(path, "busy_timeout(1000)", "query_only(1)", "cache_size(-16384)"))
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	readDB.SetMaxOpenConns(4)
	readDB.SetMaxIdleConns(4)
	return &writer{engine: &sqlite, db: db}, &readers{readDB, &sqlite}, nil
}

func truth(v bool) int {
	if v {
		return 1
	}
	return 0
}
