package guard

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"quell/internal/access"
	"quell/internal/audit"
	"quell/internal/role"
)

// TestLedToEndpoint: a path such as //change leads to /change, for anybody. That is no change, and the audit
// log does not say that there was one.
func TestLedToEndpoint(t *testing.T) {
	var list []audit.Record
	g := &Guard{Access: &access.Access{Rates: &access.Rates{}}, Record: func(_ context.Context, x ...audit.Record) error { list = append(list, x...); return nil }, Refused: func(audit.Record) {}}
	e := g.Endpoints(WriteError, map[string]Change{"POST /change": {What: "change"}})
	e.Handle("POST /change", role.Viewer, func(http.ResponseWriter, *http.Request) {})
	for path, want := range map[string]struct{ status, records int }{"/change": {200, 1}, "//change": {307, 0}, "/a/../change": {307, 0}} {
		list = nil
		r := httptest.NewRequest("POST", path, nil)
		r.Host, r.RemoteAddr = "localhost", "127.0.0.1:9"
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != want.status || len(list) != want.records {
			t.Errorf("%s: %d, audit %+v", path, w.Code, list)
		}
	}
}

// A change whose handler panics before it answers did not succeed, for the audit log.
func TestPanicIsNoSuccess(t *testing.T) {
	var done, refused []audit.Record
	g := &Guard{Access: &access.Access{Rates: &access.Rates{}}, Record: func(_ context.Context, x ...audit.Record) error { done = append(done, x...); return nil }, Refused: func(x audit.Record) { refused = append(refused, x) }}
	e := g.Endpoints(WriteError, map[string]Change{"POST /change": {What: "change"}})
	e.Handle("POST /change", role.Viewer, func(http.ResponseWriter, *http.Request) { panic("a fault") })
	r := httptest.NewRequest("POST", "/change", nil)
	r.Host, r.RemoteAddr = "localhost", "127.0.0.1:9"
	func() {
		defer func() {
			if recover() == nil {
				t.Error("net/http does not learn of the panic")
			}
		}()
		g.ServeHTTP(httptest.NewRecorder(), r)
	}()
	if len(done) != 0 || len(refused) != 1 || refused[0].Outcome != audit.Failed {
		t.Errorf("audit %+v, %+v", done, refused)
	}
}

// FuzzParameters: a query that is accepted has no other parameter than those that are known, and
// none of them twice.
func FuzzParameters(f *testing.F) {
	for _, s := range []string{"", "limit=5&at=2026-03-01T10:00:00Z", "limit=5&limit=6", "Limit=5", "limit=%35", "a;limit=5", "limit=+5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if checkParameters(query, []string{"limit", "at"}) != nil {
			return
		}
		seen := map[string]bool{}
		for part := range strings.SplitSeq(query, "&") {
			name, _, _ := strings.Cut(part, "=")
			name, err := url.QueryUnescape(name)
			if err != nil || part != "" && name != "limit" && name != "at" {
				t.Fatalf("%q is accepted with %q", query, name)
			}
			if part != "" && seen[name] {
				t.Fatalf("%q is accepted with %q twice", query, name)
			}
			seen[name] = true
		}
	})
}
