package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// A request that was one too many counts as the same message when it is sent again.
func TestTooManyRetried(t *testing.T) { storetest.EachEngine(t, testTooManyRetried) }

func testTooManyRetried(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	for n := range 50 {
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, uint64(n), storetest.T0.Add(time.Duration(n)*time.Millisecond)))
	}
	if r := s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1000, storetest.T0.Add(time.Second))); !r.TooMany {
		t.Fatalf("%+v", r)
	}
	if r := s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1000, storetest.T0.Add(2*time.Second))); !r.Repeated {
		t.Errorf("its retry: %+v", r)
	}
	if s.Ledger.Pending() != 0 || !s.DB.Available() {
		t.Errorf("%d records wait in the journal, available: %v", s.Ledger.Pending(), s.DB.Available())
	}
}

// A hub whose clock is not set says 1970. That is a start like any other.
func TestOutageOf1970(t *testing.T) { storetest.EachEngine(t, testOutageOf1970) }

func testOutageOf1970(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	first, later := storetest.AD1(1, "x", storetest.T0.Add(5*time.Minute)), storetest.AD1(1, "x", storetest.T0.Add(48*time.Hour))
	first.OutageStart = time.Unix(0, 0).UTC()
	if d := storetest.Decide(t, s, first); d.Outcome != outage.Suppressed || !d.Entry.OutageStart.Equal(first.OutageStart) {
		t.Fatalf("%+v", d)
	}
	if d := storetest.Decide(t, s, later); d.Outcome != outage.Forwarded || d.Retry {
		t.Errorf("a genuine alert, two days after the window: %+v", d)
	}
	if d := storetest.Decide(t, s, first); d.Outcome != outage.Suppressed || !d.Retry {
		t.Errorf("a retry: %+v", d)
	}
	// The note of one alert does not correct the entry of another.
	s.Ledger.Record(t.Context(), storetest.OnDemand(2, 1, storetest.T0))
	storetest.Decide(t, s, storetest.AD1(2, "y", storetest.T0.Add(time.Minute)))
	note := storetest.Noted(2, "y", storetest.T0.Add(time.Hour), outage.ReasonSwitchedOff)
	note.OutageStart = first.OutageStart
	s.Ledger.NoteForwarded(note)
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := storetest.Entries(t, s); e[1].Outcome != outage.Suppressed {
		t.Errorf("the entry of an alert that was not delivered says %s", e[1].Outcome)
	}
}

// If an activation fails while one attempt is refused and another has no answer yet, the
// failure counts for both.
func TestFailedWhileWithdrawn(t *testing.T) { storetest.EachEngine(t, testFailedWhileWithdrawn) }

func testFailedWhileWithdrawn(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	pending := storetest.FutureDated(1, 9, storetest.T0.Add(-time.Minute), storetest.T0.Add(10*time.Minute))
	s.Ledger.Record(t.Context(), pending)
	first, again := storetest.OnDemand(1, 1, storetest.T0), storetest.OnDemand(1, 1, storetest.T0.Add(time.Second))
	s.Ledger.Record(t.Context(), first)
	s.Ledger.Record(t.Context(), again)
	s.Ledger.RecordAnswer(t.Context(), again, outage.Withdrawn)
	s.Ledger.Fail(windows.Failed{Request: first.RequestID, Why: "DCC alert N12"})
	s.Ledger.RecordAnswer(t.Context(), first, outage.Accepted)
	for i, at := range []time.Duration{time.Minute, 11 * time.Minute} { // in its own window, and in the one that it replaced
		if d := storetest.Decide(t, s, storetest.AD1(1, fmt.Sprint(i), storetest.T0.Add(at))); d.Outcome != outage.Forwarded {
			t.Errorf("after %s: %+v", at, d)
		}
	}
}

// A cancellation is withdrawn while an earlier request is recorded late, and is accepted after
// that. It is kept as long as the earlier request.
func TestKeptWhileWithdrawn(t *testing.T) { storetest.EachEngine(t, testKeptWhileWithdrawn) }

func testKeptWhileWithdrawn(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	cancel := storetest.OnDemand(1, 2, storetest.T0.Add(2*time.Minute))
	cancel.Order, cancel.Start, cancel.End = outage.Order{Kind: outage.Cancellation}, time.Time{}, time.Time{}
	s.Ledger.Record(t.Context(), cancel)
	s.Ledger.RecordAnswer(t.Context(), cancel, outage.Withdrawn)
	late := storetest.FutureDated(1, 1, storetest.T0.Add(time.Minute), storetest.T0.Add(500*time.Hour))
	s.Ledger.Record(t.Context(), late)
	s.Ledger.RecordAnswer(t.Context(), cancel, outage.Accepted)
	if h, err := s.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(400 * time.Hour)}); err != nil || h.Activations != 0 {
		t.Errorf("housekeeping: %+v %v", h, err)
	}
	s.Ledger.RecordAnswer(t.Context(), late, outage.Uncertain)
	s.Ledger.RecordAnswer(t.Context(), late, outage.Accepted)
	if d := storetest.Decide(t, s, storetest.AD1(1, "cancelled", storetest.T0.Add(500*time.Hour+time.Minute))); d.Outcome != outage.Forwarded {
		t.Errorf("%+v", d)
	}
}

// The failure of a tracked request is not lost, however many failures of other requests wait.
func TestManyFailures(t *testing.T) { storetest.EachEngine(t, testManyFailures) }

func testManyFailures(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	a := storetest.OnDemand(1, 1, storetest.T0)
	s.Ledger.Record(t.Context(), a)
	free := storetest.HoldWriter(t, s)
	for n := range 2 * sqldb.MaxWaiting {
		s.Ledger.Fail(windows.Failed{Request: storetest.OnDemand(100+n, 1, storetest.T0).RequestID, Why: "DCC alert N12"})
	}
	s.Ledger.Fail(windows.Failed{Request: a.RequestID, Why: "DCC alert N12"})
	free()
	storetest.Eventually(t, "all are written", func() bool { return s.Ledger.FailuresWaiting() == 0 })
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := storetest.Decide(t, s, storetest.AD1(1, "x", storetest.T0.Add(time.Minute))); d.Outcome != outage.Forwarded {
		t.Errorf("the window of a failed activation is open: %+v", d)
	}
}

// In shadow a retry goes forward, also if it is decided in one batch with its first try from
// before.
func TestShadowInOneBatch(t *testing.T) { storetest.EachEngine(t, testShadowInOneBatch) }

func testShadowInOneBatch(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	free := storetest.HoldWriter(t, s)
	ask := func(n int, at time.Duration, outcome outage.Outcome) chan ledger.Decision {
		decided := make(chan ledger.Decision, 1)
		go func() {
			d, _ := s.Ledger.Decide(t.Context(), storetest.AD1(1, "x", storetest.T0.Add(at)), outcome, 0)
			decided <- d
		}()
		storetest.Eventually(t, "it waits", func() bool { return s.Ledger.DecisionsWaiting() == n })
		return decided
	}
	first := ask(1, time.Minute, outage.Suppressed)
	second := ask(2, 2*time.Minute, outage.Shadow)
	free()
	if d := <-first; d.Outcome != outage.Suppressed {
		t.Errorf("first: %+v", d)
	}
	if d := <-second; d.Outcome == outage.Suppressed {
		t.Errorf("in shadow: %+v", d)
	}
	if e := storetest.Entries(t, s); len(e) != 1 || e[0].Outcome != outage.Forwarded {
		t.Errorf("the entries are %+v", e)
	}
}

// Deciding, recording and answers cost no more if one ResponseID or one meter has a long
// history.
func TestLongHistories(t *testing.T) { storetest.EachEngine(t, testLongHistories) }

func testLongHistories(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	s := storetest.Open(t, t.TempDir())
	const long = 20_000
	rows := func(table, columns string, row func(n int) string) {
		text := ""
		for n := range long {
			text += "," + row(n)
			if n%1000 == 999 {
				storetest.Script(t, s, `INSERT INTO `+table+` (`+columns+`) VALUES `+text[1:])
				text = ""
			}
		}
	}
	activation := func(a outage.Activation, kind outage.Kind, state outage.State) string {
		return fmt.Sprintf("('%s', '%s', '%s', 0, '%s', %d, %d, %d, 0, 0, '%s', 0, %d)", a.RequestID, a.Form, kind, kind, int64(a.ESME), int64(a.CHF),
			sqldb.Micros(a.Received), state, sqldb.Micros(storetest.T0.Add(1000*time.Hour)))
	}
	const columns = `request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing, keep_until`
	at := func(n int) time.Time { return storetest.T0.Add(time.Duration(n+1) * time.Millisecond) }
	// Hub 1 and meter 1 have no history. The others have one of each kind.
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	rows("forwarded", "alert_id, chf, outage_start, received_at, reason", func(n int) string {
		return fmt.Sprintf("('used again', %d, %d, %d, 'no-window')", int64(storetest.Hub(1000+n)), sqldb.Micros(at(n)), sqldb.Micros(storetest.T0))
	})
	for _, m := range []int{2, 3} {
		s.Ledger.Record(t.Context(), storetest.OnDemand(m, 1, storetest.T0))
		s.Ledger.Record(t.Context(), storetest.FutureDated(10+m, 1, storetest.T0, storetest.T0.Add(500*time.Hour)))
	}
	rows("activation", columns, func(n int) string {
		return activation(storetest.OnDemand(3, uint64(10+n), at(n)), outage.Closing, outage.Accepted)
	})
	rows("activation", columns, func(n int) string {
		return activation(storetest.OnDemand(13, uint64(10+n), at(n)), outage.Cancellation, outage.Withdrawn)
	})
	cancel := func(m, n int) outage.Activation {
		a := storetest.OnDemand(m, uint64(n), at(n))
		a.Order, a.Start, a.End = outage.Order{Kind: outage.Cancellation}, time.Time{}, time.Time{}
		return a
	}
	for _, c := range []struct {
		name        string
		short, with func(n int)
	}{
		{"a ResponseID that is used again",
			func(n int) {
				storetest.Decide(t, s, storetest.AD1(1, fmt.Sprint("id ", n), storetest.T0.Add(time.Hour+time.Duration(n)*time.Second)))
			},
			func(n int) {
				a := storetest.AD1(1, "used again", storetest.T0.Add(time.Hour))
				a.OutageStart = storetest.T0.Add(time.Hour + time.Duration(n)*time.Second)
				storetest.Decide(t, s, a)
			}},
		{"a time-out of a meter's first request",
			func(n int) {
				s.Ledger.RecordAnswer(t.Context(), storetest.OnDemand(2, 1, storetest.T0), []outage.State{outage.Uncertain, outage.Accepted}[n%2])
			},
			func(n int) {
				s.Ledger.RecordAnswer(t.Context(), storetest.OnDemand(3, 1, storetest.T0), []outage.State{outage.Uncertain, outage.Accepted}[n%2])
			}},
		{"a refused cancellation of a meter that has many",
			func(n int) {
				s.Ledger.Record(t.Context(), cancel(12, 2*long+n))
				s.Ledger.RecordAnswer(t.Context(), cancel(12, 2*long+n), outage.Withdrawn)
			},
			func(n int) {
				s.Ledger.Record(t.Context(), cancel(13, 2*long+n))
				s.Ledger.RecordAnswer(t.Context(), cancel(13, 2*long+n), outage.Withdrawn)
			}},
	} {
		var short, with time.Duration
		for n := range 40 {
			began := time.Now()
			c.short(n)
			between := time.Now()
			c.with(n)
			short, with = short+between.Sub(began), with+time.Since(between)
		}
		if ratio := float64(with) / float64(short); ratio > 8 {
			t.Errorf("%s takes %.0f times as long with a history of %d", c.name, ratio, long)
		}
	}
}
