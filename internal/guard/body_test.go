package guard

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/audit"
	"quell/internal/role"
)

// listened is a body as quell's listeners give it: they limit the wait for each byte.
type listened struct {
	io.ReadCloser
	control *http.ResponseController
	wait    time.Duration
}

func (b listened) Read(p []byte) (int, error) {
	b.control.SetReadDeadline(time.Now().Add(b.wait))
	return b.ReadCloser.Read(p)
}

// TestHalfSentForms: who sends a part of a form, and then nothing or a byte now and then, is cut off.
// What takes long once the form is whole is not, and neither are files.
func TestHalfSentForms(t *testing.T) {
	t.Run("alone", func(t *testing.T) { testHalfSentForms(t, false) })
	t.Run("behind a listener", func(t *testing.T) { testHalfSentForms(t, true) })
}

func testHalfSentForms(t *testing.T, listener bool) {
	const limit = 300 * time.Millisecond
	g := &Guard{Access: &access.Access{Now: time.Now, Rates: &access.Rates{}}, bodyTimeout: limit,
		Record: func(context.Context, ...audit.Record) error { return nil }, Refused: func(audit.Record) {}}
	e := g.Endpoints(WriteError, nil)
	read := func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			WriteError(w, r, http.StatusBadRequest, err)
			return
		}
		select { // as long as a change may take
		case <-time.After(2 * limit):
			fmt.Fprint(w, "done")
		case <-r.Context().Done():
		}
	}
	e.Handle("POST /form", role.Viewer, read)
	e.HandleFiles("POST /files", role.Viewer, read)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if listener {
			r.Body = listened{r.Body, http.NewResponseController(w), 2 * limit}
		}
		g.ServeHTTP(w, r)
	}))
	defer s.Close()
	for _, x := range []struct {
		path, first string
		every       time.Duration // a byte more; 0: never
		want        string
	}{
		{"/form", "whole form", 0, "done"},
		{"/form", "a", 0, "timeout"},
		{"/form", "a", limit / 5, "timeout"},
		{"/files", "a", limit / 5, "done"},
	} {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 10\r\n\r\n%s", x.path, x.first)
		if x.every > 0 {
			go func() {
				for range 9 {
					time.Sleep(x.every)
					c.Write([]byte("a"))
				}
			}()
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if answer, err := io.ReadAll(c); !strings.Contains(string(answer), x.want) {
			t.Errorf("%s, %q, a byte each %v: %q %v, want %s", x.path, x.first, x.every, answer, err, x.want)
		}
	}
}
