package store_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"quell/internal/datadir"
	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// A store that an earlier version made opens, although that named the migrations
// otherwise.
func TestEarlierStore(t *testing.T) { storetest.EachEngine(t, testEarlierStore) }

func testEarlierStore(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	storetest.Script(t, s, `UPDATE migration SET name = replace(name, 'migrations/', 'migrations/sqlite/')`)
	s.Close()
	if d := storetest.Decide(t, storetest.Open(t, dir), storetest.AD1(1, "x", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Errorf("%+v", d)
	}
}

func TestOneProcessPerFolder(t *testing.T) { storetest.EachEngine(t, testOneProcessPerFolder) }

func testOneProcessPerFolder(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	_, err := store.Open(t.Context(), store.Options{Dir: dir})
	if !errors.Is(err, datadir.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Fatalf("second: %v", err)
	}
	s.Close()
	storetest.Open(t, dir)
}
