package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"quell/internal/listener"
)

// dialTimeout is how long the next hop may take to accept a connection, and again for
// TLS.
const dialTimeout = 5 * time.Second

// maxIdleHops is how many connections to a next hop are kept that have no message.
const maxIdleHops = 256

// errOwnListener says that a connection leads back to quell.
var errOwnListener = errors.New("the next hop is quell itself")

// newTransport makes a transport to next hops. It uses only HTTP/1.1: each message has
// its own connection, and it is known which bytes of it were written.
func (g *Gateway) newTransport(secure *tls.Config) *http.Transport {
	secure = secure.Clone()
	secure.NextProtos = []string{"http/1.1"}
	return &http.Transport{
		DialContext: g.dial,
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if made, ok := ctx.Value(madeKey{}).(*atomic.Pointer[tls.Conn]); ok {
				if c := made.Swap(nil); c != nil {
					return c, nil
				}
			}
			return g.dialTLS(ctx, network, addr, secure)
		},
		MaxIdleConnsPerHost:   maxIdleHops,
		IdleConnTimeout:       g.limits.NextHopIdle,
		ResponseHeaderTimeout: g.limits.AnswerStart,
		ExpectContinueTimeout: 0,    // incoming itself waits before it reads the body
		DisableCompression:    true, // the body must stay as the sender sent it
	}
}

// dial connects to a next hop.
func (g *Gateway) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	c, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if g.isOwnListener(c) {
		c.Close()
		return nil, errOwnListener
	}
	return &hopConn{Conn: listener.NewConn(c, g.limits.NextHop)}, nil
}

// handshakeError says that TLS with a next hop failed. No byte of a message was sent.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS with the next hop: " + e.err.Error() }

func (e *handshakeError) Unwrap() error { return e.err }

// dialTLS connects to a next hop, and returns when TLS is set up.
func (g *Gateway) dialTLS(ctx context.Context, network, addr string, secure *tls.Config) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	c, err := g.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	secure = secure.Clone()
	secure.ServerName = host
	t := tls.Client(c, secure)
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, &handshakeError{err}
	}
	return t, nil
}

// isOwnListener reports whether a connection that quell made leads to one of its own
// listeners, whatever name was used. A message would go round until no descriptors are
// left.
func (g *Gateway) isOwnListener(c net.Conn) bool {
	to, err1 := netip.ParseAddrPort(c.RemoteAddr().String())
	from, err2 := netip.ParseAddrPort(c.LocalAddr().String())
	if err1 != nil || err2 != nil {
		return false
	}
	ip := to.Addr().Unmap()
	here := ip.IsLoopback() || ip == from.Addr().Unmap()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.limiters {
		at, err := netip.ParseAddrPort(d.Addr().String())
		if err == nil && at.Port() == to.Port() && (at.Addr().Unmap() == ip || at.Addr().IsUnspecified() && here) {
			return true
		}
	}
	return false
}

// carrier sends each message only once. On a reused connection, the standard transport
// may send a message again that may have arrived, if its method should be harmless to
// repeat. So each message with such a method gets a new connection.
type carrier struct {
	kept, fresh *http.Transport
	streams     *streams // connections of HTTP/2
	fault       error    // why there is no TLS; nil if there is
}

func (g *Gateway) newCarrier(secure *tls.Config) *carrier {
	c := &carrier{kept: g.newTransport(secure), fresh: g.newTransport(secure), streams: g.newStreams(secure)}
	c.fresh.MaxIdleConnsPerHost = -1 // keep none, without a header that says so
	c.kept.MaxResponseHeaderBytes, c.fresh.MaxResponseHeaderBytes = maxHead, maxHead
	return c
}

// retire closes the connections that have no message, and the others as soon as theirs is
// done.
func (c *carrier) retire() {
	c.kept.CloseIdleConnections()
	c.streams.retire()
}

// RoundTrip sends a message.
func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	if sent := transitOf(r).sent; sent != nil {
		return c.roundTripSent(r, sent)
	}
	if r.URL.Scheme != "https" {
		return c.roundTripHTTP1(r)
	}
	if c.fault != nil {
		return nil, c.fault
	}
	res, made, err := c.streams.roundTrip(r)
	if err != errHTTP1 {
		return res, err
	}
	if made != nil {
		// It was made to find out what the next hop speaks, and has had no message.
		var unused atomic.Pointer[tls.Conn]
		unused.Store(made)
		defer func() {
			if c := unused.Swap(nil); c != nil {
				c.Close()
			}
		}()
		r = r.WithContext(context.WithValue(r.Context(), madeKey{}, &unused))
	}
	if res, err = c.roundTripHTTP1(r); err != nil {
		c.streams.forget()
	}
	return res, err
}

// madeKey is the key of a connection that is there for a message.
type madeKey struct{}

func (c *carrier) roundTripHTTP1(r *http.Request) (*http.Response, error) {
	t := transitOf(r)
	var conn *hopConn
	var unasked atomic.Bool
	trace := &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			if conn = hopConnOf(i.Conn); conn != nil {
				conn.heard.Store(false)
				if t.in != nil && !t.complete {
					conn.sending.Store(t.in)
				}
			}
		},
		GotFirstResponseByte: func() {
			if conn != nil && !conn.heard.Load() {
				unasked.Store(true) // the answer was there before the message
			}
		},
	}
	if t.in != nil {
		trace.Got100Continue = t.in.allow
	}
	through := c.kept
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		through = c.fresh
	}
	res, err := through.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err == nil && unasked.Load() {
		conn.Close()
		res.Body.Close()
		return nil, errUnasked
	}
	return res, err
}

// errUnasked says that an answer came before its message was sent: the next hop sent a
// second answer to the message before, on the same connection.
var errUnasked = errors.New("the next hop sent an answer before it got the message")

// hopConn is a connection to a next hop.
type hopConn struct {
	*listener.Conn
	heard   atomic.Bool              // a byte has come since the last message got the connection
	sending atomic.Pointer[incoming] // the message that is sent on while its sender still sends; may have ended
}

func hopConnOf(c net.Conn) *hopConn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	h, _ := c.(*hopConn)
	return h
}

func (c *hopConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(true)
	}
	return n, err
}

// Close is called as soon as the next hop ends the connection. A message that is still
// being sent need not be read any further: the transport would wait for its sender,
// which may be waiting for an answer.
func (c *hopConn) Close() error {
	if in := c.sending.Swap(nil); in != nil {
		in.stop()
		in.allow()
	}
	return c.Conn.Close()
}

// rewrite sends a request to the next hop, and changes nothing else in it. It undoes
// what ReverseProxy changes for browsers.
func rewrite(r *httputil.ProxyRequest, nextHop *url.URL) {
	in, out := r.In, r.Out
	t := transitOf(in)
	switch {
	case t.complete:
		// The transport knows that such a body is in memory, and writes head and body
		// at once.
		out.Body = io.NopCloser(bytes.NewReader(t.head))
		// This lets the transport use another connection if the next hop closed the
		// first before anything was written.
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(t.head)), nil }
	case t.in != nil:
		out.Body = rejoin(t.head, t.in)
	}
	switch {
	case len(t.head) > 0:
		// The sender has already sent a part of the body. To wait for the next hop's
		// consent would only delay the message.
		out.Header.Del("Expect")
	case t.in != nil && in.Header.Get("Expect") != "":
		t.in.waitForNextHop()
	}
	if t.in != nil && !t.complete && in.ContentLength < 0 {
		// Trailers may come at the end, whether announced or not.
		if out.Trailer == nil {
			out.Trailer = http.Header{}
		}
		t.in.trailer = out.Trailer
	}
	out.Host = in.Host
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v, ok := in.Header[name]; ok {
			out.Header[name] = v
		}
	}
	// The sender offers another protocol to quell, not to the next hop. quell does not
	// accept the offer.
	out.Header.Del("Connection")
	out.Header.Del("Upgrade")
	sendOnce(out.Header)
	setTarget(out, in, nextHop)
}

// sendOnce spells some headers in another way: if a connection breaks, the transport would send a
// message with them again, which may have arrived. It looks only for this spelling; next hops accept any.
func sendOnce(h http.Header) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := h[name]; ok {
			delete(h, name)
			h[strings.ToLower(name)] = v
		}
	}
}

// setTarget sets the target of a request: the path of the next hop, then the path of
// the message, byte for byte.
func setTarget(out, in *http.Request, nextHop *url.URL) {
	out.URL = &url.URL{Scheme: nextHop.Scheme, Host: nextHop.Host, RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery}
	path, _, _ := strings.Cut(in.RequestURI, "?")
	if path == "*" {
		out.URL.Opaque = path // it means the server, not a path
		return
	}
	if _, rest, ok := strings.Cut(path, "://"); ok && !strings.HasPrefix(path, "/") {
		// The form of a request to a proxy. The path comes after the host.
		_, behind, ok := strings.Cut(rest, "/")
		path = "/" + behind
		if !ok && in.Method == http.MethodOptions && in.RequestURI == in.URL.Scheme+"://"+rest {
			out.URL.Opaque = "*" // RFC 9112, section 3.2.4
			return
		}
	}
	full := strings.TrimSuffix(nextHop.EscapedPath(), "/") + path
	if !strings.HasPrefix(full, "//") {
		out.URL.Opaque = full
		return
	}
	// Package url would read what follows // as a host. Set like this it stays a path,
	// but characters that a URL must not have are escaped.
	out.URL.Path, out.URL.RawPath = in.URL.Path, in.URL.RawPath
}

// watchedAnswer is a next hop's answer. It is given up if no byte comes for idle.
type watchedAnswer struct {
	io.ReadCloser
	idle    time.Duration
	timer   *time.Timer // nil until the first Read
	stalled atomic.Bool
}

func (w *watchedAnswer) Read(p []byte) (int, error) {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.idle, func() {
			w.stalled.Store(true)
			w.ReadCloser.Close() // ends the Read, and the connection
		})
	} else {
		w.timer.Reset(w.idle)
	}
	n, err := w.ReadCloser.Read(p)
	// If the sender is slow to take the answer, that is not the next hop's fault.
	w.timer.Stop()
	return n, err
}
