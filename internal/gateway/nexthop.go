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
)

// dialTimeout is how long the next hop may take to accept a connection, and for
// TLS besides.
const dialTimeout = 5 * time.Second

// errOwnListener is of a connection that came back to quell itself.
var errOwnListener = errors.New("the next hop is a listener of this quell itself")

// newTransport makes what carries messages to next hops. It is HTTP/1.1 alone: a
// message then has its connection to itself, and what was written of it is known.
func (g *Gateway) newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if g.isOwn(c) {
				c.Close()
				return nil, errOwnListener
			}
			return &hopConn{stallConn: stallConn{Conn: c, stall: g.limits.NextHop}}, nil
		},
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       g.limits.NextHopUse,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: g.limits.Begin,
		ExpectContinueTimeout: 0,    // the body of the message waits by itself
		DisableCompression:    true, // the body's bytes are the sender's
	}
}

// isOwn reports whether a connection, which quell made, leads to a listener of its
// own: under whatever name, one message would come round until there are no
// descriptors left.
func (g *Gateway) isOwn(c net.Conn) bool {
	to, err1 := netip.ParseAddrPort(c.RemoteAddr().String())
	from, err2 := netip.ParseAddrPort(c.LocalAddr().String())
	if err1 != nil || err2 != nil {
		return false
	}
	ip := to.Addr().Unmap()
	here := ip.IsLoopback() || ip == from.Addr().Unmap()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.doors {
		at, err := netip.ParseAddrPort(d.Addr().String())
		if err == nil && at.Port() == to.Port() && (at.Addr().Unmap() == ip || at.Addr().IsUnspecified() && here) {
			return true
		}
	}
	return false
}

// carrier sends each message once. The standard transport sends some again that
// may have arrived: those by methods that ought to be harmless. Each of them has
// a connection of its own, where there is nothing to send again for.
type carrier struct {
	kept, fresh *http.Transport
}

func (g *Gateway) newCarrier() *carrier {
	c := &carrier{kept: g.newTransport(), fresh: g.newTransport()}
	c.fresh.MaxIdleConnsPerHost = -1 // none is kept, and nothing is said of it to the next hop
	return c
}

func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	t := transitOf(r)
	var conn *hopConn
	var unasked atomic.Bool
	trace := &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			if conn = hopConnOf(i.Conn); conn != nil {
				conn.heard.Store(false)
				if t.in != nil && !t.held {
					conn.sending.Store(t.in)
				}
			}
		},
		GotFirstResponseByte: func() {
			if conn != nil && !conn.heard.Load() {
				unasked.Store(true) // it was there before the message was
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

// errUnasked is of an answer that came before its message was sent: one too many
// to the message before, on the same connection.
var errUnasked = errors.New("the next hop gave an answer to no message")

// hopConn is a connection to a next hop.
type hopConn struct {
	stallConn
	heard   atomic.Bool              // something came since the last message got the connection
	sending atomic.Pointer[incoming] // the message that goes out while its sender still sends; may be over
}

func hopConnOf(c net.Conn) *hopConn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	h, _ := c.(*hopConn)
	return h
}

func (c *hopConn) Read(b []byte) (int, error) {
	n, err := c.stallConn.Read(b)
	if n > 0 {
		c.heard.Store(true)
	}
	return n, err
}

// Close is called as soon as the next hop ends the connection. The message that
// is still being sent need not be read any more then; the transport would wait for
// its sender, who may wait for an answer.
func (c *hopConn) Close() error {
	if in := c.sending.Swap(nil); in != nil {
		in.stop()
		in.allow()
	}
	return c.stallConn.Close()
}

// rewrite directs a request to the next hop, with nothing else changed. It
// undoes what ReverseProxy does for browsers' sake.
func rewrite(r *httputil.ProxyRequest, nextHop *url.URL) {
	in, out := r.In, r.Out
	t := transitOf(in)
	switch {
	case t.held:
		// Of a kind that the transport knows to be at hand, so that head and
		// body are written at once.
		out.Body = io.NopCloser(bytes.NewReader(t.head))
		// Lets the transport send it again on another connection if the next hop
		// closed the one before anything was written.
		out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(t.head)), nil }
	case t.in != nil:
		out.Body = putBack(t.head, t.in)
	}
	switch {
	case len(t.head) > 0:
		// The sender went on long ago. To wait for the next hop's word would only
		// hold the message up.
		out.Header.Del("Expect")
	case t.in != nil && in.Header.Get("Expect") != "":
		t.in.ask()
	}
	if t.in != nil && !t.held && in.ContentLength < 0 {
		// Trailers come at the end, announced or not.
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
	// An offer to switch to another protocol is the sender's to quell, which
	// does not take it.
	out.Header.Del("Connection")
	out.Header.Del("Upgrade")
	// The transport takes these for leave to send a message again that may have
	// arrived. It looks for them in this spelling alone; next hops do not.
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := out.Header[name]; ok {
			delete(out.Header, name)
			out.Header[strings.ToLower(name)] = v
		}
	}
	direct(out, in, nextHop)
}

// direct sets the target of a request: the path as it came, byte for byte, behind
// that of the next hop.
func direct(out, in *http.Request, nextHop *url.URL) {
	out.URL = &url.URL{Scheme: nextHop.Scheme, Host: nextHop.Host, RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery}
	path, _, _ := strings.Cut(in.RequestURI, "?")
	if path == "*" {
		out.URL.Opaque = path // it is about the server, not about a path
		return
	}
	if _, rest, ok := strings.Cut(path, "://"); ok && !strings.HasPrefix(path, "/") {
		// The form of requests to a proxy. What is behind the host is the path.
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
	// Package url would take what follows for a host. Set in this way it stays
	// a path, but characters that no URL may have are escaped.
	out.URL.Path, out.URL.RawPath = in.URL.Path, in.URL.RawPath
}

// watched is a next hop's answer, which is given up when no byte comes for too
// long.
type watched struct {
	io.ReadCloser
	idle    time.Duration
	timer   *time.Timer // nil until the first Read
	stalled atomic.Bool
}

func (w *watched) Read(p []byte) (int, error) {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.idle, func() {
			w.stalled.Store(true)
			w.ReadCloser.Close() // ends the Read, and the connection
		})
	} else {
		w.timer.Reset(w.idle)
	}
	n, err := w.ReadCloser.Read(p)
	// A sender that is slow to take its answer is no fault of the next hop.
	w.timer.Stop()
	return n, err
}
