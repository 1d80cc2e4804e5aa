package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/store/storetest"
)

// A store moves from SQLite to PostgreSQL. It is copied while quell runs. Then quell is
// stopped, and a command that is killed again and again copies the rest. A quell on the copy
// goes on.
func TestStoreCopy(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	database := storetest.Start(t).URL("postgres")
	hop := accept(t)
	i := install(t, hop, hop, "store_timeout: 5s\n")
	i.track(20_000)
	p := i.serve()
	sent := map[[2]int][]byte{} // the same again is the same outage
	suppressed := func(n, hub int) bool {
		t.Helper()
		id := [2]int{n, hub}
		if sent[id] == nil {
			sent[id] = powerOutage(n, hub)
		}
		return post(t, p.north, sent[id]).Get("Quell-Decision") == "suppressed"
	}
	post(t, p.south, preCommand(1))
	if !suppressed(1, 1) || suppressed(2, 2) {
		t.Fatal("the quell before does not work")
	}
	args := []string{"store", "copy", "--from", "sqlite:" + filepath.Join(i.dir, "data"), "--to", database}
	if status, out, errs := quell(nil, args...); status != 1 || !strings.Contains(errs, fmt.Sprintf("in use by another quell (process %d). What it has now is copied", p.Process.Pid)) {
		t.Errorf("while quell runs: %d %s%s", status, out, errs)
	}
	post(t, p.south, preCommand(2))
	if suppressed(2, 2) || !suppressed(3, 2) {
		t.Fatal("the quell before does not work")
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(i.config)
	if err != nil {
		t.Fatal(err)
	}
	i.write(fmt.Sprintf("store: %q\n%s", database, text))
	p = i.serve()
	if s := p.status(t); s == nil || !strings.Contains(strings.Join(s.Degraded, "\n"), "a copy into this database is not complete") {
		t.Errorf("quell on it: %+v", s)
	}
	if suppressed(5, 1) {
		t.Error("quell on it suppresses")
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	kills := 0
	for pause := 10 * time.Millisecond; ; pause += pause / 2 {
		cmd := exec.Command(os.Args[0], args...)
		var out output
		cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), beQuell+"=1"), &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(pause, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		kill.Stop()
		if err == nil {
			if !strings.Contains(out.String(), "The copy is complete.") {
				t.Errorf("it says %s", &out)
			}
			break
		}
		if cmd.ProcessState.ExitCode() >= 0 {
			t.Fatalf("%v\n%s", err, &out)
		}
		kills++
	}
	t.Logf("killed %d times", kills)
	// Once more, for a program. What it prints for people fits 80 columns.
	status, table, errs := quell(nil, args...)
	for line := range strings.Lines(table) {
		if len(line) > 81 && !strings.HasPrefix(line, "The copy is complete.") {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	var copied struct {
		Tables []struct {
			Table, SHA256 string
			Rows          int
		}
	}
	again, document, _ := quell(nil, append(args, "--json")...)
	if err := json.Unmarshal([]byte(document), &copied); err != nil || status+again != 0 || len(copied.Tables) < 20 || len(copied.Tables[0].SHA256) != 64 {
		t.Errorf("%d %d %v\n%s%s", status, again, err, errs, document)
	}
	p = i.serve()
	if !suppressed(1, 1) || suppressed(2, 2) || !suppressed(3, 2) || !suppressed(4, 1) || suppressed(5, 1) {
		t.Error("the quell on the copy decides otherwise")
	}
	if status, out, errs := i.quell("devices", "check", meterID(19_999).String()); status != 0 || !strings.Contains(out, "tracked") {
		t.Errorf("%d %s%s", status, out, errs)
	}
}
