package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/remote/remotetest"
	"quell/internal/store"

	"github.com/parquet-go/parquet-go"
)

// post sends a message, and fails the test if that fails.
func post(t testing.TB, url string, body []byte) http.Header {
	t.Helper()
	res, err := http.Post(url, "application/xml", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %s %v", url, res.Status, err)
	}
	return res.Header
}

// track has the meters of the first n hubs tracked; nothing runs meanwhile.
func (i *installation) track(n int) {
	i.t.Helper()
	p := i.serve() // the data folder comes to be
	p.stop(syscall.SIGTERM)
	var inv, list strings.Builder
	inv.WriteString(inventoryHead)
	for n := range n {
		fmt.Fprintf(&inv, "%s,ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967\n", meterID(n), hubID(n))
		fmt.Fprintln(&list, meterID(n))
	}
	for _, args := range [][]string{
		{"inventory", "import", i.file("inventory.csv", inv.String())}, {"devices", "import", i.file("list.txt", list.String())},
	} {
		if status, _, errs := i.quell(args...); status != 0 {
			i.t.Fatal(errs)
		}
	}
}

// folder returns what stands in a folder.
func folder(t testing.TB, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range list {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name()] = string(text)
	}
	return files
}

// confirmed reports whether all deliveries of all reports are.
func confirmed(c *console.Client, reports int) bool {
	list, err := c.Reports(context.Background(), 1<<62, 1000)
	if err != nil || len(list.Reports) != reports {
		return false
	}
	return !slices.ContainsFunc(list.Reports, func(r store.Report) bool { return pending(r, "") })
}

// kill -9 at each step between the cut of a report and its confirmation: each
// remote has each file once, right to the byte, and nothing else.
func TestKillReporting(t *testing.T) {
	t.Parallel() // it waits more than it computes
	sshd := remotetest.NewSSHD(t, false)
	dav, plain := t.TempDir(), t.TempDir()
	var inTheMiddle atomic.Pointer[process] // is killed in the middle of a file
	url := remotetest.WebDAV(t, dav, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if p := inTheMiddle.Swap(nil); p != nil {
				if r.Method != "PUT" {
					inTheMiddle.Store(p)
				} else {
					r.Body = &killer{r.Body, p, 1000}
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	hop := accept(t)
	i := install(t, hop, hop, fmt.Sprintf("store_timeout: 5s\nreport:\n  per_distributor: true\n  remotes:\n  - {name: plain, target: %q}\n  - {name: esi, target: %q}\n  - {name: dno, target: %q, filter: \"12\"}\n",
		plain, sshd.Target(sshd.Addr, sshd.Dir+"/in"), remotetest.WebDAVTarget(url, "library")))
	i.track(1)
	alerts := 0
	for n, step := range []string{"cut", "rendering", "rendered", "in place", "written",
		"sending", "in the middle", "uploaded", "sent", "recorded as sent", "renamed", "confirmed", "recorded as confirmed"} {
		p := i.serve(dieAt + "=" + step)
		if step == "in the middle" {
			inTheMiddle.Store(p)
		}
		post(t, p.south, preCommand(0))
		for range 20 {
			alerts++
			if h := post(t, p.north, powerOutage(alerts, 0)); h.Get("Quell-Decision") != "suppressed" {
				t.Fatalf("alert %d: %v", alerts, h)
			}
		}
		i.quell("report", "cut") // gets no answer if it dies meanwhile
		select {
		case <-p.exited:
		case <-time.After(20 * time.Second):
			t.Fatalf("it does not reach the step %q\n%s", step, p.log)
		}
		p = i.serve()
		c := &console.Client{Base: p.admin}
		wait(t, "all is delivered after "+step, func() bool { return confirmed(c, n+1) })
		want := folder(t, filepath.Join(i.dir, "data", "reports"))
		whole, part := map[string]string{}, map[string]string{}
		for name, text := range want {
			switch strings.Count(name, "_") {
			case 4:
				whole[name] = text
			default:
				part[name] = text
			}
		}
		if len(whole) != n+1 || len(part) != n+1 {
			t.Fatalf("after %s: %d and %d files of %d reports", step, len(whole), len(part), n+1)
		}
		for dir, want := range map[string]map[string]string{plain: whole, filepath.Join(sshd.Dir, "in"): whole, filepath.Join(dav, "library"): part} {
			got := folder(t, dir)
			for name := range got {
				if got[name] != want[name] {
					t.Errorf("after %s: %s/%s is not what it should be", step, dir, name)
				}
			}
			if len(got) != len(want) {
				t.Errorf("after %s: %d files in %s, want %d", step, len(got), dir, len(want))
			}
		}
		p.stop(syscall.SIGTERM)
	}
	status, out, errs := quell(nil, "report", "verify", plain, filepath.Join(dav, "library"))
	if status != 0 || !strings.Contains(out, fmt.Sprintf(" %d entries", alerts)) {
		t.Errorf("verify: %d %s%s", status, out, errs)
	}
}

// killer kills a process when some of a body has been read.
type killer struct {
	io.ReadCloser
	p    *process
	left int
}

func (k *killer) Read(b []byte) (int, error) {
	if k.left == 0 {
		k.p.Process.Kill()
	}
	n, err := k.ReadCloser.Read(b[:min(len(b), max(1, k.left))])
	k.left = max(0, k.left-n)
	return n, err
}

// An operator's and an analyst's day with reports.
func TestReportCommands(t *testing.T) {
	hop := accept(t)
	plain := t.TempDir()
	i := install(t, hop, hop, fmt.Sprintf("store_timeout: 5s\nreport: {remotes: [{name: esi, target: %q}]}\n", plain))
	i.track(1)
	p := i.serve()
	ok := func(wants string, args ...string) string {
		t.Helper()
		status, out, errs := i.quell(args...)
		if status != 0 || !strings.Contains(out, wants) {
			t.Errorf("quell %v: status %d, want %q\n%s%s", args, status, wants, out, errs)
		}
		return out
	}
	fails := func(status int, wants string, args ...string) {
		t.Helper()
		if got, _, errs := i.quell(args...); got != status || !strings.Contains(errs, wants) {
			t.Errorf("quell %v: status %d, want %d and %q\n%s", args, got, status, wants, errs)
		}
	}
	ok("There are no reports yet.", "report", "list")
	post(t, p.south, preCommand(0))
	for n := range 3 {
		post(t, p.north, powerOutage(n, 0))
	}
	before := time.Now()
	ok("3 entries: numbers 1 to 3", "report", "cut")
	c := &console.Client{Base: p.admin}
	wait(t, "the report is delivered", func() bool { return confirmed(c, 1) })
	ok("No entries", "report", "cut")
	wait(t, "the report is delivered", func() bool { return confirmed(c, 2) })
	list := ok("esi confirmed", "report", "list")
	if strings.Count(list, "asked") != 2 {
		t.Errorf("the list:\n%s", list)
	}
	ok("to esi: confirmed", "report", "show", "1")
	fails(1, "no such report: 7", "report", "show", "7")
	fails(2, `"x" is not the number of a report`, "report", "show", "x")
	fails(2, "needs the number", "report", "send")
	fails(1, `no such remote: "elsewhere"`, "report", "send", "1", "--remote", "elsewhere")
	fails(2, `there is no "rubbish"`, "report", "rubbish")
	fails(2, "takes no arguments", "report", "cut", "1")
	ok("All sound", "report", "verify", plain)

	// A file that was lost there is sent again; one that was changed is not
	// overwritten.
	names := slices.Sorted(func(yield func(string) bool) {
		for n := range folder(t, plain) {
			if !yield(n) {
				return
			}
		}
	})
	first := filepath.Join(plain, names[0])
	text, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(first)
	fails(1, "no such file", "report", "verify", first)
	ok("to esi: confirmed", "report", "send", "1", "--remote", "esi")
	if got, _ := os.ReadFile(first); !bytes.Equal(got, text) {
		t.Error("the file that was sent again is another")
	}
	changed := bytes.Replace(text, []byte("suppressed"), []byte("forwarded!"), 1)
	os.WriteFile(first, changed, 0o600)
	fails(1, first+":", "report", "verify", plain)
	fails(1, "not confirmed yet", "report", "send", "1")
	if got, _ := os.ReadFile(first); !bytes.Equal(got, changed) {
		t.Error("a file that stood there was overwritten")
	}
	ok("a different file already has this name", "report", "show", "1")
	var ready console.Status
	getJSON(t, p.admin+"/readyz", &ready)
	if !ready.Ready || len(ready.Degraded) > 0 {
		t.Errorf("a remote that refuses makes it %+v", ready)
	}
	os.Remove(first)
	ok("to esi: confirmed", "report", "send", "1")

	res, err := http.Get(p.admin + "/api/v1/reports/1/file")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || !bytes.Equal(got, text) || !strings.Contains(res.Header.Get("Content-Disposition"), names[0]) {
		t.Errorf("the file by the API: %v, %v", err, res.Header)
	}

	exports := func() {
		t.Helper()
		out := ok("alert_id", "report", "export", "--format", "csv")
		if rows, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil || len(rows) != 4 || rows[3][0] != "3" {
			t.Errorf("csv: %v %v", rows, err)
		}
		out = ok("", "report", "export", "--format", "jsonl")
		for n, line := range strings.Split(strings.TrimSpace(out), "\n") {
			var e struct{ Sequence int }
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Sequence != n+1 || n > 2 {
				t.Errorf("jsonl: %s %v", line, err)
			}
		}
		out = ok("", "report", "export", "--format", "parquet")
		rows, err := parquet.Read[struct {
			Sequence int64     `parquet:"sequence"`
			CHF      string    `parquet:"chf_id"`
			Received time.Time `parquet:"received_at,timestamp(microsecond)"`
			Valid    bool      `parquet:"mpxn_valid"`
			Count    *uint32   `parquet:"throttled_count,optional"`
		}](strings.NewReader(out), int64(len(out)))
		if err != nil || len(rows) != 3 || rows[2].Sequence != 3 || rows[2].CHF != hubID(0).String() || !rows[2].Valid || rows[2].Count != nil ||
			rows[2].Received.After(before) || rows[2].Received.Before(before.Add(-time.Minute)) {
			t.Errorf("parquet: %+v %v", rows, err)
		}
		if out := ok("", "report", "export", "--to", "2026-01-01"); strings.Count(out, "\n") != 1 {
			t.Errorf("up to a time before all: %s", out)
		}
		if out := ok("", "report", "export", "--from", "2026-01-01T00:00:00Z", "--to", before.Format(time.RFC3339Nano)); strings.Count(out, "\n") != 4 {
			t.Errorf("from a time before all: %s", out)
		}
	}
	exports()
	fails(2, "not csv, jsonl or parquet", "report", "export", "--format", "xlsx")
	fails(2, "not an instant", "report", "export", "--from", "yesterday")
	fails(2, "is not before --to", "report", "export", "--from", "2026-03-02", "--to", "2026-03-01")
	fails(2, "is not before --to", "report", "export", "--from", "2026-03-01", "--to", "2026-03-01")

	// Another folder, while it runs.
	conf, _ := os.ReadFile(i.config)
	other := t.TempDir()
	i.write(strings.Replace(string(conf), plain, other, 1))
	p.Process.Signal(syscall.SIGHUP)
	wait(t, "the remotes are taken over", func() bool { return strings.Contains(p.log.String(), "taken_over=[report.remotes]") })
	ok("to esi: confirmed", "report", "send", "2")
	if got := folder(t, other); len(got) != 1 || got[names[1]] == "" {
		t.Errorf("in the other folder: %v", got)
	}

	// Without a running quell.
	p.stop(syscall.SIGTERM)
	exports()
	ok("Not delivered yet. No quell is running; this takes effect at its next start.", "report", "cut")
	ok("Not delivered yet. No quell is running; this takes effect at its next start.", "report", "send", "1")
	ok("esi written", "report", "list")
	p = i.serve()
	c = &console.Client{Base: p.admin}
	wait(t, "the rest is delivered", func() bool { return confirmed(c, 3) })
	var api struct{ Reports []store.Report }
	getJSON(t, p.admin+"/api/v1/reports?limit=2", &api)
	if len(api.Reports) != 2 || api.Reports[0].No != 3 || api.Reports[0].Files[0].Deliveries[0].State != store.StateConfirmed {
		t.Errorf("the API: %+v", api)
	}
}

// Housekeeping, which runs at each start, deletes no entry that a remote waits
// for, however old.
func TestHousekeepingWaitsForRemotes(t *testing.T) {
	hop := accept(t)
	dir := filepath.Join(t.TempDir(), "poas")
	if err := os.WriteFile(dir, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := install(t, hop, hop, fmt.Sprintf("store_timeout: 5s\nhousekeeping: {keep_log: 1ms}\nreport: {remotes: [{name: esi, target: %q}]}\n", dir))
	i.track(1)
	p := i.serve()
	post(t, p.south, preCommand(0))
	post(t, p.north, powerOutage(1, 0))
	if status, _, errs := i.quell("report", "cut"); status != 0 {
		t.Fatal(errs)
	}
	entries := func() int {
		t.Helper()
		log, err := (&console.Client{Base: p.admin}).Suppressions(t.Context(), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(log.Entries)
	}
	restart := func() {
		t.Helper()
		p.stop(syscall.SIGTERM)
		p = i.serve()
	}
	post(t, p.north, powerOutage(2, 1)) // is forwarded, and noted
	restart()
	wait(t, "housekeeping has run", func() bool { return strings.Contains(p.log.String(), "msg=housekeeping") })
	if n := entries(); n != 1 {
		t.Errorf("%d entries while the remote waits for them", n)
	}
	os.Remove(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wait(t, "the report is delivered", func() bool { return confirmed(&console.Client{Base: p.admin}, 1) })
	restart()
	wait(t, "the entry is deleted", func() bool { return entries() == 0 })
}

// Remotes that do not work do not start, or do not come into force.
func TestReportConfig(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "report: {remotes: [{name: esi, target: \":sftp,host=h,known_hosts_file=/k,pass=hunter2:/x\"}]}\n")
	for _, args := range [][]string{{"config", "check"}, {"serve"}} {
		status, _, errs := i.quell(args...)
		if status != 1 || !strings.Contains(errs, "report.remotes: item 1 (esi): pass is a secret") || strings.Contains(errs, "hunter2") {
			t.Errorf("%v: %d %s", args, status, errs)
		}
	}
}
