package reporter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/cluster"
	"quell/internal/outage"
	"quell/internal/remote"
	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"

	"github.com/prometheus/client_golang/prometheus"
)

// node adds a node to the store of a bench, or to the database of an address: a reporter with
// a data folder of its own.
func node(t testing.TB, database string, s Settings) *bench {
	t.Helper()
	b := &bench{TB: t}
	b.setTime(t0)
	log := slog.New(slog.NewTextHandler(testLog{t}, nil))
	dir := t.TempDir()
	st, err := store.Open(t.Context(), store.Options{Dir: dir, Database: database, Log: log, Node: filepath.Base(dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	b.store = st
	b.Reporter = &Reporter{Register: st.Reports, Ledger: st.Ledger, Cluster: st.Cluster, Ready: st.Ready, Dir: filepath.Join(dir, "reports"), Now: func() time.Time { return *b.now.Load() },
		Log: log, Metrics: NewMetrics(prometheus.NewRegistry())}
	b.Set(s)
	return b
}

// A report that another node cuts by command does not stop the leader: it delivers that report,
// and cuts the next ones.
func TestCutElsewhere(t *testing.T) {
	t.Parallel() // it waits more than it computes
	b, _ := newDeliveries(t, 0)
	other := &Reporter{Register: b.Register, Ledger: b.Ledger, Cluster: b.Cluster, Ready: b.Ready, Dir: filepath.Join(t.TempDir(), "reports"), Now: b.Reporter.Now, Log: b.Reporter.Log,
		Metrics: NewMetrics(prometheus.NewRegistry())}
	other.Set(*b.settings.Load())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Run(ctx)
	}()
	last := func() int64 {
		r, err := b.Register.Last(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r.No
	}
	for n := range int64(2) {
		b.setTime(t0.Add(time.Duration(n+1) * time.Hour))
		storetest.Eventually(t, fmt.Sprintf("the leader cuts report %d", 2*n+1), func() bool { return last() == 2*n+1 })
		// The leader has looked at the log since, and does not know of the next report.
		storetest.Eventually(t, "the leader waits for the next hour", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.next.streams != nil && b.next.last.No == 2*n+1
		})
		if r, err := other.Cut(t.Context()); err != nil || r.No != 2*n+2 {
			t.Errorf("cut by command: report %d, %v", r.No, err)
		}
		storetest.Eventually(t, "it is delivered", func() bool { return b.delivery(2*n+2).State == report.StateConfirmed })
	}
	cancel()
	<-ended
}

// A node that is not the leader any more, and does not know, names no file at a remote, and
// goes on to no other. The next leader delivers each file once.
func TestNotLeaderAnyMore(t *testing.T) {
	server := storetest.Start(t)
	dir := t.TempDir()
	set := Settings{SystemID: "quell", Every: time.Hour, MaxBytes: 10 << 20, Empty: true, AlarmAfter: time.Hour, Keep: 90 * 24 * time.Hour, Window: 30 * time.Minute,
		Remotes: []Remote{{"esi", dir, report.Consolidated}}}
	first, next := node(t, server.URL("postgres"), set), node(t, server.URL("postgres"), set)
	storetest.MakeLeader(t, first.store)
	for range 3 {
		first.cutNow()
	}
	to := set.Remotes[0]
	sending := 0
	first.Reached = func(step string) {
		switch step {
		case remote.Sending.String():
			sending++
		case remote.Sent.String(): // all of it is there, under a temporary name
			storetest.Script(t, first.store, `UPDATE lead SET node = 'another', term = term + 1`)
		}
	}
	if n, err := first.deliverWaiting(t.Context(), to, true); n != 0 || !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("%d delivered, %v", n, err)
	}
	named := func() (names []string) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".part") {
				names = append(names, f.Name())
			}
		}
		return names
	}
	if names := named(); len(names) != 0 || sending != 1 {
		t.Errorf("%d files were sent, and the remote has %q", sending, names)
	}
	storetest.Script(t, first.store, `UPDATE lead SET until = 0`)
	storetest.MakeLeader(t, next.store)
	if n, err := next.deliverWaiting(t.Context(), to, true); n != 3 || err != nil {
		t.Errorf("%d delivered by the next leader, %v", n, err)
	}
	if names := named(); len(names) != 3 {
		t.Errorf("the remote has %q", names)
	}
	if _, err := verifyDir(dir); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 3 {
		t.Errorf("the remote has %v %v", left, err)
	}
}

// TestNodesReport: three nodes log and correct alerts, and cut reports by time and by command.
// Meanwhile leaders lose their lease, also in the middle of a delivery, and reporters are
// stopped and started. In the end the remote has each report once, and the reports have each
// entry once, with its true outcome.
func TestNodesReport(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	server := storetest.Start(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := &history{rnd: rand.New(rand.NewPCG(seed, 14)), remote: t.TempDir(), truth: map[string]outage.Outcome{}}
	var nodes []*bench
	stop := []func(){} // of the reporter of each node; returns when it has ended
	for range 3 {
		nodes = append(nodes, node(t, server.URL("postgres"), Settings{SystemID: "quell", Every: time.Hour, MaxBytes: 10 << 20, Empty: true, AlarmAfter: time.Hour,
			Keep: 90 * 24 * time.Hour, Window: 30 * time.Minute, Remotes: []Remote{{"esi", h.remote, report.Consolidated}}}))
		stop = append(stop, func() {})
	}
	run := func(i int) {
		stop[i]()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			nodes[i].Run(ctx)
		}()
		stop[i] = func() {
			cancel()
			<-ended
		}
	}
	defer func() {
		for _, f := range stop {
			f()
		}
	}()
	h.bench = nodes[0]
	h.setSwitch(outage.SwitchOn, "quell", "first")
	depose := func() {
		storetest.Script(t, nodes[0].store, `UPDATE lead SET node = 'another', term = term + 1, until = `+sqldb.ServerTime+` + 300000`)
	}
	for i, b := range nodes {
		var sent atomic.Int64
		b.Reached = func(step string) {
			if step == remote.Uploaded.String() && sent.Add(1)%5 == 0 {
				depose()
				time.Sleep(time.Second) // as if it were asleep, while the next leader sends the same file
			}
		}
		run(i)
	}
	clock := t0
	for range 150 {
		time.Sleep(20 * time.Millisecond)
		clock = clock.Add(time.Duration(1+h.rnd.IntN(600)) * time.Second)
		for _, b := range nodes {
			b.setTime(clock)
		}
		i := h.rnd.IntN(len(nodes))
		h.bench = nodes[i]
		switch n := h.rnd.IntN(100); {
		case n < 60:
			h.alertOf(1 + h.rnd.IntN(3))
		case n < 75:
			h.correct()
		case n < 85:
			h.cutNow()
		case n < 88:
			depose()
		case n < 92:
			run(i)
		}
	}
	last := h.cutNow()
	storetest.Eventually(t, "all is delivered", func() bool {
		waiting, err := h.Register.Waiting(t.Context())
		return err == nil && len(waiting) == 0
	})
	if files, _, err := reportfile.List([]string{h.remote}); err != nil || int64(len(files)) != last.No {
		t.Errorf("of %d reports the remote has %d files, %v", last.No, len(files), err)
	}
	h.check()
}
