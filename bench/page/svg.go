package page

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Curve is a line of the drawing: points of a size in bytes and microseconds.
type Curve struct {
	Name   string
	Points [][2]float64
}

// Drawing draws cost against size, both on logarithmic scales, as SVG.
func Drawing(curves []Curve) string {
	const (
		width, height            = 760, 440
		left, right, top, bottom = 60, 180, 30, 50
	)
	colours := []string{"#0072b2", "#56b4e9", "#009e73", "#999999", "#d55e00"} // which differ for everybody
	minX, maxX, minY, maxY := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		for _, p := range c.Points {
			minX, maxX = min(minX, p[0]), max(maxX, p[0])
			minY, maxY = min(minY, p[1]), max(maxY, p[1])
		}
	}
	minY, maxY = math.Pow(2, math.Floor(math.Log2(minY))), math.Pow(2, math.Ceil(math.Log2(maxY)))
	x := func(v float64) float64 {
		return left + (width-left-right)*math.Log(v/minX)/math.Log(maxX/minX)
	}
	y := func(v float64) float64 {
		return height - bottom - (height-top-bottom)*math.Log(v/minY)/math.Log(maxY/minY)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>Processor time of a message against its size</title>\n<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n", width, height)
	for v := minY; v <= maxY*1.01; v *= 2 {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			left, width-right, y(v), y(v), left-8, y(v)+4, v)
	}
	for _, p := range curves[0].Points {
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#dddddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x(p[0]), x(p[0]), top, height-bottom, x(p[0]), height-bottom+18, Thousands(int64(p[0])))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">µs of processor time for each message</text>`+"\n", left, top-12)
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">bytes of the message</text>`+"\n", width-right, height-12)
	for i, c := range curves {
		colour := colours[i%len(colours)]
		var line strings.Builder
		for _, p := range c.Points {
			fmt.Fprintf(&line, "%.1f,%.1f ", x(p[0]), y(p[1]))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.TrimSpace(line.String()), colour)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="14" height="4" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n",
			width-right+14, top+20*i+6, colour, width-right+34, top+20*i+12, html.EscapeString(c.Name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
