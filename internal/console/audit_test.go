package console

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/role"
)

// records returns the audit log, each record as a line.
func records(t *testing.T, c *Console) (list []string) {
	t.Helper()
	p, err := c.Audit.Page(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Records {
		list = append(list, fmt.Sprintf("%s|%s|%s|%s|%s|%s|%s|%d|%s", r.Who, r.Role, r.From, r.What, r.Object, r.Outcome, r.Why, r.Count, r.Detail))
	}
	return list
}

// What is changed, looked up or refused is in the audit log once, with who and from where.
func TestAudited(t *testing.T) {
	c, _ := newConsole(t)
	if err := c.Ledger.FirstSwitch(t.Context(), outage.SwitchOn, "quell", "first", t0); err != nil {
		t.Fatal(err)
	}
	token := tokenOf(t, c, "duty", role.Operator)
	h := c.Handler()
	request := func(status int, from, token, method, path, body string, change ...func(*http.Request)) {
		t.Helper()
		if w := ask(h, from, token, method, path, body, change...); w.Code != status {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	recorded := func() {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if _, waiting := c.Audit.RefusedCount(); waiting == 0 {
				return
			}
		}
		t.Fatal("a refusal is never recorded")
	}
	const there = "192.0.2.1:9"
	request(200, "socket, uid 0", "", "POST", "/api/v1/tokens", `{"name":"spare","role":"viewer"}`)
	request(200, there, token, "GET", "/api/v1/status", "")
	request(200, there, token, "GET", "/api/v1/explain?id=1200023305967", "")
	request(400, there, token, "GET", "/api/v1/explain?id=x", "") // nothing was shown
	request(200, there, token, "GET", "/api/v1/suppressions", "") // there are none
	request(200, "socket, uid 0", "", "PUT", "/api/v1/switch", `{"switch":"shadow","why":"CHG1"}`)
	request(400, there, token, "PUT", "/api/v1/switch", `{"switch":"sideways","why":"CHG2"}`)
	recorded()
	request(401, "192.0.2.2:9", "", "GET", "/api/v1/status", "")
	recorded()
	request(403, there, token, "DELETE", "/api/v1/tokens/x", "")
	recorded()
	request(404, there, token, "POST", "/api/v1/windows/close", `{"all":false,"target":"`+hub.String()+`","why":"CHG3"}`)
	recorded()
	request(403, there, token, "PUT", "/api/v1/switch", `{}`, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	want := []string{
		"quell||quell|switch|on|done|first|1|",
		"token:duty|operator|192.0.2.1|look-up|1200023305967|done||1|",
		"root|admin|socket|switch|shadow|done|CHG1|1|on",
		"token:duty|operator|192.0.2.1|switch|switch|refused||1|needs switch (on, shadow or off) and why",
		"||192.0.2.2|request|GET status|refused||1|this needs credentials with the role viewer",
		"token:duty|operator|192.0.2.1|token|tokens/x|refused||1|this needs the role admin; token:duty has the role operator",
		"token:duty|operator|192.0.2.1|windows|windows/close|refused||1|no window of " + hub.String() + " is open or pending: nothing was closed",
	}
	var have []string
	for _, r := range records(t, c) {
		if strings.Split(r, "|")[2] == "" {
			t.Errorf("a record does not say where it comes from: %s", r)
		}
		if !strings.Contains(r, "|token|") || strings.Contains(r, "|refused|") { // the one that was made above
			have = append(have, r)
		}
	}
	if strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("have\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	// The second refusal of a change of the switch waits for its minute.
	if total, waiting := c.Audit.RefusedCount(); total != 5 || waiting != 1 {
		t.Errorf("%d refused, %d of them not recorded yet", total, waiting)
	}
}

// An answer with MPxNs that cannot be recorded is not sent. Others are.
func TestLookUpNotRecorded(t *testing.T) {
	c, _ := newConsole(t)
	h := c.Handler()
	c.DB.Stop() // takes no changes any more, and still reads
	for path, status := range map[string]int{"/api/v1/explain?id=1200023305967": 503, "/api/v1/windows": 200, "/api/v1/audit": 200} {
		if w := ask(h, "socket, uid 0", "", "GET", path, ""); w.Code != status || (status == 503) != strings.Contains(w.Body.String(), "withheld") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
