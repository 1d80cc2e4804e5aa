package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/windows"
)

const meters = 20

func meterID(n int) outage.DeviceID { return deviceBase["ESME"] + outage.DeviceID(n) }
func hubID(n int) outage.DeviceID   { return deviceBase["HUB"] + outage.DeviceID(n) }

// startedWorld returns a world with tracked meters, each on its own hub.
func startedWorld(t *testing.T) *world {
	t.Helper()
	return startedWorldBy(t, func(*world) {})
}

// startedWorldBy is startedWorld, and calls a function before the start.
func startedWorldBy(t *testing.T, set func(*world)) *world {
	t.Helper()
	w := newWorld(t)
	set(w)
	var inventory, list bytes.Buffer
	inventory.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
	for n := 1; n <= meters; n++ {
		fmt.Fprintf(&inventory, "%s,ESME,SMETS2,Landis+Gyr,E470,%s,\n", meterID(n), hubID(n))
		fmt.Fprintf(&list, "%s\n", meterID(n))
	}
	if err := w.start(inventory.String(), list.String()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) at(now time.Time) { w.clock.Store(&now) }

func activateNow(n int, counter uint64) *message {
	id := outage.RequestID{Originator: deviceBase["USER"], Target: meterID(n), Counter: counter}
	m := &message{method: "POST", target: "/", host: "quell", body: duis.AppendActivateFirmware(nil, id, outage.Order{Kind: outage.OnDemand}, [32]byte{1})}
	m.setHeader("Content-Type", "application/xml")
	return m
}

func alertOf(n int, counter uint64, at time.Time) *message {
	id := outage.RequestID{Originator: hubID(n), Target: deviceBase["USER"], Counter: counter}
	m := &message{method: "POST", target: "/", host: "quell",
		body: duis.AppendPowerOutage(nil, id, at, duis.PowerOutage{CHF: hubID(n), Start: at, MPxN: mpanOf("12", uint64(n))})}
	m.setHeader("Content-Type", "application/xml")
	return m
}

func (w *world) mustSend(d outage.Direction, m *message) response {
	w.Helper()
	r, err := w.send(d, m)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) activation(n int) outage.Activation {
	w.Helper()
	list, err := w.store.Windows.Activations(w.Context(), windows.Filter{ESME: meterID(n)}, 10)
	if err != nil || len(list) != 1 {
		w.Fatalf("activations of meter %d: %v, %v", n, list, err)
	}
	return list[0]
}

func TestTimeout(t *testing.T) {
	w := startedWorldWith(t, Limits{AnswerStart: impatient})
	w.hops[outage.South].set(answer{hold: true}, false)
	w.hops[outage.North].set(answer{hold: true}, false)
	for d, m := range map[outage.Direction]*message{outage.South: activateNow(1, 1), outage.North: alertOf(2, 1, w.now())} {
		r := w.mustSend(d, m)
		if want := "quell: the next hop (" + string(d) + ") could not be reached, send the message again"; r.status != 504 || !bytes.HasPrefix(r.body, []byte(want)) {
			t.Errorf("%s: status %d, %q; want 504, %q", d, r.status, r.body, want)
		}
	}
	if a := w.activation(1); a.State != outage.Uncertain || a.Standing {
		t.Errorf("after the time-out: %+v", a)
	}
}

// TestStreaming sends large bodies. After the first part, the sender waits until that
// has reached the other side.
func TestStreaming(t *testing.T) {
	const size, first = 12 << 20, 256 << 10
	w := startedWorld(t)
	reached := make(chan struct{}, 1)
	next := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, err := io.CopyN(io.Discard, r.Body, 1); err == nil && r.ContentLength != 0 {
			reached <- struct{}{}
		}
		io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		if r.Header.Get("Announce") != "" {
			rw.Header().Set("Content-Length", fmt.Sprint(size))
		}
		body := io.LimitReader(&pattern{}, size)
		io.CopyN(rw, body, first)
		<-reached // the sender has started to read
		io.Copy(rw, body)
	}))
	t.Cleanup(next.Close)
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	for _, d := range []outage.Direction{outage.South, outage.North} {
		for _, kind := range []string{"application/xml", "application/octet-stream"} {
			for _, announced := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s announced=%t", d, kind, announced), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					r, out := io.Pipe()
					go func() {
						body := io.LimitReader(&pattern{}, size)
						io.CopyN(out, body, first)
						select {
						case <-reached:
						case <-ctx.Done():
							out.CloseWithError(ctx.Err())
						}
						io.Copy(out, body)
						out.Close()
					}()
					req, err := http.NewRequestWithContext(ctx, "POST", w.front[d].URL, r)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", kind)
					if announced {
						req.ContentLength = size
						req.Header.Set("Announce", "too")
					}
					res, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
					if _, err := io.CopyN(io.Discard, res.Body, 1); err != nil {
						t.Fatal(err)
					}
					reached <- struct{}{}
					if n, err := io.Copy(io.Discard, res.Body); err != nil || n != size-1 {
						t.Errorf("%d bytes and one came back: %v", n, err)
					}
				})
			}
		}
	}
}

// TestEarlyAnswer: the next hop answers while the sender is still sending. The sender
// continues only when the answer has started.
func TestEarlyAnswer(t *testing.T) {
	const size, first = 4 << 20, 128 << 10
	w := startedWorld(t)
	next := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.NewResponseController(rw).EnableFullDuplex()
		io.CopyN(rw, r.Body, first)
		http.NewResponseController(rw).Flush()
		io.Copy(rw, r.Body)
	}))
	t.Cleanup(next.Close)
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	for _, d := range []outage.Direction{outage.South, outage.North} {
		for _, kind := range []string{"application/xml", "application/octet-stream"} {
			for _, length := range []int64{-1, size} {
				t.Run(fmt.Sprintf("%s %s length=%d", d, kind, length), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					sent, want := io.LimitReader(&pattern{}, size), io.LimitReader(&pattern{}, size)
					r, out := io.Pipe()
					goOn := make(chan struct{})
					go func() {
						io.CopyN(out, sent, 2*first)
						select {
						case <-goOn:
						case <-ctx.Done():
							out.CloseWithError(ctx.Err())
						}
						io.Copy(out, sent)
						out.Close()
					}()
					req, err := http.NewRequestWithContext(ctx, "POST", w.front[d].URL, r)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", kind)
					req.ContentLength = length
					res, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
					head, err := io.ReadAll(io.LimitReader(res.Body, first))
					if err != nil {
						t.Fatal(err)
					}
					close(goOn)
					rest, err := io.ReadAll(res.Body)
					if err != nil {
						t.Fatal(err)
					}
					whole, _ := io.ReadAll(want)
					if !bytes.Equal(append(head, rest...), whole) {
						t.Errorf("%d bytes came back, not those that were sent", len(head)+len(rest))
					}
				})
			}
		}
	}
}

// TestManyAtOnce sends alerts in parallel, each twice at the same time. Each is either
// forwarded or suppressed, and both copies of an alert get the same decision.
func TestManyAtOnce(t *testing.T) {
	const alerts = 200
	w := startedWorld(t)
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	w.at(now)
	for n := 1; n <= meters; n += 2 { // every other hub has a window
		w.mustSend(outage.South, activateNow(n, 1))
	}
	w.at(now.Add(5 * time.Minute))
	decisions := [alerts][2]string{}
	var wg sync.WaitGroup
	for i := range decisions {
		for j := range decisions[i] {
			wg.Go(func() {
				r, err := w.send(outage.North, alertOf(i%meters+1, uint64(i+1), now))
				if err != nil || r.status != 200 {
					t.Errorf("alert %d: status %d, %v", i, r.status, err)
				}
				decisions[i][j] = r.header.Get(DecisionHeader)
			})
		}
	}
	wg.Wait()

	delivered := map[string]int{}
	for _, a := range w.hops[outage.North].seen(0) {
		delivered[a.message.AlertID()]++
	}
	entries, err := w.store.Ledger.EntriesAfter(t.Context(), 0, 2*alerts)
	if err != nil {
		t.Fatal(err)
	}
	logged := map[string]bool{}
	for i, e := range entries {
		if e.Seq != int64(i+1) || e.Outcome != outage.Suppressed {
			t.Errorf("entry %d: %+v", i, e)
		}
		logged[e.AlertID] = true
	}
	if len(entries) != alerts/2 || len(delivered) != alerts/2 {
		t.Errorf("%d logged, %d delivered, of %d", len(entries), len(delivered), alerts)
	}
	for i, d := range decisions {
		id := outage.RequestID{Originator: hubID(i%meters + 1), Target: deviceBase["USER"], Counter: uint64(i + 1)}.String()
		want, times := "forwarded", 2
		if i%meters%2 == 0 {
			want, times = "suppressed", 0
		}
		if d != [2]string{want, want} || delivered[id] != times || logged[id] != (times == 0) {
			t.Errorf("alert %d: decisions %q, delivered %d times, logged %t", i, d, delivered[id], logged[id])
		}
	}
}

// TestSenderHangsUp: the sender of an 11.3 hangs up before the next hop answers. The
// next hop has the request, so its answer counts.
func TestSenderHangsUp(t *testing.T) {
	for _, c := range []struct {
		name string
		answer
		want outage.State
	}{
		{"accepted", answer{status: 200, code: "I99"}, outage.Accepted},
		{"refused", answer{status: 200, code: "E4"}, outage.Withdrawn},
		{"in doubt", answer{hangUp: "before"}, outage.Uncertain},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := startedWorld(t)
			gone := make(chan struct{})
			ended := make(chan struct{})
			inner := w.gw.Southbound()
			front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				go func() { <-r.Context().Done(); close(gone) }()
				defer close(ended)
				inner.ServeHTTP(rw, r)
			}))
			t.Cleanup(front.Close)
			hop := w.hops[outage.South]
			hop.set(answer{hold: true}, false)
			conn, err := net.Dial("tcp", front.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if err := activateNow(1, 1).write(conn); err != nil {
				t.Fatal(err)
			}
			w.eventually("the request reached the next hop", func() bool { return len(hop.seen(0)) == 1 })
			if a := w.activation(1); a.State != outage.Unanswered || !a.Standing {
				t.Errorf("before the answer: %+v", a)
			}
			conn.Close()
			<-gone
			hop.seen(0)[0].release <- c.answer
			<-ended
			if a := w.activation(1); a.State != c.want {
				t.Errorf("state %s, want %s", a.State, c.want)
			}
		})
	}
}

func TestOwnHeadersOfTheNextHop(t *testing.T) {
	w := startedWorld(t)
	next := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header()["Quell-Decision"] = []string{"suppressed", "shadow"}
		rw.Header()["quell-reason"] = []string{"window-open"}
	}))
	t.Cleanup(next.Close)
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	r := w.mustSend(outage.North, alertOf(1, 1, w.now()))
	if got := fmt.Sprint(r.header[DecisionHeader], r.header[ReasonHeader]); got != "[forwarded] [no-window]" {
		t.Errorf("northbound: %s", got)
	}
	// Southbound, quell adds and changes nothing.
	r = w.mustSend(outage.South, activateNow(1, 1))
	if got := fmt.Sprint(r.header[DecisionHeader], r.header[ReasonHeader]); got != "[suppressed shadow] [window-open]" {
		t.Errorf("southbound: %s", got)
	}
}

// TestOwnHeadersSouthbound: also by the fast path, quell takes nothing from a southbound answer.
func TestOwnHeadersSouthbound(t *testing.T) {
	bothWays(t, func(t *testing.T, slow bool) {
		w := startedWorldBy(t, func(w *world) { w.slow = slow })
		next := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Quell-Decision", "suppressed")
			rw.Header().Set("Quell-Reason", "window-open")
		}))
		t.Cleanup(next.Close)
		u, _ := url.Parse(next.URL)
		w.gw.SetNextHops(u, u)
		for range 2 {
			r := w.mustSend(outage.South, xmlPost("<a/>"))
			if r.header.Get(DecisionHeader) != "suppressed" || r.header.Get(ReasonHeader) != "window-open" {
				t.Errorf("got %v", r.header)
			}
		}
	})
}

// TestNextHopWithPath: the path of a next hop's URL comes before the path of each
// message.
func TestNextHopWithPath(t *testing.T) {
	w := startedWorld(t)
	for base, want := range map[string]string{"": "/a%2Fb//c?x=;", "/": "/a%2Fb//c?x=;", "/in%2Fner": "/in%2Fner/a%2Fb//c?x=;", "/inner/": "/inner/a%2Fb//c?x=;"} {
		hop := w.hops[outage.North]
		u, err := url.Parse(hop.live.String() + base)
		if err != nil {
			t.Fatal(err)
		}
		w.gw.SetNextHops(u, u)
		before := len(hop.seen(0))
		w.mustSend(outage.North, &message{method: "GET", target: "/a%2Fb//c?x=;", host: "quell"})
		if got := hop.seen(before)[0].target; got != want {
			t.Errorf("next hop %q: %s, want %s", base, got, want)
		}
	}
}

// A message is read whatever parameters its media type has. A cancellation that is not
// read would close nothing.
func TestIsXML(t *testing.T) {
	for _, c := range []struct {
		kind, encoding string
		want           bool
	}{
		{"application/xml", "identity", true}, {"application/xml; charset", "", true}, {"text/xml; charset=utf-8; charset=utf-8", "", true},
		{"Application/SOAP+XML; action=http://x/y", "", true}, {`text/xml; charset="utf-8`, "", true}, {"", "", true},
		{"application/xml", "gzip", false}, {"text/plain", "", false}, {"application/xmlish", "", false},
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Content-Type", c.kind)
		if c.encoding != "" {
			r.Header.Set("Content-Encoding", c.encoding)
		}
		if isXML(r) != c.want {
			t.Errorf("%+v", c)
		}
	}
}
