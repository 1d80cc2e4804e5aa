package recording

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/lines"
	"quell/internal/outage"
)

// Limits are what a Recorder does, and how much it keeps. They may change while it runs.
type Limits struct {
	Enabled  bool
	Plain    bool          // keep MPxNs as they are
	MaxBytes int64         // of all files together
	Keep     time.Duration // after the last line of a file
}

// Recorder writes a recording into a folder. It is safe for use by many goroutines. A nil
// Recorder records nothing.
type Recorder struct {
	log    *slog.Logger
	run    string
	lines  *lines.Queue
	file   *writer
	limits atomic.Pointer[Limits]
	last   atomic.Uint64 // number of an 11.3
	homes  homes
}

const (
	queueLimit = 64 << 20        // bytes that may wait for the disk
	queueWait  = 5 * time.Second // for the disk, at the end
	queueRest  = time.Second     // after each write: frames of many lines are smaller
)

// Open opens a recorder whose folders "recordings" and key are in dir, and makes neither before
// the first line. Until Configure is called, it records nothing.
func Open(dir string, log *slog.Logger) *Recorder { return open(dir, log, queueLimit, queueRest) }

func open(dir string, log *slog.Logger, limit int, rest time.Duration) *Recorder {
	id := make([]byte, 8)
	rand.Read(id) // never fails
	r := &Recorder{log: log, run: hex.EncodeToString(id)}
	r.limits.Store(&Limits{})
	r.file = newWriter(dir, r.run, log, r.limits.Load)
	r.lines = lines.New(r.file, limit, rest, r.changed)
	return r
}

// changed logs that lines cannot be written, or that they can again.
func (r *Recorder) changed(err error, lost uint64) {
	switch {
	case err != nil:
		r.log.Error("the recording cannot be written", "error", err)
	case lost > 0:
		r.log.Error("the recording is written again, lines are missing", "lines", lost)
	default:
		r.log.Info("the recording is written again")
	}
}

// Configure sets the limits.
func (r *Recorder) Configure(l Limits) { r.limits.Store(&l) }

// Enabled reports whether anything is recorded.
func (r *Recorder) Enabled() bool { return r != nil && r.limits.Load().Enabled }

// Next returns the number for an 11.3.
func (r *Recorder) Next() uint64 { return r.last.Add(1) }

// buffers are for lines that are being made.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

// Add queues a line, and keeps nothing of it. It never waits for the disk. mpxn is the MPxN in
// the document, "" if there is none.
func (r *Recorder) Add(l Line, mpxn string) {
	if !r.limits.Load().Plain {
		l.mpxn = mpxn
	}
	b := buffers.Get().(*[]byte)
	*b = l.Append((*b)[:0])
	r.lines.Write(*b) // the queue counts what it drops
	if cap(*b) <= 128<<10 {
		buffers.Put(b)
	}
}

// Settings queues a line with what is in force from the instant at, as JSON. It reports whether
// there was room for it.
func (r *Recorder) Settings(at time.Time, rules []byte) bool {
	_, err := r.lines.Write((&Line{Kind: Settings, At: at, Run: r.run, Rules: rules}).Append(nil))
	return err == nil
}

// Flush waits until all lines that were added before are in the file. The error is that of
// ctx.
func (r *Recorder) Flush(ctx context.Context) error { return r.lines.Flush(ctx) }

// Dropped returns how many lines were dropped since the start.
func (r *Recorder) Dropped() uint64 { return r.lines.Dropped() }

// Trouble says what is wrong with the recording now, "" if nothing is.
func (r *Recorder) Trouble() string { return r.lines.Trouble() }

// Close writes the lines that wait, for queueWait at most, and closes the file. The error
// says what was not written.
func (r *Recorder) Close() error {
	err := r.lines.Close(queueWait)
	if r.lines.Closed() {
		r.file.close()
	}
	if err != nil {
		return fmt.Errorf("the recording: %w", err)
	}
	return nil
}

// homes are devices of homes that have lost power lately.
type homes struct {
	mu          sync.RWMutex // guards the fields below
	now, before map[outage.DeviceID]struct{}
	since       time.Time // of now
}

const (
	// homesFor is how long a home is followed at least; at most twice as long.
	homesFor = 45 * time.Minute
	maxHomes = 2_000_000 // devices in each map
)

// Follow notes that the alert of a hub was suppressed, and which meter's window did that.
func (r *Recorder) Follow(at time.Time, devices ...outage.DeviceID) {
	h := &r.homes
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now == nil || at.Sub(h.since) >= homesFor || len(h.now) >= maxHomes {
		h.now, h.before, h.since = map[outage.DeviceID]struct{}{}, h.now, at
	}
	for _, id := range devices {
		h.now[id] = struct{}{}
	}
}

// Follows reports whether a device is of a home that is followed.
func (r *Recorder) Follows(id outage.DeviceID) bool {
	h := &r.homes
	h.mu.RLock()
	defer h.mu.RUnlock()
	if _, ok := h.now[id]; ok {
		return true
	}
	_, ok := h.before[id]
	return ok
}
