package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/remote/remotetest"
	"quell/internal/sim"
	"quell/internal/store/storetest"
)

// prometheus is a Prometheus that runs, with deploy/prometheus/rules.yaml.
type prometheus struct {
	t    *testing.T
	base string
}

// newPrometheus starts one that scrapes the installation every second, with a token of a viewer.
func newPrometheus(t *testing.T, i *installation) *prometheus {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("there is no prometheus; on Debian it is in prometheus")
	}
	status, token, errs := i.quell("token", "create", "--name", "prometheus", "--role", "viewer")
	if status != 0 {
		t.Fatal(errs)
	}
	rules, err := filepath.Abs(filepath.Join(root, "deploy/prometheus/rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := i.file("prometheus.yml", fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: quell
    authorization: {credentials_file: %s}
    static_configs: [{targets: [%q]}]
`, rules, i.file("token", token), i.admin))
	addr := remotetest.FreeAddr(t)
	log := &output{}
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(i.dir, "tsdb"), "--web.listen-address="+addr, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus:\n%.5000s", log)
		}
	})
	p := &prometheus{t, "http://" + addr + "/api/v1/"}
	storetest.Eventually(t, "prometheus is ready", func() bool {
		res, err := http.Get("http://" + addr + "/-/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return p
}

// get asks the API. What it answers goes into data.
func (p *prometheus) get(path string, data any) error {
	p.t.Helper()
	res, err := http.Get(p.base + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		p.t.Fatal(err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s", answer.Error)
	}
	return nil
}

// sample is one series of the answer to a query: its labels, and its value now.
type sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

func (s sample) number() float64 {
	n, _ := strconv.ParseFloat(fmt.Sprint(s.Value[1]), 64)
	return n
}

// query evaluates an expression now.
func (p *prometheus) query(expr string) ([]sample, error) {
	p.t.Helper()
	var data struct{ Result []sample }
	err := p.get("query?query="+url.QueryEscape(expr), &data)
	return data.Result, err
}

// The alerts and the dashboard work with a real Prometheus and a running quell. A healthy quell
// raises no alert. Then a campaign runs, and failures come: each query shows something, and what
// went wrong raises its alert.
func TestPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	var dsp, users sim.NextHop
	south, north := httptest.NewServer(&dsp), httptest.NewServer(&users)
	t.Cleanup(south.Close)
	t.Cleanup(north.Close)
	town := sim.NewTown(3)
	i := install(t, south.URL, north.URL, "")
	write := func(name string, write func(io.Writer) error, more string) string {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		return i.file(name, b.String()+more)
	}
	inventory := write("inventory.csv", town.WriteInventory, "")
	list := write("list.txt", town.WriteDeviceList, someMeter+"\n")
	if err := town.WriteCertificates(i.dir); err != nil {
		t.Fatal(err)
	}
	const window = 15 * time.Second // if the machine is slow, most of it is needed
	delivered := t.TempDir()
	text := string(read(t, i.config))
	text = replaced(t, text, "southbound: {", "southbound: {signatures: verify, ", "northbound: {", "northbound: {signatures: verify, ")
	i.write(text + fmt.Sprintf("window: %v\nstore_timeout: 1s\ndevice_list: %s\ninventory: [%s, %s]\ncertificates: %s\nreport: {remotes: [{name: folder, target: %q}]}\n",
		window, list, inventory, i.file("more.csv", inventoryHead+someDevice), i.dir, delivered))
	quell := i.serve()

	// All that alerts watch is there from the start, and all is well.
	rules, queries := readRules(t), allQueries(t)
	page := metrics(t, quell.admin)
	if !strings.Contains(page, "\nquell_clock_tolerance_seconds 60\n") {
		t.Error("the metrics do not have the clock tolerance")
	}
	_, values := exposed(page)
	for _, row := range readWatched(t) {
		if strings.HasSuffix(row.metrics[0], "_total") && regexp.MustCompile(`\b(cause|result)$`).MatchString(row.labels) {
			for _, word := range row.words {
				if !values[row.metrics[0]+" "+word] {
					t.Errorf("%s has no series for %s at the start", row.metrics[0], word)
				}
			}
		}
	}
	p := newPrometheus(t, i)
	storetest.Eventually(t, "quell is scraped", func() bool {
		up, err := p.query(`up{job="quell"} == 1`)
		return err == nil && len(up) == 1
	})
	p.rulesLoad(rules)
	for _, r := range rules {
		storetest.Eventually(t, r.Alert+" is not raised by a quell that is well", func() bool {
			fires, err := p.query(r.Expr)
			return err == nil && len(fires) == 0
		})
	}

	// The traffic of the demo, an outage that is restored, a report, and the switch.
	campaign := sim.Quell{South: quell.south, North: quell.north, Window: window, DSP: &dsp, Users: &users}
	if _, err := campaign.Run(t.Context(), town, func(string) {}); err != nil {
		t.Fatal(err)
	}
	restore(t, quell)
	if status, _, errs := i.quell("report", "cut"); status != 0 {
		t.Fatal(errs)
	}
	if status, _, errs := i.quell("switch", "shadow", "--why", "a test"); status != 0 {
		t.Fatal(errs)
	}

	// What went wrong raises its alert.
	for alert, labels := range map[string]string{"QuellSwitchNotOn": "", "QuellFailOpen": "unreadable", "QuellSignaturesNotVerified": "signature-invalid", "QuellRestoredAfterSuppressed": ""} {
		r := rules[slices.IndexFunc(rules, func(r rule) bool { return r.Alert == alert })]
		expr := r.Expr
		if alert == "QuellRestoredAfterSuppressed" { // it compares with a quarter of an hour ago
			expr = strings.ReplaceAll(expr, "15m", "15s")
		}
		storetest.Eventually(t, alert, func() bool {
			fires, err := p.query(expr)
			return err == nil && slices.ContainsFunc(fires, func(s sample) bool {
				return labels == "" || slices.Contains(slices.Collect(maps.Values(s.Metric)), labels)
			})
		})
	}
	storetest.Eventually(t, "Prometheus itself raises the alerts", func() bool {
		states := p.alerts()
		return states["QuellSwitchNotOn"] == "pending" && states["QuellFailOpen"] == "firing"
	})

	// Every metric that rules and dashboard name is there, and each query returns something.
	names, _ := exposed(metrics(t, quell.admin))
	for _, r := range rules {
		if not := missing(names, r.Expr); len(not) > 0 {
			t.Errorf("%s asks for %q, which quell does not have", r.Alert, not)
		}
	}
	for _, q := range queries {
		if not := missing(names, q.expr); len(not) > 0 {
			t.Errorf("the panel %q asks for %q, which quell does not have", q.panel, not)
		}
		expr := strings.NewReplacer("$__rate_interval", "30s", "$job", "quell", "$node", ".*").Replace(q.expr)
		result, err := p.query(expr)
		if err != nil || len(result) == 0 {
			t.Errorf("the panel %q: %d series, %v\n%s", q.panel, len(result), err, expr)
		}
	}
	for panel, least := range map[string]float64{"Suppressed, last hour": 5, "Northbound messages by decision": 15, "Forwarded alerts by reason": 10, "11.3s that were tracked": 2, "Failed open, last hour": 1,
		"Suppressed alerts by evidence": 5, "Deliveries and failed tries": 1,
		"Restored after suppressed, by model": 1} {
		at := slices.IndexFunc(queries, func(q dashboardQuery) bool { return q.panel == panel })
		expr := strings.NewReplacer("$__rate_interval", "5m", "$job", "quell", "$node", ".*").Replace(queries[at].expr)
		result, err := p.query(expr)
		sum := 0.0
		for _, s := range result {
			sum += s.number()
		}
		if err != nil || !(sum >= least) {
			t.Errorf("the panel %q shows %v, less than %v: %v", panel, sum, least, err)
		}
	}
}

// allQueries are the queries of the dashboard, and those of its annotations.
func allQueries(t *testing.T) []dashboardQuery {
	_, queries := readDashboard(t)
	if len(queries) < 50 {
		t.Fatalf("%d queries", len(queries))
	}
	return queries
}

// rulesLoad waits until Prometheus has evaluated all rules without a fault.
func (p *prometheus) rulesLoad(rules []rule) {
	p.t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	storetest.Eventually(p.t, "the rules are evaluated", func() bool {
		data.Groups = nil
		if err := p.get("rules", &data); err != nil {
			p.t.Fatal(err)
		}
		n := 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.LastError != "" || r.Health == "err" {
					p.t.Fatalf("%s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					n++
				}
			}
		}
		return n == len(rules)
	})
}

// alerts are the states of the alerts that are raised.
func (p *prometheus) alerts() map[string]string {
	p.t.Helper()
	var data struct {
		Alerts []struct {
			Labels map[string]string
			State  string
		}
	}
	if err := p.get("alerts", &data); err != nil {
		p.t.Fatal(err)
	}
	states := map[string]string{}
	for _, a := range data.Alerts {
		states[a.Labels["alertname"]] = a.State
	}
	return states
}

// restore has an alert suppressed, and then sends the meter's alert that the supply is back. It
// waits until quell has put one and one together.
func restore(t *testing.T, quell *process) {
	t.Helper()
	post := func(to string, message []byte) string {
		req, err := http.NewRequestWithContext(context.Background(), "POST", to, bytes.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/xml")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return res.Header.Get("Quell-Decision")
	}
	meter, err1 := outage.ParseDeviceID(someMeter)
	hub, err2 := outage.ParseDeviceID(someHub)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	const supplier = outage.DeviceID(0x90B3D51F30010000)
	post(quell.south, duis.AppendActivateFirmware(nil, outage.RequestID{Originator: supplier, Target: meter, Counter: 1}, outage.Order{Kind: outage.OnDemand}, [32]byte{1}))
	start := time.Now().UTC().Truncate(time.Second)
	if d := post(quell.north, duis.AppendPowerOutage(nil, outage.RequestID{Originator: hub, Target: supplier, Counter: 2}, time.Now(),
		duis.PowerOutage{CHF: hub, Start: start, MPxN: "1200023305967"})); d != "suppressed" {
		t.Fatalf("the alert was %s", d)
	}
	back := gbcs.Restoration{Meter: meter, Code: 0x8F36, Start: start, End: start.Add(time.Second)}
	id := outage.RequestID{Originator: meter, Target: supplier, Counter: 3}
	post(quell.north, duis.AppendDeviceAlert(nil, id, time.Now(), "8F36", gbcs.AppendSigned(nil, gbcs.AppendRestoration(nil, back, supplier, id.Counter), [64]byte{})))
	storetest.Eventually(t, "the restoration is counted", func() bool {
		return strings.Contains(metrics(t, quell.admin), "\nquell_a5_violation_total{")
	})
}

// exposed are the names of the series on a page of metrics, and each name with each value of a
// label.
func exposed(text string) (names, values map[string]bool) {
	names, values = map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, labels, _ := strings.Cut(strings.Fields(line)[0], "{")
		names[name] = true
		for _, m := range regexp.MustCompile(`="([^"]*)"`).FindAllStringSubmatch(labels, -1) {
			values[name+" "+m[1]] = true
		}
	}
	return names, values
}

// missing are the metrics in an expression that are not among names.
func missing(names map[string]bool, expr string) (not []string) {
	for _, name := range metricName.FindAllString(expr, -1) {
		if !names[name] && name != "up" {
			not = append(not, name)
		}
	}
	return not
}
