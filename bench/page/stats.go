package page

import (
	"fmt"
	"math"
	"slices"
)

// Sample is what several rounds measured.
type Sample []float64

// Median returns the middle value; NaN if there is none.
func (s Sample) Median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Over returns the ratios to another sample, round by round: what ran in one round
// had the same machine.
func (s Sample) Over(other Sample) Sample {
	ratios := make(Sample, min(len(s), len(other)))
	for i := range ratios {
		ratios[i] = s[i] / other[i]
	}
	return ratios
}

// Plus returns the sums with another sample, round by round.
func (s Sample) Plus(other Sample) Sample {
	sums := make(Sample, min(len(s), len(other)))
	for i := range sums {
		sums[i] = s[i] + other[i]
	}
	return sums
}

// String returns the median and the spread, such as "21.4 (20.9 to 23.0)".
func (s Sample) String() string {
	if len(s) == 0 {
		return "–"
	}
	if len(s) == 1 {
		return Number(s[0])
	}
	return fmt.Sprintf("%s (%s to %s)", Number(s.Median()), Number(slices.Min(s)), Number(slices.Max(s)))
}

// Number writes a value with three significant digits, or as a whole number.
func Number(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case abs >= 1000:
		return Thousands(int64(math.Round(v)))
	case abs >= 100:
		return fmt.Sprintf("%.0f", v)
	case abs >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Thousands writes a whole number with a comma after each thousand.
func Thousands(n int64) string {
	if n < 0 {
		return "-" + Thousands(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", Thousands(n/1000), n%1000)
}
