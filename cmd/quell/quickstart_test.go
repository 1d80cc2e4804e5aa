package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/remote/remotetest"
)

// root is the top of the repository.
const root = "../.."

// quickstart returns the commands and the configuration of README.md's quickstart.
func quickstart(t *testing.T) (commands, config string) {
	t.Helper()
	_, text, ok := strings.Cut(string(read(t, filepath.Join(root, "README.md"))), "\n## Quickstart\n")
	if text, _, _ = strings.Cut(text, "\n## "); !ok {
		t.Fatal("README.md has no quickstart")
	}
	blocks := regexp.MustCompile("(?ms)^```(sh|yaml)\n(.*?)^```$").FindAllStringSubmatch(text, -1)
	if len(blocks) != 2 || blocks[0][1] != "sh" || blocks[1][1] != "yaml" {
		t.Fatalf("the quickstart's blocks are %q", blocks)
	}
	return blocks[0][2], blocks[1][2]
}

// clone returns a folder that commands can use like the top of a clone: they may write
// there, and build the packages, which are links.
func clone(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"examples", "scripts"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(root, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "cmd", "internal"} {
		there, err := filepath.Abs(filepath.Join(root, name))
		if err == nil {
			err = os.Symlink(there, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The commands of the quickstart do what README.md says. A shell runs them as they are, in a
// folder like the top of a clone. Only the ports differ.
func TestQuickstart(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl; on Debian it is in curl")
	}
	commands, config := quickstart(t)
	if have := string(read(t, filepath.Join(root, "examples/quell.yaml"))); have != config {
		t.Errorf("README.md shows\n%s\nexamples/quell.yaml is\n%s", config, have)
	}
	dir := clone(t)
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	addresses := slices.Compact(slices.Sorted(slices.Values(address.FindAllString(config, -1))))
	if len(addresses) != 5 {
		t.Fatalf("the configuration has the addresses %q", addresses)
	}
	var others []string // each address, and what is in its place
	for _, a := range addresses {
		others = append(others, a, remotetest.FreeAddr(t))
	}
	elsewhere := strings.NewReplacer(others...)
	if err := os.WriteFile(filepath.Join(dir, "examples/quell.yaml"), []byte(elsewhere.Replace(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range address.FindAllString(commands, -1) {
		if !slices.Contains(addresses, a) {
			t.Errorf("the configuration does not have %s", a)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-e", "-c", elsewhere.Replace(commands))
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // and what it has started
	cmd.WaitDelay = 10 * time.Second                                                     // for what it has left running
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		cmd.Cancel()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`Z  POST /api/v1/serviceS  \d+ bytes: request 11\.3, `, // of the stub to the south
		`<sr:ResponseCode>I99</sr:ResponseCode>`,
		`Quell-Decision: suppressed\r\n`,
		`Quell-Reason: window-open\r\n`,
		`was suppressed \(entry 1\): within the window `,
		`would be suppressed: the window of an activation on the hub is open`,
		`started_before_activation=false`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(string(out), "bytes: alert") {
		t.Error("the alert reached the stub to the north")
	}
	if _, err := os.Stat(filepath.Join(dir, "data/quickstart")); !os.IsNotExist(err) {
		t.Errorf("the data folder still exists: %v", err)
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// A device list that is built into the program is in force after the start.
func TestListBuiltIn(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	dir := clone(t)
	build := exec.Command("bash", "scripts/build.sh")
	build.Dir, build.Env = dir, append(os.Environ(), "DEVICE_LIST=examples/device-list.txt")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hop := accept(t)
	i := install(t, hop, hop, "store_timeout: 5s\n")
	i.program = filepath.Join(dir, "bin/quell")
	p := i.serve()
	if status, _, errs := i.quell("inventory", "import", filepath.Join(dir, "examples/inventory.csv")); status != 0 {
		t.Fatal(errs)
	}
	cmd := exec.Command(i.program, "version", "--config", i.config)
	sum := fmt.Sprintf("%x", sha256.Sum256(read(t, filepath.Join(dir, "examples/device-list.txt"))))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "device list built in: SHA-256 "+sum) ||
		!strings.Contains(string(out), "1 device from built in, SHA-256 "+sum) {
		t.Errorf("version: %v\n%s", err, out)
	}
	post(t, p.south, read(t, filepath.Join(dir, "examples/activate-firmware.xml")))
	if got := post(t, p.north, read(t, filepath.Join(dir, "examples/power-outage.xml"))).Get("Quell-Decision"); got != "suppressed" {
		t.Errorf("an alert of the hub of the listed meter: %s\n%s", got, p.log)
	}
}

// The sample messages are equal to those that quell's own functions write.
func TestExampleMessages(t *testing.T) {
	request := outage.RequestID{Originator: 0x90B3D51F30010000, Target: 0x00DB1234567890A0, Counter: 1001}
	alert := outage.RequestID{Originator: 0x90B3D51F30000002, Target: 0x90B3D51F30020000, Counter: 1002}
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	now := outage.Order{Kind: outage.OnDemand}
	sample := func(name string) duis.Message {
		t.Helper()
		m, err := duis.Read(read(t, filepath.Join(root, "examples", name)))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	activation := sample("activate-firmware.xml")
	for name, c := range map[string]struct {
		have  duis.Message
		write []byte
	}{
		"activate-firmware.xml": {activation, duis.AppendSignedPreCommand(nil, request, 5, now, activation.Payload)},
		"power-outage.xml": {sample("power-outage.xml"),
			duis.AppendPowerOutage(nil, alert, at, duis.PowerOutage{CHF: 0x88738457002F961E, Start: at, MPxN: "1200023305967"})},
	} {
		if want, err := duis.Read(c.write); err != nil || !reflect.DeepEqual(c.have, want) {
			t.Errorf("%s: have %+v\nwant %+v, %v", name, c.have, want, err)
		}
	}
	command, err := gbcs.ReadCS06(activation.Payload)
	want := gbcs.CS06{Originator: request.Originator, Target: request.Target, Counter: request.Counter, ImageHash: command.ImageHash, Order: now}
	if err != nil || !reflect.DeepEqual(command, want) {
		t.Errorf("the payload says %+v, %v", command, err)
	}
}
