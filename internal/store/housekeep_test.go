package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"quell/internal/outage"
)

// kept says which entries are left.
func kept(t *testing.T, s *Store) (list []int64) {
	t.Helper()
	for _, e := range allEntries(t, s) {
		list = append(list, e.Seq)
	}
	return list
}

func housekeep(t *testing.T, s *Store, l Limits) {
	t.Helper()
	if _, err := s.Housekeep(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

func confirmed(t *testing.T, s *Store, no int64) {
	t.Helper()
	if err := s.SetDelivery(t.Context(), Delivery{Report: no, Stream: Consolidated, Remote: "esi", State: StateConfirmed, At: t0, Tries: 1}); err != nil {
		t.Fatal(err)
	}
}

// correctEntry has the alert of an entry go forward after all.
func correctEntry(t *testing.T, s *Store, id string) {
	t.Helper()
	s.Note(noted(1, id, t0, outage.ReasonStoreUnavailable))
	if err := s.Check(t.Context()); err != nil { // the note is in the same batch, or in one before
		t.Fatal(err)
	}
}

// An entry is kept until its correction is in a report that is confirmed, too: else
// that report could not be written.
func TestHousekeepKeepsUnreportedCorrections(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	logN(t, s, 3)
	l := Limits{LogBefore: t0.Add(time.Hour), Remotes: []string{"esi"}}
	remotes := func(c *Cut) { c.Remotes = map[string]string{"esi": Consolidated} }
	expect := func(what string, want ...int64) {
		t.Helper()
		housekeep(t, s, l)
		if got := kept(t, s); !slices.Equal(got, want) {
			t.Errorf("%s: entries %v are left, want %v", what, got, want)
		}
	}
	writeReport(t, s, 3, remotes)
	correctEntry(t, s, "alert1") // the second
	expect("nothing is confirmed", 1, 2, 3)
	confirmed(t, s, 1)
	expect("the correction is in no report", 2)
	r := cutUpTo(t, s, 3, remotes)
	expect("its report is not written", 2)
	r.Files[0].SHA256 = "00"
	if err := s.Written(t.Context(), r.No, r.Files, t0); err != nil {
		t.Fatal(err)
	}
	expect("its report is not confirmed", 2)
	if list, err := s.Corrections(t.Context(), r); err != nil || len(list) != 1 || list[0].AlertID != "alert1" {
		t.Errorf("the report's corrections: %v %v", list, err)
	}
	confirmed(t, s, 2)
	expect("all confirmed")

	// A later correction is in a later report, though the earlier ones are deleted.
	s.Record(t.Context(), onDemand(1, 2, t0))
	decide(t, s, ad1(1, "late", t0))
	r = writeReport(t, s, 4, remotes)
	correctEntry(t, s, "late")
	r = cutUpTo(t, s, 4, remotes)
	if list, err := s.Corrections(t.Context(), r); err != nil || len(list) != 1 || list[0].AlertID != "late" {
		t.Errorf("the corrections of the report after: %v %v", list, err)
	}
}

// Entries that were received later, as one reading of a wrong clock makes them, do
// not keep the old ones behind them.
func TestHousekeepPassesLaterEntries(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	s.Record(t.Context(), onDemand(1, 1, t0))
	const later, old = 2*housekeepBatch + 1, 3
	for n := range later + old {
		received := t0.Add(20 * time.Minute)
		if n >= later {
			received = t0.Add(time.Minute)
		}
		decide(t, s, ad1(1, fmt.Sprint(n), received))
	}
	writeReport(t, s, later+old)
	h, err := s.Housekeep(t.Context(), Limits{LogBefore: t0.Add(10 * time.Minute)})
	if err != nil || h.Entries != old {
		t.Errorf("deleted %+v %v", h, err)
	}
	if got := kept(t, s); len(got) != later || got[0] != 1 || got[later-1] != later {
		t.Errorf("left are %v", got)
	}
}

// The number of an activation is not given out again: what was logged in the window of
// one is not of another.
func TestNumbersAreNotGivenOutAgain(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	s.Record(t.Context(), onDemand(1, 1, t0))
	decide(t, s, ad1(1, "a", t0))
	housekeep(t, s, Limits{WindowsBefore: t0.Add(time.Hour)})
	s.Record(t.Context(), onDemand(2, 1, t0.Add(2*time.Hour)))
	if d := decide(t, s, ad1(2, "b", t0.Add(2*time.Hour))); d.Entry.Seq != 2 || d.Entry.Repeated {
		t.Errorf("the first alert of a window: %+v", d.Entry)
	}
}

// Old reports, their deliveries, and old events go; but not what the reports that are
// kept, or the next one, name or begin with.
func TestHousekeepReports(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	rows := func(table string) (list []int64) {
		t.Helper()
		key := map[string]string{"report": "no", "report_file": "report_no", "delivery": "report_no", "event": "id"}[table]
		list, err := numbers(s.reader.QueryContext(t.Context(), `SELECT DISTINCT `+key+` FROM `+table+` ORDER BY 1`))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	expect := func(what string, l Limits, reports, deliveries, events []int64) {
		t.Helper()
		housekeep(t, s, l)
		for table, want := range map[string][]int64{"report": reports, "report_file": reports, "delivery": deliveries, "event": events} {
			if got := rows(table); !slices.Equal(got, want) {
				t.Errorf("%s: of the table %s %v are left, want %v", what, table, got, want)
			}
		}
	}
	at := t0
	turn := func(to outage.Switch) {
		t.Helper()
		at = at.Add(time.Second)
		if _, err := s.SetSwitch(t.Context(), to, "somebody", "why", at); err != nil {
			t.Fatal(err)
		}
	}
	logN(t, s, 6)
	for n := int64(1); n <= 6; n++ {
		turn([]outage.Switch{outage.SwitchOn, outage.SwitchShadow}[n%2]) // event n, in report n
		writeReport(t, s, n, func(c *Cut) {
			c.At = t0.Add(time.Duration(n) * time.Hour)
			c.Remotes = map[string]string{"esi": Consolidated}
			if c.SkipEmpty = true; n == 2 {
				c.Streams = []string{"12"} // its last file
			}
		})
		if n != 5 {
			confirmed(t, s, n)
		}
	}
	all := []int64{1, 2, 3, 4, 5, 6}
	log := t0.Add(-time.Hour) // nothing of the log is old
	expect("the log has all entries", Limits{LogBefore: log, ReportsBefore: t0.Add(time.Hour * 24), Remotes: []string{"esi"}}, all, all, all)
	log = t0.Add(24 * time.Hour)
	expect("no report is old", Limits{LogBefore: log, ReportsBefore: t0, Remotes: []string{"esi"}}, all, all, all)
	// The fourth comes before the first that is not confirmed; the second has the last
	// file of its stream.
	expect("one is not confirmed", Limits{LogBefore: log, ReportsBefore: log, Remotes: []string{"esi"}}, []int64{2, 4, 5, 6}, []int64{2, 4, 5, 6}, []int64{4, 5, 6})
	confirmed(t, s, 5)
	expect("all is confirmed", Limits{LogBefore: log, ReportsBefore: log, Remotes: []string{"esi"}}, []int64{2, 5, 6}, []int64{2, 5, 6}, []int64{5, 6})

	next := cutUpTo(t, s, 6, func(c *Cut) { c.Streams = []string{"12"} })
	if f := next.Files[1]; f.Stream != "12" || f.Previous != 2 {
		t.Errorf("the stream goes on with %+v", f)
	}
	last, err := s.Report(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Report{last, next} {
		if state, changes, err := s.ReportEvents(t.Context(), r); err != nil || len(state) != 1 || len(changes) != int(7-r.No) {
			t.Errorf("report %d begins with %v and tells of %v %v", r.No, state, changes, err)
		}
	}
}
