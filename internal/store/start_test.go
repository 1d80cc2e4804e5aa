package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

// While the hubs that have windows are read, which takes seconds where there are
// millions, the store is asked about every alert, and decides.
func TestAskedWhileFilling(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	s.Record(t.Context(), onDemand(1, 1, t0))
	script(t, s, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
		INSERT INTO activation (id, request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
		SELECT 10 + i, CAST(i AS TEXT), '', '', 0, '', 0, -i, 0, 0, 0, '', 0 FROM n`)
	for n := range 10 {
		s.Close()
		var err error
		if s, err = Start(Options{Dir: dir, Database: databaseOf(t, dir), Node: "test"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		said := strings.Join(s.Conditions(), "\n")
		may := s.MayHold(12345)
		d, err := s.Decide(t.Context(), ad1(1, fmt.Sprint(n), t0.Add(time.Minute)), outage.Suppressed, 0)
		if err != nil || d.Outcome != outage.Suppressed {
			t.Fatalf("%v %v", d, err)
		}
		if s.Started() {
			continue // the machine was busy elsewhere
		}
		if !may || !strings.Contains(said, "the store is asked about every AD1") {
			t.Errorf("while it is filled, a hub may have a window: %v; it says %q", may, said)
		}
		eventually(t, "all hubs are known", s.Started)
		if s.MayHold(12345) || !s.MayHold(hub(1)) || s.Hubs() != 120001 || len(s.Conditions()) > 0 {
			t.Errorf("%d hubs, it says %q", s.Hubs(), s.Conditions())
		}
		return
	}
	t.Error("the hubs are known before one decision is made: the test finds out nothing")
}

// A store that was closed is whole in its one file: that is what is copied as a backup.
func TestClosedInOneFile(t *testing.T) {
	if onPostgres() {
		t.Skip("skip allowed: it is about SQLite's files")
	}
	dir, copied := t.TempDir(), t.TempDir()
	s := openIn(t, dir)
	logN(t, s, 3)
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
		t.Errorf("beside it are %q %v", left, err)
	}
	if list, err := openIn(t, copied).EntriesAfter(t.Context(), 0, 10); err != nil || len(list) != 3 {
		t.Errorf("the copy has %d entries %v", len(list), err)
	}
}
