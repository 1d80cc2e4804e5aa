package fastpath

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

const (
	post = "POST /a HTTP/1.1\r\n"
	rest = "Host: h\r\nContent-Length: 3\r\n"
	ok   = "HTTP/1.1 200 OK\r\n"
)

// TestRequests: which requests are of the common form. Everything else is for net/http.
func TestRequests(t *testing.T) {
	for _, c := range []struct {
		text string
		want state
	}{
		{post + rest + "\r\nabc", complete},
		{post + rest + "\r\n", complete},
		{post + rest + "\r", partial},
		{"", partial}, {"POS", partial}, {"POST /", partial}, {post, partial}, {post + "Host", partial},
		{post + "host:h\r\nCONTENT-LENGTH: \t3 \r\nContent-Type: application/xml;charset=UTF-8\r\nConnection: Keep-Alive\r\nKeep-Alive: 3\r\nX-A:\r\n\r\n", complete},
		{"POST /a/b?c=d%2f&e=f;g HTTP/1.1\r\n" + rest + "\r\n", complete},
		{post + "Host: [::1]:80\r\nContent-Length: 65536\r\n\r\n", complete},
		{post + "Proxy: a\r\n" + rest + "\r\n", complete},

		{"GET", unusual}, {"P0", unusual}, {"post /", unusual}, {"POST  /", unusual}, {"POST http://h/ HTTP/1.1\r\n", unusual}, {"POST * HTTP/1.1\r\n", unusual},
		{"\r\n", unusual}, {"\n", unusual}, {"POST /a HTTP/1.1\n", unusual}, {"POST /a HTTP/1.0\r\n", unusual}, {"POST /a HTTP/1.1 \r\n", unusual}, {"POST /a\r\n", unusual},
		{"POST / HTTP/1.1\r\n" + rest + "\r\n", complete},
		{"POST //a HTTP/1.1\r\n", unusual}, {"POST /%zz HTTP/1.1\r\n", unusual}, {"POST /%2 HTTP/1.1\r\n", unusual}, {"POST /a#b HTTP/1.1\r\n", unusual}, {"POST /a b HTTP/1.1\r\n", unusual},
		{"POST /\x80 HTTP/1.1\r\n", unusual}, {"POST HTTP/1.1\r\n", unusual},
		{post + rest + "X: a\n", unusual}, {post + rest + " X: a\r\n", unusual}, {post + rest + "X : a\r\n", unusual}, {post + rest + "X_Y: a\r\n", unusual}, {post + rest + ": a\r\n", unusual},
		{post + rest + "X\r\n", unusual}, {post + rest + "X: \x00\r\n", unusual}, {post + rest + "X: \x80\r\n", unusual}, {post + rest + "X: a\rb\r\n", unusual},
		{post + "Content-Length: 3\r\n\r\n", unusual}, {post + "Host: h\r\n\r\n", unusual}, {post + "Host: \r\n" + "Content-Length: 3\r\n\r\n", unusual}, {post + rest + "Host: h\r\n", unusual},
		{post + "Host: h/x\r\n", unusual}, {post + "Host: a@b\r\n", unusual},
		{post + rest + "Content-Length: 3\r\n", unusual}, {post + "Content-Length: 03\r\n", unusual}, {post + "Content-Length: +3\r\n", unusual}, {post + "Content-Length: 3, 3\r\n", unusual},
		{post + "Content-Length: 65537\r\n", unusual}, {post + "Content-Length: 123456\r\n", unusual}, {post + "Content-Length:\r\n", unusual}, {post + "Host: h\r\nContent-Length: 0\r\n\r\n", unusual},
		{post + rest + "Transfer-Encoding: chunked\r\n", unusual}, {post + rest + "transfer-encoding: identity\r\n", unusual}, {post + rest + "Expect: 100-continue\r\n", unusual},
		{post + rest + "Upgrade: h2c\r\n", unusual}, {post + rest + "Trailer: X\r\n", unusual}, {post + rest + "TE: trailers\r\n", unusual}, {post + rest + "Connection: close\r\n", unusual},
		{post + rest + "Connection: keep-alive, x\r\n", unusual}, {post + rest + "Connection: keep-alive\r\nConnection: keep-alive\r\n", unusual}, {post + rest + "Proxy-Connection: keep-alive\r\n", unusual},
		{post + rest + "Content-Encoding: gzip\r\n", unusual}, {post + rest + "Content-Type: text/plain\r\n", unusual}, {post + rest + "Content-Type: application/xml\r\nContent-Type: application/xml\r\n", unusual},
		{post + rest + "Content-Type: application/xml; charset=utf-16\r\n", unusual},
		{post + strings.Repeat("X: a\r\n", maxLines+1), unusual}, {post + "X: " + strings.Repeat("a", maxHead), unusual}, {"POST /" + strings.Repeat("a", maxHead), unusual},
		{post + rest + strings.Repeat("Keep-Alive: a\r\n", maxDrops+1), unusual},
	} {
		var h head
		if got := h.readRequest([]byte(c.text)); got != c.want {
			t.Errorf("%.200q: %d, want %d", c.text, got, c.want)
		}
	}
}

// TestAnswers: which answers are of the common form.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		text string
		want state
	}{
		{ok + "Content-Length: 3\r\n\r\nabc", complete}, {ok + "Content-Length: 0\r\n\r\n", complete}, {"HTTP/1.1 204 \r\n\r\n", complete}, {"HTTP/1.1 503 Not now\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", complete},
		{ok + "Content-Length: 3\r\nContent-Encoding: gzip\r\nHost: h\r\nContent-Type: a\r\nContent-Type: b\r\n\r\n", complete},
		{"", partial}, {"HTTP/1.1 ", partial}, {ok, partial},
		{"HTTP/1.0", unusual}, {"HTTP/2", unusual}, {"http", unusual}, {"HTTP/1.1 100 Continue\r\n", unusual}, {"HTTP/1.1 101 x\r\n", unusual}, {"HTTP/1.1 304 x\r\n", unusual}, {"HTTP/1.1 205 x\r\n", unusual},
		{"HTTP/1.1 200\r\n", unusual}, {"HTTP/1.1 0200 x\r\n", unusual}, {"HTTP/1.1 600 x\r\n", unusual}, {"HTTP/1.1 20 x\r\n", unusual}, {"HTTP/1.1 200 x\x80\r\n", unusual}, {"HTTP/1.1 200 x\n", unusual},
		{ok + "\r\n", unusual}, {"HTTP/1.1 204 x\r\nContent-Length: 0\r\n", unusual}, {ok + "Content-Length: 3\r\nContent-Length: 3\r\n", unusual}, {ok + "Content-Length: 16385\r\n", unusual},
		{ok + "Transfer-Encoding: chunked\r\n", unusual}, {ok + "Trailer: x\r\n", unusual}, {ok + "Upgrade: x\r\n", unusual}, {ok + "Connection: upgrade\r\n", unusual}, {ok + "Connection: close, x\r\n", unusual},
	} {
		var h head
		if got := h.readAnswer([]byte(c.text)); got != c.want {
			t.Errorf("%.200q: %d, want %d", c.text, got, c.want)
		}
	}
}

// TestLines: what belongs to one connection is left out, and all else stays as it came.
func TestLines(t *testing.T) {
	request := []byte(post + "connection: keep-alive\r\nHost:  h \r\nX-a: 1\r\nKEEP-ALIVE: 5\r\nX-A: 2\r\nContent-Length: 3\r\n\r\nabc")
	var h head
	if s := h.readRequest(request); s != complete {
		t.Fatal(s)
	}
	if got, want := string(h.appendLines(nil, request)), "Host:  h \r\nX-a: 1\r\nX-A: 2\r\nContent-Length: 3\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	answer := []byte(ok + "Keep-Alive: 5\r\nContent-Length: 0\r\nConnection: close\r\nServer: a\r\n\r\n")
	if s := h.readAnswer(answer); s != complete || !h.close {
		t.Fatal(s, h.close)
	}
	if got, want := string(h.appendLines(nil, answer)), "Content-Length: 0\r\nServer: a\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOwnLines: net/http must decide whether a next hop may say what quell says.
func TestOwnLines(t *testing.T) {
	for _, line := range []string{"Quell-Decision: forwarded", "quell-reason: x"} {
		var h head
		if s := h.readAnswer([]byte(ok + line + "\r\nContent-Length: 0\r\n\r\n")); s != unusual {
			t.Errorf("%s: %d", line, s)
		}
	}
}

// isSteady: more bytes never make an unusual head usual, and each beginning of a common head
// is the beginning of one.
func isSteady(t *testing.T, b []byte, read func([]byte) state) {
	t.Helper()
	whole := read(b)
	for cut := range b {
		switch got := read(b[:cut]); {
		case got == unusual && whole != unusual:
			t.Fatalf("unusual after %d bytes, later %d: %q", cut, whole, b)
		case got == complete && whole != complete:
			t.Fatalf("complete after %d bytes, later %d: %q", cut, whole, b)
		}
	}
}

// hopByHop are the headers that are not passed on.
func hopByHop(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"Connection", "Keep-Alive"} {
		h.Del(name)
	}
	return h
}

func sameHeaders(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name, values := range a {
		if !slices.Equal(values, b[name]) {
			return false
		}
	}
	return true
}

// FuzzRequest compares with net/http what is read of a request, and what is passed on of it.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(post + rest + "\r\nabc"))
	f.Add([]byte("POST /a?b=%20 HTTP/1.1\r\nConnection: keep-alive\r\nContent-Type: text/xml\r\nX: \t y\r\n" + rest + "\r\nabcPOST"))
	f.Fuzz(func(t *testing.T, b []byte) { checkRequest(t, b) })
}

// checkRequest reports whether a request is of the common form.
func checkRequest(t *testing.T, b []byte) bool {
	var h head
	if len(b) < 300 {
		isSteady(t, b, h.readRequest)
	}
	if h.readRequest(b) != complete {
		return false
	}
	in := bufio.NewReader(bytes.NewReader(b))
	r, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("net/http refuses it: %v: %q", err, b)
	}
	if r.Method != "POST" || r.RequestURI != string(b[h.target.from:h.target.to]) || r.ContentLength != int64(h.body) || len(r.TransferEncoding) > 0 || r.Close ||
		r.Trailer != nil || r.Proto != "HTTP/1.1" || !httpguts.ValidHostHeader(r.Host) || r.URL.Host != "" && r.URL.Host != r.Host || !strings.HasPrefix(r.URL.Path, "/") {
		t.Fatalf("net/http reads %+v: %q", r, b)
	}
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			t.Fatalf("net/http's server refuses the header %q: %q", name, b)
		}
	}
	body, err := io.ReadAll(r.Body)
	if want := b[h.size:min(len(b), h.size+h.body)]; !bytes.Equal(body, want) || (err == nil) != (len(want) == h.body) {
		t.Fatalf("net/http reads the body %q, %v: %q", body, err, b)
	}
	wanted := r.Header.Clone()
	wanted.Del("Connection")
	wanted.Del("Keep-Alive")
	out := append(h.appendLines([]byte("POST "+r.RequestURI+" HTTP/1.1\r\n"), b), "\r\n"...)
	passed, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
	if err != nil || passed.Host != r.Host || passed.ContentLength != r.ContentLength || !sameHeaders(passed.Header, wanted) {
		t.Fatalf("passed on as %q, %v: %q", out, err, b)
	}
	return true
}

// FuzzAnswer does the same for answers.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(ok + "Content-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 204 x\r\nConnection: close\r\nX: y\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) { checkAnswer(t, b) })
}

// checkAnswer reports whether an answer is of the common form.
func checkAnswer(t *testing.T, b []byte) bool {
	var h head
	if len(b) < 300 {
		isSteady(t, b, h.readAnswer)
	}
	if h.readAnswer(b) != complete {
		return false
	}
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), &http.Request{Method: "POST"})
	if err != nil {
		t.Fatalf("net/http refuses it: %v: %q", err, b)
	}
	if r.StatusCode != h.status || r.ContentLength != int64(h.body) || len(r.TransferEncoding) > 0 || r.Close != h.close || r.Trailer != nil || r.Proto != "HTTP/1.1" {
		t.Fatalf("net/http reads %+v: %q", r, b)
	}
	body, err := io.ReadAll(r.Body)
	if want := b[h.size:min(len(b), h.size+h.body)]; !bytes.Equal(body, want) || (err == nil) != (len(want) == h.body) {
		t.Fatalf("net/http reads the body %q, %v: %q", body, err, b)
	}
	out := append(h.appendLines(append([]byte(nil), b[:h.lines]...), b), "\r\n"...)
	passed, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(out)), &http.Request{Method: "POST"})
	if err != nil || passed.StatusCode != h.status || passed.ContentLength != r.ContentLength || !sameHeaders(passed.Header, hopByHop(r.Header)) {
		t.Fatalf("passed on as %q, %v: %q", out, err, b)
	}
	return true
}

// TestRandomHeads does the same with heads that are put together from lines that matter, good
// and bad ones, some of them damaged.
func TestRandomHeads(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	lines := []string{"Host: h", "Host: h:80", "host:\t[::1]", "Host: h/x", "Host:", "Content-Length: 3", "Content-Length: 0", "content-length:3 ", "Content-Length: 16384", "Content-Length: 016", "Content-Length: 3,3",
		"Content-Type: application/xml", "content-type: text/xml ; charset=utf-8", "Content-Type: text/plain", "Connection: keep-alive", "Connection: close", "connection: Keep-Alive", "Connection: x", "Connection: keep-alive, x",
		"Keep-Alive: timeout=5", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Expect: 100-continue", "Upgrade: h2c", "Trailer: X", "TE: trailers", "Proxy-Connection: keep-alive", "Content-Encoding: gzip",
		"X: y", "X:", "X-Y: a, b", "X : y", " folded", "\tfolded", "X_Y: z", "X: \x01", "X: \xe4", "Quell-Decision: forwarded", "quell-reason: no-window", "Date: Thu, 26 Nov 2026 10:00:00 GMT", "User-Agent: a", "Cookie: a=b; c=d", "no colon", ": no name"}
	starts := []string{"POST / HTTP/1.1", "POST /a/b?c=%20 HTTP/1.1", "POST //a HTTP/1.1", "POST /%zz HTTP/1.1", "POST http://h/a HTTP/1.1", "POST * HTTP/1.1", "GET / HTTP/1.1", "POST / HTTP/1.0", "POST  / HTTP/1.1", "POST /\" HTTP/1.1",
		"HTTP/1.1 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.1 503 ", "HTTP/1.1 304 x", "HTTP/1.1 100 x", "HTTP/1.0 200 OK", "HTTP/1.1 20 x", "HTTP/1.1 200"}
	common := [2]int{}
	for range 100_000 {
		b := []byte(pick(starts) + "\r\n")
		if r.IntN(3) > 0 {
			b = append(b, "Host: h\r\n"...)
		}
		if r.IntN(3) > 0 {
			b = append(b, "Content-Length: 3\r\n"...)
		}
		for range r.IntN(4) {
			end := "\r\n"
			if r.IntN(50) == 0 {
				end = pick([]string{"\n", "\r", "\r\r\n"})
			}
			b = append(b, pick(lines)+end...)
		}
		b = append(b, "\r\nabc"+pick([]string{"", "", "POST / HTTP/1.1\r\n"})...)
		if r.IntN(20) == 0 {
			b[r.IntN(len(b))] = byte(r.IntN(256))
		}
		if checkRequest(t, b) {
			common[0]++
		}
		if checkAnswer(t, b) {
			common[1]++
		}
	}
	if common[0] < 1000 || common[1] < 1000 {
		t.Errorf("only %d requests and %d answers were of the common form", common[0], common[1])
	}
}
