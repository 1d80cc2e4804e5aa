package sqldb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnavailable says that the database did not answer in time, or answered with an
// error. The change that it was asked to make may or may not have been made.
var ErrUnavailable = errors.New("the store is not available")

// Unavailable wraps the error of a read in ErrUnavailable; nil stays nil.
func Unavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Options are what Open needs to know.
type Options struct {
	Path    string // the file of a SQLite database, created if it is missing
	Address string // of a PostgreSQL database; empty for SQLite
	Log     *slog.Logger

	// OnCommit, if it is set, is called after each transaction of the writer with the
	// time that it took, and its error.
	OnCommit func(took time.Duration, err error)
}

// DB is a database. Its methods may be called from any goroutine, except where they say
// otherwise.
type DB struct {
	opts   Options
	log    *slog.Logger
	conn   conn // the writer's
	reader *readers

	queue   queue
	trouble atomic.Pointer[error] // why the last transaction failed; nil if it did not
	ready   atomic.Bool
	// urgent is how many transactions the writer has run since the last background task.
	urgent int

	prepare Prepare
	stop    context.CancelFunc
	stopped chan struct{} // closed when the writer has ended; nil if it was not started
	closing sync.Once
}

// Open prepares to use a database. It does not connect: the first query or transaction
// does. Nothing is written until Start is called.
func Open(opts Options) (*DB, error) {
	db := &DB{opts: opts, log: opts.Log}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if opts.Address != "" {
		db.conn, db.reader, err = openPostgres(opts.Address)
	} else {
		db.conn, db.reader, err = openSQLite(opts.Path)
	}
	if err != nil {
		return nil, err
	}
	db.queue.init(db)
	return db, nil
}

// Prepare is work of the writer besides the changes that it gets. It runs on the writer,
// and may call InTx.
type Prepare struct {
	// First runs before each batch, and does what is older than that batch. While it
	// fails, all changes that wait get ErrUnavailable, and First is tried again.
	First func(ctx context.Context) error
	// Pending reports whether First has something left to do.
	Pending func() bool
	// Last runs when the database is closed, after all changes that waited.
	Last func(ctx context.Context)
}

// Start starts the writer. It is called once.
func (db *DB) Start(p Prepare) {
	run, stop := context.WithCancel(context.Background())
	db.prepare, db.stop, db.stopped = p, stop, make(chan struct{})
	go db.writeLoop(run)
}

// Stop commits what waits, and refuses later changes. Reads still work.
func (db *DB) Stop() {
	if db.stopped != nil {
		db.stop()
		<-db.stopped
	}
}

// Close stops the writer, if it was started, and ends all connections.
func (db *DB) Close() {
	db.closing.Do(func() {
		db.Stop()
		db.reader.Close()
		db.conn.close()
	})
}

// Remote reports whether the database is across a network, where other nodes may use it
// too. Connections may break or hang there, so each transaction has a time limit.
func (db *DB) Remote() bool { return db.reader.engine.remote }

// Refuses reports whether an error is about the values in a statement, and not about the
// connection or the state of the database.
func (db *DB) Refuses(err error) bool { return db.reader.engine.refuses(err) }

// Denies reports whether the database answered that this user may not connect, or has
// another schema than this program: waiting will not change that.
func (db *DB) Denies(err error) bool { return denied(err) }

// Bounded gives a context the time limit of a transaction, if the database is across a
// network.
func (db *DB) Bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return db.reader.engine.bounded(ctx, remoteTimeout)
}

// Query reads, without waiting for the writer.
func (db *DB) Query(ctx context.Context, q string, args ...any) (Rows, error) {
	return db.reader.Query(ctx, q, args...)
}

// QueryRow reads one row, without waiting for the writer.
func (db *DB) QueryRow(ctx context.Context, q string, args ...any) Row {
	return db.reader.QueryRow(ctx, q, args...)
}

// SetReady says that the schema is up to date. From now on the database is available
// unless a transaction fails, and idle connections for reading are kept.
func (db *DB) SetReady() {
	db.reader.SetMaxIdleConns(maxReaders)
	db.ready.Store(true)
	db.ClearTrouble("the store answers again")
}

// Reconnect ends the connection that writes; the next transaction makes a new one. That
// may find another database, such as one that was restored from a backup. Only the
// writer may call it.
func (db *DB) Reconnect() { db.conn.close() }

// Available reports whether the database is ready and the last transaction succeeded.
func (db *DB) Available() bool { return db.ready.Load() && db.Trouble() == nil }

// Trouble returns why the last transaction failed; nil if it did not.
func (db *DB) Trouble() error {
	if err := db.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// setTrouble notes that the database does not answer.
func (db *DB) setTrouble(err error) {
	if db.trouble.Swap(&err) == nil {
		db.log.Error("the store does not answer, alerts are forwarded", "error", err)
	}
}

// ClearTrouble notes that a transaction succeeded. It logs the text if the one before
// failed. Prepare.First calls it for its own transactions.
func (db *DB) ClearTrouble(text string, args ...any) {
	if db.trouble.Swap(nil) != nil {
		db.log.Info(text, args...)
	}
}
