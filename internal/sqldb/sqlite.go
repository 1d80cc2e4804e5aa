package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"quell/internal/datadir"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

func same(text string) string { return text }

func sqliteSchema(migration string) string { return sectionsFor("sqlite", migration) }

var sqlite = engine{bind: same, schema: sqliteSchema, refuses: func(err error) bool {
	var e *driver.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff { // the primary result code
	case sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH:
		return true
	}
	return false
}}

// sqliteConn is the connection that writes to SQLite.
type sqliteConn struct {
	path       string
	db         *sql.DB   // of one connection
	conn       *sql.Conn // nil if it is not open
	statements map[string]*sql.Stmt
}

// openSQLite prepares to use the database of a data folder, and opens its file when it is
// needed. The connection that writes waits one second for a lock of another program (a
// backup, an open shell). Then the batch fails, and alerts go forward.
func openSQLite(path string) (conn, *readers, error) {
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(1000)", "query_only(1)", "cache_size(-16384)"))
	if err != nil {
		return nil, nil, err
	}
	return &sqliteConn{path: path}, newReaders(db, &sqlite), nil
}

// connect opens the file, if it is not open.
//
// Its page cache is small, because nearly every commit goes through all of it: SQLite gives a
// page a high number for a moment when it divides pages of an index, and then looks for pages
// behind the end of the file. With 64 MiB a suppressed alert cost a quarter more.
func (w *sqliteConn) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	if err := makePrivate(w.path); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(w.path, "busy_timeout(1000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-16384)", "temp_store(MEMORY)"))
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return err
	}
	w.db, w.conn, w.statements = db, conn, map[string]*sql.Stmt{}
	return nil
}

// dsn returns the name under which the driver opens a database file.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

func (w *sqliteConn) begin(ctx context.Context) error {
	if err := w.connect(ctx); err != nil {
		return err
	}
	return w.Later(ctx, "BEGIN IMMEDIATE")
}

// maxPrepared bounds the compiled statements that are kept. Nearly all texts are constant.
const maxPrepared = 128

// prepared returns the compiled statement of a text. Each is compiled once, since that
// takes a third of the time of a single decision, and half of that of recording a request.
func (w *sqliteConn) prepared(ctx context.Context, q string) (*sql.Stmt, error) {
	if stmt := w.statements[q]; stmt != nil {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(w.statements) >= maxPrepared {
		for _, old := range w.statements {
			old.Close()
		}
		clear(w.statements)
	}
	w.statements[q] = stmt
	return stmt, nil
}

func (w *sqliteConn) Exec(ctx context.Context, q string, args ...any) (int64, error) {
	stmt, err := w.prepared(ctx, q)
	if err != nil {
		return 0, err
	}
	res, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (w *sqliteConn) Later(ctx context.Context, q string, args ...any) error {
	_, err := w.Exec(ctx, q, args...)
	return err
}

func (w *sqliteConn) LaterRows(ctx context.Context, read func(Rows) error, q string, args ...any) error {
	rows, err := w.Query(ctx, q, args...)
	if err != nil {
		return err
	}
	return read(rows)
}

func (w *sqliteConn) Script(ctx context.Context, text string) error {
	_, err := w.conn.ExecContext(ctx, text)
	return err
}

// Notify does nothing: there are no other nodes.
func (w *sqliteConn) Notify(context.Context) error { return nil }

func (w *sqliteConn) commit(ctx context.Context) error { return w.Later(ctx, "COMMIT") }

func (w *sqliteConn) undo(ctx context.Context) {
	if w.conn == nil {
		return
	}
	w.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // ends the transaction if COMMIT did not
}

func (w *sqliteConn) Query(ctx context.Context, q string, args ...any) (Rows, error) {
	stmt, err := w.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (w *sqliteConn) QueryRow(ctx context.Context, q string, args ...any) Row {
	rows, err := w.Query(ctx, q, args...)
	return &firstRow{rows, err}
}

func (w *sqliteConn) close() {
	if w.conn != nil {
		for _, stmt := range w.statements {
			stmt.Close() // otherwise SQLite keeps the connection open, and leaves the -wal file
		}
		w.conn.Close()
		w.db.Close()
		w.conn = nil
	}
}

// makePrivate creates the file of a database so that nobody else may read it, which SQLite
// would allow. If the file exists, others lose the right to read it. SQLite gives its -wal
// and -shm the same mode.
func makePrivate(path string) error {
	f, err := datadir.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	for _, end := range []string{"-wal", "-shm", "-journal"} {
		if err := os.Chmod(path+end, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Scratch opens an empty SQLite database for one connection, in a file of its own that is
// not safe from a crash. What an earlier process left there is deleted.
func Scratch(path string) (*sql.DB, error) {
	os.Remove(path)
	if err := makePrivate(path); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, "journal_mode(OFF)", "synchronous(OFF)", "cache_size(-16384)", "temp_store(FILE)"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}
