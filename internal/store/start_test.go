package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// While the hubs that have windows are read, which takes seconds if there are millions, the store
// is asked about every alert, and decides.
func TestDecidesWhileFilling(t *testing.T) { storetest.EachEngine(t, testDecidesWhileFilling) }

func testDecidesWhileFilling(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	const others, atOnce = 120000, 20000 // a transaction has seconds
	for from := 0; from < others; from += atOnce {
		storetest.Script(t, s, fmt.Sprintf(`WITH RECURSIVE n (i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			INSERT INTO activation (id, request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
			SELECT 10 + i, CAST(i AS TEXT), '', '', 0, '', 0, -i, 0, 0, 0, '', 0 FROM n`, from+1, from+atOnce))
	}
	for n := range 10 {
		s.Close()
		var err error
		if s, err = store.Start(store.Options{Dir: dir, Database: storetest.Database(t, dir), Node: "test"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		conditions := strings.Join(s.Conditions(), "\n")
		may := s.Ledger.MayHaveWindow(12345)
		d, err := s.Ledger.Decide(t.Context(), storetest.AD1(1, fmt.Sprint(n), storetest.T0.Add(time.Minute)), outage.Suppressed, 0)
		if err != nil || d.Outcome != outage.Suppressed {
			t.Fatalf("%v %v", d, err)
		}
		if s.Started() {
			continue // the machine was busy with other work
		}
		if !may || !strings.Contains(conditions, "the store is asked about every AD1") {
			t.Errorf("while the set is filled, a hub may have a window: %v; Conditions says %q", may, conditions)
		}
		storetest.Eventually(t, "all hubs are known", s.Started)
		if s.Ledger.MayHaveWindow(12345) || !s.Ledger.MayHaveWindow(storetest.Hub(1)) || s.Ledger.Hubs() != others+1 || len(s.Conditions()) > 0 {
			t.Errorf("%d hubs, Conditions says %q", s.Ledger.Hubs(), s.Conditions())
		}
		return
	}
	t.Error("all hubs were known before one decision was made: the test shows nothing")
}

// A store that was closed is complete in one file, which is copied as a backup.
func TestClosedInOneFile(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	s := storetest.Open(t, dir)
	storetest.LogN(t, s, 3)
	s.Close()
	text, err := os.ReadFile(filepath.Join(dir, "quell.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, "quell.db"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "quell.db-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files beside it: %q %v", left, err)
	}
	if list, err := storetest.Open(t, copied).Ledger.EntriesAfter(t.Context(), 0, 10); err != nil || len(list) != 3 {
		t.Errorf("the copy has %d entries %v", len(list), err)
	}
}
