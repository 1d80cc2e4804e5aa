package store

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

func untracked(n int, counter uint64, received time.Time, reason outage.Reason) Untracked {
	a := onDemand(n, counter, received)
	return Untracked{RequestID: a.RequestID.String(), Form: a.Form, ESME: a.ESME, Received: received, Reason: reason}
}

func findUntracked(t *testing.T, s *Store, f Find) (reasons []string) {
	t.Helper()
	if err := s.Check(t.Context()); err != nil { // what was noted is in the same batch, or in one before
		t.Fatal(err)
	}
	list, err := s.Untracked(t.Context(), f, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		reasons = append(reasons, fmt.Sprintf("%s %s", u.RequestID[48:], u.Reason))
	}
	return reasons
}

// Requests that were not tracked are found by their meter, its hub and their id, the
// latest first, for as long as windows are kept.
func TestUntracked(t *testing.T) {
	dir := t.TempDir()
	s := lead(t, openIn(t, dir))
	text := fmt.Sprintf("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n%s,ESME,SMETS2,Landis+Gyr,E470,%s,\n", meter(1), hub(1))
	files := []File{{"inventory", strings.NewReader(text)}}
	if _, err := s.ImportInventory(t.Context(), "bob", t0, func() (f File, err error) {
		if len(files) == 0 {
			return f, io.EOF
		}
		f, files = files[0], nil
		return f, nil
	}); err != nil {
		t.Fatal(err)
	}
	s.NoteUntracked(untracked(1, 7, t0, outage.ReasonNotListed))
	s.NoteUntracked(untracked(1, 8, t0.Add(time.Hour), outage.ReasonSwitchedOff))
	s.NoteUntracked(untracked(1, 8, t0.Add(time.Hour), outage.ReasonSwitchedOff)) // as from a batch whose answer was lost
	s.NoteUntracked(untracked(2, 7, t0, outage.ReasonUnknownDevice))
	expect := func(what string, f Find, want ...string) {
		t.Helper()
		if got := findUntracked(t, s, f); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	expect("meter", Find{ESME: meter(1)}, "8 switched-off", "7 not-listed")
	expect("hub", Find{CHF: hub(1)}, "8 switched-off", "7 not-listed")
	expect("request", Find{RequestID: onDemand(1, 7, t0).RequestID}, "7 not-listed")
	expect("unknown meter", Find{ESME: meter(2)}, "7 unknown-device")
	expect("nothing", Find{})
	s.Close()
	s = lead(t, openIn(t, dir))
	expect("after a restart", Find{ESME: meter(1)}, "8 switched-off", "7 not-listed")
	h, err := s.Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(time.Minute), LogBefore: t0.Add(-time.Hour)})
	if err != nil || h.Untracked != 2 {
		t.Errorf("%+v %v", h, err)
	}
	expect("housekeeping", Find{ESME: meter(1)}, "8 switched-off")
	for what, f := range map[string]Find{"meter": {ESME: meter(1)}, "hub": {CHF: hub(1)}, "request": {RequestID: onDemand(1, 7, t0).RequestID},
		"all": {ESME: meter(1), CHF: hub(1), RequestID: onDemand(1, 7, t0).RequestID}} {
		query, args := untrackedQuery(f, 10)
		if plan := planOf(t, s, query, args...); wholeTable.MatchString(plan) || strings.Contains(plan, "untracked_received") {
			t.Errorf("by %s:\n%s", what, plan)
		}
	}
}

// While the store hangs, no more wait than may, nobody waits for them, and alerts are
// decided when it is back.
func TestUntrackedIsBounded(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	s.Record(t.Context(), onDemand(1, 1, t0))
	release := holdWriteLock(t, dir)
	for n := range uint64(2 * maxUntracked) {
		s.NoteUntracked(untracked(2, n, t0, outage.ReasonNotListed))
	}
	s.queue.mu.Lock()
	waiting := len(s.queue.untracked)
	s.queue.mu.Unlock()
	if waiting > maxUntracked || s.lostUntracked.Load() == 0 {
		t.Errorf("%d wait, %d were lost", waiting, s.lostUntracked.Load())
	}
	release()
	eventually(t, "the store is back", func() bool { return s.Check(t.Context()) == nil })
	if d := decide(t, s, ad1(1, "a", t0)); d.Outcome != outage.Suppressed {
		t.Errorf("%+v", d)
	}
}

// A request that waited in the journal for the inventory, and turns out not to be
// tracked, is kept too.
func TestUntrackedFromJournal(t *testing.T) {
	dir := t.TempDir()
	a := onDemand(1, 1, t0)
	if err := os.WriteFile(filepath.Join(dir, "pending"), lineOf(t, record{Activation: &a, Unresolved: true}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir)
	eventually(t, "the journal is played", func() bool { return s.Pending() == 0 })
	if got := findUntracked(t, s, Find{ESME: meter(1)}); len(got) != 1 || got[0] != "1 unknown-device" {
		t.Errorf("%q", got)
	}
}
