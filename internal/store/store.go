// Package store keeps what quell must not forget: activations and their
// windows, the suppression log and which report has which part of it, the
// inventory and the device list, the switch and who turned it.
//
// There is one writer, the committer: a goroutine that takes what waits when
// it becomes free, commits it as one transaction, and looks again (group
// commit without a timer). Whoever waits for it may give up; what must not be
// forgotten then goes to the node's journal, a file beside the database, which
// is played into the store before the next decision. Reads go past the
// committer on connections of their own.
//
// All SQL of the project is in this package, and is the same for SQLite and for
// PostgreSQL but for what engine.go says. It decides nothing: the rules are
// in package outage. The one predicate that stands here again, whether a window
// is open, is held to outage.Decide by a test.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrUnavailable says that the store did not answer in time, or answered with
// an error. What it was asked to do may or may not have happened.
var ErrUnavailable = errors.New("the store is not available")

// ErrInUse says that another process has the data folder.
var ErrInUse = errors.New("the data folder is in use by another quell")

// Options are what Open needs to know. Dir is required.
type Options struct {
	Dir string // the data folder; created if missing
	// Database is the URL of a PostgreSQL database, which several nodes may use,
	// each with a Dir of its own. If it is empty, the database is SQLite's, in Dir.
	Database string
	// Node and Version are what other nodes know this one by.
	Node, Version string
	Now           func() time.Time // this node's clock; time.Now if nil
	// Elapsed is the time since some instant, whatever the clock is set to; that
	// since the machine was started if nil.
	Elapsed func() time.Duration
	Log     *slog.Logger

	// OnCommit is called after each batch with its number of decisions, how
	// long the transaction took, and its error.
	OnCommit func(decisions int, took time.Duration, err error)

	// BeforeCommit, for tests of the worst moment, runs when a batch of
	// decisions is complete but not committed.
	BeforeCommit func()
}

// Store is one node's way to the store. Its methods may be called from any
// goroutine.
type Store struct {
	opts   Options
	lock   *os.File
	conn   writer // the committer's; nothing else writes
	reader *readers
	remote bool // whether other nodes may be there

	index     index
	journal   *journal
	queue     queue
	trouble   atomic.Pointer[error] // why the last batch failed; nil if it did not
	sw        position
	nodes     nodes
	windows   windowCount
	clock     atomic.Pointer[clock]
	tolerance atomic.Int64 // of clocks, a time.Duration

	// loaded is closed when the schema is up to date and the switch is known. Until
	// then nothing is decided or written. filled is closed when the index has all hubs
	// too. Until then every hub may have a window, and the store is asked. tried is
	// closed when the first try to load has ended.
	loaded, filled, tried chan struct{}
	// last is the last activation when it was loaded; for follow.
	last int64

	looking atomic.Int64 // when the look of follow that is under way began, by Options.Elapsed; 0 if none is
	behind  atomic.Bool  // the last look failed

	lastMoves int64 // the last import whose moves of windows follow has seen

	// oneTrip is the committer's guess that all decisions of a batch will be
	// suppressions: those of the last batch were.
	oneTrip bool
	// urgent is how many transactions the committer has run since it began the last
	// of the background.
	urgent int

	lostUntracked atomic.Int64 // since it was last said

	// importing is held by the import that is under way.
	importing sync.Mutex

	stop      context.CancelFunc
	stopped   chan struct{}
	following sync.WaitGroup
	closing   sync.Once
}

// Close commits what waits, and closes the store. What the store cannot take
// any more stays in the journal.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.following.Wait()
		<-s.stopped
		s.release()
	})
	return nil
}

func (s *Store) release() {
	if s.journal != nil {
		s.journal.close()
	}
	if s.reader != nil {
		s.reader.Close()
	}
	if s.conn != nil {
		s.conn.close()
	}
	s.lock.Close() // releases the lock
}

// Available reports whether the store is open and the last batch was committed.
func (s *Store) Available() bool { return closed(s.loaded) && s.why() == nil }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Started reports whether the store has been opened since the start, and all hubs that
// have windows are known.
func (s *Store) Started() bool { return closed(s.loaded) && closed(s.filled) }

// why is why the last batch failed, nil if it did not.
func (s *Store) why() error {
	if err := s.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// fails notes that the store does not answer.
func (s *Store) fails(err error) {
	if s.trouble.Swap(&err) == nil {
		s.opts.Log.Error("the store does not answer, alerts are forwarded", "error", err)
	}
}

// answers notes that it does.
func (s *Store) answers() {
	if s.trouble.Swap(nil) != nil {
		s.opts.Log.Info("the store answers again")
	}
}

// Conditions says what is wrong with the store, or is not done yet after a start;
// nil if nothing. Alerts pass all the same.
func (s *Store) Conditions() (list []string) {
	switch err := s.why(); {
	case err != nil:
		list = append(list, fmt.Sprintf("the store does not answer: every alert is forwarded (%v)", err))
	case !closed(s.loaded):
		list = append(list, "the store is being opened: every alert is forwarded")
	case !closed(s.filled):
		list = append(list, "the hubs that have windows are being read: the store is asked about every AD1")
	}
	if n := s.Pending(); n > 0 {
		list = append(list, fmt.Sprintf("the journal holds %d records for the store", n))
	}
	held, lost, err := s.journal.inMemory()
	if err != nil {
		list = append(list, fmt.Sprintf("the journal cannot be written: %d records are in memory only, and lost if this process ends (%v)", held, err))
	}
	if lost > 0 {
		list = append(list, fmt.Sprintf("%d records of the journal were lost, since neither its file nor memory had room", lost))
	}
	return list
}

// Pending is how many records the journal holds that the store does not.
func (s *Store) Pending() int { return int(s.journal.pending.Load()) }

// JournalInMemory is how many records of the journal are in memory only, since its
// file cannot be written, and how many were lost since the start, since there was no
// room for them either.
func (s *Store) JournalInMemory() (held, lost int) {
	held, lost, err := s.journal.inMemory()
	if err == nil {
		held = 0 // they are on their way
	}
	return held, lost
}

// lockFolder takes the folder for this process, until the file is closed or
// the process ends, however it ends.
func lockFolder(dir string) (*os.File, error) {
	f, err := OpenPrivate(filepath.Join(dir, "lock"), os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid := make([]byte, 20)
		n, _ := f.Read(pid)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w (process %s)", dir, ErrInUse, pid[:n])
		}
		return nil, fmt.Errorf("data folder: lock: %w", err)
	}
	f.Truncate(0)
	fmt.Fprintf(f, "%d", os.Getpid())
	return f, nil
}

// migrationTimeout bounds a migration: it may have to index large tables. Where other
// nodes run, they end one that holds the writer's lock for longer than stuckAfter.
const migrationTimeout = 10 * time.Minute

// migrate runs the migrations that the database has not seen, each in a
// transaction with the record that it ran.
func (s *Store) migrate(ctx context.Context) error {
	err := s.inTx(ctx, func(ctx context.Context) error {
		if err := s.conn.script(ctx, `CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, at TEXT NOT NULL)`); err != nil {
			return err
		}
		// As a version of November 2026 named them.
		return s.conn.later(ctx, `UPDATE migration SET name = replace(name, 'migrations/sqlite/', 'migrations/') WHERE name LIKE 'migrations/sqlite/%'`)
	})
	if err != nil {
		return err
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		err = s.inTxWithin(ctx, migrationTimeout, func(ctx context.Context) error {
			res, err := s.conn.ExecContext(ctx, `INSERT INTO migration (name, at) VALUES (?, CAST(CURRENT_TIMESTAMP AS TEXT)) ON CONFLICT DO NOTHING`, name)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); n == 0 || err != nil {
				return err // it ran before
			}
			return s.conn.script(ctx, s.reader.engine.schema(string(text)))
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// inTx runs f within a transaction of s.conn, beside which no other writes.
func (s *Store) inTx(ctx context.Context, f func(ctx context.Context) error) error {
	return s.inTxWithin(ctx, remoteTimeout, f)
}

// inTxWithin is inTx with another time.
func (s *Store) inTxWithin(ctx context.Context, d time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := s.reader.engine.bounded(ctx, d)
	defer cancel()
	err := s.conn.begin(ctx)
	if err == nil {
		err = f(ctx)
	}
	if err == nil {
		err = s.conn.commit(ctx)
	}
	if err != nil {
		s.conn.undo(ctx)
	}
	if lockedOut(err) {
		s.endStuck(ctx)
	}
	return err
}

// bounded bounds what must not be waited for longer than for a transaction.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return s.reader.engine.bounded(ctx, remoteTimeout)
}

// endStuck ends a transaction of another node that holds the writer's lock for
// longer than any does that goes on.
func (s *Store) endStuck(ctx context.Context) {
	switch ended, err := s.endHolders(ctx, stuckAfter); {
	case err != nil:
		s.opts.Log.Warn("who holds the writer's lock cannot be cut off", "error", err)
	case ended > 0:
		s.opts.Log.Warn("a node that held the writer's lock for too long was cut off")
	}
}

func (s *Store) endHolders(ctx context.Context, after time.Duration) (ended int, err error) {
	rows, err := s.reader.QueryContext(ctx, stuckSQL, after.Microseconds())
	list, err := scan(rows, err, func(rows rowSet) (ok bool, err error) { return ok, rows.Scan(&ok) })
	return len(list), err
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Precision is the store's: an instant that is kept comes back truncated to
// it. Truncate before comparing.
const Precision = time.Microsecond
