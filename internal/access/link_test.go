package access

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"quell/internal/role"
	"quell/internal/store"
	"quell/internal/tokens"
)

// linkWorld is an Access whose clock a test moves.
type linkWorld struct {
	*Access
	t   *testing.T
	now time.Time
}

func newLinkWorld(t *testing.T) *linkWorld {
	w := &linkWorld{t: t, now: time.Now()}
	clock := func() time.Time { return w.now }
	w.Access = &Access{Now: clock, Rates: &Rates{Now: clock}}
	w.Set(Settings{Clients: map[string]role.Role{"CN=desk": role.Operator}})
	return w
}

func (w *linkWorld) ask(name string, as role.Role) Link {
	w.t.Helper()
	l, err := w.Ask(Identity{Name: name, Role: as, Key: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// over is a request that came from an address, over TLS.
func over(addr string) *http.Request {
	r := httptest.NewRequest("POST", "/login/link", nil)
	r.RemoteAddr, r.TLS = addr, &tls.ConnectionState{}
	return r
}

// follow follows a link from an address of its own, and returns a request of the session.
func (w *linkWorld) follow(code string) (*http.Request, error) {
	w.t.Helper()
	w.Rates = &Rates{Now: w.Rates.Now}
	rec := httptest.NewRecorder()
	_, _, err := w.Follow(rec, over("192.0.2.1:9"), code)
	r := over("192.0.2.2:9")
	for _, c := range rec.Result().Cookies() {
		if c.MaxAge != int(linkMax/time.Second) || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Name != cookieName {
			w.t.Errorf("%+v", c)
		}
		r.AddCookie(c)
	}
	return r, err
}

func (w *linkWorld) who(r *http.Request) string {
	id, err := w.Identify(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprint(id.Name, " ", id.Role)
}

// TestLink: a link begins one session, with the role of who asked and a name that says so. Its code
// is long, serves once and for a minute, and is kept nowhere.
func TestLink(t *testing.T) {
	w := newLinkWorld(t)
	l := w.ask("alice", role.Operator)
	if len(l.Code) < 26 || !l.Expires.Equal(w.now.Add(time.Minute)) { // 26 letters of base32 have 130 bits
		t.Errorf("%+v", l)
	}
	if text := fmt.Sprintf("%v %s", w.links.open, w.links.open[0].hash[:]); bytes.Contains([]byte(text), []byte(l.Code)) {
		t.Error("the code is kept")
	}
	r, err := w.follow(l.Code)
	if err != nil || w.who(r) != "link:alice operator" {
		t.Fatalf("%v, %s", err, w.who(r))
	}
	if id, _ := w.Identify(r); !id.Session {
		t.Error("it is no session")
	}
	if _, err := w.follow(l.Code); !errors.Is(err, ErrCode) {
		t.Errorf("a second time: %v", err)
	}
	for _, code := range []string{"", l.Code[1:], l.Code + "A", w.ask("bob", role.Viewer).Code[:25]} {
		if _, err := w.follow(code); !errors.Is(err, ErrCode) {
			t.Errorf("%q: %v", code, err)
		}
	}
	late, just := w.ask("bob", role.Viewer), w.ask("bob", role.Viewer)
	w.now = w.now.Add(time.Minute - 1)
	if _, err := w.follow(just.Code); err != nil {
		t.Errorf("just in time: %v", err)
	}
	w.now = w.now.Add(1)
	if _, err := w.follow(late.Code); !errors.Is(err, ErrCode) {
		t.Errorf("after a minute: %v", err)
	}
	s, ok := w.sessions.get(r, time.Now().Add(sessionIdle-time.Minute))
	if _, later := w.sessions.get(r, s.started.Add(linkMax)); !ok || later {
		t.Errorf("it lasts: %v, %v", ok, later)
	}
}

// TestLinkFor: those without a name get no link, and neither do sessions, whose time it would
// prolong. Who asks often has three links that wait, and then none.
func TestLinkFor(t *testing.T) {
	w := newLinkWorld(t)
	here := httptest.NewRequest("POST", "/", nil)
	here.RemoteAddr, here.Host = "127.0.0.1:9", "localhost"
	viewer, err := w.Identify(here)
	if err != nil || viewer.Role != role.Viewer {
		t.Fatal(viewer, err)
	}
	r, err := w.follow(w.ask("alice", role.Admin).Code)
	if err != nil {
		t.Fatal(err)
	}
	session, _ := w.Identify(r)
	for want, id := range map[error]Identity{ErrNoName: viewer, ErrChain: session} {
		if _, err := w.Ask(id); !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", id, err, want)
		}
	}
	if _, err := w.Ask(Identity{Name: "CN=stranger", Key: "CN=stranger"}); !errors.Is(err, ErrNoName) {
		t.Errorf("a certificate without a role: %v", err)
	}
	other := w.ask("bob", role.Viewer)
	var codes []string
	for range linksOfName + 1 {
		codes = append(codes, w.ask("carol", role.Viewer).Code)
	}
	if _, err := w.follow(codes[0]); !errors.Is(err, ErrCode) {
		t.Errorf("the oldest of %d: %v", len(codes), err)
	}
	for _, code := range append(codes[1:], other.Code) {
		if _, err := w.follow(code); err != nil {
			t.Errorf("%v", err)
		}
	}
	for range rateOf[asking].burst {
		w.ask("dave", role.Viewer)
	}
	if _, err := w.Ask(Identity{Name: "dave", Role: role.Viewer, Key: "dave"}); !errors.Is(err, ErrLinks) {
		t.Errorf("too often: %v", err)
	}
	if w.ask("erin", role.Viewer); len(w.links.open) > linksOfName+1 {
		t.Errorf("%d wait", len(w.links.open))
	}
}

// TestLinkTries: who sends wrong codes is not heard for a while, and a browser that others can
// read starts no session.
func TestLinkTries(t *testing.T) {
	w := newLinkWorld(t)
	l := w.ask("alice", role.Operator)
	try := func(r *http.Request, code string) error {
		_, _, err := w.Follow(httptest.NewRecorder(), r, code)
		return err
	}
	plain := func(addr string, header ...string) *http.Request {
		r := over(addr)
		r.TLS = nil
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	for _, r := range []*http.Request{plain("192.0.2.1:9"), plain("192.0.2.1:9", "X-Forwarded-Proto", "https"), plain("127.0.0.1:9", "X-Forwarded-For", "192.0.2.1"),
		plain("127.0.0.1:9", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "http")} {
		if err := try(r, l.Code); !errors.Is(err, ErrPlain) {
			t.Errorf("%s %v: %v", r.RemoteAddr, r.Header, err)
		}
	}
	for range rateOf[wrong].burst {
		if err := try(over("192.0.2.1:9"), "x"); !errors.Is(err, ErrCode) {
			t.Error(err)
		}
	}
	if err := try(over("192.0.2.1:9"), l.Code); !errors.Is(err, ErrTries) {
		t.Errorf("after wrong ones: %v", err)
	}
	if err := try(plain("127.0.0.1:9", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https"), l.Code); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	if err := try(plain("[::1]:9"), w.ask("bob", role.Viewer).Code); err != nil {
		t.Errorf("on this machine: %v", err)
	}
}

// newTokenWorld is newLinkWorld with tokens, and their store.
func newTokenWorld(t *testing.T) (*linkWorld, *store.Store) {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	w := newLinkWorld(t)
	w.Tokens = tokens.New(st.DB)
	return w, st
}

// TestLinkRevoked: a session goes on only as long as the token with which its link was asked for, and
// those of all links end when certificates get other roles.
func TestLinkRevoked(t *testing.T) {
	w, st := newTokenWorld(t)
	elsewhere := tokens.New(st.DB) // another node revokes
	as := func(name string, valid time.Duration) (id string, ask func() Link) {
		text, token, err := w.Tokens.Create(t.Context(), name, role.Admin, valid, "a test", w.now)
		if err != nil {
			t.Fatal(err)
		}
		return token.ID, func() Link {
			r := over("192.0.2.1:9")
			r.Header.Set("Authorization", "Bearer "+text)
			id, err := w.Identify(r)
			if err != nil {
				t.Fatal(err)
			}
			l, err := w.Ask(id)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
	}
	follow := func(l Link) *http.Request {
		r, err := w.follow(l.Code)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	id, a := as("a", time.Hour)
	_, b := as("b", 2*time.Minute)
	ra, rb, waits := follow(a()), follow(b()), a()
	if w.who(ra) != "link:token:a admin" || w.who(rb) != "link:token:b admin" {
		t.Errorf("%s, %s", w.who(ra), w.who(rb))
	}
	if _, err := elsewhere.Revoke(t.Context(), id, "a test", w.now); err != nil {
		t.Fatal(err)
	}
	if late := follow(waits); w.who(ra) != " anyone" || w.who(late) != " anyone" || w.who(rb) != "link:token:b admin" {
		t.Errorf("after one was revoked: %s, %s, %s", w.who(ra), w.who(late), w.who(rb))
	}
	w.now = w.now.Add(2 * time.Minute)
	if w.who(rb) != " anyone" {
		t.Errorf("after it expired: %s", w.who(rb))
	}
	// Without a token nothing of that counts. While the store is away, sessions go on.
	_, c := as("c", time.Hour)
	rc, alice := follow(c()), follow(w.ask("alice", role.Operator))
	st.Close()
	if w.who(rc) != "link:token:c admin" || w.who(alice) != "link:alice operator" {
		t.Errorf("%s, %s", w.who(rc), w.who(alice))
	}
	kept := w.ask("bob", role.Viewer)
	w.Set(Settings{Clients: map[string]role.Role{"CN=desk": role.Operator}})
	if w.who(alice) != "link:alice operator" {
		t.Error("the same settings end a session")
	}
	w.Set(Settings{Clients: map[string]role.Role{"CN=desk": role.Viewer}})
	if _, err := w.follow(kept.Code); !errors.Is(err, ErrCode) || w.who(alice) != " anyone" {
		t.Errorf("with other roles: %v, %s", err, w.who(alice))
	}
}

// TestStill: who has lost their token is not who they were, though wrong tokens came from their network so
// often that none from there is tried. Who has it still is.
func TestStill(t *testing.T) {
	w, st := newTokenWorld(t)
	text, token, err := w.Tokens.Create(t.Context(), "desk", role.Analyst, time.Hour, "a test", w.now)
	if err != nil {
		t.Fatal(err)
	}
	r := over("192.0.2.1:9")
	r.Header.Set("Authorization", "Bearer "+text)
	was, err := w.Identify(r)
	if err != nil {
		t.Fatal(err)
	}
	wrong := over("192.0.2.1:9")
	wrong.Header.Set("Authorization", "Bearer quell_wrong")
	for !errors.Is(err, ErrTries) {
		_, err = w.Identify(wrong)
	}
	w.Tokens = tokens.New(st.DB) // a minute later it is not remembered
	if !w.Still(r, was) {
		t.Error("the token is in force")
	}
	if _, err := w.Tokens.Revoke(t.Context(), token.ID, "a test", w.now); err != nil {
		t.Fatal(err)
	}
	if w.Still(r, was) {
		t.Error("the token was revoked")
	}
}
