package windows_test

import (
	"fmt"
	"strings"
	"testing"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// The windows that a small import moves are found by its devices.
func TestSmallMoveByIndex(t *testing.T) { storetest.EachEngine(t, testSmallMoveByIndex) }

func testSmallMoveByIndex(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	if plan := storetest.PlanOf(t, s, windows.SmallMove, 1, int64(1), sqldb.Column([]int64{1})); storetest.WholeTable.MatchString(plan) || strings.Contains(plan, "SCAN a\n") || !strings.Contains(plan, "activation_") {
		t.Errorf("the plan:\n%s", plan)
	}
	for n := range 3 {
		s.Ledger.Record(t.Context(), storetest.OnDemand(n, 1, storetest.T0))
	}
	if err := storetest.ImportRows(t.Context(), s, storetest.DeviceRow(1, 7)); err != nil {
		t.Fatal(err)
	}
	for n, want := range []outage.Outcome{outage.Suppressed, outage.Forwarded, outage.Suppressed} {
		if d := storetest.Decide(t, s, storetest.AD1(n, fmt.Sprint(n), storetest.T0)); d.Outcome != want {
			t.Errorf("hub %d: %+v", n, d)
		}
	}
	if d := storetest.Decide(t, s, storetest.AD1(7, "moved", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Errorf("the new hub: %+v", d)
	}
}
