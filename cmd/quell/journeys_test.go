package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"quell/internal/gateway"
	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/store/storetest"

	"github.com/chromedp/chromedp"
)

// pressButton presses the button with a text.
func (p *tab) pressButton(text string) {
	p.t.Helper()
	p.do(chromedp.Click(fmt.Sprintf(`//button[normalize-space()=%q]`, text), chromedp.NodeVisible))
}

// follow follows the link with a text.
func (p *tab) follow(text string) {
	p.t.Helper()
	p.do(chromedp.Click(fmt.Sprintf(`//a[normalize-space()=%q]`, text), chromedp.NodeVisible))
}

// testAnalyst: an analyst of a network operator asks why no alert came of an address, with the keyboard alone:
// types the MPxN with blanks, and reads why. The MPxN is in no address, and shows when asked for.
func testAnalyst(t *testing.T, b *chromium, w *consoleWorld) {
	e := w.entries(t)[0]
	p := b.tab(t, w.process.admin, "")
	p.login(w.installation, "analyst", "analyst")
	p.tabTo("Explain")
	p.press("\r")
	p.says("h1", "Explain")
	storetest.Eventually(t, "the focus is in the box", func() bool { return p.focus().ID == "id" }) // a while after the page has come
	typed := e.MPxN[:2] + " " + e.MPxN[2:6] + "  " + e.MPxN[6:9] + "-" + e.MPxN[9:]
	p.press(typed)
	p.press("\r")
	p.says(".answer", "Suppressed: its meter "+e.ESME.String()+" was activating firmware from "+e.WindowStart.Format("15:04"))
	if at := p.path(); !strings.HasPrefix(at, "/explain/") || strings.Contains(at, e.MPxN) {
		t.Errorf("it leads to %s", at)
	}
	shared := p.path()
	p.says("main", "ordered by "+supplierOf(0).String()[:20])
	masked := e.MPxN[:2] + strings.Repeat("•", 11)
	p.says("main", masked)
	if text := p.text("body"); strings.Contains(text, e.MPxN) {
		t.Errorf("the MPxN shows: %s", text)
	}
	p.picture("journey-analyst")
	p.tabTo(fmt.Sprint(e.Seq)) // the entry
	p.press("\r")
	p.says("h1", fmt.Sprintf("Entry %d", e.Seq))
	p.tabTo("Show the MPxNs")
	p.press("\r")
	p.says("main", e.MPxN)
	if at := p.path(); strings.Contains(at, e.MPxN) {
		t.Errorf("it leads to %s", at)
	}
	_, audit, _ := w.quell("audit", "list", "--json")
	if n := strings.Count(audit, `"who":"link:token:analyst"`); n < 2 || !strings.Contains(audit, `"object":"`+e.MPxN+`"`) {
		t.Errorf("%d look-ups are in the audit log: %s", n, audit)
	}
	// A colleague opens the address, and may not look at MPxNs.
	q := b.tab(t, w.process.admin, "")
	q.open(shared)
	q.says(".answer", "Suppressed: its meter "+e.ESME.String())
	if text := q.text("body"); strings.Contains(text, "Show the MPxNs") || strings.Contains(text, e.MPxN) {
		t.Errorf("a viewer sees %s", text)
	}
	p.well("the analyst")
	q.well("a viewer")
}

// testRelease: an operator finds a suspect on Now, reads why, and releases its alert. It reaches the Service
// Users once, as it came.
func testRelease(t *testing.T, b *chromium, w *consoleWorld) {
	e := w.suspect(t)
	p := b.tab(t, w.process.admin, "")
	p.login(w.installation, "operator", "operator")
	p.says(`[data-part="suspects"] tbody tr:first-child`, "strong")
	suspect := fmt.Sprintf(`[data-part="suspects"] a[href="/explain/entry/%d"]`, e.Seq) // if the machine stalled, there are others
	p.click(suspect)
	p.says("h1", fmt.Sprintf("Entry %d", e.Seq))
	p.says(".notice", "It was probably genuine: the evidence is strong.")
	p.pressButton("Go on") // without a reason nothing happens
	if !eval[bool](p, `document.querySelector("#why:invalid") !== null`) {
		t.Error("a reason is not asked for")
	}
	p.write("#why", "its street has lost its power")
	p.pressButton("Go on")
	p.says("h1", fmt.Sprintf("Release the alert of entry %d?", e.Seq))
	p.says("li", "It cannot be taken back.")
	p.says("li", "its street has lost its power")
	p.picture("journey-release")
	p.fits("the release")
	p.accessible("the release")
	p.pressButton("Release the alert")
	p.says("h1", fmt.Sprintf("Entry %d", e.Seq))
	p.until(fmt.Sprintf("/explain/entry/%d", e.Seq), ".card .badge", "released")
	storetest.Eventually(t, "the alert reaches the Service Users", func() bool { return w.cut().Delivered(&w.users) == 1 })
	p.picture("journey-released")
	p.follow("Now")
	storetest.Eventually(t, "it is no suspect any more", func() bool { return eval[bool](p, `document.querySelector(%q) === null`, suspect) })
	p.says(`[data-part="suspects"]`, "weak")
	p.well("the operator")
}

// steered is a quell whose remote can be away.
type steered struct {
	*installation
	process *process
	users   *recorder
	away    atomic.Bool
	folder  string // of the remote
}

func startSteered(t *testing.T) *steered {
	t.Helper()
	s := &steered{users: &recorder{seen: map[string]int{}}, folder: t.TempDir()}
	url := remotetest.WebDAV(t, s.folder, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.away.Load() {
				http.Error(w, "the server is being repaired", http.StatusServiceUnavailable)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	north := serveTest(t, s.users)
	s.installation = install(t, accept(t), north, fmt.Sprintf("report: {every: 10000d, remotes: [{name: dno, target: %q}]}\n", remotetest.WebDAVTarget(url, "reports")))
	s.track(1)
	s.process = s.serve()
	return s
}

// alert sends an alert of hub 0, and returns what becomes of it.
func (s *steered) alert(n int) outage.Outcome {
	s.t.Helper()
	return outage.Outcome(post(s.t, s.process.north, powerOutage(n, 0)).Get(gateway.DecisionHeader))
}

// testSwitch: an operator turns the switch to shadow, with a reason, and the next AD1 goes forward. A page that
// somebody has open shows the change by itself.
func testSwitch(t *testing.T, b *chromium, s *steered) {
	post(t, s.process.south, preCommand(0))
	if d := s.alert(0); d != outage.Suppressed {
		t.Fatalf("the first alert: %s", d)
	}
	other := b.tab(t, s.process.admin, "")
	other.open("/")
	other.says(`[data-part="switch"]`, "AD1s of hubs with an open window are suppressed.")
	p := b.tab(t, s.process.admin, "")
	p.login(s.installation, "operator", "operator")
	p.follow("Settings")
	p.click("#switch summary")
	p.picture("journey-switch")
	p.click("#to-shadow")
	p.write("#why", "INC2291: the network operator asks for all alerts")
	p.pressButton("Go on")
	p.says("h1", "Set the switch to shadow")
	p.says("li", "Shadow: all alerts pass.")
	p.says("li", "Windows that are open now: 1")
	p.picture("journey-switch-asked")
	p.accessible("the switch")
	p.fits("the switch")
	if d := s.alert(1); d != outage.Suppressed {
		t.Errorf("before the change is confirmed: %s", d)
	}
	p.pressButton("Set it to shadow")
	p.says("header .badge", "switch: shadow")
	p.says("#switch tbody tr:first-child", "INC2291: the network operator asks for all alerts")
	if d := s.alert(2); d != outage.Shadow {
		t.Errorf("after the change: %s", d)
	}
	s.users.mu.Lock()
	got := s.users.seen[alertID(2, 0).String()]
	s.users.mu.Unlock()
	if got != 1 {
		t.Errorf("the Service Users got the alert %d times", got)
	}
	other.says(`[data-part="switch"]`, "Everything goes forward.")
	other.says(`[data-part="switch"]`, "INC2291")
	p.follow("Suppression log")
	p.says("tbody tr:first-child", "shadow")
	p.well("the switch")
	other.well("who looks on")
}

// testRemote: a product owner sees that a remote is away, and that the report gets there once it is back. Then
// he verifies the file that it has.
func testRemote(t *testing.T, b *chromium, s *steered) {
	s.away.Store(true)
	p := b.tab(t, s.process.admin, s.token("owner", "operator"))
	p.open("/reports")
	p.click("main details summary")
	p.write("#why", "the monthly meeting")
	p.pressButton("Cut a report now")
	p.says("main", "the monthly meeting")
	p.picture("journey-cut")
	p.pressButton("Cut the report")
	p.says("h1", "Report 1")
	p.until("/reports", "main table", "1 file waits")
	p.until("/reports", "main table", "Service Unavailable")
	p.picture("journey-remote-away")
	p.look(360, true)
	p.fits("a remote is away")
	p.accessible("a remote is away")
	p.picture("journey-remote-away-360-dark")
	p.look(1440, false)
	p.follow("Now")
	p.says(`[data-part="remotes"]`, "waits dno: 1 file")
	s.away.Store(false)
	p.says(`[data-part="remotes"]`, "has all dno") // the page updates itself
	p.follow("Reports")
	p.says("main table", "all confirmed")
	p.says("main", "confirmed")
	files, err := filepath.Glob(filepath.Join(s.folder, "reports", "*.csv"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q %v", files, err)
	}
	verify := func(says string) {
		t.Helper()
		p.open("/reports/verify")
		p.do(chromedp.SetUploadFiles(chromedp.CSS("#files"), files))
		p.pressButton("Verify")
		p.says(".notice", says)
	}
	verify("The file holds")
	text := string(read(t, files[0]))
	if err := os.WriteFile(files[0], []byte(text[:len(text)/2]+text[len(text)/2+1:]), 0o600); err != nil {
		t.Fatal(err)
	}
	verify("The file does not hold")
	// A file that is dropped anywhere into the page is verified at once.
	p.open("/reports/verify")
	eval[bool](p, `(() => {
		const files = new DataTransfer();
		files.items.add(new File([%q], %q, {type: "text/csv"}));
		return document.querySelector("h1").dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true}));
	})()`, text, filepath.Base(files[0]))
	p.says(".notice", "The file holds")
	p.picture("journey-verify")
	p.well("the remote")
}

// until loads a page until an element of it has a text.
func (p *tab) until(path, selector, text string) {
	p.t.Helper()
	storetest.Eventually(p.t, path+" says "+text, func() bool {
		p.open(path)
		return eval[bool](p, `Array.from(document.querySelectorAll(%q)).some((e) => e.innerText.replace(/\s+/g, " ").includes(%q))`, selector, text)
	})
}

// testWithoutScripts: with JavaScript off each page is there, and the switch can be turned.
func testWithoutScripts(t *testing.T, b *chromium, w *consoleWorld, s *steered) {
	p := b.tab(t, w.process.admin, w.token("without", "operator"))
	p.withoutScripts()
	for _, page := range w.pages(t) {
		p.open(page.path)
		p.says("h1", "")
		if text := p.text("body"); strings.Contains(text, "updates itself") || len(text) < 200 {
			t.Errorf("%s: %s", page.name, text)
		}
	}
	p.open("/")
	p.says("main", "Reload")
	p.picture("without-scripts")
	p.well("without scripts")

	p = b.tab(t, s.process.admin, s.token("without", "operator"))
	p.withoutScripts()
	p.open("/settings")
	p.click("#switch summary")
	p.click("#to-on")
	p.write("#why", "INC2291 is over")
	p.pressButton("Go on")
	p.says("h1", "Set the switch to on")
	p.pressButton("Set it to on")
	p.says("header .badge", "switch: on")
	if d := s.alert(3); d != outage.Suppressed {
		t.Errorf("after the change: %s", d)
	}
	p.follow("Explain")
	p.write("#id", hubID(0).String())
	p.pressButton("Explain")
	p.says(".answer", "Suppressed: its meter")
	p.well("a change without scripts")
}

func serveTest(t *testing.T, h http.Handler) string {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}
