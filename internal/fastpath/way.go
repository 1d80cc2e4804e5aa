// Package fastpath passes messages of the common form on without net/http, whose server and
// transport cost ten times what the decision costs.
//
// The common form is an HTTP/1.1 POST of XML, with a body of known length that is not long,
// and an answer with such a body: head.go has the grammar. A message is read into one buffer,
// decided on, and written to the next hop in one piece. Its answer is read and written in the
// same way. Header lines that are for one connection are left out. All else stays as it came.
//
// Anything else goes to net/http, which does what it would have done without this package:
//
//   - A request of another form: its connection, with the bytes that were read of it.
//   - An answer of another form, or one that comes in pieces: both connections. The message is
//     decided and sent by then, and neither happens again (Begun).
//
// net/http then serves that connection for as long as it lasts.
//
// No message is sent a second time, except one of which no byte was written. Before a
// connection is used again, a look at its socket shows whether the next hop has ended it, or
// has sent something that nobody asked for.
//
// Each connection has one goroutine, and a message has no timer of its own. While the
// goroutine waits for an answer it wakes up every second or two. Then it looks whether the
// sender is still there, and whether the next hop has taken too long.
package fastpath

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/listener"
	"quell/internal/motorway"
)

// Way is the fast path of one listener. Its fields are set before Serve.
type Way struct {
	Header      time.Duration   // for a new connection to send its first byte, and for TLS
	KeepAlive   time.Duration   // that a connection may be idle
	AnswerStart time.Duration   // until a next hop starts its answer
	Ended       context.Context // when it ends, messages under way are given up

	// Admit reports whether a client may send a message now. nil: any may.
	Admit func(*listener.Conn, *tls.ConnectionState) bool
	// Hops returns the connections to the next hop that messages go to now; nil if only
	// net/http can reach it.
	Hops func() *Hops
	// Decide decides on a message, and sets its Passage, Next and Lines.
	Decide func(*Message)
	// Answered is called when the next hop has answered, before the sender gets the answer.
	Answered func(m *Message, status int)
	// Failed is called when a message is not known to have reached the next hop. It returns
	// the status and the text for its sender.
	Failed func(m *Message, err error) (status int, text string)
	// Panicked is called when a message made the code panic. Its connection is closed.
	Panicked func(value any)
	// Slow gives a connection to net/http: a *Handed, or a *tls.Conn of which nothing was
	// read.
	Slow func(net.Conn)

	mu       sync.Mutex // guards conns
	conns    map[*conn]struct{}
	serving  sync.WaitGroup // the connections
	stopping atomic.Bool
}

// Message is one message under way. It is used again for the next message of its sender.
type Message struct {
	Whole   []byte // head and body; until Decide returns
	Body    []byte // until Decide returns
	Passage motorway.Passage

	Next  Next
	Lines []byte // header lines for the answer, each with CR LF
}

// Next is what becomes of a message that is decided.
type Next uint8

const (
	Forward Next = iota // it goes to the next hop
	Stop                // it goes nowhere: quell answers it
	Hand                // it goes to the next hop by net/http
)

// ErrOther says that a next hop can only be reached by net/http. ErrSenderGone says that the
// sender of a message has hung up.
var (
	ErrOther      = errors.New("the next hop is reached by net/http")
	ErrSenderGone = errors.New("the sender has hung up")
)

// errAnswer says that a next hop did not answer in time. It is a timeout.
var errAnswer error = answerTimeout{}

type answerTimeout struct{}

func (answerTimeout) Error() string   { return "the next hop did not start its answer in time" }
func (answerTimeout) Timeout() bool   { return true }
func (answerTimeout) Temporary() bool { return true }

// Serve accepts connections of senders, and serves each in a goroutine, until accepting fails.
// It returns that error. secure is nil without TLS.
func (w *Way) Serve(l *listener.Limiter, secure *tls.Config) error {
	w.serving.Add(1)
	defer w.serving.Done()
	context.AfterFunc(w.Ended, w.abandon) // also when the listener is closed by then
	for wait := time.Duration(0); ; {
		c, err := l.Accept()
		if err != nil {
			if temporary, ok := err.(interface{ Temporary() bool }); !ok || !temporary.Temporary() {
				return err
			}
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			time.Sleep(wait)
			continue
		}
		wait = 0
		under := c.(*listener.Conn)
		s := &conn{way: w, limiter: l, under: under, net: c, since: time.Now()}
		if secure != nil {
			s.secure = tls.Server(c, secure)
			s.net = s.secure
		}
		w.mu.Lock()
		if w.conns == nil {
			w.conns = map[*conn]struct{}{}
		}
		w.conns[s] = struct{}{}
		w.mu.Unlock()
		w.serving.Add(1)
		go s.serve()
	}
}

// leave says that the way no longer serves a connection.
func (w *Way) leave(c *conn) {
	w.mu.Lock()
	delete(w.conns, c)
	w.mu.Unlock()
	w.serving.Done()
}

// all returns the connections.
func (w *Way) all() (list []*conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		list = append(list, c)
	}
	return list
}

// abandon wakes up all that wait for a next hop.
func (w *Way) abandon() {
	for _, c := range w.all() {
		c.wake()
	}
}

// freshWait is how long a connection that has sent nothing yet may send its first message
// when quell stops, as with net/http.
const freshWait = 5 * time.Second

// Stop closes the connections that have no message, and the others after theirs. Close the
// listener first.
func (w *Way) Stop() {
	w.stopping.Store(true)
	for _, c := range w.all() {
		switch {
		case c.state.CompareAndSwap(idle, closed):
			c.under.SetReadDeadline(time.Unix(1, 0)) // its own goroutine closes it, which takes time with TLS
		case c.state.Load() == fresh:
			c.under.SetReadDeadline(c.since.Add(freshWait))
		}
	}
}

// Wait waits until no connection is left, which needs Stop, or until ctx is done. The error is
// that of ctx.
func (w *Way) Wait(ctx context.Context) error {
	over := make(chan struct{})
	go func() {
		w.serving.Wait()
		close(over)
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes all connections at once.
func (w *Way) Close() {
	w.stopping.Store(true)
	for _, c := range w.all() {
		c.state.Store(closed)
		c.under.Close() // not TLS, whose end can take long
		c.wake()
	}
}
