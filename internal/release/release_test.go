package release_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/cluster"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/release"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// hop is a next hop that counts what it gets.
type hop struct {
	mu     sync.Mutex
	got    map[string]int // by body
	status int            // that it answers with; 0: it is away
	heads  []http.Header
}

func (h *hop) send(r *http.Request, body []byte) (*http.Response, bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.status == 0 {
		return nil, true, errors.New("it is away")
	}
	if h.got == nil {
		h.got = map[string]int{}
	}
	h.got[r.RequestURI+" "+string(body)]++
	h.heads = append(h.heads, r.Header)
	return &http.Response{StatusCode: h.status, Status: fmt.Sprint(h.status), Body: io.NopCloser(strings.NewReader("answer"))}, false, nil
}

func (h *hop) answer(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

func (h *hop) count(body string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.got[body]
}

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = to
}

const head = "POST /north HTTP/1.1\r\nHost: h\r\nContent-Type: application/xml\r\nQuell-Decision: mine\r\nx-Own: 1\r\n\r\n"

// suppress has alerts of hub 1 suppressed, with their messages, and returns their entries.
func suppress(t *testing.T, s *store.Store, at time.Time, ids ...string) (seqs []int64) {
	t.Helper()
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	for _, id := range ids {
		d := storetest.Decide(t, s, alert(id, at))
		if d.Outcome != outage.Suppressed {
			t.Fatalf("alert %s: %+v", id, d)
		}
		seqs = append(seqs, d.Entry.Seq)
	}
	return seqs
}

func alert(id string, at time.Time) outage.Alert {
	a := storetest.AD1(1, id, at)
	a.Message = []byte(head + "alert " + id)
	return a
}

// run delivers in the background, while this node is the leader.
func run(t *testing.T, s *store.Store, h *hop) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Cluster.WhileLeader(ctx, func(ctx context.Context) { s.Releases.Run(ctx, h.send) }) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func stateOf(t *testing.T, s *store.Store, seq int64) (x release.Release) {
	t.Helper()
	list, err := s.Releases.Of(t.Context(), []int64{seq})
	if err != nil || len(list) > 1 {
		t.Fatal(list, err)
	}
	if len(list) == 1 {
		x = list[0]
	}
	return x
}

func awaitState(t *testing.T, s *store.Store, seq int64, want release.State) {
	t.Helper()
	storetest.Eventually(t, fmt.Sprintf("entry %d is %s", seq, want), func() bool { return stateOf(t, s, seq).State == want })
}

// An alert is released: it is delivered once, its entry says so and is corrected, and a retry of
// it goes forward. Others stay suppressed.
func TestRelease(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		at := storetest.T0.Add(time.Minute)
		s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Now = func() time.Time { return at } })
		h := &hop{status: 200}
		seqs := suppress(t, s, at, "a", "b")
		run(t, s, h)
		var wg sync.WaitGroup
		var mu sync.Mutex
		asked := map[string]int{}
		for n := range 8 { // several at once
			wg.Go(func() {
				_, err := s.Releases.Release(t.Context(), seqs[0], fmt.Sprint("operator ", n), "a reason")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					asked["done"]++
				case errors.Is(err, release.ErrRefused):
					asked["refused"]++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if asked["done"] != 1 || asked["refused"] != 7 {
			t.Errorf("of several that ask at once: %v", asked)
		}
		awaitState(t, s, seqs[0], release.Done)
		if n := h.count("/north alert a"); n != 1 || len(h.got) != 1 {
			t.Errorf("the next hop got %v", h.got)
		}
		if got := h.heads[0]; fmt.Sprint(got["Quell-Decision"]) != "[released]" || fmt.Sprint(map[string][]string(got)["x-Own"]) != "[1]" {
			t.Errorf("with the head %v", got)
		}
		if got := storetest.Outcomes(t, s); got["a"] != outage.Released || got["b"] != outage.Suppressed {
			t.Errorf("outcomes %v", got)
		}
		if no, err := ledger.LastCorrection(t.Context(), s.DB); err != nil || no == 0 {
			t.Errorf("corrections: %d, %v", no, err)
		}
		if d := storetest.Decide(t, s, alert("a", at.Add(time.Second))); d.Outcome != outage.Forwarded || d.Reason != outage.ReasonReleased {
			t.Errorf("a retry: %+v", d.Decision)
		}
		if d := storetest.Decide(t, s, alert("b", at.Add(time.Second))); d.Outcome != outage.Suppressed {
			t.Errorf("a retry of another: %+v", d.Decision)
		}
		if got := storetest.Outcomes(t, s); got["a"] != outage.Released {
			t.Errorf("after a retry: %v", got)
		}
	})
}

// What cannot be released is refused, with words that say why.
func TestRefused(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		at := storetest.T0.Add(time.Minute)
		c := &clock{at: at}
		s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Now = c.now })
		seqs := suppress(t, s, at, "old", "no message", "delivered")
		bare := storetest.AD1(1, "bare", at)
		seqs[1] = storetest.Decide(t, s, bare).Entry.Seq
		shadow, err := s.Ledger.Decide(t.Context(), alert("shadow", at), outage.Shadow, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		s.Ledger.NoteForwarded(storetest.Noted(1, "delivered", at, outage.ReasonStoreUnavailable))
		if err := s.DB.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused := func(seq int64, is error, text string) {
			t.Helper()
			if _, err := s.Releases.Release(t.Context(), seq, "alice", "a reason"); !errors.Is(err, is) || !strings.Contains(err.Error(), text) {
				t.Errorf("entry %d: %v, want %q", seq, err, text)
			}
		}
		refused(1000, release.ErrNoEntry, "entry 1000")
		refused(seqs[1], release.ErrRefused, "was not kept")
		refused(seqs[2], release.ErrRefused, "its outcome is forwarded")
		refused(shadow.Entry.Seq, release.ErrRefused, "the switch was on shadow")
		c.set(at.Add(48*time.Hour - 2*time.Microsecond))
		if _, err := s.Releases.Release(t.Context(), seqs[0], "alice", "a reason"); err != nil {
			t.Errorf("just in time: %v", err)
		}
		c.set(at.Add(48*time.Hour - time.Microsecond))
		refused(seqs[0], release.ErrRefused, "alice asked for that already")
		c.set(at.Add(48 * time.Hour))
		seqs = append(seqs, suppress(t, s, at, "older")...)
		refused(seqs[3], release.ErrRefused, "messages are kept for 48 hours")
		if _, err := s.Releases.Find(t.Context(), "unknown"); !errors.Is(err, release.ErrNoEntry) {
			t.Errorf("an unknown alert: %v", err)
		}
		if seq, err := s.Releases.Find(t.Context(), "old"); err != nil || seq != seqs[0] {
			t.Errorf("by its id: %d, %v", seq, err)
		}
		// The message of what was asked for in time is not lost with the others.
		storetest.MakeLeader(t, s)
		c.set(at.Add(49 * time.Hour))
		if n, err := s.Releases.Housekeep(t.Context(), storetest.T0, s.Cluster.CheckLeader); err != nil || n == 0 {
			t.Errorf("housekeeping: %d rows, %v", n, err)
		}
		h := &hop{status: 200}
		run(t, s, h)
		awaitState(t, s, seqs[0], release.Done)
		if h.count("/north alert old") != 1 {
			t.Errorf("the next hop got %v", h.got)
		}
		c.set(at.Add(50 * time.Hour))
		if _, err := s.Releases.Housekeep(t.Context(), c.now(), s.Cluster.CheckLeader); err != nil || stateOf(t, s, seqs[0]).State != "" {
			t.Errorf("a release that is long over: %+v, %v", stateOf(t, s, seqs[0]), err)
		}
	})
}

// While the next hop is away a release waits, and after five minutes that is a condition. What the
// next hop refuses has failed, and may be asked for again. What was delivered meanwhile is not sent.
func TestNextHopAway(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		at := storetest.T0.Add(time.Minute)
		c := &clock{at: at}
		s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Now = c.now })
		seqs := suppress(t, s, at, "a", "b", "c")
		h := &hop{}
		run(t, s, h)
		ask := func(seq int64) {
			t.Helper()
			if _, err := s.Releases.Release(t.Context(), seq, "alice", "a reason"); err != nil {
				t.Fatal(err)
			}
		}
		ask(seqs[0])
		storetest.Eventually(t, "it was tried", func() bool {
			x := stateOf(t, s, seqs[0])
			return x.Tries == 1 && x.State == release.Asked && x.Error == "it is away"
		})
		if list := s.Releases.Conditions(); len(list) > 0 {
			t.Errorf("at once: %q", list)
		}
		c.set(at.Add(5 * time.Minute))
		h.answer(503)
		storetest.Eventually(t, "it was tried again", func() bool {
			x := stateOf(t, s, seqs[0]) // asked: the try is over, and its pause began by the clock as it is
			return x.Tries >= 2 && x.State == release.Asked
		})
		storetest.Eventually(t, "that is a condition", func() bool {
			return strings.Contains(strings.Join(s.Releases.Conditions(), ""), "the first (entry 1) since 2026-03-01T10:01:00Z: ")
		})
		h.answer(200)
		c.set(at.Add(7 * time.Minute))
		awaitState(t, s, seqs[0], release.Done)
		storetest.Eventually(t, "all is well", func() bool { return len(s.Releases.Conditions()) == 0 && s.Releases.Waiting() == 0 })

		h.answer(400)
		ask(seqs[1])
		awaitState(t, s, seqs[1], release.Failed)
		if x := stateOf(t, s, seqs[1]); strings.Contains(x.Error, "earlier try") {
			t.Errorf("refused at once: %s", x.Error)
		}
		h.answer(0)
		ask(seqs[1])
		storetest.Eventually(t, "it was tried", func() bool {
			x := stateOf(t, s, seqs[1])
			return x.Tries == 1 && x.State == release.Asked
		})
		h.answer(409)
		c.set(at.Add(10 * time.Minute))
		awaitState(t, s, seqs[1], release.Failed)
		if x := stateOf(t, s, seqs[1]); !strings.HasSuffix(x.Error, "; an earlier try may have arrived") {
			t.Errorf("refused after a try without an answer: %s", x.Error)
		}
		h.answer(200)
		ask(seqs[1])
		awaitState(t, s, seqs[1], release.Done)

		h.answer(0)
		ask(seqs[2])
		storetest.Eventually(t, "it was tried", func() bool {
			x := stateOf(t, s, seqs[2])
			return x.Tries == 1 && x.State == release.Asked
		})
		s.Ledger.NoteForwarded(storetest.Noted(1, "c", at, outage.ReasonInShadow))
		h.answer(200)
		c.set(at.Add(20 * time.Minute))
		awaitState(t, s, seqs[2], release.Failed)
		if h.count("/north alert c") != 0 || h.count("/north alert b") != 3 || s.Releases.Delivered() != 2 {
			t.Errorf("the next hop got %v", h.got)
		}
	})
}

// Two nodes try at once, and one of them is not the leader, or is no more: the alert is sent once.
func TestTwoNodes(t *testing.T) {
	storetest.OnlyPostgres(t, func(t *testing.T) {
		database := storetest.Database(t, t.TempDir())
		var nodes []*store.Store
		for range 2 {
			nodes = append(nodes, storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = database }))
		}
		var ids []string
		for n := range 20 {
			ids = append(ids, fmt.Sprint("alert ", n))
		}
		now := time.Now()
		nodes[0].Ledger.Record(t.Context(), storetest.OnDemand(1, 1, now.Add(-time.Minute)))
		var seqs []int64
		for _, id := range ids {
			seqs = append(seqs, storetest.Decide(t, nodes[0], alert(id, now)).Entry.Seq)
		}
		h := &hop{status: 200}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		storetest.MakeLeader(t, nodes[0])
		var wg sync.WaitGroup
		for _, s := range nodes { // whether it leads or not
			wg.Go(func() { s.Releases.Run(ctx, h.send) })
		}
		for i, seq := range seqs {
			if _, err := nodes[i%2].Releases.Release(t.Context(), seq, "alice", "a reason"); err != nil {
				t.Fatal(err)
			}
		}
		for _, seq := range seqs {
			awaitState(t, nodes[1], seq, release.Done)
		}
		cancel()
		wg.Wait()
		for _, id := range ids {
			if n := h.count("/north alert " + id); n != 1 {
				t.Errorf("%s was delivered %d times", id, n)
			}
		}
		if d := storetest.Decide(t, nodes[1], alert(ids[0], now.Add(time.Second))); d.Outcome != outage.Forwarded {
			t.Errorf("a retry at another node: %+v", d.Decision)
		}
	})
}

// A pause after a try that began while the clock was far ahead does not last until then.
func TestClockWasAhead(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		at := storetest.T0.Add(time.Minute)
		c := &clock{at: at}
		s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Now = c.now })
		seqs := suppress(t, s, at, "a")
		if _, err := s.Releases.Release(t.Context(), seqs[0], "alice", "a reason"); err != nil {
			t.Fatal(err)
		}
		c.set(at.AddDate(1, 0, 0))
		h := &hop{}
		stop := run(t, s, h)
		storetest.Eventually(t, "it was tried", func() bool {
			x := stateOf(t, s, seqs[0])
			return x.Tries > 0 && x.State == release.Asked
		})
		stop()
		c.set(at.Add(10 * time.Minute))
		h.answer(200)
		run(t, s, h)
		awaitState(t, s, seqs[0], release.Done)
		if n := h.count("/north alert a"); n != 1 {
			t.Errorf("it was delivered %d times", n)
		}
	})
}

// A node that is not the leader any more does not ask the store again at once, until it knows.
func TestNotLeaderAnyMore(t *testing.T) {
	storetest.OnlyPostgres(t, func(t *testing.T) {
		database := storetest.Database(t, t.TempDir())
		var nodes []*store.Store
		for range 2 {
			nodes = append(nodes, storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = database }))
		}
		storetest.MakeLeader(t, nodes[0])
		now := time.Now()
		nodes[0].Ledger.Record(t.Context(), storetest.OnDemand(1, 1, now.Add(-time.Minute)))
		seq := storetest.Decide(t, nodes[0], alert("a", now)).Entry.Seq
		if _, err := nodes[0].Releases.Release(t.Context(), seq, "alice", "a reason"); err != nil {
			t.Fatal(err)
		}
		h := &hop{status: 200}
		if _, err := nodes[1].Releases.Deliver(t.Context(), h.send); !errors.Is(err, cluster.ErrNotLeader) || len(h.got) > 0 {
			t.Errorf("%v, and the next hop got %v", err, h.got)
		}
	})
}

// A node that stops while it claims a release changes nothing that the claim still reads: the race
// detector would see it. Nothing is sent twice.
func TestStopWhileClaiming(t *testing.T) {
	at := storetest.T0.Add(time.Minute)
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Now = func() time.Time { return at } })
	h := &hop{status: 200}
	for n := range 50 {
		seq := suppress(t, s, at, fmt.Sprint("alert ", n))[0]
		if _, err := s.Releases.Release(t.Context(), seq, "alice", "a reason"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Duration(n) * 100 * time.Microsecond); cancel() }()
		s.Releases.Deliver(ctx, h.send)
		if err := s.DB.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for message, n := range h.got {
		if n > 1 {
			t.Errorf("%s was delivered %d times", message, n)
		}
	}
}

// Two of one node try at once, which have both seen that a release is due: the alert is sent once.
func TestClaimedOnce(t *testing.T) {
	at := storetest.T0.Add(time.Minute)
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Now = func() time.Time { return at } })
	var ids []string
	for n := range 40 {
		ids = append(ids, fmt.Sprint("alert ", n))
	}
	seqs := suppress(t, s, at, ids...)
	for _, seq := range seqs {
		if _, err := s.Releases.Release(t.Context(), seq, "alice", "a reason"); err != nil {
			t.Fatal(err)
		}
	}
	h := &hop{status: 200}
	for range 4 {
		run(t, s, h)
	}
	for n, seq := range seqs {
		awaitState(t, s, seq, release.Done)
		if got := h.count("/north alert " + ids[n]); got != 1 {
			t.Errorf("%s was delivered %d times", ids[n], got)
		}
	}
}

// Nothing depends on what is kept: if the store cannot keep messages, alerts are suppressed as
// before, and cannot be released.
func TestNotKept(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	storetest.Script(t, s, `ALTER TABLE held RENAME TO elsewhere`)
	at := storetest.T0.Add(time.Minute)
	seqs := suppress(t, s, at, "a", "b")
	storetest.Script(t, s, `ALTER TABLE elsewhere RENAME TO held`)
	for _, seq := range seqs {
		if _, err := s.Releases.Release(t.Context(), seq, "alice", "a reason"); !errors.Is(err, release.ErrRefused) {
			t.Errorf("entry %d: %v", seq, err)
		}
	}
	if err := s.DB.Do(t.Context(), sqldb.Urgent, func(context.Context, sqldb.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
}
