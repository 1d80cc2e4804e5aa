package ledger_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

func TestDecideLogsInOneStep(t *testing.T) { storetest.EachEngine(t, testDecideLogsInOneStep) }

func testDecideLogsInOneStep(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	seq, count := uint32(7), uint32(3)
	a := storetest.AD1(1, "a", storetest.T0.Add(5*time.Minute))
	a.Throttled = outage.Throttled{SequenceID: &seq, Count: &count}
	d := storetest.Decide(t, s, a)
	if d.Outcome != outage.Suppressed || d.Reason != outage.ReasonWindowOpen || d.Retry {
		t.Fatalf("decision: %+v", d)
	}
	e := storetest.Entries(t, s)[0]
	if fmt.Sprint(*e.Throttled.SequenceID, *e.Throttled.Count) != "7 3" {
		t.Errorf("throttled: %+v", e.Throttled)
	}
	e.Throttled = outage.Throttled{}
	want := outage.Entry{Seq: 1, AlertID: "a", AlertCode: "AD1", CHF: storetest.Hub(1), ESME: storetest.Meter(1), MPxN: "1200023305967", MPxNValid: true, Distributor: "12",
		OutageStart: storetest.OutageOf("a"), Received: storetest.T0.Add(5 * time.Minute), RequestID: storetest.OnDemand(1, 1, storetest.T0).RequestID.String(), Mode: outage.OnDemand,
		WindowStart: storetest.T0, WindowEnd: storetest.T0.Add(30 * time.Minute), Outcome: outage.Suppressed}
	if e != want {
		t.Errorf("entry\n got %+v\nwant %+v", e, want)
	}
}

func TestEvidence(t *testing.T) { storetest.EachEngine(t, testEvidence) }

func testEvidence(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	for i, c := range []struct {
		start    time.Duration // of the outage, from the window's start
		mpxn     string
		before   bool
		repeated bool
		valid    bool
	}{
		{-60 * time.Second, "1200023305967", false, false, true}, // within the tolerance
		{-60*time.Second - time.Microsecond, "1200023305968", true, true, false},
		{0, "not a number \"\\\x01é", false, true, false},
	} {
		a := storetest.AD1(1, fmt.Sprint(i), storetest.T0.Add(10*time.Minute))
		a.OutageStart, a.MPxN = storetest.T0.Add(c.start), c.mpxn
		e := storetest.Decide(t, s, a).Entry
		if e.StartedBefore != c.before || e.Repeated != c.repeated || e.MPxN != c.mpxn || e.MPxNValid != c.valid || (e.Distributor != "") != c.valid {
			t.Errorf("%d: got %+v, want %+v", i, e, c)
		}
	}
}

// Of the outages in one window all except the first are repeated, also within a batch. Several
// alerts of the first outage, to several users, are not repeated.
func TestRepeatedInABatch(t *testing.T) { storetest.EachEngine(t, testRepeatedInABatch) }

func testRepeatedInABatch(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	s.Ledger.Record(t.Context(), storetest.OnDemand(2, 1, storetest.T0))
	storetest.Decide(t, s, storetest.AD1(1, "alone", storetest.T0)) // from now on, on PostgreSQL, the ledger expects suppressed alerts
	free := storetest.HoldWriter(t, s)
	type sent struct {
		hub, minutes int // minutes: when the outage began
		repeated     bool
	}
	list := []sent{{1, -3, false}, {2, -3, false}, {2, -2, true}, {2, -3, false}, {2, -1, true}}
	got := make([]ledger.Decision, len(list))
	var wg sync.WaitGroup
	for i, x := range list {
		a := storetest.AD1(x.hub, fmt.Sprint(i), storetest.T0)
		a.OutageStart = storetest.T0.Add(time.Duration(x.minutes) * time.Minute)
		wg.Go(func() { got[i], _ = s.Ledger.Decide(t.Context(), a, outage.Suppressed, 0) })
		storetest.Eventually(t, "queued", func() bool { return s.Ledger.DecisionsWaiting() == i+1 })
	}
	free()
	wg.Wait()
	first := storetest.Decide(t, s, storetest.AD1(1, "alone", storetest.T0)).Entry.OutageStart
	for i, e := range storetest.Entries(t, s)[1:] {
		want := list[i].repeated || list[i].hub == 1 && !got[i].Entry.OutageStart.Equal(first)
		if e.Repeated != want || got[i].Entry.Repeated != want || got[i].Entry.AlertID != e.AlertID {
			t.Errorf("entry %d is repeated: %v in the log, %v in the decision, want %v", e.Seq, e.Repeated, got[i].Entry.Repeated, want)
		}
	}
}

func TestBatch(t *testing.T) { storetest.EachEngine(t, testBatch) }

func testBatch(t *testing.T) {
	// A batch with the same alert twice, two alerts of one hub, and one without a window. They
	// wait for a slow transaction, so that they form one batch.
	var batches []int
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.OnDecided = func(n int, _ error) {
			batches = append(batches, n)
		}
	})
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	s.Ledger.Record(t.Context(), storetest.FutureDated(2, 1, storetest.T0, storetest.T0.Add(time.Hour)))
	free := storetest.HoldWriter(t, s)
	alerts := []outage.Alert{storetest.AD1(1, "a", storetest.T0), storetest.AD1(1, "a", storetest.T0), storetest.AD1(2, "b", storetest.T0), storetest.AD1(1, "c", storetest.T0)}
	got := make([]ledger.Decision, len(alerts))
	done := make(chan int)
	for i, a := range alerts {
		go func() {
			got[i], _ = s.Ledger.Decide(t.Context(), a, outage.Suppressed, 0)
			done <- i
		}()
		storetest.Eventually(t, "queued", func() bool { return s.Ledger.DecisionsWaiting() == i+1 })
	}
	free()
	for range alerts {
		<-done
	}
	if fmt.Sprint(batches) != "[4]" {
		t.Errorf("batches: %v", batches)
	}
	if got[0].Entry != got[1].Entry || got[0].Entry.Seq != 1 || got[3].Entry.Seq != 2 {
		t.Errorf("sequence: %+v", got)
	}
	if got[0].Entry.Repeated || !got[3].Entry.Repeated {
		t.Errorf("repeated: %+v", got)
	}
	if got[2].Outcome != outage.Forwarded || got[2].Reason != outage.ReasonWindowNotBegun {
		t.Errorf("without window: %+v", got[2])
	}
	if n := len(storetest.Entries(t, s)); n != 2 {
		t.Errorf("%d entries", n)
	}
}

// An alert goes forward while its first try still waits for a decision, for example because the
// switch was changed to off in between. Then the first try goes forward too, and there is no
// entry.
func TestNotesBeforeDecisions(t *testing.T) { storetest.EachEngine(t, testNotesBeforeDecisions) }

func testNotesBeforeDecisions(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	storetest.Decide(t, s, storetest.AD1(1, "before", storetest.T0)) // from now on, on PostgreSQL, the ledger expects suppressed alerts
	free := storetest.HoldWriter(t, s)
	got := make([]ledger.Decision, 4)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			got[i], _ = s.Ledger.Decide(t.Context(), storetest.AD1(1, fmt.Sprint(i), storetest.T0), outage.Suppressed, 0)
		})
		storetest.Eventually(t, "queued", func() bool { return s.Ledger.DecisionsWaiting() == i+1 })
	}
	for _, id := range []string{"1", "3"} {
		s.Ledger.NoteForwarded(storetest.Noted(1, id, storetest.T0, outage.ReasonSwitchedOff))
	}
	free()
	wg.Wait()
	for i, d := range got {
		want := outage.Decision{Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen}
		if i%2 == 1 {
			want = outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonSwitchedOff}
		}
		if d.Decision != want || d.Retry != (i%2 == 1) {
			t.Errorf("alert %d: %+v", i, d)
		}
	}
	want := map[string]outage.Outcome{"before": outage.Suppressed, "0": outage.Suppressed, "2": outage.Suppressed}
	if logged := storetest.Outcomes(t, s); !maps.Equal(logged, want) {
		t.Errorf("the log has %v, want %v", logged, want)
	}
}

// A decision that nobody waits for any more is dropped: after a slow spell the database has no
// work with alerts that went forward.
func TestAbandonedIsNotDecided(t *testing.T) { storetest.EachEngine(t, testAbandonedIsNotDecided) }

func testAbandonedIsNotDecided(t *testing.T) {
	var batches []int
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.OnDecided = func(n int, _ error) { batches = append(batches, n) }
	})
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	free := storetest.HoldWriter(t, s)
	for n := range 5 {
		if _, err := s.Ledger.Decide(storetest.Short(t), storetest.AD1(1, fmt.Sprint("late ", n), storetest.T0), outage.Suppressed, 0); err == nil {
			t.Fatal("it was decided in time")
		}
	}
	done := make(chan ledger.Decision)
	go func() {
		d, _ := s.Ledger.Decide(t.Context(), storetest.AD1(1, "waits", storetest.T0), outage.Suppressed, 0)
		done <- d
	}()
	storetest.Eventually(t, "queued", func() bool { return s.Ledger.DecisionsWaiting() == 6 })
	free()
	if d := <-done; d.Outcome != outage.Suppressed || d.Entry.Seq != 1 {
		t.Errorf("%+v", d)
	}
	if fmt.Sprint(batches) != "[1]" {
		t.Errorf("batches of %v were decided", batches)
	}
}

func TestSameAlertSameDecision(t *testing.T) { storetest.EachEngine(t, testSameAlertSameDecision) }

func testSameAlertSameDecision(t *testing.T) {
	dir := t.TempDir()
	s := storetest.MakeLeader(t, storetest.Open(t, dir))
	s.Ledger.Record(t.Context(), storetest.FutureDated(1, 1, storetest.T0, storetest.T0.Add(time.Hour)))
	// One alert is forwarded before the window, and sent again within it. Another has only a
	// note, and is sent again when the hub has a window.
	if d := storetest.Decide(t, s, storetest.AD1(1, "early", storetest.T0)); d.Reason != outage.ReasonWindowNotBegun {
		t.Fatal(d)
	}
	s.Ledger.NoteForwarded(storetest.Noted(1, "noted", storetest.T0, outage.ReasonNoWindow))
	if d := storetest.Decide(t, s, storetest.AD1(1, "inside", storetest.T0.Add(61*time.Minute))); d.Outcome != outage.Suppressed {
		t.Fatal(d)
	}
	for range 2 {
		for id, want := range map[string]outage.Decision{
			"early":  {Outcome: outage.Forwarded, Reason: outage.ReasonWindowNotBegun},
			"noted":  {Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow},
			"inside": {Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen},
		} {
			for _, at := range []time.Duration{61 * time.Minute, 100 * time.Hour} {
				if d := storetest.Decide(t, s, storetest.AD1(1, id, storetest.T0.Add(at))); d.Decision != want || !d.Retry {
					t.Errorf("%s after %v: %+v", id, at, d)
				}
			}
		}
		if n := len(storetest.Entries(t, s)); n != 1 {
			t.Fatalf("%d entries", n)
		}
		// The same after a restart, and after housekeeping has deleted the window.
		s.Close()
		s = storetest.MakeLeader(t, storetest.Open(t, dir))
		if h, err := s.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(1000 * time.Hour), LogBefore: storetest.T0.Add(-time.Hour)}); err != nil || h.Entries+h.Notes > 0 {
			t.Fatal(h, err)
		}
		if !s.Ledger.MayHaveWindow(storetest.Hub(1)) {
			t.Error("a hub with a log entry is not in the set")
		}
	}
}

func TestRecordRetry(t *testing.T) { storetest.EachEngine(t, testRecordRetry) }

func testRecordRetry(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	first := storetest.OnDemand(1, 1, storetest.T0)
	if r := s.Ledger.Record(t.Context(), first); r.Repeated {
		t.Fatal("first is repeated")
	}
	second := storetest.OnDemand(1, 1, storetest.T0.Add(20*time.Minute))
	if r := s.Ledger.Record(t.Context(), second); !r.Repeated {
		t.Fatal("the same message opened a second window")
	}
	// One try is refused, the other accepted, in either order: the window is in force.
	s.Ledger.RecordAnswer(t.Context(), second, outage.Withdrawn)
	if d := storetest.Decide(t, s, storetest.AD1(1, "refused", storetest.T0.Add(21*time.Minute))); d.Reason != outage.ReasonWindowWithdrawn {
		t.Fatal(d)
	}
	s.Ledger.RecordAnswer(t.Context(), first, outage.Accepted)
	if d := storetest.Decide(t, s, storetest.AD1(1, "accepted", storetest.T0.Add(22*time.Minute))); d.Outcome != outage.Suppressed {
		t.Fatal(d)
	}
	s.Ledger.RecordAnswer(t.Context(), second, outage.Withdrawn)
	if d := storetest.Decide(t, s, storetest.AD1(1, "still", storetest.T0.Add(23*time.Minute))); d.Outcome != outage.Suppressed {
		t.Fatal(d)
	}
	// A request that is refused and sent again has a window from then on.
	s.Ledger.Record(t.Context(), storetest.OnDemand(2, 1, storetest.T0))
	s.Ledger.RecordAnswer(t.Context(), storetest.OnDemand(2, 1, storetest.T0), outage.Withdrawn)
	again := storetest.OnDemand(2, 1, storetest.T0.Add(time.Hour))
	if r := s.Ledger.Record(t.Context(), again); r.Repeated {
		t.Fatal("the retry of a refused request has no window")
	}
	// A late answer to the first try does not change the second.
	s.Ledger.RecordAnswer(t.Context(), storetest.OnDemand(2, 1, storetest.T0), outage.Withdrawn)
	if d := storetest.Decide(t, s, storetest.AD1(2, "again", storetest.T0.Add(89*time.Minute))); d.Outcome != outage.Suppressed {
		t.Fatal(d)
	}
}
