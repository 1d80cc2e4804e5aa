package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/role"
)

// asUser is the variable that makes the test program ask the socket that it names who it is.
const asUser = "QUELL_TEST_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(asUser); path != "" {
		c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return Dial(ctx, path) }}}
		res, err := c.Get("http://localhost/")
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		io.Copy(os.Stdout, res.Body)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// who serves the identity of who asks.
func who(a *Access) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := a.Identify(r)
		fmt.Fprintf(w, "%s %s %s %v", id.Name, id.Role, id.From, err)
	})
}

// TestSocket: the kernel says which user connects, whatever that user sends. The permissions of
// the socket and of its folder say who may.
func TestSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("skip allowed: only root can run programs as other users")
	}
	dir, err := os.MkdirTemp("", "socket") // not t.TempDir, whose parents only root may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "program")
	text, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(program, text, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "console.sock")
	old := syscall.Umask(0) // the worst
	l, err := Listen(path)
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: who(&Access{Rates: &Rates{}})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	ask := func(uid, gid uint32) string {
		cmd := exec.Command(program)
		cmd.Env = []string{asUser + "=" + path}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		out, _ := cmd.CombinedOutput()
		return strings.TrimSpace(string(out))
	}
	const member, stranger, group = 54321, 54322, 54323
	for _, x := range []struct{ what, have, want string }{
		{"root", ask(0, 0), "root admin socket <nil>"},
		{"a stranger", ask(stranger, stranger), "permission denied"},
	} {
		if !strings.HasSuffix(x.have, x.want) {
			t.Errorf("%s: %q", x.what, x.have)
		}
	}
	if err := os.Chown(path, 0, group); err != nil {
		t.Fatal(err)
	}
	if have := ask(member, group); have != "uid 54321 operator socket <nil>" {
		t.Errorf("a member of the group: %q", have)
	}
	if have := ask(stranger, stranger); !strings.HasSuffix(have, "permission denied") {
		t.Errorf("a stranger: %q", have)
	}
}

// TestListen: a stale socket is replaced, one that is in use is not, and closing removes only the
// own one. A path may be longer than the kernel takes.
func TestListen(t *testing.T) {
	for _, name := range []string{"s", strings.Repeat("x", 200)} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "console.sock")
		first, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := Dial(t.Context(), path); err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o660 {
			t.Errorf("%v %v", info, err)
		}
		if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), ErrSocketUsed.Error()) {
			t.Errorf("in use: %v", err)
		}
		first.(*socket).UnixListener.Close() // as the kernel does when a process is killed
		second, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("the first has removed the second's socket: %v", err)
		}
		second.Close()
		second.Close()
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is still there")
		}
	}
	if _, err := Listen(filepath.Join(t.TempDir(), "none", "s")); err == nil {
		t.Error("in no folder")
	}
	open := t.TempDir()
	os.Chmod(open, 0o777)
	if _, err := Listen(filepath.Join(open, "s")); err == nil {
		t.Error("in a folder where everyone can write")
	}
	file := filepath.Join(t.TempDir(), "s")
	os.WriteFile(file, nil, 0o600)
	if _, err := Listen(file); err == nil {
		t.Error("in place of a file")
	}
}

// TestIdentify: no request over TCP is taken for one over the socket, and none of another machine
// for one of this.
func TestIdentify(t *testing.T) {
	a := &Access{Rates: &Rates{}, Now: time.Now}
	srv := httptest.NewServer(who(a))
	defer srv.Close()
	res, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); string(text) != " viewer 127.0.0.1 <nil>" {
		t.Errorf("%q", text)
	}
	for _, x := range []struct {
		from, host string
		header     string
		role       role.Role
		key        string
	}{
		{"127.0.0.1:9", "127.0.0.1", "", role.Viewer, "at 127.0.0.1"},
		{"127.9.9.9:9", "localhost:80", "", role.Viewer, "at 127.9.9.9"},
		{"[::1]:9", "[::1]:8080", "", role.Viewer, "at ::/64"},
		{"[::ffff:127.0.0.1]:9", "127.0.0.1", "", role.Viewer, "at 127.0.0.1"},
		{"192.0.2.1:9", "127.0.0.1", "", role.Anyone, "at 192.0.2.1"},
		{"[2001:db8::1]:9", "localhost", "", role.Anyone, "at 2001:db8::/64"},
		{"127.0.0.1:9", "quell.example", "", role.Anyone, "at 127.0.0.1"},
		{"127.0.0.1:9", "127.0.0.1.example", "", role.Anyone, "at 127.0.0.1"},
		{"127.0.0.1:9", "127.0.0.1", "Via", role.Anyone, "at 127.0.0.1"},
		{"127.0.0.1:9", "127.0.0.1", "X-Real-IP", role.Anyone, "at 127.0.0.1"},
		{"", "127.0.0.1", "", role.Anyone, "at "},
		{"@", "127.0.0.1", "", role.Anyone, "at @"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Host = x.from, x.host
		if x.header != "" {
			r.Header.Set(x.header, "192.0.2.1")
		}
		if id, _ := a.Identify(r); id.Role != x.role || id.Name != "" || id.Key != x.key {
			t.Errorf("%+v: %+v", x, id)
		}
	}
}

// TestCertificates: only a verified certificate counts, by a name that has a role. Of several the
// highest counts.
func TestCertificates(t *testing.T) {
	a := &Access{Rates: &Rates{}}
	a.Set(Settings{Clients: map[string]role.Role{"CN=grafana": role.Viewer, "DNS:desk.example": role.Operator, "URI:spiffe://example/esi": role.Analyst, "CN=": role.Admin}})
	esi, _ := url.Parse("spiffe://example/esi")
	for _, x := range []struct {
		c        x509.Certificate
		verified bool
		name     string
		role     role.Role
	}{
		{x509.Certificate{Subject: pkix.Name{CommonName: "grafana"}}, true, "CN=grafana", role.Viewer},
		{x509.Certificate{Subject: pkix.Name{CommonName: "grafana"}}, false, "", role.Anyone},
		{x509.Certificate{Subject: pkix.Name{CommonName: "Grafana"}}, true, "CN=Grafana", role.Anyone},
		{x509.Certificate{Subject: pkix.Name{CommonName: "grafana"}, DNSNames: []string{"x.example", "desk.example"}}, true, "DNS:desk.example", role.Operator},
		{x509.Certificate{DNSNames: []string{"grafana", "*.example"}}, true, "DNS:grafana", role.Anyone},
		{x509.Certificate{URIs: []*url.URL{esi}}, true, "URI:spiffe://example/esi", role.Analyst},
		{x509.Certificate{Subject: pkix.Name{Organization: []string{"grafana"}}, EmailAddresses: []string{"grafana"}, SerialNumber: big.NewInt(1)}, true, "certificate 1", role.Anyone},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{&x.c}}
		if x.verified {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{&x.c}}
		}
		if id, err := a.Identify(r); err != nil || id.Name != x.name || id.Role != x.role {
			t.Errorf("%+v %v, want %s %s", id, err, x.name, x.role)
		}
	}
}

// TestSessions: a session ends when it was silent for long enough, and after its longest time. There
// are only so many.
func TestSessions(t *testing.T) {
	var ss sessions
	t0 := time.Now()
	start := func(name string, at time.Time) *http.Request {
		w := httptest.NewRecorder()
		ss.start(w, session{name: name, role: role.Viewer, longest: sessionMax}, at)
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(w.Result().Cookies()[0])
		return r
	}
	r := start("a", t0)
	for at := time.Duration(0); at < sessionMax; at += sessionIdle - 1 { // always just in time
		if s, ok := ss.get(r, t0.Add(at)); !ok || s.name != "a" {
			t.Errorf("after %s it has ended", at)
		}
	}
	if _, ok := ss.get(r, t0.Add(sessionMax)); ok {
		t.Error("it goes on for ever")
	}
	r = start("b", t0)
	if _, ok := ss.get(r, t0.Add(sessionIdle)); ok {
		t.Error("it is silent and goes on")
	}
	if _, ok := ss.get(r, t0); ok {
		t.Error("it has come back")
	}
	r = start("c", t0)
	live := r.Clone(t.Context())
	live.URL.Path = "/live/now"
	for at := time.Duration(0); at < sessionIdle; at += time.Minute {
		if _, ok := ss.get(live, t0.Add(at)); !ok {
			t.Errorf("after %s an open page has no session", at)
		}
	}
	if _, ok := ss.get(live, t0.Add(sessionIdle)); ok {
		t.Error("a page that updates itself keeps the session of somebody who has left")
	}
	first := start("first", t0)
	for i := range maxSessions + 10 {
		start("x", t0.Add(time.Duration(i+1)*time.Millisecond))
	}
	if _, ok := ss.get(first, t0.Add(time.Second)); ok || len(ss.open) != maxSessions {
		t.Errorf("%v, %d sessions", ok, len(ss.open))
	}
	ss.drop(func(*session) bool { return true })
	if len(ss.open) != 0 {
		t.Errorf("%d sessions", len(ss.open))
	}
}

// TestClients: only so many clients are remembered, and the one that was silent longest is
// forgotten.
func TestClients(t *testing.T) {
	now := time.Now()
	r := &Rates{Now: func() time.Time { return now }}
	for range rateOf[wrong].burst {
		r.Failed("bad")
	}
	if r.MayTry("bad") || !r.MayTry("good") {
		t.Error("the limit of wrong credentials does not hold")
	}
	for i := range maxClients - 1 {
		r.Allow(fmt.Sprint("x", i), Reads)
		r.MayTry("bad") // it is not silent
	}
	if r.MayTry("bad") || len(r.clients) != maxClients || r.recent.Len() != maxClients {
		t.Errorf("%d clients", len(r.clients))
	}
}

func TestLocalPath(t *testing.T) {
	for in, want := range map[string]string{"/a?b=c": "/a?b=c", "/": "/", "": "/", "a": "/", "//a": "/", "/\\a": "/", "http:/a": "/", "http:a": "/", "/a\nb": "/", "/%zz": "/"} {
		if have := localPath(in); have != want {
			t.Errorf("%q: %q", in, have)
		}
	}
}

func TestGroups(t *testing.T) {
	for in, want := range map[string]string{`["a","b"]`: "a b", `"a"`: "a", `[]`: "", `null`: ""} {
		var g groups
		if err := json.Unmarshal([]byte(in), &g); err != nil || strings.TrimSpace(strings.Join(g, " ")) != want {
			t.Errorf("%s: %q %v", in, g, err)
		}
	}
	for _, in := range []string{`{}`, `1`, `[1]`, `[["a"]]`} {
		var g groups
		if err := json.Unmarshal([]byte(in), &g); err == nil {
			t.Errorf("%s: %q", in, g)
		}
	}
}

func TestSecretFile(t *testing.T) {
	for _, x := range []struct {
		text string
		mode fs.FileMode
		want string
	}{
		{"a secret\n", 0o600, "a secret"}, {"a secret\r\n", 0o640, "a secret"}, {" x ", 0o400, " x "},
		{"a secret", 0o644, ""}, {"a secret", 0o602, ""}, {"", 0o600, ""}, {"\n", 0o600, ""}, {strings.Repeat("x", maxSecret+1), 0o600, ""},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chmod(path, x.mode)
		have, err := readSecret(path)
		if have != x.want || (err == nil) != (x.want != "") || err != nil && len(x.text) > 1 && strings.Contains(err.Error(), x.text) {
			t.Errorf("%q %v: %q %v", x.text, x.mode, have, err)
		}
	}
}
