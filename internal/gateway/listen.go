package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"quell/internal/channel"
	"quell/internal/motorway"
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
		Connections:        cmp.Or(l.Connections, connections(descriptors())),
		ConsoleConnections: cmp.Or(l.ConsoleConnections, 128),
	}
}

// reserved is how many descriptors of the process are not for messages, but for the
// console, the store and reports. Each message takes two of the others, one to its sender
// and one to its next hop. There are two listeners of messages.
const (
	reserved       = 512
	maxConnections = 10_000
)

// connections returns how many connections a listener of messages may have, if the
// process may have that many descriptors.
func connections(descriptors uint64) int {
	if descriptors < reserved {
		return 16
	}
	return int(min(max((descriptors-reserved)/4, 16), maxConnections))
}

// maxHead is how many bytes the head of a request or of an answer may have; net/http adds
// 4 KiB to that of a request. Every connection may have such a head at the same time.
const maxHead = 64 << 10

// descriptors returns how many descriptors the process may have.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return limit.Cur
}

// Listener is one of quell's listeners with its server. Its limits apply to everything
// that is read from or written to its clients.
type Listener struct {
	*http.Server
	URL     string
	limiter *connLimiter
	door    *channel.Door // nil without TLS
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
	d := &connLimiter{Listener: l, name: name, slots: make(chan struct{}, most), messages: make(chan struct{}, most), closed: make(chan struct{}), open: map[*stallConn]bool{}, stall: g.limits.Sender, log: g.log, metrics: g.m.Metrics}
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
		srv.ConnContext = channel.WithConn
		srv.Handler = made.door.Handler(d.limitMessages(limitStreams(h, g.limits.Sender)))
	}
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		if t, ok := c.(*tls.Conn); ok {
			if state == http.StateClosed && !t.ConnectionState().HandshakeComplete {
				made.door.Failed(t.NetConn())
			}
			c = t.NetConn()
		}
		switch c := c.(*stallConn); state {
		case http.StateIdle:
			c.idle.Store(time.Now().UnixNano())
		case http.StateActive:
			c.idle.Store(0)
		}
	}
	srv.MaxHeaderBytes = maxHead
	if name != "console" && name != "socket" {
		srv.BaseContext = func(net.Listener) context.Context { return g.ended } // AbandonMessages ends them
	}
	return made
}

// Serve accepts connections until the server is closed. The error is never nil.
func (l *Listener) Serve() error {
	if l.door != nil {
		return l.Server.ServeTLS(l.limiter, "", "")
	}
	return l.Server.Serve(l.limiter)
}

// limitMessages lets no more messages in than there may be connections. Otherwise a sender
// could have many more with HTTP/2. Others wait until one ends, as connections do.
func (d *connLimiter) limitMessages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case d.messages <- struct{}{}:
		default:
			d.metrics.ConnectionsFull.WithLabelValues(d.name).Inc()
			if d.busy.record(time.Now()) {
				d.log.Error("a listener has as many messages as it may have, others wait", "listener", d.name, "messages", cap(d.messages))
			}
			select {
			case d.messages <- struct{}{}:
			case <-r.Context().Done(): // the client is gone, or messages are abandoned at a stop
				http.Error(w, "quell: the message was not sent, send it again", http.StatusServiceUnavailable)
				return
			}
		}
		defer func() { <-d.messages }()
		next.ServeHTTP(w, r)
	})
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
		list = append(list, d.conditions(now)...)
	}
	for _, door := range g.doors {
		list = append(list, door.Source.Conditions(now)...)
	}
	return list
}

// connLimiter is a listener with a limit on its connections. At the limit, it closes the
// connection that has been idle longest. If none is idle, new connections wait in the
// kernel's queue until one ends. Each one ends, because of Limits.
type connLimiter struct {
	net.Listener
	name     string
	slots    chan struct{} // one for each connection
	messages chan struct{} // one for each message
	stall    time.Duration
	log      *slog.Logger
	metrics  *motorway.Metrics

	closing sync.Once
	closed  chan struct{}
	full    lastTime
	busy    lastTime
	failing lastTime

	mu   sync.Mutex
	open map[*stallConn]bool
}

// lastTime is when something last happened.
type lastTime struct{ at atomic.Int64 }

// recent is how long a condition is shown after it was last seen, so that a check once a
// minute sees it. The log also stays silent that long after a line.
const recent = time.Minute

func (r *lastTime) isRecent(now time.Time) bool {
	at := r.at.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) < recent
}

// record records that it happens now, and reports whether to log it.
func (r *lastTime) record(now time.Time) bool {
	first := !r.isRecent(now)
	r.at.Store(now.UnixNano())
	return first
}

func (d *connLimiter) conditions(now time.Time) (list []string) {
	if len(d.slots) == cap(d.slots) || d.full.isRecent(now) {
		list = append(list, fmt.Sprintf("%s: all %d connections are in use, or were just now; others wait", d.name, cap(d.slots)))
	}
	if len(d.messages) == cap(d.messages) || d.busy.isRecent(now) {
		list = append(list, fmt.Sprintf("%s: %d messages are under way, or were just now; others wait", d.name, cap(d.messages)))
	}
	if d.failing.isRecent(now) {
		list = append(list, d.name+": connections could not be accepted; the log says why")
	}
	return list
}

// Accept waits for a slot, then for a connection.
func (d *connLimiter) Accept() (net.Conn, error) {
	if !d.takeSlot() {
		return nil, net.ErrClosed
	}
	c, err := d.Listener.Accept()
	if err != nil {
		<-d.slots
		if !errors.Is(err, net.ErrClosed) {
			d.metrics.AcceptErrors.WithLabelValues(d.name).Inc()
			if d.failing.record(time.Now()) {
				d.log.Error("connections cannot be accepted, will retry", "listener", d.name, "error", err)
			}
		}
		return nil, err
	}
	s := &stallConn{Conn: c, stall: d.stall}
	s.closed = sync.OnceFunc(func() {
		d.mu.Lock()
		delete(d.open, s)
		d.mu.Unlock()
		d.metrics.Connections.WithLabelValues(d.name).Dec()
		<-d.slots
	})
	d.metrics.Connections.WithLabelValues(d.name).Inc()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[s] = true
	return s, nil
}

// Only a connection that has been idle for minIdle may be closed to free its slot, so
// that a sender can send its next message at once. If there is none, retryEvery is how
// often connLimiter looks again.
const (
	minIdle    = time.Second
	retryEvery = 100 * time.Millisecond
)

// takeSlot waits for a free slot and takes it. It returns false if the listener was
// closed first.
func (d *connLimiter) takeSlot() bool {
	select {
	case d.slots <- struct{}{}:
		return true
	default:
	}
	d.metrics.ConnectionsFull.WithLabelValues(d.name).Inc()
	if d.full.record(time.Now()) {
		d.log.Error("all connections of a listener are in use, others may wait", "listener", d.name, "connections", cap(d.slots))
	}
	again := time.NewTicker(retryEvery)
	defer again.Stop()
	for {
		d.closeIdle(time.Now())
		select {
		case d.slots <- struct{}{}:
			return true
		case <-d.closed:
			return false
		case <-again.C:
		}
	}
}

// closeIdle closes the connection that has been idle longest, if any.
func (d *connLimiter) closeIdle(now time.Time) {
	oldest, since := (*stallConn)(nil), now.Add(-minIdle).UnixNano()
	d.mu.Lock()
	for c := range d.open {
		if idle := c.idle.Load(); idle != 0 && idle < since {
			oldest, since = c, idle
		}
	}
	d.mu.Unlock()
	if oldest != nil && oldest.idle.CompareAndSwap(since, 0) {
		oldest.Close()
	}
}

func (d *connLimiter) Close() error {
	d.closing.Do(func() { close(d.closed) })
	return d.Listener.Close()
}

// stallConn is a connection whose other side must take a byte within stall.
type stallConn struct {
	net.Conn
	stall  time.Duration
	closed func()        // called by each Close; may be nil
	idle   atomic.Int64  // since when it has been idle, in ns; 0 if it has a message, or has had none
	guest  channel.Guest // with TLS
}

func (c *stallConn) Write(b []byte) (written int, err error) {
	for {
		c.Conn.SetWriteDeadline(time.Now().Add(c.stall))
		n, err := c.Conn.Write(b[written:])
		written += n
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}

// CloseWrite lets net/http end a connection before its sender has finished.
func (c *stallConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *stallConn) Close() error {
	err := c.Conn.Close()
	if c.closed != nil {
		c.closed()
	}
	return err
}
