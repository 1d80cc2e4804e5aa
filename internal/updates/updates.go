package updates

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

const (
	// Keep is how long an update is kept without an 11.3, and how long one counts for what is known
	// of its supplier.
	Keep = 60 * 24 * time.Hour

	flushEvery = time.Second
	lastFlush  = time.Second // when quell ends
	blockSize  = 256         // notes that are collected together
	maxWaiting = 400_000     // notes that wait; as many may wait that the database did not take: 16 MB each
	maxTaps    = 16          // 11.1s whose lists are followed at the same time: 20 MB
)

// state is what is known of an update of a meter. The numbers are in the database.
type state uint8

const (
	ordered    state = 1 // an 11.1 for it was accepted
	arrived    state = 2 // the image is at its hub
	notArrived state = 3
)

// note is what one message says of one meter.
type note struct {
	meter, supplier outage.DeviceID
	at              int64 // in microseconds since 1970
	state           state
}

// Updates are the updates that a node sees, on their way into the database. Its methods may be
// called from any goroutine, and on nil, where those for messages do nothing.
type Updates struct {
	db  *sqldb.DB
	log *slog.Logger

	taps    atomic.Int32
	dropped atomic.Uint64

	flushing sync.Mutex // held by Flush; guards left
	left     []note     // that the database did not take

	mu    sync.Mutex // guards the next fields; held for one note alone
	open  []note     // the block that is being filled
	full  [][]note   // blocks that wait
	lists []*Tap     // that passed, and are to be read
}

// New returns the updates of a database. Nothing is written before Run.
func New(db *sqldb.DB, log *slog.Logger) *Updates { return &Updates{db: db, log: log} }

// Dropped returns how many notes, and lists of meters, were dropped since the start.
func (u *Updates) Dropped() uint64 { return u.dropped.Load() }

// Arrived notes an N60: the image of an update has arrived at the hub of a device, or has not.
func (u *Updates) Arrived(update outage.RequestID, device outage.DeviceID, ok bool, at time.Time) {
	if u == nil || device == 0 {
		return
	}
	n := note{meter: device, supplier: update.Originator, at: at.UnixMicro(), state: arrived}
	if !ok {
		n.state = notArrived
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.full) >= maxWaiting/blockSize {
		u.dropped.Add(1)
		return
	}
	if u.open == nil {
		u.open = make([]note, 0, blockSize)
	}
	if u.open = append(u.open, n); len(u.open) == blockSize {
		u.full, u.open = append(u.full, u.open), nil
	}
}

// Run writes what is noted, until ctx ends; then it has lastFlush for what is left.
func (u *Updates) Run(ctx context.Context) {
	var failed time.Time
	for ctx.Err() == nil {
		select {
		case <-time.After(flushEvery):
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			if err := u.Flush(ctx); err != nil {
				u.log.Warn("updates of firmware were lost, the forecast may lack some", "error", err)
			}
			return
		}
		if err := u.Flush(ctx); err != nil && ctx.Err() == nil && time.Since(failed) > time.Minute {
			failed = time.Now()
			u.log.Warn("updates of firmware cannot be noted, quell tries again; the forecast may lack some", "error", err)
		}
	}
}

// Flush writes what was noted before it is called. What it could not write is noted still. The error is sqldb.ErrUnavailable.
func (u *Updates) Flush(ctx context.Context) error {
	u.flushing.Lock()
	defer u.flushing.Unlock()
	u.mu.Lock()
	blocks, lists := append(u.full, u.open), u.lists
	u.full, u.open, u.lists = nil, nil, nil
	u.mu.Unlock()
	notes := append(u.left, slices.Concat(blocks...)...)
	u.left = nil
	for _, t := range lists {
		for _, m := range t.meters() {
			notes = append(notes, note{meter: m, supplier: t.supplier, at: t.at.UnixMicro(), state: ordered})
		}
	}
	for len(notes) > 0 {
		batch, rest := cut(notes)
		if err := u.write(ctx, batch); err != nil {
			u.left = notes[:min(len(notes), maxWaiting)]
			u.dropped.Add(uint64(len(notes) - len(u.left)))
			return err
		}
		notes = rest
	}
	return nil
}

// cut divides notes into those of the next transaction, one of each meter, and the rest.
func cut(notes []note) (batch, rest []note) {
	n := min(len(notes), writeBatch)
	of := make(map[outage.DeviceID]int, n)
	for _, x := range notes[:n] {
		if i, known := of[x.meter]; !known {
			of[x.meter] = len(batch)
			batch = append(batch, x)
		} else if x.at >= batch[i].at {
			batch[i] = x
		}
	}
	return slices.Clip(batch), notes[n:]
}
