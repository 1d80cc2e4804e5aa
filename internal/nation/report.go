package nation

import (
	"fmt"
	"math"
	"strings"
)

// aims are precision and recall at each moment.
var aims = map[Detail][3][2]float64{
	SectorOnly:   {{.97, .55}, {.97, .65}, {.99, .90}},
	FullPostcode: {{.99, .65}, {.99, .80}, {.99, .92}},
}

// aimFalse is how many of 1,000 false alerts may be strong in fair weather.
const aimFalse = .001

// Parts are the tables of docs/outage-safety.md, by name, in Markdown.
func (y Study) Parts(results []*Result) map[string]string {
	return map[string]string{
		"study":     y.about(results),
		"precision": precisionTable(results),
		"false":     falseTable(results),
		"sizes":     sizesTable(results),
	}
}

func (y Study) about(results []*Result) string {
	falseOnes, genuine := 0, 0
	for i, r := range results {
		if i == 0 || r.Scenario.Name != results[i-1].Scenario.Name {
			falseOnes += r.Counts.Alerts
			genuine += r.Counts.Genuine
		}
	}
	return fmt.Sprintf("Each scenario had %d nights of %s homes: %d nights in each of %d worlds, after %d nights that were only learned from. "+
		"All scenarios together had %s false suppressed alerts and %s genuine ones. The seed is %d; `quell simulate --report docs --homes %d --nights %d --worlds %d --seed %d` gives the same tables.",
		y.Worlds*y.Nights, thousands(y.Homes), y.Nights, y.Worlds, y.Before, thousands(falseOnes), thousands(genuine), y.Seed, y.Homes, y.Nights, y.Worlds, y.Seed)
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// figure is a value with its interval.
func (r *Result) figure(f func(*Counts) float64) string {
	low, high := r.Interval(f)
	return fmt.Sprintf("%.3f (%.3f to %.3f)", f(&r.Counts), low, high)
}

func precisionTable(results []*Result) string {
	var b strings.Builder
	b.WriteString("| scenario | the inventory has | when | precision | aim | recall | aim | reached | home lost supply |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		for m := range Moments {
			aimP, aimR, reached := "–", "–", "no aim"
			if a, ok := aims[r.Detail]; ok {
				aimP, aimR, reached = fmt.Sprint(a[m][0]), fmt.Sprint(a[m][1]), "**no**"
				if r.Counts.Precision(m) >= a[m][0] && r.Counts.Recall(m) >= a[m][1] {
					reached = "yes"
				}
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %.3f |\n", r.Scenario.Name, r.Detail, Moments[m].Name,
				r.figure(func(c *Counts) float64 { return c.Precision(m) }), aimP, r.figure(func(c *Counts) float64 { return c.Recall(m) }), aimR, reached, r.Counts.Without(m))
		}
	}
	return b.String()
}

func falseTable(results []*Result) string {
	var b strings.Builder
	b.WriteString("| scenario | the inventory has | false alerts | strong at any time, of 1,000 | aim | reached | strong at +24 h | of these, the home lost supply soon after | no fault near |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		c := &r.Counts
		aim, reached := "–", "no aim"
		if !r.Scenario.Storm {
			aim, reached = fmt.Sprint(aimFalse), "**no**"
			if c.FalseReleases() <= aimFalse {
				reached = "yes"
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.5f | %s | %s | %.1f | %.1f | %d |\n", r.Scenario.Name, r.Detail, thousands(c.Alerts), c.FalseReleases(), aim, reached, c.FalsePositive[2], c.CutSoon[2], c.FalseFar[2])
	}
	return b.String()
}

func sizesTable(results []*Result) string {
	var b strings.Builder
	b.WriteString("| scenario | the inventory has | fault | genuine alerts | recall at +5 min | at the window's end | at +24 h |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		c := &r.Counts
		line := func(what string, n float64, found [3]float64) {
			fmt.Fprintf(&b, "| %s | %s | %s | %.1f |", r.Scenario.Name, r.Detail, what, n)
			for _, f := range found {
				if n == 0 {
					b.WriteString(" – |")
					continue
				}
				fmt.Fprintf(&b, " %.2f |", f/n)
			}
			b.WriteString("\n")
		}
		for s := Isolated; s <= Feeder; s++ {
			line(s.String(), c.Sizes[s], c.Found[s])
		}
		line("any, while the hub was rebooting", c.Hidden[0], c.HiddenFound)
	}
	return b.String()
}

// Colours that differ for everybody.
var colours = []string{"#0072b2", "#d55e00", "#009e73"}

// PrecisionChart draws precision and recall of each scenario at each moment, as SVG.
func PrecisionChart(results []*Result) string {
	const left, right, top, row, gap = 250, 30, 50, 30, 40
	const width, panel = 900, (900 - left - right - gap) / 2
	height := top + row*len(results) + 40
	var b strings.Builder
	svgHead(&b, width, height, "Precision and recall of strong evidence")
	for k, name := range []string{"precision", "recall"} {
		from := float64(left + k*(panel+gap))
		least := []float64{.9, 0}[k]
		x := func(v float64) float64 { return from + panel*(max(v, least)-least)/(1-least) }
		fmt.Fprintf(&b, `<text x="%.0f" y="20">%s</text>`+"\n", from, name)
		for i := range 6 {
			v := least + (1-least)*float64(i)/5
			fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#dddddd"/><text x="%.1f" y="%d" text-anchor="middle">%.2g</text>`+"\n", x(v), x(v), top-10, height-40, x(v), height-22, v)
		}
		for i, r := range results {
			y := float64(top + i*row)
			if k == 0 {
				fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s, %s</text>`+"\n", left-12, y+12, r.Scenario.Name, r.Detail)
			}
			for m := range Moments {
				f := func(c *Counts) float64 { return []float64{c.Precision(m), c.Recall(m)}[k] }
				low, high := r.Interval(f)
				ym := y + 3 + 7*float64(m)
				fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s" stroke-width="2"/><circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(low), x(high), ym, ym, colours[m], x(f(&r.Counts)), ym, colours[m])
			}
		}
	}
	for m := range Moments {
		fmt.Fprintf(&b, `<circle cx="%d" cy="16" r="4" fill="%s"/><text x="%d" y="20">%s</text>`+"\n", 20+75*m, colours[m], 28+75*m, Moments[m].Name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// OddsChart draws, for one result, how many of the false and of the genuine alerts have at
// least given odds after 24 hours and after five minutes, both on logarithmic scales, as SVG.
func OddsChart(r *Result) string {
	const width, height, left, right, top, bottom = 760, 380, 70, 200, 30, 50
	var b strings.Builder
	svgHead(&b, width, height, "Share of alerts with at least given odds: "+r.Scenario.Name+", "+string(r.Detail))
	x := func(bin int) float64 { return left + (width-left-right)*float64(bin)/oddsBins }
	const decades = 6
	y := func(share float64) float64 {
		return top + (height-top-bottom)*min(-math.Log10(max(share, 1e-9)), decades)/decades
	}
	for d := 0; d <= decades; d++ {
		v := math.Pow(10, -float64(d))
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", left, width-right, y(v), y(v), left-8, y(v)+4, v)
	}
	for p := -8; p <= 8; p += 4 {
		bin := (p + 8) * 4
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#dddddd"/><text x="%.1f" y="%d" text-anchor="middle">1e%d</text>`+"\n", x(bin), x(bin), top, height-bottom, x(bin), height-bottom+18, p)
	}
	strong := left + (width-left-right)*(math.Log10(9)+8)/16
	fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#000000" stroke-dasharray="4 3"/><text x="%.1f" y="%d">strong</text>`+"\n", strong, strong, top, height-bottom, strong+4, top+12)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">odds of being genuine</text><text x="%d" y="18">share with at least these odds</text>`+"\n", width-right, height-10, left)
	i := 0
	for _, m := range []int{2, 0} {
		for kind, what := range []string{"false", "genuine"} {
			h := r.Counts.Odds[m][kind]
			total := 0.0
			for _, n := range h {
				total += n
			}
			var line strings.Builder
			above := total
			for bin, n := range h {
				if above > 0 && total > 0 {
					fmt.Fprintf(&line, "%.1f,%.1f ", x(bin), y(above/total))
				}
				above -= n
				if above < 1e-9*total {
					above = 0
				}
			}
			dash := ""
			if m == 0 {
				dash = ` stroke-dasharray="2 3"`
			}
			fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.TrimSpace(line.String()), colours[1-kind], dash)
			fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="2"%s/><text x="%d" y="%d">%s, %s</text>`+"\n", width-right+14, width-right+34, top+20*i+8, top+20*i+8, colours[1-kind], dash, width-right+40, top+20*i+12, what, Moments[m].Name)
			i++
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func svgHead(b *strings.Builder, width, height int, title string) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(b, "<title>%s</title>\n<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n", title, width, height)
}
