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
	*sql.DB // of one connection
	*sql.Conn
	statements map[string]*sql.Stmt
}

// openSQLite opens the database of a data folder. The connection that writes
// waits for a lock of another program (a backup, a curious shell) for a second,
// then the batch fails and alerts go forward.
func openSQLite(ctx context.Context, path string) (writer, *readers, error) {
	if err := makePrivate(path); err != nil {
		return nil, nil, err
	}
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(1000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-65536)", "temp_store(MEMORY)"))
	if err != nil {
		return nil, nil, err
	}
	readDB, err := sql.Open("sqlite", dsn(path, "busy_timeout(1000)", "query_only(1)", "cache_size(-16384)"))
	if err == nil {
		w := &sqliteWriter{DB: db, statements: map[string]*sql.Stmt{}}
		if w.Conn, err = db.Conn(ctx); err == nil {
			return w, newReaders(readDB, &sqlite), nil
		}
		readDB.Close()
	}
	db.Close()
	return nil, nil, err
}

// dsn is SQLite's name of a database.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

func (w *sqliteWriter) begin(ctx context.Context) error { return w.later(ctx, "BEGIN IMMEDIATE") }

// maxPrepared bounds the statements that are kept compiled: the text of nearly all is
// constant.
const maxPrepared = 128

// prepared is the statement of a text, compiled once: that takes a third of the time
// of a lone decision, and half of that of recording a request.
func (w *sqliteWriter) prepared(ctx context.Context, q string) (*sql.Stmt, error) {
	if stmt := w.statements[q]; stmt != nil {
		return stmt, nil
	}
	stmt, err := w.Conn.PrepareContext(ctx, q)
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
	_, err := w.Conn.ExecContext(ctx, text)
	return err
}

func (w *sqliteWriter) commit(ctx context.Context) error { return w.later(ctx, "COMMIT") }

func (w *sqliteWriter) undo(ctx context.Context) {
	w.Conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // ends the transaction if COMMIT did not
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
	w.Conn.Close()
	w.DB.Close()
}
