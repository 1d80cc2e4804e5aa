package fastpath

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quell/internal/devca"
	"quell/internal/listener"
	"quell/internal/motorway"
)

// long is more time than anything takes that works.
const long = 30 * time.Second

// stage is a Way between a sender and a next hop, which the test plays.
type stage struct {
	*testing.T
	*Way
	limiter *listener.Limiter
	next    net.Listener
	handed  chan *Handed
	failed  chan error
	panics  chan any
	ended   context.CancelFunc
	decided atomic.Int64
}

func newStage(t *testing.T, change func(*Way)) *stage {
	s := &stage{T: t, handed: make(chan *Handed, 10), failed: make(chan error, 10), panics: make(chan any, 10)}
	var err error
	if s.next, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics := motorway.NewMetrics(prometheus.NewRegistry())
	s.limiter = listener.New(front, "northbound", 100, long, slog.New(slog.DiscardHandler), metrics)
	hops := &Hops{Prefix: "/p", Idle: long, Most: 10, Dial: func(context.Context) (net.Conn, *listener.Conn, error) {
		c, err := net.Dial("tcp", s.next.Addr().String())
		if err != nil {
			return nil, nil, err
		}
		under := listener.NewConn(c, long)
		return struct{ net.Conn }{under}, under, nil // something around it, as the gateway has
	}}
	ctx, end := context.WithCancel(context.Background())
	s.ended = end
	s.Way = &Way{Header: long, KeepAlive: long, AnswerStart: long, Ended: ctx,
		Hops: func() *Hops { return hops },
		Decide: func(m *Message) {
			s.decided.Add(1)
			m.Next = Forward
			m.Lines = append(m.Lines, "Quell-Decision: x\r\n"...)
		},
		Answered: func(*Message, int) {},
		Failed:   func(_ *Message, err error) (int, string) { s.failed <- err; return 502, "it failed" },
		Panicked: func(v any) { s.panics <- v },
		Slow:     func(c net.Conn) { s.handed <- HandedOf(c) }}
	if change != nil {
		change(s.Way)
	}
	served := make(chan error)
	go func() { served <- s.Serve(s.limiter, nil) }()
	t.Cleanup(func() {
		end()
		s.limiter.Close()
		s.Way.Close()
		s.next.Close()
		hops.Retire()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), long)
		defer cancel()
		if err := s.Wait(ctx); err != nil {
			t.Errorf("a connection is left: %v", err)
		}
	})
	return s
}

// dial connects as a sender.
func (s *stage) dial() net.Conn {
	s.Helper()
	c, err := net.Dial("tcp", s.limiter.Addr().String())
	if err != nil {
		s.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(long))
	s.Cleanup(func() { c.Close() })
	return c
}

// accept takes a connection at the next hop.
func (s *stage) accept() net.Conn {
	s.Helper()
	s.next.(*net.TCPListener).SetDeadline(time.Now().Add(long))
	c, err := s.next.Accept()
	if err != nil {
		s.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(long))
	s.Cleanup(func() { c.Close() })
	return c
}

func (s *stage) write(c net.Conn, text string) {
	s.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		s.Fatal(err)
	}
}

// gets reads a text.
func (s *stage) gets(c net.Conn, want string) {
	s.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); string(got) != want {
		s.Fatalf("got %q, %v; want %q", got[:n], err, want)
	}
}

// ends reads the end.
func (s *stage) ends(c net.Conn) {
	s.Helper()
	if got, err := io.ReadAll(c); len(got) > 0 || timedOut(err) {
		s.Fatalf("got %q, %v; want the end", got, err)
	}
}

const (
	request = "POST /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n<a/>\n"
	passed  = "POST /p/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n<a/>\n"
	reply   = "HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 2\r\n\r\nok"
	replied = "HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 2\r\nQuell-Decision: x\r\n\r\nok"
)

// TestPass: messages follow each other on the same two connections.
func TestPass(t *testing.T) {
	s := newStage(t, nil)
	sender := s.dial()
	var hop net.Conn
	for range 3 {
		s.write(sender, request)
		if hop == nil {
			hop = s.accept()
		}
		s.gets(hop, passed)
		s.write(hop, reply)
		s.gets(sender, replied)
	}
}

// TestAllocations: a message needs next to no memory of its own.
func TestAllocations(t *testing.T) {
	s := newStage(t, nil)
	sender := s.dial()
	s.write(sender, request)
	hop := s.accept()
	b, message, answer := make([]byte, 1000), []byte(request), []byte(reply)
	exchange := func() {
		io.ReadFull(hop, b[:len(passed)])
		hop.Write(answer)
		io.ReadFull(sender, b[:len(replied)])
	}
	exchange()
	const messages = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range messages {
		sender.Write(message)
		exchange()
	}
	runtime.ReadMemStats(&after)
	if n := float64(after.Mallocs-before.Mallocs) / messages; n > 1.5 { // the race detector drops buffers at random
		t.Errorf("%.2f allocations a message", n)
	}
	if s.decided.Load() != messages+1 || len(s.handed) > 0 {
		t.Errorf("%d decided", s.decided.Load())
	}
}

// TestRequestInPieces: wherever a request is cut, no byte of it is lost, and it is decided at
// most once.
func TestRequestInPieces(t *testing.T) {
	for _, text := range []string{request, strings.Replace(request, "5", "9000", 1) + strings.Repeat("x", 8995), strings.Replace(request, "5", "65536", 1) + strings.Repeat("y", 65531), request + "POST", "GET /" + request} {
		for cut := 1; cut < len(text); cut += 1 + cut/200*50 + cut/9000*9000 {
			t.Run("", func(t *testing.T) {
				s := newStage(t, nil)
				sender := s.dial()
				s.write(sender, text[:cut])
				time.Sleep(time.Millisecond)
				s.write(sender, text[cut:])
				got := make(chan string, 1)
				go func() {
					hop, err := s.next.Accept()
					if err != nil {
						return
					}
					b := make([]byte, len(text)+100)
					n, _ := io.ReadAtLeast(hop, b, len(strings.TrimSuffix(text, "POST"))-len("Connection: keep-alive\r\n")+len("/p"))
					got <- string(b[:n])
					hop.Close()
				}()
				select {
				case arrived := <-got:
					want := strings.TrimSuffix(strings.Replace(strings.Replace(text, "Connection: keep-alive\r\n", "", 1), "/a", "/p/a", 1), "POST")
					if arrived != want {
						t.Fatalf("cut at %d: the next hop got %q", cut, arrived)
					}
				case h := <-s.handed:
					sender.(*net.TCPConn).CloseWrite()
					if b, err := io.ReadAll(h); string(b) != text || err != nil || s.decided.Load() != 0 || h.Take() != nil {
						t.Fatalf("cut at %d: net/http gets %q, %v", cut, b, err)
					}
					h.Close()
				}
			})
		}
	}
}

// TestAnswerInPieces: wherever an answer is cut, and whatever it is, its sender or net/http
// gets all of it, and the message is not sent again.
func TestAnswerInPieces(t *testing.T) {
	for _, text := range []string{reply, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n" + reply, "garbage", "HTTP/1.1 204 N\r\n\r\n"} {
		for cut := 1; cut < len(text); cut += 3 {
			for _, pause := range []time.Duration{time.Millisecond, 2 * restWait} {
				if pause > restWait && cut%4 != 0 {
					continue // it takes long
				}
				t.Run("", func(t *testing.T) {
					s := newStage(t, nil)
					sender := s.dial()
					s.write(sender, request)
					hop := s.accept()
					s.gets(hop, passed)
					s.write(hop, text[:cut])
					time.Sleep(pause)
					s.write(hop, text[cut:])
					got := make(chan string, 1)
					go func() {
						b := make([]byte, 1000)
						n, _ := sender.Read(b)
						got <- string(b[:n])
					}()
					select {
					case answer := <-got:
						head, body, _ := strings.Cut(answer, "\r\n\r\n")
						if want := strings.Replace(head, "\r\nQuell-Decision: x", "", 1) + "\r\n\r\n" + body; want != text {
							t.Fatalf("cut at %d: the sender got %q", cut, answer)
						}
					case h := <-s.handed:
						b := h.Take()
						if b == nil || b.Sent == nil {
							t.Fatal("the message would be sent again")
						}
						io.WriteString(b.Sent, "anything")
						hop.(*net.TCPConn).CloseWrite()
						if all, err := io.ReadAll(b.Sent); string(all) != text || err != nil {
							t.Fatalf("cut at %d: net/http gets %q, %v; want %q", cut, all, err, text)
						}
						b.Sent.Close()
						h.Close()
						s.ends(hop) // and no byte more
					}
				})
			}
		}
	}
}

// TestSenderGone: the sender hangs up while the next hop works.
func TestSenderGone(t *testing.T) {
	s := newStage(t, nil)
	sender := s.dial()
	s.write(sender, request)
	hop := s.accept()
	s.gets(hop, passed)
	sender.Close()
	if err := <-s.failed; err != ErrSenderGone {
		t.Errorf("got %v", err)
	}
	s.ends(hop)
}

// TestNoAnswer: the next hop does not answer in time.
func TestNoAnswer(t *testing.T) {
	s := newStage(t, func(w *Way) { w.AnswerStart = 100 * time.Millisecond })
	sender := s.dial()
	s.write(sender, request)
	hop := s.accept()
	s.gets(hop, passed)
	s.gets(sender, "HTTP/1.1 502 ")
	if err := <-s.failed; err != errAnswer || !timedOut(err) {
		t.Errorf("got %v", err)
	}
	s.ends(hop)
}

// TestAbandon: messages are given up at once when the way ends.
func TestAbandon(t *testing.T) {
	s := newStage(t, nil)
	sender := s.dial()
	s.write(sender, request)
	hop := s.accept()
	s.gets(hop, passed)
	s.ended()
	if err := <-s.failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.gets(sender, "HTTP/1.1 502 ")
	s.ends(hop)
}

// TestStop: an idle connection ends, and one with a message after its answer, which says so.
func TestStop(t *testing.T) {
	s := newStage(t, nil)
	quiet, sender := s.dial(), s.dial()
	var hop net.Conn
	for _, c := range []net.Conn{quiet, sender} {
		s.write(c, request)
		if hop == nil {
			hop = s.accept()
		}
		s.gets(hop, passed)
		if c == quiet {
			s.write(hop, reply)
			s.gets(c, replied)
		}
	}
	s.limiter.Close()
	s.Stop()
	s.ends(quiet)
	s.write(hop, reply)
	s.gets(sender, strings.Replace(replied, "x\r\n", "x\r\nConnection: close\r\n", 1))
	s.ends(sender)
	if err := s.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestIdleHops: a kept connection that the next hop has ended, or on which it has sent
// something unasked, is not used again.
func TestIdleHops(t *testing.T) {
	for _, do := range []func(*stage, net.Conn){
		func(_ *stage, c net.Conn) { c.Close() },
		func(s *stage, c net.Conn) { s.write(c, strings.Replace(reply, "200", "500", 1)) },
	} {
		s := newStage(t, nil)
		sender := s.dial()
		s.write(sender, request)
		hop := s.accept()
		s.gets(hop, passed)
		s.write(hop, reply)
		s.gets(sender, replied)
		do(s, hop)
		time.Sleep(10 * time.Millisecond) // until it has arrived
		s.write(sender, request)
		hop = s.accept()
		s.gets(hop, passed)
		s.write(hop, reply)
		s.gets(sender, replied)
	}
}

// TestHopsEnd: a kept connection that is not used is closed.
func TestHopsEnd(t *testing.T) {
	s := newStage(t, func(w *Way) { w.Hops().Idle = 50 * time.Millisecond })
	for range 2 {
		sender := s.dial()
		s.write(sender, request)
		hop := s.accept()
		s.gets(hop, passed)
		s.write(hop, reply)
		s.gets(sender, replied)
		s.ends(hop)
	}
}

// TestIdleTLS: with TLS, an answer that nobody asked for may have been read already, and be in
// no socket any more.
func TestIdleTLS(t *testing.T) {
	ca, err := devca.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Pair(devca.Request{Name: "hop", SANs: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	dialed := 0
	s := newStage(t, func(w *Way) {
		hops := w.Hops()
		dial := hops.Dial
		hops.Dial = func(ctx context.Context) (net.Conn, *listener.Conn, error) {
			dialed++
			c, under, err := dial(ctx)
			if err != nil {
				return nil, nil, err
			}
			return tls.Client(c, &tls.Config{InsecureSkipVerify: true}), under, nil // the test looks at bytes, not at names
		}
	})
	accept := func() (*tls.Conn, *corked) {
		under := &corked{Conn: s.accept()}
		return tls.Server(under, &tls.Config{Certificates: []tls.Certificate{cert}}), under
	}
	sender := s.dial()
	s.write(sender, request)
	hop, under := accept()
	s.gets(hop, passed)
	s.write(hop, reply)
	s.gets(sender, replied)

	s.write(sender, request)
	s.gets(hop, passed)
	under.cork = true
	s.write(hop, reply)
	s.write(hop, strings.Replace(reply, "200", "500", 1))
	under.flush()
	s.gets(sender, replied)

	s.write(sender, request)
	hop, _ = accept()
	s.gets(hop, passed)
	s.write(hop, reply)
	s.gets(sender, replied)
	if dialed != 2 {
		t.Errorf("%d connections", dialed)
	}
}

// corked keeps what is written until flush.
type corked struct {
	net.Conn
	cork bool
	kept []byte
}

func (c *corked) Write(b []byte) (int, error) {
	if !c.cork {
		return c.Conn.Write(b)
	}
	c.kept = append(c.kept, b...)
	return len(b), nil
}

func (c *corked) flush() { c.Conn.Write(c.kept) }

// TestNotAgain: a next hop that ends the connection when it has the message gets it once.
func TestNotAgain(t *testing.T) {
	s := newStage(t, nil)
	sender := s.dial()
	for range 3 {
		s.write(sender, request)
		hop := s.accept()
		s.gets(hop, passed)
		hop.Close()
		s.gets(sender, "HTTP/1.1 502 Bad Gateway\r\n")
		b := make([]byte, 1000)
		n, _ := sender.Read(b)
		if !bytes.HasSuffix(b[:n], []byte("\r\n\r\nit failed\n")) || !bytes.Contains(b[:n], []byte("Quell-Decision: x\r\n")) {
			t.Errorf("got %q", b[:n])
		}
		if err := <-s.failed; err == nil {
			t.Error("no error")
		}
	}
}

// TestPanic: a message that makes the code panic costs only its connection.
func TestPanic(t *testing.T) {
	first := true
	s := newStage(t, func(w *Way) {
		decide := w.Decide
		w.Decide = func(m *Message) {
			if first {
				first = false
				panic("ouch")
			}
			decide(m)
		}
	})
	sender := s.dial()
	s.write(sender, request)
	s.ends(sender)
	if v := <-s.panics; v != "ouch" {
		t.Errorf("got %v", v)
	}
	sender = s.dial()
	s.write(sender, request)
	hop := s.accept()
	s.gets(hop, passed)
	s.write(hop, reply)
	s.gets(sender, replied)
}

// TestDecided: a message that goes nowhere, and one that net/http must send.
func TestDecided(t *testing.T) {
	next := []Next{Stop, Hand}
	s := newStage(t, func(w *Way) {
		decide := w.Decide
		w.Decide = func(m *Message) {
			decide(m)
			m.Next, next = next[0], next[1:]
		}
	})
	sender := s.dial()
	s.write(sender, request)
	s.gets(sender, "HTTP/1.1 200 OK\r\nDate: ")
	b := make([]byte, 1000)
	n, _ := sender.Read(b)
	if !strings.HasSuffix(string(b[:n]), " GMT\r\nContent-Length: 0\r\nQuell-Decision: x\r\n\r\n") {
		t.Errorf("got %q", b[:n])
	}
	s.write(sender, request)
	h := <-s.handed
	if begun := h.Take(); begun == nil || begun.Sent != nil {
		t.Errorf("got %+v", begun)
	}
	b = b[:len(request)]
	if _, err := io.ReadFull(h, b); string(b) != request || err != nil {
		t.Errorf("net/http gets %q, %v", b, err)
	}
	if h.Take() != nil {
		t.Error("the message counts twice")
	}
	h.Close()
}

// TestRetired: connections of a next hop that is no more are closed.
func TestRetired(t *testing.T) {
	s := newStage(t, nil)
	senders := []net.Conn{s.dial(), s.dial()}
	var hops []net.Conn
	for _, c := range senders {
		s.write(c, request)
		hops = append(hops, s.accept())
		s.gets(hops[len(hops)-1], passed)
	}
	s.write(hops[0], reply)
	if !slices.ContainsFunc(senders, func(c net.Conn) bool {
		c.SetReadDeadline(time.Now().Add(time.Second))
		b := make([]byte, len(replied))
		n, _ := io.ReadFull(c, b)
		return n > 0
	}) {
		t.Fatal("no sender got the answer")
	}
	s.Hops().Retire()
	s.ends(hops[0])
	s.write(hops[1], reply)
	s.ends(hops[1])
}

// TestPanicsTakeNoPlace: messages that make the code panic take no place from others.
func TestPanicsTakeNoPlace(t *testing.T) {
	var bad atomic.Int64
	const most = 100 // messages at once
	s := newStage(t, func(w *Way) {
		decide := w.Decide
		w.Decide = func(m *Message) {
			if bad.Add(1) <= most {
				panic("ouch")
			}
			decide(m)
		}
	})
	for range most {
		sender := s.dial()
		s.write(sender, request)
		s.ends(sender)
		<-s.panics
	}
	sender := s.dial()
	s.write(sender, request)
	hop := s.accept()
	s.gets(hop, passed)
	s.write(hop, reply)
	s.gets(sender, replied)
}

// TestAbandonAtStop: messages are given up at once also when the listener is closed.
func TestAbandonAtStop(t *testing.T) {
	s := newStage(t, nil)
	sender := s.dial()
	s.write(sender, request)
	hop := s.accept()
	s.gets(hop, passed)
	s.limiter.Close()
	s.Stop()
	time.Sleep(100 * time.Millisecond) // until Serve has returned
	began := time.Now()
	s.ended()
	<-s.failed
	if took := time.Since(began); took > wakeUp/2 {
		t.Errorf("it took %v", took)
	}
	s.gets(sender, "HTTP/1.1 502 ")
}

// clogged takes no byte while it is.
type clogged struct {
	*net.TCPConn
	is    atomic.Bool
	until chan struct{}
}

func (c *clogged) Write(b []byte) (int, error) {
	if c.is.Load() {
		<-c.until
	}
	return c.TCPConn.Write(b)
}

// TestEndWaitsForNobody: with TLS, the end of a connection is written. If a next hop does not take
// it, no message waits for that.
func TestEndWaitsForNobody(t *testing.T) {
	ca, err := devca.New("authority")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Pair(devca.Request{Name: "hop", SANs: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	var hops *Hops
	dialed := make(chan *clogged, 10)
	until := make(chan struct{})
	defer close(until)
	s := newStage(t, func(w *Way) {
		hops = w.Hops()
		dial := hops.Dial
		hops.Dial = func(ctx context.Context) (net.Conn, *listener.Conn, error) {
			_, plain, err := dial(ctx)
			if err != nil {
				return nil, nil, err
			}
			c := &clogged{TCPConn: plain.Conn.(*net.TCPConn), until: until}
			under := listener.NewConn(c, long)
			dialed <- c
			return tls.Client(under, &tls.Config{InsecureSkipVerify: true}), under, nil // the test looks at bytes, not at names
		}
	})
	sender := s.dial()
	exchange := func() (hop net.Conn) {
		s.write(sender, request)
		hop = tls.Server(s.accept(), &tls.Config{Certificates: []tls.Certificate{cert}})
		s.gets(hop, passed)
		s.write(hop, reply)
		s.gets(sender, replied)
		return hop
	}
	sender.SetDeadline(time.Now().Add(long / 2))
	hop := exchange()
	(<-dialed).is.Store(true)
	s.write(hop, reply) // unasked, so the connection is not used again
	time.Sleep(10 * time.Millisecond)
	exchange()
	(<-dialed).is.Store(true)
	retired := make(chan struct{})
	go func() { hops.Retire(); close(retired) }()
	select {
	case <-retired:
	case <-time.After(long / 2):
		t.Error("Retire waits")
	}
}

// TestSlowDecision: what a decision takes is not taken from the next hop's time.
func TestSlowDecision(t *testing.T) {
	const limit = 400 * time.Millisecond
	s := newStage(t, func(w *Way) {
		w.AnswerStart = limit
		decide := w.Decide
		w.Decide = func(m *Message) {
			time.Sleep(2 * limit)
			decide(m)
		}
	})
	sender := s.dial()
	var hop net.Conn
	for range 2 {
		s.write(sender, request)
		if hop == nil {
			hop = s.accept()
		}
		s.gets(hop, passed)
		time.Sleep(limit / 2)
		s.write(hop, reply)
		s.gets(sender, replied)
	}
}

// TestHandedKeepsNothing: net/http may have a connection for hours. What was read of it before does
// not stay in memory for that long.
func TestHandedKeepsNothing(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	list := make([]*Handed, 200)
	for i := range list {
		list[i] = &Handed{read: make([]byte, maxBody)}
		if n, err := io.CopyN(io.Discard, list[i], maxBody); n != maxBody || err != nil {
			t.Fatal(n, err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(len(list)); kept > maxBody/2 {
		t.Errorf("a connection keeps %d bytes of %d that net/http has read", kept, maxBody)
	}
	runtime.KeepAlive(list)
}
