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

	"quell/internal/console"
	"quell/internal/remote/remotetest"
)

// The test binary is quell itself when the first of these variables is set. It
// kills itself as soon as a report reaches the step that the second one names.
// The third is how many bytes of the log may wait, and the fourth a step at which
// it panics.
const (
	beQuell    = "QUELL_TEST_MAIN"
	dieAt      = "QUELL_TEST_DIE_AT"
	logLimitOf = "QUELL_TEST_LOG_LIMIT"
	panicAt    = "QUELL_TEST_PANIC_AT"
)

func TestMain(m *testing.M) {
	if os.Getenv(beQuell) == "" {
		os.Exit(m.Run())
	}
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

// output is what a process prints, while it prints.
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
	program             string   // that serves; the test itself
	stderr              *os.File // of the next process that serves; nil: its log is kept
}

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

// answers waits until a process answers.
func (i *installation) answers(p *process) {
	i.t.Helper()
	c := console.Client{Base: p.admin}
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

// starting reports whether a status says that not all is there yet. A store that does
// not answer is not waited for.
func starting(s console.Status) bool {
	return slices.ContainsFunc(s.Degraded, func(text string) bool {
		return strings.Contains(text, "is being opened") || strings.Contains(text, "are being read")
	})
}

// stop ends a process by a signal and returns its error.
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

func TestCommandLine(t *testing.T) {
	t.Setenv("PGPORT", "no port") // of somebody else's database
	hop := accept(t)
	i := install(t, hop, hop, "")
	for _, c := range []struct {
		args   string
		status int
		says   string // on standard output if the status is 0, else on standard error
	}{
		{"", 0, "Commands:"},
		{"help", 0, "explain"},
		{"help switch", 0, "usage: quell switch [on|shadow|off --why TEXT]"},
		{"explain -h", 0, "judge an alert received at this time"},
		{"rubbish", 2, `there is no command "rubbish"`},
		{"serve now", 2, "takes no arguments"},
		{"switch sideways", 2, "say on, shadow or off"},
		{"switch on", 2, "say why"},
		{"switch --why x", 2, "say on, shadow or off"},
		{"switch on --whynot x", 2, "flag provided but not defined"},
		{"help window", 0, "usage: quell window list [HUB|METER|REQUEST|--supplier EUI]"},
		{"explain", 2, "needs one id"},
		{"explain x --at noon", 2, "is not a time"},
		{"inventory", 2, "say what to import"},
		{"devices import", 2, "import FILE"},
		{"devices list more", 2, "list"},
		{"config", 2, "say check or default"},
		{"config default", 0, "next_hop"},
		{"config check", 0, "valid"},
		{"config check --config /nonexistent", 1, "no such file"},
		{"store", 2, "say what to do: copy"},
		{"store copy", 2, "--from sqlite:DIR"},
		{"store copy --from sqlite:~/x --to postgres:///x", 2, "write the whole path"},
		{"store copy --from sqlite:x --to sqlite:y", 2, "--to postgres://"},
		{"store copy --from sqlite:/nonexistent --to postgres:///x", 1, "no such file"},
		{"version", 0, "device list built in: none"},
		{"version", 0, "no quell answers"},
		{"--version", 0, "device list built in: none"},
		{"-version", 0, "no quell answers"},
		{"--version now", 2, "takes no arguments"},
		{"explain " + someHub, 1, "there is no data folder yet"},
	} {
		status, out, errs := i.quell(strings.Fields(c.args)...)
		says := out
		if c.status != 0 {
			says = errs
		}
		if status != c.status || !strings.Contains(says, c.says) {
			t.Errorf("quell %s: status %d, want %d and %q\n%s%s", c.args, status, c.status, c.says, out, errs)
		}
	}
	if _, _, errs := quell(nil, "explain", someHub); !strings.Contains(errs, "QUELL_CONFIG") {
		t.Errorf("without a configuration: %s", errs)
	}
}

// An operator's day, on a running process and on one that is stopped.
func TestOperate(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	p := i.serve()
	ok := func(wants string, args ...string) {
		t.Helper()
		status, out, errs := i.quell(args...)
		if status != 0 || !strings.Contains(out, wants) {
			t.Errorf("quell %v: status %d, want %q\n%s%s", args, status, wants, out, errs)
		}
	}
	fails := func(wants string, args ...string) {
		t.Helper()
		if status, _, errs := i.quell(args...); status != 1 || !strings.Contains(errs, wants) {
			t.Errorf("quell %v: status %d, want %q\n%s", args, status, wants, errs)
		}
	}
	if status, _, errs := i.quell("serve"); status != 1 || !strings.Contains(errs, fmt.Sprintf("in use by another quell (process %d)", p.Process.Pid)) {
		t.Errorf("a second quell on the folder: %d %s", status, errs)
	}
	inv := i.file("inventory.csv", inventoryHead+someDevice)
	list := i.file("list.txt", "GUID\n# ours\n"+someMeter+"\n")
	ok("inventory: 1 devices", "inventory", "import", inv)
	fails("1 of 1 devices would not be tracked", "devices", "check", someMeter)
	ok("device list: 1 devices", "devices", "import", list)
	ok(someMeter, "devices", "list")
	ok("listed, tracked", "devices", "check", someMeter)
	ok("1 devices from list.txt, SHA-256 ", "version")
	fails("line 3: ", "devices", "import", i.file("bad.txt", "GUID\n"+someMeter+"\nrubbish 1\n"))
	fails("line 2: ", "inventory", "import", i.file("bad.csv", inventoryHead+"rubbish\n"))
	fails("is a folder", "inventory", "import", i.dir)
	ok("listed, tracked", "devices", "check", someMeter)
	ok("The switch is shadow now; it was on.", "switch", "shadow", "--why", "a test")
	ok("The switch is shadow", "explain", someMeter)
	ok("The switch is shadow.\nSince ", "switch")
	ok(": a test\n", "switch")
	fails("not an EUI-64", "explain", "x y")

	// While it runs, a configuration that names the files takes them away from
	// the commands; what cannot change is said.
	text, _ := os.ReadFile(i.config)
	i.write(strings.Replace(string(text), "console:", "store_timeout: 1s\ndevice_list: "+list+"\nhousekeeping: {keep_log: 1d}\nconsole:", 1) + "data_dir2: x\n")
	p.Process.Signal(syscall.SIGHUP)
	wait(t, "a faulty file is refused", func() bool { return strings.Contains(p.log.String(), "did you mean data_dir?") })
	i.write(strings.Replace(string(text), "console:", "store_timeout: 1s\ndevice_list: "+list+"\nconsole: {insecure: true, listen: \""+i.admin+"\"}\n#", 1))
	p.Process.Signal(syscall.SIGHUP)
	wait(t, "the file is read again", func() bool {
		return strings.Contains(p.log.String(), `taken_over="[device_list store_timeout]" needs_restart=[console.insecure]`)
	})
	fails("device_list comes from the configuration", "devices", "import", list)

	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.log)
	}
	ok("no quell answers", "version")
	ok("The switch is shadow.", "switch")
	ok("No quell is running", "switch", "on", "--why", "the test is over")
	ok("No quell is running; this takes effect at its next start.", "inventory", "import", inv)
	ok("An AD1 of hub "+someHub, "explain", "1200023305967", "--at", "2026-03-01T10:00:00Z")
	plain := strings.ToLower(strings.ReplaceAll(someMeter, "-", ""))
	ok("listed, tracked", "devices", "check", plain)
	ok(someMeter+" is an ESME", "explain", plain)
	for _, id := range []string{"1200023305968", "00db1234567890ff", "content:00", someHub + ":" + someMeter + ":1"} {
		fails("nothing is known of "+id, "explain", id)
	}
	fails("nothing is known of 999", "explain", "999", "--json")
	p = i.serve()
	c := console.Client{Base: p.admin}
	if s, err := c.Status(t.Context()); err != nil || s.Switch != "on" || s.DeviceList.Rows != 1 || len(s.Degraded) > 0 {
		t.Errorf("after the restart: %+v %v", s, err)
	}
	var events struct {
		Events []struct{ Who, What, Old, New, Why string }
	}
	getJSON(t, p.admin+"/api/v1/events", &events)
	var turns []string
	for _, e := range events.Events {
		if e.What == "switch" {
			turns = append(turns, e.Old+" to "+e.New+": "+e.Why)
			if e.Who == "" {
				t.Error("nobody turned the switch")
			}
		}
	}
	if got := strings.Join(turns, "; "); got != "shadow to on: the test is over; on to shadow: a test;  to on: first value, from the configuration" {
		t.Errorf("the audit of the switch: %s", got)
	}
}

// Commands speak to the console themselves, whatever proxy the environment names.
func TestNoProxyToConsole(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	// Go asks no proxy about loopback, so the console is at another address.
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
	cmd := exec.Command(os.Args[0], "switch")
	cmd.Env = append(os.Environ(), beQuell+"=1", "QUELL_CONFIG="+i.config, "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "The switch is on.") || asked.Load() != 0 {
		t.Errorf("%v, the proxy was asked %d times\n%s", err, asked.Load(), out)
	}
}

// What a command cannot print, since the disk is full, is its failure.
func TestFullDisk(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	i.serve()
	if status, _, errs := i.quell("devices", "import", i.file("list.txt", someMeter)); status != 0 {
		t.Fatal(errs)
	}
	if status, _, errs := i.quell("inventory", "import", i.file("inventory.csv", inventoryHead+someDevice)); status != 0 {
		t.Fatal(errs)
	}
	for _, args := range []string{"", "help", "help switch", "version", "config default", "config check", "switch", "devices list", "devices check " + someMeter,
		"devices import --dry-run " + filepath.Join(i.dir, "list.txt"), "explain " + someMeter, "explain --json " + someMeter, "report list", "report cut", "report show 1",
		"report export", "report export --format parquet", "report verify " + filepath.Join(i.dir, "data", "reports")} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], strings.Fields(args)...)
		cmd.Env = append(os.Environ(), beQuell+"=1", "QUELL_CONFIG="+i.config)
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &errs
		err = cmd.Run()
		full.Close()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "no space left on device") {
			t.Errorf("quell %s: %v %s", args, err, &errs)
		}
	}
}

func getJSON(t testing.TB, url string, v any) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(v); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %s, %v", url, res.Status, err)
	}
}

func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// A stop waits for the messages under way: the next hop answers after the
// signal, and the sender gets its answer.
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
	wait(t, "it takes no new connections", func() bool {
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
