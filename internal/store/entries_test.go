package store

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quell/internal/outage"
)

// planOf is how the database finds the rows of a query.
func planOf(t *testing.T, s *Store, query string, args ...any) string {
	t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	one := func(rows rowSet) (text string, err error) {
		var a, b, c int
		return text, rows.Scan(&a, &b, &c, &text)
	}
	if s.remote {
		explain = "EXPLAIN "
		one = func(rows rowSet) (text string, err error) { return text, rows.Scan(&text) }
	}
	var lines []string
	err := s.do(t.Context(), urgent, func(ctx context.Context) error { // without whole tables, where there is another way
		rows, err := s.conn.QueryContext(ctx, explain+query, args...)
		lines, err = scan(rows, err, one)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

var wholeTable = regexp.MustCompile(`Seq Scan|SCAN (TABLE )?(activation|suppression|correction|forwarded|inventory|supply_point|device_list|untracked)\b`)

// Whatever is looked for in the log is found by an index.
func TestEntriesByIndex(t *testing.T) {
	s := openIn(t, t.TempDir())
	id := outage.RequestID{Originator: supplier, Target: meter(1), Counter: 1}
	for what, f := range map[string]Find{"hub": {CHF: hub(1)}, "meter": {ESME: meter(1)}, "MPxN": {MPxN: "1"}, "request": {RequestID: id}, "alert": {AlertID: "a"},
		"all": {CHF: hub(1), ESME: meter(1), MPxN: "1", RequestID: id, AlertID: "a"}} {
		query, args := entriesQuery(f, 10)
		if plan := planOf(t, s, query, args...); wholeTable.MatchString(plan) || strings.Contains(plan, "suppression_pkey") && !strings.Contains(plan, "Index Cond") {
			t.Errorf("by %s:\n%s", what, plan)
		}
	}
}

// A meter's entries are found by the meter, by the request, and as the latest of many.
func TestEntriesFound(t *testing.T) {
	s := openIn(t, t.TempDir())
	for n := range 3 {
		s.Record(t.Context(), onDemand(n, 7, t0))
		for i := range 4 {
			decide(t, s, ad1(n, fmt.Sprint(n, i), t0))
		}
	}
	for what, f := range map[string]Find{"hub": {CHF: hub(1)}, "meter": {ESME: meter(1)}, "request": {RequestID: onDemand(1, 7, t0).RequestID},
		"both": {ESME: meter(1), RequestID: onDemand(1, 7, t0).RequestID}} {
		list, err := s.Entries(t.Context(), f, 3)
		var ids []string
		for _, e := range list {
			ids = append(ids, e.AlertID)
		}
		if want := []string{"1 3", "1 2", "1 1"}; err != nil || !slices.Equal(ids, want) {
			t.Errorf("by %s: %v %v", what, ids, err)
		}
	}
	if list, err := s.Entries(t.Context(), Find{}, 3); err != nil || len(list) != 0 {
		t.Errorf("by nothing: %v %v", list, err)
	}
}
