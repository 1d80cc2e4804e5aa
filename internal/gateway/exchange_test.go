package gateway

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"quell/internal/duis"
	"quell/internal/outage"
)

// message is an HTTP message to send.
type message struct {
	label                string
	method, target, host string
	header               [][2]string // in order
	body                 []byte
	size                 int // of a body that is made up instead; 0: body
	chunked              bool
	form                 outage.Form // of an 11.3
}

func (m *message) setHeader(name, value string) {
	m.header = slices.DeleteFunc(m.header, func(h [2]string) bool { return h[0] == name })
	if value != "" {
		m.header = append(m.header, [2]string{name, value})
	}
}

func (m *message) content() (io.Reader, int) {
	if m.size == 0 {
		return bytes.NewReader(m.body), len(m.body)
	}
	return io.LimitReader(&pattern{}, int64(m.size)), m.size
}

// pattern is an endless body. Its period divides no buffer's length.
type pattern struct{ off int }

var patternBlock = func() (b [65537]byte) {
	n := uint32(1)
	for i := range b {
		n = n*1664525 + 1013904223
		b[i] = byte(n >> 24)
	}
	return b
}()

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, patternBlock[p.off:])
	p.off = (p.off + n) % len(patternBlock)
	return n, nil
}

// write writes the message, and adds nothing.
func (m *message) write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 32<<10)
	fmt.Fprintf(b, "%s %s HTTP/1.1\r\nHost: %s\r\n", m.method, m.target, m.host)
	for _, h := range m.header {
		fmt.Fprintf(b, "%s: %s\r\n", h[0], h[1])
	}
	body, size := m.content()
	if !m.chunked {
		if size > 0 || m.method == "POST" || m.method == "PUT" {
			fmt.Fprintf(b, "Content-Length: %d\r\n", size)
		}
		b.WriteString("\r\n")
		io.Copy(b, body)
		return b.Flush()
	}
	b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	for piece := make([]byte, 16<<10); ; {
		n, err := io.ReadFull(body, piece)
		if n > 0 {
			fmt.Fprintf(b, "%x\r\n%s\r\n", n, piece[:n])
		}
		if err != nil {
			b.WriteString("0\r\n\r\n")
			return b.Flush()
		}
	}
}

func (m *message) digest() (sum [32]byte) {
	h := sha256.New()
	body, _ := m.content()
	io.Copy(h, body)
	return [32]byte(h.Sum(nil))
}

// response is what the sender got.
type response struct {
	status int
	header http.Header
	body   []byte
	broken bool // cut off before its end
}

// send sends a message to the gateway on a connection of its own.
func (w *world) send(d outage.Direction, m *message) (r response, err error) {
	conn, err := net.Dial("tcp", w.front[d].addr())
	if err != nil {
		return r, err
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	written := make(chan struct{})
	go func() { defer close(written); m.write(conn) }()
	defer func() { conn.Close(); <-written }()
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, &http.Request{Method: m.method})
	for err == nil && res.StatusCode == http.StatusContinue {
		res, err = http.ReadResponse(in, &http.Request{Method: m.method})
	}
	if err != nil {
		return r, err
	}
	r.status, r.header = res.StatusCode, res.Header
	r.body, err = io.ReadAll(res.Body)
	r.broken = err != nil
	return r, nil
}

// answer is an answer of a next hop.
type answer struct {
	status  int
	code    string // ResponseCode of a DUIS Response; "": plain text
	header  [2]string
	padding int
	chunked bool
	gzipped bool
	bytes   *string // the body instead
	kind    string  // its Content-Type; "none": without
	utf16   bool
	hangUp  string // "before" or "within" the answer; "" if not
	hold    bool   // wait until another answer releases it
}

// arrival is one message as it reached a next hop.
type arrival struct {
	method, target, host string
	header               http.Header
	size                 int64 // as announced; -1: chunked
	sum                  [32]byte
	message              duis.Message
	release              chan answer // if it is held

	// Set when it is answered.
	status int
	sent   http.Header
	body   []byte
}

// hop stands in for a next hop.
type hop struct {
	live, dead *url.URL

	mu       sync.Mutex // guards the fields below
	down     bool
	how      answer
	arrivals []*arrival
}

func newHop(t *testing.T, how answer) *hop {
	h := &hop{how: how, dead: deadEnd(t)}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	h.live, _ = url.Parse(srv.URL)
	return h
}

// deadEnd returns an address where nothing listens while the test runs: a socket has
// it, but does not listen.
func deadEnd(t *testing.T) *url.URL {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return &url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(addr.(*syscall.SockaddrInet4).Port)}
}

func (h *hop) where() *url.URL {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return h.dead
	}
	return h.live
}

func (h *hop) set(how answer, down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.how, h.down = how, down
}

// seen returns what arrived from the given number on.
func (h *hop) seen(from int) []*arrival {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.arrivals[from:])
}

func (h *hop) releaseAll() {
	for _, a := range h.seen(0) {
		select {
		case a.release <- answer{status: 503}:
		default:
		}
	}
}

func (h *hop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sum, head := sha256.New(), new(bytes.Buffer)
	io.Copy(io.MultiWriter(sum, &capped{head}), r.Body)
	a := &arrival{method: r.Method, target: r.RequestURI, host: r.Host, header: r.Header.Clone(), size: r.ContentLength,
		sum: [32]byte(sum.Sum(nil)), release: make(chan answer, 1)}
	a.message, _ = duis.Read(head.Bytes())
	h.mu.Lock()
	h.arrivals = append(h.arrivals, a)
	how := h.how
	h.mu.Unlock()
	if how.hold {
		how = <-a.release
	}
	h.answer(w, a, how)
}

// capped keeps the first 64 KiB.
type capped struct{ *bytes.Buffer }

func (c *capped) Write(b []byte) (int, error) {
	c.Buffer.Write(b[:min(len(b), max(0, duis.MaxSize-c.Len()))])
	return len(b), nil
}

func (h *hop) answer(w http.ResponseWriter, a *arrival, how answer) {
	if how.hangUp == "before" {
		panic(http.ErrAbortHandler)
	}
	kind, body := "text/plain", []byte("thanks")
	if how.code != "" {
		kind = "application/xml"
		body = duis.AppendAnswer(nil, a.message.RequestID, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), how.code)
	}
	if how.bytes != nil {
		body = []byte(*how.bytes)
	}
	if how.utf16 {
		body = inUTF16(body)
	}
	body = append(body, bytes.Repeat([]byte(" "), how.padding)...)
	header := http.Header{"Content-Type": {kind}, "Date": {"Sun, 01 Mar 2026 00:00:00 GMT"}, "X-Hop": {"a", "b"}}
	if how.header[0] != "" {
		header[how.header[0]] = []string{how.header[1]}
	}
	switch how.kind {
	case "":
	case "none":
		header["Content-Type"] = nil
	default:
		header["Content-Type"] = []string{how.kind}
	}
	if how.gzipped {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(body)
		z.Close()
		body = b.Bytes()
		header["Content-Encoding"] = []string{"gzip"}
	}
	h.mu.Lock()
	a.status, a.sent, a.body = how.status, header.Clone(), body
	h.mu.Unlock()
	maps.Copy(w.Header(), header)
	if !how.chunked {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(how.status)
	if how.hangUp == "within" {
		w.Write(body[:len(body)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if how.chunked {
		http.NewResponseController(w).Flush()
	}
	w.Write(body)
}

// inUTF16 returns the text in UTF-16, as some programs write it.
func inUTF16(text []byte) []byte {
	b := []byte{0xfe, 0xff}
	for _, u := range utf16.Encode([]rune(string(text))) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return b
}

// hopByHop are the headers that belong to each hop.
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Content-Length"}

// endToEnd returns the headers that are not hop-by-hop and that Connection does not name,
// in order.
func endToEnd(h http.Header) (list []string) {
	own := slices.Clone(hopByHop)
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			own = append(own, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	for name, values := range h {
		if !slices.Contains(own, name) {
			for _, v := range values {
				list = append(list, name+": "+v)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { // values of one header keep their order
		x, _, _ := strings.Cut(a, ":")
		y, _, _ := strings.Cut(b, ":")
		return cmp.Compare(x, y)
	})
	return list
}

// difference says how a message that arrived differs from what was sent; "" if it does
// not.
func (m *message) difference(a *arrival) string {
	var list []string
	differ := func(what string, sent, got any) {
		if sent != got {
			list = append(list, fmt.Sprintf("%s sent %v, arrived %v", what, sent, got))
		}
	}
	differ("method", m.method, a.method)
	differ("target", m.target, a.target)
	differ("host", m.host, a.host)
	sent := http.Header{}
	for _, h := range m.header {
		sent[http.CanonicalHeaderKey(h[0])] = append(sent[http.CanonicalHeaderKey(h[0])], h[1])
	}
	differ("headers", fmt.Sprintf("%q", endToEnd(sent)), fmt.Sprintf("%q", allBut(a.header, "Content-Length")))
	if m.digest() != a.sum {
		list = append(list, "body")
	}
	_, size := m.content()
	announced := int64(size)
	if m.chunked {
		announced = -1
	}
	differ("length", announced, a.size)
	return strings.Join(list, "; ")
}

// difference says how the answer that the sender got differs from the next hop's; "" if
// it does not. It ignores the headers that quell adds northbound.
func (a *arrival) difference(r response, d outage.Direction) string {
	var list []string
	if a.status != r.status {
		list = append(list, fmt.Sprintf("status given %d, arrived %d", a.status, r.status))
	}
	got := r.header.Clone()
	given := a.sent.Clone()
	if d == outage.North {
		for _, name := range []string{DecisionHeader, ReasonHeader} {
			got.Del(name)
			given.Del(name)
		}
	}
	if x, y := fmt.Sprintf("%q", endToEnd(given)), fmt.Sprintf("%q", allBut(got, "Content-Length")); x != y {
		list = append(list, fmt.Sprintf("headers given %s, arrived %s", x, y))
	}
	if !r.broken && a.method != "HEAD" && !bytes.Equal(a.body, r.body) {
		list = append(list, "body")
	}
	return strings.Join(list, "; ")
}

// allBut returns all headers except one, hop-by-hop headers included.
func allBut(h http.Header, name string) []string {
	h = h.Clone()
	h.Del(name)
	var list []string
	for _, hop := range hopByHop {
		for _, v := range h[hop] {
			list = append(list, hop+": "+v)
		}
		h.Del(hop)
	}
	return append(endToEnd(h), list...)
}
