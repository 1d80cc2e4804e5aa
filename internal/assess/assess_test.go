package assess_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/assess"
	"quell/internal/cluster"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/sighting"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// night logs entries of n hubs that rebooted a minute apart, and as many AD1s that passed.
func night(t testing.TB, s *store.Store, n int) (end time.Time) {
	t.Helper()
	s.Sightings.Enable(true)
	for i := range n {
		s.Ledger.Record(t.Context(), storetest.OnDemand(i+1, 1, storetest.T0))
	}
	for i := range n {
		storetest.Decide(t, s, storetest.AD1(i+1, fmt.Sprint("alert", i), storetest.T0.Add(time.Duration(i)*time.Millisecond)))
	}
	for i := range n {
		at := storetest.T0.Add(time.Duration(i) * time.Millisecond)
		s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: at, Home: evidence.Home{Hub: storetest.Hub(1_000_000 + i)}, Start: at.Add(-3 * time.Minute)}})
	}
	s.Sightings.Flush()
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	return storetest.T0.Add(time.Hour)
}

func count(t testing.TB, s *store.Store, table string) (n int) {
	t.Helper()
	if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// assessed returns how many of the entries up to seq have an assessment.
func assessed(t testing.TB, s *store.Store, seq int64) int {
	t.Helper()
	list, err := s.Evidence.Assessed(t.Context(), 1, seq)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Sightings are deleted when they are old, assessments with their entries. The last rows stay, so
// that no number is given out twice.
func TestHousekeeping(t *testing.T) { storetest.EachEngine(t, testHousekeeping) }

func testHousekeeping(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	end := night(t, s, 300)
	s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: end, Home: evidence.Home{Hub: 1}}})
	s.Sightings.Flush()
	// A row that is kept for its activation, which begins a week later.
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Ordered, Received: storetest.T0, Meter: 1, Form: outage.SignedPreCommand, Start: end.Add(7 * 24 * time.Hour)}})
	s.Sightings.Flush()
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: end, Home: evidence.Home{Hub: 2}}})
	s.Sightings.Flush()
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Evidence.Assess(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if n := assessed(t, s, 1000); n != 300 || count(t, s, "evidence") != 0 || count(t, s, "quiet") != 3 {
		t.Fatalf("%d assessments of 300 entries, in %d and %d rows", n, count(t, s, "evidence"), count(t, s, "quiet"))
	}
	if err := s.Evidence.Write(t.Context(), []evidence.Assessment{{Entry: 1, At: end, Level: evidence.Weak}, {Entry: 200, At: end, Level: evidence.Weak}}); err != nil {
		t.Fatal(err)
	}
	storetest.Script(t, s, `INSERT INTO evidence_change (seq, at, was, level, distributor, facts, text)
		VALUES (2, 1, 'none', 'weak', '', '{}', ''), (300, 1, 'none', 'weak', '', '{}', '');
		DELETE FROM suppression WHERE seq <= 127`)
	rows := count(t, s, "sighting")
	gone, err := s.Evidence.Housekeep(t.Context(), storetest.T0, time.Time{})
	if err != nil || gone != 0 || count(t, s, "sighting") != rows || count(t, s, "evidence") != 2 || count(t, s, "evidence_change") != 4 {
		t.Errorf("nothing is old: %d rows are gone, %v", gone, err)
	}
	gone, err = s.Evidence.Housekeep(t.Context(), end.Add(2*time.Minute), end)
	if err != nil || gone != rows-2 || count(t, s, "sighting") != 2 || count(t, s, "evidence") != 1 || count(t, s, "evidence_change") != 3 || assessed(t, s, 1000) != 173 || count(t, s, "quiet") != 2 {
		t.Errorf("%d of %d rows of sightings are gone, %d are left; %d assessments, %d rows, %d changes, %v", gone, rows, count(t, s, "sighting"), assessed(t, s, 1000), count(t, s, "evidence"), count(t, s, "evidence_change"), err)
	}
	storetest.Script(t, s, `DELETE FROM suppression`)
	if _, err := s.Evidence.Housekeep(t.Context(), end.Add(2*time.Minute), end); err != nil || assessed(t, s, 1000) != 0 {
		t.Errorf("without entries: %d assessments, %v", assessed(t, s, 1000), err)
	}
}

// An assessment that is written again, as after a restart, does not undo a later one, and a change
// is recorded once.
func TestWrittenTwice(t *testing.T) { storetest.EachEngine(t, testWrittenTwice) }

func testWrittenTwice(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	storetest.LogN(t, s, 3)
	at := func(minute int, level evidence.Level, restored bool) evidence.Assessment {
		return evidence.Assessment{Entry: 2, At: storetest.T0.Add(time.Duration(minute) * time.Minute), Level: level, Odds: 3, Facts: evidence.Facts{Restored: restored}}
	}
	night := []evidence.Assessment{at(0, evidence.None, false), at(5, evidence.Weak, false), at(6, evidence.Strong, true), at(7, evidence.Weak, true)}
	var changes []string
	s.Evidence.Changed = func(c assess.Change) { changes = append(changes, fmt.Sprint(c.Was, " ", c.Level, " ", c.Restored)) }
	for range 2 {
		for from := range night {
			if err := s.Evidence.Write(t.Context(), night[from:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	found, err := s.Evidence.Of(t.Context(), []int64{1, 2})
	if err != nil || len(found) != 1 || found[2].Level != evidence.Weak || !found[2].At.Equal(night[3].At) {
		t.Fatalf("%+v %v", found, err)
	}
	var history []string
	for _, h := range found[2].History {
		history = append(history, fmt.Sprint(h.Was, " ", h.Level))
	}
	if want := "none weak, weak strong, strong weak"; strings.Join(history, ", ") != want {
		t.Errorf("history %q, want %q", history, want)
	}
	restored := 0
	for _, c := range changes {
		if strings.HasSuffix(c, "true") {
			restored++
		}
	}
	if restored != 1 {
		t.Errorf("the restoration alert is counted %d times: %q", restored, changes)
	}
	// Nothing speaks for a genuine outage but the restoration alert, which is counted once all the same.
	changes = nil
	for minute := range 3 {
		x := at(minute, evidence.None, true)
		x.Entry = 3
		if err := s.Evidence.Write(t.Context(), []evidence.Assessment{x}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "none none true, none none false, none none false"; strings.Join(changes, ", ") != want {
		t.Errorf("%q, want %q", changes, want)
	}
	list, err := assess.Changes(t.Context(), s.DB, 0, 100, 100)
	if err != nil || len(list) != 3 || list[0].Entry != 2 || list[0].Distributor == "" || list[0].Odds != 3 {
		t.Errorf("%+v %v", list, err)
	}
	for seq, want := range map[int64]int64{1: 0, 2: list[2].ID, 3: list[2].ID} {
		if id, err := assess.LastChange(t.Context(), s.DB, seq); err != nil || id != want {
			t.Errorf("the last change up to entry %d is %d, want %d (%v)", seq, id, want, err)
		}
	}
}

// What is assessed of entries at several times, in batches as they come, is there afterwards: the
// latest of each, whether or not something speaks for a genuine outage. A block that is damaged is as
// if its entries were not assessed, and is written anew.
func TestQuiet(t *testing.T) { storetest.EachEngine(t, testQuiet) }

func testQuiet(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	r := rand.New(rand.NewPCG(1, 2))
	const entries = 400
	want := map[int64]evidence.Assessment{}
	write := func(n int) {
		var batch []evidence.Assessment
		for range n {
			x := evidence.Assessment{Entry: 1 + r.Int64N(entries), At: storetest.T0.Add(time.Duration(r.IntN(3600)) * time.Second), Level: evidence.None, Odds: r.Float64()}
			if r.IntN(20) == 0 {
				x.Level, x.Odds = evidence.Weak, 2
			}
			if have, ok := want[x.Entry]; !ok || !x.At.Before(have.At) {
				want[x.Entry] = x
			}
			batch = append(batch, x)
		}
		if err := s.Evidence.Write(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	check := func(when string) {
		t.Helper()
		list, err := s.Evidence.Assessed(t.Context(), 1, entries)
		if err != nil || len(list) != len(want) {
			t.Fatalf("%s: %d of %d assessments, %v", when, len(list), len(want), err)
		}
		for _, x := range list {
			if w := want[x.Entry]; x.Odds != w.Odds || x.Level != w.Level || !x.At.Equal(w.At) {
				t.Errorf("%s: entry %d is %+v, want %+v", when, x.Entry, x, w)
			}
		}
	}
	for range 20 {
		write(1 + r.IntN(300))
	}
	check("at first")
	if rows := count(t, s, "evidence"); rows == 0 || rows == len(want) {
		t.Errorf("%d of %d entries have a row of their own", rows, len(want))
	}
	storetest.Script(t, s, `UPDATE quiet SET entries = entries || entries WHERE block = 1`)
	maps.DeleteFunc(want, func(seq int64, _ evidence.Assessment) bool {
		var rows int
		if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM evidence WHERE seq = ?`, seq).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		return rows == 0 && 128 <= seq && seq < 256
	})
	check("with a damaged block")
	for range 20 {
		write(1 + r.IntN(300))
	}
	check("afterwards")
}

// After a store was put back entries get other numbers: what was known of the old ones is deleted, and
// they are assessed anew, also by an engine that runs.
func TestForget(t *testing.T) { storetest.EachEngine(t, testForget) }

func testForget(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	night(t, s, 10)
	// They are of now, as Run reads the clock.
	shift := time.Since(storetest.T0).Microseconds()
	storetest.Script(t, s, fmt.Sprintf(`UPDATE suppression SET received_at = received_at + %[1]d, window_start = window_start + %[1]d, window_end = window_end + %[1]d WHERE seq > 2;
		INSERT INTO learned (name, sighting, entry, at, value) VALUES ('models', 0, 1, 1, '{}')`, shift)) // nobody has assessed for long
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() { s.Evidence.Run(ctx); close(ended) }()
	learned := func() (entry int) {
		s.DB.QueryRow(t.Context(), `SELECT entry FROM learned`).Scan(&entry)
		return entry
	}
	storetest.Eventually(t, "all is assessed and learned", func() bool { return assessed(t, s, 10) == 8 && learned() == 10 })
	if err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return errors.Join(tx.Later(ctx, `UPDATE suppression SET seq = seq + 100 WHERE seq > 4`), assess.Forget(ctx, tx, 4))
	}); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the entries are assessed under their new numbers", func() bool {
		found, err := s.Evidence.Of(t.Context(), []int64{4, 5, 105, 110})
		return err == nil && len(found) == 3 && found[5] == nil
	})
	cancel()
	<-ended
}

// Whatever is written where that should be what was learned, entries are assessed.
func TestDamagedLearning(t *testing.T) {
	for _, value := range []string{`{`, `null`, `[]`, `{"models":{"A":null},"rates":[null]}`, `{"models":null,"quiet":null}`} {
		s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
		end := night(t, s, 3)
		storetest.Script(t, s, fmt.Sprintf(`INSERT INTO learned (name, sighting, entry, at, value) VALUES ('models', 0, 0, 1, '%s')`, value))
		if err := s.Evidence.Assess(t.Context(), end); err != nil || assessed(t, s, 3) != 3 {
			t.Errorf("with %s: %d of 3 are assessed, %v", value, assessed(t, s, 3), err)
		}
	}
}

// A node that is not the leader writes nothing.
func TestNotLeader(t *testing.T) { storetest.OnlyPostgres(t, testNotLeader) }

func testNotLeader(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	night(t, s, 3)
	if err := s.Evidence.Assess(t.Context(), storetest.T0.Add(time.Hour)); !errors.Is(err, cluster.ErrNotLeader) {
		t.Error(err)
	}
	if assessed(t, s, 3)+count(t, s, "learned") != 0 {
		t.Error("it has written")
	}
	storetest.MakeLeader(t, s)
	// Before it runs: it does not go back to entries that are too old for it.
	if err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `UPDATE suppression SET received_at = ?`, sqldb.Micros(time.Now()))
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Evidence.Run(ctx); close(ended) }()
	storetest.Eventually(t, "the leader assesses", func() bool {
		return assessed(t, s, 3) == 3 && s.Evidence.Conditions() == nil && s.Evidence.Lag(time.Now()) < time.Minute
	})
	cancel()
	<-ended
}

// Of a hub without an MPAN in its alert, or whose inventory row is of another hub, only what is
// certain counts.
func TestHomes(t *testing.T) {
	if assess.Distributor("12") == assess.Distributor("13") || assess.Distributor("") != 0 {
		t.Error("distributors")
	}
	d := &outage.Device{Manufacturer: "Landis+Gyr", Model: "E470"}
	if m := assess.ModelOf(d); m != "Landis+Gyr E470" {
		t.Error(m)
	}
}

// In a rush of entries nothing is assessed, so that alerts have the machine; afterwards all is.
func TestRush(t *testing.T) { storetest.EachEngine(t, testRush) }

func testRush(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	const display = outage.DeviceID(0x00DB123499999999)
	if err := storetest.ImportRows(t.Context(), s, storetest.DeviceRow(1, 1), fmt.Sprintf("%s,PPMID,,,,%s,1200023305967\n", display, storetest.Hub(1))); err != nil {
		t.Fatal(err)
	}
	night(t, s, 1)
	now := time.Now()
	storetest.Script(t, s, fmt.Sprint(`UPDATE suppression SET received_at = `, sqldb.Micros(now)))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Evidence.Follow(ctx) })
	defer running.Wait()
	defer cancel()
	at := now.Add(time.Second)
	storetest.Eventually(t, "all devices of the home are waited for", func() bool {
		return s.Sightings.Waits(storetest.Hub(1), at) != 0 && s.Sightings.Waits(storetest.Meter(1), at) != 0 && s.Sightings.Waits(display, at) == storetest.Hub(1)
	})
	if s.Evidence.InRush() {
		t.Error("one entry is no rush")
	}
	for n := 1; !s.Evidence.InRush(); n++ {
		storetest.Script(t, s, fmt.Sprintf(`INSERT INTO suppression
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
			SELECT seq + %[1]d + i, CAST(i AS TEXT), alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start + %[1]d, received_at, activation_id, request_id, mode, window_start, window_end,
				throttled_sequence, throttled_count, outcome, started_before, repeated FROM suppression, n WHERE seq = 1`, 10_000*n))
		time.Sleep(100 * time.Millisecond)
	}
	storetest.Eventually(t, "the rush is over", func() bool { return !s.Evidence.InRush() })

	cancel()
	running.Wait()
	storetest.Script(t, s, `DELETE FROM suppression WHERE seq > 1`)
	s.Evidence.SetRush(true)
	s.Evidence.WaitInRush(t.Context(), time.Now()) // one without an end is not waited for
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	running.Go(func() { s.Evidence.Run(ctx) })
	time.Sleep(2 * time.Second)
	if assessed(t, s, 1) != 0 {
		t.Error("an entry is assessed in a rush")
	}
	s.Evidence.SetRush(false)
	storetest.Eventually(t, "the entry is assessed", func() bool { return assessed(t, s, 1) == 1 })
}

// What was assessed while the clock was a year ahead does not keep quell from assessing, and learning,
// when it is right again: neither in the process that did it, nor after a restart.
func TestClockWasAhead(t *testing.T) { storetest.EachEngine(t, testClockWasAhead) }

func testClockWasAhead(t *testing.T) {
	var at atomic.Int64
	now := func() time.Time { return time.UnixMicro(at.Load()) }
	set := func(t time.Time) { at.Store(t.UnixMicro()) }
	set(storetest.T0.Add(6 * time.Minute))
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Now = now }))
	s.Sightings.Enable(true)
	log := func(n int, at time.Time) {
		t.Helper()
		a := storetest.OnDemand(n, 1, at)
		s.Ledger.Record(t.Context(), a)
		s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Ordered, Received: at, Start: at, Home: evidence.Home{Hub: storetest.Hub(n)},
			Meter: storetest.Meter(n), Request: a.RequestID, Form: outage.SignedPreCommand, Tracked: true}})
		s.Sightings.Flush()
		if d := storetest.Decide(t, s, storetest.AD1(n, fmt.Sprint("alert", n), at.Add(5*time.Minute))); d.Entry.Seq != int64(n) {
			t.Fatalf("entry %d: %+v", n, d)
		}
	}
	log(1, storetest.T0)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Evidence.Run(ctx); close(ended) }()
	stop := func() { cancel(); <-ended }
	storetest.Eventually(t, "the first entry is assessed", func() bool { return assessed(t, s, 1) == 1 })
	set(storetest.T0.AddDate(1, 0, 0))
	finals := func(seq int64) bool {
		found, err := s.Evidence.Of(t.Context(), []int64{seq})
		return err == nil && len(found) == 1 && found[seq].Stage == "final"
	}
	storetest.Eventually(t, "it is final, a year later", func() bool { return finals(1) })
	set(storetest.T0.Add(10 * time.Minute))
	log(2, storetest.T0.Add(2*time.Minute))
	storetest.Eventually(t, "the next entry is assessed", func() bool { return assessed(t, s, 2) == 2 })
	set(storetest.T0.Add(25 * time.Minute))
	storetest.Eventually(t, "the first is not final any more", func() bool { return !finals(1) })
	stop()
	set(storetest.T0.Add(3 * time.Hour))
	log(3, storetest.T0.Add(2*time.Hour))
	if err := s.Evidence.Assess(t.Context(), now()); err != nil || assessed(t, s, 3) != 3 {
		t.Errorf("after a restart %d of 3 are assessed, %v", assessed(t, s, 3), err)
	}
	learned, err := s.Evidence.Learned(t.Context())
	if err != nil || learned.Until.After(now()) {
		t.Errorf("it learns from %v on, %v", learned.Until, err)
	}
	if b := learned.Models[""]; b == nil || b.Activations < 3 {
		t.Errorf("learned %+v", b)
	}
}

// BenchmarkAssess assesses 2,000 entries of a night, with 2,000 alerts that passed, until all are
// final.
func BenchmarkAssess(b *testing.B) {
	const n = 2000
	s := storetest.MakeLeader(b, storetest.Open(b, b.TempDir()))
	end := night(b, s, n).Add(25 * time.Hour)
	for b.Loop() {
		storetest.Script(b, s, `DELETE FROM evidence; DELETE FROM quiet; DELETE FROM learned`)
		if err := s.Evidence.Assess(b.Context(), storetest.T0.Add(30*time.Second)); err != nil {
			b.Fatal(err)
		}
		if err := s.Evidence.Assess(b.Context(), end); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/entry")
}

// A cancellation, and a request that takes the place of others, say of what is pending then that it
// did not run: not of what has begun, of other meters, or of a Service Request, which reaches no
// meter.
func TestOrders(t *testing.T) {
	const meter, another = outage.DeviceID(7), outage.DeviceID(8)
	id := func(m outage.DeviceID, n uint64) outage.RequestID {
		return outage.RequestID{Originator: 1, Target: m, Counter: n}
	}
	at := func(minute int) time.Time { return storetest.T0.Add(time.Duration(minute) * time.Minute) }
	ordered := func(m outage.DeviceID, n uint64, received, start int, form outage.Form) evidence.Sighting {
		return evidence.Sighting{Kind: evidence.Ordered, Received: at(received), Meter: m, Request: id(m, n), Form: form, Start: at(start)}
	}
	var o assess.Orders
	notRun := func(s evidence.Sighting) (list []uint64) {
		for _, x := range o.Resolve(s) {
			if x.Kind == evidence.NotRun {
				if x.Meter != s.Meter || !x.Received.Equal(s.Received) || x.Why == "" {
					t.Errorf("%+v", x)
				}
				list = append(list, x.Request.Counter)
			}
		}
		return list
	}
	cancel := func(m outage.DeviceID, received int) evidence.Sighting {
		return evidence.Sighting{Kind: evidence.NotRun, Received: at(received), Meter: m, Why: "it was cancelled"}
	}
	for i, step := range []struct {
		s    evidence.Sighting
		want []uint64
	}{
		{ordered(meter, 1, 0, 60, outage.SignedPreCommand), nil},
		{ordered(another, 2, 0, 60, outage.SignedPreCommand), nil},
		{ordered(meter, 3, 1, 60, outage.ServiceRequest), nil},
		{ordered(meter, 4, 2, 90, outage.SignedPreCommand), []uint64{1}},
		{ordered(meter, 4, 3, 90, outage.SignedPreCommand), nil}, // the same again
		{cancel(meter, 4), []uint64{4}},
		{cancel(meter, 5), nil},
		{cancel(another, 60), nil}, // it has begun
		{ordered(meter, 5, 6, 6, outage.SignedPreCommand), nil},
		{cancel(meter, 7), nil},
		{ordered(meter, 6, 8, 60, outage.SignedPreCommand), nil},
		{ordered(meter, 7, 9, 9, outage.SignedPreCommand), []uint64{6}}, // on demand takes its place too
	} {
		if have := notRun(step.s); fmt.Sprint(have) != fmt.Sprint(step.want) {
			t.Errorf("step %d: %v did not run, want %v", i, have, step.want)
		}
	}
}

// If the store does not answer, how many hubs there are in an area is not known. It is not none.
func TestHubsNotCounted(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	storetest.Script(t, s, `ALTER TABLE inventory RENAME TO elsewhere`)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if n := s.Evidence.HubsIn(ended)(assess.Distributor("12")); n != -1 {
			t.Errorf("%d hubs of a distributor", n)
		}
		if n := s.Evidence.HubsIn(t.Context())(7); n != -1 {
			t.Errorf("%d hubs", n)
		}
	}
	storetest.Script(t, s, `ALTER TABLE elsewhere RENAME TO inventory`)
	if n := s.Evidence.HubsIn(t.Context())(assess.Distributor("12")); n != 0 {
		t.Errorf("%d hubs of a distributor that has none", n)
	}
}

// While the store refuses what is found, each try begins where the one before has ended. No entry is
// left out by that.
func TestWriteFails(t *testing.T) {
	const n = 3100 // more than are written at once, and some in the second after these
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.Now = func() time.Time { return storetest.T0.Add(2 * time.Minute) }
	}))
	s.Sightings.Enable(true)
	for i := range n {
		s.Ledger.Record(t.Context(), storetest.OnDemand(i+1, 1, storetest.T0))
	}
	for i := range n {
		storetest.Decide(t, s, storetest.AD1(i+1, fmt.Sprint("alert", i), storetest.T0.Add(time.Duration(i)*time.Millisecond)))
	}
	storetest.Script(t, s, `CREATE TRIGGER refused BEFORE INSERT ON quiet BEGIN SELECT raise(ABORT, 'refused'); END`)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Evidence.Run(ctx); close(ended) }()
	defer func() { cancel(); <-ended }()
	storetest.Eventually(t, "the store refuses", func() bool { return len(s.Evidence.Conditions()) == 1 })
	storetest.Script(t, s, `DROP TRIGGER refused`)
	storetest.Eventually(t, "it is assessed again", func() bool { return len(s.Evidence.Conditions()) == 0 })
	if got := assessed(t, s, n); got != n {
		t.Errorf("%d of %d entries are assessed", got, n)
	}
}

// Where a meter was replaced, the inventory may have the old one too, at the same supply point and on the hub of
// then. An AD1 is of the home whose hub sent it.
func TestMeterReplaced(t *testing.T) { storetest.EachEngine(t, testMeterReplaced) }

func testMeterReplaced(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	s.Sightings.Enable(true)
	text := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,postcode\n"
	for _, x := range []struct {
		meter, hub int
		mpxn       string
	}{
		{1, 1, "1200023305967"},
		{2, 2, "1012345678903"}, {9, 12, "1012345678903"}, // the meter of hub 2 has the lower id
		{8, 3, "1012345678912"}, {4, 13, "1012345678912"}, // that of hub 3 has the higher one
	} {
		text += fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,%s,SW1A 1AA\n", storetest.Meter(x.meter), storetest.Hub(x.hub), x.mpxn)
	}
	if err := storetest.ImportInventory(t.Context(), s, text); err != nil {
		t.Fatal(err)
	}
	at := storetest.T0.Add(5 * time.Minute)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	a := storetest.AD1(1, "alert", at)
	a.OutageStart = at.Add(-3 * time.Minute)
	storetest.Decide(t, s, a)
	for hub, mpan := range map[int]string{2: "1012345678903", 3: "1012345678912"} {
		if _, ok := outage.DistributorOf(mpan); !ok {
			t.Fatal(mpan)
		}
		s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: at, Home: evidence.Home{Hub: storetest.Hub(hub)}, Start: a.OutageStart}, MPAN: mpan})
	}
	s.Sightings.Flush()
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Evidence.Assess(t.Context(), at.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	list, err := s.Evidence.Assessed(t.Context(), 1, 1)
	if err != nil || len(list) != 1 || list[0].Facts.Postcode.K != 2 {
		t.Errorf("%+v %v: 2 neighbours lost power", list, err)
	}
}
