package web

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quell/internal/access"
	"quell/internal/outage"
	"quell/internal/role"

	"golang.org/x/net/html"
)

// plain returns the text of a page.
func plain(page string) string {
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

var voids = []string{"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

// faults says what is wrong with a page: tags that do not match, ids that are there twice, styles
// and scripts in it, fields without a label, a heading that is missing or skips a level, a table
// without heads, a picture without a text.
func faults(page string) (list []string) {
	fault := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	var open, labels, fields, refers []string
	ids := map[string]int{}
	count := map[string]int{}
	level := 0
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		t := z.Token()
		attr := map[string]string{}
		for _, a := range t.Attr {
			if _, twice := attr[a.Key]; twice {
				fault("<%s> has %s twice", t.Data, a.Key)
			}
			attr[a.Key] = a.Val
		}
		switch kind {
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != t.Data {
				fault("</%s> ends %q", t.Data, open)
				return list
			}
			open = open[:len(open)-1]
			continue
		case html.StartTagToken:
			if !slices.Contains(voids, t.Data) {
				open = append(open, t.Data)
			}
		case html.SelfClosingTagToken:
		default:
			continue
		}
		if t.Data != "title" || !slices.Contains(open, "svg") {
			count[t.Data]++
		}
		for name, value := range attr {
			if name == "style" || strings.HasPrefix(name, "on") || strings.HasPrefix(strings.ToLower(value), "javascript:") {
				fault("<%s %s=%q>", t.Data, name, value)
			}
			if (name == "href" || name == "src" || name == "action") && (strings.Contains(value, "//") || value == "") {
				fault("<%s %s=%q> leads elsewhere", t.Data, name, value)
			}
			switch name {
			case "id":
				if ids[value]++; ids[value] > 1 {
					fault("two elements have the id %s", value)
				}
			case "for", "aria-describedby", "aria-labelledby":
				refers = append(refers, value)
			}
		}
		switch t.Data {
		case "style":
			fault("a <style>")
		case "script":
			if attr["src"] == "" {
				fault("a script in the page")
			}
		case "label":
			labels = append(labels, attr["for"])
		case "input", "select", "textarea":
			if attr["type"] != "hidden" && attr["aria-label"] == "" {
				fields = append(fields, attr["id"])
			}
		case "th":
			if attr["scope"] == "" {
				fault("a <th> without a scope")
			}
		case "img":
			if _, ok := attr["alt"]; !ok {
				fault("an <img> without alt")
			}
		case "svg":
			if attr["aria-hidden"] != "true" && (attr["role"] != "img" || attr["aria-label"] == "" && attr["aria-labelledby"] == "") {
				fault("an <svg> that says nothing")
			}
		case "h1", "h2", "h3", "h4":
			if now := int(t.Data[1] - '0'); now > level+1 {
				fault("<%s> after a heading of level %d", t.Data, level)
			} else {
				level = now
			}
		}
	}
	if len(open) > 0 {
		fault("never closed: %q", open)
	}
	for _, one := range []string{"title", "h1", "main", "html", "header"} {
		if count[one] != 1 {
			fault("%d <%s>", count[one], one)
		}
	}
	if count["table"] > count["caption"] {
		fault("%d tables, %d captions", count["table"], count["caption"])
	}
	for _, id := range fields {
		if id == "" || !slices.Contains(labels, id) {
			fault("a field %q without a label", id)
		}
	}
	for _, id := range refers {
		for _, id := range strings.Fields(id) {
			if ids[id] == 0 {
				fault("nothing has the id %s", id)
			}
		}
	}
	return list
}

// TestFaults shows that faults finds what it is for.
func TestFaults(t *testing.T) {
	const good = `<!DOCTYPE html><html lang="en"><head><title>x</title></head><body><header></header><main><h1>x</h1>%s</main></body></html>`
	for body, want := range map[string]int{
		"": 0, "<p>a<br></p>": 0, "<p><b>a</p></b>": 1, "<div>": 1, `<p style="color:red">a</p>`: 1, `<p onclick="x()">a</p>`: 1, "<style>a</style>": 1, "<script>a</script>": 1,
		`<input id="a">`: 1, `<label for="a">a</label><input id="a">`: 0, `<h3>a</h3>`: 1, `<h1>a</h1>`: 1, `<p id="a"></p><p id="a"></p>`: 1, `<a href="https://elsewhere.example">a</a>`: 1,
		`<svg></svg>`: 1, `<svg role="img" aria-label="a"></svg>`: 0, `<table><tr><th>a</th></tr></table>`: 2,
	} {
		if list := faults(fmt.Sprintf(good, body)); len(list) < want || want == 0 && len(list) > 0 {
			t.Errorf("%q: %q, want %d", body, list, want)
		}
	}
}

// checked holds that an answer is a page as it must be.
func checked(t *testing.T, what string, w *httptest.ResponseRecorder) {
	t.Helper()
	if kind := w.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" {
		t.Errorf("%s: Content-Type %q", what, kind)
	}
	if policy := w.Header().Get("Content-Security-Policy"); policy != securityPolicy || strings.Contains(policy, "unsafe") {
		t.Errorf("%s: Content-Security-Policy %q", what, policy)
	}
	for name, value := range map[string]string{"Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"} {
		if w.Header().Get(name) != value {
			t.Errorf("%s: %s %q", what, name, w.Header().Get(name))
		}
	}
	for _, f := range faults(w.Body.String()) {
		t.Errorf("%s: %s", what, f)
	}
	if strings.Contains(w.Body.String(), "ZgotmplZ") {
		t.Errorf("%s: the template puts a value where it is not safe", what)
	}
}

// TestPages: every page that can be read without more in its address is a page as it must be, on
// an empty system and on one with something of everything, and so are the pages of errors.
func TestPages(t *testing.T) {
	full, _ := filled(t)
	none, _ := empty(t)
	n := 0
	for _, route := range full.Guard.Routes() {
		method, path, _ := strings.Cut(strings.TrimSuffix(route.Pattern, "{$}"), " ")
		if method != "GET" || strings.Contains(path, "{") || strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/live/") || strings.Contains(path, ".") ||
			slices.Contains([]string{"/healthz", "/readyz", "/metrics", "/login", "/callback"}, path) {
			continue
		}
		n++
		w := ask(full, root, "", "GET", path, nil)
		if w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, text(w))
		}
		checked(t, path, w)
		if w = ask(none, here, "", "GET", path, nil); w.Code != 200 && route.Least <= role.Viewer {
			t.Errorf("%s of an empty system: %d %s", path, w.Code, text(w))
		}
		checked(t, path+" of an empty system", w)
	}
	if n < len(navigation) {
		t.Errorf("%d pages", n)
	}
	for _, l := range navigation {
		w := ask(full, here, "", "GET", l.To, nil)
		if m := regexp.MustCompile(`<a href="([^"]*)" aria-current="page">`).FindAllStringSubmatch(w.Body.String(), -1); len(m) != 1 || m[0][1] != l.To {
			t.Errorf("%s: the page that is shown is %q", l.To, m)
		}
	}
}

// TestErrorPages: a browser gets a page that says what is wrong, and how to go on.
func TestErrorPages(t *testing.T) {
	c, audit := filled(t)
	viewer := tokenOf(t, c, "viewer", role.Viewer)
	for _, x := range []struct {
		from, token, method, path string
		code                      int
		says                      string
	}{
		{far, "", "GET", "/", 401, "Run quell login where"},
		{far, "quell_wrong", "GET", "/", 401, "credentials"},
		{here, "", "GET", "/nowhere", 404, "No page has this address"},
		{far, "", "GET", "/nowhere/at/all", 404, "No page has this address"},
		{far, viewer, "GET", "/?sideways=1", 400, "sideways"},
	} {
		audit.take()
		w := ask(c, x.from, x.token, x.method, x.path, nil)
		if w.Code != x.code || !strings.Contains(text(w), x.says) {
			t.Errorf("%s: %d, want %d and %q: %s", x.path, w.Code, x.code, x.says, text(w))
		}
		checked(t, fmt.Sprint(x.path, " ", x.code), w)
		if list := audit.take(); (len(list) == 1 && list[0].Detail != "") != (x.code == 401) {
			t.Errorf("%s: audit %+v", x.path, list)
		}
		if x.code == 401 && strings.Contains(text(w), "switch:") {
			t.Errorf("nobody sees the switch: %s", text(w))
		}
	}
	// Paths of the API are answered as before.
	for path, code := range map[string]int{"/api/v1/nowhere": 404, "/api/v1/windows/close": 405} {
		if w := ask(c, here, "", "GET", path, nil); w.Code != code || strings.Contains(w.Body.String(), "<html") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	c.Guard.Access.Set(access.Settings{OIDC: &access.OIDCSettings{Issuer: "https://provider.example"}})
	if w := ask(c, far, "", "GET", "/?a=b", nil); w.Code != 401 || !strings.Contains(w.Body.String(), `href="/login?to=%2F%3Fa%3Db"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	c.Guard.Access.Rates = &access.Rates{}
	for range 40 {
		if w := ask(c, far, "", "GET", "/", nil); w.Code == 429 {
			checked(t, "too many requests", w)
			if w.Header().Get("Retry-After") == "" || !strings.Contains(text(w), "Wait some seconds") {
				t.Errorf("%v %s", w.Header(), text(w))
			}
			return
		}
	}
	t.Error("nobody is told to wait")
}

// TestAssets: a page's style, script and picture are there, for anyone, and stay in the browser.
func TestAssets(t *testing.T) {
	c, _ := filled(t)
	page := ask(c, here, "", "GET", "/", nil).Body.String()
	found := regexp.MustCompile(`(?:href|src)="(/[a-z.]+\?v=[0-9a-f]+)"`).FindAllStringSubmatch(page, -1)
	if len(found) != 3 {
		t.Errorf("%q", found)
	}
	for _, m := range found {
		w := ask(c, far, "", "GET", m[1], nil)
		if w.Code != http.StatusOK || w.Body.Len() < 100 || w.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d %v", m[1], w.Code, w.Header())
		}
	}
	style, _ := fs.ReadFile(files, "static/style.css")
	defined := regexp.MustCompile(`--[a-z0-9-]+`).FindAllString(string(style), -1)
	for _, m := range regexp.MustCompile(`var\((--[a-z0-9-]+)\)`).FindAllStringSubmatch(string(style), -1) {
		if n := len(defined) - len(slices.DeleteFunc(slices.Clone(defined), func(s string) bool { return s == m[1] })); n < 2 {
			t.Errorf("the style uses %s, which it does not have", m[1])
		}
	}
}

// request is the id of the request that filled records.
var request = outage.RequestID{Originator: hub, Target: meter, Counter: 1}.String()

// pageExamples has a request for each address of a page that is no plain GET of a path.
var pageExamples = map[string]struct {
	path string
	form url.Values
}{
	"GET /{$}":                                   {path: "/"},
	"GET /activations/windows":                   {path: "/activations/windows?of=hub&id=" + hub.String()},
	"GET /reports/{no}":                          {path: "/reports/1"},
	"POST /reports/{no}/send":                    {path: "/reports/1/send", form: url.Values{"why": {"a test"}}},
	"POST /reports/{no}/send/confirmed":          {path: "/reports/1/send/confirmed", form: url.Values{"why": {"a test"}}},
	"POST /reports/cut":                          {path: "/reports/cut", form: url.Values{"why": {"a test"}}},
	"POST /reports/cut/confirmed":                {path: "/reports/cut/confirmed", form: url.Values{"why": {"a test"}}},
	"POST /reports/resume":                       {path: "/reports/resume", form: url.Values{"why": {"a test"}, "from": {"9"}}},
	"POST /reports/resume/confirmed":             {path: "/reports/resume/confirmed", form: url.Values{"why": {"a test"}, "from": {"9"}}},
	"POST /settings/switch":                      {path: "/settings/switch", form: url.Values{"why": {"a test"}, "to": {"shadow"}}},
	"POST /settings/switch/confirmed":            {path: "/settings/switch/confirmed", form: url.Values{"why": {"a test"}, "to": {"shadow"}}},
	"POST /explain":                              {path: "/explain", form: url.Values{"id": {"entry 1"}}},
	"GET /explain/device/{id}":                   {path: "/explain/device/" + hub.String()},
	"GET /explain/message/{id}":                  {path: "/explain/message/" + request},
	"GET /explain/entry/{no}":                    {path: "/explain/entry/1"},
	"POST /explain/device/{id}/mpxn":             {path: "/explain/device/" + hub.String() + "/mpxn"},
	"POST /explain/message/{id}/mpxn":            {path: "/explain/message/" + request + "/mpxn"},
	"POST /explain/entry/{no}/mpxn":              {path: "/explain/entry/1/mpxn"},
	"POST /explain/entry/{no}/release":           {path: "/explain/entry/1/release", form: url.Values{"why": {"a test"}}},
	"POST /explain/entry/{no}/release/confirmed": {path: "/explain/entry/1/release/confirmed", form: url.Values{"why": {"a test"}}},
}

// TestPageRoles walks every page as everybody. Who has too low a role is refused with a page that
// says so, and the refusal is in the audit. Nobody below an analyst sees an MPxN.
func TestPageRoles(t *testing.T) {
	c, audit := filled(t)
	for _, who := range []struct {
		from, token string
		role        role.Role
	}{
		{far, "", role.Anyone}, {here, "", role.Viewer}, {far, tokenOf(t, c, "viewer", role.Viewer), role.Viewer}, {far, tokenOf(t, c, "analyst", role.Analyst), role.Analyst},
		{far, tokenOf(t, c, "operator", role.Operator), role.Operator}, {root, "", role.Admin},
	} {
		for _, route := range c.Guard.Routes() {
			method, path, _ := strings.Cut(route.Pattern, " ")
			if strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/live/") || slices.Contains([]string{"/healthz", "/readyz", "/metrics", "/login", "/callback", "/login/link"}, path) {
				continue // those of logins have tests of their own
			}
			x, known := pageExamples[route.Pattern]
			if !known {
				if strings.Contains(path, "{") {
					t.Errorf("%s: no example", route.Pattern)
				}
				x.path = path
			}
			c.Guard.Access.Rates = &access.Rates{}
			audit.take()
			w := ask(c, who.from, who.token, method, x.path, x.form)
			list := audit.take()
			allowed := who.role >= route.Least
			if refusedHere := w.Code == 401 || w.Code == 403; refusedHere == allowed || refusedHere && (len(list) != 1 || list[0].Outcome != refused || list[0].Detail == "") {
				t.Errorf("%s as %v: %d, audit %+v: %s", route.Pattern, who.role, w.Code, list, text(w))
			}
			if strings.Contains(w.Body.String(), supplyPoint) && (who.role < role.Analyst || len(list) != 1 || list[0].What != "look-up") {
				t.Errorf("%s as %v shows an MPxN; audit %+v", route.Pattern, who.role, list)
			}
		}
	}
}

// TestRolesInDocument: docs/operations.md has each route with its least role.
func TestRolesInDocument(t *testing.T) {
	c, _ := empty(t)
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:GET|POST|PUT|DELETE) /[^`]*)` \\| (\\w+) \\|").FindAllStringSubmatch(string(text), -1) {
		if documented[m[1]] != "" {
			t.Errorf("docs/operations.md has %s twice", m[1])
		}
		documented[m[1]] = m[2]
	}
	for _, r := range c.Guard.Routes() {
		if have := documented[strings.TrimSuffix(r.Pattern, "{$}")]; have != r.Least.String() {
			t.Errorf("%s is for %s; docs/operations.md says %q", r.Pattern, r.Least, have)
		}
		delete(documented, strings.TrimSuffix(r.Pattern, "{$}"))
	}
	for p := range documented {
		t.Errorf("docs/operations.md has %s, which is no route", p)
	}
}
