package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/outage"
)

const otherSupplier = supplier + 1

// of is the activation as another supplier's.
func of(from outage.DeviceID, a outage.Activation) outage.Activation {
	a.RequestID.Originator = from
	return a
}

func windowEvents(t *testing.T, s *Store) (list []Event) {
	t.Helper()
	all, err := s.Events(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.What == "windows" {
			list = append(list, e)
		}
	}
	return list
}

// Each way to say which windows closes those and no others, with one event; what is
// over, or closed already, is not closed again.
func TestCloseWindows(t *testing.T) {
	now := t0.Add(10 * time.Minute)
	acts := []outage.Activation{
		onDemand(1, 1, t0.Add(-time.Hour)), // over
		onDemand(1, 2, t0),
		futureDated(1, 3, t0, t0.Add(5*time.Hour)),
		of(otherSupplier, onDemand(2, 1, t0)),
		futureDated(3, 1, t0, t0.Add(2*time.Hour)),
	}
	acts[3].CHF = hub(1) // two meters on one hub, as in a block of flats
	for _, c := range []struct {
		which  Which
		says   string
		closes []int
	}{
		{Which{Device: hub(1)}, hub(1).String(), []int{1, 2, 3}},
		{Which{Device: meter(1)}, meter(1).String(), []int{1, 2}},
		{Which{Device: meter(2)}, meter(2).String(), []int{3}},
		{Which{Request: acts[2].RequestID}, acts[2].RequestID.String(), []int{2}},
		{Which{Request: acts[0].RequestID}, "", nil},
		{Which{Supplier: otherSupplier}, "supplier " + otherSupplier.String(), []int{3}},
		{Which{Supplier: supplier}, "supplier " + supplier.String(), []int{1, 2, 4}},
		{Which{All: true}, "all", []int{1, 2, 3, 4}},
		{Which{Device: hub(9)}, "", nil},
		{Which{Supplier: hub(1)}, "", nil},
		{Which{}, "", nil},
	} {
		s := openIn(t, t.TempDir())
		for _, a := range acts {
			s.Record(t.Context(), a)
		}
		before, err := s.Windows(t.Context(), c.which, now, 100)
		if err != nil {
			t.Fatal(err)
		}
		closed, was, err := s.CloseWindows(t.Context(), c.which, "alice", "no fault of theirs", now, 100)
		if none := len(c.closes) == 0; none != errors.Is(err, ErrNoWindows) || !none && err != nil || closed != len(c.closes) || len(was) != closed || len(before) != closed {
			t.Errorf("%+v: closed %d %v: %v; there were %v", c.which, closed, was, err, before)
		}
		var ids, want []string
		for _, a := range was {
			ids = append(ids, a.RequestID.String())
			if !a.Standing {
				t.Errorf("%+v: %+v", c.which, a)
			}
		}
		for _, i := range c.closes {
			want = append(want, acts[i].RequestID.String())
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%+v: closed %v, want %v", c.which, ids, want)
		}
		for i, a := range acts {
			list, err := s.Activations(t.Context(), Find{RequestID: a.RequestID}, 10)
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			is, closed := &list[0], slices.Contains(c.closes, i)
			if closed != (is.State == outage.Closed) || closed == is.Standing || closed != (is.Why == "by alice: no fault of theirs") {
				t.Errorf("%+v: %d is %+v", c.which, i, is)
			}
		}
		if events := windowEvents(t, s); c.closes == nil && len(events) != 0 || c.closes != nil && (len(events) != 1 ||
			events[0].New != c.says || events[0].Old != fmt.Sprint(len(c.closes)) || events[0].Who != "alice" || events[0].Why != "no fault of theirs" || !events[0].At.Equal(now)) {
			t.Errorf("%+v: %+v", c.which, events)
		}
		if _, _, err := s.CloseWindows(t.Context(), c.which, "alice", "again", now, 100); !errors.Is(err, ErrNoWindows) {
			t.Errorf("%+v, again: %v", c.which, err)
		}
		s.Close()
	}
}

// A window that was closed by hand stays closed, whatever is answered, and whatever
// is sent again or withdrawn; only another request opens one.
func TestClosedStaysClosed(t *testing.T) {
	s := openIn(t, t.TempDir())
	now := t0.Add(5 * time.Minute)
	pending, next := futureDated(1, 1, t0, t0.Add(time.Hour)), onDemand(1, 2, t0.Add(time.Minute))
	uncertain := onDemand(1, 3, t0.Add(2*time.Minute))
	s.Record(t.Context(), pending)
	s.Record(t.Context(), next) // takes the place of the first, unless it is withdrawn
	s.Record(t.Context(), uncertain)
	s.Settle(t.Context(), uncertain, outage.Uncertain)
	if d := decide(t, s, ad1(1, "a", now)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	if closed, _, err := s.CloseWindows(t.Context(), Which{Device: meter(1)}, "alice", "why", now, 100); err != nil || closed != 3 {
		t.Fatalf("closed %d: %v", closed, err)
	}
	check := func(what string) {
		t.Helper()
		if d := decide(t, s, ad1(1, what, now)); d.Outcome != outage.Forwarded || d.Reason != outage.ReasonWindowWithdrawn {
			t.Errorf("%s: %+v", what, d)
		}
		if list, err := s.Windows(t.Context(), Which{All: true}, now, 100); err != nil || len(list) != 0 {
			t.Errorf("%s: %+v %v", what, list, err)
		}
	}
	check("closed")
	for _, answer := range []outage.State{outage.Accepted, outage.Withdrawn, outage.Uncertain, outage.Accepted} {
		for _, a := range []outage.Activation{pending, next, uncertain} {
			s.Settle(t.Context(), a, answer)
			check(fmt.Sprint(a.RequestID, answer))
		}
	}
	for _, a := range []outage.Activation{pending, next, uncertain} {
		a.Received = now
		if r := s.Record(t.Context(), a); !r.Repeated {
			t.Errorf("a retry of %s: %+v", a.RequestID, r)
		}
		s.Settle(t.Context(), a, outage.Accepted)
		check("retry " + a.RequestID.String())
	}
	s.Record(t.Context(), onDemand(1, 4, now))
	if d := decide(t, s, ad1(1, "z", now)); d.Outcome != outage.Suppressed {
		t.Errorf("another request: %+v", d)
	}
}

// Many are closed in steps, each with an event that says how many; what was cut off
// goes on when it is asked for again.
func TestCloseManyWindows(t *testing.T) {
	const n = 2*closeStep + 300
	var commits atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := openIn(t, t.TempDir(), func(o *Options) {
		o.OnCommit = func(int, time.Duration, error) {
			if commits.Add(1) == 3 { // of the last window's number, and of two steps
				cancel()
			}
		}
	})
	err := s.do(t.Context(), later, func(ctx context.Context) (err error) {
		for i := 0; i < n && err == nil; i++ {
			_, _, err = s.insertActivation(ctx, onDemand(i, 1, t0), false)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	now := t0.Add(time.Minute)
	commits.Store(0)
	closed, _, err := s.CloseWindows(ctx, Which{All: true}, "alice", "why", now, 10)
	if !errors.Is(err, ErrUnavailable) || closed > 2*closeStep {
		t.Errorf("cut off: %d %v", closed, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if events := windowEvents(t, s); len(events) != 2 {
		t.Errorf("cut off: %+v", events)
	}
	s.Record(t.Context(), onDemand(n, 1, now))
	closed, was, err := s.CloseWindows(t.Context(), Which{All: true}, "alice", "again", now, 10)
	if err != nil || closed != 301 || len(was) != 10 {
		t.Errorf("again: %d %d %v", closed, len(was), err)
	}
	sum := 0
	for _, e := range windowEvents(t, s) {
		v, err := strconv.Atoi(e.Old)
		if err != nil || v == 0 {
			t.Errorf("%+v", e)
		}
		sum += v
	}
	if sum != n+1 {
		t.Errorf("the events say %d of %d", sum, n+1)
	}
	if list, err := s.Windows(t.Context(), Which{All: true}, now, 10); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

// The windows that are listed are the next to begin, and no more than are asked for.
func TestWindows(t *testing.T) {
	s := openIn(t, t.TempDir())
	for i := range 20 {
		s.Record(t.Context(), futureDated(i, 1, t0, t0.Add(time.Duration(1+i*7%20)*time.Hour)))
	}
	s.Record(t.Context(), onDemand(30, 1, t0))
	s.Record(t.Context(), onDemand(31, 1, t0.Add(-time.Hour)))
	list, err := s.Windows(t.Context(), Which{All: true}, t0.Add(time.Minute), 6)
	if err != nil || len(list) != 6 {
		t.Fatalf("%+v %v", list, err)
	}
	for i, a := range list {
		if want := t0.Add(time.Duration(i) * time.Hour); !a.Start.Equal(want) {
			t.Errorf("%d begins at %s, not at %s", i, a.Start, want)
		}
	}
}

// The answer that windows are closed is lost: they come to be closed once, and that is
// said.
func TestAnswerToCloseLost(t *testing.T) {
	s, proxy := losing(t)
	s.Record(t.Context(), onDemand(1, 1, t0))
	now := t0.Add(time.Minute)
	proxy.LoseAnswer(committed, 1) // the first is of the last window's number
	closed, was, err := s.CloseWindows(t.Context(), Which{All: true}, "alice", "why", now, 10)
	if err != nil || closed != 1 || len(was) != 1 || !proxy.LostAnswer() {
		t.Errorf("%d %+v %v", closed, was, err)
	}
	if events := windowEvents(t, s); len(events) != 1 || events[0].Old != "1" {
		t.Errorf("%+v", events)
	}
}

// A window that one node closes is closed on the others with the commit.
func TestCloseWindowsOnAllNodes(t *testing.T) {
	list := openNodes(t, 2)
	now := t0.Add(time.Minute)
	for i, s := range list {
		s.Record(t.Context(), onDemand(i, 1, t0))
		if d := decide(t, s, ad1(i, fmt.Sprint("before", i), now)); d.Outcome != outage.Suppressed {
			t.Errorf("node %d: %+v", i, d)
		}
	}
	if closed, _, err := list[1].CloseWindows(t.Context(), Which{All: true}, "alice", "why", now, 100); err != nil || closed != 2 {
		t.Errorf("closed %d: %v", closed, err)
	}
	for i, s := range list {
		if d := decide(t, s, ad1(i, fmt.Sprint("after", i), now)); d.Reason != outage.ReasonWindowWithdrawn {
			t.Errorf("node %d: %+v", i, d)
		}
		if events := windowEvents(t, s); len(events) != 1 {
			t.Errorf("node %d: %+v", i, events)
		}
	}
}

// A report tells that windows were closed, once, and does not take it for what is in
// force.
func TestReportOfClosedWindows(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	if _, _, err := s.CloseWindows(t.Context(), Which{All: true}, "alice", "why", t0, 10); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} {
		r := cutUpTo(t, s, 0)
		state, changes, err := s.ReportEvents(t.Context(), r)
		if err != nil || len(state) != 0 || len(changes) != want || want == 1 && (changes[0].What != "windows" || changes[0].New != "all" || changes[0].Old != "1") {
			t.Errorf("report %d: %+v then %+v %v", i+1, state, changes, err)
		}
	}
}

// The windows of a hub, a meter or a request are found by an index of these, whatever
// else is kept, and the next of all by their end.
func TestWindowsByIndex(t *testing.T) {
	s := openIn(t, t.TempDir())
	for _, w := range []Which{{Device: hub(1)}, {Request: onDemand(1, 1, t0).RequestID}, {All: true}, {Supplier: supplier}} {
		cond, arg := w.where()
		narrow := !w.All && w.Supplier == 0
		list := planOf(t, s, windowsSQL+cond+` ORDER BY ends_at, starts_at LIMIT ?2`, micros(t0), 10, arg)
		closable := planOf(t, s, closableSQL+cond+closablePage, micros(t0), 10, arg, 0, 100)
		if wholeTable.MatchString(list) || narrow && strings.Contains(list, "activation_ends") || !narrow && !strings.Contains(list, "activation_ends") {
			t.Errorf("to list %s:\n%s", w, list)
		}
		if wholeTable.MatchString(closable) || narrow && strings.Contains(closable, "activation_ends") {
			t.Errorf("to close %s:\n%s", w, closable)
		}
		if narrow && !regexp.MustCompile(`activation_(chf|esme|attempt|open|meter|message)`).MatchString(closable) {
			t.Errorf("to close %s:\n%s", w, closable)
		}
	}
}
