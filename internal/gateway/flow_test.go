package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/flow"
	"quell/internal/outage"
)

// audit returns what became of all AD1s of a world.
func (w *world) audit() *flow.Result {
	w.Helper()
	day := w.now().Truncate(24 * time.Hour)
	r, err := w.store.Flow.Audit(context.Background(), flow.Query{From: day.Add(-15 * 24 * time.Hour), To: day.Add(16 * 24 * time.Hour)})
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// checkFlow holds at the end of every test that has a world: each AD1 has one end, and the log has
// the entries that were written.
func (w *world) checkFlow() {
	w.Helper()
	if w.Failed() || !w.store.DB.Available() {
		return
	}
	w.eventually("the store answers, and nothing is pending", func() bool {
		return w.store.DB.Ping(context.Background()) == nil && w.store.Ledger.Pending() == 0
	})
	w.at(w.now().Add(2 * flow.Longest))
	r := w.audit()
	if r.Total.UnderWay > 0 {
		w.Errorf("%d AD1s are under way at the end: %+v", r.Total.UnderWay, r.Total)
	}
	for _, d := range r.Differences {
		if d.Kind != flow.Killed || !w.crashed {
			w.Errorf("the AD1s do not balance: %+v", d)
		}
	}
}

// TestFlowStorm: many senders, who send alerts twice and hang up; a next hop that takes, refuses,
// breaks off and is silent; a store that is locked for longer than a message waits, and a switch
// that is changed. At no moment does anything not balance, and in the end each AD1 has one end.
func TestFlowStorm(t *testing.T) {
	bothWays(t, func(t *testing.T, slow bool) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		w := startedWorldBy(t, func(w *world) {
			w.slow, w.limits = slow, Limits{AnswerStart: 100 * time.Millisecond, NextHop: 100 * time.Millisecond}
		})
		w.rules.StoreTimeout = impatient
		w.setRules()
		hop, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer hop.Close()
		var taken atomic.Int64 // answered with success
		go func() {
			for {
				c, err := hop.Accept()
				if err != nil {
					return
				}
				go takeOrNot(c, &taken)
			}
		}()
		for n := 1; n <= meters/2; n++ {
			w.mustSend(outage.South, activateNow(n, 1))
		}
		u := *w.hops[outage.North].live
		u.Host = hop.Addr().String()
		w.gw.SetNextHops(w.hops[outage.South].live, &u)

		stop := make(chan struct{})
		var others, senders sync.WaitGroup
		every := func(pause time.Duration, f func(i int)) {
			others.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(pause):
						f(i)
					}
				}
			})
		}
		every(30*time.Millisecond, func(int) {
			if r := w.audit(); !r.Balanced {
				t.Errorf("in the storm: %+v", r)
			}
		})
		every(200*time.Millisecond, func(int) {
			w.lock()
			time.Sleep(2 * impatient)
			w.unlock()
		})
		every(100*time.Millisecond, func(int) { w.at(w.now().Add(7 * time.Second)) })
		turns := []outage.Switch{outage.SwitchOn, outage.SwitchShadow, outage.SwitchOn, outage.SwitchOff}
		every(150*time.Millisecond, func(i int) {
			for range 20 { // the store may be locked
				if _, err := w.store.Ledger.SetSwitch(t.Context(), turns[i%len(turns)], "test", "storm", w.now()); err == nil {
					return
				}
			}
		})

		if _, err := w.store.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "test", "at the start of the storm", w.now()); err != nil {
			t.Fatal(err)
		}
		start := w.now()
		var suppressed, delivered atomic.Int64
		for n := range 12 {
			senders.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(n)))
				for range 150 {
					m := alertOf(1+r.IntN(meters), 1+uint64(r.IntN(8)), start)
					c, err := net.Dial("tcp", w.front[outage.North].addr())
					if err != nil {
						t.Error(err)
						return
					}
					c.SetDeadline(time.Now().Add(time.Minute))
					m.write(c)
					if r.IntN(6) == 0 {
						time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
						c.Close()
						continue
					}
					res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "POST"})
					switch {
					case err != nil: // the next hop has broken off within its answer
					case res.Header.Get(DecisionHeader) == string(outage.Suppressed):
						suppressed.Add(1)
					case res.StatusCode == 200:
						delivered.Add(1)
					}
					c.Close()
				}
			})
		}
		senders.Wait()
		close(stop)
		others.Wait()
		w.closeFront()
		w.settled()
		w.at(w.now().Add(time.Hour)) // so that no message can be under way any more
		r := w.audit()
		tot := r.Total
		t.Logf("%+v, %d corrected, the next hop took %d", tot, r.Corrected, taken.Load())
		if tot.Received != tot.Forwarded+tot.Suppressed+tot.Shadow+tot.Refused+tot.Failed || !r.Balanced {
			t.Errorf("%+v", r)
		}
		if tot.Suppressed < suppressed.Load() || tot.Forwarded+tot.Shadow < delivered.Load() || tot.Forwarded+tot.Shadow > taken.Load() {
			t.Errorf("senders know of %d suppressed and %d delivered ones, the next hop took %d: %+v", suppressed.Load(), delivered.Load(), taken.Load(), tot)
		}
		for what, n := range map[string]int64{"forwarded": tot.Forwarded, "suppressed": tot.Suppressed, "shadow": tot.Shadow, "refused": tot.Refused, "failed": tot.Failed} {
			if n == 0 {
				t.Errorf("none was %s", what)
			}
		}
	})
}

// takeOrNot answers the messages of a connection in any way that a next hop may.
func takeOrNot(c net.Conn, taken *atomic.Int64) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		switch status := []int{200, 200, 200, 200, 202, 204, 302, 400, 500, 503, 0, 1, 2, 3}[rand.IntN(14)]; status {
		case 0:
			return
		case 1:
			time.Sleep(150 * time.Millisecond) // too late
			return
		case 2: // to be read by net/http
			taken.Add(1)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
		case 3: // the answer breaks off
			taken.Add(1)
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
			return
		default:
			if status < 300 {
				taken.Add(1)
			}
			fmt.Fprintf(c, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status)
		}
	}
}
