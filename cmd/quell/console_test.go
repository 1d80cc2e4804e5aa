package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/flow"
	"quell/internal/operator"
	"quell/internal/outage"
	"quell/internal/sim"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// consoleWorld is a quell process with a day of traffic: history in its store, and the traffic of the demo.
type consoleWorld struct {
	*installation
	process *process
	users   sim.NextHop
	results []sim.Result
	sent    chan error // when the traffic of the demo ends
}

// homes are those of the history, besides the town of the demo. Each has a meter and a hub.
const homes = 1600

// makers are the makers and models of their meters.
var makers = []string{"Landis+Gyr,E360", "Landis+Gyr,E470 Type 5424", "Aclara,SGM1411-B", "Aclara,SGM1416-B"}

// supplierOf returns the supplier of a home, one of the two of the town.
func supplierOf(n int) outage.DeviceID { return originator + outage.DeviceID(n%7%3%2) }

// homeMeter and homeHub are the devices of a home. The town has none of them.
func homeMeter(n int) outage.DeviceID { return meterID(1<<28 + 12289*n) }
func homeHub(n int) outage.DeviceID   { return hubID(1<<28 + 6151*n) }

// mpanOf is the MPAN of a home.
func mpanOf(n int) string {
	digits := fmt.Sprintf("%02d%010d", 10+n%14, 23305967+7919*n)
	for check := byte('0'); check <= '9'; check++ {
		if _, ok := outage.DistributorOf(digits + string(check)); ok {
			return digits + string(check)
		}
	}
	panic(digits)
}

// startWorld starts a quell with a day of traffic. The traffic of the demo begins then: see await.
func startWorld(t *testing.T) *consoleWorld {
	t.Helper()
	w := &consoleWorld{sent: make(chan error, 1)}
	var dsp sim.NextHop
	south, north := httptest.NewServer(&dsp), httptest.NewServer(&w.users)
	t.Cleanup(south.Close)
	t.Cleanup(north.Close)
	town := sim.NewTown(1)
	delivered := t.TempDir()
	w.installation = install(t, south.URL, north.URL, "")
	signers := filepath.Join(w.dir, "signers")
	if err := os.Mkdir(signers, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := town.WriteCertificates(signers); err != nil {
		t.Fatal(err)
	}
	w.write(fmt.Sprintf(`data_dir: %s
drain: 0s
southbound: {listen: %q, next_hop: %q, signatures: require}
northbound: {listen: %q, next_hop: %q, signatures: require}
console: {listen: %q}
certificates: %s
store_timeout: 5s
suppliers: [%s]
manufacturers: [Landis+Gyr, Aclara]
window_by_model: {"Landis+Gyr E470": {to: %s}, "Aclara SGM1416-B": {from: 1m, to: 20m}}
report: {every: 10000d, per_distributor: true, remotes: [{name: esi, target: %q}]}
`, filepath.Join(w.dir, "data"), w.south, south.URL, w.north, north.URL, w.admin, signers, strings.Join(town.Suppliers(), ", "), demoWindow, delivered))
	w.history(town)
	w.process = w.serve()
	go func() {
		var err error
		w.results, err = sim.Quell{South: w.process.south, North: w.process.north, Window: demoWindow, DSP: &dsp, Users: &w.users}.Run(t.Context(), town, func(string) {})
		w.sent <- err
	}()
	return w
}

// await returns when the traffic of the demo was sent, its evidence is there, and three reports are
// at the remote.
func (w *consoleWorld) await() {
	t, ctx := w.t, w.t.Context()
	t.Helper()
	if err := <-w.sent; err != nil {
		t.Fatal(err)
	}
	for _, r := range w.results {
		for _, d := range r.Differences {
			t.Errorf("%s: %s", r.Name, d)
		}
	}
	c := &operator.Client{Socket: filepath.Join(w.dir, "data", "console.sock")}
	d := demonstration{client: c}
	if _, err := d.strong(ctx, w.cut().Hubs); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := c.CutReport(ctx); err != nil {
			t.Fatal(err)
		}
	}
	storetest.Eventually(t, "the reports are at the remote", func() bool { return confirmed(c, 3) })
}

// cut is the result of the home whose suppressed alert was genuine.
func (w *consoleWorld) cut() *sim.Result {
	for i := range w.results {
		if w.results[i].Name == sim.HiddenCut {
			return &w.results[i]
		}
	}
	w.t.Fatal("no hidden cut")
	return nil
}

// history fills the store with a day of campaigns and of power cuts, and with windows to come.
func (w *consoleWorld) history(town *sim.Town) {
	t, ctx := w.t, w.t.Context()
	st, err := store.Open(ctx, store.Options{Dir: filepath.Join(w.dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	st.Flow.Begin()
	now := time.Now().UTC().Truncate(time.Second)
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	check(st.Ledger.FirstSwitch(ctx, outage.SwitchShadow, "quell", "the first value", now.AddDate(0, 0, -40)))
	for _, s := range []struct {
		to       outage.Switch
		who, why string
		days     int
	}{{outage.SwitchOn, "m.hughes", "CHG0031: four weeks in shadow have shown no fault", -12}, {outage.SwitchOff, "o.lindgren", "INC2207: the DSP sends 11.3s twice", -5}, {outage.SwitchOn, "o.lindgren", "INC2207 is closed", -4}} {
		_, err := st.Ledger.SetSwitch(ctx, s.to, s.who, s.why, now.AddDate(0, 0, s.days))
		check(err)
	}

	var inventory, list, first strings.Builder
	check(town.WriteInventory(&inventory))
	check(town.WriteDeviceList(&list))
	for n := range homes {
		fmt.Fprintf(&inventory, "%s,CHF,CHTS v1.1,EDMI,CH1,,,,ZZ%d %dBB\n%s,ESME,SMETS2 v4.2,%s,%s,%s,%s,ZZ%d %dBB\n", homeHub(n), 20+n/10, n%10, homeMeter(n), makers[n%len(makers)], homeHub(n), mpanOf(n), supplierOf(n), 20+n/10, n%10)
		fmt.Fprintln(&list, homeMeter(n))
		if n%20 != 0 {
			fmt.Fprintln(&first, homeMeter(n))
		}
	}
	texts := []string{inventory.String()}
	_, err = st.Devices.ImportInventory(ctx, "m.hughes", now.AddDate(0, 0, -13), func() (devices.File, error) {
		if len(texts) == 0 {
			return devices.File{}, io.EOF
		}
		text := texts[0]
		texts = nil
		return devices.File{Name: "inventory-2026-11.csv", Reader: strings.NewReader(text)}, nil
	})
	check(err)
	for i, text := range []string{first.String(), list.String()} {
		_, err := st.Devices.ImportList(ctx, "m.hughes", now.AddDate(0, 0, 11*i-12), devices.File{Name: fmt.Sprintf("wave-%d.txt", i+1), Reader: strings.NewReader(text)})
		check(err)
	}

	rnd := rand.New(rand.NewPCG(19, 1))
	var recording sync.WaitGroup
	next := 0
	activate := func(at time.Time, every time.Duration, n int) (list []int, starts []time.Time) {
		for range n {
			home := next % homes
			id := outage.RequestID{Originator: supplierOf(home), Target: homeMeter(home), Counter: uint64(1000 + next)}
			next++
			r := outage.Request{ID: id, Form: outage.SignedPreCommand, Order: outage.Order{Kind: outage.FutureDated, At: at}, Received: at.Add(-30 * time.Hour), Verified: true}
			if r.Received.After(now) {
				r.Received = now.Add(-20 * time.Hour)
			}
			a := r.Activation(homeHub(home), 30*time.Minute)
			recording.Go(func() {
				st.Ledger.Record(ctx, a)
				st.Ledger.RecordAnswer(ctx, a, outage.Accepted)
			})
			list, starts = append(list, home), append(starts, at)
			if next%8 == 0 { // suppliers send such requests for several meters at once
				at = at.Add(8 * every)
			}
		}
		recording.Wait()
		return list, starts
	}
	for _, c := range []struct {
		ago   time.Duration
		n     int
		share float64
	}{{21*time.Hour + 10*time.Minute, 60, 0.5}, {20 * time.Hour, 90, 0.35}, {19 * time.Hour, 70, 0.4}, {9*time.Hour + 30*time.Minute, 40, 0.8}, {3 * time.Hour, 110, 0.3}, {12 * time.Minute, 36, 0.4}} {
		list, starts := activate(now.Add(-c.ago), 4*time.Second, c.n)
		var alerts []outage.Alert
		for i, home := range list {
			if at := starts[i].Add(time.Duration(190+rnd.IntN(240)) * time.Second); rnd.Float64() < c.share && at.Before(now) {
				id := outage.RequestID{Originator: homeHub(home), Target: originator, Counter: uint64(home) + 1}
				alerts = append(alerts, outage.Alert{ID: id.String(), Code: "AD1", CHF: homeHub(home), OutageStart: at.Add(-3 * time.Minute), MPxN: mpanOf(home), Received: at})
			}
		}
		slices.SortFunc(alerts, func(a, b outage.Alert) int { return a.Received.Compare(b.Received) })
		for _, a := range alerts {
			d, err := st.Ledger.Decide(ctx, a, outage.Suppressed, time.Minute)
			check(err)
			end := flow.Forwarded
			if d.Outcome == outage.Suppressed {
				end = flow.Suppressed
			}
			st.Flow.Received(a.Received, a.MPxN).End(end)
		}
	}
	for quarter := range 96 { // power cuts, with a storm
		at, n := now.Add(-24*time.Hour+time.Duration(quarter)*15*time.Minute), rnd.IntN(5)
		if quarter > 44 && quarter < 54 {
			n += 60 - 12*max(quarter-49, 49-quarter)
		}
		for range n {
			st.Flow.Received(at, mpanOf(rnd.IntN(homes))).End(flow.Forwarded)
		}
	}
	midnight := now.Truncate(24 * time.Hour)
	for _, night := range []int{1, 2, 3, 4, 8, 9, 10, 15, 23} {
		activate(midnight.AddDate(0, 0, night).Add(time.Duration(rnd.IntN(3))*time.Hour), time.Duration(60+rnd.IntN(200))*time.Second, 30+rnd.IntN(60))
	}
	check(st.Flow.Flush(ctx))
}

// token creates a token with a role.
func (i *installation) token(name, role string) string {
	i.t.Helper()
	status, text, errs := i.quell("token", "create", "--name", name, "--role", role)
	if status != 0 {
		i.t.Fatal(errs)
	}
	return strings.TrimSpace(text)
}

type consolePage struct{ name, path string }

// consolePages are the pages that look at nothing in particular.
var consolePages = []consolePage{
	{"now", "/"}, {"explain", "/explain"}, {"activations", "/activations"}, {"log", "/log"}, {"reports", "/reports"}, {"settings", "/settings"},
}

// pages are all pages, each with something on it.
func (w *consoleWorld) pages(t *testing.T) []consolePage {
	t.Helper()
	list := append([]consolePage{}, consolePages...)
	e, strong := w.entries(t)[120], w.suspect(t)
	today := time.Now().UTC().Truncate(24 * time.Hour)
	return append(list,
		consolePage{"explain-suspect", fmt.Sprintf("/explain/entry/%d", strong.Seq)}, consolePage{"explain-entry", fmt.Sprintf("/explain/entry/%d", e.Seq)},
		consolePage{"explain-hub", "/explain/device/" + e.CHF.String()}, consolePage{"explain-request", "/explain/message/" + e.RequestID},
		consolePage{"log-nothing", "/log?distributor=23&evidence=strong"}, consolePage{"log-of-hub", "/log?hub=" + e.CHF.String()},
		consolePage{"activations-supplier", "/activations/windows?of=supplier&id=" + supplierOf(0).String()}, consolePage{"activations-hub", "/activations/windows?of=hub&id=" + e.CHF.String()},
		consolePage{"activations-meters", "/activations/meters?from=" + today.AddDate(0, 0, -1).Format("2006-01-02") + "&to=" + today.AddDate(0, 0, 1).Format("2006-01-02")},
		consolePage{"report", "/reports/2"}, consolePage{"reports-verify", "/reports/verify"},
		consolePage{"settings-history", "/settings/history?of=switch"}, consolePage{"settings-preview", "/settings/preview?model=&from=0&to=15m"})
}

// entries returns the entries of the log.
func (w *consoleWorld) entries(t *testing.T) []outage.Entry {
	t.Helper()
	c := &operator.Client{Socket: filepath.Join(w.dir, "data", "console.sock")}
	log, err := c.Suppressions(t.Context(), 0, 1000)
	if err != nil || len(log.Entries) < 150 {
		t.Fatal(len(log.Entries), err)
	}
	return log.Entries
}

// suspect returns the entry whose alert was genuine.
func (w *consoleWorld) suspect(t *testing.T) outage.Entry {
	t.Helper()
	hub := w.cut().Hubs[0]
	for _, e := range w.entries(t) {
		if e.CHF == hub {
			return e
		}
	}
	t.Fatalf("no entry of %s", hub)
	return outage.Entry{}
}

// view is a way to look at a page.
type view struct {
	width int64
	dark  bool
}

func (v view) String() string {
	return fmt.Sprintf("%d-%s", v.width, map[bool]string{true: "dark", false: "light"}[v.dark])
}

// seen looks at a page: it opens, fits its window, and keeps to WCAG 2.2 AA. A picture of it is kept, if pictures are wanted.
func (p *tab) seen(name, path string, views ...view) {
	p.t.Helper()
	p.look(views[0].width, views[0].dark)
	p.open(path)
	for _, v := range views {
		what := name + "-" + v.String()
		p.look(v.width, v.dark)
		p.picture(what)
		p.fits(what)
		p.accessible(what)
	}
	p.well(name)
}

// TestConsole: the pages of the console in a real browser, with a real quell behind them.
func TestConsole(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	t.Parallel() // it waits more than it computes
	b := newChromium(t)
	w := startWorld(t)
	s := startSteered(t)
	t.Run("faults are found", func(t *testing.T) { testFinds(t, b) })
	t.Run("an empty system", func(t *testing.T) { testEmpty(t, b) })
	t.Run("an operator turns the switch", func(t *testing.T) { testSwitch(t, b, s) })
	t.Run("a remote goes down", func(t *testing.T) { testRemote(t, b, s) })
	w.await()
	t.Run("a day of traffic", func(t *testing.T) { testDay(t, b, w) })
	t.Run("pictures", func(t *testing.T) { writePictures(t, b, w) })
	t.Run("an analyst reads why", func(t *testing.T) { testAnalyst(t, b, w) })
	t.Run("without scripts", func(t *testing.T) { testWithoutScripts(t, b, w, s) })
	t.Run("an operator releases a suspect", func(t *testing.T) { testRelease(t, b, w) })
}

// testEmpty: each page of a quell that has seen nothing yet, as who has no credentials sees it.
func testEmpty(t *testing.T, b *chromium) {
	hop := accept(t)
	p := b.tab(t, install(t, hop, hop, "").serve().admin, "")
	for _, page := range consolePages {
		p.seen("empty-"+page.name, page.path, view{1440, false}, view{360, true})
	}
	p.expect(http.StatusNotFound)
	p.seen("empty-not-found", "/nowhere", view{1440, false}, view{360, true})
}

// testDay: each page after a day of traffic, as an operator sees it, and with the Tab key.
func testDay(t *testing.T, b *chromium, w *consoleWorld) {
	p := b.tab(t, w.process.admin, w.token("o.lindgren", "operator"))
	for n, page := range w.pages(t) {
		p.open(page.path) // what is counted in the background is there the next time
		views := []view{{1440, false}, {360, true}}
		if n < len(consolePages) {
			views = append(views, view{1440, true}, view{360, false})
		}
		p.seen(page.name, page.path, views...)
		p.look(1440, false)
		p.tabs(page.name)
		p.well(page.name)
	}
}

// writePictures writes the pictures of README.md, if the environment variable QUELL_TEST_README is set.
func writePictures(t *testing.T, b *chromium, w *consoleWorld) {
	p := b.tab(t, w.process.admin, "")
	for name, x := range map[string]struct{ path, end string }{
		"now": {"/", `[data-part="chart"]`}, "explain": {fmt.Sprintf("/explain/entry/%d", w.entries(t)[120].Seq), ".card:has(svg.lane)"},
	} {
		p.open(x.path)
		p.says("h1", "")
		png := p.smallPicture(1280, x.end)
		if len(png) > 150_000 {
			t.Errorf("the picture of %s has %d bytes", name, len(png))
		}
		if os.Getenv("QUELL_TEST_README") == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join("../../docs", name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.well("the pictures")
}

// testFinds: what the tests above look for is found where it is.
func testFinds(t *testing.T, b *chromium) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, `<html><body><p style="color:#ccc">pale</p><div style="width:2000px">wide</div><a href="/a" style="outline:none">a</a><a href="/b" tabindex="1">b</a>
			<button></button><img src="http://127.0.0.1:1/x.png"><script>console.log("x")</script>`)
	}))
	t.Cleanup(srv.Close)
	p := b.tab(t, srv.URL, "")
	p.look(360, false)
	p.open("/")
	if list := eval[[]string](p, "%s", overflows); len(list) < 2 {
		t.Errorf("too wide: %q", list)
	}
	found := strings.Join(p.findings(), "\n")
	for _, id := range []string{"color-contrast: ", "html-has-lang: ", "document-title: ", "button-name: ", "image-alt: "} {
		if !strings.Contains(found, id) {
			t.Errorf("axe-core does not find %s: %s", id, found)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	faults := strings.Join(p.faults, "\n")
	for _, f := range []string{"a request to http://127.0.0.1:1/x.png", "a request failed: ", "writes to the console"} {
		if !strings.Contains(faults, f) {
			t.Errorf("no %q in %q", f, faults)
		}
	}
	p.faults = nil
}
