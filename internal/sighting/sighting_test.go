package sighting

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 123456000, time.UTC)

func home(hub outage.DeviceID) evidence.Home { return evidence.Home{Hub: hub} }

// every has a sighting of each kind, with all that is kept of it.
func every() []Seen {
	id := outage.RequestID{Originator: 1 << 63, Target: 7, Counter: 1<<64 - 1}
	return []Seen{
		{Sighting: evidence.Sighting{Kind: evidence.Ordered, Received: t0, Home: home(3), Meter: 7, Request: id, Start: t0.Add(time.Hour), Form: outage.SignedPreCommand, Tracked: true,
			Firmware: Firmware([32]byte{1, 31: 2})}},
		{Sighting: evidence.Sighting{Kind: evidence.Ordered, Received: t0, Meter: 7, Request: id, Start: t0, Form: outage.ServiceRequest}},
		{Sighting: evidence.Sighting{Kind: evidence.NotRun, Received: t0, Meter: 7, Request: id, Why: "alert 8F67: another hash"}},
		{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: t0, Home: home(3), Start: t0.Add(-3 * time.Minute)}, MPAN: "1200023305967"},
		{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: t0, Home: home(3)}},
		{Sighting: evidence.Sighting{Kind: evidence.Restored, Received: t0, Meter: 7, Start: t0.Add(-time.Hour), End: t0}},
		{Sighting: evidence.Sighting{Kind: evidence.Heard, Received: t0, Home: home(1<<64 - 1)}},
	}
}

// What is written is read. The beginning of a row is its first sightings, and an error if one is
// cut.
func TestRow(t *testing.T) {
	want := every()
	row, ends, before := []byte{formatVersion}, map[int]int{1: 0}, last{}
	for i := range want {
		row = appendSighting(row, &want[i], &before)
		ends[len(row)] = i + 1
	}
	for n := 1; n <= len(row); n++ {
		have, err := decode(row[:n])
		whole, ok := ends[n]
		if ok != (err == nil) || err != nil && !errors.Is(err, errRow) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
		if ok && !reflect.DeepEqual(append([]Seen{}, have...), append([]Seen{}, want[:whole]...)) {
			t.Fatalf("the first %d bytes: %+v\nwant %+v", n, have, want[:whole])
		}
	}
	if have, err := decode(append([]byte{formatVersion + 1}, row[1:]...)); have != nil || err != nil {
		t.Errorf("a row of a later version: %v %v", have, err)
	}
	if _, err := decode([]byte{formatVersion, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}); !errors.Is(err, errRow) {
		t.Errorf("an unknown kind: %v", err)
	}
	odd := Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: t0, Home: home(3)}, MPAN: "1200023305968"} // the check digit is wrong
	if have, err := decode(appendSighting([]byte{formatVersion}, &odd, &last{})); err != nil || have[0].MPAN != "" {
		t.Errorf("an MPxN that is not valid is kept: %+v %v", have, err)
	}
	long := Seen{Sighting: evidence.Sighting{Kind: evidence.NotRun, Received: t0, Why: string(bytes.Repeat([]byte("x"), 1000))}}
	if have, err := decode(appendSighting([]byte{formatVersion}, &long, &last{})); err != nil || len(have[0].Why) != maxText {
		t.Errorf("a long text: %v", err)
	}
}

// An AD1 that passes is kept as long as it may matter, and there are a million a day: it takes few bytes.
func TestSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	row, before := []byte{formatVersion}, last{}
	var want []Seen
	at := t0
	for range 1000 {
		at = at.Add(time.Duration(r.IntN(200_000)) * time.Microsecond)
		s := Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: at, Home: home(0x8873845700000000 + outage.DeviceID(r.Uint32())), Start: at.Truncate(time.Second).Add(-time.Duration(180+r.IntN(120)) * time.Second)}, MPAN: "1200023305967"}
		want, row = append(want, s), appendSighting(row, &s, &before)
	}
	if have, err := decode(row); err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("it is not read as it was written: %v", err)
	}
	if each := float64(len(row)) / 1000; each > 19 {
		t.Errorf("%.1f bytes each", each)
	}
}

func FuzzRow(f *testing.F) {
	row, before := []byte{formatVersion}, last{}
	for _, s := range every() {
		row = appendSighting(row, &s, &before)
	}
	f.Add(row)
	f.Fuzz(func(t *testing.T, row []byte) {
		list, _ := decode(row)
		again, before := []byte{formatVersion}, last{}
		for i := range list {
			again = appendSighting(again, &list[i], &before)
		}
		back, err := decode(again)
		if err != nil || len(back) != len(list) {
			t.Fatalf("%+v reads as %+v, %v", list, back, err)
		}
	})
}

// A device counts once, after the alert and not too long after it.
func TestWatched(t *testing.T) {
	var w watched
	if _, ok := w.heard(1, t0); ok {
		t.Error("heard, and nobody waits for it")
	}
	for n := range 1000 {
		w.add(outage.DeviceID(n+1), watch{9, t0.UnixMicro()})
		w.add(outage.DeviceID(n+1), watch{9, t0.UnixMicro()})
	}
	for _, c := range []struct {
		device outage.DeviceID
		after  time.Duration
		want   bool
	}{{5000, 1, false}, {1, 0, false}, {1, -time.Second, false}, {1, time.Microsecond, true}, {1, time.Second, false}, {2, WatchFor - time.Microsecond, true}, {3, WatchFor, false}, {3, time.Second, false}} {
		if hub, ok := w.heard(c.device, t0.Add(c.after)); ok != c.want || ok && hub != 9 {
			t.Errorf("device %d after %v: %v %v", c.device, c.after, hub, ok)
		}
	}
	if n := w.devices.Load(); n != 997 {
		t.Errorf("%d devices", n)
	}
	w.expire(t0.Add(WatchFor - time.Microsecond))
	if n := w.devices.Load(); n != 997 {
		t.Errorf("%d devices after too early an end", n)
	}
	w.expire(t0.Add(WatchFor))
	if n := w.devices.Load(); n != 0 {
		t.Errorf("%d devices after the end", n)
	}
}

// unstarted returns sightings whose database takes nothing.
func unstarted(t testing.TB) *Sightings {
	db, err := sqldb.Open(sqldb.Options{Path: t.TempDir() + "/quell.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s := New(db, slog.New(slog.DiscardHandler))
	s.Enable(true)
	return s
}

// Nothing is collected while it is off. While the database does not answer, memory is bounded, and
// what is lost is counted: not one more.
func TestBounded(t *testing.T) {
	s := unstarted(t)
	lost := every()[3]
	s.Enable(false)
	s.Add(&lost)
	s.Watch(1, 2, t0)
	s.Heard(1, t0.Add(time.Second))
	if s.open != nil || s.full != nil {
		t.Fatal("collected while it is off")
	}
	s.Enable(true)
	const n = 1_000_000
	for range n {
		s.Add(&lost)
	}
	s.mu.Lock()
	rows := append([][]byte{}, s.full...)
	s.mu.Unlock()
	kept := 0
	for _, row := range rows {
		list, err := decode(row)
		if err != nil {
			t.Fatal(err)
		}
		kept += len(list)
	}
	if len(rows) > maxWaiting || uint64(kept)+s.Dropped() != n || s.Dropped() == 0 {
		t.Errorf("%d rows with %d sightings, %d dropped of %d", len(rows), kept, s.Dropped(), n)
	}
	// The database refuses them, and they come back.
	s.mu.Lock()
	s.full = nil
	s.mu.Unlock()
	before := s.Dropped()
	s.done(rows, sqldb.ErrUnavailable)
	if s.Dropped() != before || len(s.full) != len(rows) {
		t.Errorf("%d rows are back of %d, %d more dropped", len(s.full), len(rows), s.Dropped()-before)
	}
	s.done(rows[:3], sqldb.ErrUnavailable)
	three := 0
	for _, row := range rows[:3] {
		list, _ := decode(row)
		three += len(list)
	}
	if s.Dropped()-before != uint64(three) {
		t.Errorf("%d dropped, want %d", s.Dropped()-before, three)
	}
}

// While the database hangs, what was handed to its writer is bounded too, and nothing is lost for that.
func TestBoundedInLane(t *testing.T) {
	s := unstarted(t) // nobody takes anything from the lane
	const n = 100_000
	for i := range n {
		s.Add(&Seen{Sighting: evidence.Sighting{Kind: evidence.Heard, Received: t0, Home: home(1)}})
		if i%10 == 0 {
			s.Flush()
		}
	}
	if rows := s.lane.Waiting() + len(s.full); rows > maxWaiting || s.Dropped() > 0 {
		t.Errorf("%d rows wait, each with the memory of a full one; %d sightings dropped", rows, s.Dropped())
	}
	s.ending = true
	s.Flush()
	if s.open != nil || s.full != nil {
		t.Error("at the end the writer does not get all")
	}
}

// A nil Sightings does nothing.
func TestNil(t *testing.T) {
	var s *Sightings
	s.Enable(true)
	s.Add(&Seen{})
	s.Heard(1, t0)
	if s.On() {
		t.Error("on")
	}
}

// Several goroutines add and look, while rows are taken.
func TestAtOnce(t *testing.T) {
	s := unstarted(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for n := range 2000 {
				id := outage.DeviceID(g*2000 + n + 1)
				s.Watch(id, 5, t0)
				s.Heard(id, t0.Add(time.Second))
				s.Add(&Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: t0, Home: home(id)}})
			}
		})
	}
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := map[evidence.Kind]int{}
	for _, row := range append(s.full, s.open) {
		list, err := decode(row)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			n[x.Kind]++
		}
	}
	if fmt.Sprint(n) != fmt.Sprint(map[evidence.Kind]int{evidence.Lost: 8000, evidence.Heard: 8000}) {
		t.Error(n)
	}
}

func BenchmarkAdd(b *testing.B) {
	s := unstarted(b)
	lost := every()[3]
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		s.Add(&lost)
		if n%100_000 == 0 {
			s.mu.Lock()
			s.full = nil
			s.mu.Unlock()
		}
	}
}

// With 200,000 devices that are waited for, which is more than in any night.
func BenchmarkHeard(b *testing.B) {
	s := unstarted(b)
	for n := range 200_000 {
		s.Watch(outage.DeviceID(0x00DB123400000000+uint64(n)), 1, t0)
	}
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		s.Heard(outage.DeviceID(0x00DB123500000000+n%1_000_000), t0)
	}
}
