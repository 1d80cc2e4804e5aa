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

	"quell/internal/outage"
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

// Open opens the store as Start does, and waits until it answers and the index is
// filled. That it cannot be opened is an error, ErrCopying when the database is being
// copied into; but not that a PostgreSQL database cannot be reached: until it can be,
// the store is not available.
func Open(ctx context.Context, opts Options) (*Store, error) {
	s, err := Start(opts)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.tried:
		err = s.why()
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch {
	case err == nil:
		select {
		case <-s.filled:
		case <-ctx.Done():
			err = ctx.Err()
		}
	case s.remote && !refused(err) && !errors.Is(err, ErrCopying):
		err = nil
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open %s: %w", s.name(), err)
	}
	return s, nil
}

// Start takes the data folder, and has the rest done behind it: the committer opens
// the database, brings its schema up to date, and plays the journal, and tries again
// until it has. Until then the store is not available, so that alerts go forward.
// The error is ErrInUse when another process has the folder.
func Start(opts Options) (_ *Store, err error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Elapsed == nil {
		opts.Elapsed = elapsed
	}
	s := &Store{opts: opts, stopped: make(chan struct{}), loaded: make(chan struct{}), filled: make(chan struct{}), tried: make(chan struct{}), nodes: newNodes()}
	s.queue.wake = make(chan struct{}, 1)
	if s.lock, err = lockFolder(opts.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if opts.Database != "" {
		s.conn, s.reader, err = openPostgres(opts.Database)
	} else {
		s.conn, s.reader, err = openSQLite(s.name())
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.name(), err)
	}
	s.remote = s.reader.engine.remote
	s.index.unresolved.Add(1) // until it is filled
	// The windows of the journal count at once on this node, and so does a switch that
	// was turned off.
	s.journal, err = openJournal(filepath.Join(opts.Dir, "pending"), opts.Log, &s.index.unresolved, func(r record) {
		switch {
		case r.Activation != nil && !r.Unresolved:
			s.index.add(r.Activation.CHF)
		case r.Switch != nil:
			s.sw.turn(outage.SwitchOff)
			s.sw.keepOff()
		}
	})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.commitLoop(run)
	whenLoaded := func(f func()) {
		s.following.Go(func() {
			select {
			case <-s.loaded:
				f()
			case <-run.Done():
			}
		})
	}
	whenLoaded(func() { s.fill(run) })
	if s.remote {
		whenLoaded(func() { s.follow(run, s.last, forgetEvery) })
		s.following.Go(func() { s.attend(run) })
	}
	return s, nil
}

// name is what the database is called in errors: its file, if it has one.
func (s *Store) name() string {
	if s.opts.Database != "" {
		return "the database"
	}
	return filepath.Join(s.opts.Dir, "quell.db")
}

// Ready waits until the schema is up to date and the switch is known, or ctx ends.
func (s *Store) Ready(ctx context.Context) error {
	select {
	case <-s.loaded:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
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

// load brings the schema up to date and reads the switch, unless that is done. The
// committer calls it before anything else.
func (s *Store) load(ctx context.Context) error {
	if closed(s.loaded) {
		return nil
	}
	err := s.tryLoad(ctx)
	if err != nil {
		s.fails(err)
		s.conn.close() // the database may be another by the next time, as one that was put back
	} else {
		s.reader.keep()
		s.answers()
		close(s.loaded)
	}
	if !closed(s.tried) {
		close(s.tried)
	}
	return err
}

func (s *Store) tryLoad(ctx context.Context) error {
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.claim(ctx); err != nil {
		return err
	}
	if err := s.loadSwitch(ctx); err != nil {
		return err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	return s.reader.QueryRowContext(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&s.last)
}

// loadRows is how many rows load reads at once: a database across a network, and
// its statement_timeout, may allow for no look through a whole log.
const loadRows = 10_000

// fill fills the index from the tables, and tries again while the store does not
// answer.
func (s *Store) fill(ctx context.Context) {
	for _, from := range []struct{ table, key string }{{"activation", "id"}, {"suppression", "seq"}} {
		last, failing := int64(0), false
		for n := loadRows; n == loadRows; {
			var err error
			if n, err = s.loadPage(ctx, from.table, from.key, &last); err == nil {
				failing = false
				continue
			}
			if !failing && ctx.Err() == nil {
				s.opts.Log.Error("the hubs that have windows cannot be read, the store is asked about every AD1", "error", err)
			}
			n, failing = loadRows, true
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}
	s.index.unresolved.Add(-1)
	close(s.filled)
}

// loadPage reads the rows behind the key last, and moves that on.
func (s *Store) loadPage(ctx context.Context, table, key string, last *int64) (n int, err error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	rows, err := s.reader.QueryContext(ctx, `SELECT `+key+`, chf FROM `+table+` WHERE `+key+` > ? ORDER BY `+key+` LIMIT ?`, *last, loadRows)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var chf int64
		if err := rows.Scan(last, &chf); err != nil {
			return n, err
		}
		s.index.add(outage.DeviceID(chf))
	}
	return n, rows.Err()
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
