package gateway

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/windows"
)

// deadConn is a connection to a next hop that takes no byte any more when it is dead, as one
// that the next hop has closed a moment ago.
type deadConn struct {
	net.Conn
	born int64
	dead *atomic.Int64 // connections that were made before are dead
}

func (c *deadConn) Write(b []byte) (int, error) {
	if c.born < c.dead.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(b)
}

// TestSecondTry: the next hop has closed the connection that was kept, and no byte of the
// message can be sent. A short message, which is written at once, goes over another connection.
// Others may get 502 instead. Each arrives whole and once, or not at all.
func TestSecondTry(t *testing.T) {
	w := startedWorld(t)
	var dead atomic.Int64
	kept := w.gw.north.carrier.Load().kept
	dial := kept.DialContext
	kept.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if hop := hopConnOf(c); hop != nil {
			hop.Conn.Conn = &deadConn{hop.Conn.Conn, dead.Load(), &dead}
		}
		return c, err
	}
	hop := w.hops[outage.North]
	tried := 0
	for _, size := range []int{0, 3, 1000, 3000, 60 << 10, 100 << 10} {
		for _, kind := range []string{"application/xml", "text/plain"} {
			for _, chunked := range []bool{false, true} {
				w.mustSend(outage.North, alertOf(1, 1, w.now())) // its connection is kept
				m := &message{method: "POST", target: "/", host: "quell", body: bytes.Repeat([]byte("<quell/>"), size)[:size], chunked: chunked}
				m.setHeader("Content-Type", kind)
				dead.Add(1)
				before := len(hop.seen(0))
				r := w.mustSend(outage.North, m)
				arrived := hop.seen(before)
				what := fmt.Sprintf("%d bytes of %s, chunked %t: status %d, arrived %d times, %.200s", size, kind, chunked, r.status, len(arrived), r.body)
				switch {
				case r.status == 200 && len(arrived) == 1:
					tried++
				case r.status != 502 || len(arrived) != 0 || size <= 3000 && kind == "application/xml" && !chunked:
					t.Error(what)
				}
				for _, a := range arrived {
					if diff := m.difference(a); diff != "" {
						t.Errorf("%s: %s", what, diff)
					}
				}
			}
		}
	}
	if tried < 4 {
		t.Errorf("%d messages were sent on another connection", tried)
	}
}

// TestBrokenOff: a sender breaks off within a message that quell decides on, or sends what is no
// chunk. Nothing of it goes forward, and no window is recorded.
func TestBrokenOff(t *testing.T) {
	w := startedWorld(t)
	n := 0
	for d, m := range map[outage.Direction]*message{outage.South: activateNow(1, 1), outage.North: alertOf(2, 1, w.now())} {
		for _, some := range []int{0, len(m.body) / 2, len(m.body) - 1, len(m.body)} {
			const head = "POST / HTTP/1.1\r\nHost: quell\r\nContent-Type: application/xml\r\n"
			chunk := fmt.Sprintf("%x\r\n%s\r\n", some, m.body[:some])
			if some == 0 {
				chunk = ""
			}
			for what, text := range map[string]string{
				"closes after a chunk":  head + "Transfer-Encoding: chunked\r\n\r\n" + chunk,
				"closes within a chunk": head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(m.body)+1, m.body[:some]),
				"sends no chunk":        head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + "no chunk\r\n",
				"closes too early":      head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(m.body)+1, m.body[:some]),
			} {
				n++
				c, err := net.Dial("tcp", w.front[d].addr())
				if err != nil {
					t.Fatal(err)
				}
				c.SetDeadline(time.Now().Add(long))
				io.WriteString(c, text)
				if what != "sends no chunk" {
					c.(*net.TCPConn).CloseWrite()
				}
				answer, status, err := readAnswer(bufio.NewReader(c))
				c.Close()
				if err != nil || status != 400 {
					t.Errorf("%s, the sender %s of %d bytes: status %d, %q, %v", d, what, some, status, answer, err)
				}
			}
		}
	}
	for d, hop := range w.hops {
		if got := hop.seen(0); len(got) != 0 {
			t.Errorf("%s: %d messages went forward", d, len(got))
		}
	}
	if list, err := w.store.Windows.Activations(t.Context(), windows.Filter{ESME: meterID(1)}, 10); err != nil || len(list) != 0 {
		t.Errorf("recorded are %+v %v", list, err)
	}
	if got := w.metric("quell_refused_total", "cause=broken-off"); got != float64(n) {
		t.Errorf("%g of %d messages are counted", got, n)
	}
}

// TestOddAnswers: 11.3s with answers of every status, text, encoding and length. What cannot be
// read may mean anything, and leaves the request in doubt.
func TestOddAnswers(t *testing.T) {
	w := startedWorld(t)
	hop := w.hops[outage.South]
	noise := make([]byte, 75<<10)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	long := "<!-- " + base64.StdEncoding.EncodeToString(noise) + " -->" // more than is read, compressed or not
	zip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.String()
	}
	counter, now := uint64(0), w.now()
	for _, status := range []int{200, 202, 302, 404, 408, 503} {
		for _, text := range []string{"I99", "E4", "no DUIS", ""} {
			for _, padding := range []string{"", strings.Repeat(" ", 70<<10), long} {
				if padding != "" && len(text) < 2 || padding != "" && status > 200 {
					continue
				}
				for _, coding := range []string{"", "identity", "gzip", "GZIP", "x-gzip", "br", "deflate", "zstd", "gzip, gzip"} {
					for _, zipped := range []bool{false, true} {
						for _, chunked := range []bool{false, true} {
							counter++
							now = now.Add(31 * time.Minute)
							w.at(now)
							m := activateNow(int(counter%meters)+1, counter)
							id := outage.RequestID{Originator: deviceBase["USER"], Target: meterID(int(counter%meters) + 1), Counter: counter}
							body := text
							if slices.Contains([]string{"I99", "E4"}, text) {
								body = string(duis.AppendAnswer(nil, id, now, text))
							}
							body += padding
							if zipped {
								body = zip(body)
							}
							how := answer{status: status, bytes: &body, chunked: chunked, kind: "application/xml"}
							if coding != "" {
								how.header = [2]string{"Content-Encoding", coding}
							}
							hop.set(how, false)
							before := len(hop.seen(0))
							r := w.mustSend(outage.South, m)
							want := expected(status, text, coding, zipped)
							list, err := w.store.Windows.Activations(t.Context(), windows.Filter{RequestID: id}, 10)
							if err != nil || len(list) != 1 || list[0].State != want || list[0].Standing != (want == outage.Accepted) {
								t.Errorf("status %d, %q with %d more bytes, encoding %q, compressed %t, chunked %t: %+v, want %s (%v)", status, text, len(padding), coding, zipped, chunked, list, want, err)
							}
							if diff := hop.seen(before)[0].difference(r, outage.South); diff != "" {
								t.Errorf("status %d, %q, encoding %q: %s", status, text, coding, diff)
							}
						}
					}
				}
			}
		}
	}
}

// expected is what becomes of a request with an answer of which quell can read the encodings
// identity and gzip.
func expected(status int, text, coding string, zipped bool) outage.State {
	plain, gzips := coding == "" || coding == "identity", strings.HasSuffix(strings.ToLower(coding), "gzip") && !strings.Contains(coding, ",")
	readable := plain && !zipped || gzips && zipped
	switch {
	case status >= 400 && status < 500 && status != 408, readable && text == "E4":
		return outage.Withdrawn
	case status < 300 && readable && (text == "I99" || text == ""):
		return outage.Accepted
	}
	return outage.Uncertain
}

// TestLimits: by default quell waits as long as docs/operations.md says.
func TestLimits(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	w := startedWorld(t)
	l := w.gw.limits
	for _, c := range []struct {
		is, want time.Duration
		says     string
	}{
		{l.AnswerStart, time.Minute, "the next hop did not begin its answer within a minute"},
		{w.gw.south.carrier.Load().kept.ResponseHeaderTimeout, time.Minute, "It waits longer than quell's minute"},
		{w.gw.south.carrier.Load().fresh.ResponseHeaderTimeout, time.Minute, "It waits longer than quell's minute"},
		{l.Sender, 30 * time.Second, "the message stopped for 30 s"},
		{l.Sender, 30 * time.Second, "sends, or takes, no byte of a message for 30 s"},
		{l.Header, 10 * time.Second, "has not sent a whole head within 10 s"},
		{l.KeepAlive, 2 * time.Minute, "is without a message for two minutes"},
	} {
		if c.is != c.want || !bytes.Contains(doc, []byte(c.says)) {
			t.Errorf("%v, want %v; docs/operations.md says %q: %t", c.is, c.want, c.says, bytes.Contains(doc, []byte(c.says)))
		}
	}
}
