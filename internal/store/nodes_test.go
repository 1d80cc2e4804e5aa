package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
)

// nodes opens several stores on one database.
func nodes(t testing.TB, n int) (list []*Store) {
	if !onPostgres() {
		t.Skip("skip allowed: SQLite has one node; TestOnPostgreSQL runs this")
	}
	database := databaseOf(t, t.TempDir())
	for range n {
		list = append(list, openIn(t, t.TempDir(), func(o *Options) { o.Database = database }))
	}
	return list
}

// What one node records, another knows.
func TestNodesFollowEachOther(t *testing.T) {
	list := nodes(t, 2)
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
	b.Note(Forwarded{"x", hub(1), t0, outage.ReasonNoWindow})
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := outcomes(t, a); got["x"] != outage.Forwarded {
		t.Errorf("outcomes %v", got)
	}
}

// Several nodes decide at once: numbers have no gap, and an alert that comes to
// two of them gets one entry and one decision.
func TestNodesDecideAtOnce(t *testing.T) {
	list := nodes(t, 3)
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
	list := nodes(t, 3)
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
