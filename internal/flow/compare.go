package flow

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"quell/internal/outage"
	"quell/internal/sqldb"
)

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
		return cmp.Or(cmp.Compare(x.minute, y.minute), a.byDifference(x, y), strings.Compare(a.nodeOf(x.run), a.nodeOf(y.run)), strings.Compare(x.distributor, y.distributor), cmp.Compare(x.run, y.run))
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

// byDifference is the order in which runs are compared: first those that have written one entry without
// a message. Which one that is, is known: explained must not take it for another run's.
func (a *auditing) byDifference(x, y key) int {
	rest := func(k key) int {
		if a.written[k].entries-a.counted[k][entered] == 1 {
			return 0
		}
		return 1
	}
	return cmp.Compare(rest(x), rest(y))
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
func (a *auditing) differ(kind Kind, k key, count int64, which span, text string, args ...any) {
	d := Difference{Kind: kind, Minute: startOf(k.minute), Distributor: nameOf(k.distributor), Count: count, Entries: which.list, First: which.first, Last: which.last}
	if k.run != 0 {
		d.Node = a.nodeOf(k.run)
	}
	d.Text = fmt.Sprintf(text, args...) + which.text()
	a.result.Differences = append(a.result.Differences, d)
}

// span names entries: a list of their numbers, or numbers that they are among.
type span struct {
	list        []int64
	first, last int64
}

// maxNumbers is how many numbers of entries a difference lists.
const maxNumbers = 100

// spanOf names a number of entries that are among some.
func spanOf(count int64, among []int64) span {
	switch n := len(among); {
	case n == 0:
		return span{}
	case int64(n) == count && n <= maxNumbers:
		return span{list: among}
	default:
		return span{first: among[0], last: among[n-1]}
	}
}

// text names the entries, for the end of a sentence.
func (s span) text() string {
	if s.first > 0 {
		return fmt.Sprintf(": among the entries %d to %d", s.first, s.last)
	}
	var ranges []string
	for i := 0; i < len(s.list); {
		end := i
		for end+1 < len(s.list) && s.list[end+1] == s.list[end]+1 {
			end++
		}
		text := fmt.Sprint(s.list[i])
		if end > i {
			text += fmt.Sprint(" to ", s.list[end])
		}
		ranges, i = append(ranges, text), end+1
	}
	switch len(s.list) {
	case 0:
		return ""
	case 1:
		return ": entry " + ranges[0]
	}
	return ": entries " + strings.Join(ranges, ", ")
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
		a.differ(TwoEnds, k, -n, span{}, "%d more ends than AD1s", -n)
	case n > 0 && state == underWay:
		t.UnderWay = n
	case n > 0 && state == cutShort:
		t.Unknown = n
		a.differ(Killed, k, n, span{}, "%d of %d AD1s were under way when the process was killed, or ended after its counts were written", n, v[received])
	case n > 0:
		t.NoEnd = n
		a.differ(NoEnd, k, n, span{}, "%d of %d AD1s ended nowhere: not forwarded, not suppressed, and not returned with an error", n, v[received])
	}
	a.add(k, &t)
	d, sum := w.entries-v[entered], w.numbers-v[numbers]
	switch {
	case d < 0:
		a.differ(NoEntry, k, -d, one(-d, -sum), "%d AD1s were decided as in the log, and no entry was written", -d)
		return nil
	case d == 0 && sum == 0 || state == underWay:
		return nil
	case d == 0:
		a.differ(NoEntry, k, 0, span{}, "the AD1s were decided by other entries than were written")
		return nil
	}
	switch ok, err := a.explained(ctx, place{k.minute, k.distributor}, d, sum); {
	case err != nil:
		return err
	case ok:
		a.result.Corrected += d
	case state == cutShort:
		a.differ(Killed, k, d, candidates(d, sum, w), "%d entries were written, and their AD1s were not counted before the process was killed", d)
	default:
		a.differ(NoMessage, k, d, candidates(d, sum, w), "%d entries were written, and no AD1 was decided by them", d)
	}
	return nil
}

// one names the entry in which two sets differ, if they differ in one.
func one(count, sum int64) span {
	if count == 1 {
		return span{list: []int64{sum}}
	}
	return span{}
}

// candidates names entries that were written and are not explained.
func candidates(count, sum int64, w written) span {
	if count == 1 {
		return one(count, sum)
	}
	return span{first: w.lowest, last: w.highest}
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
		a.differ(MissingEntry, k, d, missing, "%d of %d entries that were written are not in the log, or were changed", d, w.entries)
	case d < 0:
		found, err := a.found(ctx, p, -d, -sum)
		if err != nil {
			return err
		}
		a.differ(UncountedEntry, k, -d, found, "%d of %d entries in the log were not counted when they were written", -d, l.entries)
	case sum != 0:
		a.differ(MissingEntry, k, 0, span{}, "the log has other entries than were written, and as many")
	}
	if w.released != l.released {
		a.differ(ReleasedDiffers, k, l.released-w.released, span{}, "%d alerts were released later, and the log has %d", w.released, l.released)
	}
	return nil
}

// missing names entries that are not in the log.
func (a *auditing) missing(ctx context.Context, count, sum int64, w written) (span, error) {
	if count == 1 {
		return one(count, sum), nil
	}
	var list []int64
	for next := w.lowest; next <= w.highest && int64(len(list)) <= count; {
		have, err := sqldb.Numbers(a.c.db.Query(ctx, `SELECT seq FROM suppression WHERE seq >= ? AND seq <= ? ORDER BY seq LIMIT 10000`, next, w.highest))
		if err != nil {
			return span{}, err
		}
		last := w.highest
		if len(have) == 10000 {
			last = have[len(have)-1]
		}
		for ; next <= last && int64(len(list)) <= count; next++ {
			if len(have) > 0 && have[0] == next {
				have = have[1:]
			} else {
				list = append(list, next)
			}
		}
	}
	if int64(len(list)) == count && count <= maxNumbers {
		return span{list: list}, nil
	}
	return span{first: w.lowest, last: w.highest}, nil
}

// found names entries in the log of which some were not counted.
func (a *auditing) found(ctx context.Context, p place, count, sum int64) (span, error) {
	if count == 1 {
		return one(count, sum), nil
	}
	list, err := a.numbersOf(ctx, p, "")
	return spanOf(count, list), err
}
