package screen

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"quell/internal/cluster"
	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/flow"
	"quell/internal/outage"
	"quell/internal/tail"

	"pgregory.net/rapid"
)

var now = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// fits fails if a line of a text is wider than 80 columns.
func fits(t rapid.TB, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > Columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// long is a status whose values are as long as they may be, of a quell that has n of everything.
func long(n int) *console.Status {
	text := strings.Repeat("wörd ", 60) + strings.Repeat("x", 200)
	o := &console.Overview{At: now, SwitchChange: &events.Event{At: now, Who: text, Why: text}, NextWindow: now,
		Store: console.StoreState{Engine: "postgres", Up: true, Bytes: 1 << 50, Lag: 0.499}}
	o.Hour = flow.Counted{Received: 299_999_999, Suppressed: 99_999_999, Shadow: 999_999, Forwarded: 99_999_999, Failed: 9_999_999}
	o.Day = o.Hour
	s := &console.Status{Ready: true, Version: text, Switch: outage.SwitchShadow, WindowsOpen: 99_999_999, WindowsWait: 99_999_999, Overview: o,
		DeviceList: devices.Import{No: 1, Source: text, Rows: 99_999_999, At: now.Add(-900 * 24 * time.Hour)}}
	s.Inventory = s.DeviceList
	for _, d := range []outage.Direction{outage.South, outage.North} {
		o.NextHops = append(o.NextHops, console.NextHop{Direction: d, URL: "https://" + text, Up: true})
	}
	for i := range n {
		s.Nodes = append(s.Nodes, cluster.Node{Name: fmt.Sprint(text, i), Leader: i == 0, Here: true})
		o.Remotes = append(o.Remotes, console.Remote{Name: fmt.Sprint(i, text), Unsent: n, Oldest: now})
	}
	return s
}

// TestStatusIsOneScreen: while nothing is wrong the status has at most 24 lines of 80 columns,
// however long its values are and however many nodes and remotes there are. What is wrong is
// there in full.
func TestStatusIsOneScreen(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 50} {
		s := long(n)
		var b strings.Builder
		if err := Status(&b, s, Style{}); err != nil {
			t.Fatal(err)
		}
		fits(t, b.String())
		if lines := strings.Count(b.String(), "\n"); lines > 24 || !strings.Contains(b.String(), "\nAll is well.\n") {
			t.Errorf("%d nodes and remotes: %d lines\n%s", n, lines, &b)
		}
		for i := range 30 {
			s.Degraded = append(s.Degraded, fmt.Sprintf("fault %d, %s\x1b[2J end-of-%d.", i, strings.Repeat("a long story ", 20), i))
		}
		b.Reset()
		if err := Status(&b, s, Style{}); err != nil {
			t.Fatal(err)
		}
		fits(t, b.String())
		for i := range 30 {
			if !strings.Contains(b.String(), fmt.Sprintf("end-of-%d.", i)) {
				t.Errorf("fault %d is not whole", i)
			}
		}
		if strings.Contains(b.String(), "\x1b") || strings.Contains(b.String(), "All is well") || !strings.Contains(b.String(), "\nWrong, while alerts still pass (30):\n") {
			t.Error(b.String())
		}
	}
}

// TestStatusBare: a status without anything, as an older quell answers it, is shown.
func TestStatusBare(t *testing.T) {
	var b strings.Builder
	if err := Status(&b, &console.Status{}, Style{}); err != nil || !strings.Contains(b.String(), "not known") {
		t.Error(err, b.String())
	}
}

// TestStatusSaysWhatIsDown: remotes that wait come first, and what is down says so in words.
func TestStatusSaysWhatIsDown(t *testing.T) {
	s := long(5)
	for i := range s.Remotes {
		s.Remotes[i].Name, s.Remotes[i].Unsent = fmt.Sprint("remote", i), i/4
	}
	s.NextHops[1].Up, s.Store.Up, s.Pending = false, false, 7
	var plain, coloured strings.Builder
	Status(&plain, s, Style{})
	Status(&coloured, s, Style{Colours: true})
	for _, want := range []string{"Remotes      remote4: 1 file not confirmed since 2026-03-01 03:00\n", "and 3 more\n", "DOWN: northbound to", "up: southbound to", "postgres, does not answer\n", "7 records wait for the store; in memory only: 0, lost: 0\n"} {
		if !strings.Contains(plain.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &plain)
		}
	}
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(coloured.String(), "\x1b[32mAll is well.\x1b[0m") {
		t.Error("colours:", coloured.String())
	}
}

// TestStatusUnknown: what could not be read is not known. It is not none, and no remote has all its files.
func TestStatusUnknown(t *testing.T) {
	s := long(2)
	s.Unread = append(append([]string{}, console.UnreadState...), console.UnreadOverview...)
	s.WindowsOpen, s.WindowsWait, s.DeviceList, s.Inventory = 0, 0, devices.Import{}, devices.Import{}
	s.SwitchChange, s.NextWindow, s.Hour, s.Day = nil, time.Time{}, flow.Counted{}, flow.Counted{}
	for i := range s.Remotes {
		s.Remotes[i].Unsent = 0
	}
	var b strings.Builder
	Status(&b, s, Style{})
	fits(t, b.String())
	for _, want := range []string{"Windows      not known", "  last hour  not known", "  last day   not known", "Device list  not known", "Inventory    not known", ": not known"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &b)
		}
	}
	for _, wrong := range []string{"0 open", "confirmed", "none"} {
		if strings.Contains(b.String(), wrong) {
			t.Errorf("%q is in\n%s", wrong, &b)
		}
	}

	s = long(0)
	s.Counting, s.WindowsOpen, s.WindowsWait = true, 0, 0
	b.Reset()
	if Status(&b, s, Style{}); !strings.Contains(b.String(), "Windows      there are many, and they are being counted, the next begins at ") {
		t.Errorf("while windows are counted:\n%s", &b)
	}
}

// TestTable: no line of a table is wider than 80 columns, and each value is there whole, unless it
// is longer than a line.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 10).Draw(t, "columns")
		table := Table{Main: rapid.IntRange(0, n).Draw(t, "main"), Right: rapid.Bool().Draw(t, "right")}
		for i := range n {
			table.Heads = append(table.Heads, fmt.Sprintf("HEAD%d (UTC)", i))
		}
		var values []string
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			var row []any
			for range n {
				v := rapid.StringMatching(`[a-zé-]{0,30}|[a-z]{70,160}|([a-z]{1,9} ){1,20}`).Draw(t, "value")
				row, values = append(row, v), append(values, v)
			}
			table.Row(row...)
		}
		var b strings.Builder
		if err := table.Print(&b); err != nil {
			t.Fatal(err)
		}
		fits(t, b.String())
		flat := strings.Join(strings.Fields(b.String()), "")
		for _, v := range values {
			if v == "-" {
				continue // no value
			}
			if !strings.Contains(flat, strings.Join(strings.Fields(v), "")) {
				t.Errorf("%q is missing in\n%s", v, &b)
			}
			if words := strings.Fields(v); len(words) == 1 && len(v) <= 60 && !strings.Contains(b.String(), words[0]) {
				t.Errorf("%q is divided in\n%s", v, &b)
			}
		}
	})
}

// TestWrap: words stay whole where they fit.
func TestWrap(t *testing.T) {
	if got := Wrap("a "+strings.Repeat("b", 79)+" c", "  "); got != "  a\n  "+strings.Repeat("b", 78)+"\n  b c" {
		t.Errorf("%q", got)
	}
	if got := Wrap(strings.Repeat("a", 70)+" 2026-03-01 03:00:00", ""); got != strings.Repeat("a", 70)+"\n2026-03-01 03:00:00" {
		t.Errorf("%q", got)
	}
	if got := Cut("größer", 5); got != "größ…" {
		t.Error(got)
	}
}

// TestTailLine: the widest decision fits, and the other lines.
func TestTailLine(t *testing.T) {
	for _, x := range outage.Reasons {
		reason := x.Reason
		for _, l := range []tail.Line{
			{At: now, Kind: tail.Alert, Decision: outage.Suppressed, Reason: reason, Hub: 1, Distributor: "12", Entry: 1 << 62},
			{At: now, Kind: tail.Activation, Decision: outage.Forwarded, Reason: reason, Meter: 1 << 62},
		} {
			text := TailLine(&console.TailLine{Line: &l}, Style{})
			fits(t, text)
			if !strings.Contains(text, string(reason)) {
				t.Error(text)
			}
		}
	}
	if text := TailLine(&console.TailLine{Lost: 12}, Style{}); !strings.HasPrefix(text, "12 lines are missing here") {
		t.Error(text)
	}
	if text := TailLine(&console.TailLine{Begins: true}, Style{}); text != "" {
		t.Error(text)
	}
}
