package page

import (
	"math"
	"testing"
)

func TestSample(t *testing.T) {
	if m := (Sample{3, 1, 2}).Median(); m != 2 {
		t.Errorf("the median of three is %v", m)
	}
	if m := (Sample{4, 1, 2, 3}).Median(); m != 2.5 {
		t.Errorf("the median of four is %v", m)
	}
	if m := (Sample{}).Median(); !math.IsNaN(m) {
		t.Errorf("the median of none is %v", m)
	}
	// The ratio of medians would be 1.5.
	if r := (Sample{2, 30, 400}).Over(Sample{1, 20, 100}).Median(); r != 2 {
		t.Errorf("the median of the ratios is %v", r)
	}
	if s := (Sample{2, 1, 3}).String(); s != "2.00 (1.00 to 3.00)" {
		t.Error(s)
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0.1234: "0.12", 12.34: "12.3", 123.4: "123", 123456: "123,456", -1: "-1.00", math.NaN(): "–"} {
		if got := Number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := Thousands(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}
