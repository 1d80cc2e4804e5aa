package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// loop is a load generator. With a rate it is an open loop: each message has a time at
// which it should be sent, and its latency counts from that time, whether a connection
// was free or not. So a proxy that stalls does not hide it. Without a rate each sender
// sends its next message when it has the answer to the last.
type loop struct {
	addrs    []string // proxies, among which the senders are spread
	senders  int      // connections
	messages []*message
	pick     func(i int64) int // which of the messages is number i; nil: the first
	from     int64             // the number of the first message
	total    int               // how many
	rate     float64           // a second; 0: as fast as they are answered
	paths    bool              // whether each message has its number as its path

	// Afterwards:
	latency    []time.Duration // of each message, by its number less from
	suppressed []bool          // whether quell said so
	took       time.Duration

	began time.Time
	mu    sync.Mutex
	due   int // how many messages should have been sent by now
	sent  int
	idle  []*sender
	done  int
	err   error
	ended chan struct{} // closed when all are answered, or one failed
}

// sender is a connection with at most one message under way.
type sender struct {
	net.Conn
	host string
	of   int // the message under way
	text map[int]*filled
}

// filled is a message with its head, and where its number and its device are.
type filled struct {
	text  []byte
	slots []slot
}

// run sends all messages. The error is of the first that failed.
func (l *loop) run(ctx context.Context) error {
	l.latency, l.suppressed, l.ended = make([]time.Duration, l.total), make([]bool, l.total), make(chan struct{})
	l.due, l.sent, l.done, l.err, l.idle = 0, 0, 0, nil, nil
	var all sync.WaitGroup
	var senders []*sender
	closeAll := func() {
		for _, s := range senders {
			s.Close()
		}
	}
	defer all.Wait()
	defer closeAll()
	for k := range l.senders {
		host := l.addrs[k%len(l.addrs)]
		c, err := net.DialTimeout("tcp", host, 10*time.Second)
		if err != nil {
			return err
		}
		senders = append(senders, &sender{Conn: c, host: host, text: map[int]*filled{}})
	}
	l.began = time.Now()
	l.idle = slices.Clone(senders)
	for _, s := range senders {
		all.Go(func() {
			if err := l.answers(s); err != nil {
				l.fail(err)
			}
		})
	}
	defer context.AfterFunc(ctx, func() { l.fail(ctx.Err()) })()
	if l.rate > 0 {
		all.Go(l.pace)
	} else {
		l.release(l.total)
	}
	<-l.ended
	l.took = time.Since(l.began)
	return l.err
}

// at is when message i should be sent.
func (l *loop) at(i int) time.Time {
	if l.rate == 0 {
		return l.began
	}
	return l.began.Add(time.Duration(float64(i) / l.rate * float64(time.Second)))
}

// pace releases each message at its time. The scheduler of Go wakes a goroutine up to a
// millisecond late, so this one has a thread that sleeps by itself.
func (l *loop) pace() {
	runtime.LockOSThread() // and the thread, which is changed, ends with the goroutine
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	for i := 1; i <= l.total; i++ {
		if d := time.Until(l.at(i - 1)); d > 0 {
			t := unix.NsecToTimespec(int64(d))
			unix.Nanosleep(&t, nil)
		}
		select {
		case <-l.ended:
			return
		default:
			l.release(i)
		}
	}
}

// release lets messages be sent until due of them have been, as far as senders are idle.
func (l *loop) release(due int) {
	for {
		l.mu.Lock()
		l.due = max(l.due, due)
		if l.sent == l.due || len(l.idle) == 0 || l.err != nil {
			l.mu.Unlock()
			return
		}
		s := l.idle[0]
		l.idle = l.idle[1:]
		s.of = l.sent
		l.sent++
		l.mu.Unlock()
		if err := l.send(s); err != nil {
			l.fail(err)
			return
		}
	}
}

// send sends the sender's message.
func (l *loop) send(s *sender) error {
	i := l.from + int64(s.of)
	kind := 0
	if l.pick != nil {
		kind = l.pick(i)
	}
	m, f := l.messages[kind], s.text[kind]
	if f == nil {
		path := "/"
		if l.paths {
			path += strconv.Itoa(markNumber)
		}
		whole := *m
		whole.text = append([]byte(head(s.host, path, m.size())), m.text...)
		f = &filled{whole.text, whole.slots()}
		s.text[kind] = f
	}
	m.fill(f.text, f.slots, i)
	_, err := s.Write(f.text)
	return err
}

// answers reads the answers to a sender's messages, and sends what is due.
func (l *loop) answers(s *sender) error {
	buf, n := make([]byte, 16<<10), 0
	for {
		k, err := s.Read(buf[n:])
		if err != nil {
			select {
			case <-l.ended:
				return nil
			default:
				return err
			}
		}
		n += k
		whole, suppressed, err := answer(buf[:n])
		if err != nil {
			return err
		}
		if whole == 0 && n < len(buf) {
			continue
		}
		if whole != n {
			return fmt.Errorf("an answer cannot be read: %q", buf[:n])
		}
		n = 0
		l.latency[s.of], l.suppressed[s.of] = time.Since(l.at(s.of)), suppressed
		l.mu.Lock()
		l.done++
		end, next := l.done == l.total, l.sent < l.due && l.err == nil
		if next {
			s.of = l.sent
			l.sent++
		} else {
			l.idle = append(l.idle, s)
		}
		l.mu.Unlock()
		if end {
			l.fail(nil)
			return nil
		}
		if next {
			if err := l.send(s); err != nil {
				return err
			}
		}
	}
}

// fail ends the loop, with an error or without.
func (l *loop) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.ended:
	default:
		l.err = err
		close(l.ended)
	}
}

// answer reads an answer with success, and returns how long it is; 0 if it has not come
// whole.
func answer(b []byte) (size int, suppressed bool, err error) {
	head, _, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	if !whole {
		return 0, false, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 2")) {
		return 0, false, fmt.Errorf("an answer without success: %q", head)
	}
	size = len(head) + 4
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			n, err := strconv.Atoi(string(value))
			if err != nil {
				return 0, false, err
			}
			size += n
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return 0, false, errors.New("a chunked answer")
		case bytes.EqualFold(name, []byte("Quell-Decision")):
			suppressed = string(value) == "suppressed"
		}
	}
	if len(b) < size {
		return 0, suppressed, nil
	}
	return size, suppressed, nil
}

// percentile returns the latency that the share p of the messages did not exceed.
func percentile(latency []time.Duration, p float64) time.Duration {
	if len(latency) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(latency), cmp.Compare)
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
