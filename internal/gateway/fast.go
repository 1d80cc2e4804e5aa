package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"

	"quell/internal/fastpath"
	"quell/internal/listener"
	"quell/internal/motorway"
	"quell/internal/outage"
)

// fastWay returns the fast path of a direction's listener.
func (g *Gateway) fastWay(d *way, made *Listener) *fastpath.Way {
	f := &fastpath.Way{
		Header: g.limits.Header, KeepAlive: g.limits.KeepAlive, AnswerStart: g.limits.AnswerStart, Ended: g.ended,
		Slow: func(c net.Conn) {
			if !made.slow.Give(c) {
				g.drop(d.hop, fastpath.HandedOf(c))
			}
		},
		Hops: func() *fastpath.Hops {
			if c := d.hop.carrier.Load(); c.fault != nil || c.streams.http2.Load() {
				return nil
			}
			return d.hop.hops.Load()
		},
		Decide: func(m *fastpath.Message) {
			d.decide(g.ended, motorway.Body{XML: true, Head: m.Body, Message: m.Whole}, &m.Passage)
			p := &m.Passage
			m.Next = fastpath.Forward
			switch {
			case p.Tracked(), p.Update() != nil:
				m.Next = fastpath.Hand // its answer must be read
			case p.Decision.Outcome == outage.Suppressed:
				m.Next = fastpath.Stop
			}
			m.Lines = appendDecision(m.Lines, p, string(p.Decision.Outcome))
		},
		Answered: func(m *fastpath.Message, status int) {
			d.hop.recordAnswer()
			g.m.Passed(&m.Passage, status)
		},
		Failed: func(m *fastpath.Message, err error) (int, string) {
			m.Lines = appendDecision(m.Lines[:0], &m.Passage, Undelivered)
			return g.notDelivered(d.hop, &m.Passage, err, nil)
		},
		Panicked: func(v any) {
			g.log.Error("a message made quell panic, its connection is closed", "panic", v, "stack", string(debug.Stack()))
		},
	}
	if made.door != nil {
		f.Admit = func(c *listener.Conn, s *tls.ConnectionState) bool { return made.door.Admits(c, s.PeerCertificates) }
	}
	return f
}

// appendDecision appends the headers of a northbound answer.
func appendDecision(b []byte, p *motorway.Passage, decision string) []byte {
	if p.Direction != outage.North {
		return b
	}
	b = append(append(append(b, DecisionHeader+": "...), decision...), "\r\n"...)
	return append(append(append(b, ReasonHeader+": "...), p.Decision.Reason...), "\r\n"...)
}

// renewHops makes the next messages of the common form use new connections.
func (g *Gateway) renewHops(n *nextHop) {
	var made *fastpath.Hops
	u, c := n.url.Load(), n.carrier.Load()
	if u != nil && isASCII(u.Host) {
		made = &fastpath.Hops{Prefix: strings.TrimSuffix(u.EscapedPath(), "/"), Idle: g.limits.NextHopIdle, Most: maxIdleHops,
			Dial: func(ctx context.Context) (net.Conn, *listener.Conn, error) { return g.dialFast(ctx, u, c) }}
	}
	if was := n.hops.Swap(made); was != nil {
		was.Retire()
	}
}

func (g *Gateway) dialFast(ctx context.Context, u *url.URL, c *carrier) (net.Conn, *listener.Conn, error) {
	if u.Scheme != "https" {
		h, err := g.dial(ctx, "tcp", addressOf(u))
		if err != nil {
			return nil, nil, err
		}
		return h, hopConnOf(h).Conn, nil
	}
	t, err := c.streams.dial(ctx, addressOf(u))
	if err != nil {
		return nil, nil, err
	}
	if speaksHTTP2(t) {
		t.Close()
		return nil, nil, fastpath.ErrOther
	}
	return t, hopConnOf(t).Conn, nil
}

// addressOf returns the host and the port of a URL.
func addressOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Host
	case u.Scheme == "https":
		return net.JoinHostPort(u.Hostname(), "443")
	}
	return net.JoinHostPort(u.Hostname(), "80")
}

func isASCII(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r > '~' }) < 0 }

// handedKey is the key of the fastpath.Handed that a request came on.
type handedKey struct{}

// begunOf returns the message of a request if the fast path has decided it.
func begunOf(r *http.Request) *fastpath.Begun {
	h, _ := r.Context().Value(handedKey{}).(*fastpath.Handed)
	if h == nil {
		return nil
	}
	return h.Take()
}

// drop ends a message that the fast path has decided, if net/http did not take it: its sender was
// refused meanwhile, or the listener closed. An 11.3 among them has no window.
func (g *Gateway) drop(hop *nextHop, h *fastpath.Handed) {
	if h == nil {
		return
	}
	begun := h.Take()
	if begun == nil {
		return
	}
	d := motorway.Refused // not sent
	if begun.Sent != nil {
		begun.Sent.Close()
		d = motorway.InDoubt
	}
	g.m.Answered(context.WithoutCancel(g.ended), &begun.Passage, d, nil)
	begun.Passage.Update().Refused()
	g.notDelivered(hop, &begun.Passage, errDropped, errDropped)
}

// errDropped is why a message was dropped.
var errDropped = errors.New("its connection was closed before net/http had it")

// dropping drops the message of a request that next has not taken. Otherwise the next request on
// the connection would get its decision, and its answer.
func (g *Gateway) dropping(hop *nextHop, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, _ := r.Context().Value(handedKey{}).(*fastpath.Handed)
		defer g.drop(hop, h)
		next.ServeHTTP(w, r)
	})
}

// roundTripSent returns the answer to a message that was sent.
func (c *carrier) roundTripSent(r *http.Request, sent net.Conn) (*http.Response, error) {
	once := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return sent, nil },
		DisableCompression: true, ResponseHeaderTimeout: c.kept.ResponseHeaderTimeout, MaxResponseHeaderBytes: maxHead, MaxIdleConnsPerHost: -1}
	to := *r.URL
	to.Scheme = "http" // TLS is below
	r = r.WithContext(r.Context())
	r.URL = &to
	return once.RoundTrip(r)
}

// serveFast serves both paths until the server is closed.
func (l *Listener) serveFast() error {
	var secure *tls.Config
	if l.door != nil {
		secure = l.door.Config()
	}
	failed := make(chan error, 1)
	go func() {
		err := l.fast.Serve(l.limiter, secure)
		if !errors.Is(err, net.ErrClosed) {
			l.slow.Close() // ends Serve
		}
		failed <- err
	}()
	err := l.Server.Serve(l.slow)
	if errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return errors.Join(<-failed, err)
}

// Shutdown closes the listener, and its connections as soon as they have no message. The error
// is that of ctx if it ends first.
func (l *Listener) Shutdown(ctx context.Context) error {
	if l.fast != nil {
		l.limiter.Close()
		l.SetKeepAlivesEnabled(false) // for the connections that net/http serves
		l.fast.Stop()
		if err := l.fast.Wait(ctx); err != nil {
			return err
		}
	}
	return l.Server.Shutdown(ctx)
}

// Close closes the listener and its connections.
func (l *Listener) Close() error {
	var err error
	if l.fast != nil {
		err = l.limiter.Close()
		l.fast.Close()
	}
	return errors.Join(err, l.Server.Close())
}
