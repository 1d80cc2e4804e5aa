package report_test

import (
	"sync"
	"testing"

	"quell/internal/report"
	"quell/internal/store/storetest"
)

// Several nodes cut reports at once. Each entry is in one report.
func TestNodesCut(t *testing.T) { storetest.OnlyPostgres(t, testNodesCut) }

func testNodesCut(t *testing.T) {
	list := storetest.OpenNodes(t, 3)
	storetest.LogN(t, list[0], 60)
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(func() {
			for last := int64(0); last < 60; {
				before, err := s.Reports.Last(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				r, err := s.Reports.Cut(t.Context(), report.CutOptions{After: before.No, SystemID: "test", Start: storetest.T0, End: storetest.T0, LastSeq: min(60, before.LastSeq+7),
					Name: func(report.Report, report.File) string { return "file" }})
				if err == nil {
					last = r.LastSeq
				}
			}
		})
	}
	wg.Wait()
	reports, err := list[1].Reports.List(t.Context(), 1<<62, 1000)
	if err != nil {
		t.Fatal(err)
	}
	next := int64(60)
	for _, r := range reports {
		if r.LastSeq != next {
			t.Errorf("report %d ends with %d, want %d", r.No, r.LastSeq, next)
		}
		next = r.FirstSeq - 1
	}
	if next != 0 {
		t.Errorf("the first report begins with %d", next+1)
	}
}
