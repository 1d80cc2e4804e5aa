package screen

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"quell/internal/console"
	"quell/internal/flow"

	"github.com/dustin/go-humanize"
)

// Limits of what "quell status" shows of lists: it is one screen while nothing is wrong.
const (
	mostNodes   = 2
	mostRemotes = 3
	labelWidth  = 11
)

// Status prints the status of a quell on one screen of 80 columns and 24 lines; on more only
// if something is wrong.
func Status(w io.Writer, s *console.Status, style Style) error {
	o := s.Overview
	if o == nil {
		o = &console.Overview{}
	}
	p := &page{style: style, now: o.At}
	p.head(s, o)
	p.field("Switch", 2, switchText(s, o))
	windows := fmt.Sprintf("%s open, %s pending", comma(s.WindowsOpen), comma(s.WindowsWait))
	switch {
	case unread(s, "windows_open"):
		windows = notKnown
	case s.Counting:
		windows = "there are many, and they are being counted"
	}
	if !o.NextWindow.IsZero() {
		windows += ", the next begins at " + stamp(o.NextWindow)
	}
	p.field("Windows", 1, windows)
	p.alerts(o, unread(s, "last_hour"))
	p.field("Store", 1, storeText(&o.Store))
	p.field("Journal", 1, journalText(s, o))
	p.nodes(s)
	for i, h := range o.NextHops {
		state := "up"
		if !h.Up {
			state = "DOWN"
		}
		p.field(label("Next hops", i), 1, fmt.Sprintf("%s: %s to %s", state, h.Direction, Printable(h.URL)))
	}
	p.remotes(o, unread(s, "remotes"))
	p.list("Device list", unread(s, "device_list"), s.DeviceList.No, s.DeviceList.Rows, s.DeviceList.Source, s.DeviceList.At)
	p.list("Inventory", unread(s, "inventory"), s.Inventory.No, s.Inventory.Rows, s.Inventory.Source, s.Inventory.At)
	_, err := io.WriteString(w, p.b.String())
	return err
}

// notKnown is in place of what could not be read: a zero would be taken for an answer.
const notKnown = "not known"

// unread reports whether a field of the status could not be read.
func unread(s *console.Status, field string) bool { return slices.Contains(s.Unread, field) }

// page is a screen that is being written.
type page struct {
	b     strings.Builder
	style Style
	now   time.Time
}

func (p *page) head(s *console.Status, o *console.Overview) {
	version := Cut("quell "+Printable(s.Version), 50)
	fmt.Fprintf(&p.b, "%-*s %s UTC\n", Columns-24, version, stamp(o.At))
	if len(s.Degraded) == 0 {
		p.b.WriteString(p.style.good("All is well.") + "\n\n")
		return
	}
	p.b.WriteString(p.style.bad(fmt.Sprintf("Wrong, while alerts still pass (%d):", len(s.Degraded))) + "\n")
	for _, text := range s.Degraded {
		p.b.WriteString("- " + strings.Join(lines(Printable(text), Columns-2), "\n  ") + "\n")
	}
	p.b.WriteByte('\n')
}

// field writes a text with its label, on up to a number of lines.
func (p *page) field(label string, most int, text string) {
	const indent = labelWidth + 2
	all := lines(text, Columns-indent)
	if len(all) > most {
		all = append(all[:most-1], Cut(strings.Join(all[most-1:], " "), Columns-indent))
	}
	p.b.WriteString(p.style.label(fmt.Sprintf("%-*s", indent, label)) + strings.Join(all, "\n"+strings.Repeat(" ", indent)) + "\n")
}

// label returns the label of the first of several lines; "" for the others.
func label(text string, i int) string {
	if i > 0 {
		return ""
	}
	return text
}

func switchText(s *console.Status, o *console.Overview) string {
	text := notKnown
	if s.Switch != "" {
		text = string(s.Switch)
	}
	if c := o.SwitchChange; c != nil {
		if c.New != "" && c.New != string(s.Switch) { // the store does not have the change yet
			text += " on this node; the store has " + Printable(c.New)
		}
		text += fmt.Sprintf(" since %s, by %s: %s", stamp(c.At), Printable(c.Who), Printable(c.Why))
	}
	return text
}

func (p *page) alerts(o *console.Overview, unread bool) {
	p.b.WriteString(p.style.label("AD1s          received suppressed   shadow  forwarded  returned under way") + "\n")
	for _, x := range []struct {
		name string
		t    flow.Counted
	}{{"last hour", o.Hour}, {"last day", o.Day}} {
		if unread {
			p.field("  "+x.name, 1, notKnown)
			continue
		}
		fmt.Fprintf(&p.b, "  %-9s %10s %10s %8s %10s %9s %9s\n", x.name, comma(x.t.Received), comma(x.t.Suppressed), comma(x.t.Shadow),
			comma(x.t.Forwarded), comma(x.t.Refused+x.t.Failed), comma(x.t.NoEnd()))
	}
}

func storeText(s *console.StoreState) string {
	if !s.Up {
		return s.Engine + ", does not answer"
	}
	text := s.Engine
	if s.Bytes > 0 {
		text += ", " + humanize.Bytes(uint64(s.Bytes))
	}
	return text + fmt.Sprintf(", answers in %.0f ms", max(1, s.Lag*1000))
}

func journalText(s *console.Status, o *console.Overview) string {
	if s.Pending+o.InMemory+o.Lost == 0 {
		return "empty: the store has everything"
	}
	verb := "wait"
	if s.Pending == 1 {
		verb = "waits"
	}
	return fmt.Sprintf("%s %s for the store; in memory only: %d, lost: %d", plural(s.Pending, "record"), verb, o.InMemory, o.Lost)
}

func (p *page) nodes(s *console.Status) {
	if len(s.Nodes) == 0 {
		p.field("Nodes", 1, "this one alone")
		return
	}
	var list []string
	for _, n := range s.Nodes {
		text := Printable(n.Name)
		if n.Leader {
			text += ", the leader"
		}
		if n.Here {
			text += ", here"
		}
		list = append(list, text)
	}
	p.some("Nodes", list, mostNodes)
}

// some writes a list, of which at most some lines.
func (p *page) some(name string, list []string, most int) {
	for i, text := range list {
		if i == most-1 && len(list) > most {
			p.field(label(name, i), 1, fmt.Sprintf("and %d more", len(list)-i))
			return
		}
		p.field(label(name, i), 1, text)
	}
}

func (p *page) remotes(o *console.Overview, unread bool) {
	var waiting, fine []string
	for _, r := range o.Remotes {
		name := Cut(Printable(r.Name), 20)
		switch {
		case unread:
			fine = append(fine, name+": "+notKnown)
			continue
		case r.Unsent == 0:
			fine = append(fine, name+": all files confirmed")
			continue
		}
		waiting = append(waiting, fmt.Sprintf("%s: %s not confirmed since %s", name, plural(r.Unsent, "file"), r.Oldest.UTC().Format("2006-01-02 15:04")))
	}
	if len(o.Remotes) == 0 {
		fine = append(fine, "none")
	}
	p.some("Remotes", append(waiting, fine...), mostRemotes)
}

func (p *page) list(name string, unread bool, no int64, rows int, source string, at time.Time) {
	switch {
	case unread:
		p.field(name, 1, notKnown)
		return
	case no == 0:
		p.field(name, 1, "none")
		return
	}
	text := plural(rows, "device")
	if name == "Inventory" {
		text += " in the last import"
	}
	p.field(name, 1, fmt.Sprintf("%s, %s old, from %s", text, age(p.now.Sub(at)), Printable(source)))
}

// age returns a duration in its largest unit.
func age(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= u.unit {
			return plural(int(d/u.unit), u.name)
		}
	}
	return plural(int(max(0, d)/time.Second), "second")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return comma(n) + " " + noun + "s"
}

func comma[N int | int64](n N) string { return humanize.Comma(int64(n)) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }
