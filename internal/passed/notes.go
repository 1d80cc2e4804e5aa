package passed

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

const (
	// flushEvery is how long a note waits for others that are written with it.
	flushEvery = 100 * time.Millisecond
	// maxBatch is how many notes one transaction writes.
	maxBatch = 16 * rowNotes
	// maxWaiting bounds the notes that wait in memory while they can be written nowhere: 12 MB.
	// maxWithIDs bounds them if several nodes share the database: 20 MB.
	maxWaiting = 1 << 20
	maxWithIDs = 100_000
	// complainEvery is how often the log says that notes were lost.
	complainEvery = 10 * time.Second
)

// Options are what New needs.
type Options struct {
	Log *slog.Logger
	// Left is called, if several nodes share the database, with the notes of alerts whose hubs
	// have requests or entries there: another node may have logged the alerts as suppressed.
	Left func(list []Note)
	// Keep puts notes elsewhere that the database does not take: as rows for Insert, and if
	// several nodes share the database, as a list too. It returns false if it cannot. Then they
	// wait.
	Keep func(list []Note, rows [][]byte) bool
}

// Notes are the notes of alerts that passed: in memory, and in the table passed.
type Notes struct {
	db   *sqldb.DB
	opts Options
	set  *set
	lane *sqldb.Lane[*batch]
	wake chan struct{} // holds a token when notes wait

	mu         sync.Mutex // guards the next fields
	waiting    batch
	spare      []byte    // for waiting.notes, when those are taken
	writing    bool      // a batch is in the lane
	ending     bool      // nothing is tried again
	lost       int       // how many notes, since the last log line about it
	complained time.Time // when that was

	cleared atomic.Int64 // see deleteForwarded

	loaded chan struct{} // closed when all rows that were there at the start are read
	last   atomic.Int64  // rows up to this one are read
	ahead  atomic.Int64  // and up to this one in transactions, though one that was not committed may have had it
	missed bool          // the last transaction has not read all rows; only the writer uses it
}

// A batch is notes that are written together. On a database of several nodes they are in list,
// otherwise in notes.
type batch struct {
	notes []byte
	list  []Note
	left  []Note // of list, for Options.Left
}

func (b *batch) size() int { return len(b.notes)/noteSize + len(b.list) }

// all returns all notes as Insert takes them.
func (b *batch) all() []byte {
	notes := b.notes
	for i := range b.list {
		notes = Append(notes, &b.list[i])
	}
	return notes
}

// cut takes up to maxBatch notes from the front.
func (b *batch) cut() *batch {
	n, k := min(len(b.notes), maxBatch*noteSize), min(len(b.list), maxBatch)
	front := &batch{notes: b.notes[:n:n], list: b.list[:k:k]}
	if n == len(b.notes) {
		front.notes = b.notes // with all its room, which done keeps for the next ones
	}
	if b.notes, b.list = b.notes[n:], b.list[k:]; b.size() == 0 {
		*b = batch{}
	}
	return front
}

// New adds a lane to a database whose writer is not started.
func New(db *sqldb.DB, opts Options) *Notes {
	n := &Notes{db: db, opts: opts, set: newSet(), wake: make(chan struct{}, 1), loaded: make(chan struct{})}
	n.lane = sqldb.NewLane(db, sqldb.LaneOptions[*batch]{Early: true, Write: n.write, Done: n.done})
	return n
}

// Add notes an alert. It does not wait: the note counts on this node at once, and goes to the
// database's writer a tenth of a second later. It allocates nothing for each note, unless several nodes share the database.
func (n *Notes) Add(id []byte, chf outage.DeviceID, start, received time.Time, reason outage.Reason) {
	key, f := Key(id, chf, start), newFact(received, reason)
	gone := n.set.add(key, f)
	n.mu.Lock()
	size := n.waiting.size()
	switch {
	case n.db.Remote() && size < maxWithIDs:
		n.waiting.list = append(n.waiting.list, Note{string(id), chf, start, received, reason})
	case !n.db.Remote() && size < maxWaiting:
		n.waiting.notes = appendNote(n.waiting.notes, key, f)
	default:
		gone++
	}
	n.lost += gone
	n.mu.Unlock()
	if size == 0 {
		n.wakeUp()
	}
}

// Hold notes an alert in memory only: the caller makes its note durable.
func (n *Notes) Hold(note *Note) {
	n.countLost(n.set.add(note.Key(), newFact(note.Received, note.Reason)))
}

// HoldAll is Hold for rows that Keep got.
func (n *Notes) HoldAll(rows ...[]byte) { n.countLost(n.set.addAll(rows)) }

func (n *Notes) countLost(gone int) {
	if gone > 0 {
		n.mu.Lock()
		n.lost += gone
		n.mu.Unlock()
		n.wakeUp()
	}
}

// Of returns why an alert went forward before, if there is a note of it or of another alert with
// its key.
func (n *Notes) Of(key uint64) (reason outage.Reason, ok bool) {
	f, ok := n.set.of(key)
	return f.reason(), ok
}

// Before is Of for the writer, after ReadLater. If other nodes have noted more than it has read,
// the alert may have passed.
func (n *Notes) Before(key uint64) (reason outage.Reason, ok bool) {
	if n.missed {
		return outage.ReasonStoreUnavailable, true
	}
	return n.Of(key)
}

// Len returns how many notes are in memory.
func (n *Notes) Len() int { return n.set.len() }

// Expire removes the notes of alerts that were received before an instant from memory.
func (n *Notes) Expire(before time.Time) { n.set.expire(minuteOf(before)) }

func (n *Notes) wakeUp() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// Run writes what Add notes, until ctx ends. What waits then is written when the database is
// closed.
func (n *Notes) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-n.wake:
		case <-ctx.Done():
		}
		select {
		case <-time.After(flushEvery):
		case <-ctx.Done():
		}
		n.hand(n.take())
	}
	n.mu.Lock()
	n.ending = true
	n.mu.Unlock()
	for b := n.take(); b != nil; b = n.take() {
		n.hand(b)
	}
}

// take returns the next batch; nil if nothing waits, or another batch is being written and this
// is not the end.
func (n *Notes) take() *batch {
	n.reportLost()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting.size() == 0 || n.writing && !n.ending {
		return nil
	}
	n.writing = true
	front := n.waiting.cut()
	if n.waiting.size() == 0 {
		n.waiting.notes, n.spare = n.spare, nil
	}
	return front
}

// reportLost logs how many notes were lost, unless it did so just now.
func (n *Notes) reportLost() {
	n.mu.Lock()
	lost := 0
	if n.lost > 0 && time.Since(n.complained) >= complainEvery {
		lost, n.lost, n.complained = n.lost, 0, time.Now()
	}
	n.mu.Unlock()
	if lost > 0 {
		n.opts.Log.Error("notes of forwarded alerts were lost, their retries may be decided again", "alerts", lost)
	}
}

// hand hands a batch to the writer.
func (n *Notes) hand(b *batch) {
	if b != nil && !n.lane.Add(b) {
		n.done([]*batch{b}, sqldb.ErrUnavailable)
	}
}

// write writes batches in a transaction, with the notes that go to Options.Left later: until that
// has dealt with them, other nodes need them to forward a retry.
func (n *Notes) write(ctx context.Context, tx sqldb.Tx, list []*batch) error {
	for _, b := range list {
		if len(b.list) > 0 {
			if err := b.findLeft(ctx, tx); err != nil {
				return err
			}
		}
		if err := Insert(ctx, tx, b.all()); err != nil {
			return err
		}
	}
	return nil
}

// findLeft sets which notes of a batch are left.
func (b *batch) findLeft(ctx context.Context, tx sqldb.Tx) error {
	hubs := make([]int64, len(b.list))
	for i := range b.list {
		hubs[i] = int64(b.list[i].CHF)
	}
	known, err := windows.Known(ctx, tx, hubs)
	if err != nil {
		return err
	}
	have := make(map[outage.DeviceID]bool, len(known))
	for _, chf := range known {
		have[outage.DeviceID(chf)] = true
	}
	b.left = nil
	for _, note := range b.list {
		if have[note.CHF] {
			b.left = append(b.left, note)
		}
	}
	return nil
}

// done puts notes elsewhere that the database did not take.
func (n *Notes) done(list []*batch, err error) {
	refused := n.db.Refuses(err)
	for _, b := range list {
		kept := err == nil || !refused && n.opts.Keep(b.list, slices.Collect(slices.Chunk(b.all(), RowSize)))
		n.mu.Lock()
		n.writing = false
		switch {
		case err == nil:
			n.spare = b.notes[:0] // nobody has it any more
		case kept:
		case refused || n.ending:
			n.lost += b.size()
		default:
			n.waiting.notes, n.waiting.list = append(b.notes, n.waiting.notes...), append(b.list, n.waiting.list...)
		}
		more := n.waiting.size() > 0
		n.mu.Unlock()
		if more {
			n.wakeUp()
		}
		if err == nil && len(b.left) > 0 {
			n.opts.Left(b.left)
		}
	}
}

// Loaded is closed when all notes are read that the database had at the start. Until then an
// alert that Of does not know may have passed before.
func (n *Notes) Loaded() <-chan struct{} { return n.loaded }

// IsLoaded reports whether Loaded is closed.
func (n *Notes) IsLoaded() bool {
	select {
	case <-n.loaded:
		return true
	default:
		return false
	}
}

// LoadFirst reads the first rows that the database has. If there are no more, Loaded is closed. If
// it fails, Load tries again.
func (n *Notes) LoadFirst(ctx context.Context) {
	if more, err := n.Follow(ctx); err == nil && !more && !n.IsLoaded() {
		close(n.loaded)
	}
}

// Load reads what LoadFirst has left, until it has all or ctx ends. It retries while the database
// does not answer.
func (n *Notes) Load(ctx context.Context) {
	failing := false
	for more := !n.IsLoaded(); more && ctx.Err() == nil; {
		var err error
		if more, err = n.Follow(ctx); err == nil {
			failing = false
			continue
		}
		if !failing && ctx.Err() == nil {
			n.opts.Log.Error("the notes of passed alerts cannot be read, no alert is suppressed until they are", "error", err)
		}
		more, failing = true, true
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil && !n.IsLoaded() {
		close(n.loaded)
	}
}

const newerSQL = `SELECT id, notes FROM passed WHERE id > ? ORDER BY id LIMIT ?`

// Follow reads a page of what was written since the last call, also by other nodes, and reports
// whether there is more. Only one caller at a time may call it.
func (n *Notes) Follow(ctx context.Context) (more bool, err error) {
	ctx, cancel := n.db.Bounded(ctx)
	defer cancel()
	var most int64
	if err := n.db.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM passed`).Scan(&most); err != nil {
		return false, err
	}
	if most < n.last.Load() { // as in a database that was restored
		n.last.Store(0)
		n.ahead.Store(0)
	}
	rows, err := n.db.Query(ctx, newerSQL, n.last.Load(), page)
	read, err := n.hold(rows, err, &n.last)
	return read == page, err
}

// ReadLater makes a transaction read what other nodes have written before it, together with its
// next statement, for Before.
func (n *Notes) ReadLater(ctx context.Context, tx sqldb.Tx) error {
	return tx.LaterRows(ctx, func(rows sqldb.Rows) error {
		read, err := n.hold(rows, nil, &n.ahead)
		n.missed = read == page
		return err
	}, newerSQL, max(n.last.Load(), n.ahead.Load()), page)
}

// hold takes over the notes of some rows, and sets to to the last row.
func (n *Notes) hold(rows sqldb.Rows, err error, to *atomic.Int64) (read int, _ error) {
	var id int64
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, notes *[]byte) error { return rows.Scan(&id, notes) })
	if err != nil {
		return 0, err
	}
	n.HoldAll(list...)
	if len(list) > 0 {
		to.Store(id)
	}
	return len(list), nil
}
