package console

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"quell/internal/role"
	"quell/internal/tail"
)

// TestTailEndsWithToken: who has lost their token sees no more decisions.
func TestTailEndsWithToken(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	t.Parallel()
	c, srv := newConsole(t)
	c.Motorway.Tail = &tail.Tail{}
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/tail", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tokenOf(t, c, "desk", role.Analyst))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewScanner(res.Body)
	if !in.Scan() || !strings.Contains(in.Text(), "begins") {
		t.Fatal(in.Text(), in.Err())
	}
	list, err := c.Tokens.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tokens.Revoke(t.Context(), list[0].ID, "a", c.Motorway.Now()); err != nil {
		t.Fatal(err)
	}
	began, last := time.Now(), ""
	time.AfterFunc(2*TailIdle, func() { res.Body.Close() })
	for in.Scan() {
		last = in.Text()
	}
	if !strings.Contains(last, "not valid any more") {
		t.Errorf("after %v: %q %v", time.Since(began), last, in.Err())
	}
}
