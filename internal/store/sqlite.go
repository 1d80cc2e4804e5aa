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
	decide *sql.Stmt
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
		w := &sqliteWriter{DB: db}
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

func (w *sqliteWriter) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	return w.Conn.ExecContext(ctx, q, args...)
}

func (w *sqliteWriter) later(ctx context.Context, q string, args ...any) error {
	_, err := w.Conn.ExecContext(ctx, q, args...)
	return err
}

func (w *sqliteWriter) laterRows(ctx context.Context, read func(rowSet) error, q string, args ...any) error {
	rows, err := w.QueryContext(ctx, q, args...)
	if err != nil {
		return err
	}
	return read(rows)
}

func (w *sqliteWriter) script(ctx context.Context, text string) error { return w.later(ctx, text) }

func (w *sqliteWriter) commit(ctx context.Context) error { return w.later(ctx, "COMMIT") }

func (w *sqliteWriter) undo(ctx context.Context) {
	w.Conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // ends the transaction if COMMIT did not
}

// QueryContext prepares decideSQL once: compiling it takes a third of the time
// of a lone decision.
func (w *sqliteWriter) QueryContext(ctx context.Context, q string, args ...any) (_ rowSet, err error) {
	if q != decideSQL {
		return w.Conn.QueryContext(ctx, q, args...)
	}
	if w.decide == nil {
		if w.decide, err = w.Conn.PrepareContext(ctx, q); err != nil {
			return nil, err
		}
	}
	return w.decide.QueryContext(ctx, args...)
}

func (w *sqliteWriter) QueryRowContext(ctx context.Context, q string, args ...any) oneRow {
	return w.Conn.QueryRowContext(ctx, q, args...)
}

func (w *sqliteWriter) close() {
	w.Conn.Close()
	w.DB.Close()
}
