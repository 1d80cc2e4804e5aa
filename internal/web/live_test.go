package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"quell/internal/overview"
	"quell/internal/role"
)

// TestLiveText: no text can end a message in its middle, or give orders to the browser.
func TestLiveText(t *testing.T) {
	c, _ := empty(t)
	p := &Web{Console: c}
	n := 0
	w := httptest.NewRecorder()
	p.stream(w, httptest.NewRequest("GET", "/live/now", nil), time.Microsecond, func(context.Context) ([]byte, error) {
		if n++; n > 1 {
			return nil, context.Canceled
		}
		return []byte("<p>a\rretry: 99999999\r\rdata: b\r\nid: 1\n\nc</p>"), nil
	})
	if have, want := w.Body.String(), "retry: 1000\ndata: <p>a\ndata: retry: 99999999\ndata: \ndata: data: b\ndata: id: 1\ndata: \ndata: c</p>\n\n"; have != want {
		t.Errorf("%q, want %q", have, want)
	}
}

// TestLiveEndsWithToken: a stream ends when who follows it has lost the right to.
func TestLiveEndsWithToken(t *testing.T) {
	c, _ := filled(t)
	token := tokenOf(t, c, "desk", role.Viewer)
	srv := httptest.NewServer(c.Guard)
	defer srv.Close()
	r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/live/now", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	list, err := c.Tokens.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tokens.Revoke(t.Context(), list[0].ID, "a", c.Motorway.Now()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var b strings.Builder
	for buf := make([]byte, 1<<16); ; {
		n, err := res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if gone := time.Since(began); gone > 4*overview.Every { // before so many tries that none is made
		t.Errorf("the stream ended after %v", gone)
	}
}
