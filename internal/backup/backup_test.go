package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/datadir"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

var t0 = storetest.T0

// alert is an AD1 of a hub, with a number.
func alert(hub int, number uint64) outage.Alert {
	return storetest.AD1(hub, fmt.Sprint(number), t0.Add(2*time.Second))
}

// TestBesideWriter: a backup that is made while alerts are decided has a state between two
// transactions, and no decision waits until it is complete.
func TestBesideWriter(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
	// So much that the backup takes some time.
	storetest.Script(t, s, fmt.Sprintf(`WITH RECURSIVE n (v) AS (SELECT 10 UNION ALL SELECT v + 1 FROM n WHERE v < 100000)
		INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
		SELECT 'r' || v, '', '', 0, '', v, v, 0, 1, %d, '', 1 FROM n`, sqldb.Micros(t0)-1))
	var ended atomic.Bool
	var began time.Time
	within, longest, number := 0, time.Duration(0), uint64(0)
	file := filepath.Join(t.TempDir(), "backup.db")
	done := make(chan error)
	began = time.Now()
	go func() {
		_, err := Make(t.Context(), dir, file)
		ended.Store(true)
		done <- err
	}()
	for !ended.Load() {
		at := time.Now()
		number++
		if d := storetest.Decide(t, s, alert(1, number)); d.Outcome != outage.Suppressed {
			t.Fatalf("%+v", d)
		}
		if !ended.Load() {
			within, longest = within+1, max(longest, time.Since(at))
		}
	}
	took := time.Since(began)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	number++
	storetest.Decide(t, s, alert(1, number))
	info, _ := os.Stat(file)
	t.Logf("the backup took %v for %d bytes; %d decisions meanwhile, the longest %v, the next %v", took, info.Size(), within, longest, time.Since(at))
	if within < 10 || longest > took/2 {
		t.Error("decisions waited for the backup")
	}

	// A restored copy has entries from 1 on without a gap.
	other := t.TempDir()
	if _, err := Restore(t.Context(), Options{File: file, Dir: other, Now: t0.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	again := storetest.Open(t, other)
	list, err := again.Ledger.EntriesAfter(t.Context(), 0, int(number)+1)
	if err != nil || len(list) > within+1 {
		t.Fatal(len(list), err)
	}
	for i, e := range list {
		if e.Seq != int64(i+1) {
			t.Fatalf("entry %d has the number %d", i+1, e.Seq)
		}
	}
	if next := storetest.Decide(t, again, alert(1, number+1)); next.Entry.Seq != 0 {
		t.Errorf("a window was open: %+v", next)
	}
}

// filled returns a data folder whose store has entries, windows and a switch; and a backup of it.
func filled(t *testing.T, change func(*store.Store)) (dir, file string) {
	dir, file = t.TempDir(), filepath.Join(t.TempDir(), "backup.db")
	s := storetest.Open(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
	s.Ledger.Record(t.Context(), storetest.FutureDated(2, 1, t0, t0.Add(time.Hour)))
	storetest.Decide(t, s, alert(1, 1))
	if change != nil {
		change(s)
	}
	if _, err := Make(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	storetest.Decide(t, s, alert(1, 2)) // after the backup
	s.Close()
	return dir, file
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	s := storetest.Open(t, dir)
	defer s.Close()
	list, err := s.Ledger.EntriesAfter(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestRestore: a backup replaces the store, which stays under another name. Windows are closed,
// unless they are to be kept. The journal and other files stay.
func TestRestore(t *testing.T) {
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("keep windows: ", keep), func(t *testing.T) {
			dir, file := filled(t, func(s *store.Store) {
				if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "me", "a test", t0); err != nil {
					t.Fatal(err)
				}
			})
			pending := []byte(`x`)
			if err := os.WriteFile(filepath.Join(dir, "pending"), pending, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "restore"), nil, 0o600); err != nil { // of an earlier try
				t.Fatal(err)
			}
			r, err := Restore(t.Context(), Options{File: file, Dir: dir, Now: t0.Add(time.Minute), KeepWindows: keep, Who: "root"})
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{false: 2, true: 0}[keep]; r.Switch != outage.SwitchShadow || r.Closed != want || !r.Journal {
				t.Errorf("%+v", r)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "pending")); !bytes.Equal(got, pending) {
				t.Errorf("pending: %q, %v", got, err)
			}
			os.Remove(filepath.Join(dir, "pending")) // it is no journal
			if n := entries(t, dir); n != 1 {
				t.Errorf("%d entries after the restore", n)
			}
			s := storetest.Open(t, dir)
			open, pendingWindows, err := s.Windows.Counts(t.Context(), t0.Add(time.Minute))
			if want := map[bool]int{false: 0, true: 1}[keep]; open != want || pendingWindows != want || err != nil {
				t.Errorf("%d open, %d pending, %v", open, pendingWindows, err)
			}
			s.Close()
			// The store of before is whole.
			was := t.TempDir()
			for _, end := range []string{"", "-wal"} {
				if err := os.Rename(r.Before+end, filepath.Join(was, database+end)); err != nil && end == "" {
					t.Fatal(err)
				}
			}
			if n := entries(t, was); n != 2 {
				t.Errorf("%d entries in the store of before", n)
			}
			for _, name := range []string{file, filepath.Join(dir, database), filepath.Join(was, database)} {
				if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", name, info, err)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "restore")); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the folder is left:", err)
			}
		})
	}
}

// TestRestoreDies: wherever a restore ends, the store of before is whole under one of its names,
// and a second restore completes.
func TestRestoreDies(t *testing.T) {
	for _, at := range []string{"kept", "removed"} {
		dir, file := filled(t, nil)
		// A store that was killed: what is newest is in its -wal.
		live := storetest.Open(t, dir)
		storetest.Decide(t, live, alert(1, 3))
		killed := t.TempDir()
		for _, end := range []string{"", "-wal"} {
			text, err := os.ReadFile(filepath.Join(dir, database+end))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(killed, database+end), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		live.Close()
		func() {
			defer func() { recover() }()
			Restore(t.Context(), Options{File: file, Dir: killed, Now: t0, Reached: func(step string) {
				if step == at {
					panic(step)
				}
			}})
			t.Fatal("it did not reach ", at)
		}()
		kept, _ := filepath.Glob(filepath.Join(killed, database+".before-*Z"))
		if len(kept) != 1 {
			t.Fatal(kept)
		}
		was := t.TempDir()
		for _, end := range []string{"", "-wal"} {
			text, err := os.ReadFile(kept[0] + end)
			if err != nil {
				t.Fatal(err)
			}
			os.WriteFile(filepath.Join(was, database+end), text, 0o600)
		}
		if n := entries(t, was); n != 3 {
			t.Errorf("died when it had %s: %d entries of 3 are kept", at, n)
		}
		if _, err := Restore(t.Context(), Options{File: file, Dir: killed, Now: t0.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		if n := entries(t, killed); n != 1 {
			t.Errorf("died when it had %s: %d entries after the second restore", at, n)
		}
	}
}

// TestRefused: what is not a backup, or must not be replaced, is refused, and nothing has changed.
func TestRefused(t *testing.T) {
	dir, file := filled(t, nil)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(t.TempDir(), database)
	if err := os.WriteFile(newer, good, 0o600); err != nil {
		t.Fatal(err)
	}
	outside := storetest.Outside(t, filepath.Dir(newer))
	if _, err := outside.Exec(`INSERT INTO migration (name, at) VALUES ('migrations/9999_next.sql', '')`); err != nil {
		t.Fatal(err)
	}
	outside.Close()
	write := func(name string, text []byte) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	damaged := bytes.Clone(good)
	for i := len(damaged) / 4; i < len(damaged)/2; i++ {
		damaged[i] ^= 0x55
	}
	part := write("part.db", good)
	if err := os.WriteFile(part+"-wal", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		want error
	}{
		{filepath.Join(dir, "nothing"), fs.ErrNotExist},
		{write("empty", nil), sqldb.ErrDamaged},
		{write("text", []byte(strings.Repeat("This is no database.\n", 1000))), sqldb.ErrDamaged},
		{write("half", good[:len(good)/2]), sqldb.ErrDamaged},
		{write("damaged", damaged), sqldb.ErrDamaged},
		{part, ErrNotWhole},
		{newer, ErrNewer},
	} {
		r, err := Restore(t.Context(), Options{File: x.name, Dir: dir, Now: t0})
		if !errors.Is(err, x.want) || r.Before != "" {
			t.Errorf("%s: %+v, %v", x.name, r, err)
		}
	}
	if n := entries(t, dir); n != 2 {
		t.Errorf("%d entries after refusals", n)
	}
	s := storetest.Open(t, dir)
	if _, err := Restore(t.Context(), Options{File: file, Dir: dir, Now: t0}); !errors.Is(err, datadir.ErrInUse) {
		t.Error(err)
	}
	s.Close()

	if _, err := Make(t.Context(), dir, file); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if now, _ := os.ReadFile(file); !bytes.Equal(now, good) {
		t.Error("the file was changed")
	}
	none := filepath.Join(t.TempDir(), "b")
	if _, err := Make(t.Context(), t.TempDir(), none); !errors.Is(err, store.ErrNone) {
		t.Error(err)
	}
	sick := t.TempDir()
	if err := os.WriteFile(filepath.Join(sick, database), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(t.Context(), sick, none); err == nil {
		t.Error("a damaged store was backed up")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Make(ended, dir, none); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if list, _ := filepath.Glob(none + "*"); len(list) > 0 {
		t.Errorf("%q are left", list)
	}
}

// TestPrivate: nobody else can read a backup, whatever the umask allows.
func TestPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	_, file := filled(t, nil)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestRestoreAsRoot: if root puts a backup back, the store belongs to the owner of the folder, who
// can start quell.
func TestRestoreAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skip allowed: only root can give files away")
	}
	_, file := filled(t, nil)
	dir := t.TempDir()
	const owner = 54321
	if err := os.Chown(dir, owner, owner); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), Options{File: file, Dir: dir, Now: t0}); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	for _, e := range list {
		info, err := e.Info()
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != owner {
			t.Errorf("%s is not the owner's: %v", e.Name(), err)
		}
	}
}
