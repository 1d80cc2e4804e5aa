package console

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/access"
	auditlog "quell/internal/audit"
	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/role"
)

const supplyPoint = "1200023305967"

// asked is a request that a route answers with a status below 300, if it is allowed.
type asked struct {
	path, body string // body "FORM…" is a file in a form
}

// examples has a request for each route.
func examples() map[string]asked {
	const head = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	row := meter.String() + ",ESME,SMETS2,Landis+Gyr,E470," + hub.String() + "," + supplyPoint + "\n"
	return map[string]asked{
		"GET /healthz":                   {path: "/healthz"},
		"GET /readyz":                    {path: "/readyz"},
		"GET /metrics":                   {path: "/metrics"},
		"GET /api/v1/status":             {path: "/api/v1/status"},
		"POST /api/v1/login-links":       {path: "/api/v1/login-links"},
		"GET /api/v1/suppressions":       {path: "/api/v1/suppressions"},
		"GET /api/v1/activations":        {path: "/api/v1/activations?chf=" + hub.String()},
		"GET /api/v1/explain":            {path: "/api/v1/explain?id=" + meter.String()},
		"GET /api/v1/events":             {path: "/api/v1/events"},
		"PUT /api/v1/switch":             {path: "/api/v1/switch", body: `{"switch":"on","why":"a test"}`},
		"POST /api/v1/inventory":         {path: "/api/v1/inventory", body: "FORM" + head + row},
		"POST /api/v1/devices":           {path: "/api/v1/devices", body: "FORM" + meter.String()},
		"GET /api/v1/devices":            {path: "/api/v1/devices"},
		"GET /api/v1/devices/{id}":       {path: "/api/v1/devices/" + meter.String()},
		"GET /api/v1/windows":            {path: "/api/v1/windows"},
		"GET /api/v1/flow":               {path: "/api/v1/flow"},
		"GET /api/v1/tail":               {path: "/api/v1/tail"},
		"POST /api/v1/windows/close":     {path: "/api/v1/windows/close", body: `{"all":true,"why":"a test"}`},
		"GET /api/v1/releases":           {path: "/api/v1/releases?entry=1"},
		"POST /api/v1/releases":          {path: "/api/v1/releases", body: `{"entry":"SEQ","why":"a test"}`},
		"GET /api/v1/advice/list":        {path: "/api/v1/advice/list"},
		"GET /api/v1/advice/window":      {path: "/api/v1/advice/window"},
		"GET /api/v1/advice/forecast":    {path: "/api/v1/advice/forecast"},
		"GET /api/v1/advice/supply":      {path: "/api/v1/advice/supply"},
		"GET /api/v1/reports":            {path: "/api/v1/reports"},
		"POST /api/v1/reports":           {path: "/api/v1/reports"},
		"GET /api/v1/reports/chain":      {path: "/api/v1/reports/chain"},
		"GET /api/v1/remotes":            {path: "/api/v1/remotes"},
		"GET /api/v1/reports/{no}":       {path: "/api/v1/reports/1"},
		"GET /api/v1/reports/{no}/file":  {path: "/api/v1/reports/1/file"},
		"POST /api/v1/reports/{no}/send": {path: "/api/v1/reports/1/send"},
		"POST /api/v1/reports/resume":    {path: "/api/v1/reports/resume", body: `{"from":9,"why":"a test"}`},
		"GET /api/v1/export":             {path: "/api/v1/export?format=csv"},
		"GET /api/v1/openapi.json":       {path: "/api/v1/openapi.json"},
		"GET /api/v1/log":                {path: "/api/v1/log?outcome=suppressed"},
		"GET /api/v1/log/export":         {path: "/api/v1/log/export?hub=" + hub.String()},
		"GET /api/v1/suspects":           {path: "/api/v1/suspects"},
		"GET /api/v1/calendar":           {path: "/api/v1/calendar"},
		"GET /api/v1/windows/gantt":      {path: "/api/v1/windows/gantt?hub=" + hub.String()},
		"GET /api/v1/windows/raised":     {path: "/api/v1/windows/raised"},
		"GET /api/v1/chart":              {path: "/api/v1/chart"},
		"GET /api/v1/settings":           {path: "/api/v1/settings"},
		"GET /api/v1/switch":             {path: "/api/v1/switch"},
		"GET /api/v1/imports":            {path: "/api/v1/imports"},
		"GET /api/v1/preview/window":     {path: "/api/v1/preview/window?to=20m"},
		"POST /api/v1/preview/list":      {path: "/api/v1/preview/list", body: "FORM" + meter.String()},
		"GET /api/v1/audit":              {path: "/api/v1/audit"},
		"GET /api/v1/tokens":             {path: "/api/v1/tokens"},
		"POST /api/v1/tokens":            {path: "/api/v1/tokens", body: `{"name":"NEXT","role":"viewer"}`},
		"DELETE /api/v1/tokens/{id}":     {path: "/api/v1/tokens/SPARE"},
	}
}

// What the tests find in the audit log.
const (
	done    = auditlog.Done
	refused = auditlog.Refused
)

// audited collects what goes to the audit log.
type audited struct {
	mu   sync.Mutex
	list []auditlog.Record
	err  error
}

func (a *audited) record(_ context.Context, x ...auditlog.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, x...)
	return a.err
}

func (a *audited) refused(x auditlog.Record) {
	x.Outcome = refused
	a.record(context.Background(), x)
}

// take returns what was recorded since it was called last.
func (a *audited) take() []auditlog.Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.list
	a.list = nil
	return list
}

// filled returns a console that has something of everything, with an entry at a supply point.
func filled(t *testing.T) (*Console, http.Handler, *audited) {
	c, srv := newConsole(t)
	srv.Close()
	a := &audited{}
	c.Guard.Record, c.Guard.Refused = a.record, a.refused
	file := filepath.Join(t.TempDir(), "report.csv")
	if err := os.WriteFile(file, []byte("E,"+supplyPoint+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Reporting = Reporting{
		Cut:    func(context.Context) (report.Report, error) { return report.Report{No: 1}, nil },
		Send:   func(context.Context, int64, string) error { return nil },
		Resume: func(context.Context, int64, string, string) error { return nil },
		Open:   func(context.Context, int64, string) (*os.File, error) { return os.Open(file) },
		Status: func(context.Context) (report.Status, error) {
			waiting := report.Waiting{Remote: "a", Files: 1, Oldest: t0, Report: 1}
			return report.Status{Remotes: []report.RemoteStatus{{Waiting: waiting, Stream: "12", NextTry: t0, Tries: 1, Error: "b"}, {Waiting: report.Waiting{Remote: "c"}}}, Unknown: 2, File: "d", Place: "e"}, nil
		},
		Chain: func(ctx context.Context, before int64, limit int) (chain []report.Linked, err error) {
			list, err := c.Reports.List(ctx, before, limit)
			for _, r := range list {
				chain = append(chain, report.Linked{Report: r, Link: report.LinkUnchecked, Why: "a test"})
			}
			return chain, err
		},
		Export: func(string) (string, func(context.Context, io.Writer, time.Time, time.Time) error, error) {
			return "text/csv", func(_ context.Context, w io.Writer, _, _ time.Time) error {
				_, err := io.WriteString(w, supplyPoint+"\n")
				return err
			}, nil
		},
	}
	ctx := t.Context()
	if _, err := c.Devices.ImportList(ctx, "a", t0, devices.File{Name: "list", Reader: strings.NewReader(meter.String())}); err != nil {
		t.Fatal(err)
	}
	given := false
	inventory := strings.TrimPrefix(examples()["POST /api/v1/inventory"].body, "FORM")
	if _, err := c.Devices.ImportInventory(ctx, "a", t0, func() (devices.File, error) {
		if given {
			return devices.File{}, io.EOF
		}
		given = true
		return devices.File{Name: "inventory", Reader: strings.NewReader(inventory)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	openWindow(t, c, 1)
	if _, err := c.Ledger.Decide(ctx, outage.Alert{ID: "a", Code: "AD1", CHF: hub, MPxN: supplyPoint, OutageStart: t0, Received: t0}, outage.Suppressed, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reports.Cut(ctx, report.CutOptions{Cause: report.CauseAsked, End: t0.Add(time.Minute), At: t0.Add(time.Minute), Name: func(report.Report, report.File) string { return "report.csv" }}); err != nil {
		t.Fatal(err)
	}
	return c, c.Handler(), a
}

// suppressNow has an alert suppressed that may be released, and returns the number of its entry.
func suppressNow(t *testing.T, c *Console) string {
	now := time.Now()
	request := outage.Request{ID: outage.RequestID{Originator: hub, Target: meter, Counter: uint64(now.UnixNano())}, Form: outage.ServiceRequest, Order: outage.Order{Kind: outage.OnDemand}, Received: now}
	c.Ledger.Record(t.Context(), request.Activation(hub, time.Hour))
	d, err := c.Ledger.Decide(t.Context(), outage.Alert{ID: now.String(), Code: "AD1", CHF: hub, OutageStart: now, Received: now, Message: []byte("a message")}, outage.Suppressed, 0)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(d.Entry.Seq, 10)
}

func openWindow(t *testing.T, c *Console, counter uint64) {
	request := outage.Request{ID: outage.RequestID{Originator: hub, Target: meter, Counter: counter}, Form: outage.ServiceRequest, Order: outage.Order{Kind: outage.OnDemand}, Received: t0}
	c.Ledger.Record(t.Context(), request.Activation(hub, time.Hour))
}

// ask sends a request to a handler from an address. With a token it is sent too.
func ask(h http.Handler, from, token, method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	kind := ""
	if text, ok := strings.CutPrefix(body, "FORM"); ok {
		const b = "xyz"
		kind = "multipart/form-data; boundary=" + b
		body = "--" + b + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.csv\"\r\n\r\n" + text + "\r\n--" + b + "--\r\n"
	}
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = from, "127.0.0.1:8080"
	r.Header.Set("Content-Type", kind)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// tokenOf creates a token.
func tokenOf(t *testing.T, c *Console, name string, as role.Role) string {
	t.Helper()
	text, _, err := c.Tokens.Create(t.Context(), name, as, time.Hour, "a test", c.Motorway.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestRoles walks every route as everybody, and compares what happens with the table: those
// without credentials, or with wrong ones, get 401; those whose role is too low 403; the others
// what they asked for. None of them but analysts and above sees an MPxN. Each refusal is in the
// audit, and each look-up of an MPxN.
func TestRoles(t *testing.T) {
	c, h, audit := filled(t)
	expired, _, err := c.Tokens.Create(t.Context(), "expired", role.Admin, time.Minute, "a test", c.Motorway.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	revoked, revokedToken, err := c.Tokens.Create(t.Context(), "revoked", role.Admin, time.Hour, "a test", c.Motorway.Now())
	if err == nil {
		_, err = c.Tokens.Check(t.Context(), revoked, c.Motorway.Now()) // so that it is remembered
	}
	if err == nil {
		_, err = c.Tokens.Revoke(t.Context(), revokedToken.ID, "a test", c.Motorway.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	admin := tokenOf(t, c, "admin", role.Admin)
	const local, far = "127.0.0.1:9", "192.0.2.1:9"
	c.Guard.Access.Set(access.Settings{Clients: map[string]role.Role{"CN=analyst": role.Analyst}})
	certificate := func(name string) func(*http.Request) { return withCertificate(name) }
	none := func(*http.Request) {}
	for _, who := range []struct {
		name, from, token string
		change            func(*http.Request)
		role              role.Role
		named             bool // otherwise a refusal is 401
	}{
		{"nobody, far away", far, "", none, role.Anyone, false},
		{"nobody, on this machine", local, "", none, role.Viewer, false},
		{"nobody, through a proxy on this machine", local, "", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") }, role.Anyone, false},
		{"wrong token", far, admin[:len(admin)-1] + "!", none, role.Anyone, false},
		{"wrong token, on this machine", local, "quell_x", none, role.Anyone, false},
		{"another token's secret", far, admin[:22] + "_" + expired[23:], none, role.Anyone, false},
		{"no token at all", far, "", func(r *http.Request) { r.SetBasicAuth("admin", "admin") }, role.Anyone, false},
		{"expired token", far, expired, none, role.Anyone, false},
		{"revoked token", far, revoked, none, role.Anyone, false},
		{"viewer", far, tokenOf(t, c, "viewer", role.Viewer), none, role.Viewer, true},
		{"analyst", far, tokenOf(t, c, "analyst", role.Analyst), none, role.Analyst, true},
		{"operator", far, tokenOf(t, c, "operator", role.Operator), none, role.Operator, true},
		{"admin", far, admin, none, role.Admin, true},
		{"certificate of an analyst", far, "", certificate("analyst"), role.Analyst, true},
		{"certificate without a role", far, "", certificate("stranger"), role.Anyone, true},
		{"another user of this machine", "socket, uid 54321", "", none, role.Operator, true},
		{"root", "socket, uid 0", "", none, role.Admin, true},
	} {
		t.Run(who.name, func(t *testing.T) {
			all := examples()
			for _, route := range c.Guard.Routes() {
				x, ok := all[route.Pattern]
				if !ok {
					t.Errorf("%s: no example", route.Pattern)
					continue
				}
				delete(all, route.Pattern)
				method, _, _ := strings.Cut(route.Pattern, " ")
				c.Guard.Access.Rates = &access.Rates{} // TestRates tests those
				if strings.HasSuffix(x.path, "SPARE") {
					_, spare, err := c.Tokens.Create(t.Context(), fmt.Sprintf("spare-%d", time.Now().UnixNano()), role.Viewer, time.Hour, "a test", c.Motorway.Now())
					if err != nil {
						t.Fatal(err)
					}
					x.path = strings.Replace(x.path, "SPARE", spare.ID, 1)
				}
				x.body = strings.Replace(x.body, "NEXT", fmt.Sprintf("next-%d", time.Now().UnixNano()), 1)
				if strings.HasSuffix(x.path, "/close") {
					openWindow(t, c, uint64(time.Now().UnixNano()))
				}
				if method == "POST" && strings.HasSuffix(x.path, "/releases") {
					x.body = strings.Replace(x.body, "SEQ", suppressNow(t, c), 1)
				}
				audit.take()
				w := ask(h, who.from, who.token, method, x.path, x.body, who.change)
				allowed := who.role >= route.Least
				if route.Pattern == "POST /api/v1/login-links" {
					allowed = allowed && who.named // the viewer of this machine is anybody
				}
				switch {
				case allowed && w.Code >= 400:
					t.Errorf("%s: %d %s", route.Pattern, w.Code, w.Body)
				case !allowed && who.named && w.Code != 403, !allowed && !who.named && w.Code != 401:
					t.Errorf("%s: %d, want a refusal: %s", route.Pattern, w.Code, w.Body)
				}
				shown := strings.Contains(w.Body.String(), supplyPoint)
				if shown && who.role < role.Analyst {
					t.Errorf("%s shows the MPxN: %s", route.Pattern, w.Body)
				}
				list := audit.take()
				switch {
				case !allowed && (len(list) != 1 || list[0].Outcome != refused || list[0].Detail == ""):
					t.Errorf("%s: the refusal is not in the audit: %+v", route.Pattern, list)
				case shown && (len(list) != 1 || list[0].Outcome != done || list[0].Object == ""):
					t.Errorf("%s: the look-up is not in the audit: %+v", route.Pattern, list)
				}
				if code := (LoginLink{}); json.Unmarshal(w.Body.Bytes(), &code) == nil && code.Code != "" && strings.Contains(fmt.Sprint(list), code.Code) {
					t.Errorf("%s: the code is in the audit", route.Pattern)
				}
				if len(who.token) > 23 && strings.Contains(fmt.Sprint(list)+w.Body.String(), who.token[23:]) {
					t.Errorf("%s: the token is shown", route.Pattern)
				}
				if route.Pattern == "GET /readyz" && strings.Contains(w.Body.String(), "degraded") != (who.role >= role.Viewer) {
					t.Errorf("/readyz: %s", w.Body)
				}
			}
			for pattern := range all {
				t.Errorf("%s is an example of no route", pattern)
			}
		})
	}
}

// withCertificate makes a request one of a client with a verified certificate.
func withCertificate(cn string) func(*http.Request) {
	chain := []*x509.Certificate{{Subject: pkix.Name{CommonName: cn}}}
	return func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: chain, VerifiedChains: [][]*x509.Certificate{chain}}
	}
}

// TestMPxN: who may not see MPxNs is told that they are left out, and cannot ask for one.
func TestMPxN(t *testing.T) {
	c, h, audit := filled(t)
	viewer, analyst := tokenOf(t, c, "viewer", role.Viewer), tokenOf(t, c, "analyst", role.Analyst)
	for _, x := range []struct {
		path           string
		viewer         int
		hidden         bool // the viewer's answer says so
		shown          bool // the analyst's answer has it
		object         string
		refusalAudited bool
	}{
		{"/api/v1/suppressions", 200, true, true, "entries 1 to 1", false},
		{"/api/v1/suppressions?after=1", 200, true, false, "", false},
		{"/api/v1/explain?id=" + meter.String(), 200, true, true, meter.String(), false},
		{"/api/v1/advice/supply", 200, true, true, "entries 1 to 1", false},
		{"/api/v1/explain?id=" + hub.String(), 200, true, true, hub.String(), false},
		{"/api/v1/explain?id=" + supplyPoint, 403, false, true, supplyPoint, true},
		{"/api/v1/explain?id=%20" + supplyPoint, 403, false, true, supplyPoint, true},
		{"/api/v1/explain?id=99", 403, false, false, "99", true}, // also of one that is unknown
		{"/api/v1/explain?id=0000000000000001", 200, true, false, "", false},
	} {
		audit.take()
		w := ask(h, "192.0.2.1:9", viewer, "GET", x.path, "")
		if w.Code != x.viewer || strings.Contains(w.Body.String(), "mpxn_hidden") != x.hidden || strings.Contains(w.Body.String(), supplyPoint[2:]) {
			t.Errorf("%s as viewer: %d %s", x.path, w.Code, w.Body)
		}
		if list := audit.take(); (len(list) == 1) != x.refusalAudited {
			t.Errorf("%s as viewer: audit %+v", x.path, list)
		}
		w = ask(h, "192.0.2.1:9", analyst, "GET", x.path, "")
		if w.Code != 200 || strings.Contains(w.Body.String(), supplyPoint) != x.shown && x.object != "99" || strings.Contains(w.Body.String(), "mpxn_hidden") {
			t.Errorf("%s as analyst: %d %s", x.path, w.Code, w.Body)
		}
		var objects []string
		for _, a := range audit.take() {
			objects = append(objects, a.Object)
			if a.Who != "token:analyst" || a.Role != "analyst" || a.From != "192.0.2.1" || a.Outcome != done || a.What != "look-up" {
				t.Errorf("%s: %+v", x.path, a)
			}
		}
		if strings.Join(objects, " ") != x.object {
			t.Errorf("%s as analyst: audit of %q, want %q", x.path, objects, x.object)
		}
	}
	// What the audit does not take is not answered.
	audit.err = io.ErrShortWrite
	for _, path := range []string{"/api/v1/suppressions", "/api/v1/advice/supply", "/api/v1/explain?id=" + supplyPoint, "/api/v1/reports/1/file", "/api/v1/export?format=csv"} {
		if w := ask(h, "192.0.2.1:9", analyst, "GET", path, ""); w.Code != 503 || strings.Contains(w.Body.String(), supplyPoint) {
			t.Errorf("%s without an audit: %d %s", path, w.Code, w.Body)
		}
	}
	if w := ask(h, "192.0.2.1:9", viewer, "GET", "/api/v1/export?format=csv", ""); w.Code != 403 {
		t.Errorf("a refusal without an audit: %d %s", w.Code, w.Body)
	}
}

// TestRates: a client that asks too often is told to wait, and others are not. Wrong credentials
// are few.
func TestRates(t *testing.T) {
	c, h, audit := filled(t)
	now := time.Now()
	c.Guard.Access.Rates.Now = func() time.Time { return now }
	viewer, operator := tokenOf(t, c, "viewer", role.Viewer), tokenOf(t, c, "operator", role.Operator)
	count := func(n int, from, token, method, path, body string) map[int]int {
		t.Helper()
		codes := map[int]int{}
		for range n {
			w := ask(h, from, token, method, path, body)
			codes[w.Code]++
			if (w.Code == 429) != (w.Header().Get("Retry-After") != "") {
				t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
		}
		return codes
	}
	same := func(what string, have map[int]int, want map[int]int) {
		t.Helper()
		if fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, have, want)
		}
	}
	audit.take()
	same("a viewer", count(510, "192.0.2.1:9", viewer, "GET", "/api/v1/events", ""), map[int]int{200: 500, 429: 10})
	same("from another address", count(5, "192.0.2.2:9", viewer, "GET", "/api/v1/events", ""), map[int]int{429: 5})
	same("the load balancer", count(100, "192.0.2.1:9", "", "GET", "/readyz", ""), map[int]int{200: 100})
	same("an operator", count(1, "192.0.2.1:9", operator, "GET", "/api/v1/events", ""), map[int]int{200: 1})
	if list := audit.take(); len(list) != 15 || list[0].Who != "token:viewer" {
		t.Errorf("the audit of the flood: %+v", list)
	}
	now = now.Add(time.Minute)
	same("a minute later", count(510, "192.0.2.1:9", viewer, "GET", "/api/v1/events", ""), map[int]int{200: 500, 429: 10})
	same("an operator who reads too much", count(600, "192.0.2.1:9", operator, "GET", "/api/v1/events", ""), map[int]int{200: 500, 429: 100})
	same("can still change", count(1, "192.0.2.1:9", operator, "PUT", "/api/v1/switch", `{"switch":"off","why":"x"}`), map[int]int{200: 1})
	same("nobody", count(40, "192.0.2.9:9", "", "GET", "/api/v1/events", ""), map[int]int{401: 30, 429: 10})

	same("wrong tokens", count(8, "192.0.2.7:9", "quell_wrong", "GET", "/api/v1/events", ""), map[int]int{401: 5, 429: 3})
	fresh := tokenOf(t, c, "fresh", role.Viewer)
	same("a right one from there, that is not remembered", count(1, "192.0.2.7:9", fresh, "GET", "/api/v1/events", ""), map[int]int{429: 1})
	same("from elsewhere", count(1, "192.0.2.8:9", fresh, "GET", "/api/v1/events", ""), map[int]int{200: 1})
	same("it is remembered now", count(1, "192.0.2.7:9", fresh, "GET", "/api/v1/events", ""), map[int]int{200: 1})
	same("wrong tokens of one network", count(8, "[2001:db8::1]:9", "quell_wrong", "GET", "/api/v1/events", ""), map[int]int{401: 5, 429: 3})
	same("its neighbour", count(1, "[2001:db8::ffff:2]:9", "quell_wrong", "GET", "/api/v1/events", ""), map[int]int{429: 1})
	same("readiness with a wrong token", count(8, "192.0.2.7:9", "quell_wrong", "GET", "/readyz", ""), map[int]int{200: 8})
	now = now.Add(10 * time.Second)
	same("ten seconds later", count(2, "192.0.2.7:9", "quell_wrong", "GET", "/api/v1/events", ""), map[int]int{401: 1, 429: 1})
}

// TestWebPages: a page of another site, or one whose name points to this machine, changes
// nothing, and without credentials reads nothing.
func TestWebPages(t *testing.T) {
	c, h, audit := filled(t)
	operator := tokenOf(t, c, "operator", role.Operator)
	const body = `{"switch":"off","why":"x"}`
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	origin := func(r *http.Request) { r.Header.Set("Origin", "http://elsewhere.example") }
	site := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }
	for _, x := range []struct {
		what, from, token, method, path, body string
		change                                func(*http.Request)
		code                                  int
	}{
		{"another name", "127.0.0.1:9", "", "GET", "/api/v1/events", "", host("elsewhere.example"), 403},
		{"another name, probe", "127.0.0.1:9", "", "GET", "/readyz", "", host("elsewhere.example"), 200},
		{"localhost", "127.0.0.1:9", "", "GET", "/api/v1/events", "", host("localhost:8080"), 200},
		{"another name with a token", "192.0.2.1:9", operator, "GET", "/api/v1/events", "", host("quell.example"), 200},
		{"a form of another site", "socket, uid 0", "", "PUT", "/api/v1/switch", body, origin, 403},
		{"a script of another site", "192.0.2.1:9", operator, "PUT", "/api/v1/switch", body, site, 403},
		{"no browser", "192.0.2.1:9", operator, "PUT", "/api/v1/switch", body, func(*http.Request) {}, 200},
	} {
		audit.take()
		w := ask(h, x.from, x.token, x.method, x.path, x.body, x.change)
		list := audit.take()
		if w.Code != x.code || (len(list) == 1) != (x.code == 403) {
			t.Errorf("%s: %d, want %d; audit %+v; %s", x.what, w.Code, x.code, list, w.Body)
		}
	}
}

// TestWho: the name in events is that of the credentials. A body that names somebody is refused.
func TestWho(t *testing.T) {
	c, h, _ := filled(t)
	token := tokenOf(t, c, "duty", role.Operator)
	for i, x := range []struct{ from, token, who string }{
		{"192.0.2.1:9", token, "token:duty"}, {"socket, uid 0", "", "root"}, {"socket, uid 54321", "", "uid 54321"}, {"socket, uid 0", token, "token:duty"},
	} {
		why := fmt.Sprint("reason ", i)
		if w := ask(h, x.from, x.token, "PUT", "/api/v1/switch", `{"switch":"off","why":"`+why+`"}`); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		var out struct{ Events []struct{ Who, Why string } }
		if err := json.Unmarshal(ask(h, x.from, x.token, "GET", "/api/v1/events?limit=1", "").Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		if e := out.Events[0]; e.Who != x.who || e.Why != why {
			t.Errorf("%+v, want %s", e, x.who)
		}
	}
	for path, body := range map[string]string{
		"PUT /api/v1/switch": `{"switch":"off","who":"alice","why":"x"}`, "POST /api/v1/windows/close": `{"all":true,"who":"alice","why":"x"}`, "POST /api/v1/releases": `{"entry":"1","who":"alice","why":"x"}`,
		"POST /api/v1/reports/resume": `{"from":9,"who":"alice","why":"x"}`, "POST /api/v1/devices?who=alice": "FORMx",
	} {
		method, path, _ := strings.Cut(path, " ")
		if w := ask(h, "socket, uid 0", "", method, path, body); w.Code != 400 || !strings.Contains(w.Body.String(), "who") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
