package sqldb

import "context"

// Size returns how many bytes the database has. The file -wal of SQLite does not count.
func (db *DB) Size(ctx context.Context) (bytes int64, err error) {
	q := `SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()`
	if db.Remote() {
		q = `SELECT pg_database_size(current_database())`
	}
	return bytes, db.QueryRow(ctx, q).Scan(&bytes)
}
