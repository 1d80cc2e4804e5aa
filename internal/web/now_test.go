package web

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/events"
	"quell/internal/flow"
	"quell/internal/outage"
	"quell/internal/overview"
	"quell/internal/sqldb"
	"quell/internal/store/storetest"

	"golang.org/x/net/html"
)

// section returns the text of a part of Now.
func section(t *testing.T, page, name string) string {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		for _, a := range n.Attr {
			if a.Key == "data-part" && a.Val == name {
				var b strings.Builder
				if err := html.Render(&b, n); err != nil {
					t.Fatal(err)
				}
				return plain(b.String())
			}
		}
	}
	t.Fatalf("no part %s", name)
	return ""
}

// TestNow: the page says of each thing what is so, on an empty system and after some traffic.
func TestNow(t *testing.T) {
	none, _ := empty(t)
	page := ask(none, here, "", "GET", "/", nil).Body.String()
	for part, says := range map[string]string{
		"switch": "unknown It is not known yet, so everything goes forward.", "windows": "open 0 pending 0", "alerts": "Received 0 0",
		"wrong": "There is no device list: nothing is tracked. Import a device list", "suspects": "No suppressed alert of the last 24 hours", "chart": "Suppressed none",
		"remotes": "No report was cut yet.", "nodes": "This node alone uses the database", "store": "SQLite",
	} {
		have := section(t, page, part)
		if !strings.Contains(have, says) {
			t.Errorf("empty, %s: %q, want %q", part, have, says)
		}
	}

	c, _ := filled(t)
	now := c.Motorway.Now()
	for i, end := range []flow.End{flow.Suppressed, flow.Suppressed, flow.Forwarded, flow.Failed} {
		c.Flow.Received(now.Add(-time.Duration(i)*50*time.Minute), supplyPoint).End(end)
	}
	if err := c.Flow.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, at := range []time.Duration{time.Hour, time.Hour, 2 * time.Hour} {
		record(t, c, uint64(10+i), outage.Order{Kind: outage.FutureDated, At: now.Add(at)})
	}
	c.Motorway.Metrics.FailOpen.WithLabelValues("store").Add(3)
	c.Motorway.Metrics.NextHopUp.WithLabelValues("southbound").Set(0)
	page = ask(c, here, "", "GET", "/", nil).Body.String()
	for part, says := range map[string]string{
		"switch": "on AD1s of hubs with an open window are suppressed. Changed 2026-03-01 10:00:00 UTC By quell Reason first value", "wrong": "nothing Nothing is known to be wrong.",
		"windows": "Next to begin 2026-03-01 12:01:00 UTC: 1 window", "alerts": "Suppressed 2 2 Forwarded 0 1", "suspects": "No suppressed alert", "chart": "Suppressed 2 in all, at most 1, in the 15 minutes from 09:00",
		"hops": "does not answer southbound Forwarded because something failed store: 3 messages", "remotes": "Report 1 is the last, cut 2026-03-01 10:01:00 UTC.", "store": "1 meter, 2026-03-01",
	} {
		if have := section(t, page, part); !strings.Contains(have, says) {
			t.Errorf("%s: %q, want %q", part, have, says)
		}
	}
	// As when this node was turned off while the store did not answer: the store has another position.
	if _, err := sqldb.Write(t.Context(), c.DB, sqldb.Retry, func(ctx context.Context, tx sqldb.Tx) (any, error) {
		return nil, events.Insert(ctx, tx, events.Event{At: now, Who: "alice", What: "switch", Old: "on", New: "shadow", Why: "a test"})
	}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(overview.Every)
	if have := section(t, ask(c, here, "", "GET", "/", nil).Body.String(), "switch"); !strings.Contains(have, "on AD1s of hubs with an open window are suppressed. That is so on this node only. The store has shadow: Changed") {
		t.Errorf("another position in the store: %q", have)
	}
	c.DB.Close()
	time.Sleep(overview.Every)
	w := ask(c, here, "", "GET", "/", nil)
	checked(t, "Now without a store", w)
	if have := section(t, w.Body.String(), "wrong"); w.Code != 200 || !strings.Contains(have, "Not shown, since it cannot be read now: ") || !strings.Contains(have, "The store cannot be read") {
		t.Errorf("without a store: %d %q", w.Code, have)
	}
	// What cannot be read is not none, and not 0.
	for _, part := range []string{"windows", "alerts", "suspects", "chart", "remotes"} {
		have := section(t, w.Body.String(), part)
		if !strings.Contains(have, "cannot be read now") || strings.Contains(have, " 0") || strings.Contains(have, "No ") {
			t.Errorf("without a store, %s: %q", part, have)
		}
	}
	if have := section(t, w.Body.String(), "store"); strings.Contains(have, "none") || strings.Count(have, "not known") != 2 {
		t.Errorf("without a store, the lists: %q", have)
	}
}

// TestNowNextQuarter: when a quarter of an hour begins, its windows are drawn at once, not a minute later.
func TestNowNextQuarter(t *testing.T) {
	c, _ := filled(t) // one window is open from 10:00 to 11:00
	bar := func(at string) bool {
		t.Helper()
		return strings.Contains(ask(c, here, "", "GET", "/", nil).Body.String(), "<title>"+at+": 1</title></rect>\n<line") // the last bar of a strip
	}
	if !bar("10:00") {
		t.Error("the present quarter has no window")
	}
	later := c.Motorway.Now().Add(15 * time.Minute)
	c.Motorway.Now = func() time.Time { return later }
	storetest.Eventually(t, "the next quarter has its window", func() bool { time.Sleep(overview.Every); return bar("10:15") })
}

// record records a request for the meter. The last one of a meter is in force.
func record(t *testing.T, c *console.Console, counter uint64, order outage.Order) {
	t.Helper()
	request := outage.Request{ID: outage.RequestID{Originator: hub, Target: meter, Counter: counter}, Form: outage.ServiceRequest, Order: order, Received: c.Motorway.Now()}
	c.Ledger.Record(t.Context(), request.Activation(hub, time.Hour))
}

// follow opens the stream of Now, and returns the lines that it sends.
func follow(t *testing.T, url string) (lines *bufio.Scanner, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", url+"/live/now", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	stop = func() { cancel(); res.Body.Close() }
	t.Cleanup(stop)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		text, _ := io.ReadAll(res.Body)
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	return bufio.NewScanner(res.Body), stop
}

// until reads lines until one has the text.
func until(t *testing.T, lines *bufio.Scanner, text string) {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			return
		}
	}
	t.Fatalf("the stream ends before it says %q: %v", text, lines.Err())
}

// TestLive: the stream sends what Now shows, and again when that has changed; it ends when quell
// stops, and there are no more of them than the limit.
func TestLive(t *testing.T) {
	c, _ := filled(t)
	srv := httptest.NewServer(c.Guard)
	t.Cleanup(srv.Close)
	lines, stop := follow(t, srv.URL)
	until(t, lines, `data: <section class="card" data-part="switch">`)
	until(t, lines, `<span class="badge large good">on</span>`)
	if _, err := c.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "a", "CHG1", c.Motorway.Now()); err != nil {
		t.Fatal(err)
	}
	until(t, lines, `<span class="badge large warn">shadow</span>`)
	until(t, lines, "CHG1")
	stop()

	var stops []func()
	for range maxStreams {
		_, stop := follow(t, srv.URL)
		stops = append(stops, stop)
	}
	if w := ask(c, root, "", "GET", "/live/now", nil); w.Code != 503 || !strings.Contains(text(w), "Too many pages") {
		t.Errorf("one too many: %d %s", w.Code, text(w))
	}
	stops[0]()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if res, err := http.Get(srv.URL + "/live/now"); err == nil && res.StatusCode == 200 {
			res.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a stream that has ended takes a place for ever")
		}
	}
	for _, stop := range stops[1:] {
		stop()
	}
	lines, _ = follow(t, srv.URL)
	until(t, lines, "data-part")
	c.Drain()
	ended := make(chan bool)
	go func() {
		for lines.Scan() {
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		t.Error("the stream goes on while quell stops")
	}
}

// TestNowOnce: what Now shows is read once for all who look at it.
func TestNowOnce(t *testing.T) {
	c, _ := filled(t)
	var page string
	for i := range 20 {
		have := ask(c, here, "", "GET", "/", nil).Body.String()
		if i == 0 {
			page = have
			record(t, c, 99, outage.Order{Kind: outage.FutureDated, At: c.Motorway.Now().Add(time.Hour)}) // would show if it were read again
		} else if have != page {
			t.Fatalf("request %d reads it again", i)
		}
	}
}
