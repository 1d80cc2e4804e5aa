package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
)

// openNodes opens several stores on one database.
func openNodes(t testing.TB, n int) (list []*Store) {
	if !onPostgres() {
		t.Skip("skip allowed: SQLite has one node; TestOnPostgreSQL runs this")
	}
	database := databaseOf(t, t.TempDir())
	for range n {
		list = append(list, openIn(t, t.TempDir(), func(o *Options) { o.Database = database }))
	}
	return list
}

// syncBuffer is a buffer that several write to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// What one node records, another knows.
func TestNodesFollowEachOther(t *testing.T) {
	list := openNodes(t, 2)
	a, b := list[0], list[1]
	a.Record(t.Context(), onDemand(1, 1, t0))
	eventually(t, "the other node knows the window", func() bool { return b.MayHold(hub(1)) })
	if d := decide(t, b, ad1(1, "x", t0)); d.Outcome != outage.Suppressed || d.Entry.Seq != 1 {
		t.Errorf("%+v", d)
	}
	if d := decide(t, a, ad1(1, "x", t0)); d.Outcome != outage.Suppressed || !d.Retry || d.Entry.Seq != 1 {
		t.Errorf("the same alert to the other node: %+v", d)
	}
	if _, err := a.SetSwitch(t.Context(), outage.SwitchOff, "alice", "a reason", t0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other node knows the switch", func() bool { return b.Switch() == outage.SwitchOff })
	// A node that does not know the hub corrects its entry all the same.
	b.index.remove(hub(1))
	b.Note(noted(1, "x", t0, outage.ReasonNoWindow))
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := outcomes(t, a); got["x"] != outage.Forwarded {
		t.Errorf("outcomes %v", got)
	}
}

// A node that cannot read says so, once, and still hears of the switch where it
// tells of itself.
func TestFollowingFails(t *testing.T) {
	t.Parallel() // it waits more than it computes
	var log syncBuffer
	list := openNodes(t, 1)
	b := openIn(t, t.TempDir(), func(o *Options) {
		o.Database, o.Log = list[0].opts.Database, slog.New(slog.NewTextHandler(&log, nil))
	})
	b.Describe(map[string]string{"window": "30m"})
	eventually(t, "it tells of itself", func() bool { return len(b.Nodes()) == 1 })
	b.reader.Close()
	if _, err := list[0].SetSwitch(t.Context(), outage.SwitchShadow, "alice", "a reason", t0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it knows the switch", func() bool { return b.Switch() == outage.SwitchShadow })
	time.Sleep(2 * followEvery)
	if n := strings.Count(log.String(), "cannot be followed"); n != 1 {
		t.Errorf("it says %d times that it cannot follow", n)
	}
}

// Where the database tells nobody of changes, as behind a pooler, nodes find
// them by asking.
func TestNodesFollowUntold(t *testing.T) {
	list := openNodes(t, 2)
	script(t, list[0], fmt.Sprintf(`INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
		VALUES ('x', '', '', 0, '', 0, %d, 0, 0, 0, '', 0); INSERT INTO setting (name, value) VALUES ('switch', 'shadow')`, int64(hub(1))))
	for _, s := range list {
		eventually(t, "the node knows the window and the switch", func() bool { return s.MayHold(hub(1)) && s.Switch() == outage.SwitchShadow })
	}
}

// What the database refuses by its content is not asked for again and again.
func TestRefusedTurn(t *testing.T) {
	if !onPostgres() {
		t.Skip("skip allowed: a constraint cannot be added to a table of SQLite's; TestOnPostgreSQL runs this")
	}
	var failed atomic.Int32
	s := openIn(t, t.TempDir(), func(o *Options) {
		o.OnCommit = func(_ int, _ time.Duration, err error) {
			if err != nil {
				failed.Add(1)
			}
		}
	})
	script(t, s, `ALTER TABLE event ADD CHECK (why <> 'poison')`)
	if _, err := s.SetSwitch(t.Context(), outage.SwitchOff, "alice", "poison", t0); !errors.Is(err, ErrUnavailable) || s.Switch() != "" || failed.Load() > 2 {
		t.Errorf("%v, the switch is %q, %d transactions failed", err, s.Switch(), failed.Load())
	}
}

// A node that was told of a turn of the switch does not go back to what it read
// before.
func TestSwitchStays(t *testing.T) {
	var log syncBuffer
	database := openNodes(t, 1)[0].opts.Database
	s := openIn(t, t.TempDir(), func(o *Options) { o.Database, o.Log = database, slog.New(slog.NewTextHandler(&log, nil)) })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.followOnce(ctx, &followed{})
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	for n := range 200 {
		to := []outage.Switch{outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff}[n%3]
		if _, err := s.SetSwitch(t.Context(), to, "alice", "a reason", t0.Add(time.Duration(n)*time.Second)); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < 3*time.Millisecond; {
			if is := s.Switch(); is != to {
				t.Fatalf("turn %d: the switch was turned %s, and is %s", n, to, is)
			}
		}
	}
	if text := log.String(); strings.Contains(text, "turned on another node") {
		t.Errorf("it takes its own turns for another's:\n%.200s", text)
	}
}

// Whatever the database's default, a decision that had to wait sees what was
// committed meanwhile.
func TestIsolation(t *testing.T) {
	if !onPostgres() {
		t.Skip("skip allowed: SQLite has one level; TestOnPostgreSQL runs this")
	}
	dir := t.TempDir()
	db := outside(t, dir)
	var name string
	if err := db.QueryRow(`SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`ALTER DATABASE ` + name + ` SET default_transaction_isolation = 'repeatable read'`); err != nil {
		t.Fatal(err)
	}
	s := openIn(t, dir)
	s.Record(t.Context(), onDemand(1, 1, t0))
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(fmt.Sprintf(`SELECT pg_advisory_xact_lock(%d)`, writerLock)); err != nil {
		t.Fatal(err)
	}
	told := make(chan Decision, 1)
	go func() {
		d, err := s.Decide(t.Context(), ad1(1, "x", t0), outage.Suppressed, 0)
		if err != nil {
			t.Error(err)
		}
		told <- d
	}()
	eventually(t, "the decision waits", func() (waits bool) {
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
	if d := <-told; d.Outcome != outage.Forwarded {
		t.Errorf("the window was withdrawn, and the alert is %s", d.Outcome)
	}
}

// What decides is planned for tables of any size: rows are looked up by an index
// even where the tables are small, or were when they were last counted.
func TestPlan(t *testing.T) {
	s := openNodes(t, 1)[0]
	for _, x := range []struct {
		query string
		args  []any
		index string
	}{
		{decideSQL, []any{`[["x","AD1",1,"",0,"",0,0,null,null,"suppressed",0]]`}, "activation_open"},
		{repeatedSQL, nil, "suppression_meter"},
	} {
		plan, err := "", error(nil)
		if e := s.do(t.Context(), urgent, func(ctx context.Context) error {
			var lines []string
			lines, err = texts(s.conn.QueryContext(ctx, `EXPLAIN `+x.query, x.args...))
			plan = strings.Join(lines, "\n")
			return nil
		}); e != nil || err != nil {
			t.Fatal(e, err)
		}
		if strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Hash") || strings.Contains(plan, "Merge") || !strings.Contains(plan, "using "+x.index) {
			t.Errorf("the plan:\n%s", plan)
		}
	}
}

// Several nodes decide at once: numbers have no gap, and an alert that comes to
// two of them gets one entry and one decision.
func TestNodesDecideAtOnce(t *testing.T) {
	list := openNodes(t, 3)
	const hubs, alerts = 10, 300
	for n := range hubs {
		list[n%3].Record(t.Context(), onDemand(n, 1, t0))
	}
	for _, s := range list {
		eventually(t, "all windows are known", func() bool { return s.Hubs() == hubs })
	}
	var mu sync.Mutex // guards what follows
	got := map[string][]Decision{}
	var wg sync.WaitGroup
	for i, s := range list {
		for w := range 4 {
			wg.Go(func() {
				for n := w; n < alerts; n += 4 {
					id := fmt.Sprint((n + 100*i) % alerts)
					d, err := s.Decide(t.Context(), ad1(n%hubs, id, t0.Add(time.Second)), outage.Suppressed, 0)
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
	entries := allEntries(t, list[0])
	for i, e := range entries {
		if e.Seq != int64(i+1) {
			t.Errorf("entry %d is number %d", i+1, e.Seq)
		}
	}
	if len(entries) != alerts || fresh != alerts {
		t.Errorf("%d entries, %d decided for the first time, want %d", len(entries), fresh, alerts)
	}
}

// Reports are cut by one of several at a time, each entry once.
func TestNodesCut(t *testing.T) {
	list := openNodes(t, 3)
	logN(t, list[0], 60)
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(func() {
			for last := int64(0); last < 60; {
				before, err := s.LastReport(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				r, err := s.Cut(t.Context(), Cut{After: before.No, SystemID: "test", Start: t0, End: t0, LastSeq: min(60, before.LastSeq+7),
					Name: func(Report, ReportFile) string { return "file" }})
				if err == nil {
					last = r.LastSeq
				}
			}
		})
	}
	wg.Wait()
	reports, err := list[1].Reports(t.Context(), 1<<62, 1000)
	if err != nil {
		t.Fatal(err)
	}
	next := int64(60)
	for _, r := range reports {
		if r.LastSeq != next {
			t.Errorf("report %d ends with %d, want %d", r.No, r.LastSeq, next)
		}
		next = r.FirstSeq - 1
	}
	if next != 0 {
		t.Errorf("the first report begins with %d", next+1)
	}
}

// One node leads. When it is gone, another does; when it is only asleep, too,
// and what it does when it wakes up is refused.
func TestOneNodeLeads(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if leaseTime+attendEvery > 10*time.Second {
		t.Error("a takeover may take longer than 10 s")
	}
	list := openNodes(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex // guards what follows
	running := map[*Store]int{}
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(func() {
			s.WhileLeading(ctx, func(ctx context.Context) {
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
	leader := func() (leads *Store) {
		eventually(t, "one leads", func() bool {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for s, r := range running {
				if n += r; r > 0 {
					leads = s
				}
			}
			return n == 1 && leads.Leading()
		})
		return leads
	}
	first := leader()
	term := first.Term()
	first.Close()
	second := leader()
	if second == first || second.Term() != term+1 {
		t.Errorf("term %d follows %d", second.Term(), term)
	}
	logN(t, second, 3)
	r := writeReport(t, second, 3, func(c *Cut) { c.Remotes = map[string]string{"there": Consolidated} })
	// As if it had slept: another has taken the lead, and it does not know.
	script(t, second, fmt.Sprintf(`UPDATE lead SET node = 'another', term = term + 1, until = %s + %d`, serverTime, leaseTime.Microseconds()))
	d := Delivery{Report: r.No, Stream: Consolidated, Remote: "there", State: StateConfirmed, At: t0}
	if err := second.SetDelivery(t.Context(), d); !errors.Is(err, ErrNotLeading) {
		t.Errorf("a delivery: %v", err)
	}
	if h, err := second.Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(1000 * time.Hour), LogBefore: t0}); !errors.Is(err, ErrNotLeading) || h != (Housekeeping{}) {
		t.Errorf("housekeeping: %+v %v", h, err)
	}
	if left, err := second.Undelivered(t.Context(), "there", Consolidated, 0, 10); err != nil || len(left) != 1 || left[0].State != StateWritten {
		t.Errorf("%+v %v", left, err)
	}
	eventually(t, "it knows", func() bool { return !second.Leading() })
	cancel()
	wg.Wait()
}

// A node that has stopped what a leader does gives up the lead, while it finishes
// what else it has.
func TestLeadGivenUp(t *testing.T) {
	list := openNodes(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { list[0].WhileLeading(ctx, func(ctx context.Context) { <-ctx.Done() }) })
	}
	eventually(t, "it leads", list[0].Leading)
	cancel()
	wg.Wait()
	lead(t, list[1])
	if list[0].Leading() {
		t.Error("both lead")
	}
}

// A lease that the clock of another server gave, ahead of this one's, is over
// when no lease of this one's could be as long.
func TestLeaseOfAnotherClock(t *testing.T) {
	s := openNodes(t, 1)[0]
	script(t, s, fmt.Sprintf(`UPDATE lead SET node = 'another', term = 7, until = %s + %d`, serverTime, time.Hour.Microseconds()))
	if lead(t, s).Term() != 8 {
		t.Errorf("term %d", s.Term())
	}
}

// Nodes say when their settings differ, and when they do no more.
func TestNodesCompareSettings(t *testing.T) {
	t.Parallel() // it waits more than it computes
	list := openNodes(t, 2)
	a, b := list[0], list[1]
	a.Describe(map[string]string{"window": "30m", "track": "all", "old": "x"})
	b.Describe(map[string]string{"window": "15m", "track": "all", "new": "y"})
	for s, want := range map[*Store]string{a: "window is 30m here, and 15m on test", b: "window is 15m here, and 30m on test"} {
		eventually(t, "the difference is known", func() bool { return slices.Equal(s.Differences(), []string{want}) })
	}
	if n := a.Nodes(); len(n) != 2 || n[0].Here == n[1].Here {
		t.Errorf("%+v", n)
	}
	b.Describe(map[string]string{"window": "30m", "track": "all"})
	for _, s := range list {
		eventually(t, "there is no difference", func() bool { return len(s.Differences()) == 0 })
	}
	b.Describe(map[string]string{"window": "15m"})
	b.Close()
	eventually(t, "a node that is gone is not compared", func() bool { return len(a.Nodes()) == 1 && len(a.Differences()) == 0 })
}

// A node whose clock is wrong takes the database's.
func TestClock(t *testing.T) {
	if !onPostgres() {
		t.Skip("skip allowed: SQLite has no clock of its own; TestOnPostgreSQL runs this")
	}
	for _, ahead := range []time.Duration{-time.Hour, time.Hour, time.Second} {
		s := openIn(t, t.TempDir(), func(o *Options) { o.Now = func() time.Time { return time.Now().Add(ahead) } })
		s.SetClockTolerance(time.Minute)
		eventually(t, "the clock was looked at", func() bool { return s.clock.Load() != nil })
		off, wrong := s.ClockOffset()
		if (off-ahead).Abs() > 30*time.Second || wrong != (ahead.Abs() > time.Minute) {
			t.Errorf("%v ahead: %v %v", ahead, off, wrong)
		}
		if time.Since(s.Now()).Abs() > 30*time.Second {
			t.Errorf("%v ahead: the time is %v, and is %v", ahead, time.Now(), s.Now())
		}
		if !wrong && s.Now().Before(time.Now()) {
			t.Errorf("within the tolerance the node's own clock counts")
		}
	}
}

// A window that an import moves to another hub is known there on other nodes too.
func TestNodesFollowMoves(t *testing.T) {
	list := openNodes(t, 2)
	list[0].Record(t.Context(), onDemand(1, 1, t0))
	eventually(t, "the window is known", func() bool { return list[1].MayHold(hub(1)) })
	files := []File{{"inventory", strings.NewReader("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n" +
		meter(1).String() + ",ESME,SMETS2,Landis+Gyr,E470," + hub(7).String() + ",\n")}}
	if _, err := list[0].ImportInventory(t.Context(), "a test", t0, func() (f File, err error) {
		if len(files) == 0 {
			return f, io.EOF
		}
		f, files = files[0], nil
		return f, nil
	}); err != nil {
		t.Fatal(err)
	}
	for i, s := range list {
		eventually(t, "the new hub is known", func() bool { return s.MayHold(hub(7)) })
		if d := decide(t, s, ad1(7, fmt.Sprint("new ", i), t0)); d.Outcome != outage.Suppressed {
			t.Errorf("node %d: %+v", i, d)
		}
		if d := decide(t, s, ad1(1, fmt.Sprint("old ", i), t0)); d.Outcome != outage.Forwarded {
			t.Errorf("node %d, the old hub: %+v", i, d)
		}
		// Also what is recorded now by one who read the inventory before.
		s.Record(t.Context(), onDemand(1, uint64(10+i), t0.Add(time.Minute)))
	}
	acts, err := list[0].Activations(t.Context(), Find{CHF: hub(1)}, 10)
	if err != nil || len(acts) != 0 {
		t.Errorf("windows on the old hub: %+v %v", acts, err)
	}
}

// A hub that was housekept on another node is forgotten here.
func TestPrune(t *testing.T) {
	list := openNodes(t, 2)
	a := lead(t, list[0])
	a.Record(t.Context(), onDemand(1, 1, t0))
	a.Record(t.Context(), onDemand(2, 2, t0.Add(time.Hour)))
	for _, s := range list {
		eventually(t, "both windows are known", func() bool { return s.Hubs() == 2 })
	}
	if h, err := a.Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(time.Hour), LogBefore: t0}); err != nil || h.Activations != 1 {
		t.Fatal(h, err)
	}
	for _, s := range list {
		prune(t, s)
		if s.MayHold(hub(1)) || !s.MayHold(hub(2)) {
			t.Errorf("hub 1: %v, hub 2: %v", s.MayHold(hub(1)), s.MayHold(hub(2)))
		}
	}
}

// A node whose forgetting fails goes on following, and can be stopped.
func TestPruneFails(t *testing.T) {
	s := openNodes(t, 1)[0]
	s.index.add(hub(1))
	s.reader.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		s.follow(ctx, 0, 0)
		close(ended)
	}()
	cancel()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
}

// Of two readings of the switch the later that was begun counts, whichever comes
// first.
func TestSwitchReadTwice(t *testing.T) {
	var p position
	p.turn(outage.SwitchOn)
	turns := p.turned()
	if _, followed := p.follow(outage.SwitchOff, turns); !followed {
		t.Error("what another node turned is not followed")
	}
	if _, followed := p.follow(outage.SwitchOn, turns); followed {
		t.Error("an earlier reading counts")
	}
	if _, followed := p.follow(outage.SwitchShadow, p.turned()); !followed {
		t.Error("what another node turned then is not followed")
	}
}

// A stale index costs a suppression at worst: a node that has not heard of a
// window forwards, and one that still has a hub in its index that has none asks
// the store, and forwards.
func TestStaleIndex(t *testing.T) {
	list := openNodes(t, 2)
	a, b := list[0], list[1]
	act := onDemand(1, 1, t0)
	a.Record(t.Context(), act)
	eventually(t, "the window is known", func() bool { return b.MayHold(hub(1)) })
	a.Settle(t.Context(), act, outage.Withdrawn) // refused: b is not told
	if d := decide(t, b, ad1(1, "x", t0)); d.Outcome != outage.Forwarded {
		t.Errorf("withdrawn on another node: %+v", d)
	}
	a.Record(t.Context(), onDemand(2, 2, t0))
	if d := decide(t, b, ad1(2, "y", t0)); d.Outcome != outage.Suppressed {
		t.Errorf("asked before it has heard of it: %+v", d)
	}
}

// An import of another node that is under way is left alone; one that is not
// heard of any more is dropped, and cannot come into force.
func TestNodesImport(t *testing.T) {
	list := openNodes(t, 2)
	script(t, list[0], `INSERT INTO import (no, kind, source, sha256, rows, at, who, state, touched) VALUES (100, 'devices', 'x', '', 0, 0, '', 'running', `+serverTime+`)`)
	if _, err := list[1].ImportList(t.Context(), "bob", t0, File{"quick", strings.NewReader(meter(2).String())}); !errors.Is(err, ErrImporting) {
		t.Errorf("beside an import that runs: %v", err)
	}
	script(t, list[0], `UPDATE import SET touched = 0 WHERE no = 100`)
	if _, err := list[1].ImportList(t.Context(), "bob", t0, File{"quick", strings.NewReader(meter(2).String())}); err != nil {
		t.Errorf("after an import that is not heard of any more: %v", err)
	}
	late := &load{store: list[0], no: 100, insert: `INSERT INTO device_list (import_no, device_id) SELECT ?1, CAST(value->>0 AS BIGINT) FROM json_each(?2)`}
	if err := errors.Join(late.add(t.Context(), []byte("[1]")), late.flush(t.Context())); !errors.Is(err, errDropped) || !errors.Is(err, ErrImporting) {
		t.Errorf("rows of an import that was dropped: %v", err)
	}
	if left, err := numbers(list[0].reader.QueryContext(t.Context(), `SELECT device_id FROM device_list WHERE import_no = 100`)); err != nil || len(left) > 0 {
		t.Errorf("they stay: %v %v", left, err)
	}
	if err := list[0].finishImport(t.Context(), "devices", &Import{No: 100}, nil); !errors.Is(err, errDropped) {
		t.Errorf("an import that was dropped: %v", err)
	}
	if im, err := list[0].LastImport(t.Context(), "devices"); err != nil || im.Who != "bob" {
		t.Errorf("%+v %v", im, err)
	}
}

// A node of this version works on a database that a later one has extended.
func TestLaterSchema(t *testing.T) {
	list := openNodes(t, 1)
	script(t, list[0], `ALTER TABLE suppression ADD COLUMN later TEXT; ALTER TABLE activation ADD COLUMN later BIGINT NOT NULL DEFAULT 7;
		CREATE TABLE later (x BIGINT); INSERT INTO migration (name, at) VALUES ('migrations/9999_later.sql', 'now')`)
	again := openIn(t, t.TempDir(), func(o *Options) { o.Database = list[0].opts.Database })
	for i, s := range []*Store{list[0], again} {
		s.Record(t.Context(), onDemand(i, uint64(i+1), t0))
		if d := decide(t, s, ad1(i, fmt.Sprint(i), t0)); d.Outcome != outage.Suppressed {
			t.Errorf("%+v", d)
		}
	}
}

// A node that sleeps in the middle of a transaction holds up the others for a
// moment only, and what it had in hand is not committed.
func TestSleepingWriter(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if !onPostgres() {
		t.Skip("skip allowed: SQLite has one node; TestOnPostgreSQL runs this")
	}
	database := databaseOf(t, t.TempDir())
	asleep, wake := make(chan bool), make(chan bool)
	sleeper := openIn(t, t.TempDir(), func(o *Options) {
		o.Database = database
		o.BeforeCommit = sync.OnceFunc(func() { close(asleep); <-wake })
	})
	rouse := sync.OnceFunc(func() { close(wake) })
	t.Cleanup(rouse) // before the sleeper is closed
	other := openIn(t, t.TempDir(), func(o *Options) { o.Database = database })
	sleeper.Record(t.Context(), onDemand(1, 1, t0))
	told := make(chan error, 1)
	go func() {
		_, err := sleeper.Decide(t.Context(), ad1(1, "x", t0), outage.Suppressed, 0)
		told <- err
	}()
	<-asleep
	eventually(t, "the other node decides", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d, err := other.Decide(ctx, ad1(1, "y", t0), outage.Suppressed, 0)
		return err == nil && d.Outcome == outage.Suppressed || d.Retry
	})
	rouse()
	if err := <-told; !errors.Is(err, ErrUnavailable) {
		t.Errorf("the sleeper: %v", err)
	}
	eventually(t, "the sleeper has said that it forwarded", func() bool { return sleeper.Pending() == 0 })
	if d, err := other.Decide(t.Context(), ad1(1, "x", t0), outage.Suppressed, 0); err != nil || d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("%+v %v", d, err)
	}
}
