package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"quell/internal/outage"
)

// serveReal opens the world's listeners as the program does, instead of the listeners
// of package httptest.
func (w *world) serveReal() map[outage.Direction]*Listener {
	w.Helper()
	fronts := map[outage.Direction]*Listener{}
	for d, h := range map[outage.Direction]http.Handler{outage.South: w.gw.Southbound(), outage.North: w.gw.Northbound()} {
		if w.slow {
			h = http.HandlerFunc(h.ServeHTTP)
		}
		fronts[d] = w.listen(string(d), h)
	}
	return fronts
}

func (w *world) listen(name string, h http.Handler) *Listener {
	w.Helper()
	l, err := w.gw.Listen(name, "127.0.0.1:0", h)
	if err != nil {
		w.Fatal(err)
	}
	go l.Serve()
	w.Cleanup(func() { l.Close() })
	return l
}

func (l *Listener) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(l.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(long))
	t.Cleanup(func() { c.Close() })
	return c
}

func startedWorldWith(t *testing.T, l Limits) *world {
	t.Helper()
	return startedWorldBy(t, func(w *world) { w.limits = l })
}

// sockets counts the sockets that the process has open.
func sockets(t *testing.T) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("skip allowed: only Linux says which descriptors are open")
	}
	for _, d := range list {
		if to, _ := os.Readlink("/proc/self/fd/" + d.Name()); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// busy counts the goroutines that serve a sender or wait for a next hop.
func busy() int {
	b := make([]byte, 4<<20)
	text := string(b[:runtime.Stack(b, true)])
	return strings.Count(text, "created by net/http.(*Server).Serve") + strings.Count(text, "created by net/http.(*Transport)")
}

// TestHangingAnswersLeaveNothing: next hops send the head of their answer to tracked
// 11.3s and then hang. The windows are withdrawn, and nothing is left behind.
func TestHangingAnswersLeaveNothing(t *testing.T) {
	w := startedWorldWith(t, Limits{NextHop: 100 * time.Millisecond})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if r, err := http.ReadRequest(in); err == nil {
					io.Copy(io.Discard, r.Body)
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 1000\r\n\r\n<Resp")
					io.Copy(io.Discard, in)
				}
			}()
		}
	}()
	u := &url.URL{Scheme: "http", Host: l.Addr().String()}
	w.gw.SetNextHops(u, u)
	front := w.serveReal()[outage.South]
	open := sockets(t)
	var wg sync.WaitGroup
	for n := 1; n <= meters; n++ {
		wg.Go(func() {
			c := front.dial(t)
			defer c.Close()
			activateNow(n, 1).write(c)
			if _, _, err := readAnswer(bufio.NewReader(c)); err == nil || timedOut(err) {
				t.Errorf("meter %d: %v, want the connection closed", n, err)
			}
		})
	}
	wg.Wait()
	w.eventually("all connections and goroutines are gone", func() bool { return busy() == 0 && sockets(t) == open })
	for n := 1; n <= meters; n++ {
		if a := w.activation(n); a.State != outage.Uncertain || a.Standing {
			t.Errorf("meter %d: %+v", n, a)
		}
	}
	if got := w.metric("quell_next_hop_errors_total", "cause=stalled"); got != meters {
		t.Errorf("%g answers counted as stalled", got)
	}
}

// TestHalfSentBodies: the connections of many senders that stop in the middle of a
// message are closed after a while. The limit does not apply to messages that wait for
// the next hop.
func TestHalfSentBodies(t *testing.T) {
	w := startedWorldWith(t, Limits{Sender: time.Second, Header: time.Second})
	fronts := w.serveReal()
	w.hops[outage.South].set(answer{hold: true}, false)
	waits := fronts[outage.South].dial(t)
	activateNow(1, 1).write(waits)
	hop := w.hops[outage.South]
	w.eventually("the request reached the next hop", func() bool { return len(hop.seen(0)) == 1 })
	const senders = 300
	for d, front := range fronts {
		for i := range senders {
			c := front.dial(t)
			fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: quell\r\nContent-Type: %s\r\nContent-Length: 3000\r\n\r\n<a>", []string{"application/xml", "text/plain"}[i%2])
		}
		w.eventually("half-sent messages are gone", func() bool {
			left := 0.0
			if d == outage.South {
				left = 1
			}
			return w.metric("quell_connections", "listener="+string(d)) == left
		})
	}
	hop.seen(0)[0].release <- answer{status: 200, code: "I99"}
	if text, status, err := readAnswer(bufio.NewReader(waits)); err != nil || status != 200 {
		t.Errorf("the message that waited: status %d, %q, %v", status, text, err)
	}
	if a := w.activation(1); a.State != outage.Accepted {
		t.Errorf("the message that waited: %+v", a)
	}
}

// TestConsoleHasItsOwnConnections: senders use all connections. The console still
// answers, and reports that.
func TestConsoleHasItsOwnConnections(t *testing.T) {
	w := startedWorldWith(t, Limits{Connections: 3, ConsoleConnections: 8})
	fronts := w.serveReal()
	console := w.listen("console", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(rw, r.Body)
		fmt.Fprint(rw, strings.Join(w.gw.Conditions(), "\n"))
	}))
	if got := w.gw.Conditions(); len(got) != 0 {
		t.Errorf("at first: %q", got)
	}
	for range 10 {
		c := fronts[outage.North].dial(t)
		io.WriteString(c, "POST")
	}
	w.eventually("the listener is full", func() bool { return w.metric("quell_connections_full_total", "listener=northbound") == 1 })
	for range 4 {
		io.WriteString(console.dial(t), "POST")
	}
	ask := &http.Client{Timeout: 30 * time.Second}
	res, err := ask.Post(console.URL, "text/plain", strings.NewReader("asked\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if want := "asked\nnorthbound: all 3 connections are in use, or were just now; others wait"; err != nil || string(text) != want {
		t.Errorf("the console says %q, %v, want %q", text, err, want)
	}
	if got := w.metric("quell_connections", "listener=northbound"); got != 3 {
		t.Errorf("%g connections", got)
	}
	// A listener with all connections in use can be closed.
	if err := fronts[outage.North].Close(); err != nil {
		t.Error(err)
	}
}

// TestConsoleBodies: half a request does not keep a connection of the console.
func TestConsoleBodies(t *testing.T) {
	w := startedWorldWith(t, Limits{Sender: 100 * time.Millisecond})
	failed := make(chan error, 1)
	console := w.listen("console", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		failed <- err
	}))
	c := console.dial(t)
	io.WriteString(c, "POST /api/v1/devices HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n00-")
	if err := <-failed; !timedOut(err) {
		t.Errorf("the body ends with %v", err)
	}
	if _, err := io.ReadAll(c); timedOut(err) {
		t.Error("the connection stays open")
	}
}

// TestAcceptErrors: failures to accept are logged once, counted, and shown as a
// condition.
func TestAcceptErrors(t *testing.T) {
	w := startedWorldWith(t, Limits{Connections: 4}) // fewer than failures, each of which must give its place back
	var text logs
	w.gw.log = slog.New(&text)
	l, err := w.gw.Listen("northbound", "127.0.0.1:0", w.gw.Northbound())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	real := l.limiter.Listener
	defer real.Close()
	l.limiter.Listener = failing{real}
	for range 5 {
		if _, err := l.limiter.Accept(); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("accept: %v", err)
		}
	}
	if got := w.metric("quell_accept_errors_total", "listener=northbound"); got != 5 {
		t.Errorf("%g counted", got)
	}
	if got := strings.Count(text.text.String(), "connections cannot be accepted"); got != 1 {
		t.Errorf("logged %d times:\n%s", got, text.text.String())
	}
	if got := w.gw.Conditions(); len(got) != 1 || !strings.HasPrefix(got[0], "northbound: connections could not be accepted") {
		t.Errorf("conditions: %q", got)
	}
}

type failing struct{ net.Listener }

func (failing) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

// flaky fails to accept while there are errors.
type flaky struct {
	net.Listener
	errs chan syscall.Errno
}

func (f flaky) Accept() (net.Conn, error) {
	select {
	case e := <-f.errs:
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", e)}
	default:
		return f.Listener.Accept()
	}
}

// TestAcceptGoesOn: a listener survives what Linux says instead of accepting a connection (accept(2)):
// that memory is short, that a firewall forbids it, or what is wrong with one connection.
func TestAcceptGoesOn(t *testing.T) {
	w := startedWorld(t)
	for _, name := range []string{"northbound", "console"} {
		real, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f := flaky{real, make(chan syscall.Errno, 10)}
		for _, e := range []syscall.Errno{syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM, syscall.EPROTO, syscall.EHOSTUNREACH} {
			f.errs <- e
		}
		l := w.gw.ServeOn(name, f, w.gw.Northbound())
		ended := make(chan error, 1)
		go func() { ended <- l.Serve() }()
		c := l.dial(t)
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: quell\r\nContent-Type: application/xml\r\nContent-Length: 3\r\n\r\nabc")
		answered := make(chan string, 1)
		go func() {
			text, status, err := readAnswer(bufio.NewReader(c))
			answered <- fmt.Sprint(status, " ", text, err)
		}()
		select {
		case err := <-ended:
			t.Errorf("%s: it has ended: %v", name, err)
		case got := <-answered:
			if !strings.HasPrefix(got, "200") {
				t.Errorf("%s: %s", name, got)
			}
		}
		l.Close()
		select {
		case <-ended:
		case <-time.After(long):
			t.Fatalf("%s: it does not end", name)
		}
	}
}

// TestOwnListener: a next hop that is quell itself, under whatever address, is not
// used. One message takes one connection.
func TestOwnListener(t *testing.T) {
	w := startedWorldWith(t, Limits{Connections: 50})
	fronts := w.serveReal()
	all, err := w.gw.Listen("northbound", ":0", w.gw.Northbound())
	if err != nil {
		t.Fatal(err)
	}
	go all.Serve()
	t.Cleanup(func() { all.Close() })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(all.URL, "http://"))
	for _, own := range []string{fronts[outage.South].URL, fronts[outage.North].URL, "http://127.0.0.1:" + port, "http://127.0.0.9:" + port, "http://localhost:" + port} {
		u, err := url.Parse(own)
		if err != nil {
			t.Fatal(err)
		}
		w.gw.SetNextHops(u, u)
		before := w.metric("quell_next_hop_errors_total", "cause=own-listener")
		c := fronts[outage.North].dial(t)
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: quell\r\nContent-Length: 0\r\n\r\n")
		if text, status, err := readAnswer(bufio.NewReader(c)); err != nil || status != 502 || !strings.Contains(text, "itself") {
			t.Errorf("%s: status %d, %q, %v", own, status, text, err)
		}
		if got := w.metric("quell_next_hop_errors_total", "cause=own-listener") - before; got != 1 {
			t.Errorf("%s: counted %g times", own, got)
		}
	}
}

// Messages that wait for a place when messages are abandoned are told so: they were not sent.
func TestAbandonWaiting(t *testing.T) {
	const places, all = 2, 12
	w := startedWorldWith(t, Limits{Connections: places})
	ca := newAuthority(t, "authority")
	var arrived atomic.Int64
	l := w.secureSouth(ca, func(_ http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		<-r.Context().Done()
	})
	f := ca.sender(l)
	for n := range uint32(all) {
		f.post(2*n+1, "text/plain", true)
	}
	w.eventually("two have arrived, and others wait", func() bool {
		return arrived.Load() == places && w.metric("quell_connections_full_total", "listener=southbound") >= all-places
	})
	w.gw.AbandonMessages()
	for answers := 0; answers < all; {
		switch frame := f.next().(type) {
		case nil:
			t.Fatalf("the connection ended after %d answers", answers)
		case *http2.MetaHeadersFrame:
			answers++
			if status := frame.PseudoValue("status"); status != "502" && status != "503" {
				t.Errorf("stream %d: status %q", frame.StreamID, status)
			}
		}
	}
	if n := arrived.Load(); n != places {
		t.Errorf("%d messages arrived", n)
	}
}

// TestAbandonMessages: a stop does not wait for a next hop that never answers.
func TestAbandonMessages(t *testing.T) {
	w := startedWorld(t)
	fronts := w.serveReal()
	for d, hop := range w.hops {
		hop.set(answer{hold: true}, false)
		m := activateNow(1, 1)
		if d == outage.North {
			m = alertOf(2, 1, w.now())
		}
		c := fronts[d].dial(t)
		if err := m.write(c); err != nil {
			t.Fatal(err)
		}
		w.eventually("the message reached the next hop", func() bool { return len(hop.seen(0)) == 1 })
		defer func() {
			if text, status, err := readAnswer(bufio.NewReader(c)); err != nil || status != 502 {
				t.Errorf("%s: status %d, %q, %v", d, status, text, err)
			}
		}()
	}
	w.gw.AbandonMessages()
	for _, l := range fronts {
		ctx, cancel := context.WithTimeout(t.Context(), long)
		if err := l.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	if a := w.activation(1); a.State != outage.Uncertain || a.Standing {
		t.Errorf("the 11.3: %+v", a)
	}
}

// TestIdleNextHop: a next hop closes idle connections after some time, and messages
// come at that moment. None may be lost.
func TestIdleNextHop(t *testing.T) { bothWays(t, idleNextHop) }

func idleNextHop(t *testing.T, slow bool) {
	const idle = 400 * time.Millisecond
	w := startedWorldWith(t, Limits{NextHopIdle: idle / 4})
	w.slow = slow
	var arrived atomic.Int64
	next := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		arrived.Add(1)
	}))
	next.Config.IdleTimeout = idle
	next.Start()
	t.Cleanup(next.Close)
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	front := w.serveReal()[outage.North]
	const senders, rounds = 20, 6
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			c := front.dial(t)
			in := bufio.NewReader(c)
			for i := range rounds {
				alertOf(s%meters+1, uint64(s*rounds+i+1), w.now()).write(c)
				if text, status, err := readAnswer(in); err != nil || status != 200 {
					t.Errorf("sender %d, message %d: status %d, %q, %v", s, i, status, text, err)
				}
				time.Sleep(idle)
			}
		})
	}
	wg.Wait()
	if got := arrived.Load(); got != senders*rounds {
		t.Errorf("%d arrived of %d", got, senders*rounds)
	}
}

// TestSentOnce: next hops close connections at any moment. No message arrives twice,
// and every message that was answered with success has arrived.
func TestSentOnce(t *testing.T) { bothWays(t, sentOnce) }

func sentOnce(t *testing.T, slow bool) {
	w := startedWorld(t)
	w.slow = slow
	var mu sync.Mutex
	arrived := map[string]int{}
	var n atomic.Int64
	next := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		mu.Lock()
		arrived[r.RequestURI]++
		mu.Unlock()
		switch n.Add(1) % 5 {
		case 0: // closes without an answer, but the message has arrived
			panic(http.ErrAbortHandler)
		case 1: // closes a little later, as an idle connection is closed
			c, rw, err := rw.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			rw.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			rw.Flush()
			go func() {
				time.Sleep(time.Duration(n.Load()%4) * time.Millisecond / 4)
				c.Close()
			}()
		}
	}))
	t.Cleanup(next.Close)
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	front := w.serveReal()[outage.South]
	var wg sync.WaitGroup
	var answered, sentAgain atomic.Int64
	for s := range 8 {
		wg.Go(func() {
			c := front.dial(t)
			in := bufio.NewReader(c)
			for i := range 200 {
				target := fmt.Sprintf("/%d/%d", s, i)
				m := &message{method: []string{"POST", "GET", "OPTIONS", "DELETE"}[i%4], target: target, host: "quell"}
				m.setHeader("Idempotency-Key", "1")
				if m.method == "POST" {
					m.body = []byte("no XML at all")
				}
				m.write(c)
				_, status, err := readAnswer(in)
				if err != nil {
					t.Errorf("%s: %v", target, err)
					return
				}
				mu.Lock()
				times := arrived[target]
				mu.Unlock()
				if times > 1 || status == 200 && times == 0 {
					t.Errorf("%s %s: status %d, arrived %d times", m.method, target, status, times)
				}
				if status == 200 {
					answered.Add(1)
				} else {
					sentAgain.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if answered.Load() == 0 || sentAgain.Load() == 0 {
		t.Errorf("%d answered, %d must be sent again: the test did not see both", answered.Load(), sentAgain.Load())
	}
}
