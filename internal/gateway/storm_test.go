package gateway

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/devca"
	"quell/internal/outage"
)

// TestOwnAnswer: many senders at once, with and without TLS, whose messages are cut anywhere, who
// send the next one early or hang up; and a next hop that answers in every way, and ends
// connections. Its connections are renewed meanwhile. Each answer is that to its own message, and
// no message arrives twice.
func TestOwnAnswer(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := startedWorldWith(t, Limits{Connections: 30})
	ca := newAuthority(t, "authority")
	var mu sync.Mutex
	arrived := map[string]int{}
	hop, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hop.Close()
	go func() {
		for {
			c, err := hop.Accept()
			if err != nil {
				return
			}
			go answerOddly(c, func(id string) {
				mu.Lock()
				defer mu.Unlock()
				arrived[id]++
			})
		}
	}()
	u := *w.hops[outage.North].live
	u.Host = hop.Addr().String()
	w.gw.SetNextHops(&u, &u)
	secure := w.listenTLS(outage.North, &ListenerTLS{Source: ca.source("quell"), Need: true})
	client := ca.clientConfig(ca.pair(devca.Request{Name: "a"}))
	stop := make(chan struct{})
	var others, senders sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				w.gw.SetNextHops(&u, &u)
			}
		}
	})
	var answers, lost int
	for n := range 24 {
		senders.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			var c net.Conn
			var in *bufio.Reader
			for m := 0; m < 150; m++ {
				if c == nil {
					var err error
					if n%2 == 0 {
						c, err = net.Dial("tcp", w.front[outage.North].addr())
					} else {
						c, err = tls.Dial("tcp", secure.addr(), client)
					}
					if err != nil {
						t.Error(err)
						return
					}
					c.SetDeadline(time.Now().Add(time.Minute))
					in = bufio.NewReader(c)
				}
				var ids []string
				var text strings.Builder
				for k := range 1 + r.IntN(8)/7 {
					id := fmt.Sprintf("%d-%d-%d", n, m, k)
					ids = append(ids, id)
					body := "<a>" + id + strings.Repeat(" ", r.IntN(2)*r.IntN(9000)) + "</a>"
					fmt.Fprintf(&text, "POST /%s HTTP/1.1\r\nHost: h\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s", id, len(body), body)
				}
				all := text.String()
				cut := len(all)
				if r.IntN(4) == 0 {
					cut = r.IntN(len(all))
				}
				io.WriteString(c, all[:cut])
				if cut < len(all) {
					time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
					if r.IntN(20) == 0 {
						time.Sleep(120 * time.Millisecond)
					}
					io.WriteString(c, all[cut:])
				}
				if r.IntN(15) == 0 {
					c.Close()
					c = nil
					continue
				}
				for _, id := range ids {
					res, err := http.ReadResponse(in, &http.Request{Method: "POST"})
					for err == nil && res.StatusCode < 200 {
						res, err = http.ReadResponse(in, &http.Request{Method: "POST"})
					}
					var body []byte
					if err == nil {
						body, err = io.ReadAll(res.Body)
					}
					mu.Lock()
					switch {
					case err != nil:
						lost++
					case res.StatusCode == 502:
						lost++
					case string(body) != "answer to "+id && res.StatusCode != 204 || res.Header.Get("X-Id") != id:
						t.Errorf("the answer to %s is %d, %v, %q", id, res.StatusCode, res.Header, body)
					default:
						answers++
					}
					mu.Unlock()
					if err != nil || res.Close {
						c.Close()
						c = nil
						break
					}
				}
			}
			if c != nil {
				c.Close()
			}
		})
	}
	senders.Wait()
	close(stop)
	others.Wait()
	// A message whose sender hung up may still arrive.
	w.eventually("no connection is left", func() bool { return w.metric("quell_connections", "listener=northbound") == 0 })
	mu.Lock()
	defer mu.Unlock()
	for id, n := range arrived {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
	t.Logf("%d answers, %d lost, %d arrived", answers, lost, len(arrived))
	if answers < 2000 {
		t.Errorf("only %d answers", answers)
	}
}

// answerOddly answers the messages of a connection.
func answerOddly(c net.Conn, arrived func(id string)) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		id := r.URL.Path[1:]
		arrived(id)
		if !strings.HasPrefix(string(body), "<a>"+id) {
			panic(fmt.Sprintf("the body of %s is %.50q", id, body))
		}
		text := "answer to " + id
		length := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\n", id, len(text))
		write := func(parts ...string) {
			for i, part := range parts {
				if i > 0 {
					time.Sleep(time.Millisecond)
				}
				io.WriteString(c, part)
			}
		}
		switch rand.IntN(20) {
		case 0:
			write("HTTP/1.1 200 OK\r\nX-Id: " + id + "\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(text), text))
		case 1:
			write(length[:20], length[20:], "\r\n", text)
		case 2:
			write(length + "Connection: close\r\n\r\n" + text)
			return
		case 3:
			write("HTTP/1.1 204 No Content\r\nX-Id: " + id + "\r\n\r\n")
		case 4:
			write("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"+length, "\r\n"+text)
		case 5:
			write("HTTP/1.1 200 OK\r\nX-Id: " + id + "\r\n\r\n" + text)
			return
		case 6:
			return
		case 7:
			write(length + "\r\n" + text)
			return
		case 8:
			write(length + "\r\n" + text + "HTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n")
		case 9:
			time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
			write(length + "\r\n" + text)
		default:
			write(length + "\r\n" + text)
		}
	}
}
