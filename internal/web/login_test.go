package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/access"
	auditlog "quell/internal/audit"
	"quell/internal/console"
	"quell/internal/role"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// people is what the provider of a test knows: the groups of its two users.
type people struct {
	*storage.Storage
	mu      sync.Mutex // guards the fields below
	groups  map[string]any
	inToken bool // the groups are in the token, otherwise with the other user information
}

func (p *people) add(info *oidc.UserInfo, subject string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info.AppendClaims("groups", p.groups[subject])
}

func (p *people) set(inToken bool, groups map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inToken, p.groups = inToken, groups
}

func (p *people) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string) error {
	p.mu.Lock()
	inToken := p.inToken
	p.mu.Unlock()
	if inToken {
		p.add(info, r.GetSubject())
	}
	return p.Storage.SetUserinfoFromRequest(ctx, info, r, scopes)
}

func (p *people) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, tokenID, subject, origin string) error {
	p.add(info, subject)
	return p.Storage.SetUserinfoFromToken(ctx, info, tokenID, subject, origin)
}

const clientSecret = "the secret of quell at its provider"

// loginWorld is a console with HTTPS and a provider where two users have an account.
type loginWorld struct {
	t          *testing.T
	console    *console.Console
	audit      *audited
	log        *logText
	url        string // of the console
	provider   *httptest.Server
	people     *people
	secretFile string
	settings   access.OIDCSettings
}

func newLoginWorld(t *testing.T) *loginWorld {
	c, audit := filled(t)
	srv := httptest.NewTLSServer(c.Guard)
	t.Cleanup(srv.Close)
	w := &loginWorld{t: t, console: c, audit: audit, log: &logText{}, url: srv.URL, secretFile: filepath.Join(t.TempDir(), "secret")}
	if err := os.WriteFile(w.secretFile, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Log = newTextLog(w.log)
	var handler http.Handler
	w.provider = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(w.provider.Close)
	client := storage.WebClient("quell", clientSecret, w.url+"/callback")
	w.people = &people{Storage: storage.NewStorageWithClients(storage.NewUserStore(w.provider.URL), map[string]*storage.Client{"quell": client})}
	w.people.set(true, map[string]any{"id1": []string{"staff", "duty"}, "id2": "desk"})
	handler = exampleop.SetupServer(w.provider.URL, w.people, nil, false)
	w.settings = access.OIDCSettings{Issuer: w.provider.URL, ClientID: "quell", SecretFile: w.secretFile, URL: w.url,
		Groups: map[role.Role][]string{role.Viewer: {"staff"}, role.Analyst: {"desk"}, role.Operator: {"duty", "night"}, role.Admin: {"owners"}}}
	c.Guard.Access.Set(access.Settings{OIDC: &w.settings})
	return w
}

// browser returns a client with cookies that follows no redirect.
func (w *loginWorld) browser() *http.Client {
	jar, _ := cookiejar.New(nil)
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = insecureTLS()
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answer is what a browser gets.
type answer struct {
	*http.Response
	text string
}

func (w *loginWorld) do(b *http.Client, r *http.Request) answer {
	w.t.Helper()
	res, err := b.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res, string(text)}
}

func (w *loginWorld) get(b *http.Client, url string) answer {
	w.t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.do(b, r)
}

func (w *loginWorld) post(b *http.Client, url string, form url.Values, header ...string) answer {
	w.t.Helper()
	r, err := http.NewRequest("POST", url, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return w.do(b, r)
}

// location returns where an answer leads.
func (w *loginWorld) location(a answer) string {
	w.t.Helper()
	u, err := a.Location()
	if err != nil {
		w.t.Fatalf("%s leads nowhere: %d %s", a.Request.URL, a.StatusCode, a.text)
	}
	return u.String()
}

// authorize begins a login and enters name and password at the provider. It returns where the
// provider leads back to.
func (w *loginWorld) authorize(b *http.Client, to, name string) string {
	w.t.Helper()
	a := w.get(b, w.location(w.get(b, w.url+"/login?to="+url.QueryEscape(to)))) // at the provider
	form := w.get(b, w.location(a))
	id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(form.text)
	if id == nil {
		w.t.Fatalf("no form: %d %s", form.StatusCode, form.text)
	}
	a = w.post(b, w.provider.URL+"/login/username", url.Values{"id": {html.UnescapeString(id[1])}, "username": {name}, "password": {"verysecure"}})
	return w.location(w.get(b, w.location(a)))
}

func (w *loginWorld) first() string { return "test-user@127.0.0.1" }

// TestLogin: a person logs in at a real provider, has the role of their groups, and logs out.
func TestLogin(t *testing.T) {
	w := newLoginWorld(t)
	for _, inToken := range []bool{true, false} {
		w.people.set(inToken, map[string]any{"id1": []string{"staff", "duty"}, "id2": "desk"})
		for _, x := range []struct {
			user, name string
			role       role.Role
		}{{w.first(), "oidc:" + w.first() + " (id1)", role.Operator}, {"test-user2", "oidc:test-user2 (id2)", role.Analyst}} {
			w.console.Guard.Access.Rates = &access.Rates{}
			b := w.browser()
			a := w.get(b, w.url+"/")
			if a.StatusCode != 200 || !strings.Contains(a.text, `href="/login?to=%2f"`) {
				t.Fatalf("%d %s", a.StatusCode, a.text)
			}
			if a := w.get(b, w.url+"/api/v1/status"); a.StatusCode != 200 { // this machine is loopback
				t.Errorf("before: %d", a.StatusCode)
			}
			leads := w.authorize(b, "/api/v1/events?limit=1", x.user)
			w.audit.take()
			a = w.get(b, leads)
			if list := w.audit.take(); len(list) != 1 || list[0].What != "login" || list[0].Who != x.name || list[0].Role != x.role.String() || list[0].Outcome != auditlog.Done || strings.Contains(list[0].Object, "code=") {
				t.Errorf("records of a login: %+v", list)
			}
			if to := w.location(a); a.StatusCode != 303 || to != w.url+"/api/v1/events?limit=1" {
				t.Errorf("it leads to %s, %d", to, a.StatusCode)
			}
			for _, c := range a.Cookies() {
				raw := a.Header.Values("Set-Cookie")
				if !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
					t.Errorf("cookies: %q", raw)
				}
			}
			a = w.get(b, w.url+"/")
			if !strings.Contains(a.text, ">"+x.name+"<") || !strings.Contains(a.text, ">"+x.role.String()+"<") {
				t.Errorf("%s", a.text)
			}
			if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("%q", csp)
			}
			w.audit.take()
			if a := w.get(b, w.url+"/api/v1/explain?id="+supplyPoint); a.StatusCode != 200 || !strings.Contains(a.text, supplyPoint) {
				t.Errorf("%d %s", a.StatusCode, a.text)
			}
			if list := w.audit.take(); len(list) != 1 || list[0].Who != x.name || list[0].Object != supplyPoint {
				t.Errorf("%+v", list)
			}
			if a := w.get(b, w.url+"/api/v1/tokens"); a.StatusCode != 403 {
				t.Errorf("tokens: %d", a.StatusCode)
			}
			// A form of another site cannot log out, nor do anything else.
			if a := w.post(b, w.url+"/logout", nil, "Origin", "https://elsewhere.example"); a.StatusCode != 403 {
				t.Errorf("logout from elsewhere: %d", a.StatusCode)
			}
			if a := w.get(b, w.url+"/"); !strings.Contains(a.text, x.name) {
				t.Errorf("%s", a.text)
			}
			// Another login in this browser ends the session before.
			kept := w.cookie(b)
			if a := w.get(b, w.authorize(b, "", x.user)); a.StatusCode != 303 || w.cookie(b) == kept {
				t.Errorf("a second login: %d", a.StatusCode)
			}
			b2 := w.browser()
			b2.Jar.SetCookies(mustURL(w.url), []*http.Cookie{{Name: "__Host-quell", Value: kept, Secure: true, Path: "/"}})
			if a := w.get(b2, w.url+"/"); strings.Contains(a.text, x.name) {
				t.Errorf("the session before a second login: %s", a.text)
			}
			kept = w.cookie(b)
			if a := w.post(b, w.url+"/logout", nil, "Origin", w.url); a.StatusCode != 303 || w.location(a) != w.url+"/" {
				t.Errorf("logout: %d", a.StatusCode)
			}
			b2 = w.browser() // with the cookie of the session that has ended
			b2.Jar.SetCookies(mustURL(w.url), []*http.Cookie{{Name: "__Host-quell", Value: kept, Secure: true, Path: "/"}})
			for _, b := range []*http.Client{b, b2} {
				if a := w.get(b, w.url+"/"); strings.Contains(a.text, x.name) || kept == "" {
					t.Errorf("after logout: %s", a.text)
				}
			}
		}
	}
	if text := w.log.String(); strings.Contains(text, clientSecret) || !strings.Contains(text, "somebody has logged in") {
		t.Errorf("the log: %s", text)
	}
}

// cookie returns the value of the session's cookie.
func (w *loginWorld) cookie(b *http.Client) string {
	for _, c := range b.Jar.Cookies(mustURL(w.url)) {
		if c.Name == "__Host-quell" {
			return c.Value
		}
	}
	return ""
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// TestLoginRefused: what is not the answer of the provider to this browser's own login starts no
// session, nor does a person without a role. Each is in the audit.
func TestLoginRefused(t *testing.T) {
	w := newLoginWorld(t)
	change := func(back, name, value string) string {
		u := mustURL(back)
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	for _, x := range []struct {
		what string
		back func(b *http.Client) string // where the browser goes
		code int
		says string
	}{
		{"no login has begun", func(*http.Client) string { return w.url + "/callback?code=x&state=y" }, 401, "did not begin in this browser"},
		{"another state", func(b *http.Client) string { return change(w.authorize(b, "", w.first()), "state", "x") }, 401, "did not begin in this browser"},
		{"no state", func(b *http.Client) string { return change(w.authorize(b, "", w.first()), "state", "") }, 401, "did not begin in this browser"},
		{"another browser's answer", func(b *http.Client) string {
			w.authorize(b, "", w.first())
			return w.authorize(w.browser(), "", w.first())
		}, 401, "did not begin in this browser"},
		{"another browser's code", func(b *http.Client) string {
			code := mustURL(w.authorize(w.browser(), "", "test-user2")).Query().Get("code")
			return change(w.authorize(b, "", w.first()), "code", code)
		}, 401, "the provider refused the code"}, // PKCE
		{"a made up code", func(b *http.Client) string { return change(w.authorize(b, "", w.first()), "code", "x") }, 401, "the provider refused the code"},
		{"another issuer", func(b *http.Client) string {
			return change(w.authorize(b, "", w.first()), "iss", "https://elsewhere.example")
		}, 401, "from another provider"},
		{"the person refuses", func(b *http.Client) string { return change(w.authorize(b, "", w.first()), "error", "access_denied") }, 401, "access_denied"},
		{"a code a second time", func(b *http.Client) string {
			back := w.authorize(b, "", w.first())
			jar, _ := cookiejar.New(nil)
			jar.SetCookies(mustURL(w.url), w.withFlags(b.Jar.Cookies(mustURL(w.url))))
			if a := w.get(b, back); a.StatusCode != 303 {
				t.Fatalf("%d %s", a.StatusCode, a.text)
			}
			b.Jar = jar
			return back
		}, 401, "the provider refused the code"},
		{"no group has a role", func(b *http.Client) string {
			w.people.set(true, map[string]any{"id1": []string{"guests", "Duty", ""}})
			return w.authorize(b, "", w.first())
		}, 403, "none of your groups has a role"},
		{"no groups", func(b *http.Client) string { w.people.set(true, nil); return w.authorize(b, "", w.first()) }, 403, "none of your groups has a role"},
		{"everyone reads the secret", func(b *http.Client) string { os.Chmod(w.secretFile, 0o644); return w.authorize(b, "", w.first()) }, 401, "everyone can read it"},
		{"a wrong secret", func(b *http.Client) string {
			os.Chmod(w.secretFile, 0o600)
			os.WriteFile(w.secretFile, []byte("a wrong one"), 0o600)
			return w.authorize(b, "", w.first())
		}, 401, "the provider refused the code"},
	} {
		w.people.set(true, map[string]any{"id1": []string{"duty"}, "id2": []string{"desk"}})
		w.console.Guard.Access.Rates = &access.Rates{}
		b := w.browser()
		back := x.back(b)
		w.audit.take()
		a := w.get(b, back)
		if a.StatusCode != x.code || !strings.Contains(strings.ToLower(html.UnescapeString(a.text)), strings.ToLower(x.says)) {
			t.Errorf("%s: %d, want %d and %q: %s", x.what, a.StatusCode, x.code, x.says, a.text)
		}
		if w.cookie(b) != "" {
			t.Errorf("%s: there is a session", x.what)
		}
		if list := w.audit.take(); len(list) != 1 || list[0].Outcome != refused || !strings.Contains(list[0].Detail, x.says) || list[0].Object != "GET /callback" {
			t.Errorf("%s: audit %+v", x.what, list)
		}
	}
	if text := w.log.String(); strings.Contains(text, clientSecret) || strings.Contains(text, "a wrong one") {
		t.Errorf("the log has the secret: %s", text)
	}
}

// withFlags makes cookies of a jar such that another jar takes them.
func (w *loginWorld) withFlags(list []*http.Cookie) []*http.Cookie {
	for _, c := range list {
		c.Secure, c.Path = true, "/"
	}
	return list
}

// TestLoginLeadsHome: after a login a browser goes to a path of this console, whatever it was
// asked for, and the provider leads back to the configured URL, whatever the request's host is.
func TestLoginLeadsHome(t *testing.T) {
	w := newLoginWorld(t)
	for to, want := range map[string]string{
		"": "/", "/": "/", "/api/v1/windows?limit=2": "/api/v1/windows?limit=2", "//elsewhere.example": "/", "https://elsewhere.example": "/", "/\\elsewhere.example": "/",
		"\\\\elsewhere.example": "/", "javascript:alert(1)": "/", "/\t/elsewhere.example": "/", "/%09/elsewhere.example": "/%09/elsewhere.example", "elsewhere": "/", "///elsewhere.example": "/", "/" + strings.Repeat("x", 1000): "/",
	} {
		w.console.Guard.Access.Rates = &access.Rates{}
		b := w.browser()
		if have := w.location(w.get(b, w.authorize(b, to, w.first()))); have != w.url+want {
			t.Errorf("to %q it leads to %s", to, have)
		}
	}
	b := w.browser()
	r, err := http.NewRequest("GET", w.url+"/login", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "elsewhere.example"
	q := mustURL(w.location(w.do(b, r))).Query()
	if q.Get("redirect_uri") != w.url+"/callback" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || len(q.Get("state")) < 43 || len(q.Get("nonce")) < 43 || q.Get("response_type") != "code" {
		t.Errorf("%v", q)
	}
}

// TestProviderAway: while the provider is away nobody can log in, and "degraded" says so after the
// first who tries. Tokens work. When it is back so are logins.
func TestProviderAway(t *testing.T) {
	w := newLoginWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // never accepts, then closes
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	away := w.settings
	away.Issuer = "http://" + l.Addr().String()
	w.console.Guard.Access.Set(access.Settings{OIDC: &away})
	if list := w.console.Guard.Access.Conditions(); len(list) > 0 {
		t.Errorf("before anybody tries: %q", list)
	}
	b := w.browser()
	if a := w.get(b, w.url+"/login"); a.StatusCode != 502 || !strings.Contains(a.text, "does not answer as it should") {
		t.Errorf("%d %s", a.StatusCode, a.text)
	}
	if list := w.console.Guard.Access.Conditions(); len(list) != 1 || !strings.Contains(list[0], "console.oidc: nobody can log in: ") {
		t.Errorf("%q", list)
	}
	w.console.Guard.Access.Set(access.Settings{OIDC: &w.settings})
	if a := w.get(b, w.authorize(b, "", w.first())); a.StatusCode != 303 {
		t.Errorf("when it is back: %d %s", a.StatusCode, a.text)
	}
	if list := w.console.Guard.Access.Conditions(); len(list) > 0 {
		t.Errorf("%q", list)
	}
	// The same settings again leave the session; others end it.
	same := w.settings
	w.console.Guard.Access.Set(access.Settings{OIDC: &same})
	if a := w.get(b, w.url+"/"); !strings.Contains(a.text, "id1") {
		t.Errorf("after a reload: %s", a.text)
	}
	other := w.settings
	other.ClientID = "other"
	w.console.Guard.Access.Set(access.Settings{OIDC: &other})
	if a := w.get(b, w.url+"/"); strings.Contains(a.text, "id1") {
		t.Errorf("after a change: %s", a.text)
	}
	w.console.Guard.Access.Set(access.Settings{})
	for path, code := range map[string]int{"/login": 404, "/callback?code=x&state=y": 404, "/": 200} {
		if a := w.get(b, w.url+path); a.StatusCode != code {
			t.Errorf("%s without OpenID Connect: %d", path, a.StatusCode)
		}
	}
}

// TestLoginInChromium: the same in a real browser, which has its own idea of cookies, redirects
// and policies.
func TestLoginInChromium(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	for _, program := range []string{"chromium", "chromedriver"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(program + " is not installed")
		}
	}
	w := newLoginWorld(t)
	b := newChromium(t)
	b.open(w.url + "/")
	b.click("#login")
	b.write("#username", w.first())
	b.write("#password", "verysecure")
	b.click("button[type=submit]")
	if name, as := b.text("#name"), b.text("#role"); name != "oidc:"+w.first()+" (id1)" || as != "operator" {
		t.Errorf("%q, %q", name, as)
	}
	if at := b.get("/url"); at != w.url+"/" {
		t.Errorf("it is at %v", at)
	}
	if text := fmt.Sprint(b.call("POST", "/execute/sync", map[string]any{"script": "return document.cookie", "args": []any{}})); text != "" {
		t.Errorf("a script reads the cookie: %s", text)
	}
	b.click("#logout")
	if text := b.text("#login"); text != "Log in" {
		t.Errorf("after logout: %q", text)
	}
	// A page of another site posts a form: the browser sends no cookie with it, and quell refuses it.
	b.open(w.url + "/login") // the provider asks again
	b.write("#username", w.first())
	b.write("#password", "verysecure")
	b.click("button[type=submit]")
	b.text("#name")
	evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(rw, `<form method="post" action="%s/logout"><button id="win">win</button></form>`, w.url)
	}))
	t.Cleanup(evil.Close)
	w.audit.take()
	b.open(strings.Replace(evil.URL, "127.0.0.1", "localhost", 1))
	b.click("#win")
	if text := b.text("main"); !strings.Contains(text, "Cross-origin") { // waits: otherwise this page may come after the next
		t.Errorf("a form of another site: %s", text)
	}
	b.open(w.url + "/")
	if name := b.text("#name"); !strings.Contains(name, "id1") {
		t.Errorf("another site has logged out: %q", name)
	}
	if list := w.audit.take(); len(list) != 1 || list[0].Outcome != refused || list[0].Object != "POST /logout" {
		t.Errorf("audit: %+v", list)
	}
}

// chromium is a browser that a test drives with the WebDriver protocol.
type chromium struct {
	t    *testing.T
	base string // of the session
}

func newChromium(t *testing.T) *chromium {
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command("chromedriver", "--port="+port)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	b := &chromium{t, "http://" + addr}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if res, err := http.Get(b.base + "/status"); err == nil {
			res.Body.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	options := map[string]any{"args": []string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server", "--user-data-dir=" + t.TempDir()}}
	out := b.call("POST", "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true, "goog:chromeOptions": options}}})
	b.base += "/session/" + out.(map[string]any)["sessionId"].(string)
	t.Cleanup(func() { b.call("DELETE", "", nil) })
	b.call("POST", "/timeouts", map[string]any{"implicit": 20_000, "pageLoad": 30_000})
	return b
}

// call sends a command of WebDriver, and returns its value.
func (b *chromium) call(method, path string, body any) any {
	b.t.Helper()
	text, _ := json.Marshal(body)
	if method != "POST" {
		text = nil
	}
	req, err := http.NewRequest(method, b.base+path, bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	var out struct{ Value any }
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || res.StatusCode != 200 {
		b.t.Fatalf("%s %s: %d %v %v", method, path, res.StatusCode, out, err)
	}
	return out.Value
}

func (b *chromium) open(url string) {
	b.t.Helper()
	b.call("POST", "/url", map[string]any{"url": url})
}

func (b *chromium) get(what string) any {
	b.t.Helper()
	return b.call("GET", what, nil)
}

// element returns the path of the element that a CSS selector finds.
func (b *chromium) element(selector string) string {
	b.t.Helper()
	for _, id := range b.call("POST", "/element", map[string]any{"using": "css selector", "value": selector}).(map[string]any) {
		return "/element/" + id.(string)
	}
	b.t.Fatalf("no element %s", selector)
	return ""
}

func (b *chromium) click(selector string) {
	b.t.Helper()
	b.call("POST", b.element(selector)+"/click", map[string]any{})
}

func (b *chromium) write(selector, text string) {
	b.t.Helper()
	b.call("POST", b.element(selector)+"/value", map[string]any{"text": text})
}

func (b *chromium) text(selector string) string {
	b.t.Helper()
	return b.get(b.element(selector) + "/text").(string)
}

// insecureTLS trusts any server: the test is not about the certificate.
func insecureTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

func newTextLog(to io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(to, nil)) }

// logText is a log that can be read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
