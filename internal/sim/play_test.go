package sim

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"quell/internal/outage"
)

// stageOn is a stage whose north is the handler.
func stageOn(t *testing.T, north http.HandlerFunc) *stage {
	t.Helper()
	server := httptest.NewServer(north)
	t.Cleanup(server.Close)
	return &stage{Endpoints: Endpoints{North: server.URL, Window: time.Minute}, south: NewDSP(), north: NewServiceUsers(),
		client: server.Client(), margin: 50 * time.Millisecond}
}

func TestSendKeepsToTheGate(t *testing.T) {
	delay := time.Duration(0)
	reason := outage.ReasonNoWindow
	s := stageOn(t, func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(delay)
		w.Header().Set("Quell-Decision", "forwarded")
		w.Header().Set("Quell-Reason", string(reason))
	})
	send := func(g gate) (*play, *mail) {
		p := &play{stage: s, ctx: t.Context(), name: "x"}
		m := northMail("AD1", []byte("body"), noWindow)
		p.send(g, m)
		return p, m
	}

	begin := now().Add(100 * time.Millisecond)
	p, m := send(gate{begin, begin.Add(time.Minute)})
	if p.err != nil || m.sent.Before(begin.Add(s.margin)) || m.got != noWindow || m.uri != "/api/v1/alerts?message=x-1" {
		t.Errorf("sent at %v for a gate from %v, error %v, mail %+v", m.sent, begin, p.err, m)
	}
	if p, m = send(gate{before: now().Add(s.margin / 2)}); !errors.Is(p.err, errStalled) || !m.sent.IsZero() {
		t.Errorf("sent at %v to a gate that closes, error %v", m.sent, p.err)
	}
	delay = 300 * time.Millisecond
	if p, m = send(gate{before: now().Add(s.margin + 150*time.Millisecond)}); !errors.Is(p.err, errStalled) {
		t.Errorf("answered at %v behind the gate, error %v", m.answered, p.err)
	}
	delay, reason = 0, outage.ReasonStoreUnavailable
	if p, _ = send(atOnce); !errors.Is(p.err, errStalled) {
		t.Errorf("error %v of a store that did not answer", p.err)
	}
	next := northMail("AD1", nil, noWindow)
	if p.send(atOnce, next); len(p.mails) != 1 || !next.sent.IsZero() {
		t.Error("a play went on after it had failed")
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	p := &play{stage: &stage{}, ctx: ctx}
	p.wait(now().Add(time.Hour))
	if !errors.Is(p.err, context.DeadlineExceeded) {
		t.Errorf("error %v", p.err)
	}
}

func TestGates(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 11, 23, 4, 0, s, 0, time.UTC) }
	w := window{at(10), at(11), 20 * time.Second}
	if w.notBegun() != (gate{before: at(10)}) || w.open() != (gate{at(11), at(30)}) || w.over() != (gate{after: at(31)}) {
		t.Errorf("gates %v, %v, %v of window %v", w.notBegun(), w.open(), w.over(), w)
	}
	later := window{at(20), at(21), 20 * time.Second}
	for _, c := range []struct{ a, b, want gate }{
		{w.open(), later.open(), gate{at(21), at(30)}},
		{w.over(), later.open(), gate{at(31), at(40)}},
		{w.open(), later.notBegun(), gate{at(11), at(20)}},
		{atOnce, w.open(), w.open()},
		{w.notBegun(), later.over(), gate{at(41), at(10)}}, // never
	} {
		if c.a.and(c.b) != c.want || c.b.and(c.a) != c.want {
			t.Errorf("%v and %v: %v, %v; want %v", c.a, c.b, c.a.and(c.b), c.b.and(c.a), c.want)
		}
	}
}
