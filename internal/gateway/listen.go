package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"quell/internal/channel"
	"quell/internal/fastpath"
	"quell/internal/listener"
)

// Limits are how long, and how much, senders and next hops may use quell's resources. A
// zero field means the default.
type Limits struct {
	Header      time.Duration // for a sender to send the header of a message
	Sender      time.Duration // without a byte from the sender, or taken by it
	KeepAlive   time.Duration // that a sender's connection may be idle
	AnswerStart time.Duration // until a next hop starts its answer
	NextHop     time.Duration // without a byte of the started answer, or taken by the next hop
	NextHopIdle time.Duration // that an idle connection to a next hop is kept
	// Connections is how many connections each listener of messages may have.
	Connections int
	// ConsoleConnections is the same for the console, which has its own.
	ConsoleConnections int
}

func (l Limits) orDefault() Limits {
	return Limits{
		Header:             cmp.Or(l.Header, 10*time.Second),
		Sender:             cmp.Or(l.Sender, 30*time.Second),
		KeepAlive:          cmp.Or(l.KeepAlive, 2*time.Minute),
		AnswerStart:        cmp.Or(l.AnswerStart, time.Minute),
		NextHop:            cmp.Or(l.NextHop, 30*time.Second),
		NextHopIdle:        cmp.Or(l.NextHopIdle, 4*time.Second),
		Connections:        cmp.Or(l.Connections, listener.Connections()),
		ConsoleConnections: cmp.Or(l.ConsoleConnections, 128),
	}
}

// maxHead is how many bytes the head of a request or of an answer may have; net/http adds
// 4 KiB to that of a request. Every connection may have such a head at the same time.
const maxHead = 64 << 10

// Listener is one of quell's listeners with its server. Its limits apply to everything
// that is read from or written to its clients.
type Listener struct {
	*http.Server
	URL     string
	limiter *listener.Limiter
	door    *channel.Door // nil without TLS

	// fast serves messages of the common form. All others go through slow to Server. Both
	// are nil for the console.
	fast *fastpath.Way
	slow *fastpath.Slow
}

// maxStreams is how many messages a sender may have under way on one connection of HTTP/2.
// sentBuffer is how much of each may wait in quell.
const (
	maxStreams = 32
	sentBuffer = 64 << 10
)

// Listen opens a listener without TLS. It accepts connections when Serve is called. The
// name is "southbound", "northbound" or "console". The console has its own limit of
// connections.
func (g *Gateway) Listen(name, addr string, h http.Handler) (*Listener, error) {
	return g.ListenTLS(name, addr, h, nil)
}

// ListenTLS is Listen with TLS, unless secure is nil.
func (g *Gateway) ListenTLS(name, addr string, h http.Handler, secure *ListenerTLS) (*Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return g.listenOn(name, l, h, secure), nil
}

// ServeOn is Listen for a listener that is open. It is for the console's Unix socket.
func (g *Gateway) ServeOn(name string, l net.Listener, h http.Handler) *Listener {
	return g.listenOn(name, l, h, nil)
}

func (g *Gateway) listenOn(name string, l net.Listener, h http.Handler, secure *ListenerTLS) *Listener {
	most := g.limits.Connections
	if name == "console" || name == "socket" {
		most = g.limits.ConsoleConnections
		h = g.limitBodyWait(h)
	}
	d := listener.New(l, name, most, g.limits.Sender, g.log, g.m.Metrics)
	g.mu.Lock()
	g.limiters = append(g.limiters, d)
	g.mu.Unlock()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: g.limits.Header, IdleTimeout: g.limits.KeepAlive,
		DisableGeneralOptionsHandler: true, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)}
	made := &Listener{Server: srv, URL: "http://" + l.Addr().String(), limiter: d}
	if secure != nil {
		made.URL = "https://" + l.Addr().String()
		made.door = g.newDoor(name, secure)
		srv.TLSConfig = made.door.Config()
		srv.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: sentBuffer, MaxReceiveBufferPerConnection: maxStreams * sentBuffer}
		srv.Handler = made.door.Handler(d.LimitMessages(g.ended, listener.LimitStreams(h, g.limits.Sender)))
	}
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		under := fastpath.Under(c)
		switch state {
		case http.StateIdle:
			under.SetIdle(time.Now())
		case http.StateActive:
			under.SetIdle(time.Time{})
		case http.StateClosed:
			if t, ok := c.(*tls.Conn); ok && !t.ConnectionState().HandshakeComplete {
				made.door.Failed(under)
			}
		}
	}
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if h := fastpath.HandedOf(c); h != nil {
			ctx = context.WithValue(ctx, handedKey{}, h)
		}
		return channel.WithConn(ctx, fastpath.Under(c))
	}
	srv.MaxHeaderBytes = maxHead
	if name != "console" && name != "socket" {
		srv.BaseContext = func(net.Listener) context.Context { return g.ended } // AbandonMessages ends them
	}
	if d, ok := h.(*way); ok {
		made.slow = fastpath.NewSlow(made.limiter)
		made.fast = g.fastWay(d, made)
		srv.Handler = g.dropping(d.hop, srv.Handler)
		state := srv.ConnState
		srv.ConnState = func(c net.Conn, to http.ConnState) {
			if state(c, to); to == http.StateClosed {
				g.drop(d.hop, fastpath.HandedOf(c)) // if there was no request
			}
		}
		if secure != nil {
			srv.TLSConfig.NextProtos = []string{"h2"} // net/http asks here whether it is to speak HTTP/2
		}
	}
	return made
}

// Serve accepts connections until the server is closed. The error is never nil.
func (l *Listener) Serve() error {
	if l.fast != nil {
		return l.serveFast()
	}
	if l.door != nil {
		return l.Server.ServeTLS(l.limiter, "", "")
	}
	return l.Server.Serve(l.limiter)
}

// limitBodyWait limits the wait for each byte of a request's body, for handlers that do
// not do so themselves.
func (g *Gateway) limitBodyWait(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := newIncoming(w, r, g.limits.Sender)
		if in == nil {
			next.ServeHTTP(w, r)
			return
		}
		defer in.Close()
		in.setDeadline()
		r = r.WithContext(r.Context())
		r.Body = in
		next.ServeHTTP(w, r)
	})
}

// Conditions says what is wrong with the listeners and the next hops; nil if nothing is.
func (g *Gateway) Conditions() (list []string) {
	now := time.Now()
	for _, n := range []*nextHop{&g.south, &g.north} {
		if text := n.condition(); text != "" {
			list = append(list, text)
		}
		if t := n.tls.Load(); t.Source != nil {
			list = append(list, t.Source.Conditions(now)...)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.limiters {
		list = append(list, d.Conditions(now)...)
	}
	for _, door := range g.doors {
		list = append(list, door.Source.Conditions(now)...)
	}
	return list
}
