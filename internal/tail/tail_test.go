package tail

import (
	"errors"
	"sync"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
)

const (
	hub   = outage.DeviceID(0x88738457002F961E)
	meter = outage.DeviceID(0x00DB1234567890A0)
)

func ad1(hub outage.DeviceID, mpan string) *duis.Message {
	m := &duis.Message{Root: duis.RootResponse, Body: duis.BodyPowerOutage}
	m.Outage.CHF, m.Outage.MPxN = hub, mpan
	return m
}

func activation(meter outage.DeviceID) *duis.Message {
	return &duis.Message{Root: duis.RootRequest, ServiceReferenceVariant: "11.3", RequestID: outage.RequestID{Originator: 1, Target: meter, Counter: 1}}
}

// TestFilters: a watcher gets what its filter says, and nothing else.
func TestFilters(t *testing.T) {
	for _, x := range []struct {
		filter Filter
		want   int // of the five below
	}{
		{Filter{}, 4},
		{Filter{Hub: hub}, 3},
		{Filter{Hub: hub, Decision: outage.Forwarded}, 2},
		{Filter{Meter: meter}, 2},
		{Filter{Kind: Activation}, 1},
		{Filter{Kind: Alert}, 3},
		{Filter{Decision: outage.Suppressed}, 1},
		{Filter{Reason: outage.ReasonNoWindow}, 2},
		{Filter{Distributor: "12"}, 2},
		{Filter{Distributor: "13"}, 0},
	} {
		var tail Tail
		w, err := tail.Watch(x.filter)
		if err != nil {
			t.Fatal(err)
		}
		tail.Add(time.Now(), ad1(hub, "1200023305967"), outage.Decision{Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen}, 0, meter, 7)
		tail.Add(time.Now(), ad1(hub, "1200023305967"), outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow}, 0, 0, 0)
		tail.Add(time.Now(), ad1(hub+1, "?"), outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow}, 0, 0, 0)
		tail.Add(time.Now(), activation(meter), outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonTracked}, hub, 0, 0)
		tail.Add(time.Now(), &duis.Message{Root: duis.RootResponse}, outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonNotAD1}, 0, 0, 0)
		if got := len(w.Lines()); got != x.want {
			t.Errorf("%+v: %d lines, want %d", x.filter, got, x.want)
		}
		w.Close()
		w.Close()
		if tail.Watched() {
			t.Error("a watcher that was closed watches")
		}
	}
}

// TestSlowWatcher: one that takes nothing delays nobody, and learns how many lines it lost; another
// beside it has them all.
func TestSlowWatcher(t *testing.T) {
	var tail Tail
	slow, err := tail.Watch(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	quick, err := tail.Watch(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	const each, senders = maxWaiting, 4
	got := make(chan int)
	go func() {
		n := 0
		for n+int(quick.lost.Load()) < each*senders {
			select {
			case <-quick.Lines():
				n++
			case <-time.After(time.Millisecond):
			}
		}
		got <- n
	}()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			for range each {
				tail.Add(time.Now(), ad1(hub, ""), outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow}, 0, 0, 0)
			}
		})
	}
	wg.Wait() // it would not end if a watcher were waited for
	if lost := slow.Lost(); lost != each*(senders-1) || len(slow.Lines()) != maxWaiting {
		t.Errorf("%d lost, %d wait", lost, len(slow.Lines()))
	}
	if lost := slow.Lost(); lost != 0 {
		t.Errorf("%d lines are lost a second time", lost)
	}
	if n := <-got; n+int(quick.Lost()) != each*senders {
		t.Errorf("the other has %d lines", n)
	}
}

// TestManyWatchers: there is a limit, and one that ends makes room.
func TestManyWatchers(t *testing.T) {
	var tail Tail
	var list []*Watcher
	for range MaxWatchers {
		w, err := tail.Watch(Filter{})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, w)
	}
	if _, err := tail.Watch(Filter{}); !errors.Is(err, ErrMany) {
		t.Error(err)
	}
	list[3].Close()
	if _, err := tail.Watch(Filter{}); err != nil {
		t.Error(err)
	}
	if (*Tail)(nil).Watched() {
		t.Error("nobody watches nil")
	}
}

// Nobody watches: what each message costs.
func BenchmarkUnwatched(b *testing.B) {
	var tail Tail
	for b.Loop() {
		if tail.Watched() {
			b.Fatal()
		}
	}
}
