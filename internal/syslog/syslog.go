// Package syslog sends the records of the audit log to a syslog receiver: one message of RFC 5424
// for each, over UDP, TCP or TLS.
//
// The table of records is the queue. The sender asks it for what comes after the last record that
// was delivered, whose number the store keeps. So nothing waits for a receiver, nothing is
// dropped while there is none, and a message is sent only after its record is committed. Of
// several nodes the leader sends.
//
// Syslog has no acknowledgements. A record counts as delivered when the connection is still sound
// settle after it was sent. If the connection breaks sooner, all that does not count yet is sent
// again. So a receiver may get a record twice, also after a restart or another leader; number and
// hash are the same then. A receiver that takes messages and loses them goes unnoticed. So does
// one that UDP does not reach, unless its machine says that nothing listens there.
package syslog

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/audit"
)

const (
	poll        = time.Second           // how often the table is read
	settle      = 2 * time.Second       // see the package's comment
	sendTimeout = 5 * time.Second       // for a connection, and for a page of messages
	maxBackOff  = time.Minute           // the longest pause after a failure
	pageSize    = 100                   // records
	pagePause   = 10 * time.Millisecond // between pages, so that a receiver of UDP keeps up
)

// Sender sends the records of a log. Set and the methods that tell may be called at any time.
type Sender struct {
	log     *slog.Logger
	records *audit.Log
	address atomic.Pointer[string]
	process int
	host    string
	tls     *tls.Config // tests set their authority

	// Only the goroutine of Run uses these.
	conn      *connection // nil if there is none
	known     bool        // whether delivered and sent are known
	delivered int64       // the last record that counts as delivered
	sent      int64
	head      int64 // the last record of all
	unsettled []step
	backOff   time.Duration

	mu       sync.Mutex // guards the next fields
	trouble  error      // of the last try; nil if it succeeded
	waiting  int64
	failures uint64
}

// A step is how far was sent at an instant.
type step struct {
	no int64
	at time.Time
}

// New returns a sender of the records of a log. It sends nothing until Set gives it an address
// and Run is called.
func New(records *audit.Log, log *slog.Logger) *Sender {
	s := &Sender{log: log, records: records, process: os.Getpid(), tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	s.host, _ = os.Hostname()
	s.Set("")
	return s
}

// Set sets the address of the receiver: udp://HOST:PORT, or with tcp or tls; "" sends nothing.
func (s *Sender) Set(address string) { s.address.Store(&address) }

// Trouble says what is wrong now; "" if nothing is.
func (s *Sender) Trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		return ""
	}
	return fmt.Sprintf("records of the audit log are not delivered: %d wait (%v)", s.waiting, s.trouble)
}

// Waiting returns how many records are not sent yet; while something is wrong, how many are not
// delivered. What was sent and only settles does not count: where records come every second there
// are always some.
func (s *Sender) Waiting() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// Failures returns how often sending has failed since the start.
func (s *Sender) Failures() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures
}

// Run sends records until ctx ends. It may be called again.
func (s *Sender) Run(ctx context.Context) {
	address := ""
	reset := func() {
		s.disconnect()
		s.known, s.backOff = false, 0
		s.mu.Lock()
		defer s.mu.Unlock()
		s.trouble, s.waiting = nil, 0
	}
	defer reset()
	for {
		if now := *s.address.Load(); now != address {
			reset()
			address = now
		}
		pause := poll
		if address != "" {
			more, err := s.send(ctx, address)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				s.backOff = min(max(2*s.backOff, time.Second), maxBackOff)
				pause = s.backOff
			case more:
				pause = pagePause
			}
		}
		for end := time.Now().Add(pause); time.Now().Before(end) && *s.address.Load() == address; { // a new address counts soon
			select {
			case <-time.After(min(pause, poll)):
			case <-ctx.Done():
				return
			}
		}
	}
}

// send sends some of the records that are not delivered. more says that there are others.
func (s *Sender) send(ctx context.Context, address string) (more bool, err error) {
	if !s.known {
		if s.delivered, err = s.records.Sent(ctx); err != nil {
			return false, nil // the store says what is wrong with it
		}
		s.sent, s.known = s.delivered, true
	}
	if s.conn != nil && s.conn.broken() {
		err = s.conn.err
		lost := len(s.unsettled) > 0
		s.disconnect()
		if lost {
			return false, s.failed(fmt.Errorf("the connection broke: %w", err))
		}
	}
	page, err := s.records.Page(ctx, s.sent, pageSize)
	if err != nil {
		return false, nil
	}
	s.head = page.Head.No
	s.count()
	if len(page.Records) > 0 {
		if err := s.sendAll(ctx, address, page.Records); err != nil {
			return false, s.failed(err)
		}
		s.sent = page.Records[len(page.Records)-1].No
		s.unsettled = append(s.unsettled, step{s.sent, time.Now()})
	}
	s.settle(ctx)
	s.count()
	return len(page.Records) == pageSize, nil
}

// sendAll sends records, and connects first if needed.
func (s *Sender) sendAll(ctx context.Context, address string, list []audit.Record) (err error) {
	if s.conn == nil {
		if s.conn, err = s.connect(ctx, address); err != nil {
			return err
		}
	}
	s.conn.SetWriteDeadline(time.Now().Add(sendTimeout))
	if s.conn.datagrams {
		for _, r := range list {
			if _, err := s.conn.Write(message(r, s.host, s.process, maxDatagram)); err != nil {
				return err
			}
		}
		return nil
	}
	var b []byte
	for _, r := range list {
		m := message(r, s.host, s.process, maxMessage)
		b = append(append(strconv.AppendInt(b, int64(len(m)), 10), ' '), m...) // octet counting: RFC 6587, section 3.4.1; RFC 5425, section 4.3
	}
	_, err = s.conn.Write(b)
	return err
}

// settle notes what counts as delivered now.
func (s *Sender) settle(ctx context.Context) {
	upTo := s.delivered
	for len(s.unsettled) > 0 && time.Since(s.unsettled[0].at) >= settle {
		upTo, s.unsettled = s.unsettled[0].no, s.unsettled[1:]
	}
	if upTo == s.delivered {
		return
	}
	s.delivered, s.backOff = upTo, 0
	s.mu.Lock()
	was := s.trouble
	s.trouble = nil
	s.mu.Unlock()
	if was != nil {
		s.log.Info("records of the audit log are delivered to syslog again", "number", upTo)
	}
	if err := s.records.SetSent(ctx, upTo); err != nil {
		s.log.Warn("the store does not take how far the audit log was delivered; after a restart some records are sent twice", "error", err)
	}
}

// count counts the records that wait: see Waiting.
func (s *Sender) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := s.sent
	if s.trouble != nil {
		from = s.delivered
	}
	s.waiting = max(0, s.head-from)
}

// failed notes a failure. What is not delivered is sent again.
func (s *Sender) failed(err error) error {
	s.disconnect()
	s.mu.Lock()
	first := s.trouble == nil
	s.trouble = err
	s.failures++
	s.mu.Unlock()
	s.count()
	if first {
		s.log.Error("records of the audit log are not delivered to syslog; quell retries", "error", err)
	}
	return err
}

func (s *Sender) disconnect() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	s.sent, s.unsettled = s.delivered, nil
}

// connection is a connection to a receiver, which has nothing to say.
type connection struct {
	net.Conn
	datagrams bool
	ended     chan struct{} // closed when the receiver has ended the connection
	err       error         // why; read it after that
}

func (c *connection) broken() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

func (s *Sender) connect(ctx context.Context, address string) (*connection, error) {
	network, hostPort, _ := strings.Cut(address, "://")
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	c, err := &connection{datagrams: network == "udp", ended: make(chan struct{})}, error(nil)
	if network == "tls" {
		c.Conn, err = (&tls.Dialer{Config: s.tls}).DialContext(ctx, "tcp", hostPort)
	} else {
		c.Conn, err = new(net.Dialer).DialContext(ctx, network, hostPort)
	}
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(c.ended)
		if _, c.err = io.Copy(io.Discard, c.Conn); c.err == nil {
			c.err = io.EOF
		}
	}()
	return c, nil
}
