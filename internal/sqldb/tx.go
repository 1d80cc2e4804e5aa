package sqldb

import (
	"context"
	"database/sql"
	"errors"
)

// Querier reads. DB and Tx are queriers.
//
// The SQL is written for SQLite, in a form that PostgreSQL understands too: parameters are
// ? or ?1, ?2; and an array of rows is one parameter, made by Column, which json_each
// reads, or jsonb_each, which is faster if the rows have many values.
type Querier interface {
	Query(ctx context.Context, query string, args ...any) (Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) Row
}

// Tx is a transaction of the writer. No other transaction of any node runs at that time.
type Tx interface {
	Querier
	// Exec returns how many rows were changed.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	// Later is Exec for a caller that needs no result. It may be sent together with the
	// next statement: then that one, or the commit, returns its error.
	Later(ctx context.Context, query string, args ...any) error
	// LaterRows is Later for a query: read is called with the rows when they arrive, and
	// must close them.
	LaterRows(ctx context.Context, read func(Rows) error, query string, args ...any) error
	// Notify makes the other nodes follow at once, when the transaction is committed.
	Notify(ctx context.Context) error
	// Script runs a text of several statements.
	Script(ctx context.Context, text string) error
}

// conn is the one connection that writes. Only the writer uses it, from begin to
// commit or undo.
type conn interface {
	Tx
	// begin begins a transaction. No other runs at that time, of this node or another. It
	// connects first if needed. The next statement may return its error.
	begin(ctx context.Context) error
	commit(ctx context.Context) error
	// undo rolls back the transaction, if there still is one.
	undo(ctx context.Context)
	// close ends the connection. The next transaction makes another.
	close()
}

// Rows are the rows of a query, as sql.Rows are.
type Rows interface {
	Next() bool
	Scan(to ...any) error
	Err() error
	Close() error
}

// Row is the row of a query. The error is ErrNoRows if there is none.
type Row interface {
	Scan(to ...any) error
}

// ErrNoRows says that a query has no row.
var ErrNoRows = sql.ErrNoRows

// Scan reads each row of a query with the function one, and closes the rows. Its first
// two arguments are what Query returns.
func Scan[T any](rows Rows, err error, one func(Rows, *T) error) (list []T, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		list = append(list, *new(T))
		if err := one(rows, &list[len(list)-1]); err != nil {
			return nil, err
		}
	}
	return list, rows.Err()
}

// Each scans each row of a query into to, calls f, and closes the rows at the end. It returns how
// many rows there were. It is for rows that are too many for a list.
func Each(rows Rows, err error, f func(), to ...any) (n int, _ error) {
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		if err := rows.Scan(to...); err != nil {
			return n, err
		}
		f()
	}
	return n, rows.Err()
}

// Numbers reads the rows of a query with one number in each.
func Numbers(rows Rows, err error) ([]int64, error) {
	return Scan(rows, err, func(rows Rows, v *int64) error { return rows.Scan(v) })
}

// Texts reads the rows of a query with one text in each.
func Texts(rows Rows, err error) ([]string, error) {
	return Scan(rows, err, func(rows Rows, v *string) error { return rows.Scan(v) })
}

// firstRow is the first row of a query, or what it failed with.
type firstRow struct {
	Rows
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
		return ErrNoRows
	}
	if err := r.Rows.Scan(to...); err != nil {
		return err
	}
	return r.Close()
}

// InTx runs f in a transaction. Only the writer may call it, in Prepare; or anyone, if no
// writer was started.
func (db *DB) InTx(ctx context.Context, f func(ctx context.Context, tx Tx) error) error {
	ctx, cancel := db.Bounded(ctx)
	defer cancel()
	return db.inTx(ctx, f)
}

// inTx is InTx without a time limit.
func (db *DB) inTx(ctx context.Context, f func(ctx context.Context, tx Tx) error) error {
	err := db.conn.begin(ctx)
	if err == nil {
		err = f(ctx, db.conn)
	}
	if err == nil {
		err = db.conn.commit(ctx)
	}
	if err != nil {
		db.conn.undo(ctx)
	}
	if lockedOut(err) {
		db.endStuck(ctx)
	}
	return err
}

// CopyFrom writes rows of a table of a PostgreSQL database with COPY, which is made for
// many rows. The transaction must have sent something else before.
func CopyFrom(ctx context.Context, tx Tx, table string, columns []string, rows [][]any) error {
	pg, ok := tx.(*postgresConn)
	if !ok {
		return errors.ErrUnsupported
	}
	return pg.copyFrom(ctx, table, columns, rows)
}

// Columns are the names of a table's columns, in order.
func (db *DB) Columns(ctx context.Context, table string) ([]string, error) {
	rows, err := db.reader.DB.QueryContext(ctx, `SELECT * FROM `+table+` LIMIT 0`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return rows.Columns()
}
