package gateway

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/recording"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkForward passes AD1s of hubs without a window north, each through
// quell's own listener to a next hop that does nothing, on connections that stay
// open. The figures include the work of the sender and of the next hop.
func BenchmarkForward(b *testing.B) {
	st, err := store.Open(b.Context(), store.Options{Dir: b.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	if _, err := st.Ledger.SetSwitch(b.Context(), outage.SwitchOn, "bench", "first value", time.Now()); err != nil {
		b.Fatal(err)
	}
	m := &motorway.Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: motorway.NewMetrics(prometheus.NewRegistry())}
	m.SetRules(motorway.Rules{Window: 30 * time.Minute, ClockTolerance: time.Minute, StoreTimeout: patient})
	g := New(m, slog.New(slog.DiscardHandler), Limits{})
	hop, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer hop.Close()
	go func() {
		for {
			c, err := hop.Accept()
			if err != nil {
				return
			}
			go swallow(c)
		}
	}()
	u := &url.URL{Scheme: "http", Host: hop.Addr().String()}
	g.SetNextHops(u, u)
	front, err := g.Listen("northbound", "127.0.0.1:0", g.Northbound())
	if err != nil {
		b.Fatal(err)
	}
	go front.Serve()
	defer front.Close()
	var request bytes.Buffer
	if err := alertOf(1, 1, time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)).write(&request); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for pb.Next() {
			c.Write(request.Bytes())
			if _, status, err := readAnswer(in); err != nil || status != 200 {
				b.Errorf("status %d, %v", status, err)
				return
			}
		}
	})
}

// swallow is a next hop that takes everything and says 200.
func swallow(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		io.Copy(io.Discard, r.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// TestPassedAllocates: an AD1 that passes costs few allocations, from the socket to
// the socket, with its note and its line of the trail.
func TestPassedAllocates(t *testing.T) {
	w := startedWorld(t)
	hop, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hop.Close()
	const messages = 3000
	var sent [messages + 1][]byte
	for i := range sent {
		var text bytes.Buffer
		if err := alertOf(1, uint64(i+1), w.now()).write(&text); err != nil {
			t.Fatal(err)
		}
		sent[i] = text.Bytes()
	}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	go func() {
		c, err := hop.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b := make([]byte, 64<<10)
		for {
			if n, err := c.Read(b); err != nil || !bytes.HasSuffix(b[:n], []byte(">")) {
				return
			}
			c.Write(answer)
		}
	}()
	w.m.Recording.Configure(recording.Limits{}) // off, as nearly always
	w.gw.SetNextHops(nil, &url.URL{Scheme: "http", Host: hop.Addr().String()})
	c, err := net.Dial("tcp", w.front[outage.North].addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 1000)
	exchange := func(text []byte) {
		c.Write(text)
		if n, err := c.Read(b); err != nil || !bytes.HasPrefix(b[:n], answer[:12]) || !bytes.Contains(b[:n], []byte("no-window")) {
			t.Fatalf("got %q, %v", b[:n], err)
		}
	}
	exchange(sent[messages])
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, text := range sent[:messages] {
		exchange(text)
	}
	runtime.ReadMemStats(&after)
	n := float64(after.Mallocs-before.Mallocs) / messages
	t.Logf("%.2f allocations a message", n)
	if n > 6 { // the race detector throws buffers away at random, which adds two or three
		t.Error("too many")
	}
}
