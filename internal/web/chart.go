package web

import (
	"time"

	"quell/internal/chart"
)

// Places in pictures: see package chart.
type (
	axis    = chart.Axis
	percent = chart.Percent
	tick    = chart.Tick
)

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
	s := strip{Name: name, Class: class, Ticks: a.Ticks(8)}
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
		s.Bars = append(s.Bars, bar{X: a.At(at), Width: 0.9 * (a.At(at.Add(step)) - a.At(at)), Y: stripHeight - high, High: high, At: at, N: n})
	}
	return s
}
