package main

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quell/internal/operator"
	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"
)

// degraded returns the "degraded" of a process.
func (p *process) degraded(t testing.TB) string {
	t.Helper()
	s := p.status(t)
	if s == nil {
		t.Fatal("it does not answer")
	}
	return strings.Join(s.Degraded, "\n")
}

// quell starts, whatever is wrong with its store and its lists. Messages pass, alerts go
// forward, "degraded" says why, and quell recovers by itself.
func TestStartsWhateverIsWrong(t *testing.T) {
	t.Parallel() // it waits more than it computes
	fifo := func(t *testing.T, name string) {
		t.Helper()
		os.Remove(name)
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what  string
		spoil func(t *testing.T, database, list string) (mend func())
		says  string
	}{
		{"the database is damaged", func(t *testing.T, database, _ string) func() {
			good := read(t, database)
			if err := os.WriteFile(database, bytes.Repeat([]byte("rubbish "), 4096), 0o600); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := os.WriteFile(database+".new", good, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(database+".new", database); err != nil {
					t.Fatal(err)
				}
			}
		}, "file is not a database"},
		{"somebody holds the database's lock", func(t *testing.T, database, _ string) func() {
			db, err := sql.Open("sqlite", "file:"+database)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			db.SetMaxOpenConns(1)
			if _, err := db.Exec("BEGIN IMMEDIATE"); err != nil {
				t.Fatal(err)
			}
			return func() {
				if _, err := db.Exec("ROLLBACK"); err != nil {
					t.Fatal(err)
				}
			}
		}, "database is locked"},
		{"the database cannot be read", func(t *testing.T, database, _ string) func() {
			if err := os.Rename(database, database+".away"); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(database, 0o700); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := errors.Join(os.Remove(database), os.Rename(database+".away", database)); err != nil {
					t.Fatal(err)
				}
			}
		}, "is a directory"},
		{"the list is on a share that hangs", func(t *testing.T, _, list string) func() {
			text := read(t, list)
			fifo(t, list)
			return func() {
				if err := os.WriteFile(list, text, 0o600); err != nil { // the two who read it, one after the other
					t.Error(err)
				}
			}
		}, "are being read"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			hop := accept(t)
			i := install(t, hop, hop, "store_timeout: 5s\n")
			i.track(3)
			list := filepath.Join(i.dir, "list.txt")
			i.write(string(read(t, i.config)) + "device_list: " + list + "\n")
			mend := c.spoil(t, filepath.Join(i.dir, "data", "quell.db"), list)
			p := i.begin()
			storetest.Eventually(t, "it answers", func() bool { return p.status(t) != nil })
			storetest.Eventually(t, "it says why", func() bool { return strings.Contains(p.degraded(t), c.says) })
			if d := post(t, p.north, powerOutage(1, 1)).Get("Quell-Decision"); d == "suppressed" {
				t.Error("an alert is suppressed")
			}
			post(t, p.south, preCommand(2))
			if text := metrics(t, p.admin); !strings.Contains(text, "quell_starting 1\n") {
				t.Error("the metric does not say so")
			}
			mend()
			storetest.Eventually(t, "all is well", func() bool { return p.degraded(t) == "" })
			if text := metrics(t, p.admin); !strings.Contains(text, "quell_starting 0\n") {
				t.Error("the metric still says so")
			}
			if d := post(t, p.north, powerOutage(2, 2)).Get("Quell-Decision"); d != "suppressed" {
				t.Errorf("afterwards an alert in the window of what was recorded meanwhile is %s", d)
			}
			if err := p.stop(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		})
	}
}

// A list that hangs delays neither a stop nor a new configuration. The newest of several
// configurations counts.
func TestListHangs(t *testing.T) {
	t.Parallel() // it waits more than it computes
	hop := accept(t)
	i := install(t, hop, hop, "")
	hangs := filepath.Join(i.dir, "hangs.txt")
	if err := syscall.Mkfifo(hangs, 0o600); err != nil {
		t.Fatal(err)
	}
	text := string(read(t, i.config))
	i.write(text + "device_list: " + hangs + "\n")
	p := i.begin()
	storetest.Eventually(t, "the list is being read", func() bool { return p.status(t) != nil && strings.Contains(p.degraded(t), "are being read") })
	for _, n := range []int{100, 110} { // the second before the first can be in force
		i.write(text + "device_list: " + i.file(fmt.Sprintf("list%d.txt", n), meters(0, n)) + "\n")
		p.Process.Signal(syscall.SIGHUP)
	}
	storetest.Eventually(t, "the newest list is in force", func() bool { s := p.status(t); return s.DeviceList.Rows == 110 })
	i.write(text + "device_list: " + hangs + "\n")
	p.Process.Signal(syscall.SIGHUP)
	storetest.Eventually(t, "the configuration is read again", func() bool {
		return strings.Count(p.log.String(), "the configuration was read again") >= 2 && strings.Contains(p.log.String(), hangs)
	})
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if strings.Contains(p.log.String(), "does not end") {
		t.Error(p.log.String())
	}
}

// A stop ends imports at once: one whose sender has stopped sending, and one that is being
// loaded. The next import deletes the rows of the second.
func TestStopDuringImport(t *testing.T) {
	t.Parallel() // it waits more than it computes
	hop := accept(t)
	i := install(t, hop, hop, "")
	var inv strings.Builder
	inv.WriteString(inventoryHead)
	const devices = 20_000
	for n := range devices {
		fmt.Fprintf(&inv, "%s,ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967\n", meterID(n), hubID(n))
	}
	text := string(read(t, i.config))
	i.write(text + "inventory: [" + i.file("inventory.csv", inv.String()) + "]\n")
	p := i.begin()
	storetest.Eventually(t, "it is being imported", func() bool { return strings.Contains(p.log.String(), "importing") })
	database, err := sql.Open("sqlite", "file:"+filepath.Join(i.dir, "data", "quell.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	rows := func() (n int) {
		database.QueryRow(`SELECT count(*) FROM inventory`).Scan(&n)
		return n
	}
	storetest.Eventually(t, "some of it is loaded", func() bool { return rows() > 1000 })
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	left := rows()
	var state string
	if err := database.QueryRow(`SELECT state FROM import`).Scan(&state); err != nil || state != "dropping" || left == 0 {
		t.Errorf("it has left %d rows, and is %q %v", left, state, err)
	}
	p = i.serve()
	if s := p.status(t); s.Inventory.Rows != devices || rows() != devices {
		t.Errorf("the next import has %d devices, in %d rows", s.Inventory.Rows, rows())
	}

	// A sender that stops sending.
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "list.txt")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(part, meters(0, 100))
	stalls, end := io.Pipe()
	defer end.Close()
	answer := make(chan string, 1)
	begin := func() {
		res, err := i.bySocket().Post("http://localhost/api/v1/devices", form.FormDataContentType(), io.MultiReader(bytes.NewReader(body.Bytes()), stalls))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		answer <- res.Status + " " + string(text)
	}
	go begin()
	c := operator.Client{Base: p.admin}
	storetest.Eventually(t, "it is under way", func() bool {
		select {
		case text := <-answer:
			if !strings.Contains(text, "another import is under way") { // the one below
				t.Fatal(text)
			}
			go begin()
			return false // the next import leaves it some time to be first
		default:
		}
		status, _, errs := i.quell("devices", "import", i.file("other.txt", meters(0, 10)))
		return status != 0 && strings.Contains(errs, "another import is under way")
	})
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if text := <-answer; !strings.Contains(text, "503 Service Unavailable") || !strings.Contains(text, "quell is stopping: nothing was imported") {
		t.Errorf("the sender is answered %s", text)
	}
}

// While a next hop accepts no message, quell says so, for each direction separately.
func TestNextHopIsAway(t *testing.T) {
	addr := remotetest.FreeAddr(t)
	i := install(t, accept(t), "http://"+addr, "")
	p := i.serve()
	before := p.degraded(t)
	send := func(status int) {
		t.Helper()
		res, err := http.Post(p.north, "application/xml", bytes.NewReader(powerOutage(1, 1)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("answered %s", res.Status)
		}
	}
	up := func(north int) {
		t.Helper()
		text := metrics(t, p.admin)
		for _, want := range []string{fmt.Sprintf("quell_next_hop_up{direction=\"northbound\"} %d\n", north), "quell_next_hop_up{direction=\"southbound\"} 1\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("the metrics lack %s", want)
			}
		}
	}
	up(1)
	send(http.StatusBadGateway)
	send(http.StatusBadGateway)
	if text := p.degraded(t); !strings.Contains(text, "the northbound next hop, http://"+addr+", has taken none of 2 messages since 20") ||
		!strings.Contains(text, "connection refused") || strings.Contains(text, "the southbound next hop") {
		t.Errorf("it says %q", text)
	}
	up(0)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	hop := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go hop.Serve(l) // ends with Close
	t.Cleanup(func() { hop.Close() })
	send(http.StatusOK)
	if text := p.degraded(t); text != before {
		t.Errorf("it still says %q", text)
	}
	up(1)
}
