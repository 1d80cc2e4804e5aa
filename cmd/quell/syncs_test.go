package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"quell/internal/operator"
	"quell/internal/store/storetest"
)

// trace is what strace has written of a process: the calls that change files and folders, and
// those that make changes durable.
type trace struct {
	t    testing.TB
	path string
	seen map[string]*changes // at the last check
}

var (
	callBegins = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	callEnds   = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>`)
	fileOfCall = regexp.MustCompile(`^\d+<([^>]*)>`)
	quoted     = regexp.MustCompile(`"([^"]*)"`)
)

// changes counts the changes of a file, or of what a folder has.
type changes struct{ made, durable int }

func (c *changes) lost() bool { return c == nil || c.durable < c.made }

// stepLost says that of a step that began at from nothing is durable. Of a file that others write to
// as well: a transaction of these may be half written at any time.
func (c *changes) stepLost(from int) bool { return c.lost() && (c == nil || c.durable <= from) }

// replay goes through all calls so far. It returns the changes of all files and folders. Before
// each call that changes a file it calls before, with the file, and its new name if the call is a
// rename.
func (tr *trace) replay(before func(call, file, name string, of func(string) *changes)) map[string]*changes {
	tr.t.Helper()
	text, err := os.ReadFile(tr.path)
	if err != nil {
		tr.t.Fatal(err)
	}
	files := map[string]*changes{}
	of := func(path string) *changes {
		if files[path] == nil {
			files[path] = &changes{}
		}
		return files[path]
	}
	type sync struct {
		file *changes
		made int
	}
	syncing := map[string]sync{} // by thread
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if m := callEnds.FindStringSubmatch(line); m != nil {
			if s, ok := syncing[m[1]]; ok && strings.HasSuffix(m[2], "sync") {
				s.file.durable = max(s.file.durable, s.made)
				delete(syncing, m[1])
			}
			continue
		}
		m := callBegins.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		thread, call, args := m[1], m[2], m[3]
		file, names := "", quoted.FindAllStringSubmatch(args, 2)
		if f := fileOfCall.FindStringSubmatch(args); f != nil {
			file = f[1]
		}
		switch {
		case strings.HasPrefix(call, "rename") && len(names) == 2:
			from, to := names[0][1], names[1][1]
			before(call, from, to, of)
			files[to] = of(from)
			delete(files, from)
			of(filepath.Dir(to)).made++
		case call == "openat" && len(names) > 0 && strings.Contains(args, "O_CREAT"):
			if path := names[0][1]; files[path] == nil {
				of(path)
				of(filepath.Dir(path)).made++ // it may have been there
			}
		case call == "fsync" || call == "fdatasync":
			if s := (sync{of(file), of(file).made}); strings.Contains(line, "<unfinished") {
				syncing[thread] = s
			} else {
				s.file.durable = max(s.file.durable, s.made)
			}
		case file != "":
			before(call, file, "", of)
			of(file).made++
		}
	}
	return files
}

// check fails if a power cut now would undo a change of some files or folders. Of the store's log
// something of the step since the last check must be durable, and all that was written so far soon.
func (tr *trace) check(what string, paths ...string) {
	tr.t.Helper()
	files := tr.replay(ignore)
	for _, path := range paths {
		c := files[path]
		if !strings.HasSuffix(path, "-wal") {
			if c.lost() {
				tr.t.Errorf("%s: changes of %s are not durable: %+v", what, path, c)
			}
			continue
		}
		from := 0
		if before := tr.seen[path]; before != nil {
			from = before.made
		}
		if c.stepLost(from) {
			tr.t.Errorf("%s: changes of %s are not durable: %+v, of which %d were made before", what, path, c, from)
			continue
		}
		storetest.Eventually(tr.t, what+": the transaction under way is durable", func() bool { return tr.replay(ignore)[path].durable >= c.made })
	}
	tr.seen = files
}

func ignore(string, string, string, func(string) *changes) {}

// TestSyncs runs quell under strace. Before a request leaves, its window must be synced; before
// an answer, its decision; before an alert leaves while the store is away, its record in the
// journal; before the journal is emptied, what it had; before a file of a report gets its name,
// here and at a remote that is a folder, the file; and in the end the folder.
func TestSyncs(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace; on Debian it is in strace")
	}
	remote := filepath.Join(t.TempDir(), "in")
	if err := os.Mkdir(remote, 0o700); err != nil {
		t.Fatal(err)
	}
	tr := &trace{t: t, path: filepath.Join(t.TempDir(), "trace")}
	var mu sync.Mutex // guards arrived
	arrived := func() {}
	hop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		arrived()
	}))
	t.Cleanup(hop.Close)
	at := func(check func()) (count func() int) {
		n := 0
		mu.Lock()
		defer mu.Unlock()
		arrived = func() { n++; check() }
		return func() int { mu.Lock(); defer mu.Unlock(); return n }
	}
	i := install(t, hop.URL, hop.URL, fmt.Sprintf("store_timeout: 2s\naudit_trail: {enabled: false}\nreport: {every: 10000d, remotes: [{name: esi, target: %q}]}\n", remote))
	i.track(1)
	data := filepath.Join(i.dir, "data")
	pending, wal := filepath.Join(data, "pending"), filepath.Join(data, "quell.db-wal")
	if err := os.WriteFile(pending, []byte("a line that is damaged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i.program = i.file("traced.sh", fmt.Sprintf("#!/bin/sh\nexec %s -D -f -y -qq -s 0 -o %s -e trace=openat,fsync,fdatasync,rename,renameat,renameat2,write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,copy_file_range,sendfile %s \"$@\"\n",
		strace, tr.path, os.Args[0]))
	if err := os.Chmod(i.program, 0o700); err != nil {
		t.Fatal(err)
	}
	p := i.serve()
	storetest.Eventually(t, "the damaged line is set aside", func() bool { text, err := os.ReadFile(pending); return err == nil && len(text) == 0 })
	tr.check("a damaged line was set aside", pending, pending+".damaged", data)

	requests := at(func() { tr.check("an 11.3 leaves", wal) })
	post(t, p.south, preCommand(0))
	alerts := at(func() { t.Error("an alert is forwarded") })
	if d := post(t, p.north, powerOutage(1, 0)).Get("Quell-Decision"); d != "suppressed" {
		t.Errorf("the alert is %s", d)
	}
	tr.check("an alert is suppressed", wal)

	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "quell.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	remembered := at(func() {
		tr.check("an alert leaves while the store is away", pending)
		if text, err := os.ReadFile(pending); err != nil || !bytes.Contains(text, []byte(alertID(2, 0).String())) {
			t.Errorf("the journal is %q %v", text, err)
		}
	})
	if d := post(t, p.north, powerOutage(2, 0)).Get("Quell-Decision"); d != "forwarded" {
		t.Errorf("the alert is %s", d)
	}
	if requests() != 1 || alerts() != 0 || remembered() != 1 {
		t.Errorf("%d requests, %d and %d alerts have arrived", requests(), alerts(), remembered())
	}
	lock.Rollback()
	storetest.Eventually(t, "the journal is played", func() bool { text, err := os.ReadFile(pending); return err == nil && len(text) == 0 })
	storetest.Eventually(t, "the store answers", func() bool { s := p.status(t); return s != nil && len(s.Degraded) == 0 })
	tr.check("the journal is played", wal, pending)

	if status, _, errs := i.quell("report", "cut"); status != 0 {
		t.Fatal(errs)
	}
	storetest.Eventually(t, "the report is delivered", func() bool { return confirmed(&operator.Client{Base: p.admin}, 1) })
	files, err := filepath.Glob(filepath.Join(remote, "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	reports := filepath.Join(data, "reports")
	tr.check("the report is delivered", wal, reports, filepath.Join(reports, filepath.Base(files[0])), remote, files[0])
	named, emptied, stored := map[string]bool{}, 0, 0 // stored: changes of the store when the journal was last written to
	tr.replay(func(call, file, name string, of func(string) *changes) {
		switch {
		case name != "":
			named[name] = true
			if of(file).made == 0 || of(file).lost() {
				t.Errorf("%s gets its name before it is durable: %+v", name, of(file))
			}
		case call == "ftruncate" && file == pending:
			if emptied++; emptied == 1 && (of(pending+".damaged").lost() || of(data).lost()) {
				t.Errorf("the journal is emptied before a line that was set aside is durable: the file %+v, the folder %+v", of(pending+".damaged"), of(data))
			}
			if of(wal).stepLost(stored) {
				t.Errorf("the journal is emptied before the store is durable: %+v, of which %d were made before", of(wal), stored)
			}
		case file == pending:
			stored = of(wal).made
		}
	})
	if !named[files[0]] || !named[filepath.Join(reports, filepath.Base(files[0]))] || emptied < 2 {
		t.Errorf("names were given to %v, the journal was emptied %d times", named, emptied)
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
}
