package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reporter"
	"quell/internal/role"

	"github.com/prometheus/client_golang/prometheus"
)

// reported is a console with a reporter that has cut three reports, a minute apart.
type reported struct {
	*console.Console
	audit    *audited
	reporter *reporter.Reporter
	now      time.Time // of the reporter
	dir      string
}

func newReported(t *testing.T, first outage.Switch) *reported {
	t.Helper()
	c, audit := empty(t)
	w := &reported{Console: c, audit: audit, now: t0, dir: filepath.Join(t.TempDir(), "reports")}
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.reporter = &reporter.Reporter{Register: c.Reports, Ledger: c.Ledger, Cluster: c.Cluster, Ready: func(context.Context) error { return nil }, Dir: w.dir, Now: func() time.Time { return w.now },
		Log: c.Log, Metrics: reporter.NewMetrics(prometheus.NewRegistry())}
	w.reporter.Set(reporter.Settings{SystemID: "quell", Every: time.Hour, MaxBytes: 10 << 20, Keep: time.Hour, Remotes: []reporter.Remote{
		{Name: "gateway", Target: "/nowhere", Stream: report.Consolidated}, {Name: `<b>"share'`, Target: "/nowhere", Stream: report.Consolidated}}})
	c.Reporting = console.Reporting{Status: w.reporter.Status, Chain: w.reporter.Chain, Cut: w.reporter.Cut, Send: w.reporter.Send, Resume: w.reporter.Resume, Open: w.reporter.Open}
	if err := c.Ledger.FirstSwitch(t.Context(), first, "quell", "first value", t0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.now = w.now.Add(time.Minute)
		if _, err := w.reporter.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// file returns the file of a report: its path and its bytes.
func (w *reported) file(t *testing.T, no int64) (string, []byte) {
	t.Helper()
	rep, err := w.Reports.Report(t.Context(), no)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, rep.Files[0].Name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, b
}

// TestReportsPage: the chain says of each link whether it holds, by the files that there are.
func TestReportsPage(t *testing.T) {
	w := newReported(t, outage.SwitchOn)
	if err := w.Reports.SetDelivery(t.Context(), report.Delivery{Remote: "gateway", Report: 1, Stream: report.Consolidated, State: report.StateWritten, At: t0, Tries: 3, Error: "no route to <host>"}); err != nil {
		t.Fatal(err)
	}
	links := func() (list []report.LinkState) {
		t.Helper()
		chain, err := w.Reporting.Chain(t.Context(), 1<<62, 10)
		if err != nil {
			t.Fatal(err)
		}
		a := ask(w.Console, here, "", "GET", "/reports", nil)
		checked(t, "/reports", a)
		for _, l := range chain {
			list = append(list, l.Link)
			if !strings.Contains(a.Body.String(), `">`+string(l.Link)+`</span>`) || !strings.Contains(text(a), sentence(l.Why)) {
				t.Errorf("report %d, %s, %q: %s", l.No, l.Link, l.Why, text(a))
			}
		}
		return list
	}
	if list := links(); !slices.Equal(list, []report.LinkState{report.LinkHolds, report.LinkHolds, report.LinkFirst}) {
		t.Errorf("%q", list)
	}
	a := text(ask(w.Console, here, "", "GET", "/reports", nil))
	for _, want := range []string{"3 files wait", "2026-03-01 10:01:00 UTC, report 1", "No route to <host>. 3 tries so far.", `<b>"share'`, "waits for 2 of 2 remotes"} {
		if !strings.Contains(a, want) {
			t.Errorf("no %q: %s", want, a)
		}
	}
	// A file that names another as the one before it.
	path, was := w.file(t, 3)
	_, second := w.file(t, 2)
	rep, err := w.Reports.Report(t.Context(), 2)
	if err != nil || len(second) == 0 {
		t.Fatal(err)
	}
	for _, sum := range []string{rep.SHA256(), rep.Files[0].Name} {
		changed := bytes.Replace(was, []byte(sum), []byte(strings.Repeat("0", len(sum))), 1)
		if bytes.Equal(changed, was) {
			t.Fatalf("%s is not in the header", sum)
		}
		write(t, path, changed)
		if list := links(); list[0] != report.LinkBroken {
			t.Errorf("%q", list)
		}
	}
	write(t, path, []byte("x,y\n"))
	if list := links(); list[0] != report.LinkBroken {
		t.Errorf("%q", list)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if list := links(); list[0] != report.LinkUnchecked || list[1] != report.LinkHolds {
		t.Errorf("%q", list)
	}
	// A page that does not begin with the latest, and one after the last.
	if a := ask(w.Console, here, "", "GET", "/reports?before=2", nil); a.Code != 200 || strings.Contains(text(a), "Remotes") || !strings.Contains(text(a), "first") {
		t.Errorf("%d %s", a.Code, text(a))
	}
	for path, code := range map[string]int{"/reports?before=1": 200, "/reports?before=x": 400, "/reports?before=-1": 400, "/reports/9": 404, "/reports/x": 400, "/reports/3": 200} {
		a := ask(w.Console, here, "", "GET", path, nil)
		if a.Code != code {
			t.Errorf("%s: %d %s", path, a.Code, text(a))
		}
		checked(t, path, a)
	}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestManyReports: a long chain has pages, on each of which every link is checked.
func TestManyReports(t *testing.T) {
	w := newReported(t, outage.SwitchOn)
	for range 57 {
		w.now = w.now.Add(time.Minute)
		if _, err := w.reporter.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	at, seen := "/reports", 0
	for pages := 1; at != ""; pages++ {
		a := ask(w.Console, here, "", "GET", at, nil)
		seen += strings.Count(a.Body.String(), `<th scope="row" data-label="Report">`)
		if strings.Contains(text(a), "not checked") || strings.Contains(text(a), "broken") || pages > 3 {
			t.Fatalf("%s: %s", at, text(a))
		}
		_, at, _ = strings.Cut(a.Body.String(), `<a class="target" href="/reports?before=`)
		if at, _, _ = strings.Cut(at, `"`); at != "" {
			at = "/reports?before=" + at
		}
	}
	if seen != 60 {
		t.Errorf("%d reports", seen)
	}
}

// TestReportChanges: a report is cut, sent again and resumed only for a reason, after a question,
// and by an operator; the audit log has the reason.
func TestReportChanges(t *testing.T) {
	w := newReported(t, outage.SwitchOn)
	var did []string
	w.Reporting.Cut = func(context.Context) (report.Report, error) {
		did = append(did, "cut")
		return report.Report{No: 3}, nil
	}
	w.Reporting.Send = func(_ context.Context, no int64, remote string) error {
		did = append(did, fmt.Sprint("send ", no, " ", remote))
		return nil
	}
	w.Reporting.Resume = func(_ context.Context, next int64, who, why string) error {
		did = append(did, fmt.Sprint("resume ", next, " ", who, " ", why))
		return nil
	}
	operator, viewer := tokenOf(t, w.Console, "operator", role.Operator), tokenOf(t, w.Console, "viewer", role.Viewer)
	why := `<script>alert("x")</script>`
	for _, x := range []struct {
		path       string
		form       url.Values
		asks, does string
		what       string // in the audit
	}{
		{"/reports/cut", url.Values{}, "A report cannot be taken back", "cut", "report-cut"},
		{"/reports/2/send", url.Values{"remote": {""}}, "of report 2 again to all remotes", "send 2 ", "report-send"},
		{"/reports/2/send", url.Values{"remote": {"gateway"}}, "of report 2 again to gateway", "send 2 gateway", "report-send"},
		{"/reports/resume", url.Values{"from": {"17"}}, "The next has the number 17", "resume 17 token:operator " + why, ""},
	} {
		for _, path := range []string{x.path, x.path + "/confirmed"} {
			for _, reason := range []string{"", " \n", "a\x00b", "\xff"} {
				x.form.Set("why", reason)
				if a := ask(w.Console, far, operator, "POST", path, x.form); a.Code != 400 || !strings.Contains(text(a), "Give a reason") {
					t.Errorf("%s %q: %d %s", path, reason, a.Code, text(a))
				}
			}
			x.form.Set("why", why)
			if a := ask(w.Console, far, viewer, "POST", path, x.form); a.Code != 403 {
				t.Errorf("%s: %d", path, a.Code)
			}
		}
		a := ask(w.Console, far, operator, "POST", x.path, x.form)
		checked(t, x.path, a)
		if a.Code != 200 || !strings.Contains(text(a), x.asks) || len(did) > 0 || !strings.Contains(a.Body.String(), `action="`+x.path+`/confirmed"`) {
			t.Errorf("%s: %d %q %s", x.path, a.Code, did, text(a))
		}
		w.audit.take()
		a = ask(w.Console, far, operator, "POST", x.path+"/confirmed", x.form)
		if a.Code != 303 || len(did) != 1 || did[0] != x.does {
			t.Errorf("%s: %d %q, want %q", x.path, a.Code, did, x.does)
		}
		list := w.audit.take()
		if x.what != "" && (len(list) != 1 || list[0].What != x.what || list[0].Why != why || list[0].Who != "token:operator" || list[0].Outcome != "done") {
			t.Errorf("%s: audit %+v", x.path, list)
		}
		did = nil
	}
	for path, form := range map[string]url.Values{"/reports/2/send": {"why": {"x"}, "remote": {"elsewhere"}}, "/reports/x/send": {"why": {"x"}}, "/reports/resume": {"why": {"x"}, "from": {"0"}}} {
		for _, path := range []string{path, path + "/confirmed"} {
			if a := ask(w.Console, far, operator, "POST", path, form); a.Code != 400 || len(did) > 0 {
				t.Errorf("%s %v: %d %q", path, form, a.Code, did)
			}
		}
	}
	if a := ask(w.Console, far, operator, "POST", "/reports/99/send/confirmed", url.Values{"why": {"x"}}); a.Code != 404 || len(did) > 0 {
		t.Errorf("%d %q", a.Code, did)
	}
	// While the store lacks reports, the page says so and has the form.
	w.Reporting.Status = func(context.Context) (report.Status, error) {
		return report.Status{Unknown: 12, File: "POAS_quell_x.csv", Place: "remote gateway"}, nil
	}
	a := ask(w.Console, far, operator, "GET", "/reports", nil)
	checked(t, "/reports", a)
	if !strings.Contains(text(a), "Reports have stopped remote gateway has POAS_quell_x.csv") || !strings.Contains(a.Body.String(), `value="13"`) || strings.Contains(a.Body.String(), `action="/reports/cut"`) {
		t.Errorf("%s", text(a))
	}
	if a = ask(w.Console, far, viewer, "GET", "/reports", nil); strings.Contains(a.Body.String(), "<form method=\"post\" action=\"/reports") {
		t.Error("a viewer has a form")
	}
}

// sent is a file that a form sends.
type sent struct {
	name string
	r    io.Reader
}

// send sends files in a form.
func send(c *console.Console, from, token, path string, files ...sent) *httptest.ResponseRecorder {
	out, in := io.Pipe()
	m := multipart.NewWriter(in)
	go func() {
		for _, f := range files {
			part, err := m.CreateFormFile("files", f.name)
			if err == nil {
				_, err = io.Copy(part, f.r)
			}
			if err != nil {
				in.CloseWithError(err)
				return
			}
		}
		m.Close()
		in.Close()
	}()
	defer out.Close()
	r := httptest.NewRequest("POST", path, out)
	r.RemoteAddr, r.Host = from, "127.0.0.1:8080"
	r.Header.Set("Content-Type", m.FormDataContentType())
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	c.Guard.ServeHTTP(w, r)
	return w
}

// TestVerifyPage: the page says in words what holds of files that are sent and what does not, and
// keeps nothing.
func TestVerifyPage(t *testing.T) {
	w, other := newReported(t, outage.SwitchOn), newReported(t, outage.SwitchShadow)
	analyst := tokenOf(t, w.Console, "analyst", role.Analyst)
	file := func(w *reported, no int64) sent {
		path, b := w.file(t, no)
		return sent{filepath.Base(path), bytes.NewReader(b)}
	}
	damaged := func(no int64) sent {
		path, b := w.file(t, no)
		return sent{filepath.Base(path), bytes.NewReader(bytes.Replace(b, []byte("first value"), []byte("first valve"), 1))}
	}
	const hostile = "\"><img src=x onerror=alert(1)>\u202egnp.csv"
	renamed := file(w, 1)
	renamed.name = hostile
	for _, x := range []struct {
		files []sent
		says  []string
	}{
		{[]sent{file(w, 3), file(w, 1), file(w, 2)}, []string{"All 3 files hold", "All are what this quell wrote, to the byte", "reports 1 to 3 in 3 files"}},
		{[]sent{file(w, 2)}, []string{"The file holds", "The file before report 2 is not among them"}},
		{[]sent{file(w, 1), file(w, 3)}, []string{"do not follow each other", "report 2 is missing before it"}},
		{[]sent{file(w, 1), damaged(2), file(w, 3)}, []string{"1 of 3 files does not hold", "was changed: the SHA-256 of its records is"}},
		{[]sent{file(other, 1), file(other, 2)}, []string{"2 files are not what quell wrote", "another file"}},
		{[]sent{renamed}, []string{"The file does not hold", `"><img src=x onerror=alert(1)>` + "\ufffdgnp.csv", "Line 1: says that it is POAS_quell_"}},
		{[]sent{{"a.csv", strings.NewReader("")}, {"<b>", strings.NewReader("\x00\xff<i>x")}}, []string{"2 of 2 files do not hold", "ends without a trailer", "<b>"}},
		{[]sent{{"zip.csv", strings.NewReader("\"" + strings.Repeat("a", 9<<20))}}, []string{"The file does not hold", "a record longer than"}},
	} {
		// The files' names are not in their order: each is sent under its own.
		a := send(w.Console, far, analyst, "/reports/verify", x.files...)
		checked(t, x.says[0], a)
		for _, want := range x.says {
			if a.Code != 200 || !strings.Contains(text(a), want) {
				t.Errorf("%d, no %q: %s", a.Code, want, text(a))
			}
		}
		if strings.Contains(a.Body.String(), "<img") || strings.Contains(a.Body.String(), "\u202e") {
			t.Errorf("a name is in the page as it is: %s", a.Body)
		}
	}
	for _, x := range []struct {
		a    *httptest.ResponseRecorder
		code int
		says string
	}{
		{send(w.Console, far, analyst, "/reports/verify"), 400, "Choose a file first"},
		{send(w.Console, far, analyst, "/reports/verify", sent{"", strings.NewReader("")}), 400, "Choose a file first"},
		{send(w.Console, far, analyst, "/reports/verify", slices.Repeat([]sent{{"a", strings.NewReader("")}}, 5001)...), 400, "the most is 5000"},
		{ask(w.Console, far, analyst, "POST", "/reports/verify", url.Values{"files": {"x"}}), 400, "multipart"},
		{send(w.Console, far, tokenOf(t, w.Console, "viewer", role.Viewer), "/reports/verify", file(w, 1)), 403, "needs the role analyst"},
	} {
		checked(t, x.says, x.a)
		if x.a.Code != x.code || !strings.Contains(text(x.a), x.says) {
			t.Errorf("%d, want %d %q: %s", x.a.Code, x.code, x.says, text(x.a))
		}
	}
	// Nothing was kept.
	n := 0
	fs.WalkDir(os.DirFS(w.dir), ".", func(_ string, d fs.DirEntry, _ error) error {
		if !d.IsDir() {
			n++
		}
		return nil
	})
	if n != 3 {
		t.Errorf("%d files", n)
	}
}

// TestVerifyTooLarge: what is too large is refused with a page, and a second verification waits.
func TestVerifyTooLarge(t *testing.T) {
	w := newReported(t, outage.SwitchOn)
	analyst := tokenOf(t, w.Console, "analyst", role.Analyst)
	started, goOn := make(chan struct{}), make(chan struct{})
	slow := readerFunc(func(b []byte) (int, error) {
		close(started)
		<-goOn
		return 0, io.EOF
	})
	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- send(w.Console, far, analyst, "/reports/verify", sent{"slow", slow}) }()
	<-started
	if a := send(w.Console, far, analyst, "/reports/verify", sent{"a", strings.NewReader("")}); a.Code != 409 || !strings.Contains(text(a), "files of somebody else") {
		t.Errorf("%d %s", a.Code, text(a))
	}
	close(goOn)
	if a := <-done; a.Code != 200 {
		t.Errorf("%d %s", a.Code, text(a))
	}
	zeros := io.LimitReader(readerFunc(func(b []byte) (int, error) { clear(b); return len(b), nil }), 513<<20)
	if a := send(w.Console, far, analyst, "/reports/verify", sent{"zeros", zeros}); a.Code != 413 || !strings.Contains(text(a), "larger than 512 MiB") {
		t.Errorf("%d %s", a.Code, text(a))
	}
}

// TestUploadStops: an upload that breaks off is the fault of who sends it, and one that stalls does not
// hold up a stop.
func TestUploadStops(t *testing.T) {
	w := newReported(t, outage.SwitchOn)
	analyst := tokenOf(t, w.Console, "analyst", role.Analyst)
	broken := readerFunc(func([]byte) (int, error) { return 0, errors.New("broken off") })
	if a := send(w.Console, far, analyst, "/reports/verify", sent{"a", io.MultiReader(strings.NewReader("H,"), broken)}); a.Code != 400 || !strings.Contains(text(a), "did not arrive whole") {
		t.Errorf("%d %s", a.Code, text(a))
	}
	srv := httptest.NewServer(w.Guard)
	defer srv.Close()
	started, goOn := make(chan struct{}), make(chan struct{})
	defer close(goOn)
	stalls := readerFunc(func([]byte) (int, error) {
		close(started)
		<-goOn
		return 0, io.EOF
	})
	r, err := http.NewRequest("POST", srv.URL+"/reports/verify", io.MultiReader(strings.NewReader("--x\r\nContent-Disposition: form-data; name=files; filename=a\r\n\r\nH,"), stalls))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	r.Header.Set("Authorization", "Bearer "+analyst)
	status := make(chan int, 1)
	go func() {
		code := 0
		if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
			code = res.StatusCode
			res.Body.Close()
		}
		status <- code
	}()
	<-started
	w.Drain()
	select {
	case code := <-status:
		if code != 400 {
			t.Errorf("%d", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
