package adviser

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"quell/internal/advice"
	"quell/internal/evidence"
)

// Each text fits 80 columns, and ends with what to do.

const clock = "2006-01-02 15:04"

func (l *Learned) print(w io.Writer) {
	if l.LearnedUntil.IsZero() || l.LearnedActivations == 0 {
		fmt.Fprintf(w, "Nothing is learned yet: quell learns of an activation an hour after it.\n\n")
		return
	}
	fmt.Fprintf(w, "Learned until %s UTC: %d activations were followed\nfor 30 minutes, and an AD1 of the hub came after %d of them.\n\n", l.LearnedUntil.UTC().Format(clock), l.LearnedActivations, l.LearnedAlerts)
}

// Print writes the advice on the list.
func (l *List) Print(w io.Writer) {
	l.print(w)
	if l.NoBaseRate {
		fmt.Fprintf(w, "Nothing can be advised yet: quell has to see a whole day of AD1s of the hubs\nthat have no window, to know how often one comes anyway.\n")
		return
	}
	table := func(list []advice.Finding) {
		fmt.Fprintf(w, "%-30s %-9s %10s %7s %6s  %s\n", "MODEL", "FIRMWARE", "ACTIVATED", "AD1S", "SHARE", "95 % SURE")
		for _, f := range list {
			firmware := "all"
			if f.Firmware != "" {
				firmware = clip(f.Firmware, 8)
			}
			fmt.Fprintf(w, "%-30s %-9s %10d %7d %5.1f%%  %.1f-%.1f%%\n", clip(f.Model, 30), firmware, f.Activations, f.Alerts, 100*f.Share, 100*f.Low, 100*f.High)
		}
		fmt.Fprintln(w)
	}
	if len(l.Add) > 0 {
		fmt.Fprintf(w, "AD1s follow the activations of these, and no window is opened for them.\nAsk their manufacturer, and list their meters: quell devices import FILE.\n\n")
		table(l.Add)
	}
	if len(l.Remove) > 0 {
		fmt.Fprintf(w, "Windows are opened for these, and hardly an AD1 follows. A window can only hide\ngenuine alerts of their homes: take them off the list.\n\n")
		table(l.Remove)
	}
	if len(l.Add)+len(l.Remove) == 0 {
		fmt.Fprintf(w, "The list is as it should be, as far as can be seen: no change is advised.\n\n")
	}
	fmt.Fprintf(w, "Models and versions compared: %d; with too few activations for that: %d.\nAn AD1 follows %s by chance, at most. Of the advised\nchanges at most %.0f%% are wrong on average, as far as chance goes; a storm at the\ntime of a campaign is no chance. Nothing changes by itself.\n",
		l.Groups, l.TooFew, oneIn(l.BaseShare), 100*l.FalseShare)
}

// oneIn says a share of activations in words.
func oneIn(share float64) string {
	switch {
	case share <= 0:
		return "no activation"
	case share >= 0.5:
		return fmt.Sprintf("%.0f%% of activations", 100*share)
	}
	return fmt.Sprintf("1 in %.0f activations", math.Floor(1/share))
}

// Print writes the advice on windows: of one model with its curve, if model is not "".
func (a *Windows) Print(w io.Writer, model string) error {
	a.print(w)
	for i := range a.Models {
		if m := &a.Models[i]; model != "" && strings.EqualFold(m.Model, model) {
			a.printCurve(w, m)
			return nil
		}
	}
	if model != "" {
		return fmt.Errorf("nothing is learned of a model %q; without --model, all are listed", model)
	}
	if len(a.Models) == 0 {
		return nil
	}
	fmt.Fprintf(w, "%-22s %7s %6s %6s  %-12s %-12s %s\n", "MODEL", "AD1S", "MEDIAN", "99 %", "NOW", "LEARNED", "HIDES")
	for i := range a.Models {
		m := &a.Models[i]
		median, q99, learned, hides := "-", "-", "-", "-"
		if m.Alerts > 0 {
			median, q99 = seconds(m.Median), seconds(m.Q99)
		}
		if l := m.Learned; l != nil {
			learned = span(l)
			if m.Now.Hidden > 0 {
				hides = fmt.Sprintf("%.0f%%", 100*l.Hidden/m.Now.Hidden)
			}
		}
		fmt.Fprintf(w, "%-22s %7d %6s %6s  %-12s %-12s %s\n", clip(m.Model, 22), m.Alerts, median, q99, span(&m.Now), learned, hides)
	}
	fmt.Fprintf(w, "\nMEDIAN and 99 %%: by when half of the AD1s had come after the activation, and 99\nof 100. LEARNED: a window that reaches those, if %d AD1s were seen. HIDES: how\nmany genuine alerts it hides, of those that the window of now hides.\n", advice.MinWindowAlerts)
	a.printAssumption(w)
	for i := range a.Models {
		if m := &a.Models[i]; m.Learned != nil && (m.Learned.From != m.Now.From || m.Learned.To != m.Now.To) {
			fmt.Fprintf(w, "\nNothing changes by itself. To put a learned window into force, write into the\nconfiguration of each node, and send it SIGHUP:\n\n    window_by_model: {%q: {from: %s, to: %s}}\n\nquell advise window --model MODEL shows what any other window would do.\n",
				m.Model, duration(m.Learned.From), duration(m.Learned.To))
			break
		}
	}
	return nil
}

func (a *Windows) printAssumption(w io.Writer) {
	if a.BasePerMinute == 0 {
		fmt.Fprintf(w, "How many are hidden cannot be said before quell has seen a whole day.\n")
		return
	}
	fmt.Fprintf(w, "Hidden alerts are computed: the rate of AD1s of hubs without a window, %.2g a\nhub and year, times the minutes of the windows. That assumes that power cuts\ncome to homes whose meters are activated as often as to others.\n", a.BasePerMinute*365.25*24*60)
}

// curve are the windows of the table, in minutes.
var curve = []int{1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 45, 60, 90, 120}

func (a *Windows) printCurve(w io.Writer, m *advice.Window) {
	fmt.Fprintf(w, "%s: %d AD1s after %d activations\n\n", clip(m.Model, 60), m.Alerts, m.Activations)
	fmt.Fprintf(w, "%-20s %14s %10s %18s\n", "WINDOW", "FALSE REMOVED", "SHARE", "GENUINE HIDDEN")
	row := func(t *advice.Trade, name string) {
		fmt.Fprintf(w, "%-20s %14.0f %9.1f%% %18.3g\n", name, t.Removed, 100*t.Share, t.Hidden)
	}
	for _, minutes := range curve {
		row(&m.Curve[minutes-1], fmt.Sprintf("0 to %d min", minutes))
	}
	row(&m.Now, span(&m.Now)+" (now)")
	if m.Learned != nil {
		row(m.Learned, span(m.Learned)+" (learned)")
	}
	fmt.Fprintf(w, "\nAD1s were looked for until %s after the activation: a longer window may\nremove more than the table says. Genuine ones are those of all activations\nthat were seen.\n", seconds(m.Seen))
	a.printAssumption(w)
}

// Print writes the forecast.
func (f *Forecast) Print(w io.Writer) {
	defer f.printUpdates(w)
	if len(f.Hours) == 0 {
		expected := ": no false AD1 is expected"
		if len(f.Updates) > 0 {
			expected = ""
		}
		fmt.Fprintf(w, "No activation is pending until %s UTC%s.\n", f.Until.UTC().Format(clock), expected)
		return
	}
	fmt.Fprintf(w, "%-18s %-12s %12s %15s\n", "HOUR (UTC)", "DISTRIBUTOR", "ACTIVATIONS", "AD1S EXPECTED")
	for _, h := range f.Hours {
		distributor := h.Distributor
		if distributor == "" {
			distributor = "unknown"
		}
		fmt.Fprintf(w, "%-18s %-12s %12d %15.0f\n", h.From.UTC().Format(clock), distributor, h.Activations, h.Alerts)
	}
	fmt.Fprintf(w, "%-31s %12d %15.0f\n\n", "in all", f.Activations, f.Alerts)
	fmt.Fprintf(w, "Until %s UTC, from the 11.3s that opened a window and are\npending or have just begun. Those that are still to be ordered are not in it.\n", f.Until.UTC().Format(clock))
	if f.Unlearned > 0 {
		fmt.Fprintf(w, "For %d of the activations little is learned of the model: each counts as one AD1.\n", f.Unlearned)
	}
}

// Print writes the homes to ask.
func (s *Supply) Print(w io.Writer) {
	if len(s.Asks) == 0 {
		fmt.Fprintf(w, "No home needs a Read Supply Status.\n")
		return
	}
	fmt.Fprintf(w, "%-9s %-17s %-8s %-13s %-23s %s\n", "ENTRY", "ALERT (UTC)", "NETWORK", "MPXN", "METER", "LEVEL")
	for _, a := range s.Asks {
		level := string(a.Level)
		if a.Level == evidence.None {
			level = "?"
		}
		mpxn := a.MPxN
		if mpxn == "" {
			mpxn = "-"
		}
		fmt.Fprintf(w, "%-9d %-17s %-8s %-13s %-23s %s\n", a.Entry, a.Received.UTC().Format(clock), a.Distributor, clip(mpxn, 13), a.ESME, level)
		for _, why := range a.Why {
			fmt.Fprintf(w, "    %s\n", why)
		}
	}
	if s.More {
		fmt.Fprintf(w, "There are more: --limit N lists up to N.\n")
	}
	if s.MPxNHidden {
		fmt.Fprintf(w, "MPxNs are for analysts and above.\n")
	}
	fmt.Fprintf(w, "\nThe alerts of these homes were suppressed, and may have been genuine. A Read\nSupply Status to the meter settles it: if nothing answers, the power is off.\n\"quell explain\" says more, and \"quell release\" delivers an alert late.\n")
}

// CSV writes the homes to ask as CSV, those of a distributor together.
func (s *Supply) CSV(w io.Writer) error {
	list := slices.Clone(s.Asks)
	slices.SortStableFunc(list, func(a, b Ask) int { return cmp.Compare(a.Distributor, b.Distributor) })
	c := csv.NewWriter(w)
	c.Write([]string{"distributor", "entry", "received_at", "esme_id", "mpxn", "level", "why"})
	for _, a := range list {
		c.Write([]string{a.Distributor, strconv.FormatInt(a.Entry, 10), a.Received.UTC().Format(time.RFC3339Nano), a.ESME.String(), a.MPxN, string(a.Level), strings.Join(a.Why, " ")})
	}
	c.Flush()
	return c.Error()
}

// clip returns the beginning of a text that comes from outside, in up to n columns.
func clip(s string, n int) string {
	list := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s))
	if len(list) > n {
		return string(list[:n-1]) + "…"
	}
	return string(list)
}

// seconds says how long something took: 5:30 for 330.
func seconds(n int) string { return fmt.Sprintf("%d:%02d", n/60, n%60) }

func span(t *advice.Trade) string { return seconds(t.From) + "-" + seconds(t.To) }

// duration writes seconds as the configuration has them.
func duration(n int) string {
	text := (time.Duration(n) * time.Second).String()
	if n%60 == 0 {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}
