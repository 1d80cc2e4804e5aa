package replay

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"

	"github.com/dustin/go-humanize"
)

// Counts are numbers of alerts. Those of the outcome shadow count as suppressed.
type Counts struct{ Suppressed, Forwarded int }

func (c *Counts) add(suppressed bool) {
	if suppressed {
		c.Suppressed++
	} else {
		c.Forwarded++
	}
}

// Change is what was decided on an alert then, and what is decided now.
type Change struct{ Then, Now outage.Decision }

// Result is the result of a replay.
type Result struct {
	Lines          int       // of the recordings that were replayed
	First, Last    time.Time // receipt of the alerts that are counted; zero if there are none
	Alerts         Counts
	Then           Counts
	Reasons        map[outage.Decision]int
	Distributors   map[string]*Counts // by id, or "unknown"
	Models         map[string]*Counts
	Changes        map[Change]int    // of alerts on which something else was decided then
	Minutes        map[int64]*Counts // by minutes since 1970
	Requests       int               // 11.3s
	RequestReasons map[outage.Reason]int
	RequestChanges int                    // of Requests: those with another reason than then
	Levels         map[evidence.Level]int // of the entries that are counted, at the end of the recordings; nil without Evidence
	Strong         []Genuine              // those that were probably genuine
	Cut            []error                // of each file that is cut off: what was read before that counts
}

// Genuine is an entry of the replay's log that was probably genuine, and why.
type Genuine struct {
	Entry *outage.Entry
	evidence.Assessment
}

func newResult() *Result {
	return &Result{Reasons: map[outage.Decision]int{}, Distributors: map[string]*Counts{}, Models: map[string]*Counts{}, Changes: map[Change]int{}, Minutes: map[int64]*Counts{},
		RequestReasons: map[outage.Reason]int{}}
}

func isSuppressed(d outage.Decision) bool { return d.Outcome != outage.Forwarded }

// add counts an alert.
func (r *Result) add(a *Alert) {
	if r.First.IsZero() || a.Received.Before(r.First) {
		r.First = a.Received
	}
	if a.Received.After(r.Last) {
		r.Last = a.Received
	}
	now := isSuppressed(a.Now)
	r.Alerts.add(now)
	r.Then.add(isSuppressed(a.Then))
	r.Reasons[a.Now]++
	of(r.Distributors, a.Distributor).add(now)
	of(r.Models, a.Model).add(now)
	of(r.Minutes, a.Received.Unix()/60).add(now)
	if a.Then != a.Now {
		r.Changes[Change{a.Then, a.Now}]++
	}
}

func of[K comparable](m map[K]*Counts, key K) *Counts {
	c := m[key]
	if c == nil {
		c = new(Counts)
		m[key] = c
	}
	return c
}

// WriteText writes tables for people.
func (r *Result) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	total := r.Alerts.Suppressed + r.Alerts.Forwarded
	if total == 0 {
		fmt.Fprintf(w, "No AD1 in %s lines.\n", number(r.Lines))
		return w.Flush()
	}
	fmt.Fprintf(w, "AD1s from %s to %s: %s, and %s 11.3s.\n", r.First.Format(time.RFC3339), r.Last.Format(time.RFC3339), number(total), number(r.Requests))
	row := func(cells ...string) {
		for _, c := range cells {
			fmt.Fprint(w, c, "\t")
		}
		fmt.Fprintln(w)
	}
	row("\n", "suppressed", "forwarded")
	row("then", number(r.Then.Suppressed), number(r.Then.Forwarded))
	row("now", number(r.Alerts.Suppressed), number(r.Alerts.Forwarded))
	fmt.Fprintln(w, "\nBy reason")
	for _, d := range byNumber(r.Reasons, decision) {
		row(decision(d), number(r.Reasons[d]))
	}
	counts(row, "distributor", r.Distributors)
	counts(row, "model", r.Models)
	fmt.Fprintln(w, "\n11.3s by reason")
	for _, reason := range byNumber(r.RequestReasons, func(r outage.Reason) string { return string(r) }) {
		row(string(reason), number(r.RequestReasons[reason]))
	}
	if r.RequestChanges > 0 {
		fmt.Fprintf(w, "Of them %s have another reason than then.\n", number(r.RequestChanges))
	}
	if r.Levels != nil {
		r.writeEvidence(w, row)
	}
	if len(r.Changes) == 0 {
		fmt.Fprintln(w, "\nEach AD1 is decided as it was then.")
		return w.Flush()
	}
	fmt.Fprintln(w, "\nDecided otherwise than then")
	text := func(c Change) string { return decision(c.Then) + " → " + decision(c.Now) }
	for _, c := range byNumber(r.Changes, text) {
		row(text(c), number(r.Changes[c]))
	}
	return w.Flush()
}

// maxStrong is how many entries are listed that were probably genuine.
const maxStrong = 20

// writeEvidence writes what the evidence says of the alerts that are suppressed.
func (r *Result) writeEvidence(w io.Writer, row func(cells ...string)) {
	fmt.Fprintln(w, "\nEvidence that a suppressed AD1 was genuine")
	for _, level := range []evidence.Level{evidence.Strong, evidence.Weak, evidence.None} {
		row(string(level), number(r.Levels[level]))
	}
	for i, s := range r.Strong {
		if i == maxStrong {
			fmt.Fprintf(w, "and %s more\n", number(len(r.Strong)-i))
			break
		}
		fmt.Fprintf(w, "%s, received %s: %s\n", s.Entry.CHF, s.Entry.Received.Format(time.RFC3339), strings.Join(s.Sentences(), " "))
	}
}

// counts writes a table of counts, the largest first.
func counts(row func(cells ...string), title string, m map[string]*Counts) {
	row("\n"+title, "suppressed", "forwarded")
	sums := map[string]int{}
	for key, c := range m {
		sums[key] = c.Suppressed + c.Forwarded
	}
	for _, key := range byNumber(sums, func(s string) string { return s }) {
		row(key, number(m[key].Suppressed), number(m[key].Forwarded))
	}
}

// byNumber returns the keys of m, those with the largest number first.
func byNumber[K comparable](m map[K]int, text func(K) string) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(text(a), text(b))) })
}

func decision(d outage.Decision) string { return string(d.Outcome) + " " + string(d.Reason) }

func number(n int) string { return humanize.Comma(int64(n)) }

// A Table writes alerts as CSV, one a line.
type Table struct{ w *csv.Writer }

// NewTable returns a table. It writes the header.
func NewTable(out io.Writer) *Table {
	t := &Table{csv.NewWriter(out)}
	t.w.Write([]string{"received_at", "alert_id", "chf_id", "mpxn", "distributor", "model", "outage_start", "decision_then", "reason_then", "decision", "reason", "evidence", "odds"}) // Flush has the error
	return t
}

// Add writes an alert.
func (t *Table) Add(a *Alert) error {
	hub, start := "", ""
	if a.Hub != 0 {
		hub, start = a.Hub.String(), a.OutageStart.UTC().Format(time.RFC3339Nano)
	}
	level, odds := "", ""
	if a.Evidence != nil {
		level, odds = string(a.Evidence.Level), strconv.FormatFloat(a.Evidence.Odds, 'g', 3, 64)
	}
	return t.w.Write([]string{a.Received.Format(time.RFC3339Nano), a.ID, hub, a.MPxN, a.Distributor, a.Model, start,
		string(a.Then.Outcome), string(a.Then.Reason), string(a.Now.Outcome), string(a.Now.Reason), level, odds})
}

// Flush writes what is not written yet.
func (t *Table) Flush() error {
	t.w.Flush()
	return t.w.Error()
}

// WriteSVG writes a chart of the alerts, minute by minute; if there are more than a thousand
// minutes, of longer times.
func (r *Result) WriteSVG(out io.Writer) error {
	const width, height, left, top, bottom = 1000, 260, 60, 40, 40
	if r.First.IsZero() {
		_, err := io.WriteString(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 40"><text x="10" y="25">No AD1</text></svg>`+"\n")
		return err
	}
	first, last := r.First.Unix()/60, r.Last.Unix()/60
	step := (last-first)/width + 1
	n := int((last-first)/step) + 1
	bars, most := make([]Counts, n), 1
	for minute, c := range r.Minutes {
		b := &bars[(minute-first)/step]
		b.Suppressed += c.Suppressed
		b.Forwarded += c.Forwarded
	}
	for _, b := range bars {
		most = max(most, b.Suppressed+b.Forwarded)
	}
	w := &errWriter{out: out}
	w.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", left+width+20, top+height+bottom)
	every := "minute"
	if step > 1 {
		every = strconv.FormatInt(step, 10) + " minutes"
	}
	w.printf(`<text x="%d" y="18">AD1s per %s: suppressed (blue) and forwarded (orange)</text>`+"\n", left, every)
	bar := float64(width) / float64(n)
	scale := float64(height) / float64(most)
	for i, b := range bars {
		x, suppressed, forwarded := float64(left)+float64(i)*bar, float64(b.Suppressed)*scale, float64(b.Forwarded)*scale
		rect := func(y, h float64, colour string) {
			if h > 0 {
				w.printf(`<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" fill="%s"/>`+"\n", x, y, bar, h, colour)
			}
		}
		rect(top+height-suppressed, suppressed, "#1f5fa8")
		rect(top+height-suppressed-forwarded, forwarded, "#e07b1f")
	}
	w.printf(`<path d="M%d %dv%dh%d" fill="none" stroke="black"/>`+"\n", left, top, height, width)
	w.printf(`<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-5, top+10, number(most))
	w.printf(`<text x="%d" y="%d" text-anchor="end">0</text>`+"\n", left-5, top+height)
	at := func(minute int64) string { return time.Unix(minute*60, 0).UTC().Format("2006-01-02 15:04") }
	w.printf(`<text x="%d" y="%d">%s</text>`+"\n", left, top+height+20, at(first))
	w.printf(`<text x="%d" y="%d" text-anchor="end">%s UTC</text>`+"\n</svg>\n", left+width, top+height+20, at(last))
	return w.err
}

// errWriter keeps the first error.
type errWriter struct {
	out io.Writer
	err error
}

func (w *errWriter) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format, args...)
	}
}
