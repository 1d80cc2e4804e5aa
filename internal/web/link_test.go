package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/console"
	"quell/internal/role"
)

// askLink asks for a link, with a token.
func (w *loginWorld) askLink(token string) console.LoginLink {
	w.t.Helper()
	a := ask(w.console, far, token, "POST", "/api/v1/login-links", nil)
	var link console.LoginLink
	if err := json.Unmarshal(a.Body.Bytes(), &link); err != nil || a.Code != 200 {
		w.t.Fatalf("%d %s", a.Code, a.Body)
	}
	return link
}

// TestLoginLink: a link leads a browser in, over TLS and without JavaScript, as who asked for it.
// Opening its address uses nothing up; the button does. Its code is in no log, no address and no
// header.
func TestLoginLink(t *testing.T) {
	w := newLoginWorld(t)
	desk := tokenOf(t, w.console, "desk", role.Operator)
	w.audit.take()
	link := w.askLink(desk)
	if list := w.audit.take(); len(list) != 1 || list[0].Who != "token:desk" || list[0].What != "login-link" || list[0].Outcome != "done" {
		t.Errorf("asking: %+v", list)
	}
	at := w.url + link.Path
	b := w.browser()
	for range 3 { // a preview, a prefetch, a person
		if a := w.get(b, at+"#"+link.Code); a.StatusCode != 200 || !strings.Contains(a.text, `<form method="post" action="/login/link"`) || w.cookie(b) != "" || a.Header.Get("Referrer-Policy") != "same-origin" {
			t.Fatalf("%d %s", a.StatusCode, a.text)
		}
	}
	w.get(b, at+"?code="+link.Code)
	if a := w.post(b, at, url.Values{"code": {link.Code}}, "Origin", "https://elsewhere.example"); a.StatusCode != 403 || w.cookie(b) != "" {
		t.Errorf("a form of another site: %d", a.StatusCode)
	}
	w.audit.take()
	a := w.post(b, at, url.Values{"code": {" " + link.Code + "\n"}}, "Origin", w.url)
	if a.StatusCode != 303 || w.location(a) != w.url+"/" || strings.Contains(fmt.Sprint(a.Header), link.Code) {
		t.Fatalf("%d %v %s", a.StatusCode, a.Header, a.text)
	}
	for _, c := range a.Cookies() {
		if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.Name != "__Host-quell" || c.MaxAge != 3600 {
			t.Errorf("%+v", c)
		}
	}
	list := w.audit.take()
	if len(list) != 1 || list[0].Who != "link:token:desk" || list[0].Role != "operator" || list[0].What != "login" || list[0].Outcome != "done" {
		t.Errorf("the login: %+v", list)
	}
	if a := w.get(b, w.url+"/"); !strings.Contains(a.text, ">link:token:desk<") || !strings.Contains(a.text, ">operator<") || !strings.Contains(a.text, `id="logout"`) {
		t.Errorf("%s", a.text)
	}
	for path, code := range map[string]int{"/api/v1/audit": 200, "/api/v1/tokens": 403} {
		if a := w.get(b, w.url+path); a.StatusCode != code {
			t.Errorf("%s: %d", path, a.StatusCode)
		}
	}
	if a := w.post(b, w.url+"/api/v1/login-links", nil, "Origin", w.url); a.StatusCode != 403 || !strings.Contains(a.text, "a session in a browser cannot") {
		t.Errorf("a session asks for a link: %d %s", a.StatusCode, a.text)
	}
	// It serves nobody else, and the page says why.
	other := w.browser()
	a = w.post(other, at, url.Values{"code": {link.Code}})
	if a.StatusCode != 401 || !strings.Contains(a.text, "it has been used, or it is older than a minute") || !strings.Contains(a.text, "quell login") || w.cookie(other) != "" {
		t.Errorf("a second time: %d %s", a.StatusCode, a.text)
	}
	late := w.askLink(desk)
	w.console.Guard.Access.Now = func() time.Time { return t0.Add(3 * time.Minute) }
	if a := w.post(other, at, url.Values{"code": {late.Code}}); a.StatusCode != 401 || w.cookie(other) != "" {
		t.Errorf("too late: %d", a.StatusCode)
	}
	for _, x := range append(w.audit.take(), list...) {
		if text := fmt.Sprintf("%+v", x); strings.Contains(text, link.Code) || strings.Contains(text, late.Code) {
			t.Errorf("the audit has a code: %s", text)
		}
	}
	if text := w.log.String(); strings.Contains(text, link.Code) || strings.Contains(text, late.Code) || !strings.Contains(text, "link:token:desk") {
		t.Errorf("the log: %s", text)
	}
	if a := w.get(b, w.url+"/metrics"); a.StatusCode != 200 || strings.Contains(a.text, link.Code) {
		t.Errorf("metrics: %d", a.StatusCode)
	}
	kept := w.cookie(b)
	w.post(b, w.url+"/logout", nil, "Origin", w.url)
	b.Jar.SetCookies(mustURL(w.url), []*http.Cookie{{Name: "__Host-quell", Value: kept, Secure: true, Path: "/"}})
	if a := w.get(b, w.url+"/"); strings.Contains(a.text, "link:") || kept == "" {
		t.Errorf("after logout: %s", a.text)
	}
	// Who is nobody gets none; nor is the code taken where others can read it.
	if a := w.post(w.browser(), w.url+"/api/v1/login-links", nil); a.StatusCode != 401 {
		t.Errorf("nobody asks: %d %s", a.StatusCode, a.text)
	}
	w.console.Guard.Access.Rates = &access.Rates{}
	if p := ask(w.console, far, "", "GET", link.Path, nil); p.Code != 200 || strings.Contains(p.Body.String(), "<form") || !strings.Contains(text(p), "Links are for HTTPS") {
		t.Errorf("plain HTTP: %d %s", p.Code, text(p))
	}
	if p := ask(w.console, far, "", "POST", link.Path, url.Values{"code": {w.askLink(desk).Code}}); p.Code != 403 || len(p.Result().Cookies()) > 0 {
		t.Errorf("plain HTTP: %d %s", p.Code, text(p))
	}
	// A revoked token takes its sessions with it.
	b = w.browser()
	w.post(b, at, url.Values{"code": {w.askLink(desk).Code}})
	if a := w.get(b, w.url+"/"); !strings.Contains(a.text, "link:token:desk") {
		t.Fatalf("%s", a.text)
	}
	tokens, err := w.console.Tokens.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range tokens {
		if p := ask(w.console, root, "", "DELETE", "/api/v1/tokens/"+x.ID, nil); p.Code != 200 {
			t.Fatalf("%d %s", p.Code, p.Body)
		}
	}
	if a := w.get(b, w.url+"/"); strings.Contains(a.text, "link:token:desk") {
		t.Errorf("after the token was revoked: %s", a.text)
	}
}

// TestLoginLinkWrong: wrong codes are refused, recorded, and soon not looked at any more.
func TestLoginLinkWrong(t *testing.T) {
	c, audit := filled(t)
	code := ""
	for i, want := range []int{401, 401, 401, 401, 401, 429, 429} {
		audit.take()
		w := ask(c, here, "", "POST", console.LoginPath, url.Values{"code": {fmt.Sprint("WRONG", i)}})
		list := audit.take()
		if w.Code != want || len(list) != 1 || list[0].What != "login" || list[0].Outcome != refused || strings.Contains(fmt.Sprint(list), "WRONG") {
			t.Errorf("try %d: %d, want %d, audit %+v", i, w.Code, want, list)
		}
		checked(t, "a wrong code", w)
	}
	w := ask(c, root, "", "POST", "/api/v1/login-links", nil)
	var link console.LoginLink
	if err := json.Unmarshal(w.Body.Bytes(), &link); err != nil {
		t.Fatal(err)
	}
	if code = link.Code; link.Role != role.Admin || !strings.HasPrefix(link.Name, "link:") {
		t.Errorf("%+v", link)
	}
	if w := ask(c, here, "", "POST", console.LoginPath, url.Values{"code": {code}}); w.Code != 429 {
		t.Errorf("a right one from there: %d", w.Code)
	}
	if w := ask(c, "[::1]:9", "", "POST", console.LoginPath, url.Values{"code": {code}}); w.Code != 303 {
		t.Errorf("from elsewhere: %d %s", w.Code, text(w))
	}
	checked(t, "the page", ask(c, here, "", "GET", console.LoginPath, nil))
}

// TestLoginLinkInChromium: in a real browser the script takes the code out of the address, and the
// cookie serves over TLS, and on this machine without it.
func TestLoginLinkInChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	for _, program := range []string{"chromium", "chromedriver"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	w := newLoginWorld(t)
	w.console.Guard.Access.Set(access.Settings{}) // nobody can log in with OpenID Connect
	plain := httptest.NewServer(w.console.Guard)
	t.Cleanup(plain.Close)
	desk := tokenOf(t, w.console, "desk", role.Operator)
	b := newChromium(t)
	for _, base := range []string{w.url, plain.URL} {
		link := w.askLink(desk)
		b.open(base + link.Path + "#" + link.Code)
		b.element("#enter:focus") // waits for the script
		if at := b.get("/url"); at != base+link.Path {
			t.Errorf("it is at %v", at)
		}
		b.click("#enter")
		if name, as := b.text("#name"), b.text("#role"); name != "link:token:desk" || as != "operator" {
			t.Errorf("%s: %q, %q", base, name, as)
		}
		b.click("#logout")
		if text := b.text(".person a"); text != "Log in" {
			t.Errorf("%s: %q", base, text)
		}
	}
}
