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

// The primary's PostgreSQL is killed, then the machine of the standby that
// commits wait for, then the primary's, and come back, all in the middle of
// traffic and behind PgBouncer: what was acknowledged holds on the next primary,
// and what was not goes forward or to the journal.
func TestClusterFailsOver(t *testing.T) {
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
			c.Await("there is one to kill", func() bool { n = name(); return n != "" })
			c.KillMachine(n)
			return n
		}
	}
	for _, f := range []struct {
		what string
		kill func() string
		mend func(name string)
	}{
		{"the primary's PostgreSQL", c.KillLeader, func(string) {}}, // its Patroni starts it
		{"the synchronous standby's machine", machine(c.Standby), c.Revive},
		{"the primary's machine", machine(c.Leader), c.Revive},
	} {
		begin := time.Now()
		killed := f.kill()
		c.Await("there is a primary", func() bool { return c.Leader() != "" })
		primary := time.Now()
		c.Await("decisions", func() bool { return tr.lastly().After(primary) })
		t.Logf("%s, %s, is killed: primary %s after %.1f s, no decision for %.1f s",
			f.what, killed, c.Leader(), primary.Sub(begin).Seconds(), tr.longest().Seconds())
		mended := time.Now()
		f.mend(killed)
		c.Await("all members follow the primary", c.Whole)
		whole := time.Now()
		c.Await("decisions", func() bool { return tr.lastly().After(whole) })
		t.Logf("whole again after %.1f s, no decision for up to %.1f s meanwhile", whole.Sub(mended).Seconds(), tr.longest().Seconds())
	}
	tr.end()
	storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 })
	if _, err := os.Stat(filepath.Join(dir, "pending.refused")); err == nil {
		t.Error("a record of the journal was set aside")
	}
	tr.check(t, s)
}

// traffic is what senders sent and were told.
type traffic struct {
	stop context.CancelFunc
	wait sync.WaitGroup

	mu      sync.Mutex // guards what follows
	hubs    []int      // have a window that was acknowledged
	told    map[string]outage.Outcome
	alerts  map[string]outage.Alert
	undone  []string // alerts that got no decision
	last    time.Time
	silence time.Duration // the longest without a decision
}

// startTraffic has windows recorded and alerts decided, one after the other by
// each of several senders, until end.
func startTraffic(t *testing.T, s *store.Store) *traffic {
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{stop: cancel, told: map[string]outage.Outcome{}, alerts: map[string]outage.Alert{}, last: time.Now()}
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

// send sends the nth message; whoever sends it gives up after a while, as a
// proxy does.
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
		tr.told[a.ID] = outage.Forwarded
		tr.undone = append(tr.undone, a.ID)
		return
	}
	tr.told[a.ID] = d.Outcome
	tr.silence = max(tr.silence, time.Since(tr.last))
	tr.last = time.Now()
}

// lastly is when there was a decision last.
func (tr *traffic) lastly() time.Time {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.last
}

func (tr *traffic) sent() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.told)
}

// longest is the longest time without a decision since it was asked before.
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

// check holds what the store has against what senders were told.
func (tr *traffic) check(t *testing.T, s *store.Store) {
	logged := map[string]outage.Outcome{}
	for i, e := range storetest.Entries(t, s) {
		if e.Seq != int64(i+1) {
			t.Fatalf("entry %d is number %d", i+1, e.Seq)
		}
		logged[e.AlertID] = e.Outcome
	}
	count := map[outage.Outcome]int{}
	for id, outcome := range tr.told {
		count[outcome]++
		if (outcome == outage.Suppressed) != (logged[id] == outage.Suppressed) {
			t.Errorf("alert %s: told %s, logged %q", id, outcome, logged[id])
		}
	}
	for id := range logged {
		if _, ok := tr.told[id]; !ok {
			t.Errorf("alert %s is logged, and was never sent", id)
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
	t.Logf("told: %v, of them without a decision %d; %d windows", count, len(tr.undone), len(tr.hubs))
	if count[outage.Suppressed] < 1000 || len(tr.undone) < 20 || len(tr.hubs) < 50 {
		t.Error("that is too little to tell")
	}
}
