package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/cluster"
	"quell/internal/report"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// One node leads. When it is gone, another does; when it is only asleep, too,
// and what it does when it wakes up is refused.
func TestOneNodeLeads(t *testing.T) { storetest.OnlyPostgres(t, testOneNodeLeads) }

func testOneNodeLeads(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if cluster.LeaseTime+cluster.BeatEvery > 10*time.Second {
		t.Error("a takeover may take longer than 10 s")
	}
	list := storetest.OpenNodes(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex // guards what follows
	running := map[*store.Store]int{}
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(func() {
			s.Cluster.WhileLeader(ctx, func(ctx context.Context) {
				mu.Lock()
				running[s]++
				mu.Unlock()
				<-ctx.Done()
				mu.Lock()
				running[s]--
				mu.Unlock()
			})
		})
	}
	leader := func() (leads *store.Store) {
		storetest.Eventually(t, "one leads", func() bool {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for s, r := range running {
				if n += r; r > 0 {
					leads = s
				}
			}
			return n == 1 && leads.Cluster.IsLeader()
		})
		return leads
	}
	first := leader()
	term := first.Cluster.Term()
	first.Close()
	second := leader()
	if second == first || second.Cluster.Term() != term+1 {
		t.Errorf("term %d follows %d", second.Cluster.Term(), term)
	}
	storetest.LogN(t, second, 3)
	r := storetest.WriteReport(t, second, 3, func(c *report.CutOptions) { c.Remotes = map[string]string{"there": report.Consolidated} })
	// As if it had slept: another has taken the lead, and it does not know.
	storetest.Script(t, second, fmt.Sprintf(`UPDATE lead SET node = 'another', term = term + 1, until = %s + %d`, sqldb.ServerTime, cluster.LeaseTime.Microseconds()))
	d := report.Delivery{Report: r.No, Stream: report.Consolidated, Remote: "there", State: report.StateConfirmed, At: storetest.T0}
	if err := second.Reports.SetDelivery(t.Context(), d); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("a delivery: %v", err)
	}
	if h, err := second.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(1000 * time.Hour), LogBefore: storetest.T0}); !errors.Is(err, cluster.ErrNotLeader) || h != (store.Housekeeping{}) {
		t.Errorf("housekeeping: %+v %v", h, err)
	}
	if left, err := second.Reports.Undelivered(t.Context(), "there", report.Consolidated, 0, 10); err != nil || len(left) != 1 || left[0].State != report.StateWritten {
		t.Errorf("%+v %v", left, err)
	}
	storetest.Eventually(t, "it knows", func() bool { return !second.Cluster.IsLeader() })
	cancel()
	wg.Wait()
}

// A node that has stopped what a leader does gives up the lead, while it finishes
// what else it has.
func TestLeadGivenUp(t *testing.T) { storetest.OnlyPostgres(t, testLeadGivenUp) }

func testLeadGivenUp(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { list[0].Cluster.WhileLeader(ctx, func(ctx context.Context) { <-ctx.Done() }) })
	}
	storetest.Eventually(t, "it leads", list[0].Cluster.IsLeader)
	cancel()
	wg.Wait()
	storetest.Lead(t, list[1])
	if list[0].Cluster.IsLeader() {
		t.Error("both lead")
	}
}

// A lease that the clock of another server gave, ahead of this one's, is over
// when no lease of this one's could be as long.
func TestLeaseOfAnotherClock(t *testing.T) { storetest.OnlyPostgres(t, testLeaseOfAnotherClock) }

func testLeaseOfAnotherClock(t *testing.T) {
	s := storetest.OpenNodes(t, 1)[0]
	storetest.Script(t, s, fmt.Sprintf(`UPDATE lead SET node = 'another', term = 7, until = %s + %d`, sqldb.ServerTime, time.Hour.Microseconds()))
	if storetest.Lead(t, s).Cluster.Term() != 8 {
		t.Errorf("term %d", s.Cluster.Term())
	}
}

// Nodes say when their settings differ, and when they do no more.
func TestNodesCompareSettings(t *testing.T) { storetest.OnlyPostgres(t, testNodesCompareSettings) }

func testNodesCompareSettings(t *testing.T) {
	t.Parallel() // it waits more than it computes
	list := storetest.OpenNodes(t, 2)
	a, b := list[0], list[1]
	a.Cluster.SetSettings(map[string]string{"window": "30m", "track": "all", "old": "x"})
	b.Cluster.SetSettings(map[string]string{"window": "15m", "track": "all", "new": "y"})
	for s, want := range map[*store.Store]string{a: "window is 30m here, and 15m on test", b: "window is 15m here, and 30m on test"} {
		storetest.Eventually(t, "the difference is known", func() bool { return slices.Equal(s.Cluster.Differences(), []string{want}) })
	}
	if n := a.Cluster.Nodes(); len(n) != 2 || n[0].Here == n[1].Here {
		t.Errorf("%+v", n)
	}
	b.Cluster.SetSettings(map[string]string{"window": "30m", "track": "all"})
	for _, s := range list {
		storetest.Eventually(t, "there is no difference", func() bool { return len(s.Cluster.Differences()) == 0 })
	}
	b.Cluster.SetSettings(map[string]string{"window": "15m"})
	b.Close()
	storetest.Eventually(t, "a node that is gone is not compared", func() bool { return len(a.Cluster.Nodes()) == 1 && len(a.Cluster.Differences()) == 0 })
}

// A node whose clock is wrong takes the database's.
func TestClock(t *testing.T) { storetest.OnlyPostgres(t, testClock) }

func testClock(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour, time.Second} {
		n := node(t, cluster.Options{Now: func() time.Time { return time.Now().Add(ahead) }})
		n.SetClockTolerance(time.Minute)
		if err := n.ReadClock(t.Context()); err != nil {
			t.Fatal(err)
		}
		off, wrong := n.ClockOffset()
		if (off-ahead).Abs() > 30*time.Second || wrong != (ahead.Abs() > time.Minute) {
			t.Errorf("%v ahead: %v %v", ahead, off, wrong)
		}
		if time.Since(n.Now()).Abs() > 30*time.Second {
			t.Errorf("%v ahead: the time is %v, and is %v", ahead, time.Now(), n.Now())
		}
		if !wrong && n.Now().Before(time.Now()) {
			t.Errorf("within the tolerance the node's own clock counts")
		}
	}
}

// A node whose forgetting fails goes on following, and can be stopped.
func TestPruneFails(t *testing.T) { storetest.OnlyPostgres(t, testPruneFails) }

func testPruneFails(t *testing.T) {
	var pruned, looked atomic.Int64
	n := node(t, cluster.Options{
		Look:  func(context.Context) (bool, error) { looked.Add(1); return false, nil },
		Prune: func(context.Context) (bool, error) { pruned.Add(1); return true, errors.New("it fails") },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		n.FollowAndPrune(ctx, 0)
		close(ended)
	}()
	storetest.Eventually(t, "it goes on", func() bool { return pruned.Load() > 1 && looked.Load() > 1 })
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}
