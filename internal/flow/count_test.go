package flow

import (
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"
)

// TestPacked: what is read is what was written, and a minute in which each of the 14 DNOs has had
// some hundreds of AD1s takes less than 100 bytes.
func TestPacked(t *testing.T) {
	c := &Counters{}
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	want := map[string]counts{}
	for d := 10; d < 24; d++ {
		cell := &c.minute(minuteOf(at)).cells[d]
		cell.Store(new(Cell))
		for i := range 100 * (d - 5) {
			cell.Load().n[received].Add(1)
			cell.Load().End(Forwarded)
			if d == 23 && i%2 == 0 {
				cell.Load().Entered(1 << 40)
			}
		}
		want[distributorAt(d)] = cell.Load().read()
	}
	text := c.minutes.Load().appendCounts(nil)
	if len(text) >= 100 {
		t.Errorf("a minute takes %d bytes", len(text))
	}
	have := map[string]counts{}
	if err := eachCounts(text, func(d string, v counts) { have[d] = v }); err != nil || !maps.Equal(have, want) {
		t.Errorf("%v: %v\nwant %v", err, have, want)
	}
	for n := range text {
		eachCounts(text[:n], func(string, counts) {}) // does not panic
	}
	for _, text := range []string{"\x65\x00", "\x01", "\x01\x01"} {
		if err := eachCounts([]byte(text), func(string, counts) {}); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

// TestForget: minutes that the database has stay in memory for the ends of their messages, and those
// that it does not take for a day at most.
func TestForget(t *testing.T) { synctest.Test(t, testForget) }

func testForget(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	c := &Counters{opts: Options{Now: func() time.Time { return at }, Log: slog.New(slog.DiscardHandler)}}
	for i := range maxMinutes + 60 {
		c.Received(at.Add(time.Duration(i)*time.Minute), "").End(Forwarded)
	}
	s := c.snapshot(false)
	if len(s.minutes) != maxMinutes || s.lost != 60 {
		t.Errorf("%d minutes are written, %d were lost", len(s.minutes), s.lost)
	}
	late := c.Received(at.Add((maxMinutes+55)*time.Minute), "")
	c.written(s)
	s = c.snapshot(false)
	if len(s.minutes) != 1 || s.lost != 60 {
		t.Errorf("%d minutes are written, %d were lost", len(s.minutes), s.lost)
	}
	c.written(s)
	late.End(Failed)
	if s := c.snapshot(false); len(s.minutes) != 1 || s.lost != 60 {
		t.Errorf("the end of a message: %d minutes are written, %d were lost", len(s.minutes), s.lost)
	}
	time.Sleep(keepFor)
	c.snapshot(false)
	n := 0
	for m := c.minutes.Load(); m != nil; m = m.next.Load() {
		n++
	}
	if n != int(keepFor/time.Minute) {
		t.Errorf("%d minutes are in memory", n)
	}
}
