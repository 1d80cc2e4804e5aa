package web

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"quell/internal/outage"
)

// TestFormsByOrigin: a browser that says only from which origin a form comes, as old ones and those
// that speak without TLS, can send the forms of this console, and none of another page, also where the
// question is left out. It says the origin only if the page does not forbid to say its address.
func TestFormsByOrigin(t *testing.T) {
	c, _ := filled(t)
	if policy := ask(c, root, "", "GET", "/settings", nil).Header().Get("Referrer-Policy"); policy != "same-origin" {
		t.Errorf("Referrer-Policy: %s", policy)
	}
	for _, path := range []string{"/settings/switch", "/settings/switch/confirmed", "/explain", "/explain/entry/1/mpxn", "/explain/entry/1/release/confirmed", "/reports/cut/confirmed", "/logout"} {
		for origin, code := range map[string]int{"null": 403, "https://elsewhere.example": 403, "http://127.0.0.1:9999": 403, "http://127.0.0.1:8080.elsewhere.example": 403} {
			r := httptest.NewRequest("POST", path, strings.NewReader(url.Values{"to": {"off"}, "why": {"x"}, "id": {"entry 1"}}.Encode()))
			r.RemoteAddr, r.Host = root, "127.0.0.1:8080"
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", origin)
			w := httptest.NewRecorder()
			if c.Guard.ServeHTTP(w, r); w.Code != code {
				t.Errorf("%s from %s: %d", path, origin, w.Code)
			}
		}
	}
	if c.Ledger.Switch() != outage.SwitchOn {
		t.Error("another page has turned the switch")
	}
	r := httptest.NewRequest("POST", "/settings/switch", strings.NewReader("to=off&why=x"))
	r.RemoteAddr, r.Host = root, "127.0.0.1:8080"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://127.0.0.1:8080")
	w := httptest.NewRecorder()
	if c.Guard.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("from this console: %d", w.Code)
	}
}

// TestMPxNUnopened: no page has an MPxN before somebody asks for it, in no part of it.
func TestMPxNUnopened(t *testing.T) {
	c, _ := filled(t)
	for _, from := range []string{here, root} {
		for _, path := range []string{"/", "/explain", "/explain/device/" + hub.String(), "/explain/device/" + meter.String(), "/explain/entry/1", "/log", "/activations", "/activations/meters?from=2026-03-01T10:00:00Z", "/activations/windows?of=hub&id=" + hub.String(), "/reports", "/reports/1", "/settings", "/settings/preview", "/settings/history?of=inventory"} {
			if w := ask(c, from, "", "GET", path, nil); w.Code != 200 || strings.Contains(w.Body.String(), supplyPoint) {
				t.Errorf("%s as %s: %d, or it has an MPxN", path, from, w.Code)
			}
		}
	}
	w := ask(c, root, "", "POST", "/explain", url.Values{"id": {supplyPoint}})
	if to := w.Header().Get("Location"); w.Code != 303 || strings.Contains(to, supplyPoint) {
		t.Errorf("%d, to %s", w.Code, to)
	}
}
