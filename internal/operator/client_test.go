package operator

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Another program at the console's address is not taken for quell, whatever it answers.
func TestNotQuell(t *testing.T) {
	for _, x := range []struct {
		kind, body string
		status     int
	}{
		{"", "", 200},
		{"text/html", "<html>", 200},
		{"application/json", "{}", 200},
		{"application/json", `{"status":"green","version":""}`, 200},
		{"text/plain", "404 page not found", 404},
		{"application/json", `{"message":"no"}`, 401},
		{"", "", 204},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", x.kind)
			w.WriteHeader(x.status)
			fmt.Fprint(w, x.body)
		}))
		s, err := (&Client{Base: srv.URL}).Status(t.Context())
		if at := strings.TrimPrefix(srv.URL, "http://"); !errors.Is(err, ErrNotQuell) || !strings.HasPrefix(err.Error(), "what answers at "+at+" is no quell console: ") {
			t.Errorf("%+v: %+v, %v", x, s, err)
		}
		srv.Close()
	}
}

// An answer that ends too early is not another program's.
func TestAnswerEndsEarly(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"version":"v`)
	}))
	defer srv.Close()
	if _, err := (&Client{Base: srv.URL}).Status(t.Context()); err == nil || errors.Is(err, ErrNotQuell) || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("%v", err)
	}
}
