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
	Entries     []int64   `json:"entries,omitempty"` // numbers of entries of the log
	Among       bool      `json:"among,omitempty"`   // it is some of Entries
	Text        string    `json:"text"`              // in plain words
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
var ErrRange = errors.New("the times must be a range of up to 31 days, or a day minute by minute")

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
		if outcome == released {
			l.released += w.entries
		}
		a.logged[p] = l
	}, &k.minute, &k.run, &k.distributor, &outcome, &w.entries, &w.numbers, &w.lowest, &w.highest, &w.released)
	return err
}

// released is the outcome of an entry whose alert was delivered later.
const released outage.Outcome = "released"

// compare compares what was read.
func (a *auditing) compare(ctx context.Context) error {
	keys, places := map[key]bool{}, map[place]bool{}
	sums := map[place]written{}
	for k := range a.counted {
		keys[k] = true
	}
	for k, w := range a.written {
		keys[k] = true
		p := place{k.minute, k.distributor}
		s := sums[p]
		if w.entries > 0 && (s.entries == 0 || w.lowest < s.lowest) {
			s.lowest = w.lowest
		}
		s.entries, s.numbers, s.released, s.highest = s.entries+w.entries, s.numbers+w.numbers, s.released+w.released, max(s.highest, w.highest)
		sums[p], places[p] = s, true
	}
	for p := range a.logged {
		places[p] = true
	}
	for _, k := range slices.SortedFunc(keysOf(keys), func(x, y key) int {
		return cmp.Or(cmp.Compare(x.minute, y.minute), strings.Compare(a.nodeOf(x.run), a.nodeOf(y.run)), strings.Compare(x.distributor, y.distributor), cmp.Compare(x.run, y.run))
	}) {
		if err := a.messages(ctx, k); err != nil {
			return err
		}
	}
	for _, p := range slices.SortedFunc(keysOf(places), func(x, y place) int {
		return cmp.Or(cmp.Compare(x.minute, y.minute), strings.Compare(x.distributor, y.distributor))
	}) {
		if err := a.entries(ctx, p, sums[p], a.logged[p]); err != nil {
			return err
		}
	}
	return nil
}

func keysOf[K comparable](m map[K]bool) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (a *auditing) nodeOf(id int64) string {
	if r := a.runs[id]; r != nil {
		return r.node
	}
	return "unknown"
}

// differ adds a difference in a minute of a run (0: of all) and a distributor.
func (a *auditing) differ(kind Kind, k key, count int64, entries []int64, among bool, text string, args ...any) {
	d := Difference{Kind: kind, Minute: startOf(k.minute), Distributor: nameOf(k.distributor), Count: count, Entries: entries, Among: among}
	if k.run != 0 {
		d.Node = a.nodeOf(k.run)
	}
	d.Text = fmt.Sprintf(text, args...) + numbersText(entries, among)
	a.result.Differences = append(a.result.Differences, d)
}

func nameOf(distributor string) string { return cmp.Or(distributor, outage.UnknownDistributor) }

// state is what is known of a run's messages of a minute.
type state uint8

const (
	settled  state = iota // all have ended, and that is written
	underWay              // some may have no end yet
	cutShort              // the process was killed before all had ended, or before that was written
)

// stateOf returns what is known of a run's messages of a minute.
func (a *auditing) stateOf(id, minute int64) state {
	r := a.runs[id]
	switch {
	case r == nil || r.stopped || startOf(minute+1).Add(Longest).Before(r.seen):
		return settled
	case r.dead:
		return cutShort
	}
	return underWay
}

// messages compares the messages of a run, a minute and a distributor with what became of them, and
// with the entries that the run has written.
func (a *auditing) messages(ctx context.Context, k key) error {
	v, w := a.counted[k], a.written[k]
	t := Totals{Received: v[received], Forwarded: v[Forwarded], Suppressed: v[Suppressed], Shadow: v[Shadow], Refused: v[Refused], Failed: v[Failed], Released: w.released}
	state := a.stateOf(k.run, k.minute)
	switch n := v.noEnd(); {
	case n < 0:
		a.differ(TwoEnds, k, -n, nil, false, "%d more ends than AD1s", -n)
	case n > 0 && state == underWay:
		t.UnderWay = n
	case n > 0 && state == cutShort:
		t.Unknown = n
		a.differ(Killed, k, n, nil, false, "%d of %d AD1s were under way when the process was killed, or ended after its counts were written", n, v[received])
	case n > 0:
		t.NoEnd = n
		a.differ(NoEnd, k, n, nil, false, "%d of %d AD1s ended nowhere: not forwarded, not suppressed, and not returned with an error", n, v[received])
	}
	a.add(k, &t)
	d, sum := w.entries-v[entered], w.numbers-v[numbers]
	switch {
	case d < 0:
		a.differ(NoEntry, k, -d, one(-d, -sum), false, "%d AD1s were decided as in the log, and no entry was written", -d)
		return nil
	case d == 0 && sum == 0 || state == underWay:
		return nil
	case d == 0:
		a.differ(NoEntry, k, 0, nil, false, "the AD1s were decided by other entries than were written")
		return nil
	}
	switch ok, err := a.explained(ctx, place{k.minute, k.distributor}, d, sum); {
	case err != nil:
		return err
	case ok:
		a.result.Corrected += d
	case state == cutShort:
		a.differ(Killed, k, d, candidates(d, sum, w), w.highest-w.lowest >= d && d > 1, "%d entries were written, and their AD1s were not counted before the process was killed", d)
	default:
		a.differ(NoMessage, k, d, candidates(d, sum, w), w.highest-w.lowest >= d && d > 1, "%d entries were written, and no AD1 was decided by them", d)
	}
	return nil
}

// one returns the number of the entry in which two sets differ, if they differ in one.
func one(count, sum int64) []int64 {
	if count == 1 {
		return []int64{sum}
	}
	return nil
}

// candidates returns the numbers of the entries among which some are.
func candidates(count, sum int64, w written) (list []int64) {
	if count == 1 {
		return []int64{sum}
	}
	for n := w.lowest; n <= w.highest && len(list) < maxNumbers; n++ {
		list = append(list, n)
	}
	return list
}

// explained reports whether entries without a message are some whose alert went forward: as the store
// answered too late, the motorway has forwarded it without knowing of the entry. It takes these away.
func (a *auditing) explained(ctx context.Context, p place, count, sum int64) (bool, error) {
	list, read := a.forwarded[p]
	if !read {
		var err error
		if list, err = a.numbersOf(ctx, p, ` AND outcome IN (?4, ?5)`, string(outage.Forwarded), string(outage.Shadow)); err != nil {
			return false, err
		}
	}
	ok := int64(len(list)) >= count
	if count == 1 {
		i := slices.Index(list, sum)
		if ok = i >= 0; ok {
			list = slices.Delete(list, i, i+1)
		}
	} else if ok {
		list = list[count:]
	}
	a.forwarded[p] = list
	return ok, nil
}

// numbersOf returns the numbers of the entries of a minute and a distributor, in order.
func (a *auditing) numbersOf(ctx context.Context, p place, cond string, args ...any) ([]int64, error) {
	return sqldb.Numbers(a.c.db.Query(ctx, `SELECT seq FROM suppression WHERE received_at >= ?1 AND received_at < ?2 AND distributor = ?3`+cond+` ORDER BY seq LIMIT 10000`,
		append([]any{60_000_000 * p.minute, 60_000_000 * (p.minute + 1), p.distributor}, args...)...))
}

// add adds totals to those of the node and the distributor.
func (a *auditing) add(k key, t *Totals) {
	if *t == (Totals{}) {
		return
	}
	node, d := a.nodeOf(k.run), nameOf(k.distributor)
	of := a.lines[[2]string{node, d}]
	if of == nil {
		of = new(Totals)
		a.lines[[2]string{node, d}] = of
	}
	of.Add(t)
	a.result.Total.Add(t)
	if a.q.Minutes {
		a.result.Minutes = append(a.result.Minutes, Line{startOf(k.minute), node, d, *t})
	}
}

// entries compares the entries of a minute and a distributor that were counted when they were
// written with those in the log.
func (a *auditing) entries(ctx context.Context, p place, w written, l logged) error {
	k := key{p.minute, 0, p.distributor}
	d, sum := w.entries-l.entries, w.numbers-l.numbers
	switch {
	case d > 0:
		missing, err := a.missing(ctx, d, sum, w)
		if err != nil {
			return err
		}
		a.differ(MissingEntry, k, d, missing, int64(len(missing)) > d, "%d of %d entries that were written are not in the log, or were changed", d, w.entries)
	case d < 0:
		found, err := a.found(ctx, p, -d, -sum)
		if err != nil {
			return err
		}
		a.differ(UncountedEntry, k, -d, found, int64(len(found)) > -d, "%d of %d entries in the log were not counted when they were written", -d, l.entries)
	case sum != 0:
		a.differ(MissingEntry, k, 0, nil, false, "the log has other entries than were written, and as many")
	}
	if w.released != l.released {
		a.differ(ReleasedDiffers, k, l.released-w.released, nil, false, "%d alerts were released later, and the log has %d", w.released, l.released)
	}
	return nil
}

// maxNumbers is how many numbers of entries a difference names.
const maxNumbers = 100

// missing returns the numbers of entries that are not in the log.
func (a *auditing) missing(ctx context.Context, count, sum int64, w written) (list []int64, err error) {
	if count == 1 {
		return []int64{sum}, nil
	}
	next := w.lowest
	for next <= w.highest && len(list) < maxNumbers {
		have, err := sqldb.Numbers(a.c.db.Query(ctx, `SELECT seq FROM suppression WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT 10000`, next, w.highest))
		if err != nil {
			return nil, err
		}
		last := w.highest
		if len(have) == 10000 {
			last = have[len(have)-1]
		}
		for ; next <= last && len(list) < maxNumbers; next++ {
			if len(have) > 0 && have[0] == next {
				have = have[1:]
			} else {
				list = append(list, next)
			}
		}
	}
	return list, nil
}

// found returns the numbers of entries in the log among which some were not counted.
func (a *auditing) found(ctx context.Context, p place, count, sum int64) ([]int64, error) {
	if count == 1 {
		return []int64{sum}, nil
	}
	list, err := a.numbersOf(ctx, p, "")
	return list[:min(len(list), maxNumbers)], err
}

// gaps adds the runs whose counts are not complete.
func (a *auditing) gaps() {
	for _, r := range a.runs {
		add := func(kind Kind, text string, args ...any) {
			a.result.Differences = append(a.result.Differences, Difference{Kind: kind, Minute: r.seen.Truncate(time.Minute), Node: r.node, Text: fmt.Sprintf(text, args...)})
		}
		if r.lost && r.seen.After(a.q.From) && r.started.Before(a.q.To) {
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

// numbersText names entries, for the end of a sentence.
func numbersText(list []int64, among bool) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(": entry ")
	if len(list) > 1 {
		b.Reset()
		b.WriteString(": entries ")
	}
	if among {
		b.Reset()
		b.WriteString(": among the entries ")
	}
	for i := 0; i < len(list); {
		end := i
		for end+1 < len(list) && list[end+1] == list[end]+1 {
			end++
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, list[i])
		if end > i {
			fmt.Fprintf(&b, " to %d", list[end])
		}
		i = end + 1
	}
	return b.String()
}
