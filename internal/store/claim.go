package store

import (
	"context"
	"errors"

	"quell/internal/sqldb"
)

// ErrCopying says that a copy into a database has begun, and is not complete.
var ErrCopying = errors.New("a copy into this database is not complete: run \"quell store copy\" again")

// A Mark says in the table lead how far a copy into a database is.
type Mark string

const (
	NotCopied Mark = ""
	CopyBegun Mark = "copy"   // the copy is not complete
	CopyDone  Mark = "copied" // the copy is complete, and no quell has used the database yet
)

// ReadMark reads the mark of a database.
func ReadMark(ctx context.Context, q sqldb.Querier) (Mark, error) {
	list, err := sqldb.Texts(q.Query(ctx, `SELECT what FROM lead WHERE what IN (?, ?) ORDER BY what LIMIT 1`, string(CopyBegun), string(CopyDone)))
	if err != nil || len(list) == 0 {
		return NotCopied, err
	}
	return Mark(list[0]), nil
}

// SetMark replaces the mark of a database.
func SetMark(ctx context.Context, tx sqldb.Tx, m Mark) error {
	if err := tx.Later(ctx, `DELETE FROM lead WHERE what IN (?, ?)`, string(CopyBegun), string(CopyDone)); err != nil || m == NotCopied {
		return err
	}
	return tx.Later(ctx, `INSERT INTO lead (what, term, node, until) VALUES (?, 0, '', 0)`, string(m))
}

// claim marks a database as used by quell, so that nothing is copied into it any more. The error
// is ErrCopying if a copy into it is not complete.
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
