package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/console"
	"quell/internal/operator"
	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"

	"github.com/rogpeppe/go-internal/testscript"
)

// If the first of these variables is set, the test binary is quell itself. It kills itself
// when a report reaches the step in the second, and panics at the step in the fourth. The
// third is how many bytes of the log may wait, and the fifth its version.
const (
	beQuell    = "QUELL_TEST_MAIN"
	dieAt      = "QUELL_TEST_DIE_AT"
	logLimitOf = "QUELL_TEST_LOG_LIMIT"
	panicAt    = "QUELL_TEST_PANIC_AT"
	releaseOf  = "QUELL_TEST_RELEASE"
)

func TestMain(m *testing.M) {
	if os.Getenv(beQuell) == "" {
		// Else each process that is watched for races takes a second longer to end.
		os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
		testscript.Main(m, map[string]func(){"quell": main}) // exits
	}
	release = os.Getenv(releaseOf)
	if os.Getenv(dieAt)+os.Getenv(logLimitOf)+os.Getenv(panicAt) == "" {
		main()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	limit, _ := strconv.Atoi(os.Getenv(logLimitOf))
	os.Exit(run(ctx, &env{logLimit: limit, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), reached: func(step string) {
		if step == os.Getenv(dieAt) {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		if step == os.Getenv(panicAt) {
			panic("as the test wants")
		}
	}}, os.Args[1:]))
}

// process is a running "quell serve".
type process struct {
	*exec.Cmd
	log                 *output
	south, north, admin string
	exited              chan error
}

// output is what a process has printed so far.
type output struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// installation is a folder with a configuration.
type installation struct {
	t                   testing.TB
	dir, config         string
	south, north, admin string
	program             string   // for serve; by default the test itself
	stderr              *os.File // of the next process; nil: process.log
}

// install returns an installation that is not started. Tests that count reports add
// "every: 10000d", so that no report falls due while they run.
func install(t testing.TB, southHop, northHop, more string) *installation {
	i := &installation{t: t, dir: t.TempDir(), south: remotetest.FreeAddr(t), north: remotetest.FreeAddr(t), admin: remotetest.FreeAddr(t), program: os.Args[0]}
	i.config = filepath.Join(i.dir, "quell.yaml")
	i.write(fmt.Sprintf("data_dir: %s\ndrain: 0s\nsouthbound: {listen: %q, next_hop: %q}\nnorthbound: {listen: %q, next_hop: %q}\nconsole: {listen: %q}\n%s",
		filepath.Join(i.dir, "data"), i.south, southHop, i.north, northHop, i.admin, more))
	return i
}

func (i *installation) write(text string) {
	if err := os.WriteFile(i.config, []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// file writes a file beside the configuration, and returns its path.
func (i *installation) file(name, text string) string {
	name = filepath.Join(i.dir, name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return name
}

// serve starts a quell process and waits until it answers.
func (i *installation) serve(environ ...string) *process {
	i.t.Helper()
	p := i.begin(environ...)
	i.answers(p)
	return p
}

// begin starts a quell process.
func (i *installation) begin(environ ...string) *process {
	i.t.Helper()
	p := &process{Cmd: exec.Command(i.program, "serve", "--config", i.config), log: &output{}, exited: make(chan error, 1),
		south: "http://" + i.south, north: "http://" + i.north, admin: "http://" + i.admin}
	p.Env = append(append(os.Environ(), beQuell+"=1"), environ...)
	p.Stderr = p.log
	if i.stderr != nil {
		p.Stderr = i.stderr
	}
	if err := p.Start(); err != nil {
		i.t.Fatal(err)
	}
	go func() { p.exited <- p.Wait() }()
	i.t.Cleanup(func() { p.Process.Kill() })
	return p
}

// bySocket returns a client of the console that uses its Unix socket, whatever the host in a URL.
func (i *installation) bySocket() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return access.Dial(ctx, filepath.Join(i.dir, "data", "console.sock"))
	}}}
}

// answers waits until a process answers.
func (i *installation) answers(p *process) {
	i.t.Helper()
	c := operator.Client{Socket: filepath.Join(i.dir, "data", "console.sock")}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// The northbound listener is the last to open.
		if l, err := net.Dial("tcp", i.north); err == nil {
			l.Close()
			if s, err := c.Status(context.Background()); err == nil && !starting(s) {
				return
			}
		}
		select {
		case err := <-p.exited:
			i.t.Fatalf("serve ended: %v\n%s", err, p.log)
		default:
			if time.Now().After(deadline) {
				i.t.Fatalf("serve does not answer\n%s", p.log)
			}
		}
	}
}

// starting reports whether a status says that the start is not complete. A store that does
// not answer does not count.
func starting(s console.Status) bool {
	return slices.ContainsFunc(s.Degraded, func(text string) bool {
		return strings.Contains(text, "is being opened") || strings.Contains(text, "are being read")
	})
}

// stop ends a process with a signal, and returns its error.
func (p *process) stop(sig os.Signal) error {
	p.Process.Signal(sig)
	return <-p.exited
}

// quell runs a command in this process.
func (i *installation) quell(args ...string) (status int, stdout, stderr string) {
	return quell([]string{"QUELL_CONFIG=" + i.config}, args...)
}

func quell(environ []string, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(context.Background(), &env{stdout: &out, stderr: &errs, environ: environ}, args)
	return status, out.String(), errs.String()
}

const (
	inventoryHead = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	someMeter     = "00-DB-12-34-56-78-90-A0"
	someHub       = "88-73-84-57-00-2F-96-1E"
	someDevice    = someMeter + ",ESME,SMETS2 v4.2,Landis+Gyr,E470," + someHub + ",1200023305967\n"
)

func accept(t testing.TB) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	t.Cleanup(s.Close)
	return s.URL
}

// Commands connect to the console directly, even if the environment names a proxy.
func TestNoProxyToConsole(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	// Go uses no proxy for loopback, so the console is at another address.
	own := ""
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			own = n.IP.String()
		}
	}
	if own == "" {
		t.Skip("skip allowed: this machine has no address but loopback")
	}
	_, port, _ := net.SplitHostPort(i.admin)
	text := string(read(t, i.config))
	i.admin = net.JoinHostPort(own, port)
	i.write(strings.Replace(text, "console: {listen: \"127.0.0.1:"+port+"\"", fmt.Sprintf("console: {insecure: true, listen: %q", i.admin), 1))
	i.serve()
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Error(w, "no", http.StatusBadGateway)
	}))
	t.Cleanup(proxy.Close)
	// Without credentials the console tells another machine only whether it is ready.
	for path, want := range map[string]string{"/healthz": "200 ok\n", "/readyz": "200 {\n  \"ready\": true\n}\n", "/metrics": "401 ", "/api/v1/status": "401 ", "/api/v1/events": "401 "} {
		res, err := http.Get("http://" + i.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if have := fmt.Sprint(res.StatusCode, " ", string(text)); !strings.HasPrefix(have, want) {
			t.Errorf("%s from another address: %s", path, have)
		}
	}
	status, token, errs := i.quell("token", "create", "--name", "far", "--role", "viewer")
	if status != 0 {
		t.Fatal(errs)
	}
	cmd := exec.Command(os.Args[0], "switch", "--console", "http://"+i.admin)
	cmd.Env = append(os.Environ(), beQuell+"=1", "QUELL_TOKEN="+strings.TrimSpace(token), "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "The switch is on.") || asked.Load() != 0 {
		t.Errorf("%v, the proxy was asked %d times\n%s", err, asked.Load(), out)
	}
}

func getJSON(t testing.TB, url string, v any) {
	t.Helper()
	res, err := http.Get(url)
	for err == nil && res.StatusCode == http.StatusTooManyRequests { // a test asks faster than a client may
		res.Body.Close()
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		time.Sleep(time.Duration(seconds) * time.Second)
		res, err = http.Get(url)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(v); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %s, %v", url, res.Status, err)
	}
}

// A stop waits for messages under way. The next hop answers after the signal, and the sender
// gets the answer.
func TestGracefulStop(t *testing.T) {
	arrived, answer := make(chan bool), make(chan bool)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		<-answer
		fmt.Fprint(w, "late")
	}))
	t.Cleanup(slow.Close)
	p := install(t, slow.URL, slow.URL, "").serve()
	got := make(chan string)
	go func() {
		res, err := http.Post(p.north, "application/xml", strings.NewReader("<x/>"))
		if err != nil {
			got <- err.Error()
			return
		}
		b, _ := io.ReadAll(res.Body)
		got <- string(b)
	}()
	<-arrived
	p.Process.Signal(syscall.SIGTERM)
	storetest.Eventually(t, "it takes no new connections", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.north, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	answer <- true
	if s := <-got; s != "late" {
		t.Errorf("the sender got %q", s)
	}
	if err := <-p.exited; err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
}

// TestDrain: after SIGTERM quell says that it is not ready, and takes messages as before, for the
// time that is set. Only then does it stop.
func TestDrain(t *testing.T) {
	t.Parallel() // it waits more than it computes
	hop := accept(t)
	i := install(t, hop, hop, "")
	const drain = 4 * time.Second // long, for a busy machine
	i.write(strings.Replace(string(read(t, i.config)), "drain: 0s", "drain: "+drain.String(), 1))
	p := i.serve()
	began := time.Now()
	p.Process.Signal(syscall.SIGTERM)
	ready := func() int {
		res, err := http.Get(p.admin + "/readyz")
		if err != nil {
			return 0
		}
		res.Body.Close()
		return res.StatusCode
	}
	for ready() == 200 && time.Since(began) < drain {
		time.Sleep(time.Millisecond)
	}
	if got := ready(); got != 503 {
		t.Errorf("/readyz answers %d", got)
	}
	for _, to := range []string{p.south, p.north} {
		res, err := http.Post(to, "application/xml", strings.NewReader("<x/>"))
		if err != nil {
			t.Errorf("a message while it drains: %v", err)
			continue
		}
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("a message while it drains: %s", res.Status)
		}
	}
	if err := <-p.exited; err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
	if took := time.Since(began); took < drain {
		t.Errorf("it stopped after %v", took)
	}
}
