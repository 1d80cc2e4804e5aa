package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	driver "modernc.org/sqlite"
)

// backupPages is how many pages BackUp copies before it looks whether it is to end.
const backupPages = 4096

// BackUp writes the SQLite database in a file, as it is at one instant, into another file, which
// must be empty. The database may be in use: BackUp only reads, in one transaction, which the
// writer does not wait for. While that lasts, the file -wal of the database grows by what is written,
// and one commit then has to move it all. So BackUp copies pages as they are, which is over sooner than
// VACUUM INTO, which writes each row anew. The copy is not synced.
func BackUp(ctx context.Context, path, to string) error {
	// With _error_rc no error of the new file ends with "not an error", which is so of the old one.
	db, err := sql.Open("sqlite", dsn(path, "busy_timeout(1000)")+"&mode=rw&_error_rc=1")
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// All pages come from one transaction: otherwise SQLite would begin again after each write.
	var n int
	if _, err = conn.ExecContext(ctx, `BEGIN`); err != nil {
		return err
	}
	if err = conn.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema`).Scan(&n); err != nil {
		return err
	}
	return conn.Raw(func(c any) error {
		b, err := c.(interface {
			NewBackup(to string) (*driver.Backup, error)
		}).NewBackup(dsn(to, "journal_mode(OFF)", "synchronous(OFF)"))
		if err != nil {
			return err
		}
		for more := true; more && err == nil; {
			if more, err = b.Step(backupPages); err == nil {
				err = ctx.Err()
			}
		}
		return cmp.Or(err, b.Finish()) // Finish gives the error of the last step once more
	})
}

// ErrDamaged says that a file is not a sound SQLite database.
var ErrDamaged = errors.New("is not a sound database")

// CheckFile reads the whole of a SQLite database that nobody uses, and returns the names of the
// migrations that it has had, in order. The error is ErrDamaged if SQLite finds a fault. It changes
// nothing, and makes no file beside the database.
func CheckFile(ctx context.Context, path string) (migrations []string, err error) {
	db, err := sql.Open("sqlite", dsn(path, "cache_size(-16384)")+"&mode=ro&immutable=1")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var found string
	if err = db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&found); err == nil && found != "ok" {
		err = errors.New(found)
	}
	if err == nil {
		rows, e := db.QueryContext(ctx, `SELECT name FROM migration ORDER BY name`)
		if e != nil {
			return nil, fmt.Errorf("%w of quell: %w", ErrDamaged, e)
		}
		migrations, err = Texts(rows, nil)
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return migrations, err
}
