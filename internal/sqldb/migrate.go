package sqldb

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"time"
)

// migrationTimeout bounds a migration, which may have to index large tables. If other
// nodes run, they end a migration that holds the writer's lock for longer than stuckAfter.
const migrationTimeout = 10 * time.Minute

// Migrate runs the migrations that this database has not had yet: the files
// migrations/*.sql, in order of their names. Each runs in one transaction with the record
// that it ran. Only the writer may call it.
func (db *DB) Migrate(ctx context.Context, files fs.FS) error {
	err := db.InTx(ctx, func(ctx context.Context, tx Tx) error {
		if err := tx.Script(ctx, `CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, at TEXT NOT NULL)`); err != nil {
			return err
		}
		// The names that a version of November 2026 gave them.
		return tx.Later(ctx, `UPDATE migration SET name = replace(name, 'migrations/sqlite/', 'migrations/') WHERE name LIKE 'migrations/sqlite/%'`)
	})
	if err != nil {
		return err
	}
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := db.migrateOne(ctx, name, string(text)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (db *DB) migrateOne(ctx context.Context, name, text string) error {
	ctx, cancel := db.reader.engine.bounded(ctx, migrationTimeout)
	defer cancel()
	return db.inTx(ctx, func(ctx context.Context, tx Tx) error {
		n, err := tx.Exec(ctx, `INSERT INTO migration (name, at) VALUES (?, CAST(CURRENT_TIMESTAMP AS TEXT)) ON CONFLICT DO NOTHING`, name)
		if n == 0 || err != nil {
			return err // without an error, it ran before
		}
		return tx.Script(ctx, db.reader.engine.schema(text))
	})
}

// Migrated returns the names of the migrations that the database has had, in order.
func (db *DB) Migrated(ctx context.Context) ([]string, error) {
	return Texts(db.Query(ctx, `SELECT name FROM migration ORDER BY name`))
}

// sections matches the lines that say which engine the next part of a migration is for.
var sections = regexp.MustCompile(`(?m)^-- for (sqlite|postgres|both)\n`)

// sectionsFor returns a migration without the parts for another engine.
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
