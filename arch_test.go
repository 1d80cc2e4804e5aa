// Package quell_test holds the repository to its own rules: which package may
// import which, that packages say what they are for, and that documents speak
// of what exists.
package quell_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// imports says which packages of this module each package may import. What is
// not here may not exist; "*" is any. The order is from the bottom upward.
var imports = map[string][]string{
	"internal/outage":    {},
	"internal/strictxml": {},
	"internal/duis":      {"internal/outage", "internal/strictxml"},
	"internal/gbcs":      {"internal/outage"},
	"internal/role":      {},
	"internal/config":    {"internal/outage", "internal/channel", "internal/role"},
	"internal/lines":     {},
	"internal/channel":   {},
	"internal/devca":     {},
	"internal/datadir":   {},
	"internal/remote":    {},
	"internal/smki":      {"internal/outage"},
	"internal/xmldsig":   {"internal/smki", "internal/strictxml"},

	"internal/evidence":  {"internal/outage"},
	"internal/advice":    {"internal/evidence"},
	"internal/liveness":  {},
	"internal/adviser":   {"internal/updates", "internal/datadir", "internal/advice", "internal/evidence", "internal/liveness", "internal/ledger", "internal/windows", "internal/devices", "internal/sqldb", "internal/outage"},
	"internal/nation":    {"internal/evidence", "internal/outage"},
	"internal/hubs":      {"internal/outage"},
	"internal/journal":   {"internal/datadir"},
	"internal/sighting":  {"internal/evidence", "internal/sqldb", "internal/outage"},
	"internal/assess":    {"internal/sighting", "internal/evidence", "internal/ledger", "internal/devices", "internal/cluster", "internal/sqldb", "internal/outage"},
	"internal/updates":   {"internal/sqldb", "internal/duis", "internal/outage"},
	"internal/sqldb":     {"internal/datadir"},
	"internal/audit":     {"internal/sqldb"},
	"internal/events":    {"internal/audit", "internal/sqldb"},
	"internal/tokens":    {"internal/role", "internal/events", "internal/sqldb"},
	"internal/access":    {"internal/tokens", "internal/role"},
	"internal/cluster":   {"internal/sqldb"},
	"internal/devices":   {"internal/events", "internal/sqldb", "internal/lines", "internal/duis", "internal/outage"},
	"internal/windows":   {"internal/events", "internal/sqldb", "internal/outage"},
	"internal/passed":    {"internal/windows", "internal/sqldb", "internal/outage"},
	"internal/ledger":    {"internal/passed", "internal/audit", "internal/windows", "internal/hubs", "internal/journal", "internal/events", "internal/sqldb", "internal/outage", "internal/held", "internal/switchstate"},
	"internal/report":    {"internal/assess", "internal/evidence", "internal/audit", "internal/ledger", "internal/devices", "internal/cluster", "internal/events", "internal/sqldb", "internal/outage"},
	"internal/store":     {"internal/updates", "internal/sighting", "internal/assess", "internal/audit", "internal/report", "internal/ledger", "internal/windows", "internal/devices", "internal/cluster", "internal/journal", "internal/sqldb", "internal/datadir", "internal/release", "internal/flow"},
	"internal/storecopy": {"internal/store", "internal/sqldb", "internal/datadir"},
	"internal/backup":    {"internal/store", "internal/windows", "internal/sqldb", "internal/datadir", "internal/outage"},

	"internal/receipts":    {"internal/sqldb"},
	"internal/rotated":     {"internal/datadir"},
	"internal/motorway":    {"internal/rotated", "internal/updates", "internal/receipts", "internal/assess", "internal/sighting", "internal/evidence", "internal/ledger", "internal/windows", "internal/devices", "internal/cluster", "internal/sqldb", "internal/datadir", "internal/lines", "internal/duis", "internal/xmldsig", "internal/smki", "internal/gbcs", "internal/outage", "internal/held", "internal/flow", "internal/recording", "internal/senders", "internal/tail"},
	"internal/reportfile":  {"internal/assess", "internal/evidence", "internal/report", "internal/events", "internal/audit", "internal/outage"},
	"internal/reporter":    {"internal/assess", "internal/reportfile", "internal/report", "internal/ledger", "internal/cluster", "internal/events", "internal/datadir", "internal/remote", "internal/outage"},
	"internal/listener":    {"internal/motorway", "internal/channel"},
	"internal/fastpath":    {"internal/motorway", "internal/listener"},
	"internal/gateway":     {"internal/fastpath", "internal/listener", "internal/motorway", "internal/channel", "internal/outage", "internal/form"},
	"internal/form":        {},
	"internal/switchstate": {"internal/outage"},
	"internal/held":        {"internal/sqldb"},
	"internal/release":     {"internal/ledger", "internal/held", "internal/passed", "internal/cluster", "internal/events", "internal/sqldb", "internal/outage"},
	"internal/console":     {"internal/assess", "internal/motorway", "internal/report", "internal/ledger", "internal/windows", "internal/devices", "internal/cluster", "internal/events", "internal/sqldb", "internal/release", "internal/access", "internal/tokens", "internal/role", "internal/lines", "internal/audit", "internal/outage", "internal/adviser", "internal/flow", "internal/tail", "internal/guard", "internal/search", "internal/evidence"},
	"internal/guard":       {"internal/access", "internal/audit", "internal/role", "internal/sqldb"},
	"internal/page":        {"internal/guard", "internal/role"},
	"internal/web/steer":   {"internal/page", "internal/report", "internal/reportfile", "internal/search", "internal/devices", "internal/events", "internal/sqldb", "internal/console", "internal/guard", "internal/role", "internal/outage"},
	"internal/web/browse":  {"internal/page", "internal/draw", "internal/search", "internal/console", "internal/guard", "internal/role", "internal/evidence", "internal/outage"},
	"internal/search":      {"internal/adviser", "internal/advice", "internal/assess", "internal/cluster", "internal/devices", "internal/events", "internal/evidence", "internal/ledger", "internal/outage", "internal/reportfile", "internal/sqldb", "internal/windows"},
	"internal/wording":     {},
	"internal/draw":        {"internal/wording", "internal/assess", "internal/evidence", "internal/motorway", "internal/release", "internal/outage"},
	"internal/overview":    {"internal/wording", "internal/draw", "internal/console", "internal/assess", "internal/evidence", "internal/events", "internal/flow", "internal/ledger", "internal/outage"},
	"internal/web":         {"internal/page", "internal/web/steer", "internal/web/browse", "internal/wording", "internal/draw", "internal/overview", "internal/console", "internal/guard", "internal/access", "internal/audit", "internal/role", "internal/assess", "internal/evidence", "internal/ledger", "internal/motorway", "internal/outage", "internal/release", "internal/sqldb"},
	"internal/operator":    {"internal/flow", "internal/console", "internal/release", "internal/motorway", "internal/report", "internal/devices", "internal/events", "internal/access", "internal/tokens", "internal/audit", "internal/outage", "internal/adviser"},
	"internal/flow":        {"internal/sqldb", "internal/outage"},
	"internal/tail":        {"internal/duis", "internal/outage"},
	"internal/screen":      {"internal/console", "internal/flow", "internal/tail", "internal/outage"},
	"internal/senders":     {"internal/outage"},
	"internal/recording":   {"internal/lines", "internal/datadir", "internal/duis", "internal/outage"},
	"internal/replay":      {"internal/assess", "internal/motorway", "internal/recording", "internal/ledger", "internal/windows", "internal/passed", "internal/devices", "internal/sighting", "internal/evidence", "internal/duis", "internal/gbcs", "internal/outage"},
	"internal/simnight":    {"internal/datadir", "internal/nation", "internal/motorway", "internal/recording", "internal/devices", "internal/duis", "internal/gbcs", "internal/evidence", "internal/outage"},
	"internal/server":      {"internal/release", "internal/assess", "internal/evidence", "internal/console", "internal/gateway", "internal/motorway", "internal/reporter", "internal/reportfile", "internal/report", "internal/store", "internal/ledger", "internal/adviser", "internal/liveness", "internal/recording", "internal/access", "internal/tokens", "internal/devices", "internal/sqldb", "internal/smki", "internal/config", "internal/channel", "internal/lines", "internal/audit", "internal/syslog", "internal/outage", "internal/tail", "internal/guard", "internal/web", "internal/search"},
	"internal/sim":         {"internal/duis", "internal/gbcs", "internal/xmldsig", "internal/smki", "internal/outage"},
	"internal/syslog":      {"internal/audit"},
	"cmd/quell":            {"*"},

	"internal/remote/remotetest":         {},
	"internal/store/storetest":           {"internal/store", "internal/report", "internal/ledger", "internal/devices", "internal/journal", "internal/sqldb", "internal/datadir", "internal/remote/remotetest", "internal/outage"},
	"internal/reportfile/reportfiletest": {},
	"release":                            {}, // a module of its own
	"bench":                              {"bench/load", "bench/page", "bench/rig"},
	"bench/rig":                          {"bench/load", "bench/page", "internal/devca", "internal/outage"},
	"bench/load":                         {"internal/duis", "internal/outage", "internal/smki", "internal/xmldsig"},
	"bench/page":                         {},
}

// testImports says what the tests of a package may import besides.
var testImports = map[string][]string{
	"internal/gateway":    append([]string{"internal/devca", "internal/duis", "internal/gbcs", "internal/recording", "internal/smki", "internal/xmldsig"}, wholeStore...),
	"internal/channel":    {"internal/devca"},
	"internal/fastpath":   {"internal/devca"},
	"internal/search":     append([]string{"internal/sighting"}, wholeStore...),
	"internal/console":    {"internal/store", "internal/operator", "internal/evidence"},
	"internal/advice":     {"internal/outage"},
	"internal/screen":     {"internal/cluster", "internal/devices", "internal/events"},
	"internal/adviser":    append([]string{"internal/sighting"}, wholeStore...),
	"internal/motorway":   {"internal/store", "internal/store/storetest"},
	"internal/remote":     {"internal/remote/remotetest"},
	"internal/replay":     {"internal/store", "internal/gateway", "internal/simnight", "internal/nation"},
	"internal/simnight":   {"internal/replay"},
	"internal/reportfile": {"internal/reportfile/reportfiletest"},
	"internal/reporter":   {"internal/evidence", "internal/store", "internal/store/storetest", "internal/sqldb", "internal/devices", "internal/remote/remotetest", "internal/reportfile/reportfiletest"},
	"internal/server":     {"internal/evidence", "internal/devca", "internal/role", "internal/store/storetest", "internal/duis", "internal/windows"},
	"internal/syslog":     {"internal/store", "internal/store/storetest"},
	"internal/sqldb":      wholeStore,
	"internal/cluster":    wholeStore,
	"internal/devices":    wholeStore,
	"internal/windows":    wholeStore,
	"internal/ledger":     wholeStore,
	"internal/report":     wholeStore,
	"internal/store":      wholeStore,
	"internal/storecopy":  append([]string{"internal/tokens", "internal/role", "internal/sighting", "internal/evidence"}, wholeStore...),
	"internal/backup":     wholeStore,
	"internal/tokens":     wholeStore,
	"internal/access":     {"internal/store"},
	"internal/xmldsig":    {"internal/duis", "internal/outage"},
	"internal/audit":      wholeStore,
	"internal/held":       wholeStore,
	"internal/release":    wholeStore,
	"internal/assess":     wholeStore,
	"internal/web":        append([]string{"internal/adviser", "internal/reporter", "internal/search", "internal/evidence", "internal/motorway", "internal/tokens"}, wholeStore...),
	"internal/flow":       wholeStore,
	"internal/updates":    wholeStore,
}

// wholeStore is for the tests of what a store consists of: they open the whole of it, since it
// is the whole that must hold.
var wholeStore = []string{"internal/flow", "internal/audit", "internal/store", "internal/store/storetest", "internal/remote/remotetest", "internal/cluster", "internal/datadir", "internal/devices", "internal/events", "internal/journal",
	"internal/ledger", "internal/passed", "internal/report", "internal/sqldb", "internal/windows", "internal/outage"}

// only says which packages alone may import others, by the beginning of the import path; tests
// may all the same.
var only = map[string][]string{
	"database/sql":       {"internal/sqldb", "internal/devices", "internal/ledger", "internal/report", "internal/store/storetest"},
	"modernc.org/sqlite": {"internal/sqldb"},
	"go.yaml.in/yaml":    {"internal/config"},
	"github.com/rclone":  {"internal/remote", "internal/remote/remotetest"},
	"github.com/jackc":   {"internal/sqldb"},
	"github.com/coreos":  {"internal/access"},

	"github.com/klauspost/compress/zstd": {"internal/recording"},

	"golang.org/x/oauth2":        {"internal/access"},
	"golang.org/x/crypto/argon2": {"internal/tokens"},
}

// tables says which package keeps each table, and alone writes it, and which others read it.
var tables = map[string]struct {
	kept  []string
	reads []string
}{
	"migration":    {kept: []string{"internal/sqldb"}},
	"event":        {kept: []string{"internal/events"}},
	"audit":        {kept: []string{"internal/audit"}},
	"audit_chain":  {kept: []string{"internal/audit"}},
	"import":       {kept: []string{"internal/devices"}, reads: []string{"internal/search"}}, // their history
	"device_list":  {kept: []string{"internal/devices"}},
	"inventory":    {kept: []string{"internal/devices"}, reads: []string{"internal/windows", "internal/updates", "internal/search"}}, // when windows follow their meters; which models have updates; of which models windows are
	"supply_point": {kept: []string{"internal/devices"}},
	"activation":   {kept: []string{"internal/windows"}, reads: []string{"internal/ledger", "internal/passed", "internal/updates", "internal/search"}}, // deciding and logging are one statement; which hubs have requests; which updates are activated
	"untracked":    {kept: []string{"internal/windows"}, reads: []string{"internal/updates", "internal/search"}},                                       // which updates are activated; what another list would do
	"last_counter": {kept: []string{"internal/windows"}},
	"suppression":  {kept: []string{"internal/ledger"}, reads: []string{"internal/windows", "internal/passed", "internal/assess", "internal/release", "internal/adviser", "internal/flow", "internal/search"}}, // which windows and hubs have entries; which entries there are; what is released; which are recent; to count and compare them
	"held":         {kept: []string{"internal/held"}},
	"released":     {kept: []string{"internal/release"}},
	"passed":       {kept: []string{"internal/passed"}},
	"forwarded":    {kept: []string{"internal/passed"}, reads: []string{"internal/ledger"}},
	"correction":   {kept: []string{"internal/ledger"}},
	"counter":      {kept: []string{"internal/ledger"}, reads: []string{"internal/flow"}},                         // which entries are new
	"setting":      {kept: []string{"internal/ledger", "internal/report", "internal/devices"}, reads: []string{}}, // the switch; the next report's number; the key of places
	"flow":         {kept: []string{"internal/flow"}},
	"flow_entry":   {kept: []string{"internal/flow"}},
	"flow_run":     {kept: []string{"internal/flow"}},
	"flow_since":   {kept: []string{"internal/flow"}},
	"node":         {kept: []string{"internal/cluster"}},
	"lead":         {kept: []string{"internal/cluster", "internal/store"}}, // the lease; whether a copy is complete
	"report":       {kept: []string{"internal/report"}},
	"report_file":  {kept: []string{"internal/report"}},
	"delivery":     {kept: []string{"internal/report"}},
	"token":        {kept: []string{"internal/tokens"}},
	"sighting":     {kept: []string{"internal/sighting"}},
	"evidence":     {kept: []string{"internal/assess"}, reads: []string{"internal/search"}}, // which entries have evidence of a level
	"quiet":        {kept: []string{"internal/assess"}},
	"learned":      {kept: []string{"internal/assess"}},
	"firmware":     {kept: []string{"internal/updates"}},

	"evidence_change": {kept: []string{"internal/assess"}},
	"import_change":   {kept: []string{"internal/devices"}, reads: []string{"internal/search"}}, // their history
	"inventory_place": {kept: []string{"internal/devices"}},
}

// copies is the package that reads and writes all tables alike.
const copies = "internal/storecopy"

// sizeLimit is how many lines a package has at most, without tests; of cmd/quell, which has a
// file for each command and nothing that others use, it is commandsLimit.
const (
	sizeLimit     = 2000
	commandsLimit = 3200
)

// pure packages do no I/O, read no environment and write no log.
var pure = []string{"internal/outage", "internal/strictxml", "internal/duis", "internal/gbcs", "internal/xmldsig", "internal/evidence", "internal/nation", "internal/advice", "internal/liveness"}

var impure = []string{"os", "net", "net/http", "log", "log/slog", "database/sql", "syscall"}

func TestImports(t *testing.T) {
	packages := readPackages(t)
	if len(packages) == 0 {
		t.Fatal("no packages found")
	}
	for _, p := range packages {
		for _, f := range importFaults(p) {
			t.Error(f)
		}
	}
}

// importFaults says what p imports and may not.
func importFaults(p pkg) (faults []string) {
	allowed, known := imports[p.path]
	if !known && p.path != "." {
		return []string{p.path + ": not in the table of imports"}
	}
	for _, i := range p.imports {
		fault := func(why string) { faults = append(faults, fmt.Sprintf("%s imports %s: %s", i.file, i.path, why)) }
		if own, ok := strings.CutPrefix(i.path, "quell/"); ok {
			inTest := i.test && (own == p.path || slices.Contains(testImports[p.path], own))
			if !inTest && !slices.Contains(allowed, own) && !slices.Contains(allowed, "*") {
				fault("against the direction of the layers")
			}
			continue
		}
		if i.test {
			continue
		}
		if slices.Contains(pure, p.path) && slices.Contains(impure, i.path) {
			fault("the package is pure")
		}
		for prefix, users := range only {
			if (i.path == prefix || strings.HasPrefix(i.path, prefix+"/")) && !slices.Contains(users, p.path) {
				fault(fmt.Sprintf("only %s may", strings.Join(users, ", ")))
			}
		}
	}
	return faults
}

// TestImportFaults shows that importFaults finds what it is for.
func TestImportFaults(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		test          bool
		faults        int
	}{
		{"internal/outage", "time", false, 0},
		{"internal/outage", "os", false, 1},
		{"internal/outage", "quell/internal/duis", false, 1},
		{"internal/outage", "quell/internal/outage", true, 0},
		{"internal/duis", "quell/internal/gbcs", false, 1},
		{"internal/duis", "quell/internal/gbcs", true, 1},
		{"internal/strictxml", "quell/internal/duis", false, 1},
		{"internal/gateway", "quell/internal/store", false, 1},
		{"internal/gateway", "quell/internal/store", true, 0},
		{"internal/gateway", "quell/internal/console", true, 1},
		{"internal/ledger", "quell/internal/cluster", false, 1},
		{"internal/console", "database/sql", false, 1},
		{"internal/sqldb", "database/sql/driver", false, 0},
		{"internal/utils", "fmt", false, 1},
		{"cmd/quell", "quell/internal/sim", false, 0},
	} {
		faults := importFaults(pkg{path: c.pkg, imports: []imported{{"x.go", c.imported, c.test}}})
		if len(faults) != c.faults {
			t.Errorf("%s imports %s (test: %v): %q", c.pkg, c.imported, c.test, faults)
		}
	}
}

// TestTables holds that a table is written by the packages that keep it, and read by those and
// by the few that the list names.
func TestTables(t *testing.T) {
	statement := regexp.MustCompile(`(?i)\b(DELETE\s+FROM|INSERT\s+INTO|UPDATE|FROM|JOIN)\s+([a-z_]+)\b`)
	found := map[string]bool{}
	for _, file := range files(t, ".go") {
		dir := path.Dir(file)
		if strings.HasSuffix(file, "_test.go") || dir == copies || strings.HasSuffix(dir, "test") {
			continue
		}
		for _, text := range literals(t, file) {
			for _, m := range statement.FindAllStringSubmatch(text, -1) {
				table, known := tables[m[2]]
				if !known {
					continue
				}
				found[m[2]] = true
				writes := len(m[1]) > len("JOIN")
				if !slices.Contains(table.kept, dir) && (writes || !slices.Contains(table.reads, dir)) {
					t.Errorf("%s: %s", file, m[0])
				}
			}
		}
	}
	if len(found) != len(tables) {
		t.Errorf("of %d tables SQL names %d: %v", len(tables), len(found), slices.Sorted(maps.Keys(found)))
	}
}

// literals are the texts in a file that may be SQL.
func literals(t *testing.T, file string) (texts []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING && strings.ContainsAny(l.Value[:1], "`") {
			texts = append(texts, l.Value)
		}
		return true
	})
	return texts
}

// TestSizes holds that a package is one that can be read.
func TestSizes(t *testing.T) {
	lines := map[string]int{}
	for _, file := range files(t, ".go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines[path.Dir(file)] += strings.Count(string(text), "\n")
	}
	for dir, n := range lines {
		limit := sizeLimit
		if dir == "cmd/quell" {
			limit = commandsLimit
		}
		if n > limit {
			t.Errorf("%s has %d lines without tests, more than %d", dir, n, limit)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range readPackages(t) {
		if len(p.comments) != 1 {
			t.Errorf("%s: package comments in %q; want them in one file", p.path, p.comments)
		}
	}
}

// TestArchitecture holds that ARCHITECTURE.md has a line for each package.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range readPackages(t) {
		if p.path != "." && !regexp.MustCompile(regexp.QuoteMeta(p.path)+`\b`).Match(text) {
			t.Errorf("ARCHITECTURE.md does not mention %s", p.path)
		}
	}
}

func TestDocumentPaths(t *testing.T) {
	top := topLevel(t)
	n := 0
	for _, file := range files(t, ".md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range citedPaths(file, string(text), top) {
			n++
			if !exists(p) {
				t.Errorf("%s speaks of %s, which does not exist", file, p)
			}
		}
	}
	if n == 0 {
		t.Error("no document cites a path")
	}
}

// TestDocumentLinks holds that a link to a part of a document leads to a heading.
func TestDocumentLinks(t *testing.T) {
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	drop := regexp.MustCompile(`[^\w -]`)
	headings := map[string]map[string]bool{}
	for _, file := range files(t, ".md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		headings[file] = map[string]bool{}
		for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
			headings[file][strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
		}
	}
	n := 0
	for _, file := range files(t, ".md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to, part, ok := strings.Cut(m[1], "#")
			if !ok || strings.Contains(to, "://") {
				continue
			}
			if to = path.Join(path.Dir(file), to); m[1][0] == '#' {
				to = file
			}
			if n++; !headings[to][part] {
				t.Errorf("%s has a link to %s, which has no such heading", file, m[1])
			}
		}
	}
	if n == 0 {
		t.Error("no document has a link to a heading")
	}
}

// TestDocumentTests holds that the tests and timelines that documents name exist.
func TestDocumentTests(t *testing.T) {
	var defined strings.Builder
	for _, file := range files(t, "_test.go") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		defined.Write(text)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
	timelines := regexp.MustCompile(`timelines? \d\d(?:(?:, | and | to )\d\d)*`)
	n := 0
	for _, file := range []string{"ARCHITECTURE.md", "docs/faults.md", "docs/trace.md", "docs/security.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			if n++; !strings.Contains(defined.String(), "func "+m[1]+"(") {
				t.Errorf("%s names %s, which does not exist", file, m[1])
			}
		}
		for _, list := range timelines.FindAllString(string(text), -1) {
			for _, no := range regexp.MustCompile(`\d\d`).FindAllString(list, -1) {
				if n++; !exists("internal/gateway/testdata/timelines/" + no + "-*.txt") {
					t.Errorf("%s names timeline %s, which does not exist", file, no)
				}
			}
		}
	}
	if n == 0 {
		t.Error("no document names a test")
	}
}

// TestThreats holds that each threat in the threat model has a mechanism, and names a test.
func TestThreats(t *testing.T) {
	text, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, threats, ok1 := strings.Cut(string(text), "\n## Threats\n")
	threats, _, ok2 := strings.Cut(threats, "\n## ")
	if !ok1 || !ok2 {
		t.Fatal("docs/security.md has no section of threats, or nothing after it")
	}
	test := regexp.MustCompile("`(?:Test|Fuzz)[A-Z]\\w*`|timelines? \\d\\d|conversations? \\d\\d")
	n := 0
	for line := range strings.Lines(threats) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) == 1 || strings.Trim(cells[0], " -") == "" || strings.TrimSpace(cells[0]) == "threat" {
			continue
		}
		if n++; len(cells) != 3 || strings.TrimSpace(cells[1]) == "" || !test.MatchString(cells[2]) {
			t.Errorf("a threat without what is done against it, or without its test: %s", line)
		}
	}
	if n < 50 {
		t.Errorf("%d threats", n)
	}
}

// TestCitedPaths shows what counts as a path in a document.
func TestCitedPaths(t *testing.T) {
	have := citedPaths("docs/x.md", strings.Join([]string{
		"See `internal/config/config.go`, `go test ./internal/store/... -run X`, `README.md` and [this](y.md#part),",
		"[that](../Makefile \"title\"), ![picture](p.png), [far](https://example.org/internal/x) and [here](#there);",
		"`internal/outage/decide.go:12`, `internal/a/*.go`, `outage.Decide`, `bin/quell`, `a/b`, `internal/<name>/x`, `quell.yaml`",
		"```", "internal/in/a/block `internal/x`", "```",
	}, "\n"), []string{"internal", "README.md", "docs", "Makefile"})
	want := []string{"internal/config/config.go", "internal/store", "README.md", "docs/y.md", "Makefile", "docs/p.png", "internal/outage/decide.go", "internal/a/*.go"}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("have %q\nwant %q", have, want)
	}
}

// What scripts/check.sh tests without the race detector starts no goroutine: the packages that it lists as
// alone, and files that are not built for the detector, unless they name a test that goes the same way
// under it. The tests of nation use no Study, which starts some.
func TestAlone(t *testing.T) {
	script, err := os.ReadFile("scripts/check.sh")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^alone=\((.*)\)$`).FindSubmatch(script)
	if m == nil {
		t.Fatal("scripts/check.sh has no list alone")
	}
	alone := strings.Fields(string(m[1]))
	for _, file := range files(t, ".go") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dir, tagged := path.Dir(file), strings.HasPrefix(string(text), "//go:build !race\n")
		if inside := strings.HasPrefix(file, "cmd/") || strings.HasPrefix(file, "internal/"); tagged && !(inside && strings.HasSuffix(file, "_test.go")) {
			t.Errorf("%s: scripts/check.sh does not run it", file)
		}
		if m := sameWay.FindSubmatch(text); tagged && m != nil {
			if !isWatched(t, dir, string(m[1])) {
				t.Errorf("%s: no test %s goes the same way", file, m[1])
			}
			continue
		}
		if !tagged && !slices.Contains(alone, "quell/"+dir) || file == "internal/nation/study.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", file)
			case *ast.Ident:
				if slices.Contains([]string{"Go", "Parallel", "AfterFunc", "NewServer", "synctest"}, n.Name) || n.Name == "Study" && strings.HasSuffix(file, "_test.go") {
					t.Errorf("%s has %s, which may start a goroutine", file, n.Name)
				}
			}
			return true
		})
	}
}

var sameWay = regexp.MustCompile(`(?m)^// (Test\w+) goes the same way under the race detector\.$`)

// isWatched reports whether a folder has a test, in a file that is built for the race detector.
func isWatched(t *testing.T, dir, test string) bool {
	names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		text, err := os.ReadFile(name)
		return err == nil && !strings.HasPrefix(string(text), "//go:build") && strings.Contains(string(text), "\nfunc "+test+"(")
	})
}

// TestNoHomes holds that no file names a path of somebody's machine.
func TestNoHomes(t *testing.T) {
	home := regexp.MustCompile(`(^|[^\w.])/(root|home|Users)/\w+`)
	for _, file := range files(t, "") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at := home.FindIndex(text); at != nil {
			t.Errorf("%s:%d names %q", file, 1+strings.Count(string(text[:at[0]]), "\n"), text[at[0]:at[1]])
		}
	}
}

var (
	fenced = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	code   = regexp.MustCompile("`([^`\n]+)`")
	link   = regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)`)
	line   = regexp.MustCompile(`:\d+$`)
)

// citedPaths lists the paths from the root that a document cites: words in
// backticks that begin with a name of the top level, and links, which are
// relative to the document.
func citedPaths(file, text string, top []string) (paths []string) {
	text = fenced.ReplaceAllString(text, "")
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		for word := range strings.FieldsSeq(m[1]) {
			p := line.ReplaceAllString(strings.TrimPrefix(strings.Trim(word, `,;"'`), "./"), "")
			p = strings.TrimSuffix(strings.TrimSuffix(p, "..."), "/")
			first, _, _ := strings.Cut(p, "/")
			if slices.Contains(top, first) && (p != first || path.Ext(p) != "") && !strings.ContainsAny(p, "<>{}$…") {
				paths = append(paths, p)
			}
		}
	}
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		p, _, _ := strings.Cut(m[1], "#")
		if p != "" && !strings.Contains(p, ":") {
			paths = append(paths, path.Join(path.Dir(file), p))
		}
	}
	return paths
}

// exists reports whether there is a path, or one that a pattern matches. A
// package may be cited with one of its names: internal/outage.Decide.
func exists(p string) bool {
	found, err := filepath.Glob(p)
	if len(found) > 0 || err != nil {
		return err == nil
	}
	dir, name := path.Split(p)
	pack, ident, ok := strings.Cut(name, ".")
	if !ok || !ast.IsExported(ident) {
		return false
	}
	info, err := os.Stat(dir + pack)
	return err == nil && info.IsDir()
}

// topLevel lists what lies at the top of the repository.
func topLevel(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !skipped(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// skipped reports whether a name of the top level is not of the repository.
func skipped(name string) bool {
	return name == ".git" || name == "bin" || name == "data" || name == "dist"
}

// files lists the files of the repository with the ending ext.
func files(t *testing.T, ext string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case skipped(p) && d.IsDir():
			return filepath.SkipDir
		case d.Type().IsRegular() && strings.HasSuffix(p, ext):
			paths = append(paths, filepath.ToSlash(p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// pkg is what the tests must know of one package.
type pkg struct {
	path     string   // from the root; "." is this one
	comments []string // the files that have a package comment
	imports  []imported
}

type imported struct {
	file, path string
	test       bool
}

// readPackages reads all packages of the module, whatever their build tags.
func readPackages(t *testing.T) []pkg {
	t.Helper()
	byPath := map[string]*pkg{}
	for _, file := range files(t, ".go") {
		if strings.Contains(file, "testdata/") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir, test := path.Dir(file), strings.HasSuffix(file, "_test.go")
		p := byPath[dir]
		if p == nil {
			p = &pkg{path: dir}
			byPath[dir] = p
		}
		if tree.Doc != nil && (!test || dir == ".") {
			p.comments = append(p.comments, file)
		}
		for _, spec := range tree.Imports {
			p.imports = append(p.imports, imported{file, strings.Trim(spec.Path.Value, `"`), test})
		}
	}
	var all []pkg
	for _, dir := range slices.Sorted(maps.Keys(byPath)) {
		all = append(all, *byPath[dir])
	}
	return all
}
