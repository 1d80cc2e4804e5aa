package web

import (
	"bytes"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"quell/internal/outage"
)

// TestTextsOfOthers: what somebody else has written cannot turn round how a page reads, end an element,
// or carry controls into it.
func TestTextsOfOthers(t *testing.T) {
	c, _ := filled(t)
	const hostile = "CHG1 \u202Egnihton\u2066 \u200b\x1b[2J <b>x</b> \"' \r y"
	if _, err := c.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "a\u202Eb", hostile, c.Motorway.Now()); err != nil {
		t.Fatal(err)
	}
	for what, w := range map[string]*httptest.ResponseRecorder{
		"Now":            ask(c, here, "", "GET", "/", nil),
		"settings":       ask(c, here, "", "GET", "/settings", nil),
		"history":        ask(c, here, "", "GET", "/settings/history", nil),
		"the question":   ask(c, root, "", "POST", "/settings/switch", url.Values{"to": {"off"}, "why": {hostile}}),
		"release":        ask(c, root, "", "POST", "/explain/entry/1/release", url.Values{"why": {hostile}}),
		"no such remote": ask(c, root, "", "POST", "/reports/1/send", url.Values{"remote": {hostile}, "why": {"x"}}),
		"no such page":   ask(c, here, "", "GET", "/explain/message/"+url.PathEscape(hostile), nil),
		"a parameter":    ask(c, here, "", "GET", "/?"+url.QueryEscape(hostile)+"=1", nil),
		"a filter":       ask(c, here, "", "GET", "/settings/preview?to="+url.QueryEscape(hostile), nil),
	} {
		body := w.Body.String()
		if what == "the question" || what == "release" { // the form sends the reason as it is
			body = body[:strings.Index(body, "<form method=\"post\" action=\"/"+map[string]string{"the question": "settings", "release": "explain"}[what])]
		}
		if i := strings.IndexAny(body, "\u202E\u2066\u200b\x1b\r"); i >= 0 || strings.Contains(body, "<b>x") {
			t.Errorf("%s: %q", what, body[max(0, i-60):min(len(body), i+60)])
		}
	}
}

// TestOnePreview: only one list is previewed at a time, since each takes much memory.
func TestOnePreview(t *testing.T) {
	c, _ := filled(t)
	preview := func(path string) int {
		var b bytes.Buffer
		form := multipart.NewWriter(&b)
		file, err := form.CreateFormFile("list", "list.txt")
		if err != nil {
			t.Fatal(err)
		}
		file.Write([]byte(meter.String()))
		form.Close()
		r := httptest.NewRequest("POST", path, &b)
		r.RemoteAddr = root
		r.Header.Set("Content-Type", form.FormDataContentType())
		w := httptest.NewRecorder()
		c.Guard.ServeHTTP(w, r)
		return w.Code
	}
	for _, path := range []string{"/settings/preview", "/api/v1/preview/list"} {
		end, err := c.Search.BeginPreview()
		if err != nil {
			t.Fatal(err)
		}
		if have := preview(path); have != http.StatusConflict {
			t.Errorf("%s beside another: %d", path, have)
		}
		end()
		if have := preview(path); have != http.StatusOK {
			t.Errorf("%s: %d", path, have)
		}
	}
}
