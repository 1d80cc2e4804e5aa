package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/operator"
	"quell/internal/store/storetest"
)

// numberHeader has the number of a message of the traffic. slowHeader marks the messages
// that the next hop answers late.
const (
	numberHeader = "Message-Number"
	slowHeader   = "Slow"
)

// traffic is endless traffic from several senders. Each message is sent again until it is
// answered 200.
type traffic struct {
	b          *balancer
	stop       chan bool
	senders    sync.WaitGroup
	answered   atomic.Int64
	seenMu     sync.Mutex
	seen       map[string]int // by the next hop
	resentMu   sync.Mutex
	resent     map[string][]string // messages that were not answered 200 at once, and what came instead
	begun      chan bool           // a slow message has arrived
	answerSlow chan bool           // closed: slow messages are answered
}

func (tr *traffic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // the node died while it sent
	}
	if r.Header.Get(slowHeader) != "" {
		tr.begun <- true
		<-tr.answerSlow
		fmt.Fprint(w, "late")
	}
	tr.seenMu.Lock()
	defer tr.seenMu.Unlock()
	tr.seen[r.Header.Get(numberHeader)]++
}

// send runs one sender with its own connections. Half of its messages are alerts, half are
// 11.3s.
func (tr *traffic) send(sender int) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for n := 0; ; n++ {
		number := fmt.Sprintf("%d-%d", sender, n)
		url, body := "http://"+tr.b.north, powerOutage(n, sender)
		if n%2 == 1 {
			url, body = "http://"+tr.b.south, preCommand(n*100+sender)
		}
		for tries := 0; ; tries++ {
			err := tr.post(client, url, number, body)
			if err == nil {
				break
			}
			tr.resentMu.Lock()
			tr.resent[number] = append(tr.resent[number], err.Error())
			tr.resentMu.Unlock()
			if tries == 100 {
				tr.b.t.Errorf("message %s does not get through: %v", number, err)
				return
			}
			time.Sleep(10 * time.Millisecond) // a sender's pause before it sends again
		}
		tr.answered.Add(1)
		select {
		case <-tr.stop:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (tr *traffic) post(client *http.Client, url, number string, body []byte) error {
	req, err := http.NewRequest("POST", url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/xml")
	req.Header.Set(numberHeader, number)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", res.Status)
	}
	return nil
}

// goesOn waits for more answers.
func (tr *traffic) goesOn(what string) {
	tr.b.t.Helper()
	from := tr.answered.Load()
	storetest.Eventually(tr.b.t, "traffic goes on "+what, func() bool { return tr.answered.Load() > from+100 })
}

// report logs how many messages had to be sent again since the last report.
func (tr *traffic) report(what string, before int) (after int) {
	tr.resentMu.Lock()
	defer tr.resentMu.Unlock()
	tr.b.t.Logf("%s: %d messages so far, %d of them sent again", what, tr.answered.Load(), len(tr.resent)-before)
	return len(tr.resent)
}

// Three nodes are behind HAProxy with deploy/haproxy.cfg. One is stopped, one is killed, one
// loses its store. Each message gets through. No next hop gets a message twice, unless its
// sender sent it twice. HAProxy knows the state of each node.
func TestLoadBalancer(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	tr := &traffic{stop: make(chan bool), seen: map[string]int{}, resent: map[string][]string{}, begun: make(chan bool), answerSlow: make(chan bool)}
	hop := httptest.NewServer(tr)
	t.Cleanup(hop.Close)
	var nodes []*installation
	var processes []*process
	for range 3 {
		nodes = append(nodes, install(t, hop.URL, hop.URL, ""))
		processes = append(processes, nodes[len(nodes)-1].serve("QUELL_DRAIN=3s"))
	}
	b := balance(t, nodes)
	tr.b = b

	// Two messages on each node are under way when it is stopped.
	const slow = 6
	late := make(chan string)
	for range slow {
		go func() { late <- tr.sendSlow() }()
	}
	for range slow {
		<-tr.begun
	}
	for sender := range 6 {
		tr.senders.Go(func() { tr.send(sender) })
	}
	tr.goesOn("on three nodes")
	resent := tr.report("three nodes", 0)

	since := time.Now()
	processes[0].Process.Signal(syscall.SIGTERM)
	b.is(0, "DOWN")
	t.Logf("SIGTERM to DOWN: %s", time.Since(since))
	tr.goesOn("while a node stops")
	close(tr.answerSlow)
	for range slow {
		if s := <-late; s != "late" {
			t.Errorf("a message that was under way when a node was stopped got %q", s)
		}
	}
	if err := <-processes[0].exited; err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, processes[0].log)
	}
	tr.goesOn("without a node")
	if after := tr.report("a node is stopped", resent); after > resent {
		t.Errorf("a node was stopped, and %d messages had to be sent again", after-resent)
	}
	processes[0] = tr.comesBack(0, nodes[0])
	resent = tr.report("it is back", resent)
	tr.takenOut(0, nodes[0], processes[0])
	if after := tr.report("a node is taken out, stopped and put back", resent); after > resent {
		t.Errorf("a node was taken out before it was stopped, and %d messages had to be sent again", after-resent)
	}

	since = time.Now()
	processes[1].stop(syscall.SIGKILL)
	tr.goesOn("after a kill")
	b.is(1, "DOWN")
	t.Logf("kill -9 to DOWN: %s", time.Since(since))
	tr.goesOn("without the node that was killed")
	resent = tr.report("a node is killed", resent)
	tr.comesBack(1, nodes[1])
	resent = tr.report("it is back", resent)

	tr.withoutStore(2, nodes[2])
	tr.report("a node is without its store", resent)

	close(tr.stop)
	tr.senders.Wait()
	tr.account()
}

// account compares what was sent with what arrived.
func (tr *traffic) account() {
	t := tr.b.t
	t.Helper()
	tr.seenMu.Lock()
	defer tr.seenMu.Unlock()
	total := 0
	for sender := range 6 {
		for n := 0; ; n++ {
			number := fmt.Sprintf("%d-%d", sender, n)
			seen, again := tr.seen[number], len(tr.resent[number])
			if seen == 0 {
				break
			}
			total++
			if seen > 1+again {
				t.Errorf("message %s was sent %d times and arrived %d times", number, 1+again, seen)
			}
		}
	}
	if int64(total) != tr.answered.Load() {
		t.Errorf("%d messages were answered 200, %d arrived", tr.answered.Load(), total)
	}
	for number, why := range tr.resent {
		t.Logf("message %s arrived %d times: %q", number, tr.seen[number], why)
	}
}

// sendSlow sends a message that is answered late, and returns the answer.
func (tr *traffic) sendSlow() string {
	req, err := http.NewRequest("POST", "http://"+tr.b.north, strings.NewReader("<x/>"))
	if err != nil {
		return err.Error()
	}
	req.Header.Set(slowHeader, "yes")
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return string(text)
}

// comesBack starts a node again, and waits until it gets messages.
func (tr *traffic) comesBack(node int, n *installation) *process {
	tr.b.t.Helper()
	before := tr.b.taken(node)
	p := n.serve()
	tr.b.is(node, "UP")
	storetest.Eventually(tr.b.t, "it gets messages again", func() bool { return tr.b.taken(node) > before+20 })
	return p
}

// takenOut stops a node in the way that makes no sender send a message twice.
func (tr *traffic) takenOut(node int, n *installation, p *process) {
	t := tr.b.t
	t.Helper()
	name := fmt.Sprintf("/quell%d", node+1)
	tr.b.command("set server southbound" + name + " state drain")
	storetest.Eventually(t, "the node has finished", func() bool {
		s := tr.b.stats()
		south, north := s["southbound"+name], s["northbound"+name]
		return south["status"] == "DRAIN" && north["status"] == "DRAIN" && south["scur"] == "0" && north["scur"] == "0"
	})
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.log)
	}
	tr.goesOn("without the node that was taken out")
	before := tr.b.taken(node)
	n.serve()
	tr.b.command("set server southbound" + name + " state ready")
	storetest.Eventually(t, "it gets messages again", func() bool { return tr.b.taken(node) > before+20 })
}

// withoutStore locks the store of a node from another program. The node answers the checks,
// stays UP and gets messages.
func (tr *traffic) withoutStore(node int, n *installation) {
	t := tr.b.t
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(n.dir, "data", "quell.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	storetest.Eventually(t, "the lock is taken", func() bool { _, err := db.Exec("BEGIN IMMEDIATE"); return err == nil })
	c := operator.Client{Base: "http://" + n.admin}
	degraded := func() bool {
		s, err := c.Status(t.Context())
		return err == nil && s.Ready && slices.ContainsFunc(s.Degraded, func(text string) bool {
			return strings.HasPrefix(text, "the store does not answer: every alert is forwarded")
		})
	}
	storetest.Eventually(t, "the node says that it is degraded", degraded)
	row := func() (m map[string]string, unchanged int) {
		m = tr.b.stats()[fmt.Sprintf("southbound/quell%d", node+1)]
		unchanged, _ = strconv.Atoi(m["lastchg"]) // seconds
		return m, unchanged
	}
	_, from := row()
	before := tr.b.taken(node)
	storetest.Eventually(t, "some checks pass, and messages", func() bool {
		_, now := row()
		return now > from+3 && tr.b.taken(node) > before+100
	})
	if m, _ := row(); m["status"] != "UP" || m["check_status"] != "L7OK" || m["check_code"] != "200" || m["chkdown"] != "0" || !degraded() {
		t.Errorf("a node without its store: %v", m)
	}
	if _, err := db.Exec("ROLLBACK"); err != nil {
		t.Error(err)
	}
	storetest.Eventually(t, "the store is back", func() bool { return !degraded() })
}
