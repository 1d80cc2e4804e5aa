package page

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// A drawing is XML with a line for each curve, and every point is within it.
func TestDrawing(t *testing.T) {
	text := Drawing([]Curve{
		{Name: "nginx + Lua", Points: [][2]float64{{700, 17}, {1700, 19}, {16000, 30}, {64000, 90}}},
		{Name: "quell & others", Points: [][2]float64{{700, 130}, {1700, 140}, {16000, 190}, {64000, 400}}},
	})
	lines := 0
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
			for _, a := range e.Attr {
				if a.Name.Local == "points" && (strings.Contains(a.Value, "-") || strings.Contains(a.Value, "NaN") || len(strings.Fields(a.Value)) != 4) {
					t.Errorf("the points of a curve are %s", a.Value)
				}
			}
		}
	}
	if lines != 2 {
		t.Errorf("%d curves, want 2", lines)
	}
}
