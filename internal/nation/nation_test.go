package nation

import (
	"os"
	"strconv"
	"testing"
	"time"
)

var begin = time.Date(2026, 11, 26, 22, 0, 0, 0, time.UTC)

func TestTry(t *testing.T) {
	num := func(s string) int { n, _ := strconv.Atoi(os.Getenv(s)); return n }
	for i, s := range Scenarios {
		if x := os.Getenv("SC"); x != "" && x != strconv.Itoa(i) {
			continue
		}
		t0 := time.Now()
		y := Study{Homes: num("HOMES"), Worlds: num("WORLDS"), Before: 3, Nights: num("NIGHTS"), Seed: uint64(num("SEED"))}
		for _, r := range y.Run(t.Context(), s, func() {}) {
			c := &r.Counts
			t.Logf("%s, %s: %d false, %d genuine (%.1f to %.1f)  %s", s.Name, r.Detail, c.Alerts, c.Genuine, c.False, c.Real, time.Since(t0))
			for m := range 3 {
				pl, ph := r.Interval(func(c *Counts) float64 { return c.Precision(m) })
				rl, rh := r.Interval(func(c *Counts) float64 { return c.Recall(m) })
				t.Logf("   %12s: precision %.4f (%.3f-%.3f) recall %.3f (%.3f-%.3f); false positives %.1f (far %d); found by size %.1f of %.1f; hidden %.1f of %.1f; fp cut soon %.1f", Moments[m].Name, c.Precision(m), pl, ph, c.Recall(m), rl, rh, c.FalsePositive[m], c.FalseFar[m], [4]float64{c.Found[1][m], c.Found[2][m], c.Found[3][m], c.Found[4][m]}, c.Sizes[1:], c.HiddenFound[m], c.Hidden[m], c.CutSoon[m])
			}
			t.Logf("   false releases per 1,000: %.5f", c.FalseReleases())
		}
	}
}
