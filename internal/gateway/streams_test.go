package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/devca"
	"quell/internal/outage"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is one end of a connection of HTTP/2, frame by frame.
type frames struct {
	*testing.T
	conn net.Conn
	*http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
}

func newFrames(t *testing.T, c net.Conn) *frames {
	c.SetDeadline(time.Now().Add(long))
	t.Cleanup(func() { c.Close() })
	f := &frames{T: t, conn: c, Framer: http2.NewFramer(c, c)}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.encoder = hpack.NewEncoder(&f.block)
	return f
}

// headers sends the header of a message or an answer: name, value, name, value.
func (f *frames) headers(stream uint32, end bool, fields ...string) {
	f.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		f.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block.Bytes(), EndStream: end, EndHeaders: true})
}

// next returns the next frame that is about a stream, or ends the connection; nil at its
// end. It acknowledges settings.
func (f *frames) next() http2.Frame {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return nil
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				f.WriteSettingsAck()
			}
		case *http2.PingFrame, *http2.WindowUpdateFrame:
		default:
			return frame
		}
	}
}

// sender returns a sender's connection of HTTP/2 to a listener.
func (a *authority) sender(l *Listener, settings ...http2.Setting) *frames {
	a.Helper()
	c, err := tls.Dial("tcp", l.addr(), a.clientConfig(a.pair(devca.Request{Name: "a"}), "h2"))
	if err != nil {
		a.Fatal(err)
	}
	f := newFrames(a.T, c)
	io.WriteString(c, http2.ClientPreface)
	f.WriteSettings(settings...)
	return f
}

// post sends the header of a message.
func (f *frames) post(stream uint32, kind string, end bool, more ...string) {
	f.headers(stream, end, append([]string{":method", "POST", ":scheme", "https", ":authority", "quell", ":path", fmt.Sprintf("/%d", stream), "content-type", kind}, more...)...)
}

// answer returns the status and the body of the next answer to one of the streams, and
// whether it was reset.
func (f *frames) answer() (stream uint32, status string, body []byte, reset bool) {
	for {
		switch frame := f.next().(type) {
		case nil:
			return 0, "", nil, true
		case *http2.MetaHeadersFrame:
			stream = frame.StreamID
			if s := frame.PseudoValue("status"); s != "" {
				status = s
			}
			if frame.StreamEnded() {
				return stream, status, body, false
			}
		case *http2.DataFrame:
			body = append(body, frame.Data()...)
			if frame.StreamEnded() {
				return frame.StreamID, status, body, false
			}
		case *http2.RSTStreamFrame:
			return frame.StreamID, status, body, true
		}
	}
}

// secureSouth opens a southbound listener with TLS, whose next hop is a handler.
func (w *world) secureSouth(ca *authority, h http.HandlerFunc) *Listener {
	w.Helper()
	next := httptest.NewServer(h)
	w.Cleanup(next.Close)
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	return w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("quell"), Need: true})
}

// TestStreamStalls: a sender with HTTP/2 stalls within one message. That is refused, and
// arrives nowhere whole. Others on the same connection pass.
func TestStreamStalls(t *testing.T) {
	for _, kind := range []string{"application/xml", "text/plain"} {
		w := startedWorldWith(t, Limits{Sender: 500 * time.Millisecond})
		var whole atomic.Int64
		ca := newAuthority(t, "authority")
		l := w.secureSouth(ca, func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				whole.Add(1)
			}
		})
		f := ca.sender(l)
		f.post(1, kind, false)
		f.WriteData(1, false, []byte("abc"))
		f.post(3, kind, false)
		f.WriteData(3, true, []byte("abc"))
		if stream, status, _, _ := f.answer(); stream != 3 || status != "200" {
			t.Errorf("%s: the message that passes: stream %d, status %s", kind, stream, status)
		}
		if stream, status, body, _ := f.answer(); stream != 1 || status != "408" {
			t.Errorf("%s: the one that stalls: stream %d, status %s: %s", kind, stream, status, body)
		}
		f.post(5, kind, false)
		f.WriteData(5, true, []byte("abc"))
		for {
			stream, status, _, _ := f.answer()
			if stream == 5 && status == "200" {
				break
			} else if stream != 1 { // the rest of it is not wanted
				t.Fatalf("%s: another message: stream %d, status %s", kind, stream, status)
			}
		}
		if whole.Load() != 2 {
			t.Errorf("%s: %d arrived whole, want 2", kind, whole.Load())
		}
	}
}

// TestStreamWaitsForNextHop: that a next hop takes nothing for longer than a sender may
// stall does not count against the sender.
func TestStreamWaitsForNextHop(t *testing.T) {
	t.Parallel()          // it waits more than it computes
	const size = 32 << 20 // more than the kernel takes
	w := startedWorldWith(t, Limits{Sender: time.Second})
	ca := newAuthority(t, "authority")
	l := w.secureSouth(ca, func(rw http.ResponseWriter, r *http.Request) {
		io.CopyN(io.Discard, r.Body, 1000)
		time.Sleep(2500 * time.Millisecond)
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(rw, n+1000, err)
	})
	c := ca.client(ca.pair(devca.Request{Name: "a"}), 2)
	for _, kind := range []string{"application/xml", "text/plain"} {
		res, err := c.Post(l.URL, kind, io.LimitReader(&pattern{}, size))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.ProtoMajor != 2 || res.StatusCode != 200 || string(text) != fmt.Sprint(size, error(nil)) {
			t.Errorf("%s: HTTP/%d, status %d: %s", kind, res.ProtoMajor, res.StatusCode, text)
		}
	}
}

// TestStreamTakesNoAnswer: a sender with HTTP/2 takes no byte of an answer, and keeps its
// connection alive. The message ends all the same, and the connection is good for others.
func TestStreamTakesNoAnswer(t *testing.T) {
	w := startedWorldWith(t, Limits{Sender: 300 * time.Millisecond})
	ca := newAuthority(t, "authority")
	l := w.secureSouth(ca, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/1" {
			io.Copy(rw, io.LimitReader(&pattern{}, 1<<20))
		} else if r.URL.Path == "/3" {
			io.WriteString(rw, "short, so that net/http sends it when the message is done")
		}
	})
	f := ca.sender(l, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for _, stream := range []uint32{1, 3} {
		f.post(stream, "text/plain", true)
		if got, status, body, reset := f.answer(); got != stream || status != "200" || len(body) > 0 || !reset {
			t.Errorf("stream %d, status %s, %d bytes, reset %t; want %d, and a reset", got, status, len(body), reset, stream)
		}
	}
	f.post(5, "text/plain", true)
	if stream, status, _, reset := f.answer(); stream != 5 || status != "200" || reset {
		t.Errorf("afterwards: stream %d, status %s, reset %t", stream, status, reset)
	}
}

// TestMessagesPerListener: one connection of HTTP/2 has no more messages under way than a
// listener may have. The others wait, and pass.
func TestMessagesPerListener(t *testing.T) {
	const most, all = 4, 20
	w := startedWorldWith(t, Limits{Connections: most})
	ca := newAuthority(t, "authority")
	var now, peak atomic.Int64
	l := w.secureSouth(ca, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		time.Sleep(30 * time.Millisecond)
	})
	f := ca.sender(l)
	for n := range uint32(all) {
		f.post(2*n+1, "text/plain", true)
	}
	for range all {
		if stream, status, body, _ := f.answer(); status != "200" {
			t.Errorf("stream %d: status %s: %s", stream, status, body)
		}
	}
	if peak.Load() != most {
		t.Errorf("%d messages at once, want %d", peak.Load(), most)
	}
	if c := fmt.Sprint(w.gw.Conditions()); !strings.Contains(c, "southbound: 4 messages are under way, or were just now; others wait") {
		t.Error(c)
	}
}

// TestRapidReset: a client that starts streams and takes them back at once makes no more work
// than the messages that it may have, and others are served.
func TestRapidReset(t *testing.T) {
	const most = 8
	w := startedWorldWith(t, Limits{Connections: most})
	ca := newAuthority(t, "authority")
	var now, peak, quick atomic.Int64
	l := w.secureSouth(ca, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/quick" {
			quick.Add(1)
			return
		}
		n := now.Add(1)
		defer now.Add(-1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		<-r.Context().Done() // until quell gives it up
	})
	f := ca.sender(l)
	go io.Copy(io.Discard, f.conn)
	for n := range uint32(5000) {
		f.post(2*n+1, "text/plain", true)
		if err := f.WriteRSTStream(2*n+1, http2.ErrCodeCancel); err != nil {
			break // it was disconnected
		}
	}
	if status, _, err := get(ca.client(ca.pair(devca.Request{Name: "b"}), 2), l.URL+"/quick"); status != 200 || quick.Load() != 1 {
		t.Errorf("another client: %d %v", status, err)
	}
	// A message that was given up may still be at the next hop for a moment, where the next
	// one already arrives.
	if peak.Load() > 4*most {
		t.Errorf("%d messages at once, and %d are allowed", peak.Load(), most)
	}
}

// TestStreamTunnels: HTTP/2 has two ways to ask for a tunnel. Both are refused.
func TestStreamTunnels(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	var messages atomic.Int64
	l := w.secureSouth(ca, func(http.ResponseWriter, *http.Request) { messages.Add(1) })
	f := ca.sender(l)
	f.headers(1, false, ":method", "CONNECT", ":authority", "evil.example:443")
	if stream, status, body, _ := f.answer(); stream != 1 || status != "501" {
		t.Errorf("CONNECT: stream %d, status %s: %s", stream, status, body)
	}
	f = ca.sender(l)
	f.headers(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/", ":authority", "quell")
	if _, status, _, reset := f.answer(); status == "200" || status == "" && !reset {
		t.Errorf("extended CONNECT: status %s, reset %t", status, reset)
	}
	if messages.Load() > 0 {
		t.Errorf("%d passed", messages.Load())
	}
}

// TestStreamSmuggling: what means something between hops of HTTP/1.1 does not get there from
// a stream, and a body is as long as it says.
func TestStreamSmuggling(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	var messages atomic.Int64
	l := w.secureSouth(ca, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			messages.Add(1)
		}
	})
	const inner = "0\r\n\r\nPOST /smuggled HTTP/1.1\r\nHost: quell\r\nContent-Length: 0\r\n\r\n"
	for name, fields := range map[string][]string{
		"transfer-encoding":    {"transfer-encoding", "chunked"},
		"connection":           {"connection", "close"},
		"upgrade":              {"upgrade", "h2c"},
		"content-length less":  {"content-length", "5"},
		"content-length more":  {"content-length", "500"},
		"two content-lengths":  {"content-length", "5", "content-length", "70"},
		"line break in value":  {"x", "a\r\ntransfer-encoding: chunked"},
		"line break in name":   {"x: a\r\ny", "b"},
		"blank in name":        {"content-length ", "5"},
		"upper case in name":   {"Content-Length", "5"},
		"pseudo-header late":   {":path", "/smuggled"},
		"unknown pseudo":       {":x", "y"},
		"NUL":                  {"x", "a\x00b"},
		"not a content-length": {"content-length", "+66"},
	} {
		f := ca.sender(l)
		f.post(1, "text/plain", false, fields...)
		f.WriteData(1, true, []byte(inner))
		if _, status, body, reset := f.answer(); status == "200" || status == "" && !reset {
			t.Errorf("%s: status %q, reset %t: %s", name, status, reset, body)
		}
		if messages.Load() > 0 {
			t.Fatalf("%s: it passed", name)
		}
	}
	if messages.Load() > 0 {
		t.Errorf("%d passed", messages.Load())
	}
	for _, length := range []string{"+66", "x", "-1", "0x5", "5, 5", "99999999999999999999"} {
		f := ca.sender(l)
		f.post(1, "text/plain", false, "content-length", length) // and no body yet
		if _, status, body, _ := f.answer(); status != "400" {
			t.Errorf("length %s: status %q: %s", length, status, body)
		}
	}
	if messages.Load() > 0 {
		t.Errorf("with odd lengths %d passed", messages.Load())
	}
}

// TestStreamShutdown: a stop waits for the messages of a connection of HTTP/2, and takes no
// further one.
func TestStreamShutdown(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	arrived, held := make(chan bool, 1), make(chan struct{})
	l := w.secureSouth(ca, func(rw http.ResponseWriter, _ *http.Request) {
		arrived <- true
		<-held
		io.WriteString(rw, "ok")
	})
	f := ca.sender(l)
	f.post(1, "text/plain", true)
	<-arrived
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), long)
		defer cancel()
		stopped <- l.Shutdown(ctx)
	}()
	if g, ok := f.next().(*http2.GoAwayFrame); !ok || g.ErrCode != http2.ErrCodeNo {
		t.Errorf("no goodbye: %v", g)
	}
	close(held)
	if stream, status, body, _ := f.answer(); stream != 1 || status != "200" || string(body) != "ok" {
		t.Errorf("stream %d, status %s: %s", stream, status, body)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	for frame := f.next(); frame != nil; frame = f.next() {
		if _, ok := frame.(*http2.GoAwayFrame); !ok {
			t.Errorf("after the stop: %v", frame)
		}
	}
}

// streamHop is a next hop with HTTP/2 that answers frame by frame.
type streamHop struct {
	*testing.T
	conns    chan *frames // that quell has made
	settings []http2.Setting
}

// streamNextHop makes the next hop of both directions one with HTTP/2.
func (w *world) streamNextHop(settings ...http2.Setting) *streamHop {
	w.Helper()
	ca := newAuthority(w.T, "authority")
	l := ca.secureListener(&tls.Config{Certificates: []tls.Certificate{*ca.pair(devca.Request{SANs: []string{"127.0.0.1"}})}, NextProtos: []string{"h2"}})
	h := &streamHop{w.T, make(chan *frames, 100), settings}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				f := newFrames(w.T, c)
				f.WriteSettings(h.settings...)
				h.conns <- f
			}()
		}
	}()
	source := ca.source("quell")
	for _, d := range []outage.Direction{outage.South, outage.North} {
		w.gw.SecureNextHop(d, HopTLS{Source: source})
	}
	u := &url.URL{Scheme: "https", Host: l.Addr().String()}
	w.gw.SetNextHops(u, u)
	return h
}

// conn returns the next connection that quell makes.
func (h *streamHop) conn() *frames {
	h.Helper()
	select {
	case f := <-h.conns:
		return f
	case <-time.After(long):
		h.Fatal("quell makes no connection")
	}
	return nil
}

// message returns the stream of the next message, when it is whole; 0 if none comes.
func (f *frames) message() (stream uint32, body []byte, reset bool) {
	for {
		switch frame := f.next().(type) {
		case nil:
			return 0, body, false
		case *http2.MetaHeadersFrame:
			if frame.StreamEnded() {
				return frame.StreamID, nil, false
			}
		case *http2.DataFrame:
			body = append(body, frame.Data()...)
			if frame.StreamEnded() {
				return frame.StreamID, body, false
			}
		case *http2.RSTStreamFrame:
			return frame.StreamID, body, true
		}
	}
}

// sending sends a message in the background.
func (w *world) sending(m *message) <-chan response {
	done := make(chan response, 1)
	go func() {
		r, err := w.send(outage.South, m)
		if err != nil {
			w.Error(err)
		}
		done <- r
	}()
	return done
}

func plainMessage(size int, chunked bool) *message {
	m := &message{method: "POST", target: "/", host: "quell", body: bytes.Repeat([]byte("quell "), size)[:size], chunked: chunked}
	m.setHeader("Content-Type", "text/plain")
	return m
}

// TestStreamSentOnce: whatever a next hop with HTTP/2 does after it got a message, quell
// does not send it again, unless the next hop says that it did nothing with it.
func TestStreamSentOnce(t *testing.T) {
	for name, x := range map[string]struct {
		do    func(f *frames, stream uint32)
		m     *message
		again bool
	}{
		"goes away":                        {func(f *frames, _ uint32) { f.WriteGoAway(0, http2.ErrCodeNo, nil) }, activateNow(1, 1), false},
		"goes away and closes":             {func(f *frames, s uint32) { f.WriteGoAway(s, http2.ErrCodeNo, nil); f.conn.Close() }, activateNow(1, 1), false},
		"goes away as if it had got none":  {func(f *frames, _ uint32) { f.WriteGoAway(0, http2.ErrCodeNo, nil); f.conn.Close() }, activateNow(1, 1), false},
		"closes":                           {func(f *frames, _ uint32) { f.conn.Close() }, activateNow(1, 1), false},
		"closes, GET":                      {func(f *frames, _ uint32) { f.conn.Close() }, &message{method: "GET", target: "/", host: "quell"}, false},
		"resets: protocol error":           {func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeProtocol) }, activateNow(1, 1), false},
		"resets: internal error":           {func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeInternal) }, activateNow(1, 1), false},
		"resets: cancel":                   {func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeCancel) }, activateNow(1, 1), false},
		"resets: HTTP/1.1 required":        {func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeHTTP11Required) }, activateNow(1, 1), false},
		"refuses":                          {func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeRefusedStream) }, activateNow(1, 1), true},
		"refuses GET":                      {func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeRefusedStream) }, &message{method: "GET", target: "/", host: "quell"}, true},
		"refuses what is no longer whole":  {func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeRefusedStream) }, plainMessage(3, false), false},
		"refuses what is no longer whole2": {func(f *frames, s uint32) { f.WriteRSTStream(s, http2.ErrCodeRefusedStream) }, plainMessage(3, true), false},
	} {
		for _, kept := range []bool{false, true} {
			w := startedWorldWith(t, Limits{NextHopIdle: time.Minute, AnswerStart: 2 * time.Second})
			h := w.streamNextHop()
			var f *frames
			if kept {
				done := w.sending(plainMessage(3, false))
				f = h.conn()
				stream, _, _ := f.message()
				f.headers(stream, true, ":status", "200")
				if r := <-done; r.status != 200 {
					t.Fatalf("%s: the message before: %d %s", name, r.status, r.body)
				}
				w.eventually("the connection is kept", func() bool {
					s := w.gw.south.carrier.Load().streams
					s.mu.Lock()
					defer s.mu.Unlock()
					return len(s.idle) == 1
				})
			}
			done := w.sending(x.m)
			if !kept {
				f = h.conn()
			}
			stream, _, _ := f.message()
			stream0 := stream
			x.do(f, stream)
			status := 502
			if name == "goes away" {
				status = 0 // 502, or 504 when no answer came
			}
			if x.again {
				f = h.conn()
				stream, _, _ := f.message()
				f.headers(stream, true, ":status", "200")
				status = 200
			}
			if r := <-done; r.status != status && (status != 0 || r.status < 500) {
				t.Errorf("%s, kept %t: status %d: %s", name, kept, r.status, r.body)
			}
			select {
			case f := <-h.conns:
				if stream, _, _ := f.message(); stream != 0 {
					t.Errorf("%s, kept %t: it was sent again, after stream %d", name, kept, stream0)
				}
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// TestStreamConnections: each message has its own connection while it is under way. It is
// used again afterwards, unless something went wrong with it, or it was closed.
func TestStreamConnections(t *testing.T) {
	w := startedWorldWith(t, Limits{NextHopIdle: time.Minute})
	h := w.streamNextHop()
	serve := func(f *frames) uint32 {
		stream, _, _ := f.message()
		f.headers(stream, false, ":status", "200")
		f.WriteData(stream, true, []byte("ok"))
		return stream
	}
	must := func(done <-chan response) {
		t.Helper()
		if r := <-done; r.status != 200 || string(r.body) != "ok" {
			t.Fatalf("status %d: %s", r.status, r.body)
		}
	}
	idle := func(n int) {
		t.Helper()
		w.eventually(fmt.Sprintf("%d connections are kept", n), func() bool {
			s := w.gw.south.carrier.Load().streams
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.idle) == n
		})
	}
	one, two := w.sending(activateNow(1, 1)), w.sending(plainMessage(100_000, true))
	a, b := h.conn(), h.conn()
	b.WriteWindowUpdate(0, 1<<20)
	a.WriteWindowUpdate(0, 1<<20)
	a.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	b.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	serve(a)
	serve(b)
	must(one)
	must(two)
	idle(2)
	third := w.sending(activateNow(2, 1))
	streams := make(chan uint32, 2)
	for _, f := range []*frames{a, b} {
		go func() {
			if stream, _, _ := f.message(); stream != 0 {
				f.headers(stream, false, ":status", "200")
				f.WriteData(stream, true, []byte("ok"))
				streams <- stream
			}
		}()
	}
	must(third)
	if stream := <-streams; stream != 3 {
		t.Errorf("stream %d, want the second one of its connection", stream)
	}
	// The next hop ends both. The next message has a new one.
	a.conn.Close()
	b.conn.Close()
	time.Sleep(50 * time.Millisecond)
	fourth := w.sending(activateNow(3, 1))
	serve(h.conn())
	must(fourth)
}

// TestStreamNextHopStalls: a next hop with HTTP/2 that keeps its connection alive, and does
// nothing with a message, does not hold it up for ever. The stream is reset.
func TestStreamNextHopStalls(t *testing.T) {
	const soon = 300 * time.Millisecond
	for name, x := range map[string]struct {
		settings []http2.Setting
		m        *message
		do       func(f *frames, stream uint32)
		status   int
		begins   bool // the message reaches the next hop
	}{
		"takes no byte":             {[]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}, plainMessage(3, false), nil, 504, true},
		"takes some bytes":          {[]http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1000}}, plainMessage(200_000, true), nil, 504, true},
		"allows no message":         {[]http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 0}}, activateNow(1, 1), nil, 504, false},
		"does not start its answer": {nil, activateNow(1, 1), nil, 504, true},
		"stops within its answer": {nil, activateNow(1, 1), func(f *frames, stream uint32) {
			f.headers(stream, false, ":status", "200", "content-length", "10")
			f.WriteData(stream, false, []byte("abc"))
		}, 0, true},
	} {
		w := startedWorldWith(t, Limits{AnswerStart: soon, NextHop: soon, NextHopIdle: time.Minute})
		h := w.streamNextHop(x.settings...)
		done := make(chan response, 1)
		failed := make(chan error, 1)
		go func() {
			r, err := w.send(outage.South, x.m)
			done <- r
			failed <- err
		}()
		f := h.conn()
		if x.do != nil {
			stream, _, _ := f.message()
			x.do(f, stream)
		}
		gone := make(chan bool, 1) // a reset, or the end
		go func() {
			for {
				switch frame := f.next().(type) {
				case nil, *http2.RSTStreamFrame:
					gone <- true
					return
				case *http2.DataFrame:
					if frame.StreamEnded() && x.m.body == nil {
						t.Errorf("%s: the message arrives whole", name)
					}
				}
			}
		}()
		r, err := <-done, <-failed
		if x.status == 0 && err == nil || x.status != 0 && r.status != x.status {
			t.Errorf("%s: status %d: %s %v", name, r.status, r.body, err)
		}
		select {
		case <-gone:
		case <-time.After(long):
			t.Errorf("%s: the stream stays open", name)
		}
	}
}

// TestStreamBrokenOff: a sender that breaks off its message breaks it off at a next hop with
// HTTP/2 too.
func TestStreamBrokenOff(t *testing.T) {
	for name, header := range map[string]string{"chunked": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "announced": "Content-Length: 9\r\n\r\nabc"} {
		w := startedWorldWith(t, Limits{Sender: 300 * time.Millisecond})
		h := w.streamNextHop()
		front := w.serveReal()[outage.South]
		for _, stalls := range []bool{false, true} {
			c := front.dial(t)
			io.WriteString(c, "POST / HTTP/1.1\r\nHost: quell\r\nContent-Type: text/plain\r\n"+header)
			f := h.conn()
			if !stalls {
				for {
					if d, ok := f.next().(*http2.DataFrame); ok && len(d.Data()) == 3 {
						break
					}
				}
				c.Close()
			}
			if stream, _, reset := f.message(); stream != 0 && !reset {
				t.Errorf("%s, stalls %t: the message arrives whole", name, stalls)
			}
		}
	}
}

// TestStreamRace: many messages at once over connections of HTTP/2 that end now and then.
// Each arrives at most once, and once if it was answered so.
func TestStreamRace(t *testing.T) {
	w := startedWorld(t)
	ca := newAuthority(t, "authority")
	var mu sync.Mutex
	seen := map[string]int{}
	next := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		mu.Lock()
		seen[r.URL.Path]++
		n := len(seen)
		mu.Unlock()
		if r.ProtoMajor != 2 {
			t.Errorf("by %s", r.Proto)
		}
		if n%7 == 0 {
			rw.Header().Set("Connection", "close") // GOAWAY
		}
		io.WriteString(rw, r.URL.Path)
	}))
	next.EnableHTTP2 = true
	next.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	next.TLS = &tls.Config{Certificates: []tls.Certificate{*ca.pair(devca.Request{SANs: []string{"127.0.0.1"}})}}
	next.StartTLS()
	t.Cleanup(next.Close)
	w.gw.SecureNextHop(outage.South, HopTLS{Source: ca.source("quell")})
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	l := w.listenTLS(outage.South, &ListenerTLS{Source: ca.source("front"), Need: true})
	c := ca.client(ca.pair(devca.Request{Name: "a"}), 2)
	var senders sync.WaitGroup
	var answered atomic.Int64
	for n := range 8 {
		senders.Go(func() {
			for i := range 50 {
				path := fmt.Sprintf("/%d-%d", n, i)
				var body io.Reader = strings.NewReader("abc")
				if i%2 == 0 {
					body = io.LimitReader(&pattern{}, 100_000)
				}
				res, err := c.Post(l.URL+path, []string{"application/xml", "text/plain"}[i%2], body)
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(res.Body)
				res.Body.Close()
				mu.Lock()
				times := seen[path]
				mu.Unlock()
				switch {
				case res.StatusCode == 200 && err == nil && string(text) == path && times == 1:
					answered.Add(1)
				case res.StatusCode != 502 || times > 1:
					t.Errorf("%s: status %d, %d times: %s %v", path, res.StatusCode, times, text, err)
				}
			}
		})
	}
	senders.Wait()
	if answered.Load() < 390 {
		t.Errorf("%d of 400 answered", answered.Load())
	}
	t.Log(answered.Load(), "of 400 answered")
}

// TestStreamIdle: a connection of HTTP/2 without a message is closed, to a next hop after
// next_hop_idle, and from a sender after its own limit.
func TestStreamIdle(t *testing.T) {
	w := startedWorldWith(t, Limits{NextHopIdle: 200 * time.Millisecond, KeepAlive: 200 * time.Millisecond})
	h := w.streamNextHop()
	done := w.sending(activateNow(1, 1))
	f := h.conn()
	stream, _, _ := f.message()
	f.headers(stream, true, ":status", "200")
	if r := <-done; r.status != 200 {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	at := time.Now()
	for f.next() != nil {
	}
	if took := time.Since(at); took > long/2 {
		t.Errorf("the next hop's connection is kept for %v", took)
	}
	ca := newAuthority(t, "authority")
	l := w.listenTLS(outage.North, &ListenerTLS{Source: ca.source("quell"), Need: true})
	s := ca.sender(l)
	at = time.Now()
	for s.next() != nil {
	}
	if took := time.Since(at); took > long/2 {
		t.Errorf("the sender's connection is kept for %v", took)
	}
}

// TestStreamNextHopChanges: as soon as a direction has another next hop, its messages go there, also
// while a connection of HTTP/2 to the one before is open, and whatever that spoke.
func TestStreamNextHopChanges(t *testing.T) {
	w := startedWorldWith(t, Limits{NextHopIdle: time.Minute})
	ca := newAuthority(t, "authority")
	var at atomic.Pointer[string] // where the last message arrived
	hop := func(name string, protocols ...string) *url.URL {
		l := ca.secureListener(&tls.Config{Certificates: []tls.Certificate{*ca.pair(devca.Request{SANs: []string{"127.0.0.1"}})}, NextProtos: protocols})
		s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			at.Store(&name)
		})}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetHTTP2(true)
		s.TLSConfig = &tls.Config{NextProtos: protocols}
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
		return &url.URL{Scheme: "https", Host: l.Addr().String()}
	}
	one, two, three := hop("one", "h2"), hop("two", "h2"), hop("three", "http/1.1")
	w.gw.SecureNextHop(outage.South, HopTLS{Source: ca.source("quell")})
	for n, u := range []*url.URL{one, two, one, three, two} {
		w.gw.SetNextHops(u, u)
		for i := range 2 {
			want := map[*url.URL]string{one: "one", two: "two", three: "three"}[u]
			if r := w.mustSend(outage.South, activateNow(1, uint64(2*n+i+1))); r.status != 200 || *at.Load() != want {
				t.Errorf("message %d: status %d, it arrived at %s, want %s", 2*n+i, r.status, *at.Load(), want)
			}
			if u != three {
				w.eventually("the connection is kept", func() bool {
					s := w.gw.south.carrier.Load().streams
					s.mu.Lock()
					defer s.mu.Unlock()
					return len(s.idle) > 0
				})
			}
		}
	}
}
