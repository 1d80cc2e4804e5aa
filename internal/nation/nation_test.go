package nation

import (
	"os"
	"strconv"
	"testing"
	"time"
)

var begin = time.Date(2026, 11, 26, 22, 0, 0, 0, time.UTC)

func TestTry(t *testing.T) {
	homes, _ := strconv.Atoi(os.Getenv("HOMES"))
	nights, _ := strconv.Atoi(os.Getenv("NIGHTS"))
	for i, s := range Scenarios {
		if x := os.Getenv("SC"); x != "" && x != strconv.Itoa(i) {
			continue
		}
		w := NewWorld(900, homes)
		for _, d := range []Detail{SectorOnly, FullPostcode} {
			if s.NoPostcodes {
				d = NoPlace
			}
			t0 := time.Now()
			n := w.Night(s, 899, begin)
			l := w.Run(n, d, nil, nil).Learning()
			var c Counts
			for k := range nights {
				c.Add(w.Measure(s, w.Night(s, uint64(1000+k), begin.AddDate(0, 0, 7)), d, l))
			}
			t.Logf("%s, %s: %d false, %d genuine (%.1f to %.1f)  %s", s.Name, d, c.Alerts, c.Genuine, c.False, c.Real, time.Since(t0))
			for m := range 3 {
				t.Logf("   %s: precision %.4f recall %.3f; false positives %.1f (far %d); by size %v of %v; hidden %.1f of %.1f", Moments[m].Name, c.Precision(m), c.Recall(m), c.FalsePositive[m], c.FalseFar[m], [4]float64{c.Found[1][m], c.Found[2][m], c.Found[3][m], c.Found[4][m]}, c.Sizes[1:], c.HidHit[m], c.Hidden[m])
			}
			t.Logf("   false releases per 1,000: %.5f", c.FalseReleases())
			if s.NoPostcodes {
				break
			}
		}
	}
}
