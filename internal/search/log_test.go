package search_test

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/search"
	"quell/internal/store/storetest"
)

// someEntries makes entries that differ in all that filters ask for. They are nearly in order of
// receipt; a few came much later into the log, from a journal.
func someEntries(r *rand.Rand, n int) (list []entry) {
	for i := range n {
		e := entry{Entry: outage.Entry{Seq: int64(11 + i), CHF: storetest.Hub(r.IntN(40)), ESME: storetest.Meter(r.IntN(60)), MPxN: "1200023305967",
			Distributor: []string{"12", "12", "24", "09", ""}[r.IntN(5)], Received: storetest.T0.Add(time.Duration(i/3) * time.Minute),
			Outcome: []outage.Outcome{outage.Suppressed, outage.Suppressed, outage.Suppressed, outage.Shadow, outage.Released, outage.Forwarded}[r.IntN(6)]},
			level: []string{"", "none", "none", "none", "none", "weak", "strong"}[r.IntN(7)]}
		if r.IntN(20) == 0 {
			e.Received = e.Received.Add(-time.Duration(r.IntN(200)) * time.Minute)
		}
		e.WindowStart, e.WindowEnd = e.Received.Add(-4*time.Minute), e.Received.Add(26*time.Minute)
		list = append(list, e)
	}
	return list
}

// matches is what a filter means.
func matches(f *search.Filter, e *entry) bool {
	return (f.From.IsZero() || !e.Received.Before(f.From)) && (f.To.IsZero() || e.Received.Before(f.To)) &&
		(f.Distributor == "" || e.Stream() == f.Distributor) && (f.Hub == 0 || e.CHF == f.Hub) && (f.Meter == 0 || e.ESME == f.Meter) &&
		(f.Outcome == "" || e.Outcome == f.Outcome) && (f.Level == "" || cmp.Or(e.level, "none") == string(f.Level))
}

// someFilter makes a filter for entries that took so many minutes to come.
func someFilter(r *rand.Rand, minutes int) (f search.Filter) {
	part := 3 * minutes / 5
	maybe := func(set func()) {
		if r.IntN(3) == 0 {
			set()
		}
	}
	maybe(func() { f.From = storetest.T0.Add(time.Duration(r.IntN(part)) * time.Minute) })
	maybe(func() { f.To = storetest.T0.Add(time.Duration(part+r.IntN(part)) * time.Minute) })
	maybe(func() { f.Distributor = []string{"12", "24", "unknown", "13"}[r.IntN(4)] })
	maybe(func() { f.Outcome = []outage.Outcome{outage.Suppressed, outage.Shadow, outage.Forwarded}[r.IntN(3)] })
	maybe(func() { f.Level = []evidence.Level{evidence.None, evidence.Weak, evidence.Strong}[r.IntN(3)] })
	if r.IntN(3) == 0 {
		maybe(func() { f.Hub = storetest.Hub(r.IntN(41)) })
		maybe(func() { f.Meter = storetest.Meter(r.IntN(61)) })
	}
	return f
}

// A walk through the pages, from the latest entry to the oldest and back, shows each entry that
// matches once and in order, whatever is asked for and however few entries are looked at for a page.
func TestPages(t *testing.T) { storetest.EachEngine(t, testPages) }

func testPages(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const n = 600 // in some walks each page has one
	all := someEntries(r, n)
	logEntries(t, st, all)
	stops, walked := 0, 0
	for range 40 {
		f := someFilter(r, n/3)
		s.SetScanned(int64(1 + r.IntN(300)))
		limit := 1 + r.IntN(100)
		var want []int64
		sorted := slices.Clone(all)
		if (!f.From.IsZero() || !f.To.IsZero()) && f.Hub == 0 && f.Meter == 0 {
			slices.SortStableFunc(sorted, func(a, b entry) int { return cmp.Or(a.Received.Compare(b.Received), cmp.Compare(a.Seq, b.Seq)) })
		}
		for _, e := range slices.Backward(sorted) {
			if matches(&f, &e) {
				want = append(want, e.Seq)
			}
		}
		var have []int64
		q := search.Query{Filter: f, Limit: limit}
		var last *search.Page
		for {
			p, err := s.Log(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			have, last = append(have, numbers(p)...), p
			if p.Searched != 0 {
				stops++
			}
			if len(p.Entries) > limit || p.Searched != 0 && (len(p.Entries) == limit || p.Older != p.Searched) {
				t.Fatalf("%+v: a page of %d entries, limit %d, searched to %d", q, len(p.Entries), limit, p.Searched)
			}
			for _, e := range p.Evidence {
				if !slices.ContainsFunc(all, func(x entry) bool { return x.Seq == e.Entry && x.level == string(e.Level) }) {
					t.Errorf("evidence %+v", e)
				}
			}
			if p.Older == 0 {
				break
			}
			q.Before = p.Older
		}
		if !slices.Equal(have, want) {
			t.Fatalf("%+v: back: %v, want %v", f, have, want)
		}
		if last.Newer == 0 && q.Before != 0 {
			continue // the last page is empty, so no entry says where it is
		}
		walked++
		// And back again from the page that came last.
		have = numbers(last)
		for q.Before, q.After = 0, last.Newer; q.After != 0; {
			p, err := s.Log(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			have = append(numbers(p), have...)
			q.After = p.Newer
		}
		if !slices.Equal(have, want) {
			t.Fatalf("%+v: and on: %v, want %v", f, have, want)
		}
	}
	if walked < 10 {
		t.Errorf("%d walks back", walked)
	}
	if stops == 0 {
		t.Error("no search stopped before a page was full")
	}
	for _, q := range []search.Query{{Before: 3, After: 3}, {Filter: search.Filter{From: now, To: now}}} {
		if _, err := s.Log(t.Context(), q); !errors.Is(err, search.ErrQuery) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	s.SetScanned(0)
	// Numbers that no entry has. In the order of receipt, one above all stands where the last entry
	// does, which may have come late into the log.
	later := 0
	for _, e := range all {
		if e.Received.After(all[n-1].Received) {
			later++
		}
	}
	q := search.Query{Filter: search.Filter{To: now}, After: 99_999, Limit: n}
	if p, err := s.Log(t.Context(), q); err != nil || len(p.Entries) != later {
		t.Errorf("%+v: %d entries, %v, want %d", q, len(p.Entries), err, later)
	}
	for _, q := range []search.Query{{Before: 1}, {Before: 11}, {After: 99_999}} {
		q.Limit = 10
		if p, err := s.Log(t.Context(), q); err != nil || len(p.Entries) != 0 {
			t.Errorf("%+v: %d entries, %v", q, len(p.Entries), err)
		}
	}
	for _, q := range []search.Query{{Before: 99_999}, {After: 1}, {Before: 99_999, Filter: search.Filter{To: now}}, {After: 1, Filter: search.Filter{To: now}}} {
		q.Limit = 10
		if p, err := s.Log(t.Context(), q); err != nil || len(p.Entries) != 10 {
			t.Errorf("%+v: %d entries, %v", q, len(p.Entries), err)
		}
	}
}

func numbers(p *search.Page) (list []int64) {
	for _, e := range p.Entries {
		list = append(list, e.Seq)
	}
	return list
}

// An empty log has an empty page.
func TestEmptyLog(t *testing.T) { storetest.EachEngine(t, testEmptyLog) }

func testEmptyLog(t *testing.T) {
	s := newSearch(storetest.Open(t, t.TempDir()))
	for _, f := range []search.Filter{{}, {From: storetest.T0}, {Hub: 1}, {Level: evidence.Strong}, {Level: evidence.None}} {
		if p, err := s.Log(t.Context(), search.Query{Filter: f, Limit: 10}); err != nil || !reflect.DeepEqual(p.Entries, []outage.Entry{}) || p.Older != 0 || p.Newer != 0 || p.Searched != 0 {
			t.Errorf("%+v: %+v, %v", f, p, err)
		}
	}
	if x, err := s.Suspects(t.Context(), 10, true); err != nil || len(x.Suspects) != 0 || x.More {
		t.Errorf("suspects: %+v, %v", x, err)
	}
}

// An export has what the pages show, in their order, up to its limit, and says how to go on.
func TestExport(t *testing.T) { storetest.EachEngine(t, testExport) }

func testExport(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	s.SetScanned(100)
	all := someEntries(rand.New(rand.NewPCG(1, 2)), 1500)
	all[700].MPxN = `=HYPERLINK("x")`
	logEntries(t, st, all)
	for _, x := range []struct {
		q     search.Query
		first int64
		n     int
		next  bool
	}{
		{search.Query{Limit: 5000}, 1510, 1500, false},
		{search.Query{Limit: 1200}, 1510, 1200, true},
		{search.Query{Limit: 1200, After: 100}, 101, 1200, true},
		{search.Query{Limit: 10, Before: 20}, 19, 9, false},
		{search.Query{Limit: 10, Filter: search.Filter{Meter: storetest.Meter(99)}}, 0, 0, false},
	} {
		var b bytes.Buffer
		next, err := s.Export(t.Context(), &b, x.q, true)
		rows, readErr := csv.NewReader(&b).ReadAll()
		if err != nil || readErr != nil || len(rows) != 1+x.n || (next != 0) != x.next || x.n > 0 && rows[1][0] != fmt.Sprint(x.first) {
			t.Errorf("%+v: %d rows, next %d, %v %v", x.q, len(rows), next, err, readErr)
		}
	}
	var b bytes.Buffer
	if _, err := s.Export(t.Context(), &b, search.Query{Limit: 2, Before: 712}, true); err != nil || !strings.Contains(b.String(), `'=HYPERLINK(""'x"")`) && !strings.Contains(b.String(), `"'=HYPERLINK`) {
		t.Errorf("a formula: %q, %v", b.String(), err)
	}
	b.Reset()
	if _, err := s.Export(t.Context(), &b, search.Query{Limit: 5000}, false); err != nil || strings.Contains(b.String(), "1200023305967") {
		t.Errorf("MPxNs are in it (%v)", err)
	}
}

// Suspects are the latest entries with evidence whose alerts are still suppressed.
func TestSuspects(t *testing.T) { storetest.EachEngine(t, testSuspects) }

func testSuspects(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	all := someEntries(rand.New(rand.NewPCG(3, 4)), 1500)
	logEntries(t, st, all)
	for _, weak := range []bool{false, true} {
		var want []int64
		for _, e := range slices.Backward(all) {
			if e.Outcome == outage.Suppressed && (e.level == "strong" || weak && e.level == "weak") {
				want = append(want, e.Seq)
			}
		}
		for _, limit := range []int{1, 60, len(want), 1000} {
			x, err := s.Suspects(t.Context(), limit, weak)
			if err != nil {
				t.Fatal(err)
			}
			var have []int64
			for _, e := range x.Suspects {
				have = append(have, e.Seq)
				if e.Evidence == nil || e.Evidence.Entry != e.Seq {
					t.Errorf("entry %d: %+v", e.Seq, e.Evidence)
				}
			}
			if !slices.Equal(have, want[:min(limit, len(want))]) || limit < len(want) && !x.More || limit > len(want) && x.More {
				t.Errorf("weak %v, limit %d: %d, more %v, want %d", weak, limit, len(have), x.More, min(limit, len(want)))
			}
		}
	}
}
