package operator

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"quell/internal/console"
)

// TestTailSilence: a console that hangs, before its answer or in it, is not taken for one that has
// nothing to say. Empty lines say that it is there.
func TestTailSilence(t *testing.T) {
	const silence = 200 * time.Millisecond
	for what, x := range map[string]struct {
		begins bool
		idle   int // empty lines
	}{"at once": {}, "later": {begins: true}, "much later": {begins: true, idle: 10}} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if x.begins {
				fmt.Fprintln(w, `{"begins":true}`)
				http.NewResponseController(w).Flush()
			}
			for range x.idle {
				time.Sleep(silence / 4)
				fmt.Fprintln(w)
				http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		}))
		began := time.Now()
		err := (&Client{Base: srv.URL, tailSilence: silence}).Tail(t.Context(), nil, func(console.TailLine) error { return nil })
		if took := time.Since(began); !errors.Is(err, errSilent) || took < time.Duration(x.idle)*silence/4 || took > 10*time.Second {
			t.Errorf("hangs %s: %v after %v", what, err, took)
		}
		srv.CloseClientConnections()
		srv.Close()
	}
}

// TestStatusSilence: the question with which each command begins does not wait for ever.
func TestStatusSilence(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer srv.Close()
	began := time.Now()
	if _, err := (&Client{Base: srv.URL}).Status(t.Context()); !errors.Is(err, ErrNotRunning) || time.Since(began) > 2*statusWait {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
