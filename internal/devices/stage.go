package devices

import (
	"context"
	"database/sql"
	"os"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Staged is an import that is collected and sorted in a database of its own, so that it
// holds up nobody.
type Staged struct {
	path   string
	db     *sql.DB
	tx     *sql.Tx
	insert *sql.Stmt
	place  *sql.Stmt
}

func openStaged(ctx context.Context, path string) (*Staged, error) {
	db, err := sqldb.Scratch(path)
	if err != nil {
		return nil, err
	}
	s := &Staged{path: path, db: db}
	if _, err = db.ExecContext(ctx, `CREATE TABLE staged (id INTEGER NOT NULL, mpxn TEXT NOT NULL, row TEXT NOT NULL);
		CREATE TABLE staged_place (place INTEGER NOT NULL, id INTEGER NOT NULL);
		CREATE TABLE replaced (row TEXT NOT NULL)`); err == nil {
		if s.tx, err = db.BeginTx(ctx, nil); err == nil {
			s.insert, err = s.tx.PrepareContext(ctx, `INSERT INTO staged (id, mpxn, row) VALUES (?, ?, ?)`)
		}
		if err == nil {
			s.place, err = s.tx.PrepareContext(ctx, `INSERT INTO staged_place (place, id) VALUES (?, ?)`)
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Staged) close() {
	s.db.Close()
	os.Remove(s.path)
}

func (s *Staged) add(id outage.DeviceID, mpxn string, row []byte, places ...int64) error {
	_, err := s.insert.Exec(int64(id), mpxn, string(row))
	for _, place := range places {
		if err == nil {
			_, err = s.place.Exec(place, int64(id))
		}
	}
	return err
}

func (s *Staged) each(ctx context.Context, query string, yield func(id int64, text string) error) error {
	rows, err := s.tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var text string
		if err := rows.Scan(&id, &text); err != nil {
			return err
		}
		if err := yield(id, text); err != nil {
			return err
		}
	}
	return rows.Err()
}

// IDs yields the ids of the staged devices, up to n at a time.
func (s *Staged) IDs(ctx context.Context, n int, yield func([]int64) error) error {
	var ids []int64
	err := s.each(ctx, `SELECT DISTINCT id, '' FROM staged ORDER BY id`, func(id int64, _ string) error {
		if ids = append(ids, id); len(ids) < n {
			return nil
		}
		some := ids
		ids = nil
		return yield(some)
	})
	if err == nil && len(ids) > 0 {
		err = yield(ids)
	}
	return err
}
