package sqldb_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// A node's machine fails while it sends a statement and holds the writer's lock. The
// server would wait for the rest for hours. The other nodes do not wait so long.
func TestDeadWriter(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	server := storetest.Start(t)
	proxy := remotetest.NewProxy(t, server.Socket())
	dying := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = storetest.Through(proxy) })
	other := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = server.URL("postgres") })
	check := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return other.DB.Ping(ctx) == nil
	}
	storetest.Eventually(t, "the failed node holds the lock", func() bool {
		proxy.Repair() // the last try was between two transactions
		proxy.BreakAfter(64<<10, true)
		for n := range sqldb.MaxBatch {
			dying.Ledger.NoteForwarded(storetest.Noted(n, fmt.Sprintf("%0200d", n), storetest.T0, outage.ReasonStoreUnavailable))
		}
		for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			if !check() {
				return true
			}
		}
		return false
	})
	storetest.Eventually(t, "the other node writes", check)
}

// A node that holds the writer's lock is disconnected. But not one whose commit waits for
// a standby: nobody may see that commit before it is on the standby.
func TestEndHolders(t *testing.T) {
	server := storetest.Start(t)
	dir := t.TempDir()
	s := storetest.Open(t, dir, func(o *store.Options) { o.Database = server.URL("postgres") })
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
	n := uint64(0)
	storetest.Eventually(t, "a commit waits for a standby", func() (waits bool) {
		n++ // the server takes its time over the setting
		s.Ledger.Record(storetest.Short(t), storetest.OnDemand(1, n, storetest.T0))
		admin.QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep')`).Scan(&waits)
		return waits
	})
	if n, err := s.DB.EndHolders(t.Context(), 0); n != 0 || err != nil {
		t.Errorf("a commit waits for a standby: %d were disconnected, %v", n, err)
	}
	set("")
	storetest.Eventually(t, "it is committed", func() bool { return s.Ledger.Pending() == 0 && s.DB.Ping(t.Context()) == nil })
	tx, err := admin.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, storetest.WriterLock)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.DB.EndHolders(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("the holder has just begun: %d were disconnected, %v", n, err)
	}
	if n, err := s.DB.EndHolders(t.Context(), 0); n != 1 || err != nil {
		t.Errorf("%d were disconnected, want 1, %v", n, err)
	}
}

// A host in the address takes connections and says nothing, like one on a failed machine.
// The others are reached in time, also by readers that wait for less time than that takes.
func TestSilentHost(t *testing.T) {
	t.Parallel() // it waits more than it computes
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	server := storetest.Start(t)
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.Database = "postgres:///postgres?sslmode=disable&user=quell&host=127.0.0.1," + server.Dir + "&port=" + silent.Addr().String()[len("127.0.0.1:"):] + "," + server.Port
	})
	storetest.Eventually(t, "the store answers", func() bool { return s.DB.Ping(t.Context()) == nil })
	storetest.Eventually(t, "several read at once", func() bool {
		var wg sync.WaitGroup
		var failed atomic.Bool
		for range 3 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if err := s.DB.ReadNothing(ctx, "SELECT pg_sleep(0.1)"); err != nil {
					failed.Store(true)
				}
			})
		}
		wg.Wait()
		return !failed.Load()
	})
}
