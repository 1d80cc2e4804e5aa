package store_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// The server fails and comes back during traffic. What it does not take goes forward or to the
// journal. Nothing is lost, and no alert is both logged as suppressed and forwarded.
func TestDatabaseRestarts(t *testing.T) {
	server := storetest.Start(t)
	dir := t.TempDir()
	s := storetest.Open(t, dir, func(o *store.Options) { o.Database = server.URL("postgres") })
	const hubs = 20
	for n := range hubs {
		s.Ledger.Record(t.Context(), storetest.OnDemand(n, 1, storetest.T0))
	}
	got := map[string]outage.Outcome{}
	for n := range 600 {
		switch n {
		case 200:
			server.Kill()
		case 400:
			server.Restart()
			storetest.Eventually(t, "the store answers again", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				return s.DB.Ping(ctx) == nil
			})
		}
		if n == 300 { // goes into the journal while the server is away
			s.Ledger.Record(storetest.Short(t), storetest.OnDemand(hubs, 1, storetest.T0))
		}
		id := fmt.Sprint(n)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if n < 200 || n >= 400 {
			ctx = t.Context()
		}
		got[id] = outage.Forwarded
		if d, err := s.Ledger.Decide(ctx, storetest.AD1(n%hubs, id, storetest.T0), outage.Suppressed, 0); err == nil {
			got[id] = d.Outcome
		}
		cancel()
	}
	if d := storetest.Decide(t, s, storetest.AD1(hubs, "remembered", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Errorf("the window of an 11.3 that came while the server was away: %+v", d)
	}
	storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 })
	logged := map[string]outage.Outcome{}
	for i, e := range storetest.Entries(t, s) {
		if e.Seq != int64(i+1) {
			t.Errorf("entry %d has number %d", i+1, e.Seq)
		}
		logged[e.AlertID] = e.Outcome
	}
	count := map[outage.Outcome]int{}
	for id, outcome := range got {
		count[outcome]++
		if (outcome == outage.Suppressed) != (logged[id] == outage.Suppressed) {
			t.Errorf("alert %s: the sender got %s, logged is %q", id, outcome, logged[id])
		}
	}
	if count[outage.Suppressed] < 400 || count[outage.Forwarded] < 100 {
		t.Errorf("outcomes: %v", count)
	}
}

// However long the database is away, the journal is on disk and not in memory. It is played when
// the database is back.
func TestLongOutage(t *testing.T) {
	proxy := remotetest.NewProxy(t, storetest.Start(t).Socket())
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = storetest.Through(proxy) })
	const some, many, hubs = 5_000, 60_000, 100
	for n := range hubs {
		s.Ledger.Record(t.Context(), storetest.OnDemand(n, 1, storetest.T0))
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
		s.Ledger.NoteForwarded(storetest.Noted(n%hubs, id(n), storetest.T0, outage.ReasonStoreUnavailable))
		if (n+1)%some == 0 {
			storetest.Eventually(t, "all notes are in the journal", func() bool { return s.Ledger.Pending() >= n+1 })
			if n+1 == some {
				after = heap()
			}
		}
	}
	if r := s.Ledger.Record(storetest.Short(t), storetest.OnDemand(hubs, 1, storetest.T0)); !r.Remembered {
		t.Errorf("an 11.3 while the database is away: %+v", r)
	}
	// Less than the ids alone of the notes since then.
	if grown := int64(heap()) - int64(after); grown > (many-some)*100/4 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	proxy.Repair()
	storetest.Eventually(t, "all of it is played", func() bool { return s.Ledger.Pending() == 0 })
	for n := 0; n < many; n += many / 50 {
		if d := storetest.Decide(t, s, storetest.AD1(n%hubs, id(n), storetest.T0)); d.Outcome != outage.Forwarded || !d.Retry {
			t.Fatalf("the retry of alert %d: %+v", n, d)
		}
	}
	if d := storetest.Decide(t, s, storetest.AD1(hubs, "new", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Errorf("the window of an 11.3 that came meanwhile: %+v", d)
	}
}

// A database that hangs, rather than refuses, takes seconds to fail. All that comes meanwhile goes
// into the journal, each time, and also when the store is closed.
func TestHangingDatabase(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	proxy := remotetest.NewProxy(t, storetest.Start(t).Socket())
	dir, database := t.TempDir(), func(o *store.Options) { o.Database = storetest.Through(proxy) }
	s := storetest.Open(t, dir, database)
	const notes = 20_000
	note := func(from int) {
		for n := range notes {
			s.Ledger.NoteForwarded(storetest.Noted(n, fmt.Sprint(from+n), storetest.T0, outage.ReasonNoWindow))
		}
	}
	proxy.BreakAfter(0, true)
	note(0)
	asked := make(chan error, 1)
	go func() {
		_, err := s.Devices.LastImport(t.Context(), "devices")
		asked <- err
	}()
	storetest.Eventually(t, "all notes are in the journal", func() bool { return s.Ledger.Pending() == notes })
	select {
	case err := <-asked:
		if !errors.Is(err, sqldb.ErrUnavailable) {
			t.Errorf("a query: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a query does not end")
	}
	note(notes)
	closed := make(chan bool)
	go func() {
		s.Close()
		close(closed)
	}()
	storetest.Eventually(t, "the store is closed", func() bool {
		select {
		case <-closed:
			return true
		default:
			return false
		}
	})
	proxy.Repair()
	s = storetest.Open(t, dir, database)
	storetest.Eventually(t, "all of it is played", func() bool { return s.Ledger.Pending() == 0 })
	var n int
	if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM forwarded`).Scan(&n); err != nil || n != 2*notes {
		t.Errorf("%d notes, want %d; %v", n, 2*notes, err)
	}
}
