package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	prometheusquery "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"go.yaml.in/yaml/v3"
)

// rule is an alert of deploy/prometheus/rules.yaml. Look is the comment above it.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
	Look        string            `yaml:"-"`
}

func readRules(t *testing.T) (rules []rule) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []yaml.Node `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal([]byte(deployed(t, "prometheus/rules.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, node := range g.Rules {
			r := rule{Look: strings.TrimPrefix(node.HeadComment, "# ")}
			if err := node.Decode(&r); err != nil {
				t.Fatal(err)
			}
			rules = append(rules, r)
		}
	}
	return rules
}

// ruleTest is a test of deploy/prometheus/rules_test.yaml, which has one alert.
type ruleTest struct {
	Interval string `yaml:"interval"`
	Input    []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Of []struct {
		At       string `yaml:"eval_time"`
		Alert    string `yaml:"alertname"`
		Expected []any  `yaml:"exp_alerts"`
	} `yaml:"alert_rule_test"`
}

func readRuleTests(t *testing.T) (tests []ruleTest) {
	t.Helper()
	var file struct {
		Tests []ruleTest `yaml:"tests"`
	}
	if err := yaml.Unmarshal([]byte(deployed(t, "prometheus/rules_test.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, x := range file.Tests {
		if len(x.Of) != 1 {
			t.Fatalf("a test of %d alerts", len(x.Of))
		}
	}
	return file.Tests
}

// A watched is a row of the table of metrics in docs/operations.md.
type watched struct {
	metrics []string
	words   []string // in the meaning, in backticks
	labels  string   // of the first metric
	looks   []string // when to look, as the comments of rules have it
}

var backticked = regexp.MustCompile("`([^`]+)`")

func readWatched(t *testing.T) (rows []watched) {
	t.Helper()
	text := string(read(t, filepath.Join(root, "docs/operations.md")))
	_, table, ok := strings.Cut(text, "\n| metric | meaning | look when |\n| --- | --- | --- |\n")
	if !ok {
		t.Fatal("docs/operations.md has no table of metrics")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		if len(cells) != 3 {
			t.Fatalf("%d cells: %s", len(cells), line)
		}
		var r watched
		for _, m := range backticked.FindAllStringSubmatch(cells[0], -1) {
			name, labels, _ := strings.Cut(m[1], "{")
			if r.metrics = append(r.metrics, name); len(r.metrics) == 1 {
				r.labels = strings.TrimSuffix(labels, "}")
			}
		}
		for _, m := range backticked.FindAllStringSubmatch(cells[1], -1) {
			r.words = append(r.words, m[1])
		}
		for part := range strings.SplitSeq(cells[2], ";") {
			if part = strings.TrimSpace(part); part != "" {
				r.looks = append(r.looks, r.metrics[0]+": "+part)
			}
		}
		rows = append(rows, r)
	}
	return rows
}

var metricName = regexp.MustCompile(`\b(?:quell|process|go)_[a-z0-9_]+\b|\bup\b`)

// Each "look when" of docs/operations.md has an alert that asks for a metric of its row, and each
// alert has its "look when", a severity, texts, and a runbook that is there.
func TestRulesAndLookWhen(t *testing.T) {
	rows, rules := readWatched(t), readRules(t)
	of := map[string]watched{}
	for _, row := range rows {
		for _, look := range row.looks {
			if _, twice := of[look]; twice {
				t.Errorf("docs/operations.md has twice: %s", look)
			}
			of[look] = row
			if !slices.ContainsFunc(rules, func(r rule) bool { return r.Look == look }) {
				t.Errorf("no alert for %s", look)
			}
		}
	}
	if len(rows) < 30 || len(of) < 30 {
		t.Errorf("%d rows, %d times to look", len(rows), len(of))
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^##+ (.*)$`).FindAllStringSubmatch(string(read(t, filepath.Join(root, "docs/operations.md"))), -1) {
		anchors[strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	seen := map[string]bool{}
	for _, r := range rules {
		row, ok := of[r.Look]
		if !ok {
			t.Errorf("%s: docs/operations.md does not say %q", r.Alert, r.Look)
		} else if !slices.ContainsFunc(metricName.FindAllString(r.Expr, -1), func(name string) bool { return slices.Contains(row.metrics, name) }) {
			t.Errorf("%s asks for none of %q", r.Alert, row.metrics)
		}
		if !regexp.MustCompile(`^Quell[A-Z]\w+$`).MatchString(r.Alert) || seen[r.Alert] {
			t.Errorf("the name %s", r.Alert)
		}
		seen[r.Alert] = true
		if s := r.Labels["severity"]; len(r.Labels) != 1 || !slices.Contains([]string{"critical", "warning", "info"}, s) {
			t.Errorf("%s: labels %v", r.Alert, r.Labels)
		}
		anchor, ok := strings.CutPrefix(r.Annotations["runbook_url"], "docs/operations.md#")
		if !ok || !anchors[anchor] {
			t.Errorf("%s: runbook %s", r.Alert, r.Annotations["runbook_url"])
		}
		if len(r.Annotations) != 3 || r.Annotations["summary"] == "" || !strings.HasSuffix(r.Annotations["description"], ".") {
			t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
		}
	}
}

// promtool runs promtool in a folder.
func promtool(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool; on Debian it is in prometheus")
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The rules are valid, and do what their tests say. The configuration in docs/operations.md is valid.
func TestRules(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(root, "deploy", "prometheus")
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}} {
		if out, err := promtool(t, dir, args...); err != nil {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
	// Its files are some that are there.
	config := regexp.MustCompile(`(?m)^ +rule_files: (?:.+\n)+`).FindString(string(read(t, filepath.Join(root, "docs/operations.md"))))
	rules, err := filepath.Abs(filepath.Join(dir, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config = replaced(t, config, "/etc/prometheus/quell.yaml", rules, "/etc/prometheus/quell-ca.crt", rules, "/etc/prometheus/quell.token", rules)
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := promtool(t, ".", "check", "config", file); err != nil || !strings.Contains(out, "SUCCESS: "+strconv.Itoa(len(readRules(t)))+" rules found") {
		t.Errorf("check config: %v\n%s", err, out)
	}
}

// Each alert has tests on both sides: if one of its thresholds, or its time, were another one, a
// test would fail.
func TestRulesBothSides(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel()
	tests := map[string][]ruleTest{}
	for _, x := range readRuleTests(t) {
		tests[x.Of[0].Alert] = append(tests[x.Of[0].Alert], x)
	}
	rules := readRules(t)
	if len(tests) != len(rules) {
		t.Errorf("%d alerts have tests, of %d", len(tests), len(rules))
	}
	for _, r := range rules {
		t.Run(r.Alert, func(t *testing.T) {
			t.Parallel()
			sides := map[bool]int{}
			for _, x := range tests[r.Alert] {
				sides[len(x.Of[0].Expected) > 0]++
			}
			if sides[true] == 0 || sides[false] == 0 {
				t.Fatalf("%d tests in which it fires, %d in which it does not", sides[true], sides[false])
			}
			if out, err := alone(t, r, tests[r.Alert]); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			changed := otherThresholds(t, r)
			for _, other := range changed {
				if _, err := alone(t, other, tests[r.Alert]); err == nil {
					t.Errorf("no test fails with %q, for %q", other.Expr, other.For)
				}
			}
			if len(changed) == 0 {
				t.Errorf("%q has no threshold", r.Expr)
			}
		})
	}
}

// alone runs the tests of one rule.
func alone(t *testing.T, r rule, tests []ruleTest) (string, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]any{
		"rules.yaml": map[string]any{"groups": []any{map[string]any{"name": "one", "rules": []rule{r}}}},
		"tests.yaml": map[string]any{"rule_files": []string{"rules.yaml"}, "evaluation_interval": "30s", "tests": tests},
	} {
		text, err := yaml.Marshal(content)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return promtool(t, dir, "test", "rules", "tests.yaml")
}

var (
	comparison = regexp.MustCompile(`(==|!=|>)\s+(\S+)`)
	flipped    = map[string]string{"== 0": "== 1", "== 1": "== 0", "!= 1": "!= 0"}
)

// otherThresholds are rules like r, each with one other threshold, above or below, or another time.
func otherThresholds(t *testing.T, r rule) (others []rule) {
	t.Helper()
	for _, at := range comparison.FindAllStringSubmatchIndex(r.Expr, -1) {
		operator, operand := r.Expr[at[2]:at[3]], r.Expr[at[4]:at[5]]
		var texts []string
		if n, err := strconv.ParseFloat(strings.TrimRight(operand, ")"), 64); err != nil {
			texts = []string{">= " + operand} // another metric is the threshold
		} else if operator != ">" {
			texts = []string{flipped[operator+" "+operand]}
		} else {
			rest := strings.TrimLeft(operand, "0123456789.")
			texts = []string{fmt.Sprint("> ", 1.3*n+1.5, rest), fmt.Sprint("> ", 0.7*n-0.5, rest)}
		}
		for _, text := range texts {
			other := r
			if other.Expr = r.Expr[:at[0]] + text + r.Expr[at[1]:]; text == "" {
				t.Fatalf("%s: %s %s", r.Alert, operator, operand)
			}
			others = append(others, other)
		}
	}
	if r.For != "" {
		d, err := time.ParseDuration(r.For)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", strconv.Itoa(int(4*d.Seconds())) + "s"} {
			other := r
			other.For = text
			others = append(others, other)
		}
	}
	return others
}

// dashboardQuery is a query of deploy/grafana/quell.json.
type dashboardQuery struct {
	panel, expr string
	instant     bool
}

// grafanaDashboard is a dashboard in the schema that has been Grafana's for long.
//
//lint:ignore SA1019 older Grafanas do not read the newer schema.
type grafanaDashboard = dashboard.Dashboard

// readDashboard reads the dashboard as Grafana's own schema has it: a field that the schema does
// not know, or a value that it does not allow, is an error. The schema is that of Grafana's
// Foundation SDK, which is made from Grafana's; there is no Grafana for these tests to install.
func readDashboard(t *testing.T) (*grafanaDashboard, []dashboardQuery) {
	t.Helper()
	cog.NewRuntime().RegisterPanelcfgVariant(timeseries.VariantConfig())
	cog.NewRuntime().RegisterPanelcfgVariant(stat.VariantConfig())
	cog.NewRuntime().RegisterDataqueryVariant(prometheusquery.VariantConfig())
	d, err := strictly(deployed(t, "grafana/quell.json"))
	if err != nil {
		t.Fatal(err)
	}
	var queries []dashboardQuery
	for _, p := range d.Panels {
		if p.Panel == nil {
			continue
		}
		for _, target := range p.Panel.Targets {
			q, ok := target.(*prometheusquery.Dataquery)
			if !ok {
				t.Fatalf("%s: a query of %T", *p.Panel.Title, target)
			}
			queries = append(queries, dashboardQuery{*p.Panel.Title, q.Expr, q.Instant != nil && *q.Instant})
		}
	}
	return d, queries
}

// strictly reads a dashboard with all constraints of the schema.
func strictly(text string) (*grafanaDashboard, error) {
	// What this reads is not complete, and an error without faults means that there is none.
	err := new(grafanaDashboard).UnmarshalJSONStrict([]byte(text))
	if faults, ok := err.(cog.BuildErrors); ok && len(faults) == 0 {
		err = nil
	}
	d := new(grafanaDashboard)
	err = errors.Join(err, json.Unmarshal([]byte(text), d))
	return d, errors.Join(err, d.Validate())
}

// TestDashboard holds the dashboard to the schema of Grafana, to its rows, and to a layout without
// overlaps.
func TestDashboard(t *testing.T) {
	d, queries := readDashboard(t)
	var rows []string
	taken := map[[2]uint32]string{}
	ids := map[uint32]bool{}
	for _, p := range d.Panels {
		if p.RowPanel != nil {
			rows = append(rows, *p.RowPanel.Title)
			continue
		}
		pos, title := p.Panel.GridPos, *p.Panel.Title
		for x := pos.X; x < pos.X+pos.W; x++ {
			for y := pos.Y; y < pos.Y+pos.H; y++ {
				if other, ok := taken[[2]uint32{x, y}]; ok || x >= 24 {
					t.Fatalf("%s is over %s, or too far right", title, other)
				}
				taken[[2]uint32{x, y}] = title
			}
		}
		if len(p.Panel.Targets) == 0 || p.Panel.Datasource == nil || p.Panel.Datasource.Uid == nil || *p.Panel.Datasource.Uid != "${datasource}" {
			t.Errorf("%s: no query, or a data source of its own", title)
		}
		if ids[*p.Panel.Id] {
			t.Errorf("%s: its id is another's", title)
		}
		ids[*p.Panel.Id] = true
	}
	if want := []string{"Decisions", "Windows", "Store", "Nodes", "Reports", "Evidence", "Next hops and connections", "Process"}; !slices.Equal(rows, want) {
		t.Errorf("rows %q", rows)
	}
	// What is in the table of metrics can be seen.
	shown := map[string]bool{}
	for _, q := range queries {
		for _, name := range metricName.FindAllString(q.expr, -1) {
			shown[strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")] = true
		}
	}
	for _, row := range readWatched(t) {
		for _, name := range row.metrics {
			if !shown[name] {
				t.Errorf("the dashboard does not show %s", name)
			}
		}
	}
	// A fault in the file is noticed.
	for _, fault := range [][2]string{{`"drawStyle": "line"`, `"drawStyle": 1`}, {`"gridPos"`, `"gridPosition"`}, {`"legendFormat"`, `"legend"`}, {`"schemaVersion": 42,`, ``}} {
		if _, err := strictly(replaced(t, deployed(t, "grafana/quell.json"), fault[:]...)); err == nil {
			t.Errorf("%s instead of %s is accepted", fault[1], fault[0])
		}
	}
}
