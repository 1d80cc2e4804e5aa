package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// The primary's PostgreSQL is killed, then the machine of the synchronous standby, then the
// primary's machine. Each comes back. All this happens during traffic and behind PgBouncer. What
// was acknowledged is on the next primary. What was not went forward, or to the journal.
func TestClusterFailsOver(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	start := time.Now()
	c := storetest.StartCluster(t)
	t.Logf("the cluster runs after %.1f s", time.Since(start).Seconds())
	dir := t.TempDir()
	s := storetest.Open(t, dir, func(o *store.Options) { o.Database = c.URL("postgres") })
	tr := startTraffic(t, s)
	c.Await("there is traffic", func() bool { return tr.sent() > 500 })
	machine := func(name func() string) func() string {
		return func() (n string) {
			c.Await("there is a machine to kill", func() bool { n = name(); return n != "" })
			c.KillMachine(n)
			return n
		}
	}
	for _, f := range []struct {
		what   string
		kill   func() string
		repair func(name string)
	}{
		{"the primary's PostgreSQL", c.KillLeader, func(string) {}}, // its Patroni starts it
		{"the synchronous standby's machine", machine(c.Standby), c.StartMember},
		{"the primary's machine", machine(c.Leader), c.StartMember},
	} {
		begin := time.Now()
		killed := f.kill()
		c.Await("there is a primary", func() bool { return c.Leader() != "" })
		primary := time.Now()
		c.Await("decisions", func() bool { return tr.lastDecision().After(primary) })
		t.Logf("%s, %s, is killed: primary %s after %.1f s, no decision for %.1f s",
			f.what, killed, c.Leader(), primary.Sub(begin).Seconds(), tr.longest().Seconds())
		repaired := time.Now()
		f.repair(killed)
		c.Await("all members follow the primary", c.Whole)
		whole := time.Now()
		c.Await("decisions", func() bool { return tr.lastDecision().After(whole) })
		t.Logf("whole again after %.1f s, no decision for up to %.1f s meanwhile", whole.Sub(repaired).Seconds(), tr.longest().Seconds())
	}
	tr.end()
	storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 })
	if _, err := os.Stat(filepath.Join(dir, "pending.refused")); err == nil {
		t.Error("a record of the journal was set aside")
	}
	tr.check(t, s)
}

// traffic is what senders sent, and the outcomes that they got.
type traffic struct {
	stop context.CancelFunc
	wait sync.WaitGroup

	mu      sync.Mutex                // guards the next fields
	hubs    []int                     // hubs with a window that was acknowledged
	got     map[string]outage.Outcome // by the alert's id
	alerts  map[string]outage.Alert
	undone  []string      // alerts that got no decision
	last    time.Time     // of the last decision
	silence time.Duration // the longest time without a decision
}

// startTraffic starts several senders. Each records windows and decides alerts, one after the
// other, until end is called.
func startTraffic(t *testing.T, s *store.Store) *traffic {
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{stop: cancel, got: map[string]outage.Outcome{}, alerts: map[string]outage.Alert{}, last: time.Now()}
	t.Cleanup(tr.end)
	const senders = 4
	for w := range senders {
		tr.wait.Go(func() {
			for n := w; ctx.Err() == nil; n += senders {
				tr.send(t, s, n)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	return tr
}

// noWindow is added to the number of a hub that never has a window.
const noWindow = 1_000_000

// send sends the nth message, and gives up after 200 ms, as a proxy does.
func (tr *traffic) send(t *testing.T, s *store.Store, n int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 200*time.Millisecond)
	defer cancel()
	if n%50 < 4 {
		s.Ledger.Record(ctx, storetest.OnDemand(n, 1, storetest.T0))
		tr.mu.Lock()
		tr.hubs = append(tr.hubs, n)
		tr.mu.Unlock()
		return
	}
	tr.mu.Lock()
	to := noWindow + n
	if n%10 > 0 && len(tr.hubs) > 0 {
		to = tr.hubs[n*31%len(tr.hubs)]
	}
	tr.mu.Unlock()
	a := storetest.AD1(to, fmt.Sprint(n), storetest.T0)
	d, err := s.Ledger.Decide(ctx, a, outage.Suppressed, 0)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.alerts[a.ID] = a
	if err != nil {
		tr.got[a.ID] = outage.Forwarded
		tr.undone = append(tr.undone, a.ID)
		return
	}
	tr.got[a.ID] = d.Outcome
	tr.silence = max(tr.silence, time.Since(tr.last))
	tr.last = time.Now()
}

// lastDecision returns the time of the last decision.
func (tr *traffic) lastDecision() time.Time {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.last
}

func (tr *traffic) sent() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.got)
}

// longest returns the longest time without a decision since it was last called.
func (tr *traffic) longest() (d time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	d, tr.silence = tr.silence, 0
	return d
}

func (tr *traffic) end() {
	tr.stop()
	tr.wait.Wait()
}

// check compares the log with the outcomes that senders got.
func (tr *traffic) check(t *testing.T, s *store.Store) {
	logged := map[string]outage.Outcome{}
	for i, e := range storetest.Entries(t, s) {
		if e.Seq != int64(i+1) {
			t.Fatalf("entry %d has number %d", i+1, e.Seq)
		}
		logged[e.AlertID] = e.Outcome
	}
	count := map[outage.Outcome]int{}
	for id, outcome := range tr.got {
		count[outcome]++
		if (outcome == outage.Suppressed) != (logged[id] == outage.Suppressed) {
			t.Errorf("alert %s: the sender got %s, logged is %q", id, outcome, logged[id])
		}
	}
	for id := range logged {
		if _, ok := tr.got[id]; !ok {
			t.Errorf("alert %s is logged, but was never sent", id)
		}
	}
	for _, n := range tr.hubs {
		if d := storetest.Decide(t, s, storetest.AD1(n, fmt.Sprint("after ", n), storetest.T0)); d.Outcome != outage.Suppressed {
			t.Errorf("the window of hub %d: %+v", n, d)
		}
	}
	for _, id := range tr.undone[:min(500, len(tr.undone))] {
		if d := storetest.Decide(t, s, tr.alerts[id]); d.Outcome != outage.Forwarded || !d.Retry {
			t.Errorf("the retry of an alert that went forward without a decision: %+v", d)
		}
	}
	t.Logf("outcomes: %v, of these %d without a decision; %d windows", count, len(tr.undone), len(tr.hubs))
	if count[outage.Suppressed] < 1000 || len(tr.undone) < 20 || len(tr.hubs) < 50 {
		t.Error("there was too little traffic for a result")
	}
}
