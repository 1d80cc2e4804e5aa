package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"quell/internal/outage"
	"quell/internal/screen"
	"quell/internal/store/storetest"
)

// TestListings runs every command that lists something at a quell whose values are long. What it
// prints for people is at most 80 columns wide; with --json it is JSON, and one document.
func TestListings(t *testing.T) {
	long := strings.Repeat("a-long-value", 6)
	hop := accept(t)
	i := install(t, hop, hop+"/"+long, "")
	i.write(string(read(t, i.config)) + "report: {every: 10000d, system_id: " + long[:40] + ", remotes: [" +
		"{name: " + long[:30] + ", target: " + i.dir + "}, {name: x" + long[:30] + ", target: " + i.dir + "/nowhere/" + long + "}]}\n")
	p := i.serve()
	do := func(args ...string) {
		t.Helper()
		if status, _, errs := i.quell(args...); status != 0 {
			t.Fatalf("%q: %d %s", args, status, errs)
		}
	}
	do("inventory", "import", i.file(long+".csv", inventoryHead+someDevice))
	do("devices", "import", i.file(long+".txt", someMeter+"\n00-DB-12-34-56-78-90-A1\n"))
	do("switch", "shadow", "--why", strings.Repeat(long+" ", 20))
	do("switch", "on", "--why", strings.Repeat("many words ", 50))
	do("token", "create", "--name", "t", "--role", "viewer")
	do("token", "create", "--name", long[:60], "--role", "operator")
	meter, _ := outage.ParseAnyDeviceID(someMeter)
	hub, _ := outage.ParseAnyDeviceID(someHub)
	for _, x := range []struct{ to, text string }{
		{p.south, activationText(1<<63, meter)}, {p.north, alertText(1, hub, time.Now())}, {p.north, alertText(2, hub, time.Now())}, {p.north, alertText(3, hub+1, time.Now())},
	} {
		res, err := http.Post(x.to, "application/xml", strings.NewReader(x.text))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	do("report", "cut")
	storetest.Eventually(t, "a report was delivered", func() bool {
		_, out, _ := i.quell("report", "list")
		return strings.Contains(out, " confirmed")
	})
	for _, x := range []struct {
		args   string
		says   string // in the text
		status int
		lines  bool // --json prints a document a line
	}{
		{"status", "Switch       on since ", 0, false},
		{"switch", "The switch is on.", 0, false},
		{"window list", "on-demand  open\n  meter " + someMeter, 0, false},
		{"report list", "REPORT  FROM", 0, false},
		{"report show 1", "Report 1 of ", 0, false},
		{"devices list", someMeter, 0, false},
		{"devices check " + someMeter, someMeter + "  listed, tracked", 0, false},
		{"audit list", "NUMBER  TIME", 0, true},
		{"audit flow", "All nodes", 0, false},
		{"audit flow --minutes", "All nodes", 0, false},
		{"token list", long[:60], 0, false},
		{"advise list", "", 0, false},
		{"advise window", "", 0, false},
		{"advise forecast", "", 0, false},
	} {
		status, out, errs := i.quell(strings.Fields(x.args)...)
		if status != x.status || !strings.Contains(out, x.says) || errs != "" {
			t.Errorf("%s: %d %s\n%s", x.args, status, errs, out)
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > screen.Columns && !strings.HasPrefix(x.args, "advise") {
				t.Errorf("%s: %d columns: %s", x.args, n, line)
			}
		}
		status, out, errs = i.quell(append(strings.Fields(x.args), "--json")...)
		if status != x.status || errs != "" {
			t.Errorf("%s --json: %d %s", x.args, status, errs)
		}
		d, documents := json.NewDecoder(strings.NewReader(out)), 0
		for {
			var v any
			err := d.Decode(&v)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s --json: %v\n%s", x.args, err, out)
			}
			if _, isObject := v.(map[string]any); !isObject {
				t.Errorf("%s --json: %T", x.args, v)
			}
			documents++
		}
		if documents == 0 || documents > 1 && !x.lines {
			t.Errorf("%s --json: %d documents\n%s", x.args, documents, out)
		}
	}
	// The flags are for listing alone.
	for _, args := range []string{"devices import x --json", "token revoke x --json", "report cut --json", "window close --all --why x --json", "switch off --why x --json", "audit verify --json"} {
		if status, _, errs := i.quell(strings.Fields(args)...); status != 2 {
			t.Errorf("%s: %d %s", args, status, errs)
		}
	}
}
