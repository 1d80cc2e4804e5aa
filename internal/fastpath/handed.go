package fastpath

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"

	"quell/internal/listener"
	"quell/internal/motorway"
)

// Handed is a connection that net/http takes over. The bytes that were read of it come first.
type Handed struct {
	net.Conn
	read  []byte
	begun atomic.Pointer[Begun]
}

// Begun is a message that is already decided: the first one on a Handed connection.
type Begun struct {
	Passage motorway.Passage
	// Sent is not nil if the message was sent. It is a connection that takes the message once
	// more and does nothing with it, and then has the next hop's answer.
	Sent net.Conn
}

// Take returns the message that is already decided; nil the second time, or if there is none.
// Whoever refuses a connection, or its first request, takes it too: what was decided must end.
func (h *Handed) Take() *Begun { return h.begun.Swap(nil) }

func (h *Handed) Read(b []byte) (int, error) {
	if len(h.read) > 0 {
		n := copy(b, h.read)
		if h.read = h.read[n:]; len(h.read) == 0 {
			h.read = nil // the connection may last for hours, and an empty slice would keep all of it
		}
		return n, nil
	}
	return h.Conn.Read(b)
}

// CloseWrite lets net/http end a connection before its sender has finished.
func (h *Handed) CloseWrite() error {
	if half, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// handedTLS is a Handed that net/http knows to be of TLS.
type handedTLS struct {
	*Handed
	secure *tls.Conn
}

func (h handedTLS) ConnectionState() tls.ConnectionState { return h.secure.ConnectionState() }

// HandedOf returns the Handed of a connection that was given to Slow; nil if it is none.
func HandedOf(c net.Conn) *Handed {
	switch c := c.(type) {
	case *Handed:
		return c
	case handedTLS:
		return c.Handed
	}
	return nil
}

// Under returns the connection below TLS, and below one that was handed over.
func Under(c net.Conn) *listener.Conn {
	if h := HandedOf(c); h != nil {
		c = h.Conn
	}
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	return c.(*listener.Conn)
}

// sent is the connection to the next hop of a message that was sent.
type sent struct {
	net.Conn
	answer []byte // what was read of the answer
	asked  chan struct{}
	once   sync.Once
}

func (s *sent) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.asked) })
	return len(b), nil
}

// Read waits for a Write: net/http would take an answer before that for one to another
// message.
func (s *sent) Read(b []byte) (int, error) {
	<-s.asked
	if len(s.answer) > 0 {
		n := copy(b, s.answer)
		s.answer = s.answer[n:]
		return n, nil
	}
	return s.Conn.Read(b)
}

func (s *sent) Close() error {
	s.once.Do(func() { close(s.asked) })
	return s.Conn.Close()
}

// Slow is a listener for net/http's server: its connections are those that are given to it.
type Slow struct {
	net.Listener // for its address; closed with this one
	conns        chan net.Conn
	closing      sync.Once
	closed       chan struct{}
}

// NewSlow returns a Slow beside a listener whose connections a Way accepts.
func NewSlow(l net.Listener) *Slow {
	return &Slow{Listener: l, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Give gives a connection to whoever calls Accept. After Close it closes it, and returns false.
func (s *Slow) Give(c net.Conn) bool {
	select {
	case s.conns <- c:
		return true
	case <-s.closed:
		c.Close()
		return false
	}
}

// Accept waits for the next connection. After Close the error is net.ErrClosed.
func (s *Slow) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close closes both listeners. It is idempotent if that of the Way is.
func (s *Slow) Close() error {
	s.closing.Do(func() { close(s.closed) })
	return s.Listener.Close()
}
