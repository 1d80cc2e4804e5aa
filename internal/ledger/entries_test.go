package ledger_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// Entries are found by an index, whatever the filter is.
func TestEntriesByIndex(t *testing.T) { storetest.EachEngine(t, testEntriesByIndex) }

func testEntriesByIndex(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	id := outage.RequestID{Originator: storetest.Supplier, Target: storetest.Meter(1), Counter: 1}
	for what, f := range map[string]ledger.Filter{"hub": {CHF: storetest.Hub(1)}, "meter": {ESME: storetest.Meter(1)}, "MPxN": {MPxN: "1"}, "request": {RequestID: id}, "alert": {AlertID: "a"}, "entry": {Entry: 1},
		"all": {CHF: storetest.Hub(1), ESME: storetest.Meter(1), MPxN: "1", RequestID: id, AlertID: "a", Entry: 1}} {
		query, args := ledger.EntriesQuery(f, 10)
		if plan := storetest.PlanOf(t, s, query, args...); storetest.WholeTable.MatchString(plan) || strings.Contains(plan, "suppression_pkey") && !strings.Contains(plan, "Index Cond") {
			t.Errorf("by %s:\n%s", what, plan)
		}
	}
	// The ends of the log, without what lies between: PostgreSQL reads its index from one end, too.
	if plan := storetest.PlanOf(t, s, ledger.EndsSQL); strings.Contains(plan, "SCAN suppression") || strings.Contains(plan, "Seq Scan") || storetest.OnPostgres(t) && !strings.Contains(plan, "Limit") {
		t.Errorf("the ends:\n%s", plan)
	}
}

// A meter's entries are found by the meter, by the request, and as the latest of many.
func TestEntriesFound(t *testing.T) { storetest.EachEngine(t, testEntriesFound) }

func testEntriesFound(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	for n := range 3 {
		s.Ledger.Record(t.Context(), storetest.OnDemand(n, 7, storetest.T0))
		for i := range 4 {
			storetest.Decide(t, s, storetest.AD1(n, fmt.Sprint(n, i), storetest.T0))
		}
	}
	for what, f := range map[string]ledger.Filter{"hub": {CHF: storetest.Hub(1)}, "meter": {ESME: storetest.Meter(1)}, "request": {RequestID: storetest.OnDemand(1, 7, storetest.T0).RequestID},
		"both": {ESME: storetest.Meter(1), RequestID: storetest.OnDemand(1, 7, storetest.T0).RequestID}} {
		list, err := s.Ledger.Entries(t.Context(), f, 3)
		var ids []string
		for _, e := range list {
			ids = append(ids, e.AlertID)
		}
		if want := []string{"1 3", "1 2", "1 1"}; err != nil || !slices.Equal(ids, want) {
			t.Errorf("by %s: %v, want %v (%v)", what, ids, want, err)
		}
	}
	if list, err := s.Ledger.Entries(t.Context(), ledger.Filter{}, 3); err != nil || len(list) != 0 {
		t.Errorf("by an empty filter: %v %v", list, err)
	}
}
