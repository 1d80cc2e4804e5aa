package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gateway"
	"quell/internal/lines"
	"quell/internal/operator"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// unread is a quell whose log or trail nobody reads, with what its next hops got.
type unread struct {
	t      *testing.T
	i      *installation
	p      *process
	north  *recorder
	south  atomic.Int64
	client *http.Client
	sent   int
}

const unreadHubs = 20

// newUnread prepares a quell with meters to track. It does not run yet.
func newUnread(t *testing.T) *unread {
	q := &unread{t: t, north: &recorder{seen: map[string]int{}}, client: &http.Client{Timeout: 20 * time.Second}}
	t.Cleanup(q.client.CloseIdleConnections)
	hop := httptest.NewServer(q.north)
	t.Cleanup(hop.Close)
	south := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		q.south.Add(1)
		io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(south.Close)
	q.i = install(t, south.URL, hop.URL, "store_timeout: 15s\n")
	q.i.track(unreadHubs)
	return q
}

// send sends a message and returns the decision on it.
func (q *unread) send(url string, body []byte) string {
	q.t.Helper()
	res, err := q.client.Post(url, "application/xml", bytes.NewReader(body))
	if err != nil {
		q.t.Fatalf("message %d: %v", q.sent, err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
		q.t.Fatalf("message %d: %s %v", q.sent, res.Status, err)
	}
	q.sent++
	return res.Header.Get(gateway.DecisionHeader)
}

// traffic sends an 11.3 for half of the hubs, and then alerts. Those of these hubs must be
// suppressed, the others delivered.
func (q *unread) traffic(alerts int) {
	q.t.Helper()
	delivered := q.south.Load()
	for n := range unreadHubs / 2 {
		q.send(q.p.south, preCommand(n))
	}
	if got := q.south.Load() - delivered; got != unreadHubs/2 {
		q.t.Errorf("%d of %d 11.3s were sent on", got, unreadHubs/2)
	}
	for n := range alerts {
		hub, want := n%unreadHubs, string(outage.Forwarded)
		if hub < unreadHubs/2 {
			want = string(outage.Suppressed)
		}
		id := q.sent
		if got := q.send(q.p.north, powerOutage(id, hub)); got != want {
			q.t.Fatalf("alert %d of hub %d: %s, want %s", n, hub, got, want)
		}
		if passed := q.north.count(alertID(id, hub).String()); passed > 0 != (want == string(outage.Forwarded)) {
			q.t.Fatalf("alert %d of hub %d is %s, and was delivered %d times", n, hub, want, passed)
		}
	}
}

func (r *recorder) count(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[id]
}

// degraded reports whether "degraded" of the process has a text.
func (q *unread) degraded(text string) bool {
	c := operator.Client{Base: q.p.admin}
	s, err := c.Status(q.t.Context())
	return err == nil && strings.Contains(strings.Join(s.Degraded, "\n"), text)
}

// metric returns the value of a metric of the process.
func metric(t testing.TB, admin, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(metrics(t, admin))
	if m == nil {
		t.Fatalf("there is no metric %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// end stops the process with SIGTERM.
func (q *unread) end() error {
	q.t.Helper()
	q.p.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-q.p.exited:
		return err
	case <-time.After(time.Minute):
		q.t.Fatal("SIGTERM does not end it")
		return nil
	}
}

// pipe starts the process with a pipe as its standard error, and returns the reading end.
func (q *unread) pipe(environ ...string) (reader *os.File) {
	q.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		q.t.Fatal(err)
	}
	q.t.Cleanup(func() { r.Close() })
	q.i.stderr = w
	q.p = q.i.serve(environ...)
	w.Close()
	return r
}

// Nobody reads standard error. Messages go on, lines that do not fit are counted, and a stop
// ends the process. When somebody reads again, the lines that waited come in order, and one
// line says how many are missing.
func TestNobodyReadsTheLog(t *testing.T) {
	q := newUnread(t)
	r := q.pipe(logLimitOf + "=20000")
	q.traffic(400)
	q.traffic(400) // with the same 11.3s again, while the log hangs
	if dropped := metric(t, q.p.admin, `quell_lines_dropped_total{output="log"}`); dropped == 0 || dropped > 450 {
		t.Errorf("%v lines of the log were dropped", dropped)
	}
	if !q.degraded("the log: ") {
		t.Error("the log hangs, and degraded does not say so")
	}
	out := &output{}
	done := make(chan bool)
	go func() { io.Copy(out, r); close(done) }()
	storetest.Eventually(t, "the log says what it lost", func() bool { return strings.Contains(out.String(), "lines of the log were lost") })
	q.traffic(20)
	if err := q.end(); err != nil {
		t.Error(err)
	}
	<-done
	last := -1
	for _, m := range regexp.MustCompile(`"?alert suppressed"? .*sequence=(\d+)`).FindAllStringSubmatch(out.String(), -1) {
		n, _ := strconv.Atoi(m[1])
		if n <= last {
			t.Errorf("entry %d is logged after %d", n, last)
		}
		last = n
	}
	if last < 400 || !strings.Contains(out.String(), "stopping: ") {
		t.Errorf("the log's end is missing, its last entry is %d", last)
	}
}

// The same, but nobody ever reads.
func TestStopWithoutReader(t *testing.T) {
	t.Parallel() // it waits more than it computes
	q := newUnread(t)
	q.pipe()
	q.traffic(500)
	q.traffic(100)
	if err := q.end(); err != nil {
		t.Error(err)
	}
}

// The reader of standard error goes away.
func TestLogReaderGone(t *testing.T) {
	q := newUnread(t)
	r := q.pipe(logLimitOf + "=20000")
	q.traffic(20)
	r.Close()
	q.traffic(400)
	if dropped := metric(t, q.p.admin, `quell_lines_dropped_total{output="log"}`); dropped == 0 {
		t.Error("no line of the log was dropped")
	}
	if !q.degraded("broken pipe; ") {
		t.Error("degraded does not say that the log's reader is gone")
	}
	if err := q.end(); err != nil {
		t.Error(err)
	}
}

// A log that is read loses no line, and only texts that are too long are cut.
func TestLogIsWhole(t *testing.T) {
	q := newUnread(t)
	q.p = q.i.serve()
	q.traffic(400)
	if err := q.end(); err != nil {
		t.Error(err)
	}
	text := q.p.log.String()
	if n := strings.Count(text, "alert suppressed"); n != 200 {
		t.Errorf("%d of 200 suppressed alerts are in the log", n)
	}
	if strings.Contains(text, "…") || !strings.Contains(text, "quell runs") || !strings.Contains(text, "stopping: ") {
		t.Errorf("the log is not whole:\n%s", text)
	}
}

// A panic ends the process, whether somebody reads standard error or not. If so, they see
// the text of the panic.
func TestPanicWithoutReader(t *testing.T) {
	t.Parallel() // it waits more than it computes
	for _, hangs := range []bool{false, true} {
		q := newUnread(t)
		q.i.write(string(read(t, q.i.config)) + "report: {every: 10000d, remotes: [{name: folder, target: \"" + t.TempDir() + "\"}]}\n")
		r := q.pipe(panicAt+"=recorded as sent", logLimitOf+"=100000")
		out := &output{}
		if hangs {
			q.traffic(500)
			storetest.Eventually(t, "quell notices that nobody reads", func() bool { return q.degraded("nothing was written for") })
			time.Sleep(2 * lines.WatchEvery)
		} else {
			go io.Copy(out, r)
		}
		q.i.quell("report", "cut")
		select {
		case err := <-q.p.exited:
			if err == nil {
				t.Errorf("hangs: %v: the exit status after a panic is 0", hangs)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("hangs: %v: a panic does not end it", hangs)
		}
		if !hangs {
			storetest.Eventually(t, "the panic is on standard error", func() bool { return strings.Contains(out.String(), "panic: as the test wants") })
		}
	}
}

// If a next hop sends an answer that nobody asked for, net/http logs that through the queue
// too, and not directly to standard error, which may hang.
func TestLogOfTheLibraries(t *testing.T) {
	hop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		time.Sleep(100 * time.Millisecond)
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("a", 3500)+"\r\n\r\n")
		time.Sleep(100 * time.Millisecond)
	}))
	t.Cleanup(hop.Close)
	p := install(t, hop.URL, hop.URL, "").serve()
	res, err := http.Post(p.north, "text/plain", strings.NewReader("x")) // XML would not go by net/http
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	storetest.Eventually(t, "it is logged", func() bool { return strings.Contains(p.log.String(), "Unsolicited response") })
	for line := range strings.SplitSeq(p.log.String(), "\n") {
		if strings.Contains(line, "Unsolicited") && (!strings.HasPrefix(line, "time=") || len(line) > 3*lines.MaxLogValue || !strings.Contains(line, "…")) {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
}

// Long texts from a message or its answer are cut in the log.
func TestLogIsCut(t *testing.T) {
	long := strings.Repeat("E&€", 20000)
	hop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		id := outage.RequestID{Originator: originator, Target: meterID(0), Counter: 1}
		w.Write(duis.AppendAnswer(nil, id, time.Now(), long[:12000]))
	}))
	t.Cleanup(hop.Close)
	i := install(t, hop.URL, accept(t), "")
	i.track(1)
	p := i.serve()
	res, err := http.Post(p.south, "application/xml", bytes.NewReader(preCommand(0)))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	storetest.Eventually(t, "it is logged", func() bool { return strings.Contains(p.log.String(), "withdrawn") })
	for line := range strings.SplitSeq(p.log.String(), "\n") {
		if len(line) > 4*lines.MaxLogValue {
			t.Errorf("a line of %d bytes: %.100s", len(line), line)
		}
	}
}

// The trail is a FIFO that nobody reads. Messages go on, and a stop ends the process. When
// somebody reads it, the lines are complete and in order.
func TestTrailHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	q := newUnread(t)
	trail := filepath.Join(q.i.dir, "data", "audit", "trail.jsonl")
	if err := os.MkdirAll(filepath.Dir(trail), 0o755); err != nil {
		t.Fatal(err)
	}
	os.Remove(trail)
	if err := syscall.Mkfifo(trail, 0o600); err != nil {
		t.Fatal(err)
	}
	q.p = q.i.serve()
	q.traffic(100)
	storetest.Eventually(t, "degraded says that the trail hangs", func() bool { return q.degraded("the service audit trail: ") })
	r, err := os.Open(trail)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 1<<20)
	n, err := io.ReadAtLeast(r, buf, 1000)
	if err != nil || !bytes.HasPrefix(buf, []byte(`{"time":`)) {
		t.Errorf("read from the trail: %v %.100s", err, buf[:n])
	}
	storetest.Eventually(t, "degraded does not say any more that the trail hangs", func() bool { return !q.degraded("the service audit trail: ") })
	q.traffic(1000) // more than the pipe holds
	if err := q.end(); err == nil {
		t.Error("lines of the trail were lost at the stop, and the exit status does not say so")
	}
	if !strings.Contains(q.p.log.String(), "were not written") {
		t.Error("nor does the log")
	}
}

// SIGHUP reopens the trail, even if the configuration is faulty.
func TestHangupReopensTrail(t *testing.T) {
	q := newUnread(t)
	q.p = q.i.serve()
	q.traffic(20)
	trail := filepath.Join(q.i.dir, "data", "audit", "trail.jsonl")
	moved := trail + ".1"
	storetest.Eventually(t, "the trail is written", func() bool { return bytes.Count(read(t, trail), []byte("\n")) == 20 })
	for _, config := range []string{"", "rubbish: 1\n"} {
		if err := os.Rename(trail, moved); err != nil {
			t.Fatal(err)
		}
		text := read(t, q.i.config)
		q.i.write(string(text) + config)
		q.p.Process.Signal(syscall.SIGHUP)
		storetest.Eventually(t, "the trail is opened again", func() bool { _, err := os.Stat(trail); return err == nil })
		before := len(read(t, moved))
		q.traffic(20)
		storetest.Eventually(t, "the new trail is written", func() bool { return bytes.Count(read(t, trail), []byte("\n")) == 20 })
		if now := len(read(t, moved)); now != before {
			t.Errorf("the trail that was moved grew from %d to %d bytes", before, now)
		}
	}
}

// A SIGHUP during the start, which may take as long as an import, does not end the process.
// It takes effect after the start.
func TestHangupAtStart(t *testing.T) {
	hop := accept(t)
	fifo := filepath.Join(t.TempDir(), "list.txt")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	i := install(t, hop, hop, "device_list: "+fifo+"\n")
	p := i.begin()
	for round := range 2 { // its digest, and the list
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // when it reads
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			p.Process.Signal(syscall.SIGHUP)
			time.Sleep(50 * time.Millisecond)
		}
		fmt.Fprintln(w, someMeter)
		w.Close()
		storetest.Eventually(t, "the list is read", func() bool { return round > 0 || strings.Contains(p.log.String(), "importing") })
	}
	i.answers(p)
	storetest.Eventually(t, "SIGHUP takes effect", func() bool { return strings.Contains(p.log.String(), "the configuration was read again") })
	go func() {
		if w, err := os.OpenFile(fifo, os.O_WRONLY, 0); err == nil { // the hangup reads the list once more
			fmt.Fprintln(w, someMeter)
			w.Close()
		}
	}()
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("%v\n%s", err, p.log)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
