package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// streams sends messages to next hops with HTTP/2. Like with HTTP/1.1, each message has a
// connection of its own while it is under way. So no message waits for another, a
// connection that is lost takes only one message with it, and it is known which bytes of
// it were written. No message is sent a second time, except one of which no byte was
// written, or of which the next hop says that it did nothing with it.
type streams struct {
	g         *Gateway
	secure    *tls.Config
	transport *http.Transport
	http1     atomic.Bool // the next hop chose HTTP/1.1 the last time
	http2     atomic.Bool // it chose HTTP/2

	mu      sync.Mutex // guards the fields below
	idle    []*stream
	retired bool
}

// stream is a connection with HTTP/2.
type stream struct {
	*http.ClientConn
	conn *hopConn
	addr string // of the next hop
}

// errHTTP1 says that the next hop speaks HTTP/1.1. Nothing was sent.
var errHTTP1 = errors.New("the next hop speaks HTTP/1.1")

// streamBuffer is how much of an answer waits for its sender.
const streamBuffer = 64 << 10

type dialedKey struct{}

func (g *Gateway) newStreams(secure *tls.Config) *streams {
	secure = secure.Clone()
	secure.NextProtos = []string{"h2", "http/1.1"}
	s := &streams{g: g, secure: secure}
	s.transport = &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return ctx.Value(dialedKey{}).(*tls.Conn), nil
		},
		Protocols:          new(http.Protocols),
		HTTP2:              &http.HTTP2Config{MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: streamBuffer},
		IdleConnTimeout:    g.limits.NextHopIdle,
		DisableCompression: true,
	}
	s.transport.Protocols.SetHTTP1(true)
	s.transport.Protocols.SetHTTP2(true)
	return s
}

// forget makes the next message find out again what the next hop speaks.
func (s *streams) forget() { s.http1.Store(false) }

// get returns a connection without a message, and whether it had one before. The error is
// errHTTP1 if the next hop does not speak HTTP/2; then made is a connection for HTTP/1.1.
func (s *streams) get(ctx context.Context, addr string, fresh bool) (_ *stream, used bool, made *tls.Conn, _ error) {
	for !fresh {
		s.mu.Lock()
		n := len(s.idle)
		if n == 0 {
			s.mu.Unlock()
			break
		}
		c := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		if c.addr == addr && c.Reserve() == nil { // a message may have begun before its direction got another next hop
			return c, true, nil, nil
		}
		c.Close()
	}
	t, err := s.dial(ctx, addr)
	if err != nil {
		return nil, false, nil, err
	}
	if !speaksHTTP2(t) {
		return nil, false, t, errHTTP1
	}
	cc, err := s.transport.NewClientConn(context.WithValue(ctx, dialedKey{}, t), "https", addr)
	if err != nil {
		t.Close()
		return nil, false, nil, err
	}
	return &stream{cc, hopConnOf(t), addr}, false, nil, nil
}

// dial connects to a next hop, and finds out what it speaks.
func (s *streams) dial(ctx context.Context, addr string) (*tls.Conn, error) {
	t, err := s.g.dialTLS(ctx, "tcp", addr, s.secure)
	if err == nil {
		s.http1.Store(!speaksHTTP2(t))
		s.http2.Store(speaksHTTP2(t))
	}
	return t, err
}

func speaksHTTP2(t *tls.Conn) bool { return t.ConnectionState().NegotiatedProtocol == "h2" }

// put keeps a connection for the next message, as soon as its own is done, and then calls
// done. The message was sent and answered to the end.
func (s *streams) put(c *stream, done func()) {
	keep := sync.OnceFunc(func() {
		done()
		s.keep(c)
	})
	if c.InFlight() > 0 && c.Available() > 0 {
		// The answer was read a moment before its stream ends.
		c.SetStateHook(func(cc *http.ClientConn) {
			if cc.InFlight() == 0 {
				keep()
			}
		})
		if c.InFlight() > 0 {
			return
		}
	}
	keep()
}

// keep keeps a connection, unless it has anything under way, or can take no other message.
func (s *streams) keep(c *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired || c.InFlight() > 0 || c.Available() == 0 {
		go c.Close()
		return
	}
	kept := s.idle[:0]
	for _, other := range s.idle {
		if other.Err() == nil { // not closed after next_hop_idle
			kept = append(kept, other)
		}
	}
	clear(s.idle[len(kept):])
	s.idle = append(kept, c)
}

// retire closes the connections without a message. The others are closed when theirs is
// done.
func (s *streams) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	for _, c := range s.idle {
		go c.Close()
	}
	s.idle = nil
}

// roundTrip sends a message. The error is errHTTP1 if the next hop does not speak HTTP/2;
// then made may be a connection for HTTP/1.1, which the caller uses or closes.
func (s *streams) roundTrip(r *http.Request) (_ *http.Response, made *tls.Conn, _ error) {
	if s.http1.Load() {
		return nil, nil, errHTTP1
	}
	addr := addressOf(r.URL)
	for second := false; ; second = true {
		c, used, made, err := s.get(r.Context(), addr, second)
		if err != nil {
			return nil, made, err
		}
		res, unsent, err := s.send(c, r)
		if err == nil || second || !unsent || r.Context().Err() != nil || !used && !isRefusedStream(err) {
			return res, nil, err
		}
		switch {
		case r.GetBody != nil:
			body, err := r.GetBody()
			if err != nil {
				return nil, nil, err
			}
			r = r.WithContext(r.Context()) // a copy
			r.Body = body
		case r.Body != nil:
			return nil, nil, err // the start of it was read
		}
	}
}

// send sends a message on a connection that has no other. unsent means that the next hop
// did nothing with it.
func (s *streams) send(c *stream, r *http.Request) (_ *http.Response, unsent bool, _ error) {
	// A context of its own: net/http has an answer without a body before it knows that the
	// stream has ended. It would reset the stream if the message's context ended meanwhile.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	detach := context.AfterFunc(r.Context(), func() { cancel(context.Cause(r.Context())) })
	w := &progress{limits: s.g.limits, stalled: func(what string) { cancel(fmt.Errorf("the next hop %s: %w", what, os.ErrDeadlineExceeded)) }}
	out := r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		w.body = r.Body
		out.Body = w
	}
	before := c.conn.Wrote()
	w.begin()
	res, err := c.RoundTrip(out)
	w.answered()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		detach()
		unsent = c.conn.Wrote() == before || isRefusedStream(err)
		cancel(nil)
		w.end()
		c.Close()
		return nil, unsent, err
	}
	res.Request = r
	a := &streamedAnswer{ReadCloser: res.Body}
	a.done = sync.OnceFunc(func() {
		w.end()
		detach()
		if a.ended.Load() && w.isSent() {
			s.put(c, func() { cancel(nil) })
			return
		}
		cancel(nil) // resets the stream
		go c.Close()
	})
	res.Body = a
	return res, false, nil
}

// isRefusedStream reports whether the next hop says that it did nothing with a message
// (RFC 9113, section 8.7).
func isRefusedStream(err error) bool {
	// net/http fills a struct that has the fields of its own error.
	var e streamError
	return errors.As(err, &e) && e.Code == 7
}

type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (streamError) Error() string { return "stream error" }

// progress is the body of a message on its way to a next hop with HTTP/2. It sees to it
// that the next hop takes the message and starts its answer in time. The connection alone
// does not show that: a next hop that takes no byte of a stream still takes those of the
// protocol.
type progress struct {
	body    io.ReadCloser // nil if the message has none
	limits  Limits
	stalled func(what string) // ends the message

	mu       sync.Mutex // guards the fields below
	timer    *time.Timer
	isDone   bool // nothing is waited for any more
	hasAll   bool // the whole body was read
	isAnswer bool // the answer has started
}

// wait starts to wait for what the next hop must do.
func (p *progress) wait(limit time.Duration, what string) {
	if p.timer != nil {
		p.timer.Stop()
	}
	if !p.isDone {
		p.timer = time.AfterFunc(limit, func() { p.stalled(what) })
	}
}

func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wait(p.limits.AnswerStart, "did not take the message")
}

// answered says that the answer has started, or that there is none.
func (p *progress) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isAnswer = true
	if p.hasAll || p.body == nil {
		p.stop()
	}
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
}

func (p *progress) stop() {
	p.isDone = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// Read is called when the next hop has taken what was read before.
func (p *progress) Read(b []byte) (int, error) {
	p.mu.Lock()
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	n, err := p.body.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.wait(p.limits.NextHop, "took no byte of the message")
	case err == io.EOF:
		p.hasAll = true
		if p.isAnswer {
			p.stop()
		} else {
			p.wait(p.limits.AnswerStart, "did not start its answer")
		}
	}
	return n, err
}

// Close is called when the whole body was taken, or the rest is not wanted.
func (p *progress) Close() error {
	p.mu.Lock()
	if !p.hasAll {
		p.stop()
	}
	p.mu.Unlock()
	return p.body.Close()
}

// isSent reports whether the whole message was sent.
func (p *progress) isSent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hasAll || p.body == nil
}

// streamedAnswer is an answer of HTTP/2. When it was read to its end, its connection is
// kept; when it is closed before, so is the connection.
type streamedAnswer struct {
	io.ReadCloser
	ended atomic.Bool
	done  func() // does nothing the second time
}

func (a *streamedAnswer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err == io.EOF {
		a.ended.Store(true)
	}
	return n, err
}

func (a *streamedAnswer) Close() error {
	err := a.ReadCloser.Close()
	a.done()
	return err
}
