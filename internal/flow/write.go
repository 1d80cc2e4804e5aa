package flow

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

const (
	writeEvery = time.Second
	// aliveEvery is how often a run says that it goes on, while there is nothing to count.
	aliveEvery = time.Minute
	// keepFor is how long the counts of a minute stay in memory, for the ends of its messages.
	keepFor = 2 * Longest
	// maxMinutes bounds the minutes that wait in memory for the database: a day.
	maxMinutes = 24 * 60
)

// Options are what New needs.
type Options struct {
	Node string           // the node's name
	Now  func() time.Time // the clock by which messages are received
	Log  *slog.Logger
}

// Counters are the counts of this process.
type Counters struct {
	db      *sqldb.DB
	opts    Options
	run     int64
	begun   atomic.Bool
	wake    chan struct{}          // holds a token when Run is to write at once
	minutes atomic.Pointer[minute] // those in memory, the one that was made last first
	lane    *sqldb.Lane[*snapshot]

	turn chan struct{} // holds a token while somebody uses the fields below
	// The run began at started; alive is when the last snapshot was made that the database has.
	started, alive time.Time
	lost           int // minutes that were dropped before the database took them
}

// New adds a lane to a database whose writer is not started.
func New(db *sqldb.DB, opts Options) *Counters {
	c := &Counters{db: db, opts: opts, run: rand.Int64(), turn: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	c.lane = sqldb.NewLane(db, sqldb.LaneOptions[*snapshot]{Write: c.write, Done: func(list []*snapshot, err error) {
		for _, s := range list {
			s.done <- err
		}
	}})
	return c
}

// Begin says that this process takes messages. Without it, the run begins with the first AD1.
func (c *Counters) Begin() {
	if !c.begun.Swap(true) {
		c.wake <- struct{}{}
	}
}

// Run writes the counts until ctx ends, and then a last time: what that writes is durable when the
// database is closed.
func (c *Counters) Run(ctx context.Context) {
	c.turn <- struct{}{}
	c.started = c.opts.Now()
	<-c.turn
	for ctx.Err() == nil {
		select {
		case <-time.After(writeEvery):
		case <-c.wake:
		case <-ctx.Done():
			continue
		}
		c.Flush(ctx) // if it fails, the next one has it all
	}
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if s := c.snapshot(true); s != nil {
		c.lane.Add(s)
	}
}

// Flush writes what has changed, and returns when the database has it.
func (c *Counters) Flush(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s := c.snapshot(false)
	if s == nil {
		return nil
	}
	if !c.lane.Add(s) {
		return sqldb.ErrUnavailable
	}
	select {
	case err := <-s.done:
		if err == nil {
			c.written(s)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// snapshot is what one transaction writes.
type snapshot struct {
	at      time.Time // all that was counted before is in it
	minutes []*minute
	counts  []string // of those minutes
	lost    int
	stopped bool // it is the last one
	done    chan error
}

// snapshot returns what has changed since the database had it; nil if nothing needs to be written. It
// drops minutes from memory: those that the database has and whose messages have ended, and the
// oldest if there are too many.
func (c *Counters) snapshot(stopped bool) *snapshot {
	s := &snapshot{at: c.opts.Now(), stopped: stopped, done: make(chan error, 1)}
	newest := int64(0)
	for m := c.minutes.Load(); m != nil; m = m.next.Load() {
		newest = max(newest, m.no)
	}
	var last *minute // that is kept
	n, lost := 0, c.lost
	for m := c.minutes.Load(); m != nil; m = m.next.Load() {
		n++
		if n > 1 && m.over.IsZero() {
			m.over = time.Now()
		}
		text := string(m.appendCounts(nil))
		switch changed := text != m.written; {
		case changed && n > maxMinutes:
			c.lost++
		case changed:
			last, s.minutes, s.counts = m, append(s.minutes, m), append(s.counts, text)
		case n == 1 || newest-m.no < int64(keepFor/time.Minute) || time.Since(m.over) < keepFor: // the clock may have stepped
			last = m
		}
	}
	if last != nil {
		last.next.Store(nil)
	}
	if c.lost > lost {
		c.opts.Log.Error("counts of AD1s were lost, since the store did not take them", "minutes", c.lost-lost)
	}
	s.lost = c.lost
	switch {
	case len(s.minutes) > 0:
		c.begun.Store(true)
	case !c.begun.Load() || !stopped && s.at.Sub(c.alive).Abs() < aliveEvery:
		return nil
	}
	return s
}

// written notes what the database has.
func (c *Counters) written(s *snapshot) {
	c.alive = s.at
	for i, m := range s.minutes {
		m.written = s.counts[i]
	}
}

// write writes snapshots. They have totals, so it is idempotent.
func (c *Counters) write(ctx context.Context, tx sqldb.Tx, list []*snapshot) (err error) {
	later := func(query string, args ...any) { err = errors.Join(err, tx.Later(ctx, query, args...)) }
	for _, s := range list {
		later(`INSERT INTO flow_run (id, node, started_at, seen_at, stopped, lost) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, stopped = excluded.stopped, lost = excluded.lost`,
			c.run, sqldb.Text(c.opts.Node), sqldb.Micros(c.started), sqldb.Micros(s.at), sqldb.Bool(s.stopped), s.lost)
		if c.alive.IsZero() {
			// A process of an earlier version, whose entries were not counted, may have logged some in
			// the same minute.
			later(`INSERT INTO flow_since (minute) SELECT CAST(? AS BIGINT)
				+ CASE WHEN EXISTS (SELECT 1 FROM suppression WHERE seq < coalesce((SELECT min(lowest) FROM flow_entry WHERE entries > 0), 9223372036854775807)) THEN 1 ELSE 0 END
				WHERE NOT EXISTS (SELECT 1 FROM flow_since)`, minuteOf(c.started))
		}
		for i, m := range s.minutes {
			later(`INSERT INTO flow (minute, run, counts) VALUES (?, ?, ?) ON CONFLICT (minute, run) DO UPDATE SET counts = excluded.counts`,
				m.no, c.run, []byte(s.counts[i]))
		}
	}
	return err
}

// CountEntries counts the new entries of the log, by minute and distributor. It runs in the
// transaction that inserts them, before the counter moves.
func (c *Counters) CountEntries(ctx context.Context, tx sqldb.Tx) error {
	return tx.Later(ctx, `INSERT INTO flow_entry (minute, run, distributor, entries, numbers, lowest, highest, released)
		SELECT received_at / 60000000, CAST(? AS BIGINT), distributor, count(*), CAST(sum(seq) AS BIGINT), min(seq), max(seq), 0 FROM suppression
		WHERE seq > (SELECT value FROM counter WHERE name = 'suppression') GROUP BY received_at / 60000000, distributor
		ON CONFLICT (minute, run, distributor) DO UPDATE SET entries = flow_entry.entries + excluded.entries, numbers = flow_entry.numbers + excluded.numbers,
			lowest = CASE WHEN flow_entry.entries = 0 THEN excluded.lowest ELSE flow_entry.lowest END, highest = excluded.highest`, c.run)
}

// CountReleased counts an entry whose alert was delivered late. Call it in the transaction that
// gives the entry the outcome released, before that: an entry that has it already is not counted
// again.
func (c *Counters) CountReleased(ctx context.Context, tx sqldb.Tx, seq int64) error {
	return tx.Later(ctx, `INSERT INTO flow_entry (minute, run, distributor, entries, numbers, lowest, highest, released)
		SELECT received_at / 60000000, CAST(?1 AS BIGINT), distributor, 0, 0, 0, 0, 1 FROM suppression WHERE seq = ?2 AND outcome <> ?3
		ON CONFLICT (minute, run, distributor) DO UPDATE SET released = flow_entry.released + 1`, c.run, seq, string(outage.Released))
}

// Housekeep deletes the counts of minutes before an instant. From then on Audit leaves out those
// minutes. Call it before entries of the log that were received before that instant are deleted.
// check is called in each transaction first.
func (c *Counters) Housekeep(ctx context.Context, before time.Time, check func(context.Context, sqldb.Tx) error) error {
	for _, q := range []string{
		`UPDATE flow_since SET minute = ?1 WHERE minute < ?1 AND ?2 > 0`,
		`DELETE FROM flow WHERE (minute, run) IN (SELECT minute, run FROM flow WHERE minute < ? ORDER BY minute, run LIMIT ?)`,
		`DELETE FROM flow_entry WHERE (minute, run, distributor) IN (SELECT minute, run, distributor FROM flow_entry WHERE minute < ? ORDER BY minute, run, distributor LIMIT ?)`,
		`DELETE FROM flow_run WHERE id IN (SELECT id FROM flow_run WHERE seen_at < 60000000 * CAST(? AS BIGINT) ORDER BY id LIMIT ?)`,
	} {
		for gone := int64(housekeepBatch); gone == housekeepBatch; {
			var err error
			gone, err = sqldb.Write(ctx, c.db, sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (int64, error) {
				if err := check(ctx, tx); err != nil {
					return 0, err
				}
				return tx.Exec(ctx, q, minuteOf(before), housekeepBatch)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// housekeepBatch is how many rows one transaction deletes: few, since decisions wait for it.
const housekeepBatch = 250
