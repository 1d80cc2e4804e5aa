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

// One node is the leader. When it is gone, another one is. So too when it is only asleep;
// and what it does after it wakes up is refused.
func TestOneLeader(t *testing.T) { storetest.OnlyPostgres(t, testOneLeader) }

func testOneLeader(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if cluster.LeaseTime+cluster.HeartbeatEvery > 10*time.Second {
		t.Error("a takeover may take longer than 10 s")
	}
	list := storetest.OpenNodes(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex // guards running
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
	leader := func() (found *store.Store) {
		storetest.Eventually(t, "one node is the leader", func() bool {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for s, r := range running {
				if n += r; r > 0 {
					found = s
				}
			}
			return n == 1 && found.Cluster.IsLeader()
		})
		return found
	}
	first := leader()
	term := first.Cluster.Term()
	first.Close()
	second := leader()
	if second == first || second.Cluster.Term() != term+1 {
		t.Errorf("the same node is the leader, or term %d follows %d", second.Cluster.Term(), term)
	}
	storetest.LogN(t, second, 3)
	r := storetest.WriteReport(t, second, 3, func(c *report.CutOptions) { c.Remotes = map[string]string{"there": report.Consolidated} })
	// As if it had slept: another node has become the leader, and it does not know.
	storetest.Script(t, second, fmt.Sprintf(`UPDATE lead SET node = 'another', term = term + 1, until = %s + %d`, sqldb.ServerTime, cluster.LeaseTime.Microseconds()))
	d := report.Delivery{Report: r.No, Stream: report.Consolidated, Remote: "there", State: report.StateConfirmed, At: storetest.T0}
	if err := second.Reports.SetDelivery(t.Context(), d); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("a delivery by a node that is not the leader: %v", err)
	}
	if h, err := second.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(1000 * time.Hour), LogBefore: storetest.T0}); !errors.Is(err, cluster.ErrNotLeader) || h != (store.Housekeeping{}) {
		t.Errorf("housekeeping by a node that is not the leader: %+v %v", h, err)
	}
	if left, err := second.Reports.Undelivered(t.Context(), "there", report.Consolidated, 0, 10); err != nil || len(left) != 1 || left[0].State != report.StateWritten {
		t.Errorf("the delivery changed: %+v %v", left, err)
	}
	storetest.Eventually(t, "it knows that it is not the leader", func() bool { return !second.Cluster.IsLeader() })
	cancel()
	wg.Wait()
}

// A node that has ended its work as the leader releases the lease, while it finishes other
// work.
func TestLeaseReleased(t *testing.T) { storetest.OnlyPostgres(t, testLeaseReleased) }

func testLeaseReleased(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { list[0].Cluster.WhileLeader(ctx, func(ctx context.Context) { <-ctx.Done() }) })
	}
	storetest.Eventually(t, "it is the leader", list[0].Cluster.IsLeader)
	cancel()
	wg.Wait()
	storetest.MakeLeader(t, list[1])
	if list[0].Cluster.IsLeader() {
		t.Error("both are leaders")
	}
}

// A lease that was given by the clock of another server, ahead of this one's, counts as
// over if it is longer than any that this server gives.
func TestLeaseOfAnotherClock(t *testing.T) { storetest.OnlyPostgres(t, testLeaseOfAnotherClock) }

func testLeaseOfAnotherClock(t *testing.T) {
	s := storetest.OpenNodes(t, 1)[0]
	storetest.Script(t, s, fmt.Sprintf(`UPDATE lead SET node = 'another', term = 7, until = %s + %d`, sqldb.ServerTime, time.Hour.Microseconds()))
	if storetest.MakeLeader(t, s).Cluster.Term() != 8 {
		t.Errorf("term %d, want 8", s.Cluster.Term())
	}
}

// Nodes say when their settings differ, and when they no longer do.
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
		storetest.Eventually(t, "the difference is gone", func() bool { return len(s.Cluster.Differences()) == 0 })
	}
	b.Cluster.SetSettings(map[string]string{"window": "15m"})
	b.Close()
	storetest.Eventually(t, "a node that is gone is not compared", func() bool { return len(a.Cluster.Nodes()) == 1 && len(a.Cluster.Differences()) == 0 })
}

// The database server's clock was ahead for a moment, and a node ended then. When the clock is
// right again, that node counts as gone.
func TestNodeOfAnotherClock(t *testing.T) { storetest.OnlyPostgres(t, testNodeOfAnotherClock) }

func testNodeOfAnotherClock(t *testing.T) {
	t.Parallel() // it waits more than it computes
	s := storetest.OpenNodes(t, 1)[0]
	storetest.Script(t, s, fmt.Sprintf(`INSERT INTO node (id, name, version, seen_at, settings) VALUES ('gone', 'gone', '1', %s + 3600000000, '{"window":"15m"}')`, sqldb.ServerTime))
	s.Cluster.SetSettings(map[string]string{"window": "30m"})
	storetest.Eventually(t, "only this node is there", func() bool { n := s.Cluster.Nodes(); return len(n) == 1 && n[0].Here })
}

// A node whose clock is wrong uses the database's.
func TestClock(t *testing.T) { storetest.OnlyPostgres(t, testClock) }

func testClock(t *testing.T) {
	for _, ahead := range []time.Duration{-time.Hour, time.Hour, time.Second} {
		n := newNode(t, cluster.Options{Now: func() time.Time { return time.Now().Add(ahead) }})
		n.SetClockTolerance(time.Minute)
		if err := n.ReadClock(t.Context()); err != nil {
			t.Fatal(err)
		}
		off, wrong := n.ClockOffset()
		if (off-ahead).Abs() > 30*time.Second || wrong != (ahead.Abs() > time.Minute) {
			t.Errorf("%v ahead: %v %v", ahead, off, wrong)
		}
		if time.Since(n.Now()).Abs() > 30*time.Second {
			t.Errorf("%v ahead: the node says %v, the time is %v", ahead, n.Now(), time.Now())
		}
		if !wrong && n.Now().Before(time.Now()) {
			t.Errorf("within the tolerance the node's own clock does not count")
		}
	}
}

// A node whose pruning fails still follows the others, and can be stopped.
func TestPruneFails(t *testing.T) { storetest.OnlyPostgres(t, testPruneFails) }

func testPruneFails(t *testing.T) {
	var pruned, followed atomic.Int64
	n := newNode(t, cluster.Options{
		Follow: func(context.Context) (bool, error) { followed.Add(1); return false, nil },
		Prune:  func(context.Context) (bool, error) { pruned.Add(1); return true, errors.New("it fails") },
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		n.FollowAndPrune(ctx, 0)
		close(ended)
	}()
	storetest.Eventually(t, "it still follows", func() bool { return pruned.Load() > 1 && followed.Load() > 1 })
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not stop")
	}
}

// A leader that is closed, or does not want to be the leader any more, releases the lease at
// once: no other node has to wait until the lease ends, or for the next heartbeat.
func TestLeaseReleasedAtOnce(t *testing.T) { storetest.OnlyPostgres(t, testLeaseReleasedAtOnce) }

func testLeaseReleasedAtOnce(t *testing.T) {
	t.Parallel() // it waits more than it computes
	list := storetest.OpenNodes(t, 2)
	held := func() bool {
		t.Helper()
		var until int64
		if err := list[1].DB.QueryRow(t.Context(), `SELECT until FROM lead WHERE what = 'reports'`).Scan(&until); err != nil {
			t.Fatal(err)
		}
		return until != 0
	}
	leads := func(ctx context.Context) (ended chan struct{}) {
		t.Helper()
		ended = make(chan struct{})
		go func() {
			defer close(ended)
			list[0].Cluster.WhileLeader(ctx, func(ctx context.Context) { <-ctx.Done() })
		}()
		storetest.Eventually(t, "it is the leader", func() bool { return list[0].Cluster.IsLeader() && held() }) // it may not know yet that it has released the last lease
		return ended
	}
	const times = 8
	var took time.Duration
	for range times {
		ctx, cancel := context.WithCancel(t.Context())
		ended := leads(ctx)
		cancel()
		<-ended
		began := time.Now()
		storetest.Eventually(t, "the lease is released", func() bool { return !held() })
		took += time.Since(began)
	}
	if took > times*cluster.HeartbeatEvery/4 {
		t.Errorf("the lease was released %v after its leader did not want it any more, on average", took/times)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := leads(ctx)
	list[0].Close()
	if held() {
		t.Error("a node that is closed keeps the lease")
	}
	cancel()
	<-ended
}
