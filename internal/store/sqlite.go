package store

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"path/filepath"

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
	switch e.Code() & 0xff { // the rest is a detail
	case sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH:
		return true
	}
	return false
}}

// sqliteWriter is SQLite's writer.
type sqliteWriter struct {
	path       string
	db         *sql.DB   // of one connection
	conn       *sql.Conn // nil if it is not open
	statements map[string]*sql.Stmt
}

// openSQLite prepares to use the database of a data folder, whose file is opened when
// it is needed. The connection that writes waits for a lock of another program (a
// backup, a curious shell) for a second, then the batch fails and alerts go forward.
func openSQLite(path string) (writer, *readers, error) {
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(1000)", "query_only(1)", "cache_size(-16384)"))
	if err != nil {
		return nil, nil, err
	}
	return &sqliteWriter{path: path}, newReaders(db, &sqlite), nil
}

// join opens the file, if it is not open.
func (w *sqliteWriter) join(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	if err := makePrivate(w.path); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", dsn(w.path, "busy_timeout(1000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-65536)", "temp_store(MEMORY)"))
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

// dsn is SQLite's name of a database.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

func (w *sqliteWriter) begin(ctx context.Context) error {
	if err := w.join(ctx); err != nil {
		return err
	}
	return w.later(ctx, "BEGIN IMMEDIATE")
}

// maxPrepared bounds the statements that are kept compiled: the text of nearly all is
// constant.
const maxPrepared = 128

// prepared is the statement of a text, compiled once: that takes a third of the time
// of a lone decision, and half of that of recording a request.
func (w *sqliteWriter) prepared(ctx context.Context, q string) (*sql.Stmt, error) {
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

func (w *sqliteWriter) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	stmt, err := w.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

func (w *sqliteWriter) later(ctx context.Context, q string, args ...any) error {
	_, err := w.ExecContext(ctx, q, args...)
	return err
}

func (w *sqliteWriter) laterRows(ctx context.Context, read func(rowSet) error, q string, args ...any) error {
	rows, err := w.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	return read(rows)
}

func (w *sqliteWriter) script(ctx context.Context, text string) error {
	_, err := w.conn.ExecContext(ctx, text)
	return err
}

func (w *sqliteWriter) commit(ctx context.Context) error { return w.later(ctx, "COMMIT") }

func (w *sqliteWriter) undo(ctx context.Context) {
	if w.conn == nil {
		return
	}
	w.conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // ends the transaction if COMMIT did not
}

func (w *sqliteWriter) QueryContext(ctx context.Context, q string, args ...any) (rowSet, error) {
	stmt, err := w.prepared(ctx, q)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (w *sqliteWriter) QueryRowContext(ctx context.Context, q string, args ...any) oneRow {
	rows, err := w.QueryContext(ctx, q, args...)
	return &firstRow{rows, err}
}

func (w *sqliteWriter) close() {
	if w.conn != nil {
		for _, stmt := range w.statements {
			stmt.Close() // else SQLite leaves the connection open, and the -wal beside the file
		}
		w.conn.Close()
		w.db.Close()
		w.conn = nil
	}
}
