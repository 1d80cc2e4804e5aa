package load

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

// Loop is a load generator. With a rate it is an open loop: each message has a time at
// which it should be sent, and its latency counts from that time, whether a connection
// was free or not. So a proxy that stalls does not hide it. Without a rate each sender
// sends its next message when it has the answer to the last.
type Loop struct {
	Addrs    []string // proxies, among which the senders are spread
	Senders  int      // connections
	Messages []*Message
	Pick     func(i int64) int // which of the messages is number i; nil: the first
	From     int64             // the number of the first message
	Total    int               // how many
	Rate     float64           // a second; 0: as fast as they are answered
	Paths    bool              // whether each message has its number as its path

	// Afterwards:
	Latency    []time.Duration // of each message, by its number less from
	Suppressed []bool          // whether quell said so
	Took       time.Duration

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

// Run sends all messages. The error is of the first that failed.
func (l *Loop) Run(ctx context.Context) error {
	l.Latency, l.Suppressed, l.ended = make([]time.Duration, l.Total), make([]bool, l.Total), make(chan struct{})
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
	for k := range l.Senders {
		host := l.Addrs[k%len(l.Addrs)]
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
	if l.Rate > 0 {
		all.Go(l.pace)
	} else {
		l.release(l.Total)
	}
	<-l.ended
	l.Took = time.Since(l.began)
	return l.err
}

// at is when message i should be sent.
func (l *Loop) at(i int) time.Time {
	if l.Rate == 0 {
		return l.began
	}
	return l.began.Add(time.Duration(float64(i) / l.Rate * float64(time.Second)))
}

// pace releases each message at its time. The scheduler of Go wakes a goroutine up to a
// millisecond late, so this one has a thread that sleeps by itself.
func (l *Loop) pace() {
	runtime.LockOSThread() // and the thread, which is changed, ends with the goroutine
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	for i := 1; i <= l.Total; i++ {
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
func (l *Loop) release(due int) {
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
func (l *Loop) send(s *sender) error {
	i := l.From + int64(s.of)
	kind := 0
	if l.Pick != nil {
		kind = l.Pick(i)
	}
	m, f := l.Messages[kind], s.text[kind]
	if f == nil {
		path := "/"
		if l.Paths {
			path += strconv.Itoa(markNumber)
		}
		whole := *m
		whole.text = append([]byte(head(s.host, path, m.Size())), m.text...)
		f = &filled{whole.text, whole.slots()}
		s.text[kind] = f
	}
	m.fill(f.text, f.slots, i)
	_, err := s.Write(f.text)
	return err
}

// answers reads the answers to a sender's messages, and sends what is due.
func (l *Loop) answers(s *sender) error {
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
		l.Latency[s.of], l.Suppressed[s.of] = time.Since(l.at(s.of)), suppressed
		l.mu.Lock()
		l.done++
		end, next := l.done == l.Total, l.sent < l.due && l.err == nil
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
func (l *Loop) fail(err error) {
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

// Percentile returns the latency that the share p of the messages did not exceed.
func Percentile(latency []time.Duration, p float64) time.Duration {
	if len(latency) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(latency), cmp.Compare)
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}
