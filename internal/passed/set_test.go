package passed

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"quell/internal/outage"
)

// The set agrees with a map while it grows, and while notes expire. An expired note's memory is
// given back.
func TestSet(t *testing.T) {
	s, want := newSet(), map[uint64]fact{}
	rnd := rand.New(rand.NewPCG(1, 2))
	if _, ok := s.of(1); ok {
		t.Fatal("an empty set has a note")
	}
	const rounds, each = 12, 60_000
	var keys []uint64
	for round := range fact(rounds) {
		var rows [][]byte // half of the notes come so
		for range each {
			key := rnd.Uint64()
			if len(keys) > 0 && rnd.IntN(4) == 0 {
				key = keys[rnd.IntN(len(keys))] // again: the first note stays
			}
			f := fact(rnd.IntN(len(reasons)))<<minuteBits | (1000 + round)
			if round%2 == 0 {
				rows = append(rows, appendNote(nil, key, f))
			} else if gone := s.add(key, f); gone > 0 {
				t.Fatalf("%d notes went", gone)
			}
			if _, ok := want[key]; !ok {
				want[key] = f
			}
			keys = append(keys, key)
		}
		s.addAll(rows[:min(100, len(rows))])
		s.addAll(rows[min(100, len(rows)):])
		if round%3 == 2 {
			before, old := 1000+round-1, 0
			for key, f := range want {
				if f.minute() < before {
					delete(want, key)
					old++
				}
			}
			if n := s.expire(before); n != old {
				t.Fatalf("%d notes expired, want %d", n, old)
			}
		}
		if s.len() != len(want) {
			t.Fatalf("%d notes, want %d", s.len(), len(want))
		}
		for _, key := range keys {
			f, ok := s.of(key)
			if w, has := want[key]; ok != has || ok && f != w {
				t.Fatalf("key %x: %v %v, want %v %v", key, f, ok, w, has)
			}
		}
		places := 0
		for i := range s.shards {
			places += len(s.shards[i].keys)
		}
		if most := 2*len(want) + shards*leastCap; places > most {
			t.Fatalf("%d places for %d notes", places, len(want))
		}
	}
	s.expire(1<<minuteBits - 1)
	for i := range s.shards {
		if len(s.shards[i].keys) > 0 {
			t.Fatal("an empty shard keeps its memory")
		}
	}
	s.add(0, 7)
	if f, ok := s.of(0); !ok || f != 7 {
		t.Error("the key 0 is not found")
	}
}

// A shard that is full drops its oldest quarter, also if all of its notes are of one minute.
func TestSetIsBounded(t *testing.T) {
	for _, oneMinute := range []bool{false, true} {
		s := newSet()
		inverse := s.seed // of the seed, modulo 2 to the 64th
		for range 6 {
			inverse *= 2 - s.seed*inverse
		}
		keyOf := func(n int) uint64 { return (uint64(n+1)*0x9e3779b97f4a7c15>>12 | 1) * inverse } // all in one shard
		const n = 3 * shardMax
		gone := 0
		for i := range n {
			minute := fact(5000)
			if !oneMinute {
				minute += fact(i / 100)
			}
			gone += s.add(keyOf(i), minute)
			if used := s.shards[0].used; used > shardMax {
				t.Fatalf("%d notes in a shard", used)
			}
		}
		if s.shards[0].used != s.len() || gone != n-s.len() || gone == 0 {
			t.Fatalf("%d notes are left, %d in the shard, %d went", s.len(), s.shards[0].used, gone)
		}
		if oneMinute {
			continue
		}
		for i := range n { // of the minute in which they end, some are left
			if _, ok := s.of(keyOf(i)); ok != (i >= gone) && i/100 != gone/100 {
				t.Fatalf("note %d of %d, of which the first %d went: %v", i, n, gone, ok)
			}
		}
	}
}

// The database has keys and facts, so neither may change. Alerts that differ a little have
// different keys.
func TestNotes(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 123456000, time.UTC)
	for _, c := range []struct {
		id   string
		want uint64
	}{{"", 0x4e9eeaaf9472a3f9}, {"1234567", 0x36ff01e71c75f675}, {"12345678", 0xc2ec6813aad5d8fe}, {"88-73-84-57-00-2F-96-1E:90-B3-D5-1F-30-01-00-00:1000", 0x0e42be62cc433d96}} {
		got := Key(c.id, 0x88738457002F961E, at)
		if got != Key([]byte(c.id), 0x88738457002F961E, at) || got != c.want {
			t.Errorf("the key of %q is %#x, of its bytes %#x, want %#x", c.id, got, Key([]byte(c.id), 0x88738457002F961E, at), c.want)
		}
	}
	seen := map[uint64]string{}
	for n := range 200_000 {
		for what, key := range map[string]uint64{
			"id":    Key(fmt.Sprintf("88-73-84-57-00-2F-96-1E:90-B3-D5-1F-30-01-00-00:%d", n), 1, at),
			"hub":   Key("x", outage.DeviceID(n), at),
			"start": Key("x", 1, at.Add(time.Duration(n+1)*time.Microsecond)),
		} {
			if was, ok := seen[key]; ok && n != 1 { // hub 1 is that of the others
				t.Fatalf("%s %d has the key of %s", what, n, was)
			}
			seen[key] = fmt.Sprint(what, n)
		}
	}
	for n, r := range []outage.Reason{"no-window", "switched-off", "store-unavailable", "clock-unsure", "outage-in-future", "window-not-begun", "window-over", "window-withdrawn",
		"in-shadow", "signature-missing", "signature-invalid", "signer-unknown", "signer-mismatch"} {
		f := newFact(at, r)
		if f>>minuteBits != fact(n) || f.reason() != r || time.Unix(int64(f.minute())*60, 0).UTC() != at.Truncate(time.Minute) {
			t.Errorf("the fact of %s is %x", r, f)
		}
		if key, back := noteAt(appendNote(appendNote(nil, 1, 2), 1<<63+uint64(n), f), 1); key != 1<<63+uint64(n) || back != f {
			t.Errorf("a note in a row: %x %x", key, back)
		}
	}
	for _, far := range []time.Time{{}, time.Unix(-1, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if f := newFact(far, outage.ReasonSwitchedOff); f.reason() != outage.ReasonSwitchedOff {
			t.Errorf("received at %s: %s", far, f.reason())
		}
	}
}

const many = 10_000_000

// At 10,000,000 notes: how long one is looked up.
func BenchmarkOf(b *testing.B) {
	s := newSet()
	for n := range uint64(many) {
		s.add(n*0x9e3779b97f4a7c15+1, 7)
	}
	places := 0
	for i := range s.shards {
		places += len(s.shards[i].keys)
	}
	for _, c := range []struct {
		what string
		from uint64
	}{{"hit", 0}, {"miss", many}} {
		b.Run(c.what, func(b *testing.B) {
			b.ReportAllocs()
			rnd := rand.New(rand.NewPCG(1, 2))
			for b.Loop() {
				if _, ok := s.of((c.from+rnd.Uint64N(many))*0x9e3779b97f4a7c15 + 1); ok != (c.from == 0) {
					b.Fatal(ok)
				}
			}
			b.ReportMetric(float64(places*noteSize)/many, "bytes/note")
		})
	}
}

// How long a full shard is locked when it grows, when the oldest go, and when notes expire: nothing
// takes longer.
func BenchmarkLock(b *testing.B) {
	full := newSet()
	sh := &full.shards[0]
	for n := uint64(0); sh.used < shardMax; n++ {
		key := n * 0x9e3779b97f4a7c15
		if at, _ := full.place(key); at == 0 {
			full.add(key, fact(1000+n/shards/100))
		}
	}
	for _, c := range []struct {
		what string
		do   func(*shard)
	}{
		{"grow", func(sh *shard) { full.rebuild(sh, sh.used, func(fact) bool { return true }) }},
		{"oldest", func(sh *shard) { full.grow(sh) }},
		{"expire", func(sh *shard) { full.drop(sh, 1010) }},
	} {
		b.Run(c.what, func(b *testing.B) {
			for b.Loop() {
				c.do(&shard{keys: sh.keys, facts: sh.facts, used: sh.used})
			}
		})
	}
}
