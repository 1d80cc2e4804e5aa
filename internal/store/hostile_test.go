package store

import (
	"fmt"
	"testing"
	"time"

	"quell/internal/outage"
)

// A request that was one too many is the same message when it is sent again.
func TestTooManyRetried(t *testing.T) {
	s := openIn(t, t.TempDir())
	for n := range maxWindows {
		s.Record(t.Context(), onDemand(1, uint64(n), t0.Add(time.Duration(n)*time.Millisecond)))
	}
	if r := s.Record(t.Context(), onDemand(1, 1000, t0.Add(time.Second))); !r.TooMany {
		t.Fatalf("%+v", r)
	}
	if r := s.Record(t.Context(), onDemand(1, 1000, t0.Add(2*time.Second))); !r.Repeated {
		t.Errorf("its retry: %+v", r)
	}
	if s.Pending() != 0 || !s.Available() {
		t.Errorf("%d records wait in the journal, available: %v", s.Pending(), s.Available())
	}
}

// A hub whose clock is not set says 1970: that is a start like any other.
func TestOutageOf1970(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	first, later := ad1(1, "x", t0.Add(5*time.Minute)), ad1(1, "x", t0.Add(48*time.Hour))
	first.OutageStart = time.Unix(0, 0).UTC()
	if d := decide(t, s, first); d.Outcome != outage.Suppressed || !d.Entry.OutageStart.Equal(first.OutageStart) {
		t.Fatalf("%+v", d)
	}
	if d := decide(t, s, later); d.Outcome != outage.Forwarded || d.Retry {
		t.Errorf("a genuine alert, two days after the window: %+v", d)
	}
	if d := decide(t, s, first); d.Outcome != outage.Suppressed || !d.Retry {
		t.Errorf("a retry: %+v", d)
	}
	// Nor does the note of one correct the entry of another.
	s.Record(t.Context(), onDemand(2, 1, t0))
	decide(t, s, ad1(2, "y", t0.Add(time.Minute)))
	note := noted(2, "y", t0.Add(time.Hour), outage.ReasonSwitchedOff)
	note.OutageStart = first.OutageStart
	s.Note(note)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := allEntries(t, s); e[1].Outcome != outage.Suppressed {
		t.Errorf("the entry of an alert that was not delivered says %s", e[1].Outcome)
	}
}

// A failure that is seen while one attempt was refused and another is not answered
// yet counts for both.
func TestFailedWhileWithdrawn(t *testing.T) {
	s := openIn(t, t.TempDir())
	pending := futureDated(1, 9, t0.Add(-time.Minute), t0.Add(10*time.Minute))
	s.Record(t.Context(), pending)
	first, again := onDemand(1, 1, t0), onDemand(1, 1, t0.Add(time.Second))
	s.Record(t.Context(), first)
	s.Record(t.Context(), again)
	s.Settle(t.Context(), again, outage.Withdrawn)
	s.Fail(Failed{first.RequestID, "DCC alert N12"})
	s.Settle(t.Context(), first, outage.Accepted)
	for i, at := range []time.Duration{time.Minute, 11 * time.Minute} { // its own, and what it replaced
		if d := decide(t, s, ad1(1, fmt.Sprint(i), t0.Add(at))); d.Outcome != outage.Forwarded {
			t.Errorf("after %s: %+v", at, d)
		}
	}
}

// A cancellation that was withdrawn while an earlier request was recorded late, and is
// accepted after all, is kept as long as that one.
func TestKeptWhileWithdrawn(t *testing.T) {
	s := lead(t, openIn(t, t.TempDir()))
	cancel := onDemand(1, 2, t0.Add(2*time.Minute))
	cancel.Order, cancel.Start, cancel.End = outage.Order{Kind: outage.Cancellation}, time.Time{}, time.Time{}
	s.Record(t.Context(), cancel)
	s.Settle(t.Context(), cancel, outage.Withdrawn)
	late := futureDated(1, 1, t0.Add(time.Minute), t0.Add(500*time.Hour))
	s.Record(t.Context(), late)
	s.Settle(t.Context(), cancel, outage.Accepted)
	if h, err := s.Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(400 * time.Hour)}); err != nil || h.Activations != 0 {
		t.Errorf("%+v %v", h, err)
	}
	s.Settle(t.Context(), late, outage.Uncertain)
	s.Settle(t.Context(), late, outage.Accepted)
	if d := decide(t, s, ad1(1, "cancelled", t0.Add(500*time.Hour+time.Minute))); d.Outcome != outage.Forwarded {
		t.Errorf("%+v", d)
	}
}

// A failure is not lost among those of other requests, however many wait.
func TestManyFailures(t *testing.T) {
	s := openIn(t, t.TempDir())
	a := onDemand(1, 1, t0)
	s.Record(t.Context(), a)
	free := holdCommitter(t, s)
	for n := range 2 * maxWaiting {
		s.Fail(Failed{onDemand(100+n, 1, t0).RequestID, "DCC alert N12"})
	}
	s.Fail(Failed{a.RequestID, "DCC alert N12"})
	free()
	eventually(t, "all are looked at", func() bool {
		s.queue.mu.Lock()
		defer s.queue.mu.Unlock()
		return len(s.queue.failed) == 0
	})
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := decide(t, s, ad1(1, "x", t0.Add(time.Minute))); d.Outcome != outage.Forwarded {
		t.Errorf("its failure was seen: %+v", d)
	}
}

// In shadow a retry goes forward also where it is decided together with its first
// try, which came before.
func TestShadowInOneBatch(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	free := holdCommitter(t, s)
	ask := func(n int, at time.Duration, outcome outage.Outcome) chan Decision {
		told := make(chan Decision, 1)
		go func() {
			d, _ := s.Decide(t.Context(), ad1(1, "x", t0.Add(at)), outcome, 0)
			told <- d
		}()
		eventually(t, "it waits", func() bool { s.queue.mu.Lock(); defer s.queue.mu.Unlock(); return len(s.queue.decisions) == n })
		return told
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
	if e := allEntries(t, s); len(e) != 1 || e[0].Outcome != outage.Forwarded {
		t.Errorf("%+v", e)
	}
}

// What decides, records and answers costs no more where one ResponseID or one meter
// has a long history.
func TestLongHistories(t *testing.T) {
	s := openIn(t, t.TempDir())
	const long = 20_000
	rows := func(table, columns string, row func(n int) string) {
		text := ""
		for n := range long {
			text += "," + row(n)
			if n%1000 == 999 {
				script(t, s, `INSERT INTO `+table+` (`+columns+`) VALUES `+text[1:])
				text = ""
			}
		}
	}
	activation := func(a outage.Activation, kind outage.Kind, state outage.State) string {
		return fmt.Sprintf("('%s', '%s', '%s', 0, '%s', %d, %d, %d, 0, 0, '%s', 0, %d)", a.RequestID, a.Form, kind, kind, int64(a.ESME), int64(a.CHF),
			micros(a.Received), state, micros(t0.Add(1000*time.Hour)))
	}
	const columns = `request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing, keep_until`
	at := func(n int) time.Time { return t0.Add(time.Duration(n+1) * time.Millisecond) }
	// Hub 1 and meter 1 have no history, the others one of each kind.
	s.Record(t.Context(), onDemand(1, 1, t0))
	rows("forwarded", "alert_id, chf, outage_start, received_at, reason", func(n int) string {
		return fmt.Sprintf("('used again', %d, %d, %d, 'no-window')", int64(hub(1000+n)), micros(at(n)), micros(t0))
	})
	for _, m := range []int{2, 3} {
		s.Record(t.Context(), onDemand(m, 1, t0))
		s.Record(t.Context(), futureDated(10+m, 1, t0, t0.Add(500*time.Hour)))
	}
	rows("activation", columns, func(n int) string {
		return activation(onDemand(3, uint64(10+n), at(n)), outage.Closing, outage.Accepted)
	})
	rows("activation", columns, func(n int) string {
		return activation(onDemand(13, uint64(10+n), at(n)), outage.Cancellation, outage.Withdrawn)
	})
	cancel := func(m, n int) outage.Activation {
		a := onDemand(m, uint64(n), at(n))
		a.Order, a.Start, a.End = outage.Order{Kind: outage.Cancellation}, time.Time{}, time.Time{}
		return a
	}
	for _, c := range []struct {
		name        string
		short, with func(n int)
	}{
		{"a ResponseID that is used again",
			func(n int) {
				decide(t, s, ad1(1, fmt.Sprint("id ", n), t0.Add(time.Hour+time.Duration(n)*time.Second)))
			},
			func(n int) {
				a := ad1(1, "used again", t0.Add(time.Hour))
				a.OutageStart = t0.Add(time.Hour + time.Duration(n)*time.Second)
				decide(t, s, a)
			}},
		{"a time-out of a meter's first request",
			func(n int) {
				s.Settle(t.Context(), onDemand(2, 1, t0), []outage.State{outage.Uncertain, outage.Accepted}[n%2])
			},
			func(n int) {
				s.Settle(t.Context(), onDemand(3, 1, t0), []outage.State{outage.Uncertain, outage.Accepted}[n%2])
			}},
		{"a refused cancellation of a meter that has many",
			func(n int) {
				s.Record(t.Context(), cancel(12, 2*long+n))
				s.Settle(t.Context(), cancel(12, 2*long+n), outage.Withdrawn)
			},
			func(n int) {
				s.Record(t.Context(), cancel(13, 2*long+n))
				s.Settle(t.Context(), cancel(13, 2*long+n), outage.Withdrawn)
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
