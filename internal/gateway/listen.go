package gateway

import (
	"cmp"
	"context"
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

	"quell/internal/motorway"
)

// Limits are how long, and how much, others may use up. A field that is zero is
// the default.
type Limits struct {
	Header     time.Duration // for a sender to send the header of a message
	Sender     time.Duration // without a byte from a sender, or taken by one
	KeepAlive  time.Duration // for a sender's connection without a message
	Begin      time.Duration // until a next hop begins its answer
	NextHop    time.Duration // without a byte of a next hop's answer once it has begun, or taken by one
	NextHopUse time.Duration // that an unused connection to a next hop is kept
	// Connections is how many a listener of messages has at a time.
	Connections int
	// ConsoleConnections is the same for the console, which has them to itself.
	ConsoleConnections int
}

func (l Limits) orDefault() Limits {
	return Limits{
		Header:             cmp.Or(l.Header, 10*time.Second),
		Sender:             cmp.Or(l.Sender, 30*time.Second),
		KeepAlive:          cmp.Or(l.KeepAlive, 2*time.Minute),
		Begin:              cmp.Or(l.Begin, time.Minute),
		NextHop:            cmp.Or(l.NextHop, 30*time.Second),
		NextHopUse:         cmp.Or(l.NextHopUse, 4*time.Second),
		Connections:        cmp.Or(l.Connections, connections(descriptors())),
		ConsoleConnections: cmp.Or(l.ConsoleConnections, 128),
	}
}

// Of the descriptors of the process, reserved are for all that is no message: the
// console, the store, reports. Each message of the others takes two, one to its
// sender and one to its next hop, and there are two listeners of messages.
const (
	reserved       = 512
	maxConnections = 10_000
)

// connections is how many connections a listener of messages has at a time, of a
// process with so many descriptors.
func connections(descriptors uint64) int {
	if descriptors < reserved {
		return 16
	}
	return int(min(max((descriptors-reserved)/4, 16), maxConnections))
}

// descriptors is how many the process may have.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return limit.Cur
}

// Listener is one of quell's listeners with its server. Its limits hold for
// everything that is read from, or written to, those who connect.
type Listener struct {
	*http.Server
	URL  string
	door *door
}

// Listen opens a listener, which waits for Serve. The name is "southbound",
// "northbound" or "console"; the last has its own bound of connections.
func (g *Gateway) Listen(name, addr string, h http.Handler) (*Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	most := g.limits.Connections
	if name == "console" {
		most = g.limits.ConsoleConnections
		h = g.patient(h)
	}
	d := &door{Listener: l, name: name, slots: make(chan struct{}, most), closed: make(chan struct{}), open: map[*stallConn]bool{}, stall: g.limits.Sender, log: g.log, metrics: g.m.Metrics}
	g.mu.Lock()
	g.doors = append(g.doors, d)
	g.mu.Unlock()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: g.limits.Header, IdleTimeout: g.limits.KeepAlive,
		DisableGeneralOptionsHandler: true, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug)}
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		switch c := c.(*stallConn); state {
		case http.StateIdle:
			c.idle.Store(time.Now().UnixNano())
		case http.StateActive:
			c.idle.Store(0)
		}
	}
	if name != "console" {
		srv.BaseContext = func(net.Listener) context.Context { return g.ended } // ends messages by CutOff
	}
	return &Listener{Server: srv, URL: "http://" + l.Addr().String(), door: d}, nil
}

// Serve takes connections until the server is closed. The error is never nil.
func (l *Listener) Serve() error { return l.Server.Serve(l.door) }

// patient bounds the wait for each byte of a request's body, for handlers that
// know nothing of it.
func (g *Gateway) patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := receive(w, r, g.limits.Sender)
		if in == nil {
			next.ServeHTTP(w, r)
			return
		}
		defer in.Close()
		in.await()
		r = r.WithContext(r.Context())
		r.Body = in
		next.ServeHTTP(w, r)
	})
}

// Conditions says what is wrong with the listeners and the next hops; nil if nothing.
func (g *Gateway) Conditions() (list []string) {
	for _, n := range []*nextHop{&g.south, &g.north} {
		if text := n.condition(); text != "" {
			list = append(list, text)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.doors {
		list = append(list, d.conditions(time.Now())...)
	}
	return list
}

// door is a listener with a bound on its connections. When it is reached, the one
// that was without a message for longest makes room. If all have one, others wait in
// the kernel's queue until one ends; all of them end, by the limits.
type door struct {
	net.Listener
	name    string
	slots   chan struct{} // one for each connection
	stall   time.Duration
	log     *slog.Logger
	metrics *motorway.Metrics

	closing sync.Once
	closed  chan struct{}
	full    recent
	failing recent

	mu   sync.Mutex
	open map[*stallConn]bool
}

// recent is when something last happened.
type recent struct{ at atomic.Int64 }

// stays is how long a condition is told of after it was seen last, so that one
// who looks once a minute sees it, and how long the log is silent after a line.
const stays = time.Minute

func (r *recent) is(now time.Time) bool {
	at := r.at.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) < stays
}

// happens notes that it happens, and reports whether it is to be logged.
func (r *recent) happens(now time.Time) bool {
	first := !r.is(now)
	r.at.Store(now.UnixNano())
	return first
}

func (d *door) conditions(now time.Time) (list []string) {
	if len(d.slots) == cap(d.slots) || d.full.is(now) {
		list = append(list, fmt.Sprintf("%s: all %d connections that it takes are, or just were, in use: others wait", d.name, cap(d.slots)))
	}
	if d.failing.is(now) {
		list = append(list, d.name+": connections could not be accepted; the log says why")
	}
	return list
}

// Accept waits for a place, then for a connection.
func (d *door) Accept() (net.Conn, error) {
	if !d.enter() {
		return nil, net.ErrClosed
	}
	c, err := d.Listener.Accept()
	if err != nil {
		<-d.slots
		if !errors.Is(err, net.ErrClosed) {
			d.metrics.AcceptErrors.WithLabelValues(d.name).Inc()
			if d.failing.happens(time.Now()) {
				d.log.Error("connections cannot be accepted, this is tried again", "listener", d.name, "error", err)
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

// Those that are asked to make room are without a message for this long at least:
// a sender that goes on at once finds its connection as it left it. While there is
// no room, it is looked for that often.
const (
	unused    = time.Second
	lookAgain = 100 * time.Millisecond
)

// enter takes a place, and reports whether there was one before the door closed.
func (d *door) enter() bool {
	select {
	case d.slots <- struct{}{}:
		return true
	default:
	}
	d.metrics.ConnectionsFull.WithLabelValues(d.name).Inc()
	if d.full.happens(time.Now()) {
		d.log.Error("a listener has all the connections that it takes, others may wait", "listener", d.name, "connections", cap(d.slots))
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for {
		d.makeRoom(time.Now())
		select {
		case d.slots <- struct{}{}:
			return true
		case <-d.closed:
			return false
		case <-again.C:
		}
	}
}

// makeRoom closes the connection that was without a message for longest.
func (d *door) makeRoom(now time.Time) {
	oldest, since := (*stallConn)(nil), now.Add(-unused).UnixNano()
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

func (d *door) Close() error {
	d.closing.Do(func() { close(d.closed) })
	return d.Listener.Close()
}

// stallConn is a connection whose other side must take a byte now and then.
type stallConn struct {
	net.Conn
	stall  time.Duration
	closed func()       // told when it is closed, each time; may be nil
	idle   atomic.Int64 // when it was left without a message, in ns; 0 if it has one, or never had
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

// CloseWrite lets net/http end a connection before its sender is done.
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
