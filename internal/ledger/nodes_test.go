package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// What one node records, the others know.
func TestNodesFollowEachOther(t *testing.T) { storetest.OnlyPostgres(t, testNodesFollowEachOther) }

func testNodesFollowEachOther(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	a, b := list[0], list[1]
	a.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	storetest.Eventually(t, "the other node knows the window", func() bool { return b.Ledger.MayHaveWindow(storetest.Hub(1)) })
	if d := storetest.Decide(t, b, storetest.AD1(1, "x", storetest.T0)); d.Outcome != outage.Suppressed || d.Entry.Seq != 1 {
		t.Errorf("%+v", d)
	}
	if d := storetest.Decide(t, a, storetest.AD1(1, "x", storetest.T0)); d.Outcome != outage.Suppressed || !d.Retry || d.Entry.Seq != 1 {
		t.Errorf("the same alert to the other node: %+v", d)
	}
	if _, err := a.Ledger.SetSwitch(t.Context(), outage.SwitchOff, "alice", "a reason", storetest.T0); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the other node knows the switch", func() bool { return b.Ledger.Switch() == outage.SwitchOff })
	// A node that does not know the hub corrects the entry all the same.
	b.Ledger.RemoveHub(storetest.Hub(1))
	b.Ledger.NoteForwarded(storetest.Noted(1, "x", storetest.T0, outage.ReasonNoWindow))
	if err := b.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := storetest.Outcomes(t, a); got["x"] != outage.Forwarded {
		t.Errorf("outcomes %v", got)
	}
}

// A node that cannot read requests logs that once. It still learns of the switch with its
// heartbeat.
func TestFollowingFails(t *testing.T) { storetest.OnlyPostgres(t, testFollowingFails) }

func testFollowingFails(t *testing.T) {
	t.Parallel() // it waits more than it computes
	var log storetest.Buffer
	database := storetest.Database(t, t.TempDir())
	a := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = database })
	b := storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.Database, o.Log = database, slog.New(slog.NewTextHandler(&log, nil))
	})
	b.Cluster.SetSettings(map[string]string{"window": "30m"})
	storetest.Eventually(t, "it sends heartbeats", func() bool { return len(b.Cluster.Nodes()) == 1 })
	storetest.Script(t, a, `ALTER TABLE activation RENAME TO elsewhere`)
	if _, err := a.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "alice", "a reason", storetest.T0); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "it knows the switch", func() bool { return b.Ledger.Switch() == outage.SwitchShadow })
	time.Sleep(500 * time.Millisecond) // it tries to follow twice
	if n := strings.Count(log.String(), "cannot be followed"); n != 1 {
		t.Errorf("it logs %d times that it cannot follow", n)
	}
}

// If the database sends no notification, as behind a pooler, nodes find changes by polling.
func TestNodesFollowByPolling(t *testing.T) { storetest.OnlyPostgres(t, testNodesFollowByPolling) }

func testNodesFollowByPolling(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	storetest.Script(t, list[0], fmt.Sprintf(`INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
		VALUES ('x', '', '', 0, '', 0, %d, 0, 0, 0, '', 0); INSERT INTO setting (name, value) VALUES ('switch', 'shadow')`, int64(storetest.Hub(1))))
	for _, s := range list {
		storetest.Eventually(t, "the node knows the window and the switch", func() bool {
			return s.Ledger.MayHaveWindow(storetest.Hub(1)) && s.Ledger.Switch() == outage.SwitchShadow
		})
	}
}

// A change of the switch that the database refuses is not tried again and again.
func TestRefusedSwitch(t *testing.T) { storetest.OnlyPostgres(t, testRefusedSwitch) }

func testRefusedSwitch(t *testing.T) {
	var failed atomic.Int32
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.OnCommit = func(_ time.Duration, err error) {
			if err != nil {
				failed.Add(1)
			}
		}
	})
	storetest.Script(t, s, `ALTER TABLE event ADD CHECK (why <> 'poison')`)
	if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchOff, "alice", "poison", storetest.T0); !errors.Is(err, sqldb.ErrUnavailable) || s.Ledger.Switch() != "" || failed.Load() > 2 {
		t.Errorf("%v, the switch is %q, %d transactions failed", err, s.Ledger.Switch(), failed.Load())
	}
}

// A node that has changed the switch does not go back to a value that it read before.
func TestSwitchStays(t *testing.T) { storetest.OnlyPostgres(t, testSwitchStays) }

func testSwitchStays(t *testing.T) {
	var log storetest.Buffer
	database := storetest.Database(t, t.TempDir())
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database, o.Log = database, slog.New(slog.NewTextHandler(&log, nil)) })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.Ledger.FollowFrom(ctx, &ledger.Followed{})
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	for n := range 200 {
		to := []outage.Switch{outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff}[n%3]
		if _, err := s.Ledger.SetSwitch(t.Context(), to, "alice", "a reason", storetest.T0.Add(time.Duration(n)*time.Second)); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < 3*time.Millisecond; {
			if got := s.Ledger.Switch(); got != to {
				t.Fatalf("change %d: the switch was set to %s, and is %s", n, to, got)
			}
		}
	}
	if text := log.String(); strings.Contains(text, "changed on another node") {
		t.Errorf("it takes its own changes for another node's:\n%.200s", text)
	}
}

// Whatever the database's default isolation is, a decision that had to wait sees what was
// committed meanwhile.
func TestIsolation(t *testing.T) { storetest.OnlyPostgres(t, testIsolation) }

func testIsolation(t *testing.T) {
	dir := t.TempDir()
	db := storetest.Outside(t, dir)
	var name string
	if err := db.QueryRow(`SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`ALTER DATABASE ` + name + ` SET default_transaction_isolation = 'repeatable read'`); err != nil {
		t.Fatal(err)
	}
	s := storetest.Open(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, storetest.WriterLock)); err != nil {
		t.Fatal(err)
	}
	decided := make(chan ledger.Decision, 1)
	go func() {
		d, err := s.Ledger.Decide(t.Context(), storetest.AD1(1, "x", storetest.T0), outage.Suppressed, 0)
		if err != nil {
			t.Error(err)
		}
		decided <- d
	}()
	storetest.Eventually(t, "the decision waits", func() (waits bool) {
		tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
			WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = $1)`, name).Scan(&waits)
		return waits
	})
	if _, err := tx.Exec(`UPDATE activation SET state = 'withdrawn', standing = 0`); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if d := <-decided; d.Outcome != outage.Forwarded {
		t.Errorf("the window was withdrawn, and the alert is %s", d.Outcome)
	}
}

// The statements that decide have plans for tables of any size. They find rows by an index, even
// if the tables are small, or were small when the planner's statistics were made.
func TestPlan(t *testing.T) { storetest.OnlyPostgres(t, testPlan) }

func testPlan(t *testing.T) {
	s := storetest.OpenNodes(t, 1)[0]
	for _, x := range []struct {
		query string
		args  []any
		index string
	}{
		{ledger.DecideSQL, []any{`[["x","AD1",1,"",0,"",0,0,null,null,"suppressed",0]]`}, "activation_open"},
		{ledger.RepeatedSQL, nil, "suppression_meter"},
		{ledger.AddSQL, []any{`[["x",0,1,0]]`, "suppressed"}, "suppression_chf"},
		{ledger.CorrectSQL, []any{`[["x",0,1,0]]`, "suppressed", "forwarded"}, "suppression_chf"},
		{windows.KnownSQL, []any{`[[1]]`}, "suppression_chf"},
	} {
		plan, err := "", error(nil)
		if e := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
			var lines []string
			lines, err = sqldb.Texts(tx.Query(ctx, `EXPLAIN `+x.query, x.args...))
			plan = strings.Join(lines, "\n")
			return nil
		}); e != nil || err != nil {
			t.Fatal(e, err)
		}
		if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Hash Join") || strings.Contains(plan, "Merge") || !strings.Contains(plan, "using "+x.index) {
			t.Errorf("the plan:\n%s", plan)
		}
	}
}

// Several nodes decide at once. Numbers have no gap, and an alert that comes to two of them has
// one entry and one decision.
func TestNodesDecideAtOnce(t *testing.T) { storetest.OnlyPostgres(t, testNodesDecideAtOnce) }

func testNodesDecideAtOnce(t *testing.T) {
	list := storetest.OpenNodes(t, 3)
	const hubs, alerts = 10, 300
	for n := range hubs {
		list[n%3].Ledger.Record(t.Context(), storetest.OnDemand(n, 1, storetest.T0))
	}
	for _, s := range list {
		storetest.Eventually(t, "all windows are known", func() bool { return s.Ledger.Hubs() == hubs })
	}
	var mu sync.Mutex // guards got
	got := map[string][]ledger.Decision{}
	var wg sync.WaitGroup
	for i, s := range list {
		for w := range 4 {
			wg.Go(func() {
				for n := w; n < alerts; n += 4 {
					id := fmt.Sprint((n + 100*i) % alerts)
					d, err := s.Ledger.Decide(t.Context(), storetest.AD1(n%hubs, id, storetest.T0.Add(time.Second)), outage.Suppressed, 0)
					if err != nil {
						t.Errorf("%s: %v", id, err)
						return
					}
					mu.Lock()
					got[id] = append(got[id], d)
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	fresh := 0
	for id, ds := range got {
		for _, d := range ds {
			if d.Decision != ds[0].Decision || d.Entry.Seq != ds[0].Entry.Seq {
				t.Errorf("alert %s: %+v", id, ds)
			}
			if !d.Retry {
				fresh++
			}
		}
	}
	entries := storetest.Entries(t, list[0])
	for i, e := range entries {
		if e.Seq != int64(i+1) {
			t.Errorf("entry %d has number %d", i+1, e.Seq)
		}
	}
	if len(entries) != alerts || fresh != alerts {
		t.Errorf("%d entries, %d decided for the first time, want %d", len(entries), fresh, alerts)
	}
}

// If an import moves a window to another hub, other nodes know it there too.
func TestNodesFollowMoves(t *testing.T) { storetest.OnlyPostgres(t, testNodesFollowMoves) }

func testNodesFollowMoves(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	list[0].Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	storetest.Eventually(t, "the window is known", func() bool { return list[1].Ledger.MayHaveWindow(storetest.Hub(1)) })
	if err := storetest.ImportInventory(t.Context(), list[0], "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"+
		storetest.Meter(1).String()+",ESME,SMETS2,Landis+Gyr,E470,"+storetest.Hub(7).String()+",\n"); err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		storetest.Eventually(t, "the new hub is known", func() bool { return s.Ledger.MayHaveWindow(storetest.Hub(7)) })
	}
	for i, s := range list {
		if d := storetest.Decide(t, s, storetest.AD1(7, fmt.Sprint("new ", i), storetest.T0)); d.Outcome != outage.Suppressed {
			t.Errorf("node %d: %+v", i, d)
		}
		if d := storetest.Decide(t, s, storetest.AD1(1, fmt.Sprint("old ", i), storetest.T0)); d.Outcome != outage.Forwarded {
			t.Errorf("node %d, the old hub: %+v", i, d)
		}
		// Also a request that names the old hub, since its caller read the inventory before.
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, uint64(10+i), storetest.T0.Add(time.Minute)))
	}
	acts, err := list[0].Windows.Activations(t.Context(), windows.Filter{CHF: storetest.Hub(1)}, 10)
	if err != nil || len(acts) != 0 {
		t.Errorf("windows on the old hub: %+v %v", acts, err)
	}
}

// A node forgets a hub whose windows were deleted by another node's housekeeping. The
// node that deleted them keeps the hub until it has asked, since another node may have recorded
// a window meanwhile.
func TestPrune(t *testing.T) { storetest.OnlyPostgres(t, testPrune) }

func testPrune(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	a := storetest.MakeLeader(t, list[0])
	a.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	a.Ledger.Record(t.Context(), storetest.OnDemand(2, 2, storetest.T0.Add(time.Hour)))
	for _, s := range list {
		storetest.Eventually(t, "both windows are known", func() bool { return s.Ledger.Hubs() == 2 })
	}
	if h, err := a.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(time.Hour), LogBefore: storetest.T0}); err != nil || h.Activations != 1 {
		t.Fatal(h, err)
	}
	if !a.Ledger.MayHaveWindow(storetest.Hub(1)) {
		t.Error("it was forgotten without a look at the other nodes")
	}
	for _, s := range list {
		storetest.Prune(t, s)
		if s.Ledger.MayHaveWindow(storetest.Hub(1)) || !s.Ledger.MayHaveWindow(storetest.Hub(2)) {
			t.Errorf("may have a window: hub 1 %v, hub 2 %v", s.Ledger.MayHaveWindow(storetest.Hub(1)), s.Ledger.MayHaveWindow(storetest.Hub(2)))
		}
	}
}

// While only the journal of a node holds a window, its hub is not forgotten.
func TestPruneWaitsForTheJournal(t *testing.T) {
	storetest.OnlyPostgres(t, testPruneWaitsForTheJournal)
}

func testPruneWaitsForTheJournal(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	release := storetest.HoldWriteLock(t, dir)
	if r := s.Ledger.Record(storetest.Short(t), storetest.OnDemand(1, 1, storetest.T0)); !r.Remembered {
		t.Fatal(r)
	}
	if done, err := s.Ledger.Prune(t.Context()); done || err != nil || !s.Ledger.MayHaveWindow(storetest.Hub(1)) {
		t.Errorf("pruned %v, %v; the hub is known: %v", done, err, s.Ledger.MayHaveWindow(storetest.Hub(1)))
	}
	release()
	storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 })
	storetest.Prune(t, s)
	if d := storetest.Decide(t, s, storetest.AD1(1, "a", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Errorf("%+v", d)
	}
}

// A set of hubs that is out of date costs a suppression at worst. A node that does not know a
// window yet forwards the alert. A node whose set still has a hub without a window asks the
// store, and forwards the alert.
func TestStaleHubs(t *testing.T) { storetest.OnlyPostgres(t, testStaleHubs) }

func testStaleHubs(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	a, b := list[0], list[1]
	act := storetest.OnDemand(1, 1, storetest.T0)
	a.Ledger.Record(t.Context(), act)
	storetest.Eventually(t, "the window is known", func() bool { return b.Ledger.MayHaveWindow(storetest.Hub(1)) })
	a.Ledger.RecordAnswer(t.Context(), act, outage.Withdrawn) // b still has the hub in its set
	if d := storetest.Decide(t, b, storetest.AD1(1, "x", storetest.T0)); d.Outcome != outage.Forwarded {
		t.Errorf("withdrawn on another node: %+v", d)
	}
	a.Ledger.Record(t.Context(), storetest.OnDemand(2, 2, storetest.T0))
	if d := storetest.Decide(t, b, storetest.AD1(2, "y", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Errorf("asked before it has followed: %+v", d)
	}
}
