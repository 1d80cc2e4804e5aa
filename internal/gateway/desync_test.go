package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
)

// oddHop is a next hop that does, for each message, what its target says:
// /ID/READ/DO, where READ is how much of the body it reads before it does DO.
type oddHop struct {
	net.Listener
	mu      sync.Mutex
	targets []string
}

var oddities = []string{"answer", "answer-chunked", "answer-and-close", "close", "reset", "half-an-answer", "hang", "hang-in-answer", "continue", "twice"}

func newOddHop(t *testing.T) *oddHop {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &oddHop{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(c)
		}
	}()
	return h
}

func (h *oddHop) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		c.SetDeadline(time.Now().Add(long))
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		h.mu.Lock()
		h.targets = append(h.targets, r.RequestURI)
		h.mu.Unlock()
		var id, read int
		var do string
		if _, err := fmt.Sscanf(strings.ReplaceAll(r.RequestURI, "/", " "), " %d %d %s", &id, &read, &do); err != nil {
			return
		}
		io.CopyN(io.Discard, r.Body, int64(read))
		text := fmt.Sprintf("answer to %d", id)
		answer := fmt.Sprintf("HTTP/1.1 413 Content Too Large\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		switch do {
		case "answer-chunked":
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(text), text)
		case "answer-and-close":
			io.WriteString(c, strings.Replace(answer, "\r\n", "\r\nConnection: close\r\n", 1))
			return
		case "close":
			return
		case "reset":
			c.(*net.TCPConn).SetLinger(0)
			return
		case "half-an-answer":
			io.WriteString(c, answer[:len(answer)-4])
			return
		case "hang":
			io.Copy(io.Discard, in)
			return
		case "hang-in-answer":
			io.WriteString(c, answer[:len(answer)-4])
			io.Copy(io.Discard, in)
			return
		case "continue":
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"+answer)
		case "twice":
			io.WriteString(c, answer+strings.ReplaceAll(answer, "answer to", "not asked"))
		default:
			io.WriteString(c, answer)
		}
		// The next hop itself follows the rules: the rest of the message is not another.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
	}
}

// TestNoByteOfABodyIsARequest sends messages to next hops that do everything possible,
// and stops at any byte. No byte of a body is read as a request, and each answer belongs
// to its message.
func TestNoByteOfABodyIsARequest(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t)
	w.limits = Limits{Header: long, Sender: long, KeepAlive: long, AnswerStart: 200 * time.Millisecond, NextHop: 200 * time.Millisecond, NextHopIdle: long}
	if err := w.start("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n", deviceBase["ESME"].String()+"\n"); err != nil {
		t.Fatal(err)
	}
	hop := newOddHop(t)
	u := &url.URL{Scheme: "http", Host: hop.Addr().String()}
	w.gw.SetNextHops(u, u)
	fronts := map[outage.Direction]*Listener{}
	for d, h := range map[outage.Direction]http.Handler{outage.South: w.gw.Southbound(), outage.North: w.gw.Northbound()} {
		l, err := w.gw.Listen(string(d), "127.0.0.1:0", h)
		if err != nil {
			t.Fatal(err)
		}
		fronts[d] = l
		go l.Serve()
		t.Cleanup(func() { l.Close() })
	}
	lengths := []int{0, 1, 100, 2047, 4096, 5000, 32 << 10, 65535, 65536, 65537, 70000, 256<<10 - 1, 256 << 10, 256<<10 + 1, 300 << 10, 2_000_000}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	for n := range 600 {
		length := lengths[r.IntN(len(lengths))]
		m := oddMessage{n: n, direction: []outage.Direction{outage.South, outage.North}[n%2], do: oddities[r.IntN(len(oddities))], length: length,
			sent: r.IntN(length + 1), chunked: r.IntN(3) == 0, expect: r.IntN(6) == 0,
			kind: []string{"application/xml", "text/plain", ""}[r.IntN(3)]}
		m.read = r.IntN(m.sent + 1)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := m.exchange(fronts[m.direction]); err != nil {
				t.Errorf("seed %d: %+v: %v", seed, m, err)
			}
		})
	}
	wg.Wait()
	hop.mu.Lock()
	defer hop.mu.Unlock()
	if len(hop.targets) < 300 {
		t.Errorf("only %d messages reached the next hop", len(hop.targets))
	}
	seen := map[string]bool{}
	for _, target := range hop.targets {
		if strings.Contains(target, "smuggled") {
			t.Errorf("seed %d: the next hop got the target %s", seed, target)
		}
		if seen[target] {
			t.Errorf("seed %d: the next hop got %s twice", seed, target)
		}
		seen[target] = true
	}
}

// oddMessage is a message that is sent up to some byte. The rest follows when its answer
// has started, and then another message.
type oddMessage struct {
	n, length, sent, read int
	direction             outage.Direction
	do, kind              string
	chunked, expect       bool
}

// body returns a body. The part that is sent last looks like requests.
func (m *oddMessage) body() []byte {
	var text requests
	text.n = -m.sent + len(smuggled)*(m.sent/len(smuggled)+1)
	return text.take(m.length)
}

func (m *oddMessage) exchange(front *Listener) error {
	c, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(long))
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /%d/%d/%s HTTP/1.1\r\nHost: quell\r\n", 2*m.n, m.read, m.do)
	if m.kind != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", m.kind)
	}
	if m.expect {
		b.WriteString("Expect: 100-continue\r\n")
	}
	body := m.body()
	first, rest := body[:m.sent], body[m.sent:]
	if m.chunked {
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if len(first) > 0 {
			first = fmt.Appendf(nil, "%x\r\n%s\r\n", len(first), first)
		}
		if len(rest) > 0 {
			rest = fmt.Appendf(nil, "%x\r\n%s\r\n", len(rest), rest)
		}
		rest = append(rest, "0\r\n\r\n"...)
	} else {
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", m.length)
	}
	next := fmt.Sprintf("POST /%d/0/answer HTTP/1.1\r\nHost: quell\r\nContent-Length: 0\r\n\r\n", 2*m.n+1)
	go func() {
		b.Write(first)
		c.Write(b.Bytes())
		time.Sleep(time.Duration(m.n%7) * 10 * time.Millisecond)
		c.Write(rest)
		io.WriteString(c, next)
	}()
	in := bufio.NewReader(c)
	for i := range 3 {
		text, status, err := readAnswer(in)
		if err != nil {
			// Cut off: it is not an answer to another message.
			return timeoutOf(err)
		}
		want := fmt.Sprintf("answer to %d", 2*m.n+i)
		if i == 2 || text != want && !strings.HasPrefix(text, "quell: the next hop") && !strings.HasPrefix(text, "quell: the answer of the next hop") && !strings.HasPrefix(text, "quell: the message's body") {
			return fmt.Errorf("answer %d: status %d, %.100q", i+1, status, text)
		}
		if i == 1 {
			return nil
		}
	}
	return nil
}

// readAnswer reads one answer and returns its body, or the part of it that came.
func readAnswer(in *bufio.Reader) (string, int, error) {
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return "", 0, err
		}
		if res.StatusCode < 200 {
			continue
		}
		text, err := io.ReadAll(res.Body)
		return string(text), res.StatusCode, err
	}
}

// timeoutOf returns the error if it is a time-out, else nil.
func timeoutOf(err error) error {
	if timedOut(err) {
		return err
	}
	return nil
}
