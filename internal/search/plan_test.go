package search_test

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/search"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// A step of a plan that reads rows without an index, or in the order of one without a condition; and
// those that may: lists in JSON, imports, of which there are few, and parts that another step limits.
var (
	wholeTable = regexp.MustCompile(`Seq Scan on (\w+)|\bSCAN (?:TABLE )?(\S+)`)
	mayBeRead  = regexp.MustCompile(`^(json_each|p|i|import|page|oldest|few|same|later|strong|weak|found|a|s|CONSTANT|\(subquery-\d+\)|\(join-\d+\))$`)
)

// bounds matches a bound of the time of receipt that an index may serve.
var bounds = regexp.MustCompile(`s\.received_at [<>]= \?`)

// The plans of the queries behind pages: each finds its rows by an index, and none reads a whole table
// that grows.
func TestPlans(t *testing.T) { storetest.EachEngine(t, testPlans) }

func testPlans(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	s := newSearch(st)
	s.SetScanned(100) // so that parts end before the log does
	logEntries(t, st, someEntries(rand.New(rand.NewPCG(5, 6)), 600))
	for _, x := range []struct {
		filter search.Filter
		index  string // SQLite's words for how it is found
		sorts  bool
	}{
		{search.Filter{}, "SEARCH s USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", false},
		{search.Filter{Distributor: "12", Outcome: outage.Suppressed, Level: evidence.None}, "SEARCH s USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", false},
		{search.Filter{Distributor: outage.UnknownDistributor}, "SEARCH s USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", false},
		{search.Filter{From: storetest.T0}, "suppression_received", false},
		{search.Filter{To: now, Level: evidence.Strong, Distributor: "12"}, "suppression_received", false},
		{search.Filter{Hub: storetest.Hub(1)}, "suppression_chf", true},
		{search.Filter{Meter: storetest.Meter(1), Hub: storetest.Hub(1), From: storetest.T0, Level: evidence.Weak}, "suppression_meter", true},
		{search.Filter{Level: evidence.Strong}, "evidence_level", false},
		{search.Filter{Level: evidence.Weak, Outcome: outage.Suppressed}, "evidence_level", false},
	} {
		for _, q := range []search.Query{{}, {Before: 400}, {After: 400}} {
			q.Filter, q.Limit = x.filter, 100
			query, args, err := s.LogQuery(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			plan := checkPlan(t, st, query, args)
			if n := len(bounds.FindAllString(query, -1)); n > 2 {
				t.Errorf("%+v: %d bounds of the time of receipt, of which SQLite uses one on each side:\n%s", q, n, query)
			}
			if st.DB.Remote() {
				continue
			}
			if !strings.Contains(plan, x.index) || strings.Contains(plan, "TEMP B-TREE") != x.sorts {
				t.Errorf("%+v: not by %s, or sorted:\n%s", q, x.index, plan)
			}
		}
	}
	for _, q := range search.Queries() {
		checkPlan(t, st, q.Query, q.Args)
	}
}

// checkPlan returns the plan of a query, which may read no whole table.
func checkPlan(t *testing.T, st *store.Store, query string, args []any) string {
	t.Helper()
	plan := storetest.PlanOf(t, st, query, args...)
	for _, m := range wholeTable.FindAllStringSubmatch(plan, -1) {
		if name := m[1] + m[2]; !mayBeRead.MatchString(name) {
			t.Errorf("%s is read as a whole:\n%s\n%s", name, query, plan)
		}
	}
	return plan
}
