package guard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"quell/internal/access"
	"quell/internal/audit"
	"quell/internal/role"
)

// TestTurns: one client has no more than turnsEach requests under way; the next waits, and is refused
// if none ends. Another client, streams, metrics and probes are not kept waiting by it. Nothing is left
// when all is over.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Guard{Access: &access.Access{Rates: &access.Rates{}}, Record: func(context.Context, ...audit.Record) error { return nil }, Refused: func(audit.Record) {}}
		e := g.Endpoints(WriteError, nil)
		hold := make(chan bool)
		wait := func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		e.Handle("GET /page", role.Viewer, wait)
		e.HandleLong("GET /stream", role.Viewer, wait)
		e.Handle("GET /metrics", role.Viewer, func(http.ResponseWriter, *http.Request) {})
		e.Handle("GET /healthz", role.Anyone, func(http.ResponseWriter, *http.Request) {})
		results := make(chan int, 100)
		ask := func(path, from string) int {
			r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
			r.Host, r.RemoteAddr = "localhost", from
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			return w.Code
		}
		for range turnsEach {
			go func() { results <- ask("/page", "127.0.0.1:1") }()
		}
		for range 2 * turnsEach {
			go func() { results <- ask("/stream", "127.0.0.1:1") }()
		}
		synctest.Wait()
		if len(results) > 0 {
			t.Fatal("a request ended")
		}
		if have := ask("/page", "127.0.0.1:2"); have != http.StatusTooManyRequests {
			t.Errorf("one too many: %d", have)
		}
		for _, path := range []string{"/metrics", "/healthz"} {
			if have := ask(path, "127.0.0.1:1"); have != http.StatusOK {
				t.Errorf("%s: %d", path, have)
			}
		}
		go func() { results <- ask("/page", "127.0.0.2:1") }() // another client
		go func() { results <- ask("/page", "127.0.0.1:1") }() // it waits, and gets the place of one that ends
		synctest.Wait()
		close(hold)
		for range 3*turnsEach + 2 {
			if have := <-results; have != http.StatusOK {
				t.Errorf("%d", have)
			}
		}
		if len(g.turns.of) > 0 {
			t.Errorf("%v is left", g.turns.of)
		}
	})
}
