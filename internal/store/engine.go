package store

import (
	"context"
	"database/sql"
	"embed"
	"regexp"
	"time"
)

// engine is all that differs between the databases, beside their writers. The
// SQL of this package is what both of them understand, with SQLite's parameters
// and its json_each over an array of rows; bind makes PostgreSQL's of it, and
// schema of a migration.
type engine struct {
	bind   func(query string) string
	schema func(migration string) string
	// refuses reports whether an error is of the values that a statement has, and
	// not of the way to the database or of its state.
	refuses func(err error) bool
	// remote engines are across a network, and other nodes use them too:
	// connections break, and are made anew; and may hang, so that a transaction
	// has a time.
	remote bool
}

// remoteTimeout bounds a transaction of an engine across a network.
const remoteTimeout = 5 * time.Second

//go:embed migrations/*.sql
var migrations embed.FS

// writer is the one connection that writes. Only the committer uses it, from
// begin to commit or undo.
type writer interface {
	querier
	// begin begins a transaction that no other writer runs beside, of this node
	// or another, and connects before that if need be. That it failed may be said by
	// what comes after it.
	begin(ctx context.Context) error
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	// later is ExecContext for those who need no result. That it failed may be
	// said by what comes after it, commit at the latest.
	later(ctx context.Context, query string, args ...any) error
	// laterRows is later for a query: its rows are read, and closed, when they
	// come.
	laterRows(ctx context.Context, read func(rowSet) error, query string, args ...any) error
	// script runs a text of several statements.
	script(ctx context.Context, text string) error
	commit(ctx context.Context) error
	// undo rolls back what may be under way.
	undo(ctx context.Context)
	// close ends the connection. The next transaction makes another.
	close()
}

// A querier asks.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (rowSet, error)
	QueryRowContext(ctx context.Context, query string, args ...any) oneRow
}

// rowSet is what sql.Rows are.
type rowSet interface {
	Next() bool
	Scan(to ...any) error
	Err() error
	Close() error
}

type oneRow interface {
	Scan(to ...any) error // the error is sql.ErrNoRows if there is none
}

// firstRow is the first row of a query, or what it failed with.
type firstRow struct {
	rowSet
	err error
}

func (r *firstRow) Scan(to ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.Close()
	if !r.Next() {
		if err := r.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	if err := r.rowSet.Scan(to...); err != nil {
		return err
	}
	return r.Close()
}

// readers are connections that read, past the committer.
type readers struct {
	*sql.DB
	engine *engine
}

// readTimeout bounds a question to an engine across a network, where its asker
// sets no shorter time: one may look through a whole log. A connection that hangs
// is one of few.
const readTimeout = time.Minute

// sections are the parts of a migration that are for one engine alone.
var sections = regexp.MustCompile(`(?m)^-- for (sqlite|postgres|both)\n`)

// sectionsFor leaves out of a migration what is for another engine.
func sectionsFor(engine, migration string) (text string) {
	at, of := 0, "both"
	for _, m := range append(sections.FindAllStringSubmatchIndex(migration, -1), []int{len(migration), 0, 0, 0}) {
		if of == engine || of == "both" {
			text += migration[at:m[0]]
		}
		at, of = m[1], migration[m[2]:m[3]]
	}
	return text
}

// bounded bounds what is asked of an engine across a network.
func (e *engine) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if !e.remote {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}

func (r *readers) QueryContext(ctx context.Context, q string, args ...any) (rowSet, error) {
	ctx, cancel := r.engine.bounded(ctx, readTimeout)
	rows, err := r.DB.QueryContext(ctx, r.engine.bind(q), args...)
	if err != nil {
		cancel()
		return nil, err
	}
	return &boundedRows{rows, cancel}, nil
}

// boundedRows are rows that must be closed before their time is over.
type boundedRows struct {
	*sql.Rows
	cancel context.CancelFunc
}

func (r *boundedRows) Close() error {
	defer r.cancel()
	return r.Rows.Close()
}

func (r *readers) QueryRowContext(ctx context.Context, q string, args ...any) oneRow {
	ctx, cancel := r.engine.bounded(ctx, readTimeout)
	return &boundedRow{r.DB.QueryRowContext(ctx, r.engine.bind(q), args...), cancel}
}

type boundedRow struct {
	*sql.Row
	cancel context.CancelFunc
}

func (r *boundedRow) Scan(to ...any) error {
	defer r.cancel()
	return r.Row.Scan(to...)
}

// maxReaders bounds the connections that read.
const maxReaders = 4

// newReaders has a database read through. None of the connections is kept until keep
// is called: the file may be taken for another before it could be opened at all.
func newReaders(db *sql.DB, e *engine) *readers {
	db.SetMaxOpenConns(maxReaders)
	db.SetMaxIdleConns(-1)
	return &readers{db, e}
}

func (r *readers) keep() { r.SetMaxIdleConns(maxReaders) }

func truth(v bool) int {
	if v {
		return 1
	}
	return 0
}
