package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/duis"
)

// A backup that is put back does not know the reports that were delivered after it. No
// number of a report or of an entry is given out twice: cutting stops, as long as
// nobody has said how to go on, and what was delivered is taken back from its files.
func TestRestoredBackup(t *testing.T) {
	t.Parallel() // it waits more than it computes
	hop := accept(t)
	delivered := t.TempDir()
	i := install(t, hop, hop, fmt.Sprintf("store_timeout: 5s\nreport: {per_distributor: true, remotes: [{name: esi, target: %q}]}\n", delivered))
	i.track(5)
	data := filepath.Join(i.dir, "data")
	database, reports := filepath.Join(data, "quell.db"), filepath.Join(data, "reports")
	p := i.serve()
	run := func(status int, says string, args ...string) {
		t.Helper()
		if s, out, errs := i.quell(args...); s != status || !strings.Contains(out+errs, says) {
			t.Errorf("quell %s: %d %s%s, want %q", strings.Join(args, " "), s, out, errs, says)
		}
	}
	began := time.Now().UTC().Truncate(time.Second) // of all outages, so that the same alert again is a retry
	suppress := func(n, hub int) {
		t.Helper()
		alert := duis.AppendPowerOutage(nil, alertID(n, hub), began, duis.PowerOutage{CHF: hubID(hub), Start: began, MPxN: "1200023305967"})
		if d := post(t, p.north, alert).Get("Quell-Decision"); d != "suppressed" {
			t.Errorf("alert %d is %s", n, d)
		}
	}
	stop := func() {
		t.Helper()
		if err := p.stop(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	cut := func(no int) {
		t.Helper()
		run(0, fmt.Sprintf("Report %d ", no), "report", "cut")
		wait(t, "it is delivered", func() bool { return confirmed(&console.Client{Base: p.admin}, no) })
	}
	copied := func(from, to string) {
		t.Helper()
		if err := os.WriteFile(to, read(t, from), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lacks := func(where string) {
		t.Helper()
		wait(t, "it says so", func() bool {
			text := p.degraded(t)
			return strings.Contains(text, "the store does not know reports that were delivered") && strings.Contains(text, where)
		})
		if !strings.Contains(metrics(t, p.admin), "quell_reports_halted 1\n") {
			t.Error("the metric does not say so")
		}
		run(1, "the store does not know reports that were delivered", "report", "cut")
	}
	for hub := range 5 {
		post(t, p.south, preCommand(hub))
	}
	suppress(1, 0)
	cut(1)
	suppress(2, 0) // in no report when the backup is made
	stop()
	copied(database, database+".backup")

	p = i.serve()
	run(1, "there is nothing to resume", "report", "resume", "--next", "9", "--why", "a test")
	suppress(3, 1)
	cut(2)
	suppress(4, 1)
	suppress(5, 2)
	cut(3)
	stop()
	if err := os.Rename(database+".backup", database); err != nil {
		t.Fatal(err)
	}

	p = i.serve()
	lacks(reports)
	suppress(6, 3) // under a number that was given out
	suppress(4, 1) // the retry of one whose entry is lost
	run(1, "so the next number must be 4 at least", "report", "resume", "--next", "3", "--why", "a test")
	run(0, "the next has the number 4", "report", "resume", "--next", "4", "--why", "a backup was put back")
	wait(t, "all is well", func() bool { return p.degraded(t) == "" })
	suppress(3, 1) // the retry of one that was taken back
	cut(4)
	run(0, "reports 1 to 4 in 4 files with 6 entries", "report", "verify", delivered)
	run(0, "reports 1 to 4 in 4 files with 6 entries", "report", "verify", reports)
	if files, err := filepath.Glob(filepath.Join(delivered, "*_00000004.csv")); err != nil || len(files) != 1 || !strings.Contains(string(read(t, files[0])), "a backup was put back") {
		t.Errorf("report 4 does not say why: %q %v", files, err)
	}
	suppress(7, 4)
	stop()
	copied(database, database+".backup")

	// The whole data folder is put back: only the remote has what it lacks.
	p = i.serve()
	cut(5)
	stop()
	if err := os.Rename(database+".backup", database); err != nil {
		t.Fatal(err)
	}
	later, err := filepath.Glob(filepath.Join(reports, "*_00000005*.csv"))
	if err != nil || len(later) != 2 {
		t.Fatalf("%q %v", later, err)
	}
	for _, name := range later {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	p = i.serve()
	lacks("remote esi")
	run(1, "so the next number must be 6 at least", "report", "resume", "--next", "5", "--why", "a test")
	if files, err := os.ReadDir(delivered); err != nil || len(files) != 5 {
		t.Errorf("the remote has %d files %v", len(files), err)
	}
	for _, name := range later { // as an operator would fetch them
		from := filepath.Join(delivered, filepath.Base(name))
		if _, err := os.Stat(from); err == nil {
			copied(from, name)
		}
	}
	run(0, "the next has the number 6", "report", "resume", "--next", "6", "--why", "once more")
	cut(6)
	run(0, "reports 1 to 6 in 6 files with 7 entries", "report", "verify", delivered)
	stop()
}
