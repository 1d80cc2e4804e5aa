package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Windows are listed and closed by hand on a running quell, and on one that is
// stopped: alerts go forward at once, explain says why, and so do the reports.
func TestCloseWindows(t *testing.T) {
	hop := accept(t)
	esi := filepath.Join(t.TempDir(), "esi")
	if err := os.Mkdir(esi, 0o700); err != nil {
		t.Fatal(err)
	}
	i := install(t, hop, hop, "report: {every: 1d, remotes: [{name: esi, target: "+esi+"}]}\n")
	i.track(3)
	p := i.serve()
	run := func(status int, says string, args ...string) string {
		t.Helper()
		have, out, errs := i.quell(args...)
		if have != status || !strings.Contains(out+errs, says) {
			t.Errorf("quell %v: status %d, want %d and %q\n%s%s", args, have, status, says, out, errs)
		}
		return out
	}
	sent := 0
	alert := func(hub int, decision string) {
		t.Helper()
		sent++
		if got := p.post(t, p.north, powerOutage(sent, hub)); got != decision {
			t.Errorf("an alert of hub %d: %s, want %s", hub, got, decision)
		}
	}
	run(0, "No window is open or pending.", "window", "list")
	run(1, "no window is open or pending: nothing was closed", "window", "close", "--all", "--why", "a test")
	for n := range 3 {
		p.post(t, p.south, preCommand(n))
		alert(n, "suppressed")
	}
	meter, hub := meterID(0).String(), strings.ToLower(strings.ReplaceAll(hubID(1).String(), "-", ""))
	if out := run(0, meter, "window", "list"); strings.Count(out, "  open\n") != 3 {
		t.Errorf("list:\n%s", out)
	}
	if out := run(0, "There are more", "window", "list", "--limit", "2"); strings.Count(out, "  open\n") != 2 {
		t.Errorf("list:\n%s", out)
	}
	if out := run(0, meterID(1).String(), "window", "list", hub); strings.Count(out, "  open\n") != 1 {
		t.Errorf("list:\n%s", out)
	}
	if out := run(0, meter, "window", "list", "--supplier", originator.String()); strings.Count(out, "  open\n") != 3 {
		t.Errorf("list:\n%s", out)
	}
	run(0, "No window is open or pending.", "window", "list", "--supplier", meter)

	run(2, "say why: --why TEXT", "window", "close", meter)
	run(2, "say why: --why TEXT", "window", "close", meter, "--why", " ")
	run(2, "say whose windows", "window", "close", "--why", "x")
	run(2, "say whose windows", "window", "close", meter, "--all", "--why", "x")
	run(2, "neither an EUI-64", "window", "close", "x", "--why", "x")
	run(2, "--why and --all are of close", "window", "list", "--all")
	run(2, "--limit is of list", "window", "close", meter, "--why", "x", "--limit", "1")
	run(2, "say what to do", "window", "open", meter)
	run(2, "say what to do", "window")
	alert(0, "suppressed")

	run(0, "Closed: 1.", "window", "close", meter, "--why", "a fault of the grid")
	alert(0, "forwarded")
	alert(1, "suppressed")
	run(1, "nothing was closed", "window", "close", meter, "--why", "again")
	run(0, "closed by hand, by "+whoami()+": a fault of the grid", "explain", meter)
	p.post(t, p.south, preCommand(0)) // a retry
	alert(0, "forwarded")

	// Without a quell that runs, as well.
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	run(0, "No quell is running; this takes effect at its next start.", "window", "close", hub, "--why", "while it is away")
	p = i.serve()
	alert(1, "forwarded")
	alert(2, "suppressed")
	run(0, "Closed: 1.", "window", "close", "--all", "--why", "all of it")
	alert(2, "forwarded")
	run(0, "No window is open or pending.", "window", "list")

	run(0, "", "report", "cut")
	wait(t, "the report is delivered", func() bool {
		out := run(0, "", "report", "list")
		return strings.Contains(out, "esi confirmed")
	})
	files, err := filepath.Glob(filepath.Join(esi, "*.csv"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"," + meter + ",1," + whoami() + ",a fault of the grid,", "," + hubID(1).String() + ",1," + whoami() + ",while it is away,", ",all,1," + whoami() + ",all of it,",
	} {
		if !strings.Contains(string(text), want) || !strings.Contains(string(text), "S,change,windows,") {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	run(0, "", "report", "verify", esi)
}

// "Why was this alert not suppressed?": explain says of which 11.3 it is that it was not
// tracked, and why.
func TestExplainUntracked(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	i.track(2)
	if status, _, errs := i.quell("devices", "import", "--force", i.file("short.txt", meterID(0).String()+"\n")); status != 0 {
		t.Fatal(errs)
	}
	p := i.serve()
	p.post(t, p.south, preCommand(1))
	if got := p.post(t, p.north, powerOutage(1, 1)); got != "forwarded" {
		t.Errorf("the alert: %s", got)
	}
	for _, id := range []string{meterID(1).String(), hubID(1).String(), originator.String() + ":" + meterID(1).String() + ":2", alertID(1, 1).String()} {
		wait(t, "explain "+id, func() bool {
			status, out, _ := i.quell("explain", id)
			return status == 0 && strings.Contains(out, "was not tracked and opened no window: the device is not in the device list.")
		})
	}
}

// post sends a message, and returns what quell says that it decided.
func (p *process) post(t testing.TB, to string, body []byte) string {
	t.Helper()
	res, err := http.Post(to, "application/xml", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", to, res.Status, err)
	}
	return res.Header.Get("Quell-Decision")
}
