package sqldb

import (
	"context"
	"database/sql"
	"time"
)

// engine is what differs between SQLite and PostgreSQL, apart from the connection that
// writes.
type engine struct {
	bind   func(query string) string
	schema func(migration string) string
	// refuses reports whether an error is about the values in a statement.
	refuses func(err error) bool
	remote  bool
}

// remoteTimeout bounds a transaction across a network.
const remoteTimeout = 5 * time.Second

// readTimeout bounds a query across a network, unless its caller sets a shorter time. A
// query may read a whole log; but a connection that hangs is one of only a few.
const readTimeout = time.Minute

// bounded sets a time limit if the database is across a network.
func (e *engine) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if !e.remote {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

// maxReaders bounds the connections that read.
const maxReaders = 4

// readers are connections that read, without waiting for the writer.
type readers struct {
	*sql.DB
	engine *engine
}

// newReaders reads through db. It keeps no idle connection before DB.SetReady: until then
// the file of the database may be replaced.
func newReaders(db *sql.DB, e *engine) *readers {
	db.SetMaxOpenConns(maxReaders)
	db.SetMaxIdleConns(-1)
	return &readers{db, e}
}

func (r *readers) Query(ctx context.Context, q string, args ...any) (Rows, error) {
	ctx, cancel := r.engine.bounded(ctx, readTimeout)
	rows, err := r.DB.QueryContext(ctx, r.engine.bind(q), args...)
	if err != nil {
		cancel()
		return nil, err
	}
	return &boundedRows{rows, cancel}, nil
}

func (r *readers) QueryRow(ctx context.Context, q string, args ...any) Row {
	ctx, cancel := r.engine.bounded(ctx, readTimeout)
	return &boundedRow{r.DB.QueryRowContext(ctx, r.engine.bind(q), args...), cancel}
}

// boundedRows are rows of a query with a time limit, which ends when they are closed.
type boundedRows struct {
	*sql.Rows
	cancel context.CancelFunc
}

func (r *boundedRows) Close() error {
	defer r.cancel()
	return r.Rows.Close()
}

type boundedRow struct {
	*sql.Row
	cancel context.CancelFunc
}

func (r *boundedRow) Scan(to ...any) error {
	defer r.cancel()
	return r.Row.Scan(to...)
}
