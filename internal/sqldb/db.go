package sqldb

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnavailable says that the database did not answer in time, or answered with an
// error. What it was asked to do may or may not have happened.
var ErrUnavailable = errors.New("the store is not available")

// Unavailable wraps the error of a read in ErrUnavailable; nil stays nil.
func Unavailable(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(ErrUnavailable, err)
}

// Options are what Open needs to know.
type Options struct {
	Path    string // the file of a SQLite database, created if it is missing
	Address string // of a PostgreSQL database; if it is empty, the database is SQLite's
	Log     *slog.Logger

	// OnCommit, if it is set, is called after each transaction of the writer with the
	// time that it took, and its error.
	OnCommit func(took time.Duration, err error)
}

// DB is a database. Its methods may be called from any goroutine, but for those
// that say otherwise.
type DB struct {
	opts   Options
	log    *slog.Logger
	conn   conn // the writer's
	reader *readers

	queue   queue
	trouble atomic.Pointer[error] // why the last transaction failed; nil if it did not
	ready   atomic.Bool
	// urgent is how many transactions the writer has run since the last in the background.
	urgent int

	prepare Prepare
	stop    context.CancelFunc
	stopped chan struct{} // closed when the writer has ended; nil if it was not started
	closing sync.Once
}

// Open prepares to use a database. It does not connect: the first who asks does.
// Nothing is written until Start is called.
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

// Prepare is what the writer does besides what it is asked for. It runs on the writer,
// which may call InTx.
type Prepare struct {
	// First runs before each transaction of what waits: that is newer than what First
	// does. While it fails, all that waits gets ErrUnavailable, and First is tried again.
	First func(ctx context.Context) error
	// Pending reports whether First has something left to do.
	Pending func() bool
	// Last runs when the database is closed, after all that waited.
	Last func(ctx context.Context)
}

// Start starts the writer. It is called once.
func (db *DB) Start(p Prepare) {
	run, stop := context.WithCancel(context.Background())
	db.prepare, db.stop, db.stopped = p, stop, make(chan struct{})
	go db.writeLoop(run)
}

// Stop commits what waits, and refuses what comes later. Reading goes on.
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

// Remote reports whether the database is across a network, and other nodes may use
// it too: connections break, and may hang, so that each transaction has a time limit.
func (db *DB) Remote() bool { return db.reader.engine.remote }

// Refuses reports whether an error is about the values that a statement has, and not
// about the connection or the state of the database.
func (db *DB) Refuses(err error) bool { return db.reader.engine.refuses(err) }

// Denies reports whether the database answered and does not let this user in, or has
// another schema than this program's: waiting will not change that.
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

// Ready says that the schema is up to date: from now on the database is available
// unless a transaction fails. Connections that read are kept from now on.
func (db *DB) Ready() {
	db.reader.SetMaxIdleConns(maxReaders)
	db.ready.Store(true)
	db.answers("the store answers again")
}

// Reconnect ends the connection that writes; the next transaction makes another. The
// database may be another by then, as one that was put back from a backup. Only the
// writer may call it.
func (db *DB) Reconnect() { db.conn.close() }

// Available reports whether the database is ready and the last transaction succeeded.
func (db *DB) Available() bool { return db.ready.Load() && db.Trouble() == nil }

// Trouble is why the last transaction failed, nil if it did not.
func (db *DB) Trouble() error {
	if err := db.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// fails notes that the database does not answer.
func (db *DB) fails(err error) {
	if db.trouble.Swap(&err) == nil {
		db.log.Error("the store does not answer, alerts are forwarded", "error", err)
	}
}

// answers notes that it does.
func (db *DB) answers(text string, args ...any) {
	if db.trouble.Swap(nil) != nil {
		db.log.Info(text, args...)
	}
}

// Answers notes that a transaction of Prepare.First succeeded. text is logged if those
// before it failed.
func (db *DB) Answers(text string, args ...any) { db.answers(text, args...) }
