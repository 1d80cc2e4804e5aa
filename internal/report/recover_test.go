package report_test

import (
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/store/storetest"
)

// Entries that were delivered from a lost store get their old numbers back. Entries that were
// logged under these numbers since get new ones, and their corrections go with them.
func TestRecover(t *testing.T) { storetest.EachEngine(t, testRecover) }

func testRecover(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	entry := func(id string) outage.Entry { return storetest.Decide(t, s, storetest.AD1(1, id, storetest.T0)).Entry }
	entry("a")
	entry("b")
	at := storetest.T0.Add(time.Hour)
	cut := func(after, last int64) report.Report {
		t.Helper()
		r, err := s.Reports.Cut(t.Context(), report.CutOptions{After: after, SystemID: "quell", Cause: report.CauseAsked, End: at, At: at, LastSeq: last, Name: func(r report.Report, f report.File) string { return fmt.Sprint(r.No) }})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	cut(0, 2)
	c := entry("c") // has a number that was delivered
	d := entry("d") // the retry of an alert that was delivered
	s.Ledger.NoteForwarded(storetest.Noted(1, "c", storetest.T0, outage.ReasonStoreUnavailable))
	storetest.Eventually(t, "it is corrected", func() bool { return storetest.Entries(t, s)[2].Outcome == outage.Forwarded })
	var delivered []outage.Entry
	for i, id := range []string{"x", "y", "d"} {
		e := c
		e.Seq, e.AlertID, e.CHF = int64(3+i), id, storetest.Hub(2)
		if id == "d" {
			e = d
			e.Seq = 5
		}
		delivered = append(delivered, e)
	}
	r := report.Report{No: 2, SystemID: "quell", Cause: report.CauseTime, Start: at, End: at, CutAt: at, FirstSeq: 3, LastSeq: 5,
		Files: []report.File{{Report: 2, Stream: report.Consolidated, Name: "two", Start: at, Previous: 1, Records: 3, Size: 10, SHA256: "sum"}}}
	entries := iter.Seq2[outage.Entry, error](func(yield func(outage.Entry, error) bool) {
		for _, e := range delivered {
			if !yield(e, nil) {
				return
			}
		}
	})
	if err := s.Reports.Recover(t.Context(), report.Lost{Reports: []report.Report{r}, Entries: entries, Next: 5, Who: "a test", Why: "why"}); err != nil {
		t.Fatal(err)
	}
	entry("e")
	var got []string
	for _, e := range storetest.Entries(t, s) {
		got = append(got, fmt.Sprintf("%d%s", e.Seq, e.AlertID))
	}
	if text := strings.Join(got, " "); text != "1a 2b 3x 4y 5d 6c 7e" {
		t.Errorf("the log is %s", text)
	}
	if !s.Ledger.MayHaveWindow(storetest.Hub(2)) {
		t.Error("the hub of a recovered entry is not in the set")
	}
	if x := storetest.Decide(t, s, storetest.AD1(1, "c", storetest.T0)); x.Outcome != outage.Forwarded || !x.Retry {
		t.Errorf("the retry of a forwarded alert: %+v", x)
	}
	next := cut(2, 7)
	if next.No != 5 || next.FirstSeq != 6 || next.Files[0].Previous != 2 {
		t.Errorf("the next report is %+v", next)
	}
	if before, err := s.Reports.Before(t.Context(), next); err != nil || before.No != 2 {
		t.Errorf("the report before it is %d %v", before.No, err)
	}
	if list, err := s.Reports.Corrections(t.Context(), next); err != nil || len(list) != 0 {
		t.Errorf("corrections of entries of this report: %v %v", list, err)
	}
	_, changes, err := s.Reports.Events(t.Context(), next)
	if err != nil || len(changes) != 1 || changes[0].What != "reports" || changes[0].Old != "2" || changes[0].New != "5" || changes[0].Why != "why" {
		t.Errorf("the report has the changes %+v %v", changes, err)
	}
}
