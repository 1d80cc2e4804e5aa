package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"quell/internal/config"
	"quell/internal/store"
)

// TestStopEnds: neither a next hop that never answers nor a sender that never
// finishes keeps quell from stopping when its time is over.
func TestStopEnds(t *testing.T) {
	t.Parallel() // it waits more than it computes
	arrived, never := make(chan bool, 1), make(chan bool)
	hop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		arrived <- true
		<-never
	}))
	t.Cleanup(hop.Close)
	t.Cleanup(func() { close(never) })
	cfg := config.Default()
	cfg.DataDir, cfg.Southbound.NextHop, cfg.Northbound.NextHop = t.TempDir(), hop.URL, hop.URL
	s, err := open(cfg, slog.New(slog.DiscardHandler), store.Start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for n, name := range []string{"southbound", "northbound"} {
		h := []http.Handler{s.gateway.Southbound(), s.gateway.Northbound()}[n]
		l, err := s.gateway.Listen(name, "127.0.0.1:0", h)
		if err != nil {
			t.Fatal(err)
		}
		s.serve(l)
		send := func(text string) net.Conn {
			c, err := net.Dial("tcp", strings.TrimPrefix(l.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			c.SetDeadline(time.Now().Add(time.Minute))
			io.WriteString(c, text)
			return c
		}
		waits := send("POST / HTTP/1.1\r\nHost: quell\r\nContent-Length: 3\r\n\r\nabc")
		if n == 0 { // the second is cut off as soon as it begins
			<-arrived
		}
		half := send("POST / HTTP/1.1\r\nHost: quell\r\nContent-Length: 9\r\n\r\nabc")
		wait(t, "both are served", func() bool { return connectionsOf(t, s, name) == 2 })
		stopped := make(chan error, 1)
		go func() { stopped <- s.shut(over, l) }()
		select {
		case err := <-stopped:
			if err == nil {
				t.Errorf("%s: the stop says nothing of a sender that was cut off", name)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: the stop does not end", name)
		}
		if text, _ := io.ReadAll(waits); !strings.HasPrefix(string(text), "HTTP/1.1 502 ") {
			t.Errorf("%s: the message that waited for its next hop got %q", name, text)
		}
		if _, err := io.ReadAll(half); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: the connection of half a message stays open", name)
		}
	}
}

// connectionsOf is how many connections a listener has.
func connectionsOf(t *testing.T, s *system, listener string) (n float64) {
	t.Helper()
	families, err := s.console.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "quell_connections" && m.GetLabel()[0].GetValue() == listener {
				n = m.GetGauge().GetValue()
			}
		}
	}
	return n
}

// TestNextHopIsQuell: a configuration whose next hop is quell's own listener is
// refused by the check and at the start.
func TestNextHopIsQuell(t *testing.T) {
	i := install(t, "http://127.0.0.1:1", "http://127.0.0.1:1", "")
	_, port, err := net.SplitHostPort(i.south)
	if err != nil {
		t.Fatal(err)
	}
	i.write(fmt.Sprintf("data_dir: %s\nsouthbound: {listen: %q, next_hop: \"http://localhost:%s\"}\nnorthbound: {listen: %q, next_hop: \"http://127.0.0.1:1/ \"}\nconsole: {listen: %q}\n",
		t.TempDir(), i.south, port, i.north, i.admin))
	for _, args := range [][]string{{"config", "check"}, {"serve"}} {
		code, _, stderr := i.quell(args...)
		for _, want := range []string{"southbound.next_hop: leads to quell itself, to southbound.listen", "northbound.next_hop: must be an absolute http or https URL"} {
			if code == 0 || !strings.Contains(stderr, want) {
				t.Errorf("%s: code %d, %q; want %q", args, code, stderr, want)
			}
		}
	}
}
