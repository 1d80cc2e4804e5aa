package windows_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

func untracked(n int, counter uint64, received time.Time, reason outage.Reason) windows.Untracked {
	a := storetest.OnDemand(n, counter, received)
	return windows.Untracked{RequestID: a.RequestID.String(), Form: a.Form, ESME: a.ESME, Received: received, Reason: reason}
}

func findUntracked(t *testing.T, s *store.Store, f windows.Filter) (reasons []string) {
	t.Helper()
	if err := s.DB.Ping(t.Context()); err != nil { // notes are written in the same batch, or in an earlier one
		t.Fatal(err)
	}
	list, err := s.Windows.Untracked(t.Context(), f, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		reasons = append(reasons, fmt.Sprintf("%s %s", u.RequestID[48:], u.Reason))
	}
	return reasons
}

// Requests that were not tracked are found by meter, hub and id, the latest first, for as long
// as windows are kept.
func TestUntracked(t *testing.T) { storetest.EachEngine(t, testUntracked) }

func testUntracked(t *testing.T) {
	dir := t.TempDir()
	s := storetest.MakeLeader(t, storetest.Open(t, dir))
	text := fmt.Sprintf("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n%s,ESME,SMETS2,Landis+Gyr,E470,%s,\n", storetest.Meter(1), storetest.Hub(1))
	if err := storetest.ImportInventory(t.Context(), s, text); err != nil {
		t.Fatal(err)
	}
	s.Ledger.NoteUntracked(untracked(1, 7, storetest.T0, outage.ReasonNotListed))
	s.Ledger.NoteUntracked(untracked(1, 8, storetest.T0.Add(time.Hour), outage.ReasonSwitchedOff))
	s.Ledger.NoteUntracked(untracked(1, 8, storetest.T0.Add(time.Hour), outage.ReasonSwitchedOff)) // as after a batch whose answer was lost
	s.Ledger.NoteUntracked(untracked(2, 7, storetest.T0, outage.ReasonUnknownDevice))
	expect := func(what string, f windows.Filter, want ...string) {
		t.Helper()
		if got := findUntracked(t, s, f); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	expect("meter", windows.Filter{ESME: storetest.Meter(1)}, "8 switched-off", "7 not-listed")
	expect("hub", windows.Filter{CHF: storetest.Hub(1)}, "8 switched-off", "7 not-listed")
	expect("request", windows.Filter{RequestID: storetest.OnDemand(1, 7, storetest.T0).RequestID}, "7 not-listed")
	expect("unknown meter", windows.Filter{ESME: storetest.Meter(2)}, "7 unknown-device")
	expect("nothing", windows.Filter{})
	s.Close()
	s = storetest.MakeLeader(t, storetest.Open(t, dir))
	expect("after a restart", windows.Filter{ESME: storetest.Meter(1)}, "8 switched-off", "7 not-listed")
	h, err := s.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(time.Minute), LogBefore: storetest.T0.Add(-time.Hour)})
	if err != nil || h.Untracked != 2 {
		t.Errorf("%+v %v", h, err)
	}
	expect("housekeeping", windows.Filter{ESME: storetest.Meter(1)}, "8 switched-off")
	for what, f := range map[string]windows.Filter{"meter": {ESME: storetest.Meter(1)}, "hub": {CHF: storetest.Hub(1)}, "request": {RequestID: storetest.OnDemand(1, 7, storetest.T0).RequestID},
		"all": {ESME: storetest.Meter(1), CHF: storetest.Hub(1), RequestID: storetest.OnDemand(1, 7, storetest.T0).RequestID}} {
		query, args := windows.UntrackedQuery(f, 10)
		if plan := storetest.PlanOf(t, s, query, args...); storetest.WholeTable.MatchString(plan) || strings.Contains(plan, "untracked_received") {
			t.Errorf("by %s:\n%s", what, plan)
		}
	}
}

// While the store hangs, a limited number of notes wait, and nobody waits for them. Alerts are
// decided when the store is back.
func TestUntrackedIsBounded(t *testing.T) { storetest.EachEngine(t, testUntrackedIsBounded) }

func testUntrackedIsBounded(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	release := storetest.HoldWriteLock(t, dir)
	for n := range uint64(2 * sqldb.MaxWaiting) {
		s.Ledger.NoteUntracked(untracked(2, n, storetest.T0, outage.ReasonNotListed))
	}
	release()
	storetest.Eventually(t, "the store is back", func() bool { return s.DB.Ping(t.Context()) == nil })
	if d := storetest.Decide(t, s, storetest.AD1(1, "a", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Errorf("%+v", d)
	}
}

// A request that waited in the journal for the inventory, and is then not tracked, is recorded
// as untracked too.
func TestUntrackedFromJournal(t *testing.T) { storetest.EachEngine(t, testUntrackedFromJournal) }

func testUntrackedFromJournal(t *testing.T) {
	dir := t.TempDir()
	a := storetest.OnDemand(1, 1, storetest.T0)
	if err := os.WriteFile(filepath.Join(dir, "pending"), storetest.JournalLine(t, map[string]any{"activation": &a, "unresolved": true}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := storetest.Open(t, dir)
	storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 })
	if got := findUntracked(t, s, windows.Filter{ESME: storetest.Meter(1)}); len(got) != 1 || got[0] != "1 unknown-device" {
		t.Errorf("untracked: %q", got)
	}
}
