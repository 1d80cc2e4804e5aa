package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/config"
	"quell/internal/remote/remotetest"
	"quell/internal/server"
	"quell/internal/store/storetest"
)

// deployed reads a file of the folder deploy.
func deployed(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replaced replaces old texts by new ones. Each old text must occur.
func replaced(t testing.TB, text string, oldNew ...string) string {
	t.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("the file does not have %q", oldNew[i])
		}
	}
	return strings.NewReplacer(oldNew...).Replace(text)
}

// seconds returns a number of seconds that a file has.
func seconds(t testing.TB, text, pattern string) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`(?m)^\s*` + pattern + `(\d+)s$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s", pattern)
	}
	n, _ := strconv.Atoi(m[1])
	return time.Duration(n) * time.Second
}

// systemd accepts the unit without a complaint, and rates its sandbox well.
func TestUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze; on Debian it is in systemd")
	}
	unit := deployed(t, "quell.service")
	if d := seconds(t, unit, "TimeoutStopSec="); d <= server.StopTimeout+time.Duration(config.Default().Drain) {
		t.Errorf("systemd kills after %s what may take %s to stop", d, server.StopTimeout)
	}
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "quell.service")
	if err := os.WriteFile(file, []byte(replaced(t, unit, "/usr/local/bin/quell ", self+" ")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	// Tenths: 0 is best, 100 is worst. It was 12.
	if out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", file).CombinedOutput(); err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}

// balancer is a running HAProxy with deploy/haproxy.cfg.
type balancer struct {
	t                    testing.TB
	south, north, socket string
	log                  *output
}

// balance starts HAProxy before three nodes. Only the addresses differ from the file, and
// the user if the test does not run as root.
func balance(t testing.TB, nodes []*installation) *balancer {
	t.Helper()
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		if haproxy, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			t.Skip("there is no haproxy; on Debian it is in haproxy")
		}
	}
	dir := t.TempDir()
	b := &balancer{t: t, south: remotetest.FreeAddr(t), north: remotetest.FreeAddr(t), socket: filepath.Join(dir, "s"), log: &output{}}
	edits := []string{"bind :8079", "bind " + b.south, "bind :8089", "bind " + b.north, "/run/haproxy/admin.sock", b.socket}
	for i, n := range nodes {
		ip := fmt.Sprintf("192.0.2.%d", 11+i)
		host, port, _ := net.SplitHostPort(n.admin)
		edits = append(edits, ip+":8079", n.south, ip+":8089", n.north, "addr "+ip+" port 8080", "addr "+host+" port "+port)
	}
	if os.Getuid() != 0 {
		edits = append(edits, "    user haproxy\n", "", "    group haproxy\n", "", "    chroot /var/lib/haproxy\n", "")
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(replaced(t, deployed(t, "haproxy.cfg"), edits...)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(haproxy, "-c", "-f", file).CombinedOutput(); err != nil || bytes.Contains(out, []byte("WARNING")) {
		t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	cmd := exec.Command(haproxy, "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = b.log, b.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy:\n%.20000s", b.log)
		}
	})
	storetest.Eventually(t, "haproxy has checked each node", func() bool {
		s := b.stats()
		for i := range nodes {
			if row := s[fmt.Sprintf("southbound/quell%d", i+1)]; row["check_status"] == "" || row["check_status"] == "INI" {
				return false
			}
		}
		return true
	})
	return b
}

// command sends a command to the stats socket, and returns the answer.
func (b *balancer) command(command string) string {
	c, err := net.Dial("unix", b.socket)
	if err != nil {
		return "" // it does not listen yet
	}
	defer c.Close()
	fmt.Fprintln(c, command)
	text, _ := io.ReadAll(c)
	return strings.TrimSpace(string(text))
}

// stats asks the stats socket. It returns the columns by name for each "backend/server"; nil
// if there is no answer.
func (b *balancer) stats() map[string]map[string]string {
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(b.command("show stat"), "# "))).ReadAll()
	if err != nil || len(rows) < 2 {
		return nil
	}
	all := map[string]map[string]string{}
	for _, row := range rows[1:] {
		m := map[string]string{}
		for i, name := range rows[0] {
			m[name] = row[i]
		}
		all[row[0]+"/"+row[1]] = m
	}
	return all
}

// is waits until both backends have this state for a node. Nodes count from 0.
func (b *balancer) is(node int, status string) {
	b.t.Helper()
	name := fmt.Sprintf("/quell%d", node+1)
	storetest.Eventually(b.t, name+" is "+status, func() bool {
		s := b.stats()
		return s["southbound"+name]["status"] == status && s["northbound"+name]["status"] == status
	})
}

// taken returns how many messages a node has got so far.
func (b *balancer) taken(node int) (n int) {
	s := b.stats()
	for _, backend := range []string{"southbound", "northbound"} {
		k, _ := strconv.Atoi(s[fmt.Sprintf("%s/quell%d", backend, node+1)]["stot"])
		n += k
	}
	return n
}

// Messages pass even if no console answers.
func TestLoadBalancerWithoutChecks(t *testing.T) {
	hop := accept(t)
	var nodes []*installation
	for range 3 {
		n := install(t, hop, hop, "")
		n.serve()
		n.admin = remotetest.FreeAddr(t)
		nodes = append(nodes, n)
	}
	b := balance(t, nodes)
	for i := range nodes {
		b.is(i, "DOWN")
	}
	for n := range 6 {
		post(t, "http://"+b.north, powerOutage(n, 1))
		post(t, "http://"+b.south, preCommand(n))
	}
	for i := range nodes {
		if s := b.stats(); s[fmt.Sprintf("northbound/quell%d-blind", i+1)]["stot"] != "2" {
			t.Errorf("messages are not given to all nodes: %v", s)
		}
	}
}

// passed is what one side of a quell sees of a message, or of an answer.
type passed struct {
	Method, Target, Host string
	Status               int
	Length               int64
	Encoding             []string
	Header, Trailer      http.Header
	Body                 [sha256.Size]byte
}

// mirror is a next hop that remembers the last message, and sends its body back with odd
// headers.
type mirror struct {
	mu   sync.Mutex // guards last
	last passed
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = passed{r.Method, r.RequestURI, r.Host, 0, r.ContentLength, r.TransferEncoding, r.Header, r.Trailer, sha256.Sum256(body)}
	maps.Copy(w.Header(), http.Header{"X-Many": {"1", "2"}, "X-Empty": {""}, "Content-Type": nil, "Date": {"yesterday"}, "Set-Cookie": {"a=b"},
		"Server": {"hop"}, "Cache-Control": {"no-store"}})
	w.WriteHeader(http.StatusMultiStatus)
	w.Write(body)
}

// try sends a message with odd headers, and returns what the next hop and the
// sender saw.
func (m *mirror) try(t *testing.T, client *http.Client, addr, method, target string, body []byte, chunked bool) (there, back passed) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+addr, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque, req.Host = target, "motorway.example:8079"
	if chunked {
		req.ContentLength, req.Trailer = -1, http.Header{"X-Sum": {"12"}}
	}
	maps.Copy(req.Header, http.Header{"Content-Type": {"application/xml; charset=utf-8"}, "X-Many": {"b", "a", "b"}, "X-Empty": {""},
		"X-Forwarded-For": {"192.0.2.99"}, "Forwarded": {"for=_x"}, "Via": {"1.1 far"}, "Cookie": {"a=1; b=2"}, "Accept-Encoding": {"gzip, x;q=0"},
		"Authorization": {"Basic eDp5"}, "User-Agent": {""}, "X-Long": {strings.Repeat("long ", 1500)}, "X-Latin": {"caf\xe9"}})
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, passed{Status: res.StatusCode, Length: res.ContentLength, Encoding: res.TransferEncoding, Header: res.Header, Trailer: res.Trailer,
		Body: sha256.Sum256(answer)}
}

// A next hop and a sender see the same with HAProxy and without it.
func TestLoadBalancerChangesNothing(t *testing.T) {
	if d := seconds(t, deployed(t, "haproxy.cfg"), "timeout server "); d < server.StopTimeout {
		t.Errorf("haproxy gives up after %s, before quell does", d)
	}
	m := &mirror{}
	hop := httptest.NewServer(m)
	t.Cleanup(hop.Close)
	nodes := make([]*installation, 3)
	for i := range nodes {
		nodes[i] = install(t, hop.URL+"/base", hop.URL+"/base", "")
		nodes[i].serve()
	}
	b := balance(t, nodes)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(client.CloseIdleConnections)
	large := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{}).Read(large)
	for _, c := range []struct {
		method, target string
		body           []byte
		chunked        bool
	}{
		{"POST", "/", powerOutage(1, 1), false},
		{"POST", "/a%2Fb//c/../d;x=1?q=%7e&q=+&&%00", powerOutage(2, 1), true},
		{"POST", "/?", large, false},
		{"POST", "/.//two", large, true},
		{"PUT", "/x", []byte("\xef\xbb\xbf\r\n\x00"), false},
		{"GET", "/x?y", nil, false},
		{"DELETE", "/x", nil, false},
	} {
		for _, way := range []struct{ direct, through string }{{nodes[0].south, b.south}, {nodes[0].north, b.north}} {
			wantThere, wantBack := m.try(t, client, way.direct, c.method, c.target, c.body, c.chunked)
			there, back := m.try(t, client, way.through, c.method, c.target, c.body, c.chunked)
			if !reflect.DeepEqual(there, wantThere) {
				t.Errorf("%s %s: the next hop sees\n%+v\nwithout haproxy\n%+v", c.method, c.target, there, wantThere)
			}
			if !reflect.DeepEqual(back, wantBack) {
				t.Errorf("%s %s: the sender sees\n%+v\nwithout haproxy\n%+v", c.method, c.target, back, wantBack)
			}
			if there.Target != "/base"+c.target || there.Body != sha256.Sum256(c.body) || back.Body != there.Body || back.Status != http.StatusMultiStatus {
				t.Errorf("%s %s: %+v %+v", c.method, c.target, there, back)
			}
		}
	}
}
