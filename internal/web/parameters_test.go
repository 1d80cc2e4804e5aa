package web

import (
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/access"
)

// TestExtremeParameters: whatever a parameter or a part of an address says, no page and no answer of the
// API fails, as a fault of quell, or takes long. Two parameters are extreme at a time, so that a time
// is as long as it can be.
func TestExtremeParameters(t *testing.T) {
	c, _ := filled(t)
	names := []string{"after", "at", "before", "chf", "decision", "distributor", "dry_run", "done", "entry", "esme", "evidence", "format", "from", "hub", "id", "kind", "limit", "meter", "minutes", "model", "of", "outcome", "reason",
		"stream", "supplier", "target", "to", "v", "weak", "which"}
	values := []string{"", "0", "1", "-1", "1000", "4611686018427387904", "9223372036854775807", "9223372036854775808", "1e309", "NaN", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59+23:59", "1677-09-21T00:12:43Z", "2262-04-11T23:47:17Z", "2026-03-01",
		"00-00-00-00-00-00-00-00", "FF-FF-FF-FF-FF-FF-FF-FF", hub.String(), meter.String(), "1ns", "2h", "2562047h47m16.854775807s", "-2562047h47m16.854775808s", "true", "all", "hub", "supplier", "raised", "\x00", "\xff\xfe", "\u202E", strings.Repeat("9", 4000), "%", "'\";--", "a:b:c"}
	n, fine := 0, 0
	get := func(address string) *httptest.ResponseRecorder {
		c.Guard.Access.Rates = &access.Rates{} // no rate limits this
		return ask(c, root, "", "GET", address, nil)
	}
	try := func(address string) {
		n++
		began := time.Now()
		w := get(address)
		if w.Code == 200 {
			fine++
		}
		if took := time.Since(began); w.Code >= 500 || took > 5*time.Second {
			t.Errorf("GET %.200s: %d after %v: %.300s", address, w.Code, took, text(w))
		}
	}
	for _, route := range c.Guard.Routes() {
		method, path, _ := strings.Cut(strings.TrimSuffix(route.Pattern, "{$}"), " ")
		if method != "GET" || strings.HasPrefix(path, "/live/") || slices.Contains([]string{"/api/v1/tail", "/login", "/callback", "/metrics"}, path) {
			continue
		}
		if before, rest, ok := strings.Cut(path, "{"); ok {
			_, end, _ := strings.Cut(rest, "}")
			for _, v := range values {
				try(before + url.PathEscape(v) + end)
			}
			path = before + "1" + end
		}
		var takes []string
		for _, name := range names {
			if w := get(path + "?" + name + "=1"); !strings.Contains(w.Body.String(), "unknown parameter") && !strings.Contains(w.Body.String(), "Unknown parameter") {
				takes = append(takes, name)
			}
		}
		for i, name := range takes {
			for k, v := range values {
				try(path + "?" + url.Values{name: {v}}.Encode())
				for _, other := range takes[i+1:] {
					try(path + "?" + url.Values{name: {v}, other: {values[(k+1)%len(values)]}}.Encode())
					try(path + "?" + url.Values{name: {"0001-01-01T00:00:00Z"}, other: {v}}.Encode())
				}
			}
		}
	}
	t.Logf("%d addresses, of which %d can be answered", n, fine)
	if n < 5000 || fine < 1000 {
		t.Error("these are too few")
	}
}
