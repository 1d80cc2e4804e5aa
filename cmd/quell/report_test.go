package main

import (
	"bytes"
	"context"
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

	"quell/internal/operator"
	"quell/internal/remote/remotetest"
	"quell/internal/report"
	"quell/internal/store/storetest"

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

// track imports the meters of the first n hubs. No quell may run.
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

// folder returns the content of the files in a folder, by name.
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

// confirmed reports whether all deliveries of all reports are confirmed.
func confirmed(c *operator.Client, reports int) bool {
	list, err := c.Reports(context.Background(), 1<<62, 1000)
	if err != nil || len(list.Reports) != reports {
		return false
	}
	return !slices.ContainsFunc(list.Reports, func(r report.Report) bool { return pending(r, "") })
}

// quell is killed with kill -9 at each step between the cut of a report and its
// confirmation. Each remote then has each file once, right to the byte, and nothing else.
func TestKillReporting(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
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
	i := install(t, hop, hop, fmt.Sprintf("store_timeout: 5s\nreport:\n  every: 10000d\n  per_distributor: true\n  remotes:\n  - {name: plain, target: %q}\n  - {name: esi, target: %q}\n  - {name: dno, target: %q, filter: \"12\"}\n",
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
		c := &operator.Client{Base: p.admin}
		storetest.Eventually(t, "all is delivered after "+step, func() bool { return confirmed(c, n+1) })
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

// killer kills a process when a part of a body has been read.
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

// A Parquet reader of another project finds every field of the log.
func TestExportParquet(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "store_timeout: 5s\n")
	i.track(1)
	p := i.serve()
	post(t, p.south, preCommand(0))
	for n := range 3 {
		post(t, p.north, powerOutage(n, 0))
	}
	before := time.Now()
	status, out, errs := i.quell("report", "export", "--format", "parquet")
	if status != 0 {
		t.Fatal(errs)
	}
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
}

// Housekeeping, which runs at each start, deletes no entry that a remote waits for, however
// old it is.
func TestHousekeepingWaitsForRemotes(t *testing.T) {
	hop := accept(t)
	dir := filepath.Join(t.TempDir(), "poas")
	if err := os.WriteFile(dir, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	i := install(t, hop, hop, fmt.Sprintf("store_timeout: 5s\nhousekeeping: {keep_log: 1ms, keep_windows: 1ms}\nreport: {every: 10000d, remotes: [{name: esi, target: %q}]}\n", dir))
	i.track(1)
	p := i.serve()
	post(t, p.south, preCommand(0))
	post(t, p.north, powerOutage(1, 0))
	if status, _, errs := i.quell("report", "cut"); status != 0 {
		t.Fatal(errs)
	}
	entries := func() int {
		t.Helper()
		log, err := (&operator.Client{Base: p.admin}).Suppressions(t.Context(), 0, 10)
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
	post(t, p.south, preCommand(1)) // is not tracked, and noted
	restart()
	storetest.Eventually(t, "housekeeping has run", func() bool { return strings.Contains(p.log.String(), "msg=housekeeping") })
	if n := entries(); n != 1 {
		t.Errorf("%d entries while the remote waits for them", n)
	}
	os.Remove(dir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the report is delivered", func() bool { return confirmed(&operator.Client{Base: p.admin}, 1) })
	restart()
	storetest.Eventually(t, "the entry is deleted", func() bool { return entries() == 0 })
}
