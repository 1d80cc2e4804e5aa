package windows_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

func activationsOf(t *testing.T, s *store.Store, n int) []outage.Activation {
	t.Helper()
	list, err := s.Windows.Activations(t.Context(), windows.Filter{ESME: storetest.Meter(n)}, 100)
	if err != nil || len(list) == 0 {
		t.Fatalf("the activations of the meter: %v, %v", list, err)
	}
	return list
}

func verified(a outage.Activation) outage.Activation {
	a.Verified = true
	return a
}

// An old request that is sent again opens no window. It still closes what is pending.
func TestReplayed(t *testing.T) { storetest.EachEngine(t, testReplayed) }

func testReplayed(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	at := storetest.T0
	record := func(what string, a outage.Activation, want windows.Recorded) {
		t.Helper()
		a.Received = at
		a = outage.Request{ID: a.RequestID, Form: a.Form, Order: a.Order, Received: at, Verified: a.Verified}.Activation(a.CHF, a.End.Sub(a.Start))
		at = at.Add(time.Minute)
		got := s.Ledger.Record(t.Context(), a).Recorded
		if got.Hub = 0; got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	answer := func(a outage.Activation, state outage.State) {
		t.Helper()
		a.Received = at
		s.Ledger.RecordAnswer(t.Context(), a, state)
	}
	opened, replayed := windows.Recorded{}, windows.Recorded{Replayed: true}
	five := verified(storetest.OnDemand(1, 5, at))
	record("the first", five, opened)
	record("the first again", five, windows.Recorded{Repeated: true})
	record("a lower counter", verified(storetest.OnDemand(1, 4, at)), replayed)
	record("a lower counter of another meter", verified(storetest.OnDemand(2, 4, at)), opened)
	other := verified(storetest.OnDemand(1, 4, at))
	other.RequestID.Originator++
	record("a lower counter of another originator", other, opened)
	request := verified(storetest.OnDemand(1, 4, at))
	request.Form = outage.ServiceRequest
	record("a lower counter in another form", request, opened)
	record("a lower counter that is not verified", storetest.OnDemand(1, 3, at), opened)
	highest := verified(storetest.OnDemand(3, 1<<64-1, at))
	record("the highest counter", highest, opened)
	record("a lower counter than the highest", verified(storetest.OnDemand(3, 1<<63, at)), replayed)
	record("a low counter", verified(storetest.OnDemand(4, 5, at)), opened)
	record("one in the upper half", verified(storetest.OnDemand(4, 1<<63+5, at)), opened)
	record("one in the lower half after it", verified(storetest.OnDemand(4, 6, at)), replayed)

	six := verified(storetest.FutureDated(1, 6, at, at.Add(24*time.Hour)))
	record("one that is refused", six, opened)
	answer(six, outage.Withdrawn)
	record("one that was refused, again", six, opened)
	answer(six, outage.Uncertain)
	record("one whose answer was lost, again", six, opened)
	fail := func(ctx context.Context, tx sqldb.Tx) error {
		return windows.Fail(ctx, tx, []windows.Failed{{Request: six.RequestID, Why: "no image"}})
	}
	if err := s.DB.Do(t.Context(), sqldb.Urgent, fail); err != nil {
		t.Fatal(err)
	}
	record("one that failed, again", six, windows.Recorded{Replayed: true})

	s.Ledger.Record(t.Context(), storetest.OnDemand(5, 8, at)) // so that there is something to close
	nine := verified(storetest.OnDemand(5, 9, at))
	s.Ledger.RecordClosing(t.Context(), nine) // as when the switch is off
	at = at.Add(48 * time.Hour)               // the first window is over
	record("one that could only close, again", nine, windows.Recorded{Repeated: true})
	for _, a := range activationsOf(t, s, 5) {
		if a.RequestID.Counter == 9 && a.HasWindow() {
			t.Errorf("a copy of a request that could only close has opened a window: %+v", a)
		}
	}

	seven := verified(storetest.FutureDated(1, 7, at, at.Add(24*time.Hour)))
	record("one that waits", seven, opened)
	record("an old one closes it", verified(storetest.OnDemand(1, 2, at)), replayed)
	for _, a := range activationsOf(t, s, 1) {
		if a.RequestID.Counter == 7 && a.Standing {
			t.Errorf("an old request did not close what was pending: %+v", a)
		}
	}
}

// However requests are mixed up, sent again and forgotten: no request opens a window after one of
// the same originator, for the same meter and in the same form, with a higher counter.
func TestReplayedHistories(t *testing.T) { storetest.EachEngine(t, testReplayedHistories) }

func testReplayedHistories(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	rnd := rand.New(rand.NewPCG(1, 2))
	type stream struct {
		meter, originator int
		form              outage.Form
	}
	highest := map[stream]uint64{}
	at := storetest.T0
	for i := range 400 {
		at = at.Add(time.Duration(rnd.IntN(3600)) * time.Second)
		k := stream{rnd.IntN(2), rnd.IntN(2), []outage.Form{outage.ServiceRequest, outage.SignedPreCommand}[rnd.IntN(2)]}
		counter := uint64(i/20 + rnd.IntN(8) + 1)
		a := verified(storetest.OnDemand(k.meter, counter, at))
		if rnd.IntN(2) == 0 {
			a = verified(storetest.FutureDated(k.meter, counter, at, at.Add(time.Duration(rnd.IntN(100))*time.Hour)))
		}
		a.Form = k.form
		a.RequestID.Originator += outage.DeviceID(k.originator)
		r := s.Ledger.Record(t.Context(), a)
		if opens := !r.Repeated && !r.Replayed; opens && counter < highest[k] || !opens && counter > highest[k] {
			t.Fatalf("step %d: counter %d after %d: %+v", i, counter, highest[k], r.Recorded)
		}
		highest[k] = max(highest[k], counter)
		switch rnd.IntN(6) {
		case 0:
			s.Ledger.RecordAnswer(t.Context(), a, outage.Withdrawn)
		case 1:
			s.Ledger.RecordAnswer(t.Context(), a, outage.Uncertain)
		case 2:
			if _, err := s.Housekeep(t.Context(), store.Limits{WindowsBefore: at}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A request that the journal held is old if another one has passed it meanwhile; one that is
// played twice is not.
func TestReplayedFromTheJournal(t *testing.T) { storetest.EachEngine(t, testReplayedFromTheJournal) }

func testReplayedFromTheJournal(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	release := storetest.HoldWriteLock(t, dir)
	var list []outage.Activation // the higher counter first
	for _, counter := range []uint64{9, 8} {
		a := verified(storetest.OnDemand(int(counter), 1, storetest.T0))
		a.RequestID = outage.RequestID{Originator: storetest.Supplier, Target: storetest.Meter(1), Counter: counter}
		a.ESME, a.CHF = storetest.Meter(1), storetest.Hub(1)
		list = append(list, a)
		if r := s.Ledger.Record(storetest.Short(t), a); !r.Remembered {
			t.Fatalf("%+v", r)
		}
	}
	release()
	storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 })
	for _, a := range activationsOf(t, s, 1) {
		if a.HasWindow() != (a.RequestID.Counter == 9) {
			t.Errorf("after the journal: %+v", a)
		}
	}
	if r := s.Ledger.Record(t.Context(), list[0]); !r.Repeated || r.Replayed {
		t.Errorf("the first again: %+v", r)
	}
}
