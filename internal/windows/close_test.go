package windows_test

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

	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

const otherSupplier = storetest.Supplier + 1

// sentBy returns the activation as a request of another supplier.
func sentBy(from outage.DeviceID, a outage.Activation) outage.Activation {
	a.RequestID.Originator = from
	return a
}

func windowEvents(t *testing.T, s *store.Store) (list []events.Event) {
	t.Helper()
	all, err := events.Latest(t.Context(), s.DB, 100)
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

// Each way to select windows closes those and no others, with one event. Windows that are over
// or closed are not closed again.
func TestCloseWindows(t *testing.T) { storetest.EachEngine(t, testCloseWindows) }

func testCloseWindows(t *testing.T) {
	now := storetest.T0.Add(10 * time.Minute)
	acts := []outage.Activation{
		storetest.OnDemand(1, 1, storetest.T0.Add(-time.Hour)), // over
		storetest.OnDemand(1, 2, storetest.T0),
		storetest.FutureDated(1, 3, storetest.T0, storetest.T0.Add(5*time.Hour)),
		sentBy(otherSupplier, storetest.OnDemand(2, 1, storetest.T0)),
		storetest.FutureDated(3, 1, storetest.T0, storetest.T0.Add(2*time.Hour)),
	}
	acts[3].CHF = storetest.Hub(1) // two meters on one hub, as in a block of flats
	for _, c := range []struct {
		which  windows.Which
		says   string
		closes []int
	}{
		{windows.Which{Device: storetest.Hub(1)}, storetest.Hub(1).String(), []int{1, 2, 3}},
		{windows.Which{Device: storetest.Meter(1)}, storetest.Meter(1).String(), []int{1, 2}},
		{windows.Which{Device: storetest.Meter(2)}, storetest.Meter(2).String(), []int{3}},
		{windows.Which{Request: acts[2].RequestID}, acts[2].RequestID.String(), []int{2}},
		{windows.Which{Request: acts[0].RequestID}, "", nil},
		{windows.Which{Supplier: otherSupplier}, "supplier " + otherSupplier.String(), []int{3}},
		{windows.Which{Supplier: storetest.Supplier}, "supplier " + storetest.Supplier.String(), []int{1, 2, 4}},
		{windows.Which{All: true}, "all", []int{1, 2, 3, 4}},
		{windows.Which{Device: storetest.Hub(9)}, "", nil},
		{windows.Which{Supplier: storetest.Hub(1)}, "", nil},
		{windows.Which{}, "", nil},
	} {
		s := storetest.Open(t, t.TempDir())
		for _, a := range acts {
			s.Ledger.Record(t.Context(), a)
		}
		before, err := s.Windows.InForce(t.Context(), c.which, now, 100)
		if err != nil {
			t.Fatal(err)
		}
		closed, was, err := s.Windows.Close(t.Context(), c.which, "alice", "no fault of theirs", now, 100)
		if none := len(c.closes) == 0; none != errors.Is(err, windows.ErrNoWindows) || !none && err != nil || closed != len(c.closes) || len(was) != closed || len(before) != closed {
			t.Errorf("%+v: closed %d %v: %v; in force were %v", c.which, closed, was, err, before)
		}
		var ids, want []string
		for _, a := range was {
			ids = append(ids, a.RequestID.String())
			if !a.Standing {
				t.Errorf("%+v: not as it was before: %+v", c.which, a)
			}
		}
		for _, i := range c.closes {
			want = append(want, acts[i].RequestID.String())
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%+v: closed %v, want %v", c.which, ids, want)
		}
		for i, a := range acts {
			list, err := s.Windows.Activations(t.Context(), windows.Filter{RequestID: a.RequestID}, 10)
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			got, closed := &list[0], slices.Contains(c.closes, i)
			if closed != (got.State == outage.Closed) || closed == got.Standing || closed != (got.Why == "by alice: no fault of theirs") {
				t.Errorf("%+v: activation %d is %+v", c.which, i, got)
			}
		}
		if events := windowEvents(t, s); c.closes == nil && len(events) != 0 || c.closes != nil && (len(events) != 1 ||
			events[0].New != c.says || events[0].Old != fmt.Sprint(len(c.closes)) || events[0].Who != "alice" || events[0].Why != "no fault of theirs" || !events[0].At.Equal(now)) {
			t.Errorf("%+v: the events are %+v", c.which, events)
		}
		if _, _, err := s.Windows.Close(t.Context(), c.which, "alice", "again", now, 100); !errors.Is(err, windows.ErrNoWindows) {
			t.Errorf("%+v, again: %v", c.which, err)
		}
		s.Close()
	}
}

// A window that was closed by hand stays closed, whatever the answers are, and whatever is
// sent again or withdrawn. Only another request opens a window.
func TestClosedStaysClosed(t *testing.T) { storetest.EachEngine(t, testClosedStaysClosed) }

func testClosedStaysClosed(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	now := storetest.T0.Add(5 * time.Minute)
	pending, next := storetest.FutureDated(1, 1, storetest.T0, storetest.T0.Add(time.Hour)), storetest.OnDemand(1, 2, storetest.T0.Add(time.Minute))
	uncertain := storetest.OnDemand(1, 3, storetest.T0.Add(2*time.Minute))
	s.Ledger.Record(t.Context(), pending)
	s.Ledger.Record(t.Context(), next) // supersedes the first, unless it is withdrawn
	s.Ledger.Record(t.Context(), uncertain)
	s.Ledger.RecordAnswer(t.Context(), uncertain, outage.Uncertain)
	if d := storetest.Decide(t, s, storetest.AD1(1, "a", now)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	if closed, _, err := s.Windows.Close(t.Context(), windows.Which{Device: storetest.Meter(1)}, "alice", "why", now, 100); err != nil || closed != 3 {
		t.Fatalf("closed %d: %v", closed, err)
	}
	check := func(what string) {
		t.Helper()
		if d := storetest.Decide(t, s, storetest.AD1(1, what, now)); d.Outcome != outage.Forwarded || d.Reason != outage.ReasonWindowWithdrawn {
			t.Errorf("%s: %+v", what, d)
		}
		if list, err := s.Windows.InForce(t.Context(), windows.Which{All: true}, now, 100); err != nil || len(list) != 0 {
			t.Errorf("%s: %+v %v", what, list, err)
		}
	}
	check("closed")
	for _, answer := range []outage.State{outage.Accepted, outage.Withdrawn, outage.Uncertain, outage.Accepted} {
		for _, a := range []outage.Activation{pending, next, uncertain} {
			s.Ledger.RecordAnswer(t.Context(), a, answer)
			check(fmt.Sprint(a.RequestID, answer))
		}
	}
	for _, a := range []outage.Activation{pending, next, uncertain} {
		a.Received = now
		if r := s.Ledger.Record(t.Context(), a); !r.Repeated {
			t.Errorf("a retry of %s: %+v", a.RequestID, r)
		}
		s.Ledger.RecordAnswer(t.Context(), a, outage.Accepted)
		check("retry " + a.RequestID.String())
	}
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 4, now))
	if d := storetest.Decide(t, s, storetest.AD1(1, "z", now)); d.Outcome != outage.Suppressed {
		t.Errorf("another request: %+v", d)
	}
}

// Two attempts of one message are on their way. The first is refused, and then the windows are
// closed by hand: if the second is accepted, its window stays closed.
func TestCloseBetweenAttempts(t *testing.T) { storetest.EachEngine(t, testCloseBetweenAttempts) }

func testCloseBetweenAttempts(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	now := storetest.T0.Add(2 * time.Second)
	for i, answer := range []outage.State{outage.Accepted, outage.Uncertain, outage.Withdrawn} {
		first := storetest.OnDemand(i, 1, storetest.T0)
		second := first
		second.Received = first.Received.Add(time.Second)
		s.Ledger.Record(t.Context(), first)
		s.Ledger.Record(t.Context(), second)
		s.Ledger.RecordAnswer(t.Context(), first, outage.Withdrawn)
		if _, _, err := s.Windows.Close(t.Context(), windows.Which{Device: storetest.Meter(i)}, "alice", "why", now, 0); !errors.Is(err, windows.ErrNoWindows) {
			t.Errorf("a refused request was closed: %v", err)
		}
		s.Ledger.RecordAnswer(t.Context(), second, answer)
		if d := storetest.Decide(t, s, storetest.AD1(i, "a", now)); d.Outcome != outage.Forwarded || d.Reason != outage.ReasonWindowWithdrawn {
			t.Errorf("%s: %+v", answer, d)
		}
		want := outage.Closed
		if answer == outage.Withdrawn {
			want = answer
		}
		list, err := s.Windows.Activations(t.Context(), windows.Filter{ESME: storetest.Meter(i)}, 10)
		if err != nil || len(list) != 1 || list[0].State != want || list[0].Why != "by alice: why" {
			t.Errorf("%s: %+v %v", answer, list, err)
		}
	}
	if list := windowEvents(t, s); len(list) != 0 {
		t.Errorf("events of nothing that was closed: %+v", list)
	}
}

// Many windows are closed in several transactions, each with an event that says how many. If
// closing is interrupted, the next call closes the rest.
func TestCloseManyWindows(t *testing.T) { storetest.EachEngine(t, testCloseManyWindows) }

func testCloseManyWindows(t *testing.T) {
	const n = 2*windows.CloseBatchSize + 300
	var commits atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.OnCommit = func(time.Duration, error) {
			if commits.Add(1) == 3 { // the first reads the last id, then two batches
				cancel()
			}
		}
	})
	commits.Store(-n)                         // not those that follow
	for first := 0; first < n; first += 100 { // no transaction that takes seconds on a busy machine
		if err := s.DB.Do(t.Context(), sqldb.Background, func(ctx context.Context, tx sqldb.Tx) (err error) {
			for i := first; i < first+100 && err == nil; i++ {
				_, err = s.Windows.Record(ctx, tx, storetest.OnDemand(i, 1, storetest.T0), false)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	now := storetest.T0.Add(time.Minute)
	commits.Store(0)
	closed, _, err := s.Windows.Close(ctx, windows.Which{All: true}, "alice", "why", now, 10)
	if !errors.Is(err, sqldb.ErrUnavailable) || closed > 2*windows.CloseBatchSize {
		t.Errorf("interrupted: %d %v", closed, err)
	}
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if events := windowEvents(t, s); len(events) != 2 {
		t.Errorf("interrupted: the events are %+v", events)
	}
	s.Ledger.Record(t.Context(), storetest.OnDemand(n, 1, now))
	closed, was, err := s.Windows.Close(t.Context(), windows.Which{All: true}, "alice", "again", now, 10)
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
		t.Errorf("by the events %d were closed, want %d", sum, n+1)
	}
	if list, err := s.Windows.InForce(t.Context(), windows.Which{All: true}, now, 10); err != nil || len(list) != 0 {
		t.Errorf("still in force: %+v %v", list, err)
	}
}

// The windows in force are listed in order of their starts, and no more than the limit.
func TestInForce(t *testing.T) { storetest.EachEngine(t, testInForce) }

func testInForce(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	for i := range 20 {
		s.Ledger.Record(t.Context(), storetest.FutureDated(i, 1, storetest.T0, storetest.T0.Add(time.Duration(1+i*7%20)*time.Hour)))
	}
	s.Ledger.Record(t.Context(), storetest.OnDemand(30, 1, storetest.T0))
	s.Ledger.Record(t.Context(), storetest.OnDemand(31, 1, storetest.T0.Add(-time.Hour)))
	list, err := s.Windows.InForce(t.Context(), windows.Which{All: true}, storetest.T0.Add(time.Minute), 6)
	if err != nil || len(list) != 6 {
		t.Fatalf("%+v %v", list, err)
	}
	for i, a := range list {
		if want := storetest.T0.Add(time.Duration(i) * time.Hour); !a.Start.Equal(want) {
			t.Errorf("window %d starts at %s, want %s", i, a.Start, want)
		}
	}
}

// The answer that windows are closed is lost. They are closed once, and Close returns them.
func TestAnswerToCloseLost(t *testing.T) {
	s, proxy := storetest.OpenLosing(t)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	now := storetest.T0.Add(time.Minute)
	proxy.LoseAnswer(storetest.CommitAnswer, 1) // the answer before that is for the last id
	closed, was, err := s.Windows.Close(t.Context(), windows.Which{All: true}, "alice", "why", now, 10)
	if err != nil || closed != 1 || len(was) != 1 || !proxy.LostAnswer() {
		t.Errorf("closed %d %+v, %v; the answer was lost: %v", closed, was, err, proxy.LostAnswer())
	}
	if events := windowEvents(t, s); len(events) != 1 || events[0].Old != "1" {
		t.Errorf("the events are %+v", events)
	}
}

// A window that one node closes is closed on the others with the commit.
func TestCloseWindowsOnAllNodes(t *testing.T) { storetest.OnlyPostgres(t, testCloseWindowsOnAllNodes) }

func testCloseWindowsOnAllNodes(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	now := storetest.T0.Add(time.Minute)
	for i, s := range list {
		s.Ledger.Record(t.Context(), storetest.OnDemand(i, 1, storetest.T0))
		if d := storetest.Decide(t, s, storetest.AD1(i, fmt.Sprint("before", i), now)); d.Outcome != outage.Suppressed {
			t.Errorf("node %d: %+v", i, d)
		}
	}
	if closed, _, err := list[1].Windows.Close(t.Context(), windows.Which{All: true}, "alice", "why", now, 100); err != nil || closed != 2 {
		t.Errorf("closed %d: %v", closed, err)
	}
	for i, s := range list {
		if d := storetest.Decide(t, s, storetest.AD1(i, fmt.Sprint("after", i), now)); d.Reason != outage.ReasonWindowWithdrawn {
			t.Errorf("node %d: %+v", i, d)
		}
		if events := windowEvents(t, s); len(events) != 1 {
			t.Errorf("node %d: %+v", i, events)
		}
	}
}

// One report says that windows were closed. The next does not have that among the events in
// force.
func TestReportOfClosedWindows(t *testing.T) { storetest.EachEngine(t, testReportOfClosedWindows) }

func testReportOfClosedWindows(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	if _, _, err := s.Windows.Close(t.Context(), windows.Which{All: true}, "alice", "why", storetest.T0, 10); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} {
		r := storetest.CutUpTo(t, s, 0)
		state, changes, err := s.Reports.Events(t.Context(), r)
		if err != nil || len(state) != 0 || len(changes) != want || want == 1 && (changes[0].What != "windows" || changes[0].New != "all" || changes[0].Old != "1") {
			t.Errorf("report %d: %+v then %+v %v", i+1, state, changes, err)
		}
	}
}

// The windows of a hub, a meter or a request are found by an index of these. The windows of
// all are found by the index of their ends.
func TestWindowsByIndex(t *testing.T) { storetest.EachEngine(t, testWindowsByIndex) }

func testWindowsByIndex(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	for _, w := range []windows.Which{{Device: storetest.Hub(1)}, {Request: storetest.OnDemand(1, 1, storetest.T0).RequestID}, {All: true}, {Supplier: storetest.Supplier}} {
		cond, arg := w.Where()
		narrow := !w.All && w.Supplier == 0
		list := storetest.PlanOf(t, s, windows.InForceSQL+cond+` ORDER BY ends_at, starts_at LIMIT ?2`, sqldb.Micros(storetest.T0), 10, arg)
		closable := storetest.PlanOf(t, s, windows.ClosableSQL(cond), sqldb.Micros(storetest.T0), 10, arg, 0, 100)
		if storetest.WholeTable.MatchString(list) || narrow && strings.Contains(list, "activation_ends") || !narrow && !strings.Contains(list, "activation_ends") {
			t.Errorf("to list %s:\n%s", w, list)
		}
		if storetest.WholeTable.MatchString(closable) || narrow && strings.Contains(closable, "activation_ends") {
			t.Errorf("to close %s:\n%s", w, closable)
		}
		if narrow && !regexp.MustCompile(`activation_(chf|esme|attempt|open|meter|message)`).MatchString(closable) {
			t.Errorf("to close %s:\n%s", w, closable)
		}
	}
}
