package devices

import (
	"context"
	"database/sql"
	"os"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Staged is an import that is collected and sorted in a database of its own, which holds up
// nobody.
type Staged struct {
	path string
	db   *sql.DB
	tx   *sql.Tx
	put  *sql.Stmt
}

func openStage(ctx context.Context, path string) (*Staged, error) {
	db, err := sqldb.Scratch(path)
	if err != nil {
		return nil, err
	}
	g := &Staged{path: path, db: db}
	if _, err = db.ExecContext(ctx, `CREATE TABLE staged (id INTEGER NOT NULL, mpxn TEXT NOT NULL, row TEXT NOT NULL);
		CREATE TABLE replaced (row TEXT NOT NULL)`); err == nil {
		if g.tx, err = db.BeginTx(ctx, nil); err == nil {
			g.put, err = g.tx.PrepareContext(ctx, `INSERT INTO staged (id, mpxn, row) VALUES (?, ?, ?)`)
		}
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *Staged) close() {
	g.db.Close()
	os.Remove(g.path)
}

func (g *Staged) add(id outage.DeviceID, mpxn string, row []byte) error {
	_, err := g.put.Exec(int64(id), mpxn, string(row))
	return err
}

func (g *Staged) each(ctx context.Context, query string, yield func(id int64, text string) error) error {
	rows, err := g.tx.QueryContext(ctx, query)
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

// IDs yields the devices that are staged, up to n at a time.
func (g *Staged) IDs(ctx context.Context, n int, yield func([]int64) error) error {
	var ids []int64
	err := g.each(ctx, `SELECT DISTINCT id, '' FROM staged ORDER BY id`, func(id int64, _ string) error {
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
