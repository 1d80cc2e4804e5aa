// Package listener is what all of quell's listeners have below HTTP and TLS: a limit of
// connections and of messages, and the rule that a client that takes no byte is cut off.
package listener

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

	"quell/internal/channel"
	"quell/internal/motorway"
)

// Limiter is a listener with a limit on its connections. At the limit, it closes the
// connection that has been idle longest. If none is idle, new connections wait in the
// kernel's queue until one ends. Each one ends, because of the limits of those who use it, unless its
// client goes on giving a byte now and then.
type Limiter struct {
	net.Listener
	name     string
	slots    chan struct{} // one for each connection
	messages chan struct{} // one for each message
	stall    time.Duration // the longest that a client may take no byte
	log      *slog.Logger
	metrics  *motorway.Metrics

	closing sync.Once
	closed  chan struct{}
	full    lastTime
	busy    lastTime
	failing lastTime

	mu   sync.Mutex
	open map[*Conn]bool
}

// New limits a listener to most connections, and to as many messages.
func New(l net.Listener, name string, most int, stall time.Duration, log *slog.Logger, metrics *motorway.Metrics) *Limiter {
	return &Limiter{Listener: l, name: name, slots: make(chan struct{}, most), messages: make(chan struct{}, most), closed: make(chan struct{}),
		open: map[*Conn]bool{}, stall: stall, log: log, metrics: metrics}
}

// began is from when instants are counted, by time that passes: the clock may be set.
var began = time.Now()

// instant returns a time as nanoseconds since began. It is not 0, which stands for none.
func instant(t time.Time) int64 { return cmp.Or(int64(t.Sub(began)), 1) }

// lastTime is when something last happened.
type lastTime struct{ at atomic.Int64 }

// recent is how long a condition is shown after it was last seen, so that a check once a
// minute sees it. The log also stays silent that long after a line.
const recent = time.Minute

func (r *lastTime) isRecent(now time.Time) bool {
	at := r.at.Load()
	return at != 0 && time.Duration(instant(now)-at) < recent
}

// record records that it happens now, and reports whether to log it.
func (r *lastTime) record(now time.Time) bool {
	first := !r.isRecent(now)
	r.at.Store(instant(now))
	return first
}

// Conditions says what is wrong; nil if nothing is.
func (d *Limiter) Conditions(now time.Time) (list []string) {
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

// TryMessage reserves a place for a message, if there is one. EndMessage gives it back.
func (d *Limiter) TryMessage() bool {
	select {
	case d.messages <- struct{}{}:
		return true
	default:
		return false
	}
}

// EndMessage says that a message is over for which TryMessage returned true.
func (d *Limiter) EndMessage() { <-d.messages }

// LimitMessages lets no more messages in than there may be connections. Otherwise a sender
// could have many more with HTTP/2. Others wait until one ends, as connections do. Those that wait when
// ended ends, as messages are abandoned at a stop, are not let in by others that it ends.
func (d *Limiter) LimitMessages(ended context.Context, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.TryMessage() {
			d.metrics.ConnectionsFull.WithLabelValues(d.name).Inc()
			if d.busy.record(time.Now()) {
				d.log.Error("a listener has as many messages as it may have, others wait", "listener", d.name, "messages", cap(d.messages))
			}
			let := false
			select {
			case d.messages <- struct{}{}:
				if let = ended.Err() == nil; !let {
					d.EndMessage()
				}
			case <-r.Context().Done(): // the client is gone, or messages are abandoned
			}
			if !let {
				http.Error(w, "quell: the message was not sent, send it again", http.StatusServiceUnavailable)
				return
			}
		}
		defer d.EndMessage()
		next.ServeHTTP(w, r)
	})
}

// Accept waits for a slot, then for a connection.
func (d *Limiter) Accept() (net.Conn, error) {
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
			err = passing{err}
		}
		return nil, err
	}
	s := NewConn(c, d.stall)
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

// passing is an error of Accept after which its caller tries again, a moment later. Whatever Linux says,
// such as that memory is short, it says of that moment: a listener that is open remains one.
type passing struct{ error }

func (p passing) Unwrap() error { return p.error }

// Temporary is what net/http asks.
func (passing) Temporary() bool { return true }

// Timeout makes it a net.Error.
func (passing) Timeout() bool { return false }

// Only a connection that has been idle for minIdle may be closed to free its slot, so
// that a sender can send its next message at once. If there is none, retryEvery is how
// often Limiter looks again.
const (
	minIdle    = time.Second
	retryEvery = 100 * time.Millisecond
)

// takeSlot waits for a free slot and takes it. It returns false if the listener was
// closed first.
func (d *Limiter) takeSlot() bool {
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
func (d *Limiter) closeIdle(now time.Time) {
	oldest, since := (*Conn)(nil), instant(now.Add(-minIdle))
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

// Close closes the listener, not its connections. It is idempotent.
func (d *Limiter) Close() (err error) {
	d.closing.Do(func() {
		close(d.closed)
		err = d.Listener.Close()
	})
	return err
}

// Conn is a connection whose other side must take a byte within a limit.
type Conn struct {
	net.Conn
	Guest channel.Guest // of a client, with TLS

	stall  time.Duration
	now    func() time.Time // time.Now, but for tests
	closed func()           // called by each Close; may be nil
	idle   atomic.Int64     // the instant since when it has been idle; 0 if it has a message, or has had none
	until  atomic.Int64     // the instant of the deadline of Write; 0 if it is not known
	wrote  atomic.Int64     // bytes
}

// NewConn limits how long the other side of a connection may take no byte.
func NewConn(c net.Conn, stall time.Duration) *Conn {
	return &Conn{Conn: c, stall: stall, now: time.Now}
}

// SetIdle says since when a connection has had no message, so it may be closed to make room
// for others; the zero time says that it has one.
func (c *Conn) SetIdle(since time.Time) {
	if since.IsZero() {
		c.idle.Store(0)
	} else {
		c.idle.Store(instant(since))
	}
}

// Write writes all of b, unless the other side takes no byte for the limit or, since that is
// looked at only now and then, a quarter more.
func (c *Conn) Write(b []byte) (written int, err error) {
	for {
		if now := c.now(); c.until.Load() < instant(now.Add(c.stall)) {
			until := now.Add(c.stall + c.stall/4)
			c.Conn.SetWriteDeadline(until)
			c.until.Store(instant(until))
		}
		n, err := c.Conn.Write(b[written:])
		written += n
		c.wrote.Add(int64(n))
		if n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}

// Wrote returns how many bytes were written.
func (c *Conn) Wrote() int64 { return c.wrote.Load() }

// SetWriteDeadline is for a Write that is under way. The next one has the usual limit.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.until.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	c.until.Store(0)
	return c.Conn.SetDeadline(t)
}

// CloseWrite lets net/http end a connection before its sender has finished.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *Conn) Close() error {
	err := c.Conn.Close()
	if c.closed != nil {
		c.closed()
	}
	return err
}

// reserved is how many descriptors of the process are not for messages, but for the
// console, the store and reports. Each message takes two of the others, one to its sender
// and one to its next hop. There are two listeners of messages.
const (
	reserved       = 512
	maxConnections = 10_000
)

// Connections returns how many connections each listener of messages may have.
func Connections() int { return connections(descriptors()) }

// connections returns how many connections a listener of messages may have, if the
// process may have that many descriptors.
func connections(descriptors uint64) int {
	if descriptors < reserved {
		return 16
	}
	return int(min(max((descriptors-reserved)/4, 16), maxConnections))
}

// descriptors returns how many descriptors the process may have.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return limit.Cur
}
