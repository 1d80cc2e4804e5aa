package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	cdpruntime "github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// chromium is a browser. Each of its tabs is as a browser of its own: it shares no cookies.
type chromium struct {
	ctx context.Context
	axe string // the script of axe-core
	dir string // for pictures; empty without the flag -artifacts of go test: then none are made
}

func newChromium(t *testing.T) *chromium {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	path, err := exec.Command("../../scripts/axe.sh", "path").Output()
	if err != nil {
		t.Skip("axe-core is not there: run scripts/axe.sh")
	}
	b := &chromium{axe: string(read(t, strings.TrimSpace(string(path))))}
	if flag.Lookup("test.artifacts").Value.String() == "true" { // else go test would delete them
		b.dir = t.ArtifactDir()
	}
	// Ends after the tabs of the test.
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox,
		chromedp.UserDataDir(t.TempDir()), chromedp.Env("HOME="+t.TempDir()), chromedp.DisableGPU, chromedp.Flag("no-proxy-server", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("font-render-hinting", "none"), chromedp.Flag("lang", "en-GB"))...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

// tab is a page in the browser, as one person sees it. It notes what goes wrong there.
type tab struct {
	*chromium
	t    *testing.T
	ctx  context.Context
	base string // of the console

	mu     sync.Mutex // guards the fields below
	faults []string
	allow  []int // statuses of errors that are expected
}

// tab opens a tab for a console. token may be empty.
func (b *chromium) tab(t *testing.T, base, token string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := &tab{chromium: b, t: t, ctx: ctx, base: base}
	headers := network.Headers{}
	if token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	if err := chromedp.Listen(ctx, p.event); err != nil {
		t.Fatal(err)
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	call(p, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers})
	p.look(1440, false)
	return p
}

// event notes what goes wrong.
func (p *tab) event(e any) {
	fault := func(format string, args ...any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.faults = append(p.faults, fmt.Sprintf(format, args...))
	}
	switch e := e.(type) {
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, p.base+"/") && !strings.HasPrefix(e.Request.URL, "chrome-error:") {
			fault("a request to %s", e.Request.URL)
		}
	case *network.EventResponseReceived:
		p.mu.Lock()
		expected := slices.Contains(p.allow, int(e.Response.Status))
		p.mu.Unlock()
		if e.Response.Status >= 400 && !expected {
			fault("%s: status %d", e.Response.URL, e.Response.Status)
		}
	case *network.EventLoadingFailed:
		// A stream of events and a page that is left behind are cancelled.
		if !e.Canceled && e.ErrorText != "net::ERR_ABORTED" {
			fault("a request failed: %s %s", e.Type, e.ErrorText)
		}
	case *cdpruntime.EventExceptionThrown:
		fault("a script fails: %s", e.ExceptionDetails.Text)
	case *cdpruntime.EventConsoleAPICalled:
		fault("a script writes to the console: %s", e.Type)
	case *log.EventEntryAdded:
		p.mu.Lock()
		expected := len(p.allow) > 0 && e.Entry.Source == log.EntrySourceNetwork
		p.mu.Unlock()
		if !expected {
			fault("console: %s %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	}
}

// expect says which statuses of errors are no fault from now on.
func (p *tab) expect(statuses ...int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.allow = statuses
}

// well fails the test if anything went wrong in the page.
func (p *tab) well(what string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		p.t.Errorf("%s: %s", what, f)
	}
	p.faults = nil
}

// patience is how long a step may take on a busy machine.
const patience = 40 * time.Second

// run returns the value of an action. It fails the test if that has an error.
func run1[T any](p *tab, a chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.where())
	}
	return v
}

// where says which page is shown, with the beginning of its text.
func (p *tab) where() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 3000)`))
	if err != nil {
		return err.Error()
	}
	return text
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	for _, s := range steps {
		run1(p, s)
	}
}

// eval returns the value of an expression in the page.
func eval[T any](p *tab, expression string, args ...any) T {
	p.t.Helper()
	return run1(p, chromedp.Evaluate[T](fmt.Sprintf(expression, args...), chromedp.EvalAwaitPromise))
}

// look sets the width of the window, and whether the person prefers dark pages.
func (p *tab) look(width int64, dark bool) {
	p.t.Helper()
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 900, DeviceScaleFactor: 1, Mobile: width < 600})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

// withoutScripts switches JavaScript off.
func (p *tab) withoutScripts() {
	p.t.Helper()
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// open opens a path of the console.
func (p *tab) open(path string) {
	p.t.Helper()
	p.do(chromedp.Navigate(p.base + path))
}

// path returns the path of the page that is shown, with its query.
func (p *tab) path() string {
	p.t.Helper()
	return strings.TrimPrefix(eval[string](p, "location.href"), p.base)
}

// text returns what an element says.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return run1(p, chromedp.Text(chromedp.CSS(selector), chromedp.NodeVisible))
}

// says waits until an element has a text.
func (p *tab) says(selector, text string) {
	p.t.Helper()
	script := fmt.Sprintf(`Array.from(document.querySelectorAll(%q)).some((e) => e.innerText.replace(/\s+/g, " ").includes(%q))`, selector, text)
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](script))
		cancel()
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not say %q: %v\n%s", selector, text, err, p.where())
		}
	}
}

func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

func (p *tab) write(selector, text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text, chromedp.NodeVisible))
}

// press presses keys, wherever the focus is.
func (p *tab) press(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// picture keeps a picture of the whole page, if pictures are wanted.
func (p *tab) picture(name string) {
	p.t.Helper()
	if p.dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(p.dir, name+".png"), run1(p, chromedp.FullScreenshot(100)), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// smallPicture returns the upper part of a page, up to the end of an element, as a PNG of at most 256 colours.
func (p *tab) smallPicture(width int64, end string) []byte {
	p.t.Helper()
	p.look(width, false)
	height := eval[float64](p, `document.querySelector(%q).getBoundingClientRect().bottom + 16`, end)
	beyond := true
	shot := run1(p, chromedp.Action[[]byte](func(ctx context.Context, target *chromedp.Target) ([]byte, error) {
		r, err := cdp.Call(ctx, target, cdppage.CaptureScreenshot, cdppage.CaptureScreenshotParams{CaptureBeyondViewport: &beyond, Clip: &cdppage.Viewport{Width: float64(width), Height: height, Scale: 1}})
		return r.Data, err
	}))
	from, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		p.t.Fatal(err)
	}
	counts := map[color.Color]int{}
	at := from.Bounds()
	for y := at.Min.Y; y < at.Max.Y; y++ {
		for x := at.Min.X; x < at.Max.X; x++ {
			counts[from.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return counts[b] - counts[a] })
	to := image.NewPaletted(at, colours[:min(len(colours), 256)])
	draw.Draw(to, at, from, at.Min, draw.Src) // each pixel gets the nearest colour
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to); err != nil {
		p.t.Fatal(err)
	}
	return out.Bytes()
}

// overflows says what makes a page wider than its window; empty if nothing does.
const overflows = `(() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const wide = Array.from(document.querySelectorAll("body *")).filter((e) => e.getBoundingClientRect().right > root.clientWidth + 0.5 && !e.closest(".scroll"));
  return ["the page is " + root.scrollWidth + " wide"].concat(wide.slice(0, 5).map((e) => e.outerHTML.slice(0, 120)));
})()`

// fits fails the test if a page scrolls sideways.
func (p *tab) fits(what string) {
	p.t.Helper()
	for _, f := range eval[[]string](p, "%s", overflows) {
		p.t.Errorf("%s scrolls sideways: %s", what, f)
	}
}

// accessible fails the test if axe-core finds that a page does not keep to WCAG 2.2 AA.
func (p *tab) accessible(what string) {
	p.t.Helper()
	for _, f := range p.findings() {
		p.t.Errorf("%s: %s", what, f)
	}
}

// findings are what axe-core finds in a page.
func (p *tab) findings() []string {
	p.t.Helper()
	if !eval[bool](p, `"axe" in window`) {
		p.do(chromedp.Evaluate[chromedp.Void](p.axe + "\n;undefined"))
	}
	return eval[[]string](p, `axe.run(document, {resultTypes: ["violations"], runOnly: {type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}, rules: {"target-size": {enabled: true}}})
		.then((r) => r.violations.flatMap((v) => v.nodes.slice(0, 4).map((n) => v.id + ": " + n.html.slice(0, 160) + ": " + n.failureSummary.replace(/\s+/g, " "))))`)
}

// focused is the element that has the focus.
type focused struct {
	Tag, Text, ID string
	Order         int  // its place in the document
	Visible       bool // there is an outline, and it is in the window
	Label         string
}

// focusNow returns the focused element.
const focusNow = `(() => {
  const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
  return {Tag: e.tagName, Text: (e.innerText || e.value || "").trim().slice(0, 80), ID: e.id, Order: Array.from(document.querySelectorAll("*")).indexOf(e), Label: e.outerHTML.slice(0, 100),
    Visible: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 && r.width > 0 && r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth};
})()`

func (p *tab) focus() (f focused) {
	p.t.Helper()
	text := eval[json.RawMessage](p, "%s", focusNow)
	if err := json.Unmarshal(text, &f); err != nil {
		p.t.Fatal(err)
	}
	return f
}

// focusable counts what can have the focus by the keyboard.
const focusable = `Array.from(document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"))
  .filter((e) => !e.disabled && e.checkVisibility({visibilityProperty: true}) && !(e.type === "radio" && e !== e.form.elements[e.name][0])).length`

// tabs walks through a page by the Tab key: everything that can be used is reached, in the order of the
// page, and it shows where the focus is.
func (p *tab) tabs(what string) {
	p.t.Helper()
	want, last := eval[int](p, "%s", focusable), focused{}
	for range want { // from a field that has the focus at first, to the end of the page
		if p.focus().Tag == "BODY" {
			break
		}
		p.press("\t")
	}
	for n := 0; ; n++ {
		p.press("\t")
		f := p.focus()
		if f.Tag == "BODY" || n > want {
			if n != want {
				p.t.Errorf("%s: the Tab key reaches %d elements of %d; the last is %s", what, n, want, last.Label)
			}
			return
		}
		if !f.Visible {
			p.t.Errorf("%s: the focus cannot be seen at %s", what, f.Label)
		}
		if f.Order <= last.Order {
			p.t.Errorf("%s: the focus goes back to %s", what, f.Label)
		}
		last = f
	}
}

// tabTo presses the Tab key until an element with a text, or with an id such as "#why", has the focus.
func (p *tab) tabTo(text string) {
	p.t.Helper()
	for range 200 {
		p.press("\t")
		if f := p.focus(); f.Text == text || "#"+f.ID == text {
			if !f.Visible {
				p.t.Errorf("the focus cannot be seen at %s", f.Label)
			}
			return
		}
	}
	p.t.Fatalf("the Tab key does not lead to %q\n%s", text, p.where())
}

// call sends a command of the DevTools protocol.
func call[P, R any](p *tab, c cdp.Command[P, R], params P) {
	p.t.Helper()
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, params)
		return err
	}))
}

// login logs in with a link that "quell login" prints for a role.
func (p *tab) login(i *installation, name, role string) {
	p.t.Helper()
	status, link, errs := i.quell("login", "--token-file", i.file(name+".token", i.token(name, role)))
	if status != 0 {
		p.t.Fatal(errs)
	}
	p.open(strings.TrimPrefix(strings.TrimSpace(link), p.base))
	p.says("h1", "Log in with a link")
	p.pressButton("Log in")
	p.says("#name", name)
}
