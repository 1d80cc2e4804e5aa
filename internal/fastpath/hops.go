package fastpath

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"quell/internal/listener"
)

// Hops are the connections to one next hop. Each has one message at a time. Its fields are
// set before it is used.
type Hops struct {
	Prefix string // comes before the path of each message
	// Dial opens a connection; under is the one below TLS, or the same. If the next hop can
	// only be reached by net/http, the error is ErrOther.
	Dial func(context.Context) (c net.Conn, under *listener.Conn, err error)
	Idle time.Duration // that a connection without a message is kept
	Most int           // such connections

	mu       sync.Mutex // guards the fields below
	kept     []*hop     // the one that was used last is the last
	retired  bool
	sweeping bool // closeOld is to be called
}

// hop is one connection.
type hop struct {
	net.Conn
	socket
	under *listener.Conn // below TLS
	since time.Time      // it has no message
	until time.Time      // the deadline of Read
	one   [1]byte
}

// end closes the connection. With TLS, the end is written, which can take as long as any Write: so
// that happens in the background.
func (h *hop) end() {
	if _, secure := h.Conn.(*tls.Conn); secure {
		go h.Close()
	} else {
		h.Close()
	}
}

// holdsMore reports whether TLS has read more than was asked for: no socket shows that.
func (h *hop) holdsMore() bool {
	if _, secure := h.Conn.(*tls.Conn); !secure {
		return false
	}
	h.until = time.Time{}
	h.SetReadDeadline(time.Unix(1, 0))
	n, err := h.Conn.Read(h.one[:])
	return n > 0 || !timedOut(err)
}

// get returns a connection that is open and silent; fresh asks for a new one.
func (s *Hops) get(ctx context.Context, now time.Time, fresh bool) (h *hop, used bool, _ error) {
	for !fresh {
		h := s.pop()
		if h == nil {
			break
		}
		// A byte that comes without being asked for belongs to no message.
		if now.Sub(h.since) < s.Idle && h.look() == silent && !h.holdsMore() {
			return h, true, nil
		}
		h.end()
	}
	c, under, err := s.Dial(ctx)
	if err != nil {
		return nil, false, err
	}
	h = &hop{Conn: c, under: under}
	if err := h.open(under); err != nil {
		c.Close()
		return nil, false, err
	}
	return h, false, nil
}

func (s *Hops) pop() *hop {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.kept)
	if n == 0 {
		return nil
	}
	h := s.kept[n-1]
	s.kept = s.kept[:n-1]
	return h
}

// put keeps a connection for the next message.
func (s *Hops) put(h *hop, now time.Time) {
	h.since = now
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired || len(s.kept) >= s.Most {
		h.end()
		return
	}
	s.kept = append(s.kept, h)
	if !s.sweeping {
		s.sweeping = true
		time.AfterFunc(s.Idle, s.closeOld)
	}
}

// closeOld closes the connections that have had no message for a while.
func (s *Hops) closeOld() {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for ; n < len(s.kept) && now.Sub(s.kept[n].since) >= s.Idle; n++ {
		s.kept[n].end()
	}
	s.kept = slices.Delete(s.kept, 0, n)
	if s.sweeping = len(s.kept) > 0; s.sweeping {
		time.AfterFunc(s.Idle/4, s.closeOld)
	}
}

// Retire closes the connections without a message, and the others as soon as theirs is
// answered.
func (s *Hops) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	for _, h := range s.kept {
		h.end()
	}
	s.kept = nil
}

// readBy reads, for a limit from now on, or up to twice as long: to set the deadline each time
// would cost more than what it is for.
func (h *hop) readBy(b []byte, now time.Time, limit time.Duration) (int, error) {
	if left := h.until.Sub(now); left < limit || left > 2*limit {
		h.until = now.Add(2 * limit)
		h.SetReadDeadline(h.until)
	}
	return h.Conn.Read(b)
}

// socket looks at what a connection would read next.
type socket struct {
	raw  syscall.RawConn
	peek func(fd uintptr) // made once, so that a look needs no memory
	seen sight
}

// sight is what is seen there.
type sight uint8

const (
	silent sight = iota // nothing
	data
	gone // the other side has ended the connection
)

func (s *socket) open(c *listener.Conn) (err error) {
	under, ok := c.Conn.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	s.raw, err = under.SyscallConn()
	s.peek = func(fd uintptr) {
		var b [1]byte
		for {
			n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
				s.seen = silent
			case err == nil && n > 0:
				s.seen = data
			default:
				s.seen = gone
			}
			return
		}
	}
	return err
}

// look does not wait, and takes nothing.
func (s *socket) look() sight {
	if s.raw.Control(s.peek) != nil {
		return gone
	}
	return s.seen
}

// timedOut reports whether a deadline has passed. Nothing was read or written then.
func timedOut(err error) bool { return os.IsTimeout(err) }
