package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/hubs"
	"quell/internal/journal"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// Options are what Open needs to know.
type Options struct {
	Log     *slog.Logger
	Journal string // the path of the journal's file
	// OpenJournal opens that file, as journal.Options.OpenFile.
	OpenJournal func(path string) (journal.File, error)

	// Device returns what the inventory says of a device, nil if it does not know it, and
	// whether it is in the device list.
	Device func(ctx context.Context, q sqldb.Querier, id outage.DeviceID) (d *outage.Device, listed bool, err error)

	// OnDecided, if it is set, is called with the number of decisions of a transaction and its
	// error, before anybody is told them.
	OnDecided func(n int, err error)
	// BeforeCommit, for tests of the worst moment, is called when a batch of decisions is
	// complete but not committed.
	BeforeCommit func()
}

// Ledger is the ledger of one node. Its methods may be called from any goroutine, but for
// those that say otherwise.
type Ledger struct {
	db      *sqldb.DB
	windows *windows.Windows
	opts    Options
	log     *slog.Logger

	hubs   hubs.Set
	filled chan struct{} // closed when the set has all hubs; until then any may have a window

	journal *journal.Journal[record]
	atOnce  int // records that are played in one transaction; the writer's
	// lastReceipt is that of the last request in the journal when it was opened.
	lastReceipt time.Time

	decisions *sqldb.Lane[*decision]
	notes     *sqldb.Lane[ForwardedNote]
	failed    *sqldb.Lane[windows.Failed]
	untracked *sqldb.Lane[windows.Untracked]
	waiting   waitingNotes
	// How many were lost since that was last said, since too many waited.
	lostNotes, lostFailed, lostUntracked atomic.Int64

	// oneTrip is the guess that all decisions of a batch will be suppressions: those of the
	// last batch were. trip has the entries of the batch that was written on that guess.
	// Both are the writer's.
	oneTrip bool
	trip    *[]outage.Entry

	sw       position
	followed followed
}

// Open opens the journal. What it holds counts at once on this node: its windows, and a
// switch that was turned off. Lanes are added to the database, which must not be started.
func Open(db *sqldb.DB, w *windows.Windows, opts Options) (*Ledger, error) {
	l := &Ledger{db: db, windows: w, opts: opts, log: opts.Log, filled: make(chan struct{}), atOnce: playChunk, waiting: waitingNotes{reasons: map[alertKey]outage.Reason{}}}
	var err error
	l.journal, err = journal.Open(journal.Options[record]{Path: opts.Journal, Log: opts.Log, OpenFile: opts.OpenJournal,
		Marked: func(r record) bool { return r.Unresolved }, Found: l.found})
	if err != nil {
		return nil, err
	}
	l.notes = sqldb.NewLane(db, sqldb.LaneOptions[ForwardedNote]{Max: maxNotes, Early: true, Write: l.writeNotes, Done: l.notesDone})
	l.failed = sqldb.NewLane(db, sqldb.LaneOptions[windows.Failed]{Max: maxNotes, Write: windows.Fail, Done: l.failedDone})
	l.untracked = sqldb.NewLane(db, sqldb.LaneOptions[windows.Untracked]{Write: w.NoteUntracked, Done: l.untrackedDone})
	l.decisions = sqldb.NewLane(db, sqldb.LaneOptions[*decision]{Write: l.writeDecisions, Left: l.undecided, Done: l.decided,
		Gone: func(d *decision) bool { return d.state.Load() == abandoned }})
	return l, nil
}

// found takes over a record that the journal has at the start.
func (l *Ledger) found(r record) {
	switch {
	case r.Activation != nil:
		if r.Activation.Received.After(l.lastReceipt) {
			l.lastReceipt = r.Activation.Received
		}
		if !r.Unresolved {
			l.hubs.Add(r.Activation.CHF)
		}
	case r.Switch != nil:
		l.sw.turn(outage.SwitchOff)
		l.sw.keepOff()
	}
}

// Load reads the switch, and how far the requests have got. It is called by the writer when
// the schema is up to date, before anything else.
func (l *Ledger) Load(ctx context.Context) error {
	ctx, cancel := l.db.Bounded(ctx)
	defer cancel()
	sw, err := ReadSwitch(ctx, l.db)
	if err != nil {
		return err
	}
	if sw != "" {
		l.sw.follow(sw, l.sw.turned()) // the journal may know better
	}
	return l.db.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM activation`).Scan(&l.followed.last)
}

// fillPage is how many rows Fill reads at once: a database across a network, and its
// statement_timeout, may not allow a look through a whole log.
const fillPage = 10_000

// Fill reads the hubs that have windows or log entries, and tries again while the database
// does not answer, until it has all or ctx ends.
func (l *Ledger) Fill(ctx context.Context) {
	for _, from := range []struct{ table, key string }{{"activation", "id"}, {"suppression", "seq"}} {
		last, failing := int64(0), false
		for n := fillPage; n == fillPage; {
			var err error
			if n, err = l.addHubs(ctx, from.table, from.key, &last); err == nil {
				failing = false
				continue
			}
			if !failing && ctx.Err() == nil {
				l.log.Error("the hubs that have windows cannot be read, the store is asked about every AD1", "error", err)
			}
			n, failing = fillPage, true
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
		}
	}
	close(l.filled)
}

// addHubs adds the hubs of the rows behind the key last, and moves that on.
func (l *Ledger) addHubs(ctx context.Context, table, key string, last *int64) (n int, err error) {
	ctx, cancel := l.db.Bounded(ctx)
	defer cancel()
	rows, err := l.db.Query(ctx, `SELECT `+key+`, chf FROM `+table+` WHERE `+key+` > ? ORDER BY `+key+` LIMIT ?`, *last, fillPage)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var chf int64
		if err := rows.Scan(last, &chf); err != nil {
			return n, err
		}
		l.hubs.Add(outage.DeviceID(chf))
	}
	return n, rows.Err()
}

// Filled is closed when Fill has read all hubs.
func (l *Ledger) Filled() <-chan struct{} { return l.filled }

// Close closes the journal. The database is closed before.
func (l *Ledger) Close() { l.journal.Close() }

// MayHold reports whether an alert of the hub must be put to Decide. If not, the hub has no
// window that this node knows of: the alert is to be forwarded and noted.
func (l *Ledger) MayHold(chf outage.DeviceID) bool {
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

// Hubs is how many hubs the database is asked about.
func (l *Ledger) Hubs() int { return l.hubs.Len() }

// Pending is how many records the journal holds that the database does not.
func (l *Ledger) Pending() int { return l.journal.Pending() }

// JournalInMemory is how many records of the journal are in memory only, since its file
// cannot be written, and how many were lost since the start, since there was no room for
// them either.
func (l *Ledger) JournalInMemory() (held, lost int) {
	held, lost, err := l.journal.Failing()
	if err == nil {
		held = 0 // they are on their way
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

// LastReceipt is when the last request was received that this node has recorded, as far as
// that can be told: the zero time where other nodes record too, whose clocks are held to the
// database's.
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

// waitingNotes are the notes that are not in the database yet: the retry of an alert must not
// overtake the note of its first try.
type waitingNotes struct {
	mu      sync.Mutex // guards reasons
	reasons map[alertKey]outage.Reason
}

func (w *waitingNotes) add(f *ForwardedNote) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reasons[f.key()] = f.Reason
}

func (w *waitingNotes) remove(list ...ForwardedNote) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range list {
		delete(w.reasons, list[i].key())
	}
}

func (w *waitingNotes) of(a *outage.Alert) (why outage.Reason, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	why, ok = w.reasons[keyOfAlert(a)]
	return why, ok
}

// maxNotes limits the notes that wait while the database is busy; about 20 MB.
const maxNotes = 100_000

// NoteForwarded remembers that an alert was forwarded without being asked about, so that its
// retry is forwarded too; if it has an entry, that is corrected. It does not wait: an alert
// that is put to Decide later finds the note.
func (l *Ledger) NoteForwarded(f ForwardedNote) {
	l.waiting.add(&f)
	if !l.notes.Add(f) {
		l.waiting.remove(f)
		l.lostNotes.Add(1)
	}
}

func (l *Ledger) writeNotes(ctx context.Context, tx sqldb.Tx, list []ForwardedNote) error {
	return l.correct(ctx, tx, list...)
}

// notesDone puts notes that the database did not take into the journal.
func (l *Ledger) notesDone(list []ForwardedNote, err error) {
	if n := l.lostNotes.Swap(0); n > 0 {
		l.log.Error("forwarded alerts were not noted, their retries will be decided anew", "alerts", n)
	}
	if err != nil && !l.db.Refuses(err) {
		records := make([]record, len(list))
		for i := range list {
			records[i].Forwarded = &list[i]
		}
		l.journal.Keep(records...)
	}
	l.waiting.remove(list...)
}

// Prune forgets hubs that have neither an activation nor a log entry any more: another node's
// housekeeping may have deleted them. While the journal holds windows it is not done.
func (l *Ledger) Prune(ctx context.Context) (done bool, err error) {
	if l.Pending() > 0 {
		return false, nil
	}
	return true, l.prune(ctx)
}
