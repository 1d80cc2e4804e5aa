package ledger

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"quell/internal/hubs"
	"quell/internal/journal"
	"quell/internal/outage"
	"quell/internal/passed"
	"quell/internal/sqldb"
	"quell/internal/switchstate"
	"quell/internal/windows"
)

// Options are what Open needs to know.
type Options struct {
	Log     *slog.Logger
	Journal string // the path of the journal's file
	// OpenJournal opens that file, as journal.Options.OpenFile.
	OpenJournal func(path string) (journal.File, error)

	// Device returns what the inventory says of a device, nil if it does not know the device;
	// and whether the device is in the device list.
	Device func(ctx context.Context, q sqldb.Querier, id outage.DeviceID) (d *outage.Device, listed bool, err error)

	// OnDecided, if it is set, is called with the number of decisions in a transaction and its
	// error, before Decide returns any of them.
	OnDecided func(n int, err error)
	// BeforeCommit, for tests of the worst moment, is called when a batch of decisions is
	// complete, but not committed.
	BeforeCommit func()
}

// Ledger is the ledger of one node. Its methods may be called from any goroutine, except where
// they say otherwise.
type Ledger struct {
	db      *sqldb.DB
	windows *windows.Windows
	opts    Options
	log     *slog.Logger

	hubs   hubs.Set
	filled chan struct{} // closed when the set has all hubs; until then any hub may have a window

	Passed    *passed.Notes // of alerts that NotePassed noted
	journal   *journal.Journal[record]
	playBatch int // how many records the next transaction plays; only the writer uses it
	// lastReceipt is the last time of receipt of the requests in the journal at the start.
	lastReceipt time.Time

	decisions *sqldb.Lane[*decision]
	notes     *sqldb.Lane[ForwardedNote]
	failed    *sqldb.Lane[windows.Failed]
	untracked *sqldb.Lane[windows.Untracked]
	// How many were lost because too many waited, since the last log line about it.
	lostNotes, lostFailed, lostUntracked atomic.Int64

	// expectSuppressed says that all alerts of the next batch are expected to be suppressed,
	// as those of the last batch were. expected has the entries of a batch that was written
	// so. Only the writer uses both.
	expectSuppressed bool
	expected         *[]outage.Entry
	// noHold is until when no messages are kept, since the database has refused something.
	noHold time.Time

	sw       switchstate.State
	followed followed
}

// Open opens the journal. What it holds counts on this node at once: its windows, and a switch
// that was turned off. Open adds lanes to the database, whose writer must not be started yet.
func Open(db *sqldb.DB, w *windows.Windows, opts Options) (*Ledger, error) {
	l := &Ledger{db: db, windows: w, opts: opts, log: opts.Log, filled: make(chan struct{}), playBatch: maxPlayBatch}
	l.Passed = passed.New(db, passed.Options{Log: opts.Log, Left: l.noteLeft, Keep: l.keepNotes})
	var err error
	l.journal, err = journal.Open(journal.Options[record]{Path: opts.Journal, Log: opts.Log, OpenFile: opts.OpenJournal,
		Marked: func(r record) bool { return r.Unresolved }, Found: l.loadRecord})
	if err != nil {
		return nil, err
	}
	l.notes = sqldb.NewLane(db, sqldb.LaneOptions[ForwardedNote]{Max: maxNotes, Early: true, Done: l.notesDone,
		Write: func(ctx context.Context, tx sqldb.Tx, list []ForwardedNote) error { return l.correct(ctx, tx, list...) }})
	l.failed = sqldb.NewLane(db, sqldb.LaneOptions[windows.Failed]{Max: maxNotes, Write: windows.Fail, Done: l.failedDone})
	l.untracked = sqldb.NewLane(db, sqldb.LaneOptions[windows.Untracked]{Write: w.NoteUntracked, Done: l.untrackedDone})
	l.decisions = sqldb.NewLane(db, sqldb.LaneOptions[*decision]{Write: l.writeDecisions, Left: l.undecided, Done: l.decisionsDone,
		Gone: func(d *decision) bool { return d.state.Load() == abandoned }})
	return l, nil
}

// loadRecord takes over a record that the journal has at the start.
func (l *Ledger) loadRecord(r record) {
	switch {
	case r.Activation != nil:
		if r.Activation.Received.After(l.lastReceipt) {
			l.lastReceipt = r.Activation.Received
		}
		if !r.Unresolved {
			l.hubs.Add(r.Activation.CHF)
		}
	case r.Passed != nil:
		l.Passed.HoldAll(r.Passed)
	case r.Switch != nil:
		l.sw.Set(outage.SwitchOff)
		l.sw.KeepOff()
	}
}

// Load reads the first notes of passed alerts, the switch, and the id of the last request. The
// writer calls it when the schema is up to date, before anything else.
func (l *Ledger) Load(ctx context.Context) error {
	ctx, cancel := l.db.Bounded(ctx)
	defer cancel()
	l.Passed.LoadFirst(ctx)
	sw, err := ReadSwitch(ctx, l.db)
	if err != nil {
		return err
	}
	if sw != "" {
		l.sw.Follow(sw, l.sw.ChangeCount()) // unless the journal has a later change
	}
	return l.db.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&l.followed.last)
}

// fillPage is how many rows are read at once across a network, where a database may not allow a
// query over a whole log (statement_timeout).
const fillPage = 10_000

// hubsSQL reads each hub of a table once, on SQLite from an index alone.
const hubsSQL = `SELECT DISTINCT chf FROM `

// Fill reads the hubs that have windows or log entries. It tries until it has all or ctx ends.
func (l *Ledger) Fill(ctx context.Context) {
	var windows, entries int64 // the keys up to which both are read
	for failing := false; ; failing = true {
		errs := make(chan error)
		go func() { errs <- l.fill(ctx, "activation", "id", &windows) }()
		go func() { errs <- l.fill(ctx, "suppression", "seq", &entries) }()
		err := cmp.Or(<-errs, <-errs)
		if err == nil {
			close(l.filled)
			return
		}
		if !failing && ctx.Err() == nil {
			l.log.Error("the hubs that have windows cannot be read, the store is asked about every AD1", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// fill adds the hubs of a table, across a network those of the rows after the key last.
func (l *Ledger) fill(ctx context.Context, table, key string, last *int64) (err error) {
	if !l.db.Remote() {
		_, err := l.addHubs(l.db.Query(ctx, hubsSQL+table))
		return err
	}
	for n := fillPage; n == fillPage && err == nil; {
		n, err = l.addPage(ctx, table, key, last)
	}
	return err
}

// addPage adds the hubs of a page of rows after the key last, and sets last to its end.
func (l *Ledger) addPage(ctx context.Context, table, key string, last *int64) (n int, err error) {
	ctx, cancel := l.db.Bounded(ctx)
	defer cancel()
	rows, err := l.db.Query(ctx, `SELECT `+key+`, chf FROM `+table+` WHERE `+key+` > ? ORDER BY `+key+` LIMIT ?`, *last, fillPage)
	return l.addHubs(rows, err, last)
}

// addHubs adds the hubs of a query's rows. What is before the hub in a row goes to before.
func (l *Ledger) addHubs(rows sqldb.Rows, err error, before ...any) (n int, _ error) {
	add, rest := l.hubs.AddMany()
	defer rest()
	var chf int64
	return sqldb.Each(rows, err, func() { add(outage.DeviceID(chf)) }, append(before, &chf)...)
}

// Filled is closed when Fill has read all hubs.
func (l *Ledger) Filled() <-chan struct{} { return l.filled }

// Close closes the journal. Close the database first.
func (l *Ledger) Close() { l.journal.Close() }

// MayHaveWindow reports whether an alert of the hub needs a call of Decide. If it does not, this
// node knows no window of the hub: forward the alert, and call NotePassed.
func (l *Ledger) MayHaveWindow(chf outage.DeviceID) bool {
	if l.hubs.Has(chf) || l.journal.Marked() > 0 {
		return true
	}
	select {
	case <-l.filled:
		return false
	default:
		return true
	}
}

// Hubs returns how many hubs are in the set.
func (l *Ledger) Hubs() int { return l.hubs.Len() }

// Pending returns how many records of the journal are not in the database yet.
func (l *Ledger) Pending() int { return l.journal.Pending() }

// JournalInMemory returns how many records of the journal are in memory only because its file
// cannot be written; and how many were lost since the start, because memory had no room either.
func (l *Ledger) JournalInMemory() (held, lost int) {
	held, lost, err := l.journal.Failing()
	if err == nil {
		held = 0 // they are being written
	}
	return held, lost
}

// Conditions says what is wrong with the journal; nil if nothing.
func (l *Ledger) Conditions() (list []string) {
	if n := l.Pending(); n > 0 {
		list = append(list, fmt.Sprintf("the journal holds %d records for the store", n))
	}
	held, lost, err := l.journal.Failing()
	if err != nil {
		list = append(list, fmt.Sprintf("the journal cannot be written: %d records are in memory only, and lost if this process ends (%v)", held, err))
	}
	if lost > 0 {
		list = append(list, fmt.Sprintf("%d records of the journal were lost, since neither its file nor memory had room", lost))
	}
	return list
}

// LastReceipt returns when this node received the last request that it has recorded. It returns
// the zero time if other nodes record too: their clocks are compared with the database's.
func (l *Ledger) LastReceipt(ctx context.Context) (time.Time, error) {
	if l.db.Remote() {
		return time.Time{}, nil
	}
	var at int64
	err := l.db.QueryRow(ctx, `SELECT coalesce(max(received_at), 0) FROM (SELECT received_at FROM activation ORDER BY id DESC LIMIT 1000) AS latest`).Scan(&at)
	if err != nil || l.lastReceipt.After(sqldb.Instant(at)) {
		return l.lastReceipt, sqldb.Unavailable(err)
	}
	return sqldb.Instant(at), nil
}

// Prune forgets hubs that no longer have an activation or a log entry: another node's
// housekeeping may have deleted them. While the journal holds records, it does nothing.
func (l *Ledger) Prune(ctx context.Context) (done bool, err error) {
	if l.Pending() > 0 {
		return false, nil
	}
	return true, l.prune(ctx)
}
