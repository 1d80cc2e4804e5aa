package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"quell/internal/datadir"
	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// A store of an earlier version opens, although that version gave the migrations other names.
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
		t.Fatalf("a second process: %v", err)
	}
	s.Close()
	storetest.Open(t, dir)
}

// A store that must exist already is neither created nor guessed.
func TestExisting(t *testing.T) { storetest.EachEngine(t, testExisting) }

func testExisting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	open := func() error {
		s, err := store.Open(t.Context(), store.Options{Dir: dir, Database: storetest.Database(t, dir), Existing: true, Node: "test"})
		if err == nil {
			s.Close()
		}
		return err
	}
	if err := open(); !errors.Is(err, store.ErrNone) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder was created: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first must create nothing either
		if err := open(); !errors.Is(err, store.ErrNone) {
			t.Errorf("an empty folder: %v", err)
		}
	}
	storetest.Open(t, dir).Close()
	if err := open(); err != nil {
		t.Errorf("it exists: %v", err)
	}
}
