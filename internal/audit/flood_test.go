//go:build !race

package audit

import (
	"fmt"
	"testing"
	"time"
)

// This file starts no goroutine, so the race detector finds nothing in it, and it computes much:
// scripts/check.sh runs it without.

// simulate adds an attempt of an origin every interval, and takes what is due as Run does. It
// returns how many records each origin gets, and how many attempts they count.
func simulate(f *refusals, start time.Time, during, interval time.Duration, origin func(i int) string) (records int, counted int64, most int) {
	now := start
	for i := 0; now.Before(start.Add(during)); i++ {
		f.add(Record{From: origin(i), What: "login", Outcome: Refused}, now)
		list, _ := f.take(now, false)
		for _, r := range list {
			records++
			counted += r.Count
		}
		f.written(list)
		most = max(most, len(f.sources))
		now = now.Add(interval)
	}
	return records, counted, most
}

// A flood makes a bounded number of records, whatever origins it comes from, and each attempt is
// in the count of one.
func TestFlood(t *testing.T) {
	for _, c := range []struct {
		name   string
		origin func(i int) string
		first  int // records in the first hour, at most
		later  int // in each hour after it, at most
	}{
		{"one origin", func(int) string { return "192.0.2.1" }, 7, 1},
		{"a hundred origins", func(i int) string { return fmt.Sprint("192.0.2.", i%100) }, 7 * (maxSources + 1), maxSources + 1},
		{"always another origin", func(i int) string { return fmt.Sprint(i) }, 7 * (maxSources + 1), 7 * (maxSources + 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f refusals
			f.init()
			start := time.Now()
			const interval = 20 * time.Millisecond
			for hour := range 4 {
				records, counted, most := simulate(&f, start.Add(time.Duration(hour)*time.Hour), time.Hour, interval, c.origin)
				limit := c.first
				if hour > 0 {
					limit = c.later
				}
				if records > limit || records == 0 || most > maxSources+1 {
					t.Errorf("hour %d: %d records of %d attempts, %d origins held; want at most %d records", hour, records, counted, most, limit)
				}
			}
			rest, _ := f.take(start.Add(9*time.Hour), true)
			f.written(rest)
			if f.total != 4*uint64(time.Hour/interval) || f.waiting != 0 {
				t.Errorf("%d attempts, %d of them in no record", f.total, f.waiting)
			}
		})
	}
}
