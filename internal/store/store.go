// Package store opens all that a node keeps, in the right order: the data folder, the
// database, the journal, and the packages that keep something in them.
//
// Start returns when the data folder is locked and the journal is read. After that, in the
// background, the database's writer opens the database, brings its schema up to date, and plays
// the journal. It retries until all that has worked. Until then the database is not available,
// so alerts go forward. Then the set of hubs is filled. Until that is done any hub may have a
// window, so the database is asked about each AD1. At the same time the notes of passed alerts
// are read. Until that is done nothing is suppressed.
//
// The package also has the schema, in the folder migrations: all tables of all packages.
package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"quell/internal/assess"
	"quell/internal/audit"
	"quell/internal/cluster"
	"quell/internal/datadir"
	"quell/internal/devices"
	"quell/internal/flow"
	"quell/internal/journal"
	"quell/internal/ledger"
	"quell/internal/release"
	"quell/internal/report"
	"quell/internal/sighting"
	"quell/internal/sqldb"
	"quell/internal/updates"
	"quell/internal/windows"
)

// Migrations are the schema, for sqldb.DB.Migrate.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// ErrNone says that there is no store yet, and that Options.Existing asks for one.
var ErrNone = errors.New("there is no store")

// Options are what Start needs to know. Dir is required.
type Options struct {
	Dir string // the data folder; created if missing
	// Existing creates nothing: if there is no data folder, or no store, the error is ErrNone.
	Existing bool
	// Database is the address of a PostgreSQL database, which several nodes may use, each
	// with a Dir of its own. If it is empty, the database is SQLite's, in Dir.
	Database      string
	Node, Version string               // this node's name and version, for the others
	Now           func() time.Time     // this node's clock; time.Now if nil
	Elapsed       func() time.Duration // see cluster.Options.Elapsed
	Log           *slog.Logger

	OnCommit  func(took time.Duration, err error) // see sqldb.Options.OnCommit
	OnDecided func(n int, err error)              // see ledger.Options.OnDecided

	BeforeCommit func()                                  // see ledger.Options.BeforeCommit
	OpenJournal  func(path string) (journal.File, error) // see journal.Options.OpenFile
}

// Store is all that a node keeps.
type Store struct {
	DB       *sqldb.DB
	Ledger   *ledger.Ledger
	Windows  *windows.Windows
	Devices  *devices.Devices
	Cluster  *cluster.Cluster
	Reports  *report.Register
	Releases *release.Releases
	Audit    *audit.Log
	Flow     *flow.Counters

	Sightings *sighting.Sightings
	Updates   *updates.Updates
	Evidence  *assess.Assessor

	opts Options
	lock *os.File

	loaded chan struct{} // closed when the schema is up to date and the switch is known
	// tried is closed when the first try to load has ended, with the error tryErr.
	tried  chan struct{}
	tryErr error

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// Open opens the store as Start does, and waits until the database answers, the set of hubs is
// filled and the notes of passed alerts are read. The error is ErrCopying if a copy into the
// database is not complete. It is no error if a PostgreSQL database cannot be reached: until it
// can be, the store is not available.
func Open(ctx context.Context, opts Options) (*Store, error) {
	s, err := Start(opts)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.tried:
		err = s.tryErr
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch {
	case err == nil:
		for _, read := range []<-chan struct{}{s.Ledger.Filled(), s.Ledger.Passed.Loaded()} {
			select {
			case <-read:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
	case s.DB.Remote() && !s.DB.Denies(err) && !errors.Is(err, ErrCopying) && !errors.Is(err, ErrNone):
		err = nil
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open %s: %w", opts.name(), err)
	}
	return s, nil
}

// Start locks the data folder, and opens the rest in the background. The error is
// datadir.ErrInUse if another process uses the folder, or ErrNone.
func Start(opts Options) (_ *Store, err error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Existing {
		if err := opts.checkFiles(); err != nil {
			return nil, err
		}
	}
	s := &Store{opts: opts, loaded: make(chan struct{}), tried: make(chan struct{})}
	if s.lock, err = datadir.Lock(opts.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.DB, err = sqldb.Open(sqldb.Options{Path: filepath.Join(opts.Dir, "quell.db"), Address: opts.Database, Log: opts.Log, OnCommit: opts.OnCommit}); err != nil {
		return nil, fmt.Errorf("open %s: %w", opts.name(), err)
	}
	s.Windows = windows.New(s.DB, devices.HubOf)
	s.Flow = flow.New(s.DB, flow.Options{Node: opts.Node, Now: func() time.Time { return s.Cluster.Now() }, Log: opts.Log})
	s.Ledger, err = ledger.Open(s.DB, s.Windows, ledger.Options{Log: opts.Log, Journal: filepath.Join(opts.Dir, "pending"), OpenJournal: opts.OpenJournal,
		Device: devices.Find, CountEntries: s.Flow.CountEntries, OnDecided: opts.OnDecided, BeforeCommit: opts.BeforeCommit})
	if err != nil {
		return nil, err
	}
	s.Devices = devices.New(s.DB, devices.Options{Dir: opts.Dir, Log: opts.Log, PrepareInventory: s.moveWindows})
	s.Cluster = cluster.New(s.DB, cluster.Options{Name: opts.Node, Version: opts.Version, Now: opts.Now, Elapsed: opts.Elapsed, Log: opts.Log,
		State:       func() map[string]string { return map[string]string{"switch": string(s.Ledger.Switch())} },
		OnHeartbeat: s.Ledger.ReadSwitch, Follow: s.Ledger.Follow, Prune: s.Ledger.Prune})
	s.Reports = report.NewRegister(s.DB, s.Ledger, s.Cluster)
	s.Releases = release.New(release.Options{DB: s.DB, Ledger: s.Ledger, Cluster: s.Cluster, Count: s.Flow.CountReleased, Log: opts.Log})
	s.Audit = audit.New(s.DB, s.Cluster.Now, opts.Log)
	s.Sightings = sighting.New(s.DB, opts.Log)
	s.Updates = updates.New(s.DB, opts.Log)
	s.Evidence = assess.New(assess.Options{DB: s.DB, Sightings: s.Sightings, Ledger: s.Ledger, Devices: s.Devices, Cluster: s.Cluster, Log: opts.Log})
	s.start()
	return s, nil
}

// start starts all that runs in the background.
func (s *Store) start() {
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.DB.Start(sqldb.Prepare{
		First: func(ctx context.Context) error {
			if err := s.load(ctx); err != nil {
				return err
			}
			return s.Ledger.PlayJournal(ctx)
		},
		Pending: func() bool { return s.Ledger.Pending() > 0 },
		Last:    s.Cluster.Leave,
	})
	s.running.Go(func() {
		if s.Ready(run) == nil {
			s.Ledger.Fill(run)
		}
	})
	s.running.Go(func() { s.Ledger.Passed.Run(run) })
	s.running.Go(func() {
		if s.Ready(run) == nil {
			s.Ledger.Passed.Load(run)
		}
	})
	s.running.Go(func() { s.Audit.Run(run) })
	s.running.Go(func() { s.Sightings.Run(run) })
	s.running.Go(func() { s.Updates.Run(run) })
	s.running.Go(func() { s.Flow.Run(run) })
	s.Cluster.Start(run, s.loaded)
}

// moveWindows makes windows follow their meters to other hubs.
func (s *Store) moveWindows(ctx context.Context, im devices.Import, staged *devices.Staged) (func(context.Context, sqldb.Tx) (func(), error), error) {
	return s.Ledger.PrepareMove(ctx, windows.InventoryImport{No: im.No, At: im.At, Rows: im.Rows, IDs: staged.IDs})
}

// name returns the name of the database for errors: its file, if it has one.
func (o *Options) name() string {
	if o.Database != "" {
		return "the database"
	}
	return filepath.Join(o.Dir, "quell.db")
}

// checkFiles returns ErrNone if the data folder is missing, or the file of the database.
func (o *Options) checkFiles() error {
	path := o.Dir
	if o.Database == "" {
		path = o.name()
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s: %w", ErrNone, o.Dir, err)
	}
	return nil
}

// checkTables returns ErrNone if a PostgreSQL database has no tables of quell.
func (s *Store) checkTables(ctx context.Context) (err error) {
	var none bool
	if s.DB.Remote() {
		err = s.DB.QueryRow(ctx, `SELECT to_regclass('migration') IS NULL`).Scan(&none)
	}
	if none {
		err = fmt.Errorf("%w in the database: it has no tables of quell", ErrNone)
	}
	return err
}

// load brings the schema up to date, and reads what decisions need, unless that is done already.
// The writer calls it before anything else.
func (s *Store) load(ctx context.Context) error {
	if closed(s.loaded) {
		return nil
	}
	var err error
	if s.opts.Existing {
		err = s.checkTables(ctx)
	}
	if err == nil {
		err = s.DB.Migrate(ctx, Migrations)
	}
	if err == nil {
		err = s.claim(ctx)
	}
	if err == nil {
		err = s.Ledger.Load(ctx)
	}
	if err != nil {
		s.DB.Reconnect()
	} else {
		s.DB.SetReady()
		close(s.loaded)
	}
	if !closed(s.tried) {
		s.tryErr = err
		close(s.tried)
	}
	return err
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
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

// Started reports whether the database was opened since the start, and all hubs that have
// windows are known, and all notes of passed alerts.
func (s *Store) Started() bool {
	return closed(s.loaded) && closed(s.Ledger.Filled()) && closed(s.Ledger.Passed.Loaded())
}

// Conditions says what is wrong with the store, or not done yet after a start; nil if nothing.
func (s *Store) Conditions() (list []string) {
	switch err := s.DB.Trouble(); {
	case err != nil:
		list = append(list, fmt.Sprintf("the store does not answer: every alert is forwarded (%v)", err))
	case !closed(s.loaded):
		list = append(list, "the store is being opened: every alert is forwarded")
	case !closed(s.Ledger.Filled()):
		list = append(list, "the hubs that have windows are being read: the store is asked about every AD1")
	case !closed(s.Ledger.Passed.Loaded()):
		list = append(list, "the notes of passed alerts are being read: no alert is suppressed")
	}
	list = append(list, s.Ledger.Conditions()...)
	list = append(list, s.Cluster.Conditions()...)
	return append(list, s.Releases.Conditions()...)
}

// Close commits what waits, and closes the store. What the database does not take stays in the
// journal.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.running.Wait()
		s.Cluster.Wait()
		s.DB.Stop()
		s.release()
	})
	return nil
}

func (s *Store) release() {
	if s.Ledger != nil {
		s.Ledger.Close()
	}
	if s.DB != nil {
		s.DB.Close()
	}
	s.lock.Close() // releases the lock
}

// Limits says what Housekeep may delete.
type Limits struct {
	WindowsBefore, LogBefore, NotesBefore time.Time // see ledger.Limits
	ReportsBefore                         time.Time // see report.Register.Housekeep
	// The remotes in use. An entry is kept until each of them that takes it has confirmed it.
	Remotes []string
}

// Housekeeping says what Housekeep deleted.
type Housekeeping struct {
	ledger.Deleted
	Reports, Events int
	Audit           int // records of the audit log
	Sightings       int // rows of sightings
	Held            int // rows of messages of suppressed alerts, and releases
}

// Housekeep deletes what is old, except entries that are not delivered in a report, or whose
// corrections are not. The error may be cluster.ErrNotLeader.
func (s *Store) Housekeep(ctx context.Context, l Limits) (h Housekeeping, err error) {
	m := ledger.Limits{WindowsBefore: l.WindowsBefore, LogBefore: l.LogBefore, NotesBefore: l.NotesBefore, Check: s.Cluster.CheckLeader}
	// These only grow while this runs, unless an operator has a report sent again.
	if m.Entry, m.Correction, err = s.Reports.Delivered(ctx, l.Remotes); err != nil {
		return h, err
	}
	if err = s.Flow.Housekeep(ctx, l.LogBefore, s.Cluster.CheckLeader); err != nil {
		return h, err
	}
	if err = s.Updates.Housekeep(ctx, s.Cluster.Now(), s.Cluster.CheckLeader); err != nil {
		return h, err
	}
	if h.Deleted, err = s.Ledger.Housekeep(ctx, m); err != nil {
		return h, err
	}
	if h.Reports, h.Events, err = s.Reports.Housekeep(ctx, l.ReportsBefore, l.Remotes); err != nil {
		return h, err
	}
	if h.Held, err = s.Releases.Housekeep(ctx, l.LogBefore, s.Cluster.CheckLeader); err != nil {
		return h, err
	}
	if h.Audit, err = s.Audit.Housekeep(ctx, l.ReportsBefore, s.Cluster.CheckLeader); err != nil {
		return h, err
	}
	h.Sightings, err = s.Evidence.Housekeep(ctx, s.Cluster.Now().Add(-sighting.Keep), l.ReportsBefore)
	return h, err
}
