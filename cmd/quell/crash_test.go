package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gateway"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

const originator = outage.DeviceID(0x90B3D51F30010000)

func meterID(n int) outage.DeviceID { return 0x00DB123400000000 + outage.DeviceID(n) }
func hubID(n int) outage.DeviceID   { return 0x8873845700000000 + outage.DeviceID(n) }

func preCommand(n int) []byte {
	id := outage.RequestID{Originator: originator, Target: meterID(n), Counter: uint64(n) + 1}
	order := outage.Order{Kind: outage.OnDemand}
	payload := gbcs.AppendCS06(nil, gbcs.CS06{Originator: originator, Target: id.Target, Counter: id.Counter, Order: order})
	return duis.AppendSignedPreCommand(nil, id, 5, order, gbcs.AppendSigned(nil, payload, [64]byte{}))
}

func alertID(n, hub int) outage.RequestID {
	return outage.RequestID{Originator: hubID(hub), Target: originator, Counter: uint64(n) + 1}
}

func powerOutage(n, hub int) []byte {
	now := time.Now().UTC()
	return duis.AppendPowerOutage(nil, alertID(n, hub), now, duis.PowerOutage{CHF: hubID(hub), Start: now.Add(-3 * time.Minute), MPxN: "1200023305967"})
}

// recorder is a next hop that remembers the alerts that it got.
type recorder struct {
	mu   sync.Mutex
	seen map[string]int
}

func (r *recorder) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the process died while it sent
	}
	if m, err := duis.Read(body); err == nil && m.Body == duis.BodyPowerOutage {
		r.mu.Lock()
		r.seen[m.AlertID()]++
		r.mu.Unlock()
	}
}

// message is a message that is sent until it is answered.
type message struct {
	south bool
	n     int    // the meter of an 11.3
	id    string // of an alert
	body  []byte
}

// window is the window of an 11.3 that was answered.
type window struct {
	hub   int
	since time.Time
}

// campaign is seeded traffic through one or more quells. Each message is sent until it is
// answered, and the campaign keeps account of the results.
type campaign struct {
	t     *testing.T
	seed  uint64
	nodes []*installation
	north *recorder
	hubs  int // the first half have a window from the beginning, the others never
	later int // more hubs, which get theirs under way
	// settled is the time after the answer to an 11.3 until alerts of its hub are sent.
	settled time.Duration
	client  *http.Client

	mu         sync.Mutex // guards what follows
	suppressed map[string]bool
	forwarded  map[string]bool
	answered   []window
	again      []message // sent, and not answered
	late, sent int
}

// tracked is the number of hubs.
const firstHubs, laterHubs = 30, 3000

func newCampaign(t *testing.T, seed uint64, nodes []*installation, north *recorder) *campaign {
	c := &campaign{t: t, seed: seed, nodes: nodes, north: north, hubs: firstHubs, later: laterHubs, late: firstHubs,
		client:     &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
		suppressed: map[string]bool{}, forwarded: map[string]bool{}}
	for n := range c.hubs / 2 {
		c.again = append(c.again, message{south: true, n: n, body: preCommand(n)})
	}
	c.sendAgain()
	return c
}

// send sends a message to a node, and reports whether it was answered.
func (c *campaign) send(m message, node *installation) bool {
	addr := node.north
	if m.south {
		addr = node.south
	}
	res, err := c.client.Post("http://"+addr, "application/xml", bytes.NewReader(m.body))
	if err != nil {
		return false
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.south:
		c.answered = append(c.answered, window{m.n, time.Now()})
	case res.Header.Get(gateway.DecisionHeader) == string(outage.Suppressed):
		c.suppressed[m.id] = true
	default:
		c.forwarded[m.id] = true
	}
	return true
}

// next returns a message: now and then an 11.3 for a hub whose alerts come only after it,
// otherwise an alert of a hub with or without a window.
func (c *campaign) next(rnd *rand.Rand) message {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rnd.IntN(5) == 0 && c.late < c.hubs+c.later {
		c.late++
		return message{south: true, n: c.late - 1, body: preCommand(c.late - 1)}
	}
	hub := rnd.IntN(c.hubs)
	if rnd.IntN(3) == 0 {
		if w := c.answered[rnd.IntN(len(c.answered))]; time.Since(w.since) >= c.settled {
			hub = w.hub
		}
	}
	c.sent++
	return message{id: alertID(c.sent, hub).String(), body: powerOutage(c.sent, hub)}
}

// run sends traffic to all nodes until stop is called. stop returns when the last message
// was answered or given up.
func (c *campaign) run() (stop func()) {
	c.seed++
	done := make(chan bool)
	var wg sync.WaitGroup
	for worker := range 4 * len(c.nodes) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(c.seed, uint64(worker)))
			for {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond): // a sender's pause
				}
				if m := c.next(rnd); !c.send(m, c.nodes[worker%len(c.nodes)]) {
					c.mu.Lock()
					c.again = append(c.again, m)
					c.mu.Unlock()
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	return func() { close(done); wg.Wait() }
}

// goesOn waits for more answers from the nodes.
func (c *campaign) goesOn() {
	c.t.Helper()
	count := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.suppressed) + len(c.forwarded)
	}
	from := count()
	storetest.Eventually(c.t, "traffic goes on", func() bool { return count() > from+100 })
}

// suppresses waits for more suppressions, which show that the store works.
func (c *campaign) suppresses() {
	c.t.Helper()
	count := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.suppressed)
	}
	from := count()
	storetest.Eventually(c.t, "the store decides again", func() bool { return count() > from+50 })
}

// sendAgain sends the messages that were not answered until they are, each time to another
// node.
func (c *campaign) sendAgain() {
	c.t.Helper()
	c.mu.Lock()
	list := c.again
	c.again = nil
	c.mu.Unlock()
	for i, m := range list {
		for tries := 0; !c.send(m, c.nodes[(i+tries)%len(c.nodes)]); tries++ {
			if tries == 50 {
				c.t.Fatal("a message does not get through")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	c.t.Logf("%d alerts so far, %d messages sent again", c.sent, len(list))
}

// account compares the log of a quell with what senders were told and what the next hop
// got. Each alert was delivered or is in the log; if both, its outcome says so. The numbers
// have no gap. Each 11.3 that was answered has its window.
func (c *campaign) account(admin string) {
	t := c.t
	t.Helper()
	c.client.CloseIdleConnections()
	logged := map[string]outage.Outcome{}
	for last := int64(0); ; {
		var log struct {
			Entries []outage.Entry
			Next    int64
		}
		getJSON(t, fmt.Sprintf("%s/api/v1/suppressions?after=%d&limit=1000", admin, last), &log)
		for _, e := range log.Entries {
			if e.Seq != last+1 {
				t.Errorf("entry %d follows %d", e.Seq, last)
			}
			last = e.Seq
			if _, twice := logged[e.AlertID]; twice {
				t.Errorf("alert %s is in the log twice", e.AlertID)
			}
			logged[e.AlertID] = e.Outcome
		}
		if len(log.Entries) == 0 {
			break
		}
	}
	corrected := 0
	for id := range c.suppressed {
		delivered := c.north.seen[id] > 0
		switch {
		case logged[id] == outage.Suppressed && !delivered:
		case logged[id] == outage.Forwarded && delivered && len(c.nodes) > 1:
			corrected++ // one node delivered it and was not heard, then another was asked
		default:
			t.Errorf("alert %s: the sender was told that it is suppressed, the log says %q, delivered: %v", id, logged[id], delivered)
		}
	}
	for id := range c.forwarded {
		if c.north.seen[id] == 0 {
			t.Errorf("alert %s: the sender was told that it went forward, and it did not", id)
		}
		if logged[id] == outage.Suppressed {
			t.Errorf("alert %s was delivered, the log says suppressed", id)
		}
	}
	if len(c.suppressed)+len(c.forwarded) != c.sent || len(c.suppressed) == 0 || len(c.forwarded) == 0 || len(c.answered) <= c.hubs/2 {
		t.Errorf("of %d alerts %d were suppressed and %d forwarded; %d windows", c.sent, len(c.suppressed), len(c.forwarded), len(c.answered))
	}
	for _, w := range c.answered {
		var a struct {
			Activations []struct{ Standing bool }
		}
		getJSON(t, fmt.Sprintf("%s/api/v1/activations?esme=%s", admin, meterID(w.hub)), &a)
		if len(a.Activations) != 1 || !a.Activations[0].Standing {
			t.Errorf("meter %d: its 11.3 was answered, its windows: %+v", w.hub, a.Activations)
		}
	}
	t.Logf("%d alerts: %d suppressed, %d of them delivered all the same and corrected, %d forwarded; %d windows",
		c.sent, len(c.suppressed), corrected, len(c.forwarded), len(c.answered))
}

// quell is killed with kill -9 in the middle of traffic, again and again. Messages that were
// not answered are sent again.
func TestKill(t *testing.T) {
	north := &recorder{seen: map[string]int{}}
	hop := httptest.NewServer(north)
	t.Cleanup(hop.Close)
	i := install(t, accept(t), hop.URL, "store_timeout: 2s\n")
	i.track(firstHubs + laterHubs)
	p := i.serve()
	c := newCampaign(t, 1, []*installation{i}, north)
	for round := range 4 {
		stop := c.run()
		time.Sleep(time.Duration(200+100*round) * time.Millisecond) // traffic for a while
		p.stop(syscall.SIGKILL)
		stop()
		p = i.serve()
		c.sendAgain()
	}
	stop := c.run() // or the last process may have no AD1 for audit flow, and those before were killed
	c.goesOn()
	stop()
	c.account(p.admin)
	p.stop(syscall.SIGTERM)
	checkFlow(t, i)
}
