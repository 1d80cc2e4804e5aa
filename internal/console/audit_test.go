package console

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"quell/internal/audit"
	"quell/internal/outage"
)

// records returns the audit log, each record as a line.
func records(t *testing.T, c *Console) (list []string) {
	t.Helper()
	p, err := c.Audit.Page(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Records {
		list = append(list, fmt.Sprintf("%s|%s|%s|%s|%s|%s|%d|%s", r.Who, r.From, r.What, r.Object, r.Outcome, r.Why, r.Count, r.Detail))
	}
	return list
}

// What is changed, looked up or refused is in the audit log once, with who and from where.
func TestAudited(t *testing.T) {
	c, srv := newConsole(t)
	if err := c.Ledger.FirstSwitch(t.Context(), outage.SwitchOn, "quell", "first", t0); err != nil {
		t.Fatal(err)
	}
	ask := func(status int, method, path, body string, header ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if len(header) > 0 {
			req.Header.Set(header[0], header[1])
		}
		if len(header) > 0 && header[0] == "Host" {
			req.Host = header[1]
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%s %s: %s", method, path, res.Status)
		}
	}
	ask(200, "GET", "/api/v1/status", "")
	ask(200, "GET", "/api/v1/explain?id=1200023305967", "")
	ask(400, "GET", "/api/v1/explain?id=x", "") // nothing was shown
	ask(200, "GET", "/api/v1/suppressions", "")
	ask(200, "PUT", "/api/v1/switch", `{"switch":"shadow","who":"alice","why":"CHG1"}`)
	ask(400, "PUT", "/api/v1/switch", `{"switch":"sideways","who":"alice","why":"CHG2"}`)
	ask(403, "PUT", "/api/v1/switch", `{}`, "Sec-Fetch-Site", "cross-site")
	ask(403, "GET", "/api/v1/status", "", "Host", "evil.example")
	ask(404, "POST", "/api/v1/windows/close", `{"all":false,"target":"`+hub.String()+`","who":"alice","why":"CHG3"}`)
	want := []string{
		"quell|quell|switch|on|done|first|1|",
		"|127.0.0.1|look-up|explain?id=1200023305967|done||1|",
		"|127.0.0.1|look-up|suppressions|done||1|",
		"alice|127.0.0.1|switch|shadow|done|CHG1|1|on",
		"|127.0.0.1|switch|switch|refused||1|needs switch (on, shadow or off), who and why",
		`|127.0.0.1|request|GET status|refused||1|the console does not answer under the name "evil.example"`,
		"|127.0.0.1|windows|windows/close|refused||1|no window of " + hub.String() + " is open or pending: nothing was closed",
	}
	for deadline := time.Now().Add(20 * time.Second); len(records(t, c)) < len(want) && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
	if have := records(t, c); strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	// The second refusal of a change of the switch waits for its minute.
	if total, waiting := c.Audit.RefusedCount(); total != 4 || waiting != 1 {
		t.Errorf("%d refused, %d of them not recorded yet", total, waiting)
	}
	if _, err := audit.Verify(t.Context(), (&Client{Base: srv.URL}).Audit, audit.Head{}); err != nil {
		t.Error(err)
	}
}

// An answer with MPxNs that cannot be recorded is not sent. Others are.
func TestLookUpNotRecorded(t *testing.T) {
	c, srv := newConsole(t)
	c.DB.Stop() // takes no changes any more, and still reads
	for path, status := range map[string]int{"/api/v1/explain?id=1200023305967": 503, "/api/v1/suppressions": 503, "/api/v1/windows": 200, "/api/v1/audit": 200} {
		res, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		var b [200]byte
		n, _ := res.Body.Read(b[:])
		res.Body.Close()
		if res.StatusCode != status || (status == 503) != strings.Contains(string(b[:n]), "withheld") {
			t.Errorf("%s: %s %s", path, res.Status, b[:n])
		}
	}
}

// A request through a Unix socket has the origin "socket"; who calls is what Identify said.
func TestOrigin(t *testing.T) {
	c, _ := newConsole(t)
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	h := c.Handler()
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	srv.Start()
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", l.Addr().String()) }}}
	res, err := client.Get("http://localhost/api/v1/suppressions")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if have := records(t, c); len(have) != 1 || have[0] != "|socket|look-up|suppressions|done||1|" {
		t.Errorf("%q", have)
	}
}
