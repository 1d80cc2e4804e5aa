package windows_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"

	"pgregory.net/rapid"
)

// For random requests of one meter, in any order of receipt, with answers and failures in any
// order, and housekeeping at any time: the windows in force are those that
// outage.ResolveWindows finds from all requests that there ever were. Windows that are over
// are not compared.
func TestResolveAgainstTheRules(t *testing.T) { storetest.EachEngine(t, testResolveAgainstTheRules) }

func testResolveAgainstTheRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
		defer s.Close()
		all := map[int64]outage.Activation{} // also those that housekeeping deleted
		now, over := storetest.T0, storetest.T0
		var sent []outage.Activation
		for n := range rapid.IntRange(1, 25).Draw(rt, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(rt, "minutes")) * time.Minute)
			switch what := rapid.IntRange(0, 9).Draw(rt, "what"); {
			case what == 9:
				over = now
				if _, err := s.Housekeep(t.Context(), store.Limits{WindowsBefore: now}); err != nil {
					rt.Fatal(err)
				}
			case what >= 5 && len(sent) > 0:
				a := sent[rapid.IntRange(0, len(sent)-1).Draw(rt, "of")]
				if what == 5 {
					s.Ledger.Fail(windows.Failed{Request: a.RequestID, Why: "by chance"})
				} else {
					s.Ledger.RecordAnswer(t.Context(), a, rapid.SampledFrom([]outage.State{outage.Accepted, outage.Withdrawn, outage.Uncertain}).Draw(rt, "answer"))
				}
			default:
				o := outage.Order{Kind: rapid.SampledFrom([]outage.Kind{outage.OnDemand, outage.FutureDated, outage.FutureDated, outage.Cancellation}).Draw(rt, "kind")}
				if o.Kind == outage.FutureDated {
					o.At = now.Add(time.Duration(rapid.IntRange(-15, 200).Draw(rt, "at")) * time.Minute)
				}
				// As from a journal or another node: it may have arrived before others.
				received := now.Add(-time.Duration(rapid.IntRange(0, 3).Draw(rt, "before")*rapid.IntRange(0, 10).Draw(rt, "minutes before")) * time.Minute)
				if received.Before(over) {
					received = now
				}
				id := outage.RequestID{Originator: storetest.Supplier, Target: storetest.Meter(1), Counter: uint64(n)}
				form := rapid.SampledFrom([]outage.Form{outage.ServiceRequest, outage.SignedPreCommand, outage.SignedPreCommand}).Draw(rt, "form")
				a := outage.Request{ID: id, Form: form, Order: o, Received: received}.Activation(storetest.Hub(1), 30*time.Minute)
				if rapid.IntRange(0, 4).Draw(rt, "closing") == 0 {
					s.Ledger.RecordClosing(t.Context(), a)
				} else {
					s.Ledger.Record(t.Context(), a)
				}
				sent = append(sent, a)
			}
			if err := s.DB.Ping(t.Context()); err != nil {
				rt.Fatal(err)
			}
			standing := map[int64]bool{}
			list, err := s.Windows.Activations(t.Context(), windows.Filter{ESME: storetest.Meter(1)}, 1000)
			if err != nil {
				rt.Fatal(err)
			}
			for _, a := range list {
				all[a.ID], standing[a.ID] = a, a.Standing
			}
			var acts []outage.Activation
			for _, a := range all {
				acts = append(acts, a)
			}
			outage.SortByArrival(acts)
			outage.ResolveWindows(acts)
			for _, a := range acts {
				if a.HasWindow() && a.End.After(now) && a.Standing != standing[a.ID] {
					rt.Fatalf("step %d, at %s: activation %d is in force: %v; by the rules: %v\n%s", n, now, a.ID, standing[a.ID], a.Standing, describe(acts))
				}
			}
		}
	})
}

func describe(acts []outage.Activation) (text string) {
	for _, a := range acts {
		text += fmt.Sprintf("%d %s %s received %s, %s to %s, %s, superseded by %d\n", a.ID, a.Form, a.Order.Kind, a.Received.Format(time.TimeOnly),
			a.Start.Format(time.TimeOnly), a.End.Format(time.TimeOnly), a.State, a.SupersededBy)
	}
	return text
}

// The order of receipt counts, not that in which requests are recorded: one may come from a
// journal, or from another node.
func TestRecordedLate(t *testing.T) { storetest.EachEngine(t, testRecordedLate) }

func testRecordedLate(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	at := storetest.T0.Add(time.Hour)
	meter := 0
	for _, kind := range []outage.Kind{outage.Cancellation, outage.Closing, outage.FutureDated, outage.OnDemand} {
		for _, before := range []bool{false, true} { // whether it was received before the window's request
			for _, late := range []bool{false, true} { // whether it is recorded after it
				meter++
				received := storetest.T0.Add(20 * time.Minute)
				if before {
					received = storetest.T0
				}
				window := storetest.FutureDated(meter, 1, storetest.T0.Add(10*time.Minute), at)
				other := outage.Request{ID: outage.RequestID{Originator: storetest.Supplier, Target: storetest.Meter(meter), Counter: 2}, Form: outage.SignedPreCommand,
					Order: outage.Order{Kind: kind}, Received: received}
				if kind == outage.FutureDated {
					other.Order.At = at.Add(5 * time.Hour)
				}
				list := []outage.Activation{other.Activation(storetest.Hub(meter), 30*time.Minute), window}
				if late {
					slices.Reverse(list)
				}
				for _, a := range list {
					s.Ledger.Record(t.Context(), a)
				}
				d := storetest.Decide(t, s, storetest.AD1(meter, fmt.Sprint("alert ", meter), at.Add(time.Minute)))
				if (d.Outcome == outage.Suppressed) != before {
					t.Errorf("%s, received before the window's request: %v, recorded after it: %v: %+v", kind, before, late, d.Decision)
				}
			}
		}
	}
}

// Three attempts of one request, with every answer, in every order of sending and answering:
// the request has one window if any attempt was accepted, and no window otherwise.
func TestAttempts(t *testing.T) { storetest.EachEngine(t, testAttempts) }

func testAttempts(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	request := 0
	var try func(events []int, sent, answered [3]bool)
	try = func(events []int, sent, answered [3]bool) {
		done := true
		for i := range 3 {
			switch {
			case !sent[i] && (i == 0 || sent[i-1]):
				next := sent
				next[i] = true
				try(append(events[:len(events):len(events)], i), next, answered)
				done = false
			case sent[i] && !answered[i]:
				next := answered
				next[i] = true
				try(append(events[:len(events):len(events)], 3+i), sent, next)
				done = false
			}
		}
		if !done {
			return
		}
		for n := range 27 {
			request++
			answers := [3]outage.State{}
			for i := range 3 {
				answers[i] = []outage.State{outage.Accepted, outage.Withdrawn, outage.Uncertain}[n%3]
				n /= 3
			}
			attempt := func(i int) outage.Activation {
				return storetest.OnDemand(request, 1, storetest.T0.Add(time.Duration(i)*time.Minute))
			}
			for _, e := range events {
				if e < 3 {
					s.Ledger.Record(t.Context(), attempt(e))
				} else {
					s.Ledger.RecordAnswer(t.Context(), attempt(e-3), answers[e-3])
				}
			}
			d := storetest.Decide(t, s, storetest.AD1(request, fmt.Sprint("attempt ", request), storetest.T0.Add(29*time.Minute)))
			if (d.Outcome == outage.Suppressed) != slices.Contains(answers[:], outage.Accepted) {
				t.Errorf("events %v (3 and more: an answer), answers %v: %+v", events, answers, d.Decision)
			}
			list, err := s.Windows.Activations(t.Context(), windows.Filter{RequestID: attempt(0).RequestID}, 10)
			windows := slices.DeleteFunc(list, func(a outage.Activation) bool { return !a.Standing })
			if err != nil || len(windows) > 1 {
				t.Errorf("events %v, answers %v: one request has the windows %+v %v", events, answers, windows, err)
			}
		}
	}
	try(nil, [3]bool{}, [3]bool{})
	if request < 27*15 {
		t.Errorf("only %d histories", request)
	}
}

// A closing with nothing to close leaves nothing behind, nor in the set of hubs.
func TestNothingToClose(t *testing.T) { storetest.EachEngine(t, testNothingToClose) }

func testNothingToClose(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	for n := range 10 {
		if r := s.Ledger.RecordClosing(t.Context(), storetest.OnDemand(n, 1, storetest.T0)); !r.Nothing {
			t.Errorf("a closing with nothing to close: %+v", r)
		}
	}
	if s.Ledger.Hubs() != 0 {
		t.Errorf("the set has %d hubs", s.Ledger.Hubs())
	}
	s.Ledger.Record(t.Context(), storetest.FutureDated(1, 2, storetest.T0, storetest.T0.Add(time.Hour)))
	if r := s.Ledger.RecordClosing(t.Context(), storetest.OnDemand(1, 1, storetest.T0)); r.Nothing || s.Ledger.Hubs() != 1 {
		t.Errorf("%+v, %d hubs", r, s.Ledger.Hubs())
	}
}

// The cost of recording does not grow with the number of requests for a meter, and its last
// request counts.
func TestOneMeterManyRequests(t *testing.T) { storetest.EachEngine(t, testOneMeterManyRequests) }

func testOneMeterManyRequests(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	const many, few = 1500, 200
	at := func(n int) time.Time { return storetest.T0.Add(time.Duration(n) * time.Millisecond) }
	for meter, act := range map[int]func(m, n int) outage.Activation{
		1: func(m, n int) outage.Activation {
			return storetest.FutureDated(m, uint64(n), at(n), storetest.T0.Add(time.Hour))
		},
		2: func(m, n int) outage.Activation { return storetest.OnDemand(m, uint64(n), at(n)) },
	} {
		for n := range many - few {
			s.Ledger.Record(t.Context(), act(meter, n))
		}
		// To compare with: a meter with only as many requests as it may have windows.
		for n := range windows.MaxWindows {
			s.Ledger.Record(t.Context(), act(10+meter, n))
		}
		var full, fresh time.Duration
		for n := many - few; n < many; n++ {
			began := time.Now()
			s.Ledger.Record(t.Context(), act(meter, n))
			full += time.Since(began)
			began = time.Now()
			s.Ledger.Record(t.Context(), act(10+meter, n))
			fresh += time.Since(began)
		}
		if ratio := float64(full) / float64(fresh); ratio > 3 {
			t.Errorf("meter %d: recording takes %.1f times as long with %d requests as with %d", meter, ratio, many, windows.MaxWindows+few)
		}
	}
	if d := storetest.Decide(t, s, storetest.AD1(1, "open", storetest.T0.Add(time.Hour))); d.Outcome != outage.Suppressed || d.Entry.RequestID != storetest.FutureDated(1, many-1, storetest.T0, storetest.T0).RequestID.String() {
		t.Errorf("the last request does not count: %+v", d)
	}
	// A meter that has too many windows opens no more, but it can still close them.
	if r := s.Ledger.Record(t.Context(), storetest.OnDemand(2, many, at(many))); !r.TooMany {
		t.Errorf("one window too many: %+v", r)
	}
	cancel := storetest.FutureDated(1, many, at(many), storetest.T0)
	cancel.Order, cancel.Start, cancel.End = outage.Order{Kind: outage.Cancellation}, time.Time{}, time.Time{}
	s.Ledger.Record(t.Context(), storetest.FutureDated(3, 1, storetest.T0, storetest.T0.Add(time.Hour)))
	s.Ledger.Record(t.Context(), cancel)
	if d := storetest.Decide(t, s, storetest.AD1(1, "cancelled", storetest.T0.Add(time.Hour))); d.Outcome != outage.Forwarded {
		t.Errorf("cancelled: %+v", d)
	}
}
