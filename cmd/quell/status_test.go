package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/store/storetest"
)

// TestStatusOfHungQuell: if something takes the question and does not answer, the exit status is
// 2, after five seconds and not never.
func TestStatusOfHungQuell(t *testing.T) {
	t.Parallel() // it waits more than it computes
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	began := time.Now()
	status, out, errs := quell(nil, "status", "--console", "http://"+l.Addr().String(), "--json")
	if took := time.Since(began); status != 2 || !strings.Contains(errs, "no quell answers") || took < statusWait || took > statusWait+20*time.Second {
		t.Errorf("%d after %v: %s", status, took, errs)
	}
	var v struct{ Error string }
	if err := json.Unmarshal([]byte(out), &v); err != nil || !strings.Contains(v.Error, "no quell answers") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestStatusWatch: with --watch the status comes again and again, also while no quell runs; where
// standard output is no terminal, one after the other and without control characters.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	hop := accept(t)
	i := install(t, hop, hop, "")
	p := i.serve()
	out := &output{}
	c := exec.Command(os.Args[0], "status", "--watch", "--config", i.config)
	c.Env = append(os.Environ(), beQuell+"=1", "TERM=xterm")
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill() })
	storetest.Eventually(t, "it came twice", func() bool { return strings.Count(out.String(), "\nSwitch       on since ") >= 2 })
	p.stop(syscall.SIGTERM)
	storetest.Eventually(t, "it says that no quell answers", func() bool { return strings.Contains(out.String(), "no quell answers") })
	i.serve()
	seen := strings.Count(out.String(), "\nSwitch ")
	storetest.Eventually(t, "it comes again", func() bool { return strings.Count(out.String(), "\nSwitch ") > seen })
	c.Process.Signal(os.Interrupt)
	if err := c.Wait(); c.ProcessState.ExitCode() != 1 { // that of the last: there are no lists
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("%q", out)
	}
}

// TestColours: on a terminal the status has colours, and a watch begins at the top again; with
// NO_COLOR there are none.
func TestColours(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	i.serve()
	for _, x := range []struct {
		environ  []string
		coloured bool
	}{{nil, true}, {[]string{"NO_COLOR="}, true}, {[]string{"NO_COLOR=1"}, false}, {[]string{"TERM=dumb"}, false}} {
		terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
		if err != nil {
			t.Skip("skip allowed: this machine has no terminals: ", err)
		}
		e := &env{stdout: &outlet{Writer: terminal}, stderr: &output{}, environ: append([]string{"QUELL_CONFIG=" + i.config}, x.environ...)}
		if got := e.style().Colours; got != x.coloured {
			t.Errorf("%q: colours %v", x.environ, got)
		}
		var b strings.Builder
		err = showStatus(t.Context(), e, i.config, &b, false)
		if strings.Contains(b.String(), "\x1b[1;31mWrong") != x.coloured || strings.Contains(b.String(), "\x1b") != x.coloured || fmt.Sprint(err.(errExit).status) != "1" {
			t.Errorf("%q: %q, %v", x.environ, b.String(), err)
		}
		terminal.Close()
	}
	var b output
	if e := (&env{stdout: &outlet{Writer: &b}}); e.style().Colours {
		t.Error("colours in a file")
	}
}
