package web

import (
	"strconv"
	"time"
)

// axis places instants on a line across a picture: in per cent of its width, so that a picture is
// as wide as the page, and its text keeps its size.
type axis struct{ From, To time.Time }

// percent is a place in per cent, as SVG writes it.
type percent float64

func (p percent) String() string { return strconv.FormatFloat(float64(p), 'f', 3, 64) + "%" }

// at places an instant; one that is outside comes to the edge.
func (a axis) at(t time.Time) percent {
	share := float64(t.Sub(a.From)) / float64(a.To.Sub(a.From))
	return percent(100 * min(max(share, 0), 1))
}

// tick is an instant that is written under a picture. Anchor keeps its text inside.
type tick struct {
	X      percent
	Text   string
	Anchor string
	Odd    bool // every second one, which a phone does not show
}

// steps between ticks.
var tickSteps = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour}

// ticks returns up to most ticks at round times.
func (a axis) ticks(most int) (list []tick) {
	step := tickSteps[len(tickSteps)-1]
	for _, s := range tickSteps {
		if a.To.Sub(a.From) <= s*time.Duration(most) {
			step = s
			break
		}
	}
	layout := "15:04"
	switch {
	case step < time.Minute:
		layout = "15:04:05"
	case step >= 24*time.Hour:
		layout = "2 Jan"
	case a.To.Sub(a.From) > 24*time.Hour:
		layout = "2 Jan 15:04"
	}
	for t := a.From.UTC().Truncate(step); !t.After(a.To); t = t.Add(step) {
		if t.Before(a.From) {
			continue
		}
		k := tick{X: a.at(t), Text: t.Format(layout), Anchor: "middle", Odd: len(list)%2 == 1}
		switch {
		case k.X < 4:
			k.Anchor = "start"
		case k.X > 96:
			k.Anchor = "end"
		}
		list = append(list, k)
	}
	return list
}

// strip is a picture of numbers over time: one bar for each step.
type strip struct {
	Name, Class string
	Total, Most int64     // Most is the highest bar
	MostAt      time.Time // when that starts
	Bars        []bar
	Ticks       []tick
}

type bar struct {
	X, Width percent
	Y, High  float64 // in pixels, down from the top
	At       time.Time
	N        int64
}

// stripHeight is how high a strip's highest bar is, in pixels.
const stripHeight = 48

// newStrip returns the strip of a number for each step from a.From on.
func newStrip(name, class string, a axis, step time.Duration, numbers []int64) strip {
	s := strip{Name: name, Class: class, Ticks: a.ticks(8)}
	for i, n := range numbers {
		s.Total += n
		if n > s.Most {
			s.Most, s.MostAt = n, a.From.Add(time.Duration(i)*step)
		}
	}
	for i, n := range numbers {
		if n == 0 {
			continue
		}
		at := a.From.Add(time.Duration(i) * step)
		high := max(float64(stripHeight)*float64(n)/float64(s.Most), 2) // 1 of 10,000 shows too
		s.Bars = append(s.Bars, bar{X: a.at(at), Width: 0.9 * (a.at(at.Add(step)) - a.at(at)), Y: stripHeight - high, High: high, At: at, N: n})
	}
	return s
}
