package search

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"quell/internal/assess"
	"quell/internal/evidence"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// Filter selects entries of the suppression log. A field that is zero is no condition.
type Filter struct {
	From, To    time.Time       // received in [From, To)
	Distributor string          // as outage.Entry.Stream names it
	Hub, Meter  outage.DeviceID // the CHF, the ESME
	Outcome     outage.Outcome
	Level       evidence.Level // of the evidence that the alert was genuine; None: also if it was not assessed
}

// Query asks for a page of entries.
type Query struct {
	Filter
	// Before and After say where the page begins: it has the latest entries with lower numbers, or the
	// oldest with higher ones. At most one of them is set; with neither it has the latest of all.
	Before, After int64
	Limit         int // of entries in the page
}

// Page is a page of the suppression log, the latest entry first: by number; or, with From or To but
// no hub or meter, by time of receipt, and then by number. Its JSON is part of the API.
type Page struct {
	Entries []outage.Entry `json:"entries"`
	// Evidence says of the entries that were assessed whether their alerts were genuine.
	Evidence []*assess.Evidence `json:"evidence"`
	// Older and Newer are Before of the next page and After of the one before; 0 if there is none, or
	// if that is not known.
	Older int64 `json:"older,omitempty"`
	Newer int64 `json:"newer,omitempty"`
	// Searched is set if the search stopped before the page was full and before the end of the log: to
	// the entry with this number it has looked at all. It goes on with Older or Newer.
	Searched int64 `json:"searched,omitempty"`
}

// scanned is how many entries are looked at for one page, if they lie together in the log. Those that
// are found one by one through another index are fewer: that of the time, of a hub or a meter, and of
// the evidence, whose entries lie apart.
const (
	scanned  = 100_000
	byTime   = 5
	byDevice = 5
	byLevel  = 50
)

// most returns one part of that many, unless a test sets less.
func (s *Search) most(part int64) int64 { return max(1, cmp.Or(s.scan, scanned)/part) }

// ErrQuery says that a query contradicts itself.
var ErrQuery = errors.New("give before or after, not both; and from before to")

// Log returns a page of the suppression log. The error may be ErrQuery.
func (s *Search) Log(ctx context.Context, q Query) (*Page, error) {
	if q.Before > 0 && q.After > 0 || !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return nil, ErrQuery
	}
	if q.Before < 0 || q.After < 0 {
		q.Before, q.After = max(q.Before, 0), max(q.After, 0)
	}
	p := &Page{Entries: []outage.Entry{}, Evidence: []*assess.Evidence{}}
	part, err := s.partOf(ctx, &q)
	if err == nil && !part.empty {
		query, args := part.query(&q)
		p.Entries, err = ledger.ScanEntries(s.DB.Query(ctx, query, args...))
	}
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	full := len(p.Entries) > q.Limit
	p.Entries = append([]outage.Entry{}, p.Entries[:min(len(p.Entries), q.Limit)]...)
	if q.After > 0 {
		slices.Reverse(p.Entries)
	}
	p.links(&q, full, part)
	if s.Evidence != nil {
		p.Evidence, err = s.evidenceOf(ctx, p.Entries)
	}
	return p, err
}

// links sets how to go on.
func (p *Page) links(q *Query, full bool, part *part) {
	first, last := part.stopped, part.stopped // what lies between these and the cursor does not match
	if n := len(p.Entries); n > 0 {
		first, last = p.Entries[0].Seq, p.Entries[n-1].Seq
	} else if first == 0 && !part.timed {
		first, last = q.Before-1, q.After+1
	}
	if len(p.Entries) < q.Limit {
		p.Searched = part.stopped
	}
	if q.After > 0 {
		if p.Older, p.Newer = last, part.stopped; full {
			p.Newer = first
		}
		return
	}
	if p.Older = part.stopped; full {
		p.Older = last
	}
	if q.Before > 0 {
		p.Newer = first
	}
}

// evidenceOf returns what is known of entries, in their order.
func (s *Search) evidenceOf(ctx context.Context, entries []outage.Entry) ([]*assess.Evidence, error) {
	seqs := make([]int64, len(entries))
	for i := range entries {
		seqs[i] = entries[i].Seq
	}
	found, err := s.Evidence.Of(ctx, seqs)
	list := []*assess.Evidence{}
	for _, seq := range seqs {
		if e := found[seq]; e != nil {
			list = append(list, e)
		}
	}
	return list, err
}

// part is the part of the log that one page is searched in, as a query.
type part struct {
	empty   bool
	from    string // what comes before the conditions
	cond    []string
	args    []any
	order   string
	stopped int64 // the last entry of the part, if the log goes on after it
	timed   bool  // the conditions have the times of the filter
	graded  bool  // and its level
}

func (p *part) add(cond string, args ...any) {
	p.cond, p.args = append(p.cond, cond), append(p.args, args...)
}

// query returns the query for the entries of the part.
func (p *part) query(q *Query) (string, []any) {
	q.conditions(p)
	return `SELECT ` + columns + p.from + ` WHERE ` + strings.Join(p.cond, " AND ") + ` ORDER BY ` + p.order + ` LIMIT ?`, append(p.args, q.Limit+1)
}

var columns = "s." + strings.ReplaceAll(strings.Join(strings.Fields(ledger.EntryColumns), " "), ", ", ", s.")

// conditions adds the conditions that no index serves. "+ 0" keeps the database from the indexes
// of these columns.
func (f *Filter) conditions(p *part) {
	if !f.From.IsZero() && !p.timed {
		p.add(`s.received_at + 0 >= ?`, sqldb.Micros(f.From))
	}
	if !f.To.IsZero() && !p.timed {
		p.add(`s.received_at + 0 < ?`, sqldb.Micros(f.To))
	}
	switch f.Distributor {
	case "":
	case outage.UnknownDistributor:
		p.add(`s.distributor NOT IN (SELECT value->>0 FROM json_each(?))`, sqldb.Column(distributors()))
	default:
		p.add(`s.distributor = ?`, f.Distributor)
	}
	if f.Hub != 0 && f.Meter != 0 {
		p.add(`s.chf + 0 = ?`, int64(f.Hub))
	}
	if f.Outcome != "" {
		p.add(`s.outcome = ?`, string(f.Outcome))
	}
	switch {
	case f.Level == "" || p.graded:
	case f.Level == evidence.None:
		p.add(`coalesce((SELECT e.level FROM evidence e WHERE e.seq = s.seq), 'none') = 'none'`)
	default:
		p.add(`(SELECT e.level FROM evidence e WHERE e.seq = s.seq) = ?`, string(f.Level))
	}
}

// distributors are the ids of all distributors that are known, or may be those of an IDNO.
func distributors() (ids []string) {
	for i := range 100 {
		if id := string([]byte{'0' + byte(i/10), '0' + byte(i%10)}); outage.IsDistributor(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// partOf finds the part of the log that the page of a query is searched in.
func (s *Search) partOf(ctx context.Context, q *Query) (*part, error) {
	p := &part{from: ` FROM suppression s`}
	switch {
	case q.Hub != 0 || q.Meter != 0:
		return p, s.ofDevice(ctx, q, p)
	case !q.From.IsZero() || !q.To.IsZero():
		return p, s.ofTime(ctx, q, p)
	case q.Level == evidence.Weak || q.Level == evidence.Strong:
		return p, s.ofLevel(ctx, q, p)
	}
	return p, s.ofLog(ctx, q, p)
}

// The last of the entries of a hub or a meter that are looked at, in each direction. "seq + 0" keeps
// the database from reading the log from its end instead.
const (
	hubBackSQL   = `SELECT seq FROM suppression WHERE chf = ? AND seq + 0 < ? ORDER BY seq + 0 DESC LIMIT 1 OFFSET ?`
	hubOnSQL     = `SELECT seq FROM suppression WHERE chf = ? AND seq + 0 > ? ORDER BY seq + 0 LIMIT 1 OFFSET ?`
	meterBackSQL = `SELECT seq FROM suppression WHERE esme = ? AND seq + 0 < ? ORDER BY seq + 0 DESC LIMIT 1 OFFSET ?`
	meterOnSQL   = `SELECT seq FROM suppression WHERE esme = ? AND seq + 0 > ? ORDER BY seq + 0 LIMIT 1 OFFSET ?`
)

// ofDevice is for the entries of a hub or a meter, which are few, unless it is out of order.
func (s *Search) ofDevice(ctx context.Context, q *Query, p *part) error {
	back, on, id := hubBackSQL, hubOnSQL, int64(q.Hub)
	if q.Meter != 0 {
		back, on, id = meterBackSQL, meterOnSQL, int64(q.Meter)
		p.add(`s.esme = ?`, id)
	} else {
		p.add(`s.chf = ?`, id)
	}
	p.order = `s.seq + 0 DESC`
	end, from, beyond, until := back, cmp.Or(q.Before, math.MaxInt64), `s.seq + 0 < ?`, `s.seq + 0 >= ?`
	if q.After > 0 {
		p.order = `s.seq + 0`
		end, from, beyond, until = on, q.After, `s.seq + 0 > ?`, `s.seq + 0 <= ?`
	}
	p.add(beyond, from)
	return s.stopAt(ctx, p, until, end, id, from, s.most(byDevice)-1)
}

// stopAt ends a part at the entry that a query finds; if it finds none, the part has all there is.
func (s *Search) stopAt(ctx context.Context, p *part, until, query string, args ...any) error {
	err := s.DB.QueryRow(ctx, query, args...).Scan(&p.stopped)
	if errors.Is(err, sqldb.ErrNoRows) {
		p.stopped = 0
		return nil
	}
	p.add(until, p.stopped)
	return err
}

// ofLog is for all entries: a range of their numbers.
func (s *Search) ofLog(ctx context.Context, q *Query, p *part) error {
	most := s.most(1)
	if q.Level != "" { // which is looked up for each entry
		most = s.most(byTime)
	}
	var low, first, last int64
	if err := s.DB.QueryRow(ctx, endsSQL).Scan(&first, &last); err != nil {
		return err
	}
	high := last
	if q.After > 0 {
		p.order = `s.seq`
		low = max(first, min(q.After, last)+1)
		if high = low + most - 1; high < last {
			p.stopped = high
		}
	} else {
		p.order = `s.seq DESC`
		if q.Before > 0 {
			high = min(last, q.Before-1)
		}
		if low = high - most + 1; low > first {
			p.stopped = low
		}
	}
	p.empty = last == 0 || low > high
	p.add(`s.seq BETWEEN ? AND ?`, low, high)
	return nil
}

// endsSQL finds the numbers of the first and the last entry.
const endsSQL = `SELECT coalesce((SELECT min(seq) FROM suppression), 0), coalesce((SELECT max(seq) FROM suppression), 0)`

// levelEndSQL finds the last of the entries with a level that are looked at. There is one for each
// direction.
const (
	levelBackSQL = `SELECT e.seq FROM evidence e WHERE e.level = ? AND e.level <> 'none' AND e.seq < ? ORDER BY e.seq DESC LIMIT 1 OFFSET ?`
	levelOnSQL   = `SELECT e.seq FROM evidence e WHERE e.level = ? AND e.level <> 'none' AND e.seq > ? ORDER BY e.seq LIMIT 1 OFFSET ?`
)

// ofLevel is for the entries with evidence of a level. CROSS JOIN makes SQLite begin with these.
func (s *Search) ofLevel(ctx context.Context, q *Query, p *part) error {
	p.graded, p.from = true, ` FROM evidence v CROSS JOIN suppression s`
	p.add(`v.level = ? AND v.level <> 'none' AND s.seq = v.seq`, string(q.Level))
	p.order = `v.seq DESC`
	end, from, beyond, until := levelBackSQL, cmp.Or(q.Before, math.MaxInt64), `v.seq < ?`, `v.seq >= ?`
	if q.After > 0 {
		p.order = `v.seq`
		end, from, beyond, until = levelOnSQL, q.After, `v.seq > ?`, `v.seq <= ?`
	}
	p.add(beyond, from)
	return s.stopAt(ctx, p, until, end, string(q.Level), from, s.most(byLevel)-1)
}

// The last of the entries of a time that are looked at, in each direction; and the place of an entry.
const (
	timeBackSQL = `SELECT s.received_at, s.seq FROM suppression s WHERE s.received_at >= ? AND s.received_at <= ? AND (s.received_at < ? OR s.seq < ?)
		ORDER BY s.received_at DESC, s.seq DESC LIMIT 1 OFFSET ?`
	timeOnSQL = `SELECT s.received_at, s.seq FROM suppression s WHERE s.received_at <= ? AND s.received_at >= ? AND (s.received_at > ? OR s.seq > ?)
		ORDER BY s.received_at, s.seq LIMIT 1 OFFSET ?`
	placeBackSQL = `SELECT received_at, seq FROM suppression WHERE seq >= ? ORDER BY seq LIMIT 1`
	placeOnSQL   = `SELECT received_at, seq FROM suppression WHERE seq <= ? ORDER BY seq DESC LIMIT 1`
)

// ofTime is for the entries of a time, in the order in which they were received.
func (s *Search) ofTime(ctx context.Context, q *Query, p *part) error {
	p.timed = true
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !q.From.IsZero() {
		from = sqldb.Micros(q.From)
	}
	if !q.To.IsZero() {
		to = sqldb.Micros(q.To) - 1
	}
	// All before (at, seq), or all after it.
	at, seq := to, int64(math.MaxInt64)
	place, end := placeBackSQL, timeBackSQL
	if q.After > 0 {
		at, seq, place, end = from, 0, placeOnSQL, timeOnSQL
	}
	if cursor := max(q.Before, q.After); cursor > 0 {
		var cursorAt, found int64
		switch err := s.DB.QueryRow(ctx, place, cursor).Scan(&cursorAt, &found); {
		case errors.Is(err, sqldb.ErrNoRows):
		case err != nil:
			return err
		case q.After > 0 && cursorAt >= from:
			at, seq = cursorAt, cursor
		case q.After == 0 && cursorAt <= to:
			at, seq = cursorAt, cursor
		}
	}
	var endAt int64
	bounds := []any{from, at, at, seq, s.most(byTime) - 1}
	if q.After > 0 {
		bounds[0] = to
	}
	err := s.DB.QueryRow(ctx, end, bounds...).Scan(&endAt, &p.stopped)
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return err
	}
	// One bound on each side: of two, SQLite would take the first, and read on to that.
	stopped := err == nil
	if q.After > 0 {
		p.order = `s.received_at, s.seq`
		if stopped {
			to = endAt
			p.add(`(s.received_at < ? OR s.seq <= ?)`, endAt, p.stopped)
		}
		p.add(`s.received_at <= ? AND s.received_at >= ? AND (s.received_at > ? OR s.seq > ?)`, to, at, at, seq)
		return nil
	}
	p.order = `s.received_at DESC, s.seq DESC`
	if stopped {
		from = endAt
		p.add(`(s.received_at > ? OR s.seq >= ?)`, endAt, p.stopped)
	}
	p.add(`s.received_at >= ? AND s.received_at <= ? AND (s.received_at < ? OR s.seq < ?)`, from, at, at, seq)
	return nil
}

// Suspect is a suppressed alert that was probably genuine. Its JSON is part of the API.
type Suspect struct {
	outage.Entry
	Evidence *assess.Evidence `json:"evidence"`
}

// Suspects is the answer about suspects.
type Suspects struct {
	Suspects []Suspect `json:"suspects"` // the latest entry first
	More     bool      `json:"more"`     // there may be older ones
}

// suspectsSQL finds the latest entries with evidence, of each level. Those that were released or
// forwarded after all are left out later, so there are more than the page needs.
const suspectsSQL = `SELECT seq FROM (SELECT seq FROM (SELECT seq FROM evidence WHERE level = 'strong' AND level <> 'none' ORDER BY seq DESC LIMIT ?1) AS strong
	UNION ALL SELECT seq FROM (SELECT seq FROM evidence WHERE level = 'weak' AND level <> 'none' ORDER BY seq DESC LIMIT ?2) AS weak) AS found ORDER BY seq DESC`

const suspectEntriesSQL = `SELECT ` + ledger.EntryColumns + ` FROM suppression WHERE seq IN (SELECT CAST(value->>0 AS BIGINT) FROM json_each(?)) ORDER BY seq DESC`

// suspectsScanned is how many entries are looked at for suspects, at most.
const suspectsScanned = 2000

// Suspects returns up to limit suspects: suppressed alerts, which were not delivered since, with
// evidence that is strong; or, with weak, also with weak evidence.
func (s *Search) Suspects(ctx context.Context, limit int, weak bool) (*Suspects, error) {
	out := &Suspects{Suspects: []Suspect{}}
	if s.Evidence == nil {
		return out, nil
	}
	ofWeak := 0
	if weak {
		ofWeak = suspectsScanned
	}
	seqs, err := sqldb.Numbers(s.DB.Query(ctx, suspectsSQL, suspectsScanned, ofWeak))
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	out.More = len(seqs) >= suspectsScanned
	for some := range slices.Chunk(seqs, max(limit, 50)) {
		entries, err := ledger.ScanEntries(s.DB.Query(ctx, suspectEntriesSQL, sqldb.Column(some)))
		if err != nil {
			return nil, sqldb.Unavailable(err)
		}
		entries = slices.DeleteFunc(entries, func(e outage.Entry) bool { return e.Outcome != outage.Suppressed })
		if have := len(out.Suspects); have+len(entries) > limit {
			entries, out.More = entries[:limit-have], true
		}
		list, err := s.evidenceOf(ctx, entries)
		if err != nil {
			return nil, err
		}
		of := map[int64]*assess.Evidence{}
		for _, e := range list {
			of[e.Entry] = e
		}
		for _, e := range entries {
			out.Suspects = append(out.Suspects, Suspect{e, of[e.Seq]})
		}
		if len(out.Suspects) == limit {
			out.More = out.More || some[len(some)-1] != seqs[len(seqs)-1]
			break
		}
	}
	return out, nil
}
