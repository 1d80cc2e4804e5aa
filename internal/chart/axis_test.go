package chart

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTicks(t *testing.T) {
	for _, x := range []struct {
		length time.Duration
		want   string
	}{
		{24 * time.Hour, "00:00 0.000% start, 03:00 12.500% middle, 06:00 25.000% middle, 09:00 37.500% middle, 12:00 50.000% middle, 15:00 62.500% middle, 18:00 75.000% middle, 21:00 87.500% middle, 00:00 100.000% end"},
		{40 * time.Second, "00:00:00 0.000% start, 00:00:05 12.500% middle, 00:00:10 25.000% middle, 00:00:15 37.500% middle, 00:00:20 50.000% middle, 00:00:25 62.500% middle, 00:00:30 75.000% middle, 00:00:35 87.500% middle, 00:00:40 100.000% end"},
	} {
		from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		var have []string
		for _, k := range (Axis{from, from.Add(x.length)}).Ticks(8) {
			have = append(have, fmt.Sprint(k.Text, " ", k.X, " ", k.Anchor))
		}
		if strings.Join(have, ", ") != x.want {
			t.Errorf("%v: %s", x.length, strings.Join(have, ", "))
		}
	}
}
