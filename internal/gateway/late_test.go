package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"quell/internal/outage"
)

// TestSendLateOnce: a message that is sent late arrives once, though the next hop closes the
// connection without an answer, and whatever headers it came with.
func TestSendLateOnce(t *testing.T) {
	w := startedWorldBy(t, func(w *world) { w.slow = true }) // SendLate has its connections
	var arrived atomic.Int64
	next := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.Header.Get("Idempotency-Key") != "" || r.Header.Get("X-Idempotency-Key") != "" {
			arrived.Add(1)
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(next.Close)
	u, _ := url.Parse(next.URL)
	w.gw.SetNextHops(u, u)
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key", "X-IDEMPOTENCY-KEY"} {
		if r := w.mustSend(outage.North, &message{method: "POST", target: "/", host: "quell", body: []byte("so that a connection is kept")}); r.status != 200 {
			t.Fatalf("status %d", r.status)
		}
		r := httptest.NewRequest("POST", "/", nil)
		r.Header = http.Header{name: {"1"}}
		r.ContentLength = 3
		arrived.Store(0)
		res, unsent, err := w.gw.SendLate(r, []byte("abc"))
		if err == nil {
			res.Body.Close()
		}
		if n := arrived.Load(); err == nil || unsent || n != 1 {
			t.Errorf("%s: it arrived %d times, %v, not sent: %t", name, n, err, unsent)
		}
	}
}
