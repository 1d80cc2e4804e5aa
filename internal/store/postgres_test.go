package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"
)

// When this variable names a PostgreSQL server, the tests of this package run
// on it: the suite is one, and holds for both engines.
const postgresServer = "QUELL_TEST_POSTGRES"

func onPostgres() bool { return os.Getenv(postgresServer) != "" }

// databaseOf is a PostgreSQL database for a data folder, or "" if the tests run
// on SQLite.
func databaseOf(t testing.TB, dir string) string {
	if !onPostgres() {
		return ""
	}
	server := os.Getenv(postgresServer)
	name := fmt.Sprintf("t%x", sha256.Sum256([]byte(dir)))[:40]
	db, err := sql.Open("pgx", fmt.Sprintf(server, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var there bool
	if err := db.QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&there); err != nil {
		t.Fatal(err)
	}
	if !there {
		if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf(server, name)
}

// All tests of this package again, on a PostgreSQL server of their own.
func TestOnPostgreSQL(t *testing.T) {
	if onPostgres() {
		return // this is the second time
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=10m", "-test.shuffle=on", "-test.parallel=4")
	if testing.Verbose() {
		cmd.Args = append(cmd.Args, "-test.v")
	}
	cmd.Env = append(os.Environ(), postgresServer+"="+storetest.Start(t).URL("%s"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("on PostgreSQL: %v\n%s", err, out)
	}
}

// The server dies and comes back in the middle of traffic: what it does not
// take goes forward or to the journal, and nothing is lost or both.
func TestDatabaseRestarts(t *testing.T) {
	if onPostgres() {
		return // it has a server of its own
	}
	server := storetest.Start(t)
	dir := t.TempDir()
	s := openIn(t, dir, func(o *Options) { o.Database = server.URL("postgres") })
	const hubs = 20
	for n := range hubs {
		s.Record(t.Context(), onDemand(n, 1, t0))
	}
	told := map[string]outage.Outcome{}
	for n := range 600 {
		switch n {
		case 200:
			server.Kill()
		case 400:
			server.Restart()
			eventually(t, "the store answers again", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				return s.Check(ctx) == nil
			})
		}
		if n == 300 { // remembered while the server is away
			s.Record(short(t), onDemand(hubs, 1, t0))
		}
		id := fmt.Sprint(n)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if n < 200 || n >= 400 {
			ctx = t.Context()
		}
		told[id] = outage.Forwarded
		if d, err := s.Decide(ctx, ad1(n%hubs, id, t0), outage.Suppressed, 0); err == nil {
			told[id] = d.Outcome
		}
		cancel()
	}
	if d := decide(t, s, ad1(hubs, "remembered", t0)); d.Outcome != outage.Suppressed {
		t.Errorf("the window of an 11.3 that came while the server was away: %+v", d)
	}
	eventually(t, "the journal is played", func() bool { return s.Pending() == 0 })
	logged := map[string]outage.Outcome{}
	for i, e := range allEntries(t, s) {
		if e.Seq != int64(i+1) {
			t.Errorf("entry %d is number %d", i+1, e.Seq)
		}
		logged[e.AlertID] = e.Outcome
	}
	count := map[outage.Outcome]int{}
	for id, outcome := range told {
		count[outcome]++
		if (outcome == outage.Suppressed) != (logged[id] == outage.Suppressed) {
			t.Errorf("alert %s: told %s, logged %q", id, outcome, logged[id])
		}
	}
	if count[outage.Suppressed] < 400 || count[outage.Forwarded] < 100 {
		t.Errorf("told: %v", count)
	}
}

// A node's machine dies in the middle of what it sends, with the writer's lock in
// its hands: the server waits for the rest, and would for hours. The other nodes
// do not.
func TestDeadWriter(t *testing.T) {
	if onPostgres() {
		return // it has a server of its own
	}
	t.Parallel() // it waits more than it computes
	server := storetest.Start(t)
	proxy := remotetest.NewProxy(t, server.Socket())
	dying := openIn(t, t.TempDir(), func(o *Options) { o.Database = through(proxy) })
	other := openIn(t, t.TempDir(), func(o *Options) { o.Database = server.URL("postgres") })
	proxy.BreakAfter(64<<10, true)
	for n := range maxBatch {
		dying.Note(noted(n, fmt.Sprintf("%0200d", n), t0, outage.ReasonStoreUnavailable))
	}
	check := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return other.Check(ctx) == nil
	}
	eventually(t, "the lock is held", func() bool { return !check() })
	eventually(t, "the other node writes", check)
}

// Whoever holds the writer's lock is cut off, but not a commit that waits for a
// standby, of which nobody must hear before.
func TestEndHolders(t *testing.T) {
	if onPostgres() {
		return // it has a server of its own
	}
	server := storetest.Start(t)
	dir := t.TempDir()
	s := openIn(t, dir, func(o *Options) { o.Database = server.URL("postgres") })
	admin, err := sql.Open("pgx", server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	set := func(standbys string) {
		t.Helper()
		for _, query := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + standbys + "'", "SELECT pg_reload_conf()"} {
			if _, err := admin.Exec(query); err != nil {
				t.Fatal(err)
			}
		}
	}
	set("nobody")
	s.Record(short(t), onDemand(1, 1, t0))
	eventually(t, "a commit waits for a standby", func() (waits bool) {
		admin.QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep')`).Scan(&waits)
		return waits
	})
	if n, err := s.endHolders(t.Context(), 0); n != 0 || err != nil {
		t.Errorf("%d were cut off, %v", n, err)
	}
	set("")
	eventually(t, "it is committed", func() bool { return s.Pending() == 0 && s.Check(t.Context()) == nil })
	tx, err := admin.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, writerLock)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.endHolders(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("one that has just begun: %d were cut off, %v", n, err)
	}
	if n, err := s.endHolders(t.Context(), 0); n != 1 || err != nil {
		t.Errorf("%d were cut off, %v", n, err)
	}
}

// A host of the address takes connections and says nothing, as one behind a dead
// machine does: the others are reached in time, by those too who wait less long
// than that takes.
func TestSilentHost(t *testing.T) {
	if onPostgres() {
		return // it has a server of its own
	}
	t.Parallel() // it waits more than it computes
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	server := storetest.Start(t)
	s := openIn(t, t.TempDir(), func(o *Options) {
		o.Database = "postgres:///postgres?sslmode=disable&user=quell&host=127.0.0.1," + server.Dir + "&port=" + silent.Addr().String()[len("127.0.0.1:"):] + "," + server.Port
	})
	eventually(t, "the store answers", func() bool { return s.Check(t.Context()) == nil })
	eventually(t, "several read at once", func() bool {
		var wg sync.WaitGroup
		var failed atomic.Bool
		for range 3 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if _, err := s.reader.ExecContext(ctx, "SELECT pg_sleep(0.1)"); err != nil {
					failed.Store(true)
				}
			})
		}
		wg.Wait()
		return !failed.Load()
	})
}

// However long the database is away, what is remembered is on disk and not in
// memory, and is played when it is back.
func TestLongOutage(t *testing.T) {
	if onPostgres() {
		return // it has a server of its own
	}
	proxy := remotetest.NewProxy(t, storetest.Start(t).Socket())
	s := openIn(t, t.TempDir(), func(o *Options) { o.Database = through(proxy) })
	const some, many, hubs = 5_000, 60_000, 100
	for n := range hubs {
		s.Record(t.Context(), onDemand(n, 1, t0))
	}
	proxy.BreakAfter(0, false)
	heap := func() (used uint64) {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	id := func(n int) string { return fmt.Sprintf("%0100d", n) }
	var after uint64
	for n := range many {
		s.Note(noted(n%hubs, id(n), t0, outage.ReasonStoreUnavailable))
		if (n+1)%some == 0 {
			eventually(t, "it is on disk", func() bool { return s.Pending() >= n+1 })
			if n+1 == some {
				after = heap()
			}
		}
	}
	if r := s.Record(short(t), onDemand(hubs, 1, t0)); !r.Remembered {
		t.Errorf("%+v", r)
	}
	// The ids alone of what came since are more.
	if grown := int64(heap()) - int64(after); grown > (many-some)*100/4 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	proxy.Mend()
	eventually(t, "all of it is played", func() bool { return s.Pending() == 0 })
	for n := 0; n < many; n += many / 50 {
		if d := decide(t, s, ad1(n%hubs, id(n), t0)); d.Outcome != outage.Forwarded || !d.Retry {
			t.Fatalf("the retry of alert %d: %+v", n, d)
		}
	}
	if d := decide(t, s, ad1(hubs, "new", t0)); d.Outcome != outage.Suppressed {
		t.Errorf("the window of an 11.3 that came meanwhile: %+v", d)
	}
}

// A database that hangs, rather than refuses, takes seconds to fail: what comes
// meanwhile is all taken into the journal each time, and at the end too.
func TestHangingDatabase(t *testing.T) {
	if onPostgres() {
		return // it has a server of its own
	}
	t.Parallel() // it waits more than it computes
	proxy := remotetest.NewProxy(t, storetest.Start(t).Socket())
	dir, database := t.TempDir(), func(o *Options) { o.Database = through(proxy) }
	s := openIn(t, dir, database)
	const notes = 20 * maxBatch
	note := func(from int) {
		for n := range notes {
			s.Note(noted(n, fmt.Sprint(from+n), t0, outage.ReasonNoWindow))
		}
	}
	proxy.BreakAfter(0, true)
	note(0)
	asked := make(chan error, 1)
	go func() {
		_, err := s.LastImport(t.Context(), "devices")
		asked <- err
	}()
	eventually(t, "it is on disk", func() bool { return s.Pending() == notes })
	select {
	case err := <-asked:
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("a question: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a question is not answered")
	}
	note(notes)
	closed := make(chan bool)
	go func() {
		s.Close()
		close(closed)
	}()
	eventually(t, "it is closed", func() bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
	proxy.Mend()
	s = openIn(t, dir, database)
	eventually(t, "all of it is played", func() bool { return s.Pending() == 0 })
	var n int
	if err := s.reader.QueryRowContext(t.Context(), `SELECT count(*) FROM forwarded`).Scan(&n); err != nil || n != 2*notes {
		t.Errorf("%d notes, want %d; %v", n, 2*notes, err)
	}
}
