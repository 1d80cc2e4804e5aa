package windows_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"quell/internal/sqldb"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// A few windows are counted at once. If there are many, Counts does not wait until they are
// counted.
func TestWindowCounts(t *testing.T) { storetest.EachEngine(t, testWindowCounts) }

func testWindowCounts(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	now := storetest.T0.Add(time.Minute)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	s.Ledger.Record(t.Context(), storetest.OnDemand(2, 1, storetest.T0.Add(-time.Hour)))
	s.Ledger.Record(t.Context(), storetest.FutureDated(3, 1, storetest.T0, storetest.T0.Add(time.Hour)))
	if open, pending, err := s.Windows.Counts(t.Context(), now); open != 1 || pending != 1 || err != nil {
		t.Errorf("%d open, %d pending, %v", open, pending, err)
	}
	const many = 3*windows.CountPage + 5
	storetest.Script(t, s, fmt.Sprintf(`WITH RECURSIVE n (v) AS (SELECT 10 UNION ALL SELECT v + 1 FROM n WHERE v < 9 + %d)
		INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
		SELECT 'r' || v, '', '', 0, '', v, v, 0, CASE WHEN v %% 3 = 0 THEN %d ELSE 1 END, %[3]d, '', CASE WHEN v %% 3 = 1 THEN 0 ELSE 1 END FROM n`,
		many, sqldb.Micros(now)+1, sqldb.Micros(now.Add(time.Hour))))
	open, pending, err := s.Windows.Counts(t.Context(), now)
	if !errors.Is(err, windows.ErrCounting) {
		t.Fatalf("before they are counted: %d open, %d pending, %v", open, pending, err)
	}
	storetest.Eventually(t, "they are counted", func() bool {
		open, pending, err = s.Windows.Counts(t.Context(), now)
		return err == nil
	})
	wantOpen, wantPending := 1, 1
	for v := 10; v < 10+many; v++ {
		switch v % 3 {
		case 0:
			wantPending++
		case 2:
			wantOpen++
		}
	}
	if open != wantOpen || pending != wantPending {
		t.Errorf("%d open, want %d; %d pending, want %d", open, wantOpen, pending, wantPending)
	}
	if plan := storetest.PlanOf(t, s, windows.CountSomeSQL, sqldb.Micros(now), windows.CountPage); storetest.WholeTable.MatchString(plan) {
		t.Errorf("the plan:\n%s", plan)
	}
}
