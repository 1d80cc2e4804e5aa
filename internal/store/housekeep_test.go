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
