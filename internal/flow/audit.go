package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Totals are numbers of AD1s. Released are those of the suppressed that were delivered later.
// UnderWay have no end yet, NoEnd have none though they should, and Unknown were under way when
// their process was killed.
type Totals struct {
	Received   int64 `json:"received"`
	Forwarded  int64 `json:"forwarded"`
	Suppressed int64 `json:"suppressed"`
	Released   int64 `json:"released"`
	Shadow     int64 `json:"shadow"`
	Refused    int64 `json:"refused"`
	Failed     int64 `json:"failed"`
	UnderWay   int64 `json:"under_way"`
	NoEnd      int64 `json:"no_end"`
	Unknown    int64 `json:"unknown"`
}

// Add adds other totals.
func (t *Totals) Add(o *Totals) {
	t.Received += o.Received
	t.Forwarded += o.Forwarded
	t.Suppressed += o.Suppressed
	t.Released += o.Released
	t.Shadow += o.Shadow
	t.Refused += o.Refused
	t.Failed += o.Failed
	t.UnderWay += o.UnderWay
	t.NoEnd += o.NoEnd
	t.Unknown += o.Unknown
}

// Line has the totals of a node and a distributor; of a minute, unless that is the zero time.
type Line struct {
	Minute      time.Time `json:"minute,omitzero"`
	Node        string    `json:"node"`
	Distributor string    `json:"distributor"` // the first two digits of the MPAN, or outage.UnknownDistributor
	Totals
}

// Kind says what does not balance.
type Kind string

// The kinds of differences.
const (
	NoEnd           Kind = "no-end"           // AD1s were received, and ended nowhere
	TwoEnds         Kind = "two-ends"         // AD1s ended more often than they were received
	NoEntry         Kind = "no-entry"         // AD1s were decided with an entry that was never written
	NoMessage       Kind = "no-message"       // entries say suppressed or shadow, and no AD1 was decided so
	MissingEntry    Kind = "missing-entry"    // entries were written, and are not in the log
	UncountedEntry  Kind = "uncounted-entry"  // entries are in the log, and none was counted when it was written
	ReleasedDiffers Kind = "released-differs" // the log has another number of released alerts than were counted
	Killed          Kind = "killed"           // a process has not stopped in order: counts are missing
	Lost            Kind = "lost"             // a process has dropped counts, since the store did not take them
)

// Difference is something that does not balance.
type Difference struct {
	Kind        Kind      `json:"kind"`
	Minute      time.Time `json:"minute,omitzero"`
	Node        string    `json:"node,omitempty"`
	Distributor string    `json:"distributor,omitempty"`
	Count       int64     `json:"count,omitempty"`
	Entries     []int64   `json:"entries,omitempty"` // the numbers of the entries, if they are known
	First       int64     `json:"first,omitempty"`   // otherwise they are among those from First to Last
	Last        int64     `json:"last,omitempty"`
	Text        string    `json:"text"` // in plain words
}

// Result is what Audit finds.
type Result struct {
	From        time.Time    `json:"from"`
	To          time.Time    `json:"to"`
	Balanced    bool         `json:"balanced"` // there are no differences
	Differences []Difference `json:"differences"`
	Corrected   int64        `json:"corrected"` // entries whose AD1 went forward without them, since the store answered too late
	Lines       []Line       `json:"lines"`     // by node and distributor
	Minutes     []Line       `json:"minutes,omitempty"`
	Total       Totals       `json:"total"`
}

// Query says what Audit looks at: the AD1s that were received in [From, To), which are cut to whole
// minutes. Minutes asks for the totals of each minute too.
type Query struct {
	From, To time.Time
	Minutes  bool
}

// Limits of a query.
const (
	MaxRange   = 31 * 24 * time.Hour
	MaxMinutes = 24 * time.Hour // with Minutes
)

// ErrRange says that a query asks for too much, or for nothing.
var ErrRange = errors.New("the times must be a range of up to 31 days, or a day minute by minute: the first before the last, which is now if it is not given")

// run is a process that counts.
type run struct {
	id                  int64
	node                string
	started, seen       time.Time
	stopped, dead, lost bool
	next                time.Time // when the next process of the node began; zero if there is none
}

// key is a minute of a run and a distributor.
type key struct {
	minute, run int64
	distributor string
}

// place is a minute and a distributor.
type place struct {
	minute      int64
	distributor string
}

// written is what CountEntries and CountReleased have counted.
type written struct{ entries, numbers, lowest, highest, released int64 }

// logged is what the log has.
type logged struct{ entries, numbers, released int64 }

// auditing is what Audit works with.
type auditing struct {
	c         *Counters
	q         Query
	now       time.Time
	runs      map[int64]*run
	counted   map[key]counts
	written   map[key]written
	logged    map[place]logged
	forwarded map[place][]int64 // as forwardedEntries returns them, less those that are explained

	result Result
	lines  map[[2]string]*Totals
}

// Audit compares what was received with what became of it. It may run while messages pass. The error
// is ErrRange, or sqldb.ErrUnavailable.
func (c *Counters) Audit(ctx context.Context, q Query) (*Result, error) {
	q.From, q.To = q.From.UTC().Truncate(time.Minute), q.To.UTC().Add(time.Minute-1).Truncate(time.Minute)
	if length := q.To.Sub(q.From); length <= 0 || length > MaxRange || q.Minutes && length > MaxMinutes {
		return nil, ErrRange
	}
	now := c.opts.Now() // before the last messages are counted
	wait, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := c.Flush(wait); err != nil {
		return nil, sqldb.Unavailable(err)
	}
	a := &auditing{c: c, q: q, now: now, runs: map[int64]*run{}, lines: map[[2]string]*Totals{},
		result: Result{Differences: []Difference{}, Lines: []Line{}}}
	err := a.readRuns(ctx)
	// Part by part, so that neither a query nor the memory for it is long.
	for from := a.q.From; from.Before(a.q.To) && err == nil; from = from.Add(part) {
		if err = a.read(ctx, minuteOf(from), minuteOf(earlier(from.Add(part), a.q.To))); err == nil {
			err = a.compare(ctx)
		}
	}
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	a.gaps()
	return a.done(), nil
}

const part = 6 * time.Hour

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// silent is how long another node's run may not say that it goes on, and still counts as going on.
const silent = 3 * aliveEvery

// readRuns reads the runs, and from when on all is counted.
func (a *auditing) readRuns(ctx context.Context) error {
	ctx, cancel := a.c.db.Bounded(ctx)
	defer cancel()
	var since int64
	if err := a.c.db.QueryRow(ctx, `SELECT coalesce(max(minute), 0) FROM flow_since`).Scan(&since); err != nil {
		return err
	}
	if start := startOf(since); a.q.From.Before(start) {
		a.q.From = earlier(start, a.q.To)
	}
	rows, err := a.c.db.Query(ctx, `SELECT id, node, started_at, seen_at, stopped, lost FROM flow_run ORDER BY started_at, id`)
	list, err := sqldb.Scan(rows, err, func(rows sqldb.Rows, r *run) error {
		var started, seen int64
		var stopped, lost int
		err := rows.Scan(&r.id, &r.node, &started, &seen, &stopped, &lost)
		r.started, r.seen, r.stopped, r.lost = sqldb.Instant(started), sqldb.Instant(seen), stopped != 0, lost > 0
		return err
	})
	if err != nil {
		return err
	}
	alone := !a.c.db.Remote() // then no two processes run at the same time
	last := map[string]*run{}
	for i := range list {
		r := &list[i]
		a.runs[r.id] = r
		node := r.node
		if alone {
			node = ""
		}
		if before := last[node]; before != nil && before.seen.Before(r.started) { // otherwise another node has the same name
			before.next = r.started
		}
		last[node] = r
		if r.id == a.c.run {
			r.seen = a.now // Flush has just written all
		}
	}
	for _, r := range list {
		a.runs[r.id].dead = !r.stopped && r.id != a.c.run && (alone || !r.next.IsZero() || a.now.Sub(r.seen) > silent)
	}
	return nil
}

// read reads what was counted, and what the log has, of some minutes. The counts of messages are read
// first: no entry that they know of can then be missing among those that were counted.
func (a *auditing) read(ctx context.Context, from, to int64) error {
	ctx, cancel := a.c.db.Bounded(ctx)
	defer cancel()
	a.counted, a.written, a.logged, a.forwarded = map[key]counts{}, map[key]written{}, map[place]logged{}, map[place][]int64{}
	var k key
	var packed []byte
	var fault error
	rows, err := a.c.db.Query(ctx, `SELECT minute, run, counts FROM flow WHERE minute >= ? AND minute < ?`, from, to)
	if _, err := sqldb.Each(rows, err, func() {
		fault = errors.Join(fault, eachCounts(packed, func(d string, v counts) { a.counted[key{k.minute, k.run, d}] = v }))
	}, &k.minute, &k.run, &packed); err != nil || fault != nil {
		return errors.Join(err, fault)
	}
	// One statement sees one state of the database.
	var w written
	var outcome outage.Outcome
	rows, err = a.c.db.Query(ctx, `SELECT minute, run, distributor, '', entries, numbers, lowest, highest, released FROM flow_entry WHERE minute >= ?1 AND minute < ?2
		UNION ALL SELECT received_at / 60000000, 0, distributor, outcome, count(*), CAST(sum(seq) AS BIGINT), 0, 0, 0 FROM suppression
		WHERE received_at >= 60000000 * CAST(?1 AS BIGINT) AND received_at < 60000000 * CAST(?2 AS BIGINT) GROUP BY received_at / 60000000, distributor, outcome`, from, to)
	_, err = sqldb.Each(rows, err, func() {
		if outcome == "" {
			a.written[k] = w
			return
		}
		p := place{k.minute, k.distributor}
		l := a.logged[p]
		l.entries, l.numbers = l.entries+w.entries, l.numbers+w.numbers
		if outcome == outage.Released {
			l.released += w.entries
		}
		a.logged[p] = l
	}, &k.minute, &k.run, &k.distributor, &outcome, &w.entries, &w.numbers, &w.lowest, &w.highest, &w.released)
	return err
}

// gaps adds the runs whose counts are not complete.
func (a *auditing) gaps() {
	for _, r := range a.runs {
		add := func(kind Kind, text string, args ...any) {
			a.result.Differences = append(a.result.Differences, Difference{Kind: kind, Minute: r.seen.Truncate(time.Minute), Node: r.node, Text: fmt.Sprintf(text, args...)})
		}
		if r.lost && !r.seen.Before(a.q.From) && r.started.Before(a.q.To) {
			add(Lost, "counts were dropped, since the store did not take them for over a day")
		}
		if !r.dead || !r.seen.Before(a.q.To) {
			continue
		}
		switch {
		case !r.next.IsZero():
			if r.next.After(a.q.From) {
				add(Killed, "the process was killed between %s and %s: its counts after the first are missing", exactly(r.seen), exactly(r.next))
			}
		case r.seen.Add(24 * time.Hour).After(a.q.From):
			add(Killed, "the process was killed after %s, or cannot reach the store: its counts after that are missing", exactly(r.seen))
		}
	}
}

func exactly(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// done completes the result.
func (a *auditing) done() *Result {
	r := &a.result
	r.From, r.To = a.q.From, a.q.To
	for k, t := range a.lines {
		r.Lines = append(r.Lines, Line{Node: k[0], Distributor: k[1], Totals: *t})
	}
	slices.SortFunc(r.Lines, func(x, y Line) int {
		return cmp.Or(strings.Compare(x.Node, y.Node), strings.Compare(x.Distributor, y.Distributor))
	})
	slices.SortStableFunc(r.Differences, func(x, y Difference) int {
		return cmp.Or(x.Minute.Compare(y.Minute), strings.Compare(x.Node, y.Node), strings.Compare(string(x.Kind), string(y.Kind)), strings.Compare(x.Distributor, y.Distributor))
	})
	r.Balanced = len(r.Differences) == 0
	return r
}
