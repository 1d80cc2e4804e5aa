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

// recorder is a next hop that remembers the alerts that it was given.
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

// kill -9 in the middle of traffic, again and again; what was not acknowledged
// is sent again. At the end each alert was delivered or is in the log, none
// both, the numbers have no gap, and every acknowledged 11.3 has its window.
func TestKill(t *testing.T) {
	const (
		rounds = 4
		hubs   = 30  // the first half have a window from the beginning, the others never
		later  = 500 // more hubs, which get theirs under way
	)
	north := &recorder{seen: map[string]int{}}
	hop := httptest.NewServer(north)
	t.Cleanup(hop.Close)
	i := install(t, accept(t), hop.URL, "store_timeout: 2s\n")
	i.track(hubs + later)

	client := &http.Client{Timeout: 10 * time.Second}
	post := func(url string, body []byte) (int, http.Header) {
		res, err := client.Post(url, "application/xml", bytes.NewReader(body))
		if err != nil {
			return 0, nil
		}
		defer res.Body.Close()
		io.Copy(io.Discard, res.Body)
		return res.StatusCode, res.Header
	}
	p := i.serve()
	activate := func(n int) {
		for tries := 0; ; tries++ {
			if status, _ := post(p.south, preCommand(n)); status == 200 {
				return
			}
			if tries == 50 {
				t.Errorf("an 11.3 does not get through")
				return
			}
		}
	}
	for n := range hubs / 2 {
		activate(n)
	}

	var mu sync.Mutex // guards what follows
	suppressed := map[string]bool{}
	forwarded := map[string]bool{}
	var acknowledged []int // hubs whose 11.3 was
	sent, late := 0, hubs
	for round := range rounds {
		stop := make(chan bool)
		var wg sync.WaitGroup
		type message struct {
			south bool
			n     int
			id    string
			body  []byte
		}
		var unanswered []message
		send := func(m message) bool {
			url := p.north
			if m.south {
				url = p.south
			}
			status, header := post(url, m.body)
			if status != 200 {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case m.south:
				acknowledged = append(acknowledged, m.n)
			case header.Get(gateway.DecisionHeader) == string(outage.Suppressed):
				suppressed[m.id] = true
			default:
				forwarded[m.id] = true
			}
			return true
		}
		for worker := range 4 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(round), uint64(worker)))
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					var m message
					mu.Lock()
					if k%5 == 4 && late < hubs+later {
						// An 11.3 of a hub whose alerts come only after it.
						m = message{south: true, n: late, body: preCommand(late)}
						late++
					} else {
						hub := rnd.IntN(hubs)
						if len(acknowledged) > 0 && rnd.IntN(3) == 0 {
							hub = acknowledged[rnd.IntN(len(acknowledged))]
						}
						sent++
						m = message{id: alertID(sent, hub).String(), body: powerOutage(sent, hub)}
					}
					mu.Unlock()
					if !send(m) {
						mu.Lock()
						unanswered = append(unanswered, m)
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(time.Duration(200+100*round) * time.Millisecond) // traffic for a while
		p.stop(syscall.SIGKILL)
		close(stop)
		wg.Wait()
		p = i.serve()
		for _, m := range unanswered {
			for tries := 0; !send(m); tries++ {
				if tries == 20 {
					t.Fatalf("a message does not get through\n%s", p.log)
				}
			}
		}
		t.Logf("round %d: %d alerts so far, %d sent again", round, sent, len(unanswered))
	}

	logged := map[string]outage.Outcome{}
	var log struct {
		Entries []outage.Entry
		Next    int64
	}
	for last := int64(0); ; {
		getJSON(t, fmt.Sprintf("%s/api/v1/suppressions?after=%d&limit=1000", p.admin, last), &log)
		for _, e := range log.Entries {
			if e.Seq != last+1 {
				t.Errorf("entry %d follows %d", e.Seq, last)
			}
			last = e.Seq
			if _, twice := logged[e.AlertID]; twice {
				t.Errorf("alert %s stands twice in the log", e.AlertID)
			}
			logged[e.AlertID] = e.Outcome
		}
		if len(log.Entries) == 0 {
			break
		}
	}
	for id := range suppressed {
		if logged[id] != outage.Suppressed {
			t.Errorf("alert %s: the sender was told that it is suppressed, the log says %q", id, logged[id])
		}
		if north.seen[id] > 0 {
			t.Errorf("alert %s is suppressed, and was delivered", id)
		}
	}
	for id := range forwarded {
		if north.seen[id] == 0 {
			t.Errorf("alert %s: the sender was told that it went forward, and it did not", id)
		}
		if logged[id] == outage.Suppressed {
			t.Errorf("alert %s was delivered, the log says suppressed", id)
		}
	}
	if len(suppressed)+len(forwarded) != sent || len(suppressed) == 0 || len(forwarded) == 0 || len(acknowledged) == 0 {
		t.Errorf("of %d alerts %d suppressed, %d forwarded; %d windows", sent, len(suppressed), len(forwarded), len(acknowledged))
	}
	for _, n := range acknowledged {
		var a struct {
			Activations []struct{ Standing bool }
		}
		getJSON(t, fmt.Sprintf("%s/api/v1/activations?esme=%s", p.admin, meterID(n)), &a)
		if len(a.Activations) != 1 || !a.Activations[0].Standing {
			t.Errorf("meter %d: its 11.3 was acknowledged, its windows: %+v", n, a.Activations)
		}
	}
	t.Logf("%d alerts: %d suppressed, %d forwarded; %d windows", sent, len(suppressed), len(forwarded), len(acknowledged))
}
