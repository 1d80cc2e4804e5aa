package fastpath

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"quell/internal/listener"
)

const (
	smallBuffer = 4 << 10 // what a connection has while it is idle
	// restWait is how long the rest of a message, or of an answer, may take. After that
	// net/http waits for it.
	restWait = 100 * time.Millisecond
	// wakeUp is how often one that waits for an answer looks around.
	wakeUp = time.Second
)

// The states of a connection.
const (
	fresh  int32 = iota // no byte of a message has come
	busy                // it has a message
	idle                // it waits for the next one
	closed              // it was closed from outside
)

// conn is the connection of a sender. One goroutine serves it.
type conn struct {
	way     *Way
	limiter *listener.Limiter
	under   *listener.Conn
	secure  *tls.Conn // nil without TLS
	net     net.Conn  // to read from and to write to: secure or under
	since   time.Time // it is open
	state   atomic.Int32
	waits   atomic.Pointer[hop] // that an answer is waited for from

	socket socket
	tls    tls.ConnectionState
	until  time.Time // the deadline of Read
	now    time.Time // when something last came: the clock costs time too
	small  []byte
	in     []byte  // what was read of a message: in small, or in a large buffer
	large  *buffer // nil while small is enough
	out    *buffer // for what is written; nil between messages
	head   head
	answer head
	m      Message
}

func (c *conn) serve() {
	defer c.way.leave(c)
	defer func() {
		if v := recover(); v != nil {
			c.way.Panicked(v)
			c.net.Close()
		}
	}()
	if c.socket.open(c.under) != nil || c.secure != nil && !c.handshake() {
		c.handOver(c.net)
		return
	}
	c.small, c.now = make([]byte, smallBuffer), time.Now()
	for c.awaitMessage() && c.exchange() {
	}
}

// handshake sets TLS up. It returns false if net/http must take over: for HTTP/2, and to
// refuse the client.
func (c *conn) handshake() bool {
	c.under.SetDeadline(time.Now().Add(c.way.Header))
	err := c.secure.HandshakeContext(c.way.Ended)
	c.under.SetDeadline(time.Time{})
	c.tls = c.secure.ConnectionState()
	return err == nil && c.tls.NegotiatedProtocol != "h2"
}

// handOver gives a connection to net/http, without deadlines.
func (c *conn) handOver(to net.Conn) {
	c.under.SetIdle(time.Time{})
	c.under.SetReadDeadline(time.Time{})
	c.way.Slow(to)
}

// hand gives the connection to net/http, with what was read of it, and with a message that has
// begun, if there is one.
func (c *conn) hand(b *Begun) bool {
	h := &Handed{Conn: c.net, read: append([]byte(nil), c.in...)}
	h.begun.Store(b)
	c.release()
	if c.secure != nil {
		c.handOver(handedTLS{h, c.secure})
	} else {
		c.handOver(h)
	}
	return false
}

// release gives the large buffers back.
func (c *conn) release() {
	c.large.free()
	c.out.free()
	c.large, c.out = nil, nil
	c.in = c.small[:0]
}

// end closes the connection.
func (c *conn) end() bool {
	c.release()
	c.net.Close()
	return false
}

// awaitMessage waits for the first bytes of a message. It returns false if the connection is
// over.
func (c *conn) awaitMessage() bool {
	limit := c.way.KeepAlive
	if c.state.Load() == fresh {
		limit = c.way.Header
	}
	if left := c.until.Sub(c.now); left < limit-limit/8 || left > limit {
		c.until = c.now.Add(limit)
		c.under.SetReadDeadline(c.until)
	}
	if c.way.stopping.Load() {
		if c.state.Load() != fresh {
			return c.end()
		}
		c.under.SetReadDeadline(c.since.Add(freshWait)) // Stop may have set it before
	}
	n, err := c.net.Read(c.small)
	c.in, c.now = c.small[:n], time.Now()
	if n == 0 && err != nil {
		return c.end()
	}
	if was := c.state.Swap(busy); was == closed {
		return c.end()
	}
	c.under.SetIdle(time.Time{})
	return true
}

// exchange handles one message. It returns false if the connection is over, or was handed
// over.
func (c *conn) exchange() bool {
	if !c.gather() {
		return c.hand(nil)
	}
	w := c.way
	hops := w.Hops()
	if hops == nil || w.Admit != nil && !w.Admit(c.under, &c.tls) || !c.limiter.TryMessage() {
		return c.hand(nil)
	}
	if !c.pass(hops) {
		return false
	}
	if next := c.in[c.head.size+c.head.body:]; len(next) > 0 && !w.stopping.Load() {
		c.in = next
		return c.hand(nil)
	}
	c.release()
	c.under.SetIdle(c.now)
	if !c.state.CompareAndSwap(busy, idle) || w.stopping.Load() && c.state.CompareAndSwap(idle, busy) {
		return c.end()
	}
	return true
}

// gather reads the rest of a message. It returns false if it is not of the common form, is
// followed by something, or does not come at once.
func (c *conn) gather() bool {
	waited := false
	for {
		switch c.head.readRequest(c.in) {
		case unusual:
			return false
		case complete:
			if len(c.in) >= c.head.size+c.head.body {
				return len(c.in) == c.head.size+c.head.body
			}
		}
		if len(c.in) == cap(c.in) {
			if len(c.in) == largeBuffer {
				return false
			}
			more := newBuffer(max(len(c.in)+1, c.head.size+c.head.body+1))
			c.in = append(more.b[:0], c.in...)
			c.large.free()
			c.large = more
		}
		if !waited {
			waited = true
			c.until = c.now.Add(restWait)
			c.under.SetReadDeadline(c.until)
		}
		n, err := c.net.Read(c.in[len(c.in):cap(c.in)])
		c.in = c.in[:len(c.in)+n]
		if n == 0 && err != nil {
			return false // net/http gets the same error, or waits longer
		}
	}
}

// pass decides on a message, passes it on, and gives its place back. It returns false if the
// connection is over, or was handed over.
func (c *conn) pass(hops *Hops) bool {
	defer c.limiter.EndMessage() // also after a panic
	w, m := c.way, &c.m
	m.Whole, m.Body, m.Lines = c.in, c.in[c.head.size:], m.Lines[:0]
	w.Decide(m)
	m.Whole, m.Body = nil, nil
	switch m.Next {
	case Stop:
		return c.write(c.ownAnswer(http.StatusOK, ""))
	case Hand:
		return c.hand(&Begun{Passage: m.Passage})
	}
	h, err := c.send(hops)
	if err == ErrOther {
		return c.hand(&Begun{Passage: m.Passage})
	}
	if err != nil {
		return c.fail(err)
	}
	c.waits.Store(h)
	read := newBuffer(usualBuffer)
	defer read.free()
	answer := read.b
	n, err := c.receive(h, answer)
	c.waits.Store(nil)
	switch {
	case err == errUnusual:
		h.SetReadDeadline(time.Time{})
		return c.hand(&Begun{Passage: m.Passage, Sent: &sent{Conn: h.Conn, answer: append([]byte(nil), answer[:n]...), asked: make(chan struct{})}})
	case err != nil:
		h.end()
		return c.fail(err)
	}
	whole := c.answer.size + c.answer.body
	if c.answer.close || n > whole {
		h.end()
	} else {
		hops.put(h, c.now) // at once, so that the sender's next message finds it
	}
	w.Answered(m, c.answer.status)
	return c.write(c.passedAnswer(answer[:whole]))
}

// buffer returns an empty buffer for n bytes that are written.
func (c *conn) buffer(n int) []byte {
	if c.out != nil && len(c.out.b) < n {
		c.out.free()
		c.out = nil
	}
	if c.out == nil {
		c.out = newBuffer(n)
	}
	return c.out.b[:0]
}

// send sends the message to the next hop. It is sent again only if no byte of it was written.
func (c *conn) send(hops *Hops) (*hop, error) {
	b := append(c.buffer(len(hops.Prefix)+len(c.in)), "POST "...)
	b = append(b, hops.Prefix...)
	b = append(b, c.in[c.head.target.from:c.head.target.to]...)
	b = append(b, " HTTP/1.1\r\n"...)
	b = c.head.appendLines(b, c.in)
	b = append(b, "\r\n"...)
	b = append(b, c.in[c.head.size:]...)
	for second := false; ; second = true {
		h, used, err := hops.get(c.way.Ended, c.now, second)
		if err != nil {
			return nil, err
		}
		before := h.under.Wrote()
		if _, err = h.Write(b); err == nil {
			return h, nil
		}
		h.end()
		if !used || second || h.under.Wrote() != before {
			return nil, err
		}
	}
}

// receive reads the next hop's answer, which is in b then. The error is errUnusual if it is
// not of the common form, or comes in pieces.
func (c *conn) receive(h *hop, b []byte) (n int, err error) {
	var began time.Time // when the next hop was first found silent: until then no clock is read
	for wait := min(wakeUp, c.way.AnswerStart/4); ; {
		k, err := h.readBy(b[n:], c.now, wait)
		c.now = time.Now()
		if n += k; n > 0 {
			s := c.answer.readAnswer(b[:n])
			switch {
			case s == complete && n >= c.answer.size+c.answer.body:
				return n, nil
			case s == unusual, k == 0, n == len(b), wait == restWait:
				return n, errUnusual
			}
			wait = restWait
			continue
		}
		if began.IsZero() {
			began = c.now
		}
		switch {
		case c.way.Ended.Err() != nil:
			return 0, context.Cause(c.way.Ended)
		case !timedOut(err):
			return 0, err
		case c.senderGone():
			return 0, ErrSenderGone
		case c.now.Sub(began) > c.way.AnswerStart:
			return 0, errAnswer
		}
	}
}

// wake ends the wait for an answer, if there is one: receive then looks what has changed.
func (c *conn) wake() {
	if h := c.waits.Load(); h != nil {
		h.SetReadDeadline(time.Unix(1, 0))
	}
}

// closeWait is how long a record of TLS may take to come whole.
const closeWait = 10 * time.Millisecond

// senderGone reports whether the sender has ended the connection. With TLS, the end begins with
// a record, so what came is read. If it is the start of the next message, it stays in c.in.
func (c *conn) senderGone() bool {
	saw := c.socket.look()
	if saw != data || c.secure == nil || len(c.in) == cap(c.in) {
		return saw == gone
	}
	c.until = time.Time{}
	c.under.SetReadDeadline(time.Now().Add(closeWait))
	n, err := c.net.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	return n == 0 && !timedOut(err)
}

// errUnusual says that net/http must read an answer.
var errUnusual = io.ErrNoProgress

// fail tells the sender that the message is not known to have reached the next hop.
func (c *conn) fail(err error) bool {
	status, text := c.way.Failed(&c.m, err)
	if err == ErrSenderGone {
		return c.end()
	}
	return c.write(c.ownAnswer(status, text+"\n"))
}

// passedAnswer returns the next hop's answer as the sender gets it.
func (c *conn) passedAnswer(answer []byte) []byte {
	b := append(c.buffer(usualBuffer), answer[:c.answer.lines]...)
	b = c.answer.appendLines(b, answer)
	b = c.closeHead(b)
	return append(b, answer[c.answer.size:]...)
}

// ownAnswer returns an answer of quell's own. If there is a text it is about a failure.
func (c *conn) ownAnswer(status int, text string) []byte {
	b := append(c.buffer(usualBuffer), "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	b = append(b, "\r\nDate: "...)
	c.now = time.Now() // to decide, or to connect to the next hop, may have taken long
	b = c.now.UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(text)), 10)
	b = append(b, "\r\n"...)
	if text != "" {
		b = append(b, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"...)
	}
	b = c.closeHead(b)
	return append(b, text...)
}

// closeHead appends the lines that quell adds, and the empty line.
func (c *conn) closeHead(b []byte) []byte {
	b = append(b, c.m.Lines...)
	if c.way.stopping.Load() {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

// write writes an answer to the sender. It returns false if the connection is over.
func (c *conn) write(b []byte) bool {
	if _, err := c.net.Write(b); err != nil {
		return c.end()
	}
	return true
}
