package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"quell/internal/config"
	"quell/internal/outage"
	"quell/internal/store"
)

// TestStopEnds: neither a next hop that never answers nor a sender that never
// finishes keeps quell from stopping when its time is over.
func TestStopEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
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
	s, err := open(Options{Config: cfg, Log: slog.New(slog.DiscardHandler)}, store.Start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
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
		half := send("POST / HTTP/1.1\r\nHost: quell\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
		const goOn = "HTTP/1.1 100 Continue\r\n\r\n" // it is read
		if text, err := io.ReadAll(io.LimitReader(half, int64(len(goOn)))); string(text) != goOn {
			t.Fatalf("%s: the answer begins %q, %v", name, text, err)
		}
		io.WriteString(half, "abc")
		wait(t, "both are served", func() bool { return connectionsOf(t, s, name) == 2 })
		stopped := make(chan error, 1)
		go func() { stopped <- s.shutDown(over, l) }()
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

// connectionsOf returns how many connections a listener has.
func connectionsOf(t *testing.T, s *Server, listener string) (n float64) {
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

// When a listener fails by itself, quell ends, also after a SIGHUP, so that systemd starts
// it again.
func TestListenerFailsAfterReload(t *testing.T) {
	cfg := config.Default()
	cfg.DataDir = t.TempDir()
	for _, addr := range []*string{&cfg.Southbound.Listen, &cfg.Northbound.Listen, &cfg.Console.Listen} {
		*addr = "127.0.0.1:0"
	}
	hop := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(hop.Close)
	cfg.Southbound.NextHop = hop.URL
	cfg.Northbound.NextHop = cfg.Southbound.NextHop
	s, err := Start(t.Context(), Options{Config: cfg, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	changed := cfg
	changed.Report.Remotes = []config.Remote{{Name: "esi", Target: t.TempDir()}}
	s.Reload(changed)
	ended := make(chan error, 1)
	go func() { ended <- s.Close() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
}

// The reader of a file that hangs gives up. The file is not opened again while it hangs.
func TestFileHangs(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hangs")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	f := files{idle: 100 * time.Millisecond}
	open := func(ctx context.Context) error {
		r, err := f.open(ctx, name)
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		return err
	}
	if err := open(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing could be read for 100ms") {
		t.Error(err)
	}
	if err := open(t.Context()); err == nil || !strings.Contains(err.Error(), "still hangs") {
		t.Error(err)
	}
	w, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	f.idle = time.Hour
	wait(t, "it does not hang any more", func() bool {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("given up"))
		defer cancel()
		err := open(ctx)
		return err != nil && err.Error() == "given up"
	})
}

// wait waits for a condition that another goroutine brings about.
func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// The metrics of the store have its values.
func TestStoreMetrics(t *testing.T) {
	st, err := store.Open(t.Context(), store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	request := outage.Request{ID: outage.RequestID{Originator: 1, Target: 2, Counter: 3}, Form: outage.ServiceRequest,
		Order: outage.Order{Kind: outage.FutureDated, At: now.Add(time.Hour)}, Received: now}
	st.Ledger.Record(t.Context(), request.Activation(4, 30*time.Minute))
	r := prometheus.NewRegistry()
	watch(r, st, func() time.Time { return now })
	up := "# HELP quell_store_up 1 if the store took the last transaction, else 0.\n# TYPE quell_store_up gauge\nquell_store_up 1\n"
	if err := testutil.GatherAndCompare(r, strings.NewReader(up), "quell_store_up"); err != nil {
		t.Error(err)
	}
	want := "# HELP quell_windows Windows in force, by state: open, or pending (not started).\n# TYPE quell_windows gauge\nquell_windows{state=\"open\"} 0\nquell_windows{state=\"pending\"} 1\n"
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "quell_windows"); err != nil {
		t.Error(err)
	}
}
