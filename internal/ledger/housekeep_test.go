package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// entriesLeft returns the numbers of the entries that are left.
func entriesLeft(t *testing.T, s *store.Store) (list []int64) {
	t.Helper()
	for _, e := range storetest.Entries(t, s) {
		list = append(list, e.Seq)
	}
	return list
}

func housekeep(t *testing.T, s *store.Store, l store.Limits) {
	t.Helper()
	if _, err := s.Housekeep(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

func confirm(t *testing.T, s *store.Store, no int64) {
	t.Helper()
	if err := s.Reports.SetDelivery(t.Context(), report.Delivery{Report: no, Stream: report.Consolidated, Remote: "esi", State: report.StateConfirmed, At: storetest.T0, Tries: 1}); err != nil {
		t.Fatal(err)
	}
}

// correctEntry makes the alert of an entry go forward after all.
func correctEntry(t *testing.T, s *store.Store, id string) {
	t.Helper()
	s.Ledger.NoteForwarded(storetest.Noted(1, id, storetest.T0, outage.ReasonStoreUnavailable))
	if err := s.DB.Ping(t.Context()); err != nil { // the note is in the same batch, or in an earlier one
		t.Fatal(err)
	}
}

// An entry is also kept until its correction is in a confirmed report. Otherwise that report
// could not be written.
func TestHousekeepKeepsUnreportedCorrections(t *testing.T) {
	storetest.EachEngine(t, testHousekeepKeepsUnreportedCorrections)
}

func testHousekeepKeepsUnreportedCorrections(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	storetest.LogN(t, s, 3)
	l := store.Limits{LogBefore: storetest.T0.Add(time.Hour), Remotes: []string{"esi"}}
	remotes := func(c *report.CutOptions) { c.Remotes = map[string]string{"esi": report.Consolidated} }
	expect := func(what string, want ...int64) {
		t.Helper()
		housekeep(t, s, l)
		if got := entriesLeft(t, s); !slices.Equal(got, want) {
			t.Errorf("%s: entries %v are left, want %v", what, got, want)
		}
	}
	storetest.WriteReport(t, s, 3, remotes)
	correctEntry(t, s, "alert1") // the second
	correctEntry(t, s, "alert2") // the last correction is kept in any case
	expect("nothing is confirmed", 1, 2, 3)
	confirm(t, s, 1)
	expect("the corrections are in no report", 2, 3)
	r := storetest.CutUpTo(t, s, 3, remotes)
	expect("the report of the corrections is not written", 2, 3)
	r.Files[0].SHA256 = "00"
	if err := s.Reports.Written(t.Context(), r.No, r.Files, storetest.T0); err != nil {
		t.Fatal(err)
	}
	expect("the report of the corrections is not confirmed", 2, 3)
	if list, err := s.Reports.Corrections(t.Context(), r); err != nil || len(list) != 2 || list[0].AlertID != "alert1" || list[1].AlertID != "alert2" {
		t.Errorf("the report's corrections: %v %v", list, err)
	}
	confirm(t, s, 2)
	expect("all is confirmed")

	// A later correction is in a later report, though the earlier ones are deleted.
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 2, storetest.T0))
	storetest.Decide(t, s, storetest.AD1(1, "late", storetest.T0))
	r = storetest.WriteReport(t, s, 4, remotes)
	correctEntry(t, s, "late")
	r = storetest.CutUpTo(t, s, 4, remotes)
	if list, err := s.Reports.Corrections(t.Context(), r); err != nil || len(list) != 1 || list[0].AlertID != "late" {
		t.Errorf("the corrections of the next report: %v %v", list, err)
	}
}

// Entries with a later time of receipt, as a wrong clock may give them, do not stop the old
// entries after them from being deleted.
func TestHousekeepSkipsLaterEntries(t *testing.T) {
	storetest.EachEngine(t, testHousekeepSkipsLaterEntries)
}

func testHousekeepSkipsLaterEntries(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	const later, old = 2*ledger.HousekeepBatch + 1, 3
	for n := range later + old {
		received := storetest.T0.Add(20 * time.Minute)
		if n >= later {
			received = storetest.T0.Add(time.Minute)
		}
		storetest.Decide(t, s, storetest.AD1(1, fmt.Sprint(n), received))
	}
	storetest.WriteReport(t, s, later+old)
	h, err := s.Housekeep(t.Context(), store.Limits{LogBefore: storetest.T0.Add(10 * time.Minute)})
	if err != nil || h.Entries != old {
		t.Errorf("deleted %+v %v", h, err)
	}
	if got := entriesLeft(t, s); len(got) != later || got[0] != 1 || got[later-1] != later {
		t.Errorf("entries %v are left", got)
	}
}

// The id of an activation is not given to another one: otherwise the entries of its window
// would count as entries of another window.
func TestNumbersAreNotReused(t *testing.T) {
	storetest.EachEngine(t, testNumbersAreNotReused)
}

func testNumbersAreNotReused(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	storetest.Decide(t, s, storetest.AD1(1, "a", storetest.T0))
	housekeep(t, s, store.Limits{WindowsBefore: storetest.T0.Add(time.Hour)})
	s.Ledger.Record(t.Context(), storetest.OnDemand(2, 1, storetest.T0.Add(2*time.Hour)))
	if d := storetest.Decide(t, s, storetest.AD1(2, "b", storetest.T0.Add(2*time.Hour))); d.Entry.Seq != 2 || d.Entry.Repeated {
		t.Errorf("the first alert of a window: %+v", d.Entry)
	}
}

// Old reports, their deliveries, and old events are deleted; but not those that the remaining
// reports, or the next one, name or begin with.
func TestHousekeepReports(t *testing.T) { storetest.EachEngine(t, testHousekeepReports) }

func testHousekeepReports(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	rows := func(table string) (list []int64) {
		t.Helper()
		key := map[string]string{"report": "no", "report_file": "report_no", "delivery": "report_no", "event": "id"}[table]
		list, err := sqldb.Numbers(s.DB.Query(t.Context(), `SELECT DISTINCT `+key+` FROM `+table+` ORDER BY 1`))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	expect := func(what string, l store.Limits, reports, deliveries, events []int64) {
		t.Helper()
		housekeep(t, s, l)
		for table, want := range map[string][]int64{"report": reports, "report_file": reports, "delivery": deliveries, "event": events} {
			if got := rows(table); !slices.Equal(got, want) {
				t.Errorf("%s: of the table %s %v are left, want %v", what, table, got, want)
			}
		}
	}
	at := storetest.T0
	set := func(to outage.Switch) {
		t.Helper()
		at = at.Add(time.Second)
		if _, err := s.Ledger.SetSwitch(t.Context(), to, "somebody", "why", at); err != nil {
			t.Fatal(err)
		}
	}
	storetest.LogN(t, s, 6)
	for n := int64(1); n <= 6; n++ {
		set([]outage.Switch{outage.SwitchOn, outage.SwitchShadow}[n%2]) // event n, in report n
		storetest.WriteReport(t, s, n, func(c *report.CutOptions) {
			c.At = storetest.T0.Add(time.Duration(n) * time.Hour)
			c.Remotes = map[string]string{"esi": report.Consolidated}
			if c.SkipEmpty = true; n == 2 {
				c.Streams = []string{"12"} // report 2 has the last file of this stream
			}
		})
		if n != 5 {
			confirm(t, s, n)
		}
	}
	all := []int64{1, 2, 3, 4, 5, 6}
	log := storetest.T0.Add(-time.Hour) // no entry is old
	expect("the log has all entries", store.Limits{LogBefore: log, ReportsBefore: storetest.T0.Add(time.Hour * 24), Remotes: []string{"esi"}}, all, all, all)
	log = storetest.T0.Add(24 * time.Hour)
	expect("no report is old", store.Limits{LogBefore: log, ReportsBefore: storetest.T0, Remotes: []string{"esi"}}, all, all, all)
	// The fourth comes before the first report that is not confirmed. The second has the last
	// file of its stream.
	expect("one is not confirmed", store.Limits{LogBefore: log, ReportsBefore: log, Remotes: []string{"esi"}}, []int64{2, 4, 5, 6}, []int64{2, 4, 5, 6}, []int64{4, 5, 6})
	confirm(t, s, 5)
	expect("all is confirmed", store.Limits{LogBefore: log, ReportsBefore: log, Remotes: []string{"esi"}}, []int64{2, 5, 6}, []int64{2, 5, 6}, []int64{5, 6})

	next := storetest.CutUpTo(t, s, 6, func(c *report.CutOptions) { c.Streams = []string{"12"} })
	if f := next.Files[1]; f.Stream != "12" || f.Previous != 2 {
		t.Errorf("the next file of the stream is %+v", f)
	}
	last, err := s.Reports.Report(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []report.Report{last, next} {
		if state, changes, err := s.Reports.Events(t.Context(), r); err != nil || len(state) != 1 || len(changes) != int(7-r.No) {
			t.Errorf("report %d begins with %v and has changes %v %v", r.No, state, changes, err)
		}
	}
}

func TestHousekeep(t *testing.T) { storetest.EachEngine(t, testHousekeep) }

func testHousekeep(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	const n = ledger.HousekeepBatch + 10
	for i := range n {
		s.Ledger.Record(t.Context(), storetest.OnDemand(i, 1, storetest.T0))
		s.Ledger.NoteForwarded(storetest.Noted(i, fmt.Sprint("n", i), storetest.T0, outage.ReasonNoWindow))
	}
	storetest.Decide(t, s, storetest.AD1(0, "a", storetest.T0))
	cancel := storetest.OnDemand(1, 2, storetest.T0)
	cancel.Order.Kind, cancel.Start, cancel.End = outage.Cancellation, time.Time{}, time.Time{}
	s.Ledger.Record(t.Context(), cancel)
	s.Ledger.Record(t.Context(), storetest.FutureDated(2, 3, storetest.T0, storetest.T0.Add(1000*time.Hour)))

	over := storetest.T0.Add(30 * time.Minute)
	h, err := s.Housekeep(t.Context(), store.Limits{WindowsBefore: over, LogBefore: storetest.T0})
	if err != nil || h != (store.Housekeeping{}) {
		t.Fatalf("%+v %v", h, err)
	}
	h, err = s.Housekeep(t.Context(), store.Limits{WindowsBefore: over.Add(time.Microsecond), LogBefore: storetest.T0})
	if err != nil || h != (store.Housekeeping{Deleted: ledger.Deleted{Activations: n + 1}}) { // also the cancellation, which came after a window
		t.Fatalf("%+v %v", h, err)
	}
	storetest.Prune(t, s)
	for i, want := range []bool{true /* has an entry */, false, true /* its window is pending */, false} {
		if got := s.Ledger.MayHaveWindow(storetest.Hub(i)); got != want {
			t.Errorf("MayHaveWindow(hub %d) = %v", i, got)
		}
	}
	logged := store.Limits{WindowsBefore: storetest.T0, LogBefore: storetest.T0.Add(time.Microsecond)}
	h, err = s.Housekeep(t.Context(), logged)
	if err != nil || h != (store.Housekeeping{Deleted: ledger.Deleted{Notes: n}}) || !s.Ledger.MayHaveWindow(storetest.Hub(0)) {
		t.Fatalf("an entry that is in no report: %+v %v", h, err)
	}
	storetest.WriteReport(t, s, 1)
	h, err = s.Housekeep(t.Context(), logged)
	storetest.Prune(t, s)
	if err != nil || h != (store.Housekeeping{Deleted: ledger.Deleted{Entries: 1}}) || s.Ledger.MayHaveWindow(storetest.Hub(0)) {
		t.Fatalf("%+v %v", h, err)
	}
	// The next number follows the last one. On PostgreSQL the ledger expects a suppressed alert,
	// and gets one without a window.
	if d := storetest.Decide(t, s, storetest.AD1(0, "none", storetest.T0)); d.Outcome != outage.Forwarded {
		t.Errorf("without a window: %+v", d)
	}
	s.Ledger.Record(t.Context(), storetest.OnDemand(0, 9, storetest.T0))
	if d := storetest.Decide(t, s, storetest.AD1(0, "b", storetest.T0)); d.Entry.Seq != 2 {
		t.Errorf("sequence %d after housekeeping", d.Entry.Seq)
	}
}
