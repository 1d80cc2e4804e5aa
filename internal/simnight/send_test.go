package simnight

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/nation"
	"quell/internal/outage"
)

// TestSend: a night comes to the listeners at the speed that was asked for, the messages of each
// hub in order, with the times of now in them.
func TestSend(t *testing.T) {
	s := nation.Scenarios[1]
	w := nation.NewWorld(3, 1500)
	n := w.Night(s, 37, begin)
	span := n.Sightings[len(n.Sightings)-1].Received.Sub(n.Sightings[0].Received)
	want := map[outage.DeviceID][]duis.Body{}
	for m := range Messages(w, n) {
		msg, err := duis.Read(m.Document)
		if err != nil {
			t.Fatal(err)
		}
		want[m.home.Hub] = append(want[m.home.Hub], msg.Body)
	}
	const takes = 2 * time.Second
	began := time.Now()
	var mu sync.Mutex // guards got
	got := map[outage.DeviceID][]duis.Body{}
	ids := map[string]bool{}
	var failures atomic.Int64
	listener := func(d outage.Direction) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			document, _ := io.ReadAll(r.Body)
			msg, err := duis.Read(document)
			if err != nil || (d == outage.South) != (msg.Root == duis.RootRequest) {
				t.Errorf("%s: %v, %s", d, err, document)
			}
			hub := msg.ResponseID.Originator
			switch meter := msg.RequestID.Target; {
			case msg.Body == duis.BodyPowerOutage:
				hub = msg.Outage.CHF
				if since := time.Since(msg.Outage.Start); msg.Outage.Start.Before(began.Add(-time.Hour)) || since < -2*time.Second {
					t.Errorf("an outage began at %s, it is %s", msg.Outage.Start, time.Now())
				}
			case meter != 0:
				hub = w.Homes[meter-w.Homes[0].Meter].Hub
			case hub >= w.Homes[0].Meter:
				hub = w.Homes[hub-w.Homes[0].Meter].Hub
			}
			mu.Lock()
			defer mu.Unlock()
			got[hub] = append(got[hub], msg.Body)
			ids[msg.RequestID.String()] = true
			if msg.Body == duis.BodyPowerOutage && len(got)%5 == 0 {
				failures.Add(1)
				rw.WriteHeader(http.StatusBadGateway)
			}
		}
	}
	south, north := httptest.NewServer(listener(outage.South)), httptest.NewServer(listener(outage.North))
	defer south.Close()
	defer north.Close()
	var sent atomic.Int64
	sender := Sender{Southbound: south.URL, Northbound: north.URL, Speed: float64(span) / float64(takes), Sent: func() { sent.Add(1) }}
	if err := sender.Check(); err != nil {
		t.Fatal(err)
	}
	failed, err := sender.Send(t.Context(), w, n)
	if took := time.Since(began); err != nil || took < takes*9/10 {
		t.Errorf("%v, it took %s", err, took)
	}
	if failed != int(failures.Load()) || failed == 0 || int(sent.Load()) != len(n.Sightings) {
		t.Errorf("%d failed, want %d; %d of %d sent", failed, failures.Load(), sent.Load(), len(n.Sightings))
	}
	for hub, bodies := range want {
		if have := got[hub]; len(have) != len(bodies) {
			t.Fatalf("hub %s: %d messages, want %d", hub, len(have), len(bodies))
		}
		for i := range bodies {
			if got[hub][i] != bodies[i] {
				t.Fatalf("hub %s: message %d is another", hub, i)
			}
		}
	}
	// A second run has other requests.
	for m := range Messages(w, later(n, time.Now().Add(time.Hour), 1)) {
		if msg, _ := duis.Read(m.Document); msg.Root == duis.RootRequest && ids[msg.RequestID.String()] {
			t.Fatalf("%s is sent again", msg.RequestID)
		}
	}
	// Nobody listens; and somebody gives up.
	south.Close()
	if _, err := sender.Send(t.Context(), w, n); err == nil {
		t.Error("nobody listens, and there is no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	any := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer any.Close()
	sender.Southbound, sender.Speed = any.URL, 1
	if _, err := sender.Send(ctx, w, n); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	for _, s := range []Sender{{}, {Southbound: "x", Speed: 1}, {Southbound: "x", Northbound: "y"}, {Southbound: "x", Northbound: "y", Speed: -1}} {
		if s.Check() == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}
