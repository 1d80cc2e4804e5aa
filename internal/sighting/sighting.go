package sighting

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

const (
	// flushEvery is how long a sighting waits for others that are written with it.
	flushEvery = time.Second
	// rowSize is how many bytes a row has at most, and a few more.
	rowSize = 16 << 10
	// maxWaiting bounds what waits, in rows.
	maxWaiting = (8 << 20) / rowSize
	// maxHanded is how many rows the writer may have when it gets more: a minute or so of a database that
	// hangs. After that rows are filled first.
	maxHanded = 64
	// Keep is how long sightings are kept, those of activations after they begin: an assessment looks back for 24 hours, and the
	// activation that it is about may be some time older.
	Keep = 26 * time.Hour
	// WatchFor is how long after a suppressed alert it matters that its home is heard again.
	WatchFor = 35 * time.Minute
)

// Sightings are the sightings of a node, on their way into the database. Its methods may be called
// from any goroutine, and on nil, where they do nothing.
type Sightings struct {
	db      *sqldb.DB
	log     *slog.Logger
	lane    *sqldb.Lane[[]byte]
	watched watched
	to      func(*Seen) // in place of the database; see Collect

	on      atomic.Bool
	dropped atomic.Uint64

	mu      sync.Mutex // guards the next fields; held for appends alone
	open    []byte     // the row that is being filled
	before  last       // its last sighting
	full    [][]byte   // rows that wait
	ending  bool
	noticed time.Time // when it was last logged that some were dropped
}

// New adds a lane to a database whose writer is not started. Nothing is collected until Enable.
func New(db *sqldb.DB, log *slog.Logger) *Sightings {
	s := &Sightings{db: db, log: log}
	s.lane = sqldb.NewLane(db, sqldb.LaneOptions[[]byte]{Write: write, Done: s.done})
	return s
}

// Collect returns sightings that are on, and go to a function in place of a database.
func Collect(to func(*Seen)) *Sightings {
	s := &Sightings{to: to}
	s.on.Store(true)
	return s
}

// Enable turns the collection on or off.
func (s *Sightings) Enable(on bool) {
	if s != nil {
		s.on.Store(on)
	}
}

// On reports whether sightings are collected.
func (s *Sightings) On() bool { return s != nil && s.on.Load() }

// Dropped returns how many sightings were lost since the start.
func (s *Sightings) Dropped() uint64 { return s.dropped.Load() }

// Watched returns how many devices are waited for.
func (s *Sightings) Watched() int { return int(s.watched.devices.Load()) }

// Add notes a sighting. It does not wait, and keeps no reference. Only Home.Hub is kept of a home.
func (s *Sightings) Add(x *Seen) {
	if !s.On() {
		return
	}
	if s.to != nil {
		own := *x // so that x is not allocated when there is no such function
		s.to(&own)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.full) >= maxWaiting {
		s.dropped.Add(1)
		return
	}
	if s.open == nil {
		s.open, s.before = append(make([]byte, 0, rowSize+1024), formatVersion), last{}
	}
	s.open = appendSighting(s.open, x, &s.before)
	if len(s.open) >= rowSize {
		s.full, s.open = append(s.full, s.open), nil
	}
}

// Heard notes that a device sent a message, if its home is waited for.
func (s *Sightings) Heard(device outage.DeviceID, at time.Time) {
	if !s.On() || device == 0 {
		return
	}
	if hub, ok := s.watched.heard(device, at); ok {
		s.Add(&Seen{Sighting: evidence.Sighting{Kind: evidence.Heard, Received: at, Home: evidence.Home{Hub: hub}}})
	}
}

// Waits returns the hub of a device whose next message is noted by Heard; 0 if it is not.
func (s *Sightings) Waits(device outage.DeviceID, at time.Time) (hub outage.DeviceID) {
	if !s.On() || device == 0 {
		return 0
	}
	return s.watched.waits(device, at)
}

// Watch waits for a device of a home whose alert, received at the instant from, was suppressed.
func (s *Sightings) Watch(device, hub outage.DeviceID, from time.Time) {
	if device != 0 {
		s.watched.add(device, watch{hub, from.UnixMicro()})
	}
}

// Expire forgets the devices that are waited for no longer.
func (s *Sightings) Expire(now time.Time) { s.watched.expire(now) }

// Run hands sightings to the database, until ctx ends. What waits then is written when the
// database is closed.
func (s *Sightings) Run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-time.After(flushEvery):
			s.Flush()
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	s.Flush()
}

// Flush hands what waits to the database's writer, and does not wait for it. While the writer has much of
// it already, since the database hangs, it gets no more.
func (s *Sightings) Flush() {
	handed := s.lane.Waiting()
	s.mu.Lock()
	if handed >= maxHanded && !s.ending {
		s.mu.Unlock()
		return
	}
	rows := s.full
	if s.open != nil {
		rows = append(rows, s.open)
	}
	s.full, s.open = nil, nil
	s.mu.Unlock()
	for i, row := range rows {
		if !s.lane.Add(row) {
			s.done(rows[i:], sqldb.ErrUnavailable)
			return
		}
	}
}

func write(ctx context.Context, tx sqldb.Tx, rows [][]byte) error {
	for _, row := range rows {
		if err := tx.Later(ctx, `INSERT INTO sighting (minute, seen) VALUES (?, ?)`, minuteOf(latest(row)), row); err != nil {
			return err
		}
	}
	return nil
}

// latest returns until when the latest sighting of a row is news: when it was received, or when the
// activation that it is about begins, which may be weeks later.
func latest(row []byte) (at time.Time) {
	list, _ := decode(row)
	for i := range list {
		s := &list[i]
		if s.Received.After(at) {
			at = s.Received
		}
		if s.Kind == evidence.Ordered && s.Start.After(at) && s.Start.Before(s.Received.Add(maxAhead)) {
			at = s.Start
		}
	}
	return at
}

// maxAhead bounds how long a row is kept for an activation: DUIS allows 30 days.
const maxAhead = 32 * 24 * time.Hour

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// done puts rows back that the database did not take.
func (s *Sightings) done(rows [][]byte, err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	room := maxWaiting - len(s.full)
	if s.ending || s.db.Refuses(err) {
		room = 0
	}
	keep := min(len(rows), room)
	lost := 0
	for _, row := range rows[keep:] {
		list, _ := decode(row)
		lost += len(list)
	}
	s.full = append(append(make([][]byte, 0, keep+len(s.full)), rows[:keep]...), s.full...)
	if lost > 0 {
		s.dropped.Add(uint64(lost))
		if time.Since(s.noticed) > 10*time.Second {
			s.noticed = time.Now()
			s.log.Warn("sightings were lost, the evidence on suppressed alerts may lack some", "sightings", lost, "error", err)
		}
	}
}

// A Row is a row of the table sighting.
type Row struct {
	ID   int64
	Seen []Seen
}

// After returns up to limit rows with numbers above id, in order. A row that cannot be read has
// what was readable of it.
func (s *Sightings) After(ctx context.Context, id int64, limit int) ([]Row, error) {
	rows, err := s.db.Query(ctx, `SELECT id, seen FROM sighting WHERE id > ? ORDER BY id LIMIT ?`, id, limit)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, r *Row) error {
		var seen []byte
		err := rows.Scan(&r.ID, &seen)
		if err == nil {
			var fault error
			if r.Seen, fault = decode(seen); fault != nil {
				s.log.Error("sightings cannot be read", "row", r.ID, "error", fault)
			}
		}
		return err
	})
	return list, sqldb.Unavailable(err)
}

// Last returns the number of the last row; 0 if there is none.
func (s *Sightings) Last(ctx context.Context) (id int64, err error) {
	err = s.db.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM sighting`).Scan(&id)
	return id, sqldb.Unavailable(err)
}

// Delete deletes up to limit rows whose sightings were all received before an instant, and whose
// activations began before it. It returns how many. It leaves the last row: SQLite would give its number to another.
func Delete(ctx context.Context, tx sqldb.Tx, before time.Time, limit int) (int, error) {
	n, err := tx.Exec(ctx, `DELETE FROM sighting WHERE id IN (SELECT id FROM sighting WHERE minute < ?1
		AND id < (SELECT max(id) FROM sighting) ORDER BY minute LIMIT ?2)`, minuteOf(before), limit)
	return int(n), err
}
