package store

import (
	"context"
	"errors"

	"quell/internal/sqldb"
)

// ErrCopying says that a database is being copied into, and does not have all yet.
var ErrCopying = errors.New("a copy into this database is not complete: run \"quell store copy\" again")

// A Mark is what the table lead says of a database that is copied into.
type Mark string

const (
	NotCopied Mark = ""
	CopyBegun Mark = "copy"   // the copy is not complete
	CopyDone  Mark = "copied" // it is complete, and no quell has used the database yet
)

// ReadMark reads the mark of a database.
func ReadMark(ctx context.Context, q sqldb.Querier) (Mark, error) {
	list, err := sqldb.Texts(q.Query(ctx, `SELECT what FROM lead WHERE what IN (?, ?) ORDER BY what LIMIT 1`, string(CopyBegun), string(CopyDone)))
	if err != nil || len(list) == 0 {
		return NotCopied, err
	}
	return Mark(list[0]), nil
}

// SetMark puts a mark in the place of the one that there is.
func SetMark(ctx context.Context, tx sqldb.Tx, m Mark) error {
	if err := tx.Later(ctx, `DELETE FROM lead WHERE what IN (?, ?)`, string(CopyBegun), string(CopyDone)); err != nil || m == NotCopied {
		return err
	}
	return tx.Later(ctx, `INSERT INTO lead (what, term, node, until) VALUES (?, 0, '', 0)`, string(m))
}

// claim makes the database a quell's: it has all that was copied into it, and is not copied
// into any more.
func (s *Store) claim(ctx context.Context) error {
	if !s.DB.Remote() {
		return nil // nothing is copied into SQLite
	}
	return s.DB.InTx(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		switch m, err := ReadMark(ctx, tx); {
		case err != nil:
			return err
		case m == CopyBegun:
			return ErrCopying
		}
		return SetMark(ctx, tx, NotCopied)
	})
}
