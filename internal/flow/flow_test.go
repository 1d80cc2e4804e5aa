package flow_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/flow"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

var t0 = storetest.T0

// london is an MPAN of distributor 12, and the one that storetest.AD1 has.
const london, eastern = "1200023305967", "1012345678903"

// clock is a clock that a test sets.
type clock struct{ at atomic.Pointer[time.Time] }

func (c *clock) now() time.Time   { return *c.at.Load() }
func (c *clock) set(at time.Time) { c.at.Store(&at) }

// open opens a store whose clock the test sets, which begins to count at t0.
func open(t *testing.T, dir string, change ...func(*store.Options)) (*store.Store, *clock) {
	c := new(clock)
	c.set(t0)
	s := storetest.Open(t, dir, append(change, func(o *store.Options) { o.Now = c.now })...)
	s.Flow.Begin()
	flush(t, s)
	return s, c
}

func flush(t *testing.T, s *store.Store) {
	t.Helper()
	storetest.Eventually(t, "the counts are written", func() bool { return s.Flow.Flush(t.Context()) == nil })
}

func audit(t *testing.T, s *store.Store) *flow.Result {
	t.Helper()
	r, err := s.Flow.Audit(t.Context(), flow.Query{From: t0.Add(-time.Hour), To: t0.Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantDifferences holds that the result has these differences: a kind, and the numbers of entries.
func wantDifferences(t *testing.T, r *flow.Result, want ...string) {
	t.Helper()
	var have []string
	for _, d := range r.Differences {
		have = append(have, strings.TrimSpace(fmt.Sprintf("%s %d %v", d.Kind, d.Count, d.Entries)))
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) || r.Balanced != (len(want) == 0) {
		t.Errorf("differences:\nhave %q\nwant %q\n%+v", have, want, r)
	}
}

// decide decides on an alert as the motorway does, and counts it.
func decide(t *testing.T, s *store.Store, a outage.Alert) ledger.Decision {
	t.Helper()
	cell := s.Flow.Received(a.Received, a.MPxN)
	d := storetest.Decide(t, s, a)
	if d.Entry.Seq != 0 && !d.Retry {
		cell.Entered(d.Entry.Seq)
	}
	if d.Outcome == outage.Suppressed {
		cell.End(flow.Suppressed)
	} else {
		cell.End(flow.Forwarded)
	}
	return d
}

func TestEnds(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s, c := open(t, t.TempDir())
		var want flow.Totals
		for i, end := range []flow.End{flow.Forwarded, flow.Forwarded, flow.Shadow, flow.Refused, flow.Failed, flow.Suppressed} {
			s.Flow.Received(t0.Add(time.Duration(i)*20*time.Second), []string{london, eastern, "", "12"}[i%4]).End(end)
			want.Received++
		}
		want.Forwarded, want.Shadow, want.Refused, want.Failed, want.Suppressed = 2, 1, 1, 1, 1
		r := audit(t, s)
		wantDifferences(t, r)
		if r.Total != want {
			t.Errorf("%+v\nwant %+v", r.Total, want)
		}
		var lines []string
		for _, l := range r.Lines {
			lines = append(lines, fmt.Sprint(l.Distributor, " ", l.Received))
		}
		if want := []string{"10 2", "12 2", "unknown 2"}; !slices.Equal(lines, want) {
			t.Errorf("%q, want %q", lines, want)
		}
		byMinute, err := s.Flow.Audit(t.Context(), flow.Query{From: t0.Add(time.Minute), To: t0.Add(2 * time.Minute), Minutes: true})
		if err != nil || len(byMinute.Minutes) != 3 || byMinute.Total.Received != 3 {
			t.Errorf("a minute: %v, %+v", err, byMinute)
		}

		// One that is under way, and has no end in time; and an end that belongs to no message.
		late := s.Flow.Received(t0.Add(3*time.Minute), london)
		c.set(t0.Add(4 * time.Minute))
		if r := audit(t, s); r.Total.UnderWay != 1 || !r.Balanced {
			t.Errorf("under way: %+v", r)
		}
		c.set(t0.Add(5*time.Minute + flow.Longest))
		r = audit(t, s)
		wantDifferences(t, r, "no-end 1 []")
		if d := r.Differences[0]; !d.Minute.Equal(t0.Add(3*time.Minute)) || d.Node != "test" || d.Distributor != "12" ||
			d.Text != "1 of 1 AD1s ended nowhere: not forwarded, not suppressed, and not returned with an error" {
			t.Errorf("%+v", d)
		}
		late.End(flow.Failed)
		wantDifferences(t, audit(t, s))
		late.End(flow.Forwarded)
		wantDifferences(t, audit(t, s), "two-ends 1 []")
	})
}

// TestEntries: what is done to the log behind quell's back shows, with the numbers of the entries.
func TestEntries(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want []string
	}{
		"nothing":                      {`SELECT 1`, nil},
		"one removed":                  {`DELETE FROM suppression WHERE seq = 3`, []string{"missing-entry 1 [3]"}},
		"the last removed":             {`DELETE FROM suppression WHERE seq = 6`, []string{"missing-entry 1 [6]"}},
		"several removed":              {`DELETE FROM suppression WHERE seq IN (2, 3, 5)`, []string{"missing-entry 3 [2 3 5]"}},
		"all removed":                  {`DELETE FROM suppression`, []string{"missing-entry 6 [1 2 3 4 5 6]"}},
		"another minute":               {`UPDATE suppression SET received_at = received_at + 120000000 WHERE seq = 4`, []string{"missing-entry 1 [4]", "uncounted-entry 1 [4]"}},
		"another distributor":          {`UPDATE suppression SET distributor = '10' WHERE seq = 4`, []string{"missing-entry 1 [4]", "uncounted-entry 1 [4]"}},
		"one exchanged for another":    {`UPDATE suppression SET seq = 17 WHERE seq = 4`, []string{"missing-entry 0 []"}},
		"released, and nobody said so": {`UPDATE suppression SET outcome = 'released' WHERE seq = 4`, []string{"released-differs 1 []"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.EachEngine(t, func(t *testing.T) {
				s, clock := open(t, t.TempDir())
				s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
				for i := range 6 {
					a := storetest.AD1(1, fmt.Sprint("alert", i), t0.Add(3*time.Minute+time.Duration(i)*time.Second))
					decide(t, s, a)
					if d := decide(t, s, a); !d.Retry || d.Outcome != outage.Suppressed {
						t.Fatalf("a retry: %+v", d)
					}
				}
				clock.set(t0.Add(time.Hour))
				storetest.Script(t, s, c.sql)
				r := audit(t, s)
				wantDifferences(t, r, c.want...)
				if r.Total.Received != 12 || r.Total.Suppressed != 12 {
					t.Errorf("%+v", r.Total)
				}
			})
		})
	}
}

func TestUncounted(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s, c := open(t, t.TempDir())
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
		decide(t, s, storetest.AD1(1, "counted", t0.Add(3*time.Minute)))
		storetest.Decide(t, s, storetest.AD1(1, "decided by nobody", t0.Add(3*time.Minute)))
		s.Flow.Received(t0.Add(4*time.Minute), london).Entered(99)
		wantDifferences(t, audit(t, s), "no-entry 1 [99]")
		c.set(t0.Add(time.Hour))
		wantDifferences(t, audit(t, s), "no-entry 1 [99]", "no-message 1 [2]", "no-end 1 []")
	})
}

// TestReleased: CountReleased is in the transaction that changes the entry.
func TestReleased(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s, c := open(t, t.TempDir())
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
		for i := range 3 {
			decide(t, s, storetest.AD1(1, fmt.Sprint("alert", i), t0.Add(3*time.Minute)))
		}
		c.set(t0.Add(2 * time.Hour))
		release(t, s, 2)
		r := audit(t, s)
		wantDifferences(t, r)
		if r.Total.Suppressed != 3 || r.Total.Released != 1 {
			t.Errorf("%+v", r.Total)
		}
	})
}

// TestTooLate: an entry is written though nobody waits for the decision any more. The alert went
// forward, as the entry says, or will say when it is corrected.
func TestTooLate(t *testing.T) {
	for _, outcome := range []outage.Outcome{outage.Suppressed, outage.Shadow} {
		t.Run(string(outcome), func(t *testing.T) {
			storetest.EachEngine(t, func(t *testing.T) {
				hold := make(chan struct{})
				var held atomic.Bool
				s, c := open(t, t.TempDir(), func(o *store.Options) {
					o.BeforeCommit = func() {
						if held.Load() {
							<-hold
						}
					}
				})
				s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
				decide(t, s, storetest.AD1(1, "in time", t0.Add(3*time.Minute)))
				held.Store(true)
				a := storetest.AD1(1, "too late", t0.Add(3*time.Minute))
				cell := s.Flow.Received(a.Received, a.MPxN)
				if _, err := s.Ledger.Decide(storetest.Short(t), a, outcome, time.Minute); err == nil {
					t.Fatal("it was decided")
				}
				cell.End(flow.Forwarded)
				held.Store(false)
				close(hold)
				storetest.Eventually(t, "the entry is corrected", func() bool {
					return s.DB.Ping(t.Context()) == nil && s.Ledger.Pending() == 0
				})
				c.set(t0.Add(time.Hour))
				r := audit(t, s)
				wantDifferences(t, r)
				if r.Corrected != 1 || r.Total.Suppressed != 1 || r.Total.Forwarded != 1 {
					t.Errorf("%+v", r)
				}
				storetest.Script(t, s, `UPDATE suppression SET outcome = 'suppressed' WHERE seq = 2`)
				wantDifferences(t, audit(t, s), "no-message 1 [2]")
			})
		})
	}
}

// TestStopped: a process that stops leaves no gap; one that is killed leaves one, which is named.
func TestStopped(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		dir := t.TempDir()
		s, _ := open(t, dir)
		s.Flow.Received(t0.Add(time.Minute), london).End(flow.Forwarded)
		s.Close()
		s, c := open(t, dir)
		c.set(t0.Add(time.Hour))
		r := audit(t, s)
		wantDifferences(t, r)
		if r.Total.Received != 1 {
			t.Errorf("%+v", r)
		}
		// As if it was killed now: a message is under way, and another has an entry that the counts
		// do not have yet.
		at := t0.Add(time.Hour)
		s.Flow.Received(at, london)
		flush(t, s)
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, at))
		storetest.Decide(t, s, storetest.AD1(1, "logged", at))
		s.Close()
		s, c = open(t, dir)
		storetest.Script(t, s, `UPDATE flow_run SET stopped = 0 WHERE id = (SELECT max(run) FROM flow WHERE minute = (SELECT max(minute) FROM flow))`)
		c.set(t0.Add(2 * time.Hour))
		r = audit(t, s)
		wantDifferences(t, r, "killed 1 []", "killed 1 [1]", "killed 0 []")
		if r.Total.Unknown != 1 || r.Total.NoEnd != 0 {
			t.Errorf("%+v", r.Total)
		}
	})
}

// TestStoreAway: counts wait while the store does not answer, and none is counted twice.
func TestStoreAway(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		dir := t.TempDir()
		s, c := open(t, dir)
		s.Flow.Received(t0, london).End(flow.Forwarded)
		flush(t, s)
		free := storetest.HoldWriter(t, s)
		for i := range 200 {
			s.Flow.Received(t0.Add(time.Duration(i)*time.Second), london).End(flow.Forwarded)
			if i%20 == 0 {
				s.Flow.Flush(storetest.Short(t))
			}
		}
		free()
		flush(t, s)
		c.set(t0.Add(time.Hour))
		s.Close()
		s, c = open(t, dir)
		c.set(t0.Add(time.Hour))
		r := audit(t, s)
		wantDifferences(t, r)
		if r.Total.Received != 201 || r.Total.Forwarded != 201 {
			t.Errorf("%+v", r.Total)
		}
	})
}

// TestClockSteps: the clock steps two hours ahead while a message is under way. Its end is counted.
func TestClockSteps(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s, c := open(t, t.TempDir())
		underWay := s.Flow.Received(t0, london)
		flush(t, s)
		c.set(t0.Add(2 * time.Hour))
		s.Flow.Received(t0.Add(2*time.Hour), london).End(flow.Forwarded)
		for range 3 {
			flush(t, s)
		}
		underWay.End(flow.Forwarded)
		c.set(t0.Add(2*time.Hour + time.Minute))
		s.Flow.Received(t0.Add(2*time.Hour+time.Minute), london).End(flow.Forwarded)
		r := audit(t, s)
		wantDifferences(t, r)
		if r.Total.Received != 3 || r.Total.Forwarded != 3 {
			t.Errorf("%+v", r.Total)
		}
	})
}

// TestLost: that counts were dropped is said.
func TestLost(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		dir := t.TempDir()
		s, _ := open(t, dir)
		s.Close()
		s, c := open(t, dir)
		storetest.Script(t, s, `UPDATE flow_run SET lost = 5 WHERE stopped = 1`)
		c.set(t0.Add(time.Hour))
		wantDifferences(t, audit(t, s), "lost 0 []")
	})
}

// TestLive: while many goroutines count, no question finds a difference.
func TestLive(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s, c := open(t, t.TempDir())
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
		var n atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					at := c.now()
					if i%50 == 0 {
						decide(t, s, storetest.AD1(1, fmt.Sprint(g, "-", i), at))
					} else {
						s.Flow.Received(at, []string{london, eastern}[i%2]).End(flow.Forwarded)
					}
					if n.Add(1)%1000 == 0 {
						c.set(c.now().Add(time.Second))
					}
					time.Sleep(10 * time.Microsecond)
				}
			})
		}
		for range 30 {
			if r := audit(t, s); !r.Balanced || r.Total.NoEnd > 0 {
				t.Errorf("while it goes on: %+v", r)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		close(stop)
		wg.Wait()
		r := audit(t, s)
		wantDifferences(t, r)
		if r.Total.UnderWay != 0 || r.Total.Received != n.Load() || r.Total.Received != r.Total.Forwarded+r.Total.Suppressed {
			t.Errorf("%d messages: %+v", n.Load(), r.Total)
		}
	})
}

// TestNodes: three nodes count, and each says the same of all. Two have the same name.
func TestNodes(t *testing.T) {
	storetest.OnlyPostgres(t, func(t *testing.T) {
		database := storetest.Database(t, t.TempDir())
		var nodes []*store.Store
		for i := range 3 {
			s, _ := open(t, t.TempDir(), func(o *store.Options) { o.Database, o.Node = database, []string{"a", "b", "b"}[i] })
			nodes = append(nodes, s)
		}
		nodes[0].Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
		for i := range 30 {
			s := nodes[i%3]
			decide(t, s, storetest.AD1(1, fmt.Sprint("alert", i/2), t0.Add(3*time.Minute))) // each at two nodes
			s.Flow.Received(t0.Add(3*time.Minute), eastern).End(flow.Failed)
		}
		for _, s := range nodes {
			flush(t, s)
		}
		for _, s := range nodes {
			r := audit(t, s)
			wantDifferences(t, r)
			if r.Total.Received != 60 || r.Total.Suppressed != 30 || r.Total.Failed != 30 || len(r.Lines) != 4 {
				t.Errorf("%+v", r)
			}
		}
		storetest.Script(t, nodes[1], `DELETE FROM suppression WHERE seq = 7`)
		wantDifferences(t, audit(t, nodes[2]), "missing-entry 1 [7]")
	})
}

// TestTooLateAtNodes: entries that two nodes have written though nobody waited for the decisions any
// more are told apart: one node's are not taken for the other's.
func TestTooLateAtNodes(t *testing.T) {
	storetest.OnlyPostgres(t, func(t *testing.T) {
		database := storetest.Database(t, t.TempDir())
		a, ca := open(t, t.TempDir(), func(o *store.Options) { o.Database, o.Node = database, "a" })
		b, cb := open(t, t.TempDir(), func(o *store.Options) { o.Database, o.Node = database, "b" })
		a.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
		for i, s := range []*store.Store{b, a, a} {
			at := t0.Add(3 * time.Minute)
			alert := storetest.AD1(1, fmt.Sprint("alert", i), at)
			cell := s.Flow.Received(at, alert.MPxN)
			storetest.Decide(t, s, alert) // and nobody waits
			cell.End(flow.Forwarded)
			s.Ledger.NoteForwarded(storetest.Noted(1, alert.ID, at, outage.ReasonStoreUnavailable))
			storetest.Eventually(t, "the entry is corrected", func() bool { return s.DB.Ping(t.Context()) == nil && s.Ledger.Pending() == 0 })
		}
		ca.set(t0.Add(time.Hour))
		cb.set(t0.Add(time.Hour))
		flush(t, a)
		flush(t, b)
		r := audit(t, a)
		wantDifferences(t, r)
		if r.Corrected != 3 {
			t.Errorf("%+v", r)
		}
	})
}

func TestHousekeep(t *testing.T) {
	storetest.EachEngine(t, func(t *testing.T) {
		s, c := open(t, t.TempDir())
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, t0))
		for i := range 20 {
			decide(t, s, storetest.AD1(1, fmt.Sprint("alert", i), t0.Add(time.Duration(i)*time.Minute)))
			flush(t, s)
		}
		c.set(t0.Add(2 * time.Hour))
		none := func(context.Context, sqldb.Tx) error { return nil }
		if err := s.Flow.Housekeep(t.Context(), t0.Add(5*time.Minute+30*time.Second), none); err != nil {
			t.Fatal(err)
		}
		storetest.Script(t, s, `DELETE FROM suppression WHERE seq = 4`) // not all of those before: some may be kept
		r := audit(t, s)
		wantDifferences(t, r)
		if r.Total.Received != 15 || !r.From.Equal(t0.Add(5*time.Minute)) {
			t.Errorf("%+v", r)
		}
	})
}

// release gives an entry the outcome of one that was delivered later.
func release(t *testing.T, s *store.Store, seq int64) {
	t.Helper()
	if err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		if err := s.Flow.CountReleased(ctx, tx, seq); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE suppression SET outcome = 'released' WHERE seq = ?`, seq)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkCount measures what counting adds to a message that passes.
func BenchmarkCount(b *testing.B) {
	s := storetest.Open(b, b.TempDir())
	at := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			s.Flow.Received(at, london).End(flow.Forwarded)
		}
	})
}
