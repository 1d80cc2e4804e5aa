package operator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
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

// What is wrong with the socket is said of the socket: of its path, and not of a URL that nobody typed.
func TestNoSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "console.sock")
	_, err := (&Client{Socket: socket}).Status(t.Context())
	if want := "no quell answers: " + socket + ": connect: no such file or directory"; !errors.Is(err, ErrNotRunning) || !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	_, err = (&Client{Socket: filepath.Join(socket, "console.sock")}).Status(t.Context())
	if !errors.Is(err, ErrNotRunning) || strings.Contains(err.Error(), "http:") {
		t.Errorf("%v", err)
	}
}

// Who interrupts a command is not told that no quell answers.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	if _, err := (&Client{Base: srv.URL}).Status(ctx); err != context.Canceled {
		t.Errorf("%v", err)
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
