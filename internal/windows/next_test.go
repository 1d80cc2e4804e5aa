package windows_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"quell/internal/sqldb"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

func TestNext(t *testing.T) { storetest.EachEngine(t, testNext) }

// The windows that begin next are those in force that start after the instant, and nothing else.
func testNext(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	for i, at := range []time.Duration{3 * time.Hour, time.Hour, 2 * time.Hour} {
		s.Ledger.Record(t.Context(), storetest.FutureDated(2+i, 1, storetest.T0, storetest.T0.Add(at)))
	}
	starts := func(now time.Time, limit int) (list []string) {
		t.Helper()
		found, err := s.Windows.Next(t.Context(), now, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range found {
			list = append(list, fmt.Sprint(a.Start.Sub(storetest.T0)))
		}
		return list
	}
	for _, x := range []struct {
		after time.Duration
		limit int
		want  []string
	}{{0, 9, []string{"1h0m0s", "2h0m0s", "3h0m0s"}}, {0, 2, []string{"1h0m0s", "2h0m0s"}}, {time.Hour - 1000, 9, []string{"1h0m0s", "2h0m0s", "3h0m0s"}},
		{time.Hour, 9, []string{"2h0m0s", "3h0m0s"}}, {3 * time.Hour, 9, nil}} {
		if have := starts(storetest.T0.Add(x.after), x.limit); !slices.Equal(have, x.want) {
			t.Errorf("after %v, up to %d: %q, want %q", x.after, x.limit, have, x.want)
		}
	}
	first, err := s.Windows.Next(t.Context(), storetest.T0, 1)
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	if _, _, err := s.Windows.Close(t.Context(), windows.Which{Request: first[0].RequestID}, "a", "b", storetest.T0, 1); err != nil {
		t.Fatal(err)
	}
	if have := starts(storetest.T0, 9); !slices.Equal(have, []string{"2h0m0s", "3h0m0s"}) {
		t.Errorf("one is closed: %q", have)
	}
	if plan := storetest.PlanOf(t, s, windows.NextSQL, sqldb.Micros(storetest.T0), windows.CountPage, 9); storetest.WholeTable.MatchString(plan) {
		t.Errorf("the plan:\n%s", plan)
	}
}

func TestOpenBy(t *testing.T) { storetest.EachEngine(t, testOpenBy) }

// A window is counted in each step in which it was open for a moment.
func testOpenBy(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	const step = 15 * time.Minute
	from := storetest.T0.Truncate(step)
	for i, w := range []struct{ start, end time.Duration }{
		{-time.Hour, 0},                    // ends as the first step begins: in none
		{-time.Hour, 1000},                 // in the first
		{0, step},                          // in the first alone
		{step - 1000, step + 1000},         // in the first two
		{2 * step, 4 * step},               // in the last two
		{4*step - 1000, 4*step + 20*step},  // in the last
		{4 * step, 5 * step},               // begins as the last step ends: in none
		{-10 * time.Hour, -10 * time.Hour}, // long over
	} {
		storetest.Script(t, s, fmt.Sprintf(`INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
			VALUES ('r%d', '', '', 0, '', %[1]d, %[1]d, 0, %d, %d, '', 1)`, i+1, sqldb.Micros(from.Add(w.start)), sqldb.Micros(from.Add(w.end))))
	}
	have, err := s.Windows.OpenBy(t.Context(), from, step, 4)
	if err != nil || !slices.Equal(have, []int64{3, 1, 1, 2}) {
		t.Errorf("%v, %v", have, err)
	}
	if plan := storetest.PlanOf(t, s, windows.OpenBySQL, sqldb.Micros(from), sqldb.Micros(from), sqldb.Micros(from), 1); storetest.WholeTable.MatchString(plan) {
		t.Errorf("the plan:\n%s", plan)
	}
}
