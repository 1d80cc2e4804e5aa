package sqldb

import (
	"context"
	"time"
)

// For the tests in package sqldb_test.
const (
	MaxBatch = maxBatch
	MaxText  = maxText
)

func (db *DB) EndHolders(ctx context.Context, after time.Duration) (int, error) {
	return db.endHolders(ctx, after)
}

// ReadNothing runs a statement on a connection that reads.
func (db *DB) ReadNothing(ctx context.Context, q string) error {
	_, err := db.reader.ExecContext(ctx, q)
	return err
}

// BackgroundWaiting returns how many background tasks wait.
func (db *DB) BackgroundWaiting() int { return db.queue.background.Waiting() }
