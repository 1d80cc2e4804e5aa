package main

import (
	"bufio"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/duis"
	"quell/internal/gateway"
	"quell/internal/operator"
	"quell/internal/outage"
	releases "quell/internal/release"
	"quell/internal/store/storetest"
)

// lateHop is a next hop that remembers the released alerts that it got.
type lateHop struct {
	mu   sync.Mutex
	late map[string][]*http.Request // by the id of the alert
	body map[string][]byte          // of the last one
	away bool
}

func newLateHop() *lateHop {
	return &lateHop{late: map[string][]*http.Request{}, body: map[string][]byte{}}
}

func (h *lateHop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the process died while it sent
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if m, err := duis.Read(body); err == nil && r.Header.Get(gateway.DecisionHeader) == string(outage.Released) {
		h.late[m.AlertID()] = append(h.late[m.AlertID()], r)
		h.body[m.AlertID()] = body
	}
}

func (h *lateHop) setAway(away bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = away
}

// count returns how often the released alert n of a hub came.
func (h *lateHop) count(n, hub int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.late[alertID(n, hub).String()])
}

// suppressAlerts opens the window of hub 0, and has its alerts from 0 to n-1 suppressed. Their
// entries have the numbers from 1 on.
func suppressAlerts(t *testing.T, i *installation, n int) {
	t.Helper()
	res, err := http.Post("http://"+i.south, "application/xml", bytes.NewReader(preCommand(0)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	for k := range n {
		res, err := http.Post("http://"+i.north, "application/xml", bytes.NewReader(powerOutage(k, 0)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if d := res.Header.Get(gateway.DecisionHeader); d != string(outage.Suppressed) {
			t.Fatalf("alert %d: %s", k, d)
		}
	}
}

// A suppressed alert is released as it came: path, query, body and header lines, whether it took
// the fast path or not, and whatever the next hop speaks.
func TestReleasedAsItCame(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/1.1 with TLS", "HTTP/2"} {
		t.Run(protocol, func(t *testing.T) {
			hop := newLateHop()
			srv := httptest.NewUnstartedServer(hop)
			t.Cleanup(srv.Close)
			more := ""
			if protocol == "HTTP/1.1" {
				srv.Start()
			} else {
				srv.EnableHTTP2 = protocol == "HTTP/2"
				srv.StartTLS()
			}
			i := install(t, accept(t), srv.URL, more)
			if srv.TLS != nil {
				ca := i.file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
				i.write(fmt.Sprintf("data_dir: %s/data\ndrain: 0s\nsouthbound: {listen: %q, next_hop: %q}\nnorthbound: {listen: %q, next_hop: %q, next_hop_tls: {ca: %q}}\nconsole: {listen: %q}\n",
					i.dir, i.south, accept(t), i.north, srv.URL, ca, i.admin))
			}
			i.track(1)
			i.serve()
			suppressAlerts(t, i, 0)
			fast, slow := powerOutage(0, 0), append(powerOutage(1, 0), "\n<!-- \r\n -->\n"...)
			c, err := net.Dial("tcp", i.north)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "POST /a%%2Fb?q=1;2 HTTP/1.1\r\nHost: north.example:99\r\nConnection: keep-alive\r\nx-odd-NAME: two  words\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s", len(fast), fast)
			answers := bufio.NewReader(c)
			res, err := http.ReadResponse(answers, nil)
			if err != nil || res.Header.Get(gateway.DecisionHeader) != string(outage.Suppressed) {
				t.Fatal(res, err)
			}
			fmt.Fprintf(c, "POST /slow HTTP/1.1\r\nHost: north.example:99\r\nX-Own: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(slow), slow)
			if res, err = http.ReadResponse(answers, nil); err != nil || res.Header.Get(gateway.DecisionHeader) != string(outage.Suppressed) {
				t.Fatal(res, err)
			}
			for n, want := range []struct {
				uri, line string
				body      []byte
			}{{"/a%2Fb?q=1;2", "X-Odd-Name: [two  words]", fast}, {"/slow", "X-Own: [2]", slow}} {
				if status, out, errs := i.quell("release", strconv.Itoa(n+1), "--why", "a test"); status != 0 {
					t.Fatalf("%s%s", out, errs)
				}
				id := alertID(n, 0).String()
				if hop.count(n, 0) != 1 {
					t.Fatalf("it came %d times", hop.count(n, 0))
				}
				r := hop.late[id][0]
				name, value, _ := strings.Cut(want.line, ": ")
				if r.RequestURI != want.uri || fmt.Sprint(r.Header[name]) != value || r.Host != "north.example:99" || !bytes.Equal(hop.body[id], want.body) {
					t.Errorf("%s %s %v %d bytes of %d", r.RequestURI, r.Host, r.Header, len(hop.body[id]), len(want.body))
				}
				if r.Header.Get("X-Hop") != "" || r.Header.Get("User-Agent") != "" || len(r.TransferEncoding) > 0 || protocol == "HTTP/2" && r.ProtoMajor != 2 {
					t.Errorf("%s, with more lines than came, or those of a connection: %v %v", r.Proto, r.Header, r.TransferEncoding)
				}
			}
		})
	}
}

// quell is killed with kill -9 at each step of a release. Only if that is after the sending, and
// before the commit, may the alert come twice.
func TestKillDuringRelease(t *testing.T) {
	hop := newLateHop()
	srv := httptest.NewServer(hop)
	t.Cleanup(srv.Close)
	i := install(t, accept(t), srv.URL, "")
	i.track(1)
	steps := []string{"release claimed", "release sent", "release committed"}
	p := i.serve()
	suppressAlerts(t, i, len(steps)+1)
	for n, step := range steps {
		p.stop(syscall.SIGTERM)
		p = i.serve(dieAt + "=" + step)
		i.quell("release", strconv.Itoa(n+1), "--why", "a test") // it dies meanwhile
		<-p.exited
		p = i.serve()
		isReleased(t, i, n)
		want := 1
		if step == "release sent" {
			want = 2
		}
		time.Sleep(1500 * time.Millisecond) // longer than it waits between two looks
		if got := hop.count(n, 0); got != want {
			t.Errorf("%s: the alert came %d times, not %d", step, got, want)
		}
	}
	// quell ends gracefully while the next hop is away.
	hop.setAway(true)
	c := operator.Client{Socket: i.dir + "/data/console.sock"}
	if _, err := c.Release(t.Context(), console.ReleaseRequest{Entry: "4", Why: "a test"}); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "it was tried", func() bool { x, err := c.ReleaseOf(t.Context(), 4); return err == nil && x.Tries > 0 })
	p.stop(syscall.SIGTERM)
	hop.setAway(false)
	i.serve()
	isReleased(t, i, 3)
	if got := hop.count(3, 0); got != 1 {
		t.Errorf("the alert came %d times", got)
	}
}

// isReleased waits until the entry of alert n is released.
func isReleased(t *testing.T, i *installation, n int) {
	t.Helper()
	c := operator.Client{Socket: i.dir + "/data/console.sock"}
	storetest.Eventually(t, "it is released", func() bool {
		x, err := c.ReleaseOf(t.Context(), int64(n+1))
		list, err2 := c.Suppressions(t.Context(), int64(n), 1)
		return err == nil && err2 == nil && x.State == releases.Done && list.Entries[0].Outcome == outage.Released
	})
}

// quell is killed with kill -9 at random while alerts are released, again and again. Each alert is
// delivered, and twice at most if it was under way when quell was killed.
func TestKillAtRandomDuringReleases(t *testing.T) {
	hop := newLateHop()
	srv := httptest.NewServer(hop)
	t.Cleanup(srv.Close)
	i := install(t, accept(t), srv.URL, "")
	i.track(1)
	p := i.serve()
	const alerts, kills = 60, 4
	suppressAlerts(t, i, alerts)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := operator.Client{Socket: i.dir + "/data/console.sock"}
	n := 0
	for kill := range kills {
		dead := make(chan bool)
		until := (kill + 1) * alerts / kills
		go func() {
			time.Sleep(time.Duration(rnd.IntN(30_000)) * time.Microsecond)
			p.stop(syscall.SIGKILL)
			close(dead)
		}()
		again := n
		for n < until {
			if _, err := c.Release(t.Context(), console.ReleaseRequest{Entry: strconv.Itoa(n + 1), Why: "a test"}); err != nil {
				break // it is dead
			}
			n++
		}
		<-dead
		p = i.serve()
		for n = max(again, n-1); n < until; n++ { // the last may have been taken
			if _, err := c.Release(t.Context(), console.ReleaseRequest{Entry: strconv.Itoa(n + 1), Why: "a test"}); err != nil && !strings.Contains(err.Error(), "cannot be released") {
				t.Fatal(err)
			}
		}
	}
	twice := 0
	for n := range alerts {
		isReleased(t, i, n)
		switch hop.count(n, 0) {
		case 1:
		case 2:
			twice++
		default:
			t.Errorf("alert %d came %d times", n, hop.count(n, 0))
		}
	}
	if twice > 8*kills { // so many are under way at once
		t.Errorf("%d alerts came twice", twice)
	}
	t.Logf("%d of %d alerts came twice, after %d kills", twice, alerts, kills)
}

// Three nodes share one database. All are asked for the same releases at once, and the leader is
// killed: each alert is released, by one node, once.
func TestReleaseOnThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	server := storetest.Start(t)
	hop := newLateHop()
	srv := httptest.NewServer(hop)
	t.Cleanup(srv.Close)
	var nodes []*installation
	var processes []*process
	for range 3 {
		nodes = append(nodes, install(t, accept(t), srv.URL, fmt.Sprintf("store: %q\nstore_timeout: 10s\n", server.URL("postgres"))))
	}
	nodes[0].track(1)
	for _, n := range nodes {
		processes = append(processes, n.serve())
	}
	storetest.Eventually(t, "one node is the leader", func() bool { return leader(t, processes) >= 0 })
	const alerts = 10
	suppressAlerts(t, nodes[1], alerts)
	ask := func(n int) {
		t.Helper()
		var wg sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		for _, node := range nodes {
			c := operator.Client{Socket: node.dir + "/data/console.sock"}
			wg.Go(func() {
				_, err := c.Release(t.Context(), console.ReleaseRequest{Entry: strconv.Itoa(n + 1), Why: "a test"})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					taken++
				} else if !strings.Contains(err.Error(), "cannot be released") && !strings.Contains(err.Error(), "no quell answers") {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if taken != 1 {
			t.Errorf("entry %d: %d nodes take it", n+1, taken)
		}
	}
	for n := range alerts / 2 {
		ask(n)
	}
	for n := range alerts / 2 {
		isReleased(t, nodes[n%3], n)
	}
	hop.setAway(true)
	for n := alerts / 2; n < alerts; n++ {
		ask(n)
	}
	l := leader(t, processes)
	if l < 0 {
		t.Fatal("no node leads")
	}
	processes[l].stop(syscall.SIGKILL)
	hop.setAway(false)
	left := nodes[(l+1)%3]
	for n := alerts / 2; n < alerts; n++ {
		c := operator.Client{Socket: left.dir + "/data/console.sock"}
		for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(100 * time.Millisecond) { // a claim of the dead node counts for a minute
			if x, err := c.ReleaseOf(t.Context(), int64(n+1)); err == nil && x.State == releases.Done {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("entry %d is not released", n+1)
			}
		}
	}
	for n := range alerts {
		if got := hop.count(n, 0); got != 1 {
			t.Errorf("alert %d came %d times", n, got)
		}
	}
}
