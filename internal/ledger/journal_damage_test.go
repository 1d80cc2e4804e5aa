package ledger_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// If one line is damaged, no other is lost. The damaged line is kept for a person to read.
func TestDamagedRecordIsSetAside(t *testing.T) { storetest.EachEngine(t, testDamagedRecordIsSetAside) }

func testDamagedRecordIsSetAside(t *testing.T) {
	dir := t.TempDir()
	var text []byte
	for n := range 9 {
		line := storetest.JournalLine(t, map[string]any{"forwarded": storetest.Noted(n, fmt.Sprint(n), storetest.T0, outage.ReasonStoreUnavailable)})
		if n == 1 {
			line[20] ^= 1
		}
		text = append(text, line...)
	}
	if err := os.WriteFile(filepath.Join(dir, "pending"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	s := storetest.Open(t, dir)
	storetest.Eventually(t, "played", func() bool { return s.Ledger.Pending() == 0 })
	for n := range 9 {
		list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{AlertID: fmt.Sprint(n)}, 10)
		if err != nil || len(list) == 0 != (n == 1) {
			t.Errorf("record %d: %v %v", n, list, err)
		}
	}
	aside, err := os.ReadFile(filepath.Join(dir, "pending.damaged"))
	if err != nil || bytes.Count(aside, []byte("\n")) != 1 || !bytes.Contains(text, aside) {
		t.Errorf("set aside is %q %v", aside, err)
	}
}

// A record that cannot be written to the file is not lost, nor is any other.
func TestJournalRecordUnwritable(t *testing.T) { storetest.EachEngine(t, testJournalRecordUnwritable) }

func testJournalRecordUnwritable(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	release := storetest.HoldWriteLock(t, dir)
	late := storetest.FutureDated(1, 1, storetest.T0, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)) // its end is in the year 10000
	s.Ledger.RememberForwarded(t.Context(), storetest.Noted(1, "a", storetest.T0, outage.ReasonStoreUnavailable))
	s.Ledger.RememberActivation(t.Context(), late)
	s.Ledger.RememberForwarded(t.Context(), storetest.Noted(1, "b", storetest.T0, outage.ReasonStoreUnavailable))
	if s.Ledger.Pending() != 3 {
		t.Errorf("%d records are pending, want 3", s.Ledger.Pending())
	}
	release()
	storetest.Eventually(t, "played", func() bool { return s.Ledger.Pending() == 0 })
	if list, err := s.Windows.Activations(t.Context(), windows.Filter{CHF: storetest.Hub(1)}, 10); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	if list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(1)}, 10); err != nil || len(list) != 2 {
		t.Error(list, err)
	}
}

// While an activation with an unknown hub is in the journal, any hub may have a window. That
// ends when the database refuses the activation.
func TestUnresolvedRefused(t *testing.T) { storetest.EachEngine(t, testUnresolvedRefused) }

func testUnresolvedRefused(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		s := storetest.Open(t, t.TempDir())
		refuse := `CREATE TRIGGER refuse BEFORE INSERT ON activation BEGIN SELECT RAISE(FAIL, 'refused'); END`
		if storetest.OnPostgres(t) {
			refuse = `ALTER TABLE activation ADD CHECK (form = 'none')`
		}
		storetest.Script(t, s, refuse)
		s.Ledger.RecordUnresolved(t.Context(), storetest.OnDemand(1, 1, storetest.T0), nil, nil, false)
		storetest.Eventually(t, "the record is set aside", func() bool { return s.Ledger.Pending() == 0 })
		if s.Ledger.MayHaveWindow(storetest.Hub(9)) {
			t.Error("any hub may still have a window")
		}
	})
}

// While the journal cannot be written, Conditions says so, and how many records may be lost.
func TestJournalInMemoryIsReported(t *testing.T) {
	storetest.EachEngine(t, testJournalInMemoryIsReported)
}

func testJournalInMemoryIsReported(t *testing.T) {
	var file storetest.JournalFile
	s := storetest.Open(t, t.TempDir(), file.Use)
	free := storetest.HoldWriter(t, s)
	defer free()
	file.Break()
	for n := range 3 {
		s.Ledger.RememberForwarded(t.Context(), storetest.Noted(1, fmt.Sprint(n), storetest.T0, outage.ReasonStoreUnavailable))
	}
	if held, lost := s.Ledger.JournalInMemory(); held != 3 || lost != 0 {
		t.Errorf("%d in memory, %d lost", held, lost)
	}
	if text := strings.Join(s.Conditions(), "\n"); !strings.Contains(text, "the journal cannot be written: 3 records are in memory only") {
		t.Errorf("Conditions says %q", text)
	}
	file.Repair()
	storetest.Eventually(t, "they are written", func() bool { held, _ := s.Ledger.JournalInMemory(); return held == 0 })
	if text := strings.Join(s.Conditions(), "\n"); strings.Contains(text, "cannot be written") {
		t.Errorf("Conditions still says %q", text)
	}
}
