package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/devca"
	"quell/internal/outage"
)

// sentence is one line of a conversation with the lines that belong to it.
type sentence struct {
	line  int
	text  string
	block []string // nil if there is none
}

func readConversation(t *testing.T, file string) (list []sentence) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(l, "|"); ok {
			if len(list) == 0 {
				t.Fatalf("%s:%d: there is no line that it belongs to", file, i+1)
			}
			last := &list[len(list)-1]
			last.block = append(last.block, strings.TrimPrefix(rest, " "))
			continue
		}
		if before, _, ok := strings.Cut(l, " #"); ok && !strings.Contains(l, `"`) {
			l = before
		}
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "#") {
			list = append(list, sentence{line: i + 1, text: l})
		}
	}
	return list
}

// TestConversations plays testdata/conversations/*.txt. 00-how-to-read.txt there
// explains the form.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/conversations/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatalf("conversations: %q, %v", files, err)
	}
	for _, file := range files {
		list := readConversation(t, file)
		ways := []outage.Direction{outage.South, outage.North}
		if len(list) > 0 && strings.HasPrefix(list[0].text, "only ") {
			ways = []outage.Direction{outage.Direction(strings.TrimPrefix(list[0].text, "only ") + "bound")}
			list = list[1:]
		}
		for _, d := range ways {
			for _, with := range []string{"", " with TLS", " by net http"} {
				t.Run(fmt.Sprintf("%s %s%s", strings.TrimSuffix(filepath.Base(file), ".txt"), d, with), func(t *testing.T) {
					t.Parallel()
					c := &conversation{T: t, file: file, direction: d, senders: map[string]*party{}}
					c.slow = with == " by net http"
					if with == " with TLS" {
						c.ca = newAuthority(t, "conversations")
						c.cert = c.ca.pair(devca.Request{Name: "party", SANs: []string{"127.0.0.1"}})
					}
					c.play(list)
				})
			}
		}
	}
}

// conversation is a conversation that is being played.
type conversation struct {
	*testing.T
	file      string
	slow      bool // as in world
	direction outage.Direction
	at        sentence
	w         *world
	front     *Listener
	senders   map[string]*party
	hop       *party   // the connection to the next hop that is spoken on; nil if there is none
	opened    []*party // all that the next hop has seen
	hops      chan net.Conn
	ca        *authority       // nil without TLS
	cert      *tls.Certificate // of senders and next hops
}

// long is more time than anything takes that works.
const long = 30 * time.Second

func (c *conversation) fail(format string, args ...any) {
	c.Helper()
	c.Fatalf("%s:%d: %s: %s", c.file, c.at.line, c.at.text, fmt.Sprintf(format, args...))
}

func (c *conversation) play(list []sentence) {
	limits := Limits{Header: long, Sender: long, KeepAlive: long, AnswerStart: long, NextHop: long, NextHopIdle: long}
	for len(list) > 0 && strings.HasPrefix(list[0].text, "limit ") {
		c.at, list = list[0], list[1:]
		words := strings.Fields(c.at.text)[1:]
		name, value := strings.Join(words[:len(words)-1], " "), words[len(words)-1]
		if name == "connections" {
			limits.Connections = c.number(value, 10)
			continue
		}
		field := map[string]*time.Duration{"header": &limits.Header, "sender": &limits.Sender, "keep-alive": &limits.KeepAlive,
			"begin": &limits.AnswerStart, "next hop": &limits.NextHop, "next hop use": &limits.NextHopIdle}[name]
		d, err := time.ParseDuration(value)
		if field == nil || err != nil {
			c.fail("unknown limit")
		}
		*field = d
	}
	c.open(limits)
	for _, c.at = range list {
		c.do()
	}
	c.finish()
}

// open opens a gateway as the program does, and a next hop.
func (c *conversation) open(limits Limits) {
	c.w = newWorld(c.T)
	c.w.limits, c.w.slow = limits, c.slow
	if err := c.w.start("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n", deviceBase["ESME"].String()+"\n"); err != nil {
		c.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { l.Close() })
	if c.ca != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*c.cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: c.ca.pool()})
	}
	c.hops = make(chan net.Conn, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(c.hops)
				return
			}
			c.hops <- conn
		}
	}()
	u := &url.URL{Scheme: "http", Host: l.Addr().String()}
	var secure *ListenerTLS
	if c.ca != nil {
		u.Scheme = "https"
		source := c.ca.source("quell")
		secure = &ListenerTLS{Source: source, Need: true}
		c.w.gw.SecureNextHop(c.direction, HopTLS{Source: source})
	}
	c.w.gw.SetNextHops(u, u)
	h := c.w.gw.Southbound()
	if c.direction == outage.North {
		h = c.w.gw.Northbound()
	}
	if c.slow {
		h = http.HandlerFunc(h.ServeHTTP)
	}
	if c.front, err = c.w.gw.ListenTLS(string(c.direction), "127.0.0.1:0", h, secure); err != nil {
		c.Fatal(err)
	}
	go c.front.Serve()
	c.Cleanup(func() { c.front.Close() })
}

func (c *conversation) number(s string, base int) int {
	n, err := strconv.ParseInt(s, base, 32)
	if err != nil {
		c.fail("%q is not a number", s)
	}
	return int(n)
}

// do plays one sentence.
func (c *conversation) do() {
	words := strings.Fields(c.at.text)
	switch {
	case words[0] == "counted" && len(words) > 2:
		c.counted(words[1:])
	case words[0] == "sender":
		name, rest := "1", strings.TrimPrefix(c.at.text, "sender ")
		if _, err := strconv.Atoi(words[1]); err == nil {
			name, rest = words[1], strings.TrimPrefix(rest, words[1]+" ")
		}
		p := c.senders[name]
		if p == nil {
			_, addr, _ := strings.Cut(c.front.URL, "://")
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				c.fail("%v", err)
			}
			if c.ca != nil {
				conn = tls.Client(conn, c.ca.clientConfig(c.cert))
			}
			p = c.newParty(conn)
			c.senders[name] = p
		}
		c.act(p, rest)
	case strings.HasPrefix(c.at.text, "next hop "):
		rest := strings.TrimPrefix(c.at.text, "next hop ")
		if more, ok := strings.CutSuffix(rest, " on another connection"); ok {
			rest = more
			if c.hop == nil || !c.hop.over() {
				c.fail("the one before has not ended")
			}
			c.hop = nil
		}
		switch {
		case c.hop == nil:
			c.hop = c.newParty(c.arrives())
			c.opened = append(c.opened, c.hop)
		case rest == "gets" && c.at.block != nil:
			c.hop = c.nextMessage()
		}
		c.act(c.hop, rest)
	default:
		c.fail("not understood")
	}
}

// nextMessage returns the connection to the next hop on which the next message comes: the one
// before, or one of the others that are open, or a new one.
func (c *conversation) nextMessage() *party {
	for deadline := time.Now().Add(long); time.Now().Before(deadline); {
		for _, p := range c.opened {
			p.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := p.in.Peek(1)
			p.conn.SetReadDeadline(time.Now().Add(long))
			if err == nil {
				return p
			}
		}
		select {
		case conn := <-c.hops:
			p := c.newParty(conn)
			if t, ok := conn.(*tls.Conn); ok {
				t.Handshake() // with the time it needs; if it fails, nothing comes
			}
			c.opened = append(c.opened, p)
		default:
		}
	}
	return c.hop
}

// arrives returns the next connection that reaches the next hop.
func (c *conversation) arrives() net.Conn {
	select {
	case conn := <-c.hops:
		return conn
	case <-time.After(long):
		c.fail("the next hop got no connection")
	}
	return nil
}

func (c *conversation) act(p *party, what string) {
	words := strings.Fields(what)
	literal := func(rest string) []byte {
		text, err := strconv.Unquote(rest)
		if err != nil {
			c.fail("no text in quotes: %s", rest)
		}
		return []byte(text)
	}
	rest := strings.TrimSpace(strings.TrimPrefix(what, words[0]))
	switch chunk := strings.HasSuffix(rest, " bytes in a chunk"); {
	case what == "closes":
		p.finish()
	case words[0] == "pauses":
		d, err := time.ParseDuration(rest)
		if err != nil {
			c.fail("%v", err)
		}
		time.Sleep(d)
	case what == "takes nothing":
	case what == "sends" && c.at.block != nil:
		p.send([]byte(strings.Join(c.at.block, "\r\n") + c.ending()))
	case what == "gets" && c.at.block != nil:
		c.getMessage(p)
	case what == "gets * and the end":
		if _, err := io.ReadAll(p.in); errors.Is(err, os.ErrDeadlineExceeded) {
			c.fail("it does not come")
		}
	case what == "gets the end":
		if b, err := p.in.ReadByte(); err == nil {
			rest, _ := p.in.Peek(min(p.in.Buffered(), 200))
			c.fail("got %q", append([]byte{b}, rest...))
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			c.fail("it does not come")
		}
	case words[0] == "sends" && chunk:
		p.send(fmt.Appendf(nil, "%s\r\n", words[1]))
		p.send(p.sent.take(c.number(words[1], 16)))
		p.send([]byte("\r\n"))
	case words[0] == "gets" && chunk:
		c.get(p, fmt.Appendf(nil, "%s\r\n", words[1]))
		c.get(p, p.got.take(c.number(words[1], 16)))
		c.get(p, []byte("\r\n"))
	case len(words) > 3 && words[2] == "times":
		_, quoted, _ := strings.Cut(rest, " times ")
		text := bytes.Repeat(literal(quoted), c.number(words[1], 10))
		if words[0] == "sends" {
			p.send(text)
		} else {
			c.get(p, text)
		}
	case words[0] == "sends" && strings.HasSuffix(rest, " bytes"):
		p.send(p.sent.take(c.number(words[1], 10)))
	case words[0] == "gets" && strings.HasSuffix(rest, " bytes"):
		c.get(p, p.got.take(c.number(words[1], 10)))
	case words[0] == "sends":
		p.send(literal(rest))
	case words[0] == "gets":
		c.get(p, literal(rest))
	default:
		c.fail("not understood")
	}
}

// ending returns what follows the last line of a block: nothing after a body.
func (c *conversation) ending() string {
	if slices.Index(c.at.block, "") == len(c.at.block)-1 {
		return "\r\n"
	}
	return ""
}

func (c *conversation) get(p *party, want []byte) {
	c.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(p.in, got)
	if !bytes.Equal(got, want) {
		at := 0
		for at < n && got[at] == want[at] {
			at++
		}
		c.fail("got %d bytes, wrong from byte %d on: %.200q, %v", n, at, got[at:n], err)
	}
}

// getMessage reads a head and compares it, with the headers in any order. Then it
// compares the body, if the block has one.
func (c *conversation) getMessage(p *party) {
	c.Helper()
	end := slices.Index(c.at.block, "")
	if end < 0 {
		c.fail("the head has no end")
	}
	var got []string
	for {
		l, err := p.in.ReadString('\n')
		if err != nil {
			c.fail("got %q, %v", append(got, l), err)
		}
		if l == "\r\n" {
			break
		}
		got = append(got, strings.TrimSuffix(l, "\r\n"))
	}
	want := slices.Clone(c.at.block[:end])
	const status = len("HTTP/1.1 200") // the text after it is not forwarded
	if len(got) == 0 || got[0] != want[0] && (!strings.HasPrefix(want[0], "HTTP/") || got[0][:min(status, len(got[0]))] != want[0][:status]) {
		c.fail("got %q", got)
	}
	name := func(h string) string { n, _, _ := strings.Cut(h, ":"); return strings.ToLower(n) }
	left := slices.Clone(want[1:])
	for _, h := range got[1:] {
		i := slices.IndexFunc(left, func(l string) bool {
			return strings.EqualFold(l, h) || strings.HasSuffix(l, ": *") && name(l) == name(h)
		})
		switch n := name(h); {
		case i >= 0:
			left = slices.Delete(left, i, i+1)
		case slices.ContainsFunc(left, func(l string) bool { return name(l) == n }), n != "date" && !strings.HasPrefix(n, "quell-"):
			c.fail("got %q, which is not in the block; all: %q", h, got)
		}
	}
	if len(left) > 0 {
		c.fail("%q is missing; got %q", left, got)
	}
	if body := c.at.block[end+1:]; len(body) > 0 {
		c.get(p, []byte(strings.Join(body, "\r\n")))
	}
}

// counted waits until a metric has a value.
func (c *conversation) counted(words []string) {
	labels, want := words[1:len(words)-1], c.number(words[len(words)-1], 10)
	var got float64
	for deadline := time.Now().Add(long); ; time.Sleep(2 * time.Millisecond) {
		if got = c.w.metric(words[0], labels...); got == float64(want) {
			return
		}
		if time.Now().After(deadline) {
			c.fail("it is %g", got)
		}
	}
}

// metric returns the sum of a metric's values that have all the labels, each NAME=VALUE.
func (w *world) metric(name string, labels ...string) (sum float64) {
	w.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := 0
			for _, l := range m.GetLabel() {
				if slices.Contains(labels, l.GetName()+"="+l.GetValue()) {
					has++
				}
			}
			if has == len(labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// finish ends all connections, and checks that the next hop got no more than the file
// says. It may have got more of a message that broke off.
func (c *conversation) finish() {
	c.at = sentence{text: "the end"}
	for name, p := range c.senders {
		p.finish()
		if rest, _ := io.ReadAll(p.in); len(rest) > 0 {
			c.Errorf("%s: sender %s got more at the end: %.300q", c.file, name, rest)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	if err := c.front.Shutdown(ctx); err != nil {
		c.Errorf("%s: the gateway does not stop: %v", c.file, err)
	}
	c.w.closeNextHops()
	for _, p := range c.opened {
		if rest, _ := io.ReadAll(p.in); len(rest) > 0 {
			c.Errorf("%s: the next hop got more at the end: %.300q", c.file, rest)
		}
		p.finish()
	}
	select {
	case conn := <-c.hops:
		conn.SetDeadline(time.Now().Add(long))
		if rest, _ := io.ReadAll(conn); len(rest) > 0 {
			c.Errorf("%s: the next hop got another message at the end: %.300q", c.file, rest)
		}
	default:
	}
}

// party is one end of a conversation.
type party struct {
	conn net.Conn
	in   *bufio.Reader
	out  chan []byte // to a goroutine that writes, so that the conversation does not wait
	done chan struct{}

	sent, got requests

	once sync.Once
}

func (c *conversation) newParty(conn net.Conn) *party {
	conn.SetDeadline(time.Now().Add(long))
	p := &party{conn: conn, in: bufio.NewReader(conn), out: make(chan []byte, 100), done: make(chan struct{})}
	c.Cleanup(func() { conn.Close(); p.once.Do(func() { close(p.out) }); <-p.done })
	go func() {
		defer close(p.done)
		for b := range p.out {
			conn.Write(b) // if it fails, the other side shows it
		}
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}()
	return p
}

func (p *party) send(b []byte) { p.out <- b }

// finish closes the connection for writing when everything is written.
func (p *party) finish() { p.once.Do(func() { close(p.out) }) }

// over reports whether the other side has closed.
func (p *party) over() bool {
	_, err := p.in.Peek(1)
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// requests is an endless text that looks like requests.
type requests struct{ n int }

const smuggled = "POST /smuggled HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"

func (r *requests) take(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = smuggled[(r.n+i)%len(smuggled)]
	}
	r.n += n
	return b
}
