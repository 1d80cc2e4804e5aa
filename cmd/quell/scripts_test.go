//go:build !race

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/remote/remotetest"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs quell from the command line, as operators do. The first script in
// testdata/script says how to read and write them. They start hundreds of processes, which take
// long to begin when they are watched.
//
// TestListings goes the same way under the race detector.
func TestScripts(t *testing.T) {
	checkScripts(t)
	hop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	t.Cleanup(hop.Close)
	t.Setenv("GOTMPDIR", t.TempDir()) // where testscript makes folders, of which it leaves one when only some scripts run
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		UpdateScripts:      *update,
		Setup:              func(e *testscript.Env) error { return prepare(e, hop.URL) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": startQuell, "end": endQuell, "send": send, "get": get, "exits": exits, "until": until, "plain": plain,
		},
	})
}

// checkScripts checks rules for scripts that testscript does not know.
func checkScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*")
	if err != nil {
		t.Fatal(err)
	}
	story := regexp.MustCompile(`\A(# .+\n){2,}`)
	leaves := regexp.MustCompile(`(?m)^(?:\[.*\] *)?(?:stop|skip)\b`)
	status := regexp.MustCompile(`(?m)^(?:\[.*\] *)?! *(?:exec +)?(?:quell|sh)\b`)
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines, _, _ := bytes.Cut(text, []byte("\n-- "))
		if filepath.Ext(name) != ".txtar" {
			t.Errorf("%s is not run: its name does not end with .txtar", name)
		}
		if !story.Match(lines) {
			t.Errorf("%s does not begin with two lines of comment that tell its story", name)
		}
		if leaves.Match(lines) {
			t.Errorf("%s: stop and skip let a script pass before its end", name)
		}
		if status.Match(lines) {
			t.Errorf("%s: a command that fails is run with exits, which says its exit status", name)
		}
	}
}

// A scene is what the commands of one script share.
type scene struct {
	t       testing.TB
	dir     string
	environ []string // names of variables
	cmd     *exec.Cmd
	exited  chan error // of cmd; nil: none runs
}

type sceneKey struct{}

// prepare sets the variables of a script, and puts their values into the configurations.
func prepare(e *testscript.Env, hop string) error {
	s := &scene{t: e.T().(testing.TB), dir: e.WorkDir}
	south := remotetest.FreeAddr(s.t)
	_, port, _ := strings.Cut(south, ":")
	e.Setenv("QUELL_CONFIG", filepath.Join(e.WorkDir, "quell.yaml"))
	e.Setenv("SOUTH", south)
	e.Setenv("SOUTH_PORT", port)
	for _, name := range []string{"NORTH", "CONSOLE", "OTHER_SOUTH", "OTHER_NORTH", "OTHER_CONSOLE"} {
		e.Setenv(name, remotetest.FreeAddr(s.t))
	}
	e.Setenv("HOP", hop)
	e.Setenv("HOP_ADDR", strings.TrimPrefix(hop, "http://"))
	e.Setenv("WHO", who(s.t))
	e.Setenv(outageBegan, time.Now().UTC().Format(time.RFC3339))
	for _, v := range e.Vars {
		name, _, _ := strings.Cut(v, "=")
		s.environ = append(s.environ, name)
	}
	e.Values[sceneKey{}] = s
	configs, err := filepath.Glob(filepath.Join(e.WorkDir, "*.yaml"))
	for _, name := range configs {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, []byte(os.Expand(string(text), e.Getenv)), 0o600)
		}
		if err != nil {
			return err
		}
	}
	e.Defer(func() {
		if err := s.end(); err != nil {
			s.t.Error(err)
		}
		if log, err := os.ReadFile(s.log()); err == nil && s.t.Failed() {
			s.t.Logf("quell.log of the script:\n%s", log)
		}
	})
	return err
}

// who returns the name under which quell records the user who runs the tests.
func who(t testing.TB) string {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

func (s *scene) log() string { return filepath.Join(s.dir, "quell.log") }

// startQuell starts "quell serve" in the background, and waits until it answers.
func startQuell(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(sceneKey{}).(*scene)
	if neg || len(args) > 0 || s.exited != nil {
		ts.Fatalf("usage: start; and one quell at a time")
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	s.cmd = exec.Command("quell", "serve")
	s.cmd.Dir, s.cmd.Stderr = s.dir, log
	for _, name := range s.environ {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	ts.Check(s.cmd.Start())
	ts.Setenv("PID", strconv.Itoa(s.cmd.Process.Pid))
	exited := make(chan error, 1)
	go func() { exited <- s.cmd.Wait() }()
	s.exited = exited
	// The listeners open one after the other, northbound last.
	for deadline := time.Now().Add(scriptWait); !answers(ts.Getenv("CONSOLE"), ts.Getenv("NORTH")); time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-exited:
			s.exited = nil
			ts.Fatalf("quell ended: %v", err)
		default:
			if time.Now().After(deadline) {
				ts.Fatalf("quell does not answer")
			}
		}
	}
}

// scriptWait is how long a script waits for anything.
const scriptWait = 30 * time.Second

// answers reports whether a quell answers, and its start is complete.
func answers(console, north string) bool {
	c, err := net.Dial("tcp", north) // and no message: it would be passed on
	if err != nil {
		return false
	}
	c.Close()
	_, metrics, err := fetch(noKeepAlive, "http://"+console+"/metrics")
	return err == nil && bytes.Contains(metrics, []byte("\nquell_starting 0\n"))
}

// noKeepAlive uses a connection for one message only, so none survives a restart of quell.
var noKeepAlive = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: scriptWait}

// bySocket asks the console of the script's quell over its Unix socket.
func (s *scene) bySocket() *http.Client {
	return &http.Client{Timeout: scriptWait, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return access.Dial(ctx, filepath.Join(s.dir, "data", "console.sock"))
	}}}
}

// fetch gets a URL. A status other than 200 is an error.
func fetch(client *http.Client, url string) (http.Header, []byte, error) {
	res, err := client.Get(url)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, res.Status)
	}
	return res.Header, body, err
}

// endQuell stops the quell that runs gracefully.
func endQuell(ts *testscript.TestScript, neg bool, args []string) {
	s := ts.Value(sceneKey{}).(*scene)
	if neg || len(args) > 0 || s.exited == nil {
		ts.Fatalf("usage: end; after start")
	}
	ts.Check(s.end())
}

func (s *scene) end() error {
	if s.exited == nil {
		return nil
	}
	exited := s.exited
	s.exited = nil
	s.cmd.Process.Signal(syscall.SIGTERM) // if it has gone, exited says so
	select {
	case err := <-exited:
		if err != nil {
			return fmt.Errorf("quell did not stop without an error: %w", err)
		}
		return nil
	case <-time.After(scriptWait):
		s.cmd.Process.Kill()
		return errors.New("quell does not end")
	}
}

// exits runs a command that must have an exit status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	have := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		have = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if have != want {
		ts.Fatalf("exit status %d, want %d", have, want)
	}
}

// until runs a command again and again, until it succeeds and prints a text that matches
// (count times, if that is given).
func until(ts *testscript.TestScript, neg bool, args []string) {
	count := 0
	if len(args) > 0 {
		if n, ok := strings.CutPrefix(args[0], "-count="); ok {
			var err error
			count, err = strconv.Atoi(n)
			ts.Check(err)
			args = args[1:]
		}
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until [-count=N] REGEXP COMMAND...")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline, pause := time.Now().Add(scriptWait), 20*time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		text, err := outputOf(ts, args[1:])
		if n := len(re.FindAllString(text, -1)); err == nil && n > 0 && (n == count || count == 0) {
			io.WriteString(ts.Stdout(), text)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("never: %s\n%s%v", args[0], text, err)
		}
		time.Sleep(pause)
	}
}

// outputOf runs a command, and returns its standard output.
func outputOf(ts *testscript.TestScript, args []string) (string, error) {
	if args[0] != "get" {
		err := ts.Exec(args[0], args[1:]...)
		return ts.ReadFile("stdout"), err
	}
	_, body, err := fetch(ts.Value(sceneKey{}).(*scene).bySocket(), "http://localhost"+strings.Join(args[1:], ""))
	return string(body), err
}

// varies has what is different each time a script runs, and what plain writes instead.
var varies = []struct {
	*regexp.Regexp
	plain string
}{
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?\b`), "<time>"},
	{regexp.MustCompile(`\d{8}T\d{9}Z`), "<time>"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<sha256>"},
	{regexp.MustCompile(`\b\d+ bytes\b`), "<n> bytes"},
	{regexp.MustCompile(`\b[\d.]+ [KM]?i?B\b`), "<size>"},
	{regexp.MustCompile(`(\S)   +`), "$1  "}, // tables are as wide as what is in them
	{regexp.MustCompile(`\r\n`), "\n"},       // scripts have no other end of a line
}

// plain replaces in what a command printed what is different each time, for cmp.
func plain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: plain")
	}
	for name, w := range map[string]io.Writer{"stdout": ts.Stdout(), "stderr": ts.Stderr()} {
		text := ts.ReadFile(name)
		for _, v := range []string{"WORK", "SOUTH", "NORTH", "CONSOLE", "HOP", "WHO"} {
			if value := ts.Getenv(v); value != "" {
				text = strings.ReplaceAll(text, value, "$"+v)
			}
		}
		for _, v := range varies {
			text = v.ReplaceAllString(text, v.plain)
		}
		io.WriteString(w, text)
	}
}

// get prints the answer of the console, and its header on standard error. With ! the answer
// must be an error.
func get(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: get PATH")
	}
	header, body, err := fetch(ts.Value(sceneKey{}).(*scene).bySocket(), "http://localhost"+args[0])
	ts.Check(header.Write(ts.Stderr()))
	ts.Stdout().Write(body)
	if neg && err == nil {
		ts.Fatalf("it is answered")
	}
	if !neg {
		ts.Check(err)
	}
}

// outageBegan is the variable with the start of all outages: it is the same each time, so that the
// same alert again is the same outage.
const outageBegan = "OUTAGE_BEGAN"

// send sends a message, and prints the status of the answer, or quell's decision.
func send(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: send 11.3 NUMBER for METER [in DURATION], or send AD1 NUMBER from HUB"
	order := outage.Order{Kind: outage.OnDemand}
	if len(args) == 6 && args[0]+args[4] == "11.3in" {
		ahead, err := time.ParseDuration(args[5])
		ts.Check(err)
		order, args = outage.Order{Kind: outage.FutureDated, At: time.Now().Add(ahead)}, args[:4]
	}
	if neg || len(args) != 4 {
		ts.Fatalf(usage)
	}
	number, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	device, err := outage.ParseAnyDeviceID(args[3])
	ts.Check(err)
	var to string
	var body []byte
	switch args[0] + " " + args[2] {
	case "11.3 for":
		id := outage.RequestID{Originator: originator, Target: device, Counter: number}
		command := gbcs.AppendCS06(nil, gbcs.CS06{Originator: id.Originator, Target: id.Target, Counter: id.Counter, Order: order})
		to, body = "SOUTH", duis.AppendSignedPreCommand(nil, id, 5, order, gbcs.AppendSigned(nil, command, [64]byte{}))
	case "AD1 from":
		began, err := time.Parse(time.RFC3339, ts.Getenv(outageBegan))
		ts.Check(err)
		to, body = "NORTH", duis.AppendPowerOutage(nil, outage.RequestID{Originator: device, Target: operatorID, Counter: number}, time.Now().UTC(),
			duis.PowerOutage{CHF: device, Start: began, MPxN: supplyPoint})
	default:
		ts.Fatalf(usage)
	}
	res, err := noKeepAlive.Post("http://"+ts.Getenv(to), "application/xml", bytes.NewReader(body))
	ts.Check(err)
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	ts.Check(err)
	if res.StatusCode != http.StatusOK {
		ts.Fatalf("%s", res.Status)
	}
	answer := res.Status
	if decision := res.Header.Get("Quell-Decision"); decision != "" {
		answer = decision + ", " + res.Header.Get("Quell-Reason")
	}
	fmt.Fprintln(ts.Stdout(), answer)
}
