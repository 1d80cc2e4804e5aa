package gateway

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"quell/internal/devca"
	"quell/internal/outage"
	"quell/internal/windows"
)

// TestBegunIsRefused: the fast path has recorded an 11.3, and then its sender is refused. It was
// not sent, so no window may stay.
func TestBegunIsRefused(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	l := w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("quell"), Need: true, Names: names(t, "CN=a", "CN=b")})
	c, err := tls.Dial("tcp", l.addr(), ca.clientConfig(ca.pair(devca.Request{Name: "a"})))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.holdDecision(func() { activateNow(1, 1).write(c) })
	l.Allow(names(t, "CN=b"))
	w.release()
	if answer, err := io.ReadAll(c); err != nil || len(answer) < 12 || string(answer[9:12]) != "403" {
		t.Fatalf("got %q, %v", answer, err)
	}
	w.nothingBegun()
}

// TestBegunIsCutOff: the listener is closed while the fast path records an 11.3.
func TestBegunIsCutOff(t *testing.T) {
	w := startedWorld(t)
	l := w.front[outage.South]
	c, err := net.Dial("tcp", l.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.holdDecision(func() { activateNow(1, 1).write(c) })
	l.Close()
	w.release()
	io.ReadAll(c)
	w.nothingBegun()
}

// holdDecision sends a message, and holds the transaction that records it.
func (w *world) holdDecision(send func()) {
	w.lock()
	send()
	time.Sleep(200 * time.Millisecond) // until the transaction waits
}

// nothingBegun checks that an 11.3 was not sent, and has no window.
func (w *world) nothingBegun() {
	w.Helper()
	w.eventually("the window is closed", func() bool {
		list, err := w.store.Windows.Activations(w.Context(), windows.Filter{ESME: meterID(1)}, 10)
		return err == nil && len(list) == 1 && list[0].State == outage.Withdrawn && !list[0].Standing
	})
	if n := len(w.hops[outage.South].seen(0)); n != 0 {
		w.Errorf("%d messages passed", n)
	}
	w.eventually("the message is counted", func() bool { return w.metric("quell_next_hop_errors_total", "direction=southbound") == 1 })
	if lines := w.trail(false); len(lines) != 1 {
		w.Errorf("audit trail: %+v", lines)
	}
}
