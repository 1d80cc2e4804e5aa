// Package draw places what happens in time on pictures that pages show: axes with their ticks,
// strips of bars, and time lines. It writes no SVG: templates do, from its values. No I/O, no clock.
package draw

import (
	"strconv"
	"time"
)

// Axis places instants on a line across a picture: in per cent of its width, so that a picture is
// as wide as the page, and its text keeps its size.
type Axis struct{ From, To time.Time }

// Percent is a place in per cent, as SVG writes it.
type Percent float64

func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', 3, 64) + "%" }

// At places an instant; one that is outside comes to the edge.
func (a Axis) At(t time.Time) Percent {
	share := float64(t.Sub(a.From)) / float64(a.To.Sub(a.From))
	return Percent(100 * min(max(share, 0), 1))
}

// Tick is an instant that is written under a picture. Anchor keeps its text inside.
type Tick struct {
	X      Percent
	Text   string
	Anchor string
	Odd    bool // every second one, which a phone does not show
}

// steps between ticks.
var tickSteps = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 28 * 24 * time.Hour}

// Ticks returns up to most ticks at round times.
func (a Axis) Ticks(most int) (list []Tick) {
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
		k := Tick{X: a.At(t), Text: t.Format(layout), Anchor: "middle", Odd: len(list)%2 == 1}
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

// Strip is a picture of numbers over time: one bar for each step.
type Strip struct {
	Name, Class string
	Total, Most int64     // Most is the highest bar
	MostAt      time.Time // when that starts
	Bars        []Bar
	Ticks       []Tick
}

// Bar is a bar of a strip.
type Bar struct {
	X, Width Percent
	Y, High  float64 // in pixels, down from the top
	At       time.Time
	N        int64
}

// stripHeight is how high a strip's highest bar is, in pixels.
const stripHeight = 48

// NewStrip returns the strip of a number for each step from a.From on.
func NewStrip(name, class string, a Axis, step time.Duration, numbers []int64) Strip {
	s := Strip{Name: name, Class: class, Ticks: a.Ticks(8)}
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
		s.Bars = append(s.Bars, Bar{X: a.At(at), Width: 0.9 * (a.At(at.Add(step)) - a.At(at)), Y: stripHeight - high, High: high, At: at, N: n})
	}
	return s
}
