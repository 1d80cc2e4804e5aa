package windows_test

import (
	"testing"
	"time"

	"quell/internal/sqldb"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// TestNext: the first pending window is found, not one that is open, that begins at this instant
// or that was replaced.
func TestNext(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s := storetest.Open(t, t.TempDir())
		now := storetest.T0.Add(time.Minute)
		next := func(at, want time.Time) {
			t.Helper()
			if got, err := s.Windows.Next(t.Context(), at); !got.Equal(want) || err != nil {
				t.Errorf("next at %v: %v, %v; want %v", at, got, err, want)
			}
		}
		next(now, time.Time{})
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
		next(now, time.Time{})
		first, second := storetest.T0.Add(time.Hour), storetest.T0.Add(2*time.Hour)
		s.Ledger.Record(t.Context(), storetest.FutureDated(2, 1, storetest.T0, second))
		s.Ledger.Record(t.Context(), storetest.FutureDated(3, 1, storetest.T0, first))
		next(now, first)
		next(first.Add(-time.Microsecond), first)
		next(first, second)
		s.Ledger.Record(t.Context(), storetest.FutureDated(3, 2, storetest.T0.Add(time.Second), second.Add(time.Hour))) // replaces that of 3
		next(now, second)
		if plan := storetest.PlanOf(t, s, windows.NextSQL, sqldb.Micros(now), windows.CountPage); storetest.WholeTable.MatchString(plan) {
			t.Errorf("the plan:\n%s", plan)
		}
	})
}
