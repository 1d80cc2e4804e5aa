package ledger_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/events"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

func switchEvents(t *testing.T, s *store.Store) (list []events.Event) {
	t.Helper()
	all, err := events.Latest(t.Context(), s.DB, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.What == "switch" {
			list = append(list, e)
		}
	}
	return list
}

// While the store does not answer, off is in force on the node, whatever the store has. The
// store gets it later, once, also after a restart.
func TestSwitchOffWithoutStore(t *testing.T) { storetest.EachEngine(t, testSwitchOffWithoutStore) }

func testSwitchOffWithoutStore(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchOn, "alice", "a start", storetest.T0); err != nil {
		t.Fatal(err)
	}
	release := storetest.HoldWriteLock(t, dir)
	old, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchOff, "bob", "an emergency", storetest.T0.Add(time.Hour))
	if !errors.Is(err, ledger.ErrHereOnly) || old != outage.SwitchOn || s.Ledger.Switch() != outage.SwitchOff {
		t.Fatalf("it was %s and is %s: %v", old, s.Ledger.Switch(), err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pending"))
	if err != nil || !strings.Contains(string(text), "an emergency") {
		t.Fatalf("the journal is %q %v", text, err)
	}
	time.Sleep(500 * time.Millisecond) // the node reads the database twice, which says on
	if s.Ledger.Switch() != outage.SwitchOff {
		t.Error("the switch is on again")
	}
	release()
	expect := func(what string, s *store.Store) {
		t.Helper()
		storetest.Eventually(t, what+": the store has the change", func() bool {
			sw, err := ledger.ReadSwitch(t.Context(), s.DB)
			return err == nil && sw == outage.SwitchOff && s.Ledger.Pending() == 0
		})
		n := 0
		for _, e := range switchEvents(t, s) {
			if e.Who == "bob" {
				n++
			}
		}
		if n != 1 || s.Ledger.Switch() != outage.SwitchOff {
			t.Errorf("%s: %d events, the switch is %s", what, n, s.Ledger.Switch())
		}
	}
	expect("the store answers", s)
	s.Close()

	fresh := t.TempDir()
	s = storetest.Open(t, fresh)
	if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchOn, "alice", "a start", storetest.T0); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is played again
		s.Close()
		if err := os.WriteFile(filepath.Join(fresh, "pending"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if s = storetest.Open(t, fresh); s.Ledger.Switch() != outage.SwitchOff {
			t.Error("after a restart the switch is on")
		}
		expect("a restart", s)
	}
	// It can be turned on again, and stays so.
	if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchOn, "alice", "it is over", storetest.T0.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond) // the node reads the database twice
	if s.Ledger.Switch() != outage.SwitchOn {
		t.Error("the switch is off again")
	}
}

// A later change of the switch on another node counts.
func TestSwitchOffThenChangedElsewhere(t *testing.T) {
	storetest.OnlyPostgres(t, testSwitchOffThenChangedElsewhere)
}

func testSwitchOffThenChangedElsewhere(t *testing.T) {
	database := storetest.Database(t, t.TempDir())
	first := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = database })
	if _, err := first.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "alice", "it is over", storetest.T0.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	off := storetest.JournalLine(t, map[string]any{"switch": events.Event{At: storetest.T0, Who: "bob", What: "switch", New: string(outage.SwitchOff), Why: "an emergency"}})
	if err := os.WriteFile(filepath.Join(dir, "pending"), off, 0o600); err != nil {
		t.Fatal(err)
	}
	var log storetest.Buffer
	s := storetest.Open(t, dir, func(o *store.Options) {
		o.Database, o.Log = database, slog.New(slog.NewTextHandler(&log, nil))
	})
	storetest.Eventually(t, "it follows", func() bool { return s.Ledger.Pending() == 0 && s.Ledger.Switch() == outage.SwitchShadow })
	time.Sleep(500 * time.Millisecond) // the nodes read the database twice
	if first.Ledger.Switch() != outage.SwitchShadow || len(switchEvents(t, s)) != 1 || !strings.Contains(log.String(), "the later change counts") {
		t.Errorf("the switch is %s, %v\n%s", first.Ledger.Switch(), switchEvents(t, s), log.String())
	}
	// The audit log has both, each once, also if the journal is played again.
	s.Close()
	if err := os.WriteFile(filepath.Join(dir, "pending"), off, 0o600); err != nil {
		t.Fatal(err)
	}
	s = storetest.Open(t, dir, func(o *store.Options) { o.Database = database })
	storetest.Eventually(t, "it plays", func() bool { return s.Ledger.Pending() == 0 })
	p, err := s.Audit.Page(t.Context(), 0, 100)
	if err != nil || len(p.Records) != 2 || p.Records[0].Who != "alice" || p.Records[1].Who != "bob" || p.Records[1].Detail != "on one node only, while the store did not answer" {
		t.Errorf("the audit log is %+v %v", p.Records, err)
	}
}

// If a clock was ahead when the switch was changed, that change is not the later one until then.
func TestSwitchOffAfterClockWasAhead(t *testing.T) {
	storetest.OnlyPostgres(t, testSwitchOffAfterClockWasAhead)
}

func testSwitchOffAfterClockWasAhead(t *testing.T) {
	database := storetest.Database(t, t.TempDir())
	first := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = database })
	if _, err := first.Ledger.SetSwitch(t.Context(), outage.SwitchOn, "alice", "a start", time.Now().Add(1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	off := storetest.JournalLine(t, map[string]any{"switch": events.Event{At: time.Now(), Who: "bob", What: "switch", New: string(outage.SwitchOff), Why: "an emergency"}})
	if err := os.WriteFile(filepath.Join(dir, "pending"), off, 0o600); err != nil {
		t.Fatal(err)
	}
	s := storetest.Open(t, dir, func(o *store.Options) { o.Database = database })
	storetest.Eventually(t, "it plays", func() bool { return s.Ledger.Pending() == 0 })
	time.Sleep(500 * time.Millisecond) // the nodes read the database twice
	if s.Ledger.Switch() != outage.SwitchOff || first.Ledger.Switch() != outage.SwitchOff {
		t.Errorf("the switch is %s, and %s on the other node", s.Ledger.Switch(), first.Ledger.Switch())
	}
}

func TestSwitch(t *testing.T) { storetest.EachEngine(t, testSwitch) }

func testSwitch(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	if s.Ledger.Switch() != "" {
		t.Fatal(s.Ledger.Switch())
	}
	for _, sw := range []outage.Switch{outage.SwitchOn, outage.SwitchShadow} {
		if _, err := s.Ledger.SetSwitch(t.Context(), sw, "alice", "because", storetest.T0); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = storetest.Open(t, dir)
	if s.Ledger.Switch() != outage.SwitchShadow {
		t.Fatal(s.Ledger.Switch())
	}
	list, err := events.Latest(t.Context(), s.DB, 10)
	want := events.Event{ID: 2, At: storetest.T0, Who: "alice", What: "switch", Old: "on", New: "shadow", Why: "because"}
	if err != nil || len(list) != 2 || list[0] != want {
		t.Fatalf("%+v %v", list, err)
	}
	storetest.HoldWriteLock(t, dir)
	// Any value except off, which TestSwitchOffWithoutStore tests.
	if _, err := s.Ledger.SetSwitch(storetest.Short(t), outage.SwitchOn, "alice", "because", storetest.T0); !errors.Is(err, sqldb.ErrUnavailable) || errors.Is(err, ledger.ErrHereOnly) || s.Ledger.Switch() != outage.SwitchShadow {
		t.Fatalf("without the store: %v, switch %s", err, s.Ledger.Switch())
	}
}
