package ledger_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/passed"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// pass notes that AD1(n, id) passed, as the motorway does.
func pass(s *store.Store, n int, id string) {
	s.Ledger.NotePassed([]byte(id), storetest.Hub(n), storetest.OutageOf(id), storetest.T0, outage.ReasonNoWindow)
}

// passedRows returns how many rows of notes the database has.
func passedRows(t testing.TB, s *store.Store) (n int) {
	t.Helper()
	if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM passed`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func isForwardedRetry(t testing.TB, s *store.Store, n int, id string, want outage.Reason) {
	t.Helper()
	if d := storetest.Decide(t, s, storetest.AD1(n, id, storetest.T0.Add(time.Minute))); d.Outcome != outage.Forwarded || d.Reason != want || !d.Retry {
		t.Errorf("the retry of %s: %+v", id, d)
	}
}

// An alert passed since its hub had no window. A window opens, and the alert is sent again. It
// passes: before its note is written and after, after a restart, and at another node. Its note is
// not a row of its own.
func TestPassedRetry(t *testing.T) { storetest.EachEngine(t, testPassedRetry) }

func testPassedRetry(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	const notes = 2000
	pass(s, 1, "early")
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	isForwardedRetry(t, s, 1, "early", outage.ReasonNoWindow)
	for n := range notes {
		pass(s, 1000+n, fmt.Sprint("alert ", n))
	}
	storetest.Eventually(t, "the notes are written", func() bool {
		var bytes int
		err := s.DB.QueryRow(t.Context(), `SELECT coalesce(sum(length(notes)), 0) FROM passed`).Scan(&bytes)
		return err == nil && bytes >= 12*notes
	})
	if rows := passedRows(t, s); rows > 50 {
		t.Errorf("%d notes are in %d rows", notes, rows)
	}
	if list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(1000)}, 10); err != nil || len(list) > 0 {
		t.Errorf("rows with ids: %v %v", list, err)
	}
	open := func(s *store.Store, n int) {
		t.Helper()
		s.Ledger.Record(t.Context(), storetest.OnDemand(1000+n, 1, storetest.T0))
		isForwardedRetry(t, s, 1000+n, fmt.Sprint("alert ", n), outage.ReasonNoWindow)
		if d := storetest.Decide(t, s, storetest.AD1(1000+n, "another", storetest.T0.Add(time.Minute))); d.Outcome != outage.Suppressed {
			t.Errorf("another alert of that hub: %+v", d)
		}
	}
	open(s, 0)
	if storetest.OnPostgres(t) {
		open(storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = storetest.Database(t, dir) }), 1)
	}
	s.Close()
	s = storetest.Open(t, dir)
	for n := 2; n < notes; n += 200 {
		open(s, n)
	}
	isForwardedRetry(t, s, 1, "early", outage.ReasonNoWindow)
	s.Close()
}

// While an alert passes, a window of its hub opens, and a retry is suppressed before the note is
// there. Then the entry is corrected, since the alert was delivered.
func TestPassedMeetsWindow(t *testing.T) { storetest.EachEngine(t, testPassedMeetsWindow) }

func testPassedMeetsWindow(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	if d := storetest.Decide(t, s, storetest.AD1(1, "x", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	pass(s, 1, "x")
	storetest.Eventually(t, "the entry is corrected", func() bool { return storetest.Outcomes(t, s)["x"] == outage.Forwarded })
	isForwardedRetry(t, s, 1, "x", outage.ReasonNoWindow)
}

// What waits when the store is closed is written.
func TestPassedClose(t *testing.T) { storetest.EachEngine(t, testPassedClose) }

func testPassedClose(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	pass(s, 1, "a")
	s.Close()
	s = storetest.Open(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	isForwardedRetry(t, s, 1, "a", outage.ReasonNoWindow)
}

// Two alerts have the same key. The second one goes forward. If it was suppressed before, its
// entry is corrected.
func TestPassedCollision(t *testing.T) { storetest.EachEngine(t, testPassedCollision) }

func testPassedCollision(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	collide := func(id string) { // with an alert that was noted elsewhere
		note := passed.NoteOf(new(storetest.AD1(1, id, storetest.T0)), outage.ReasonSwitchedOff)
		s.Ledger.Passed.Hold(&note)
	}
	collide("new")
	isForwardedRetry(t, s, 1, "new", outage.ReasonSwitchedOff)
	if d := storetest.Decide(t, s, storetest.AD1(1, "old", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	collide("old")
	isForwardedRetry(t, s, 1, "old", outage.ReasonSwitchedOff)
	storetest.Eventually(t, "the entry is corrected", func() bool { return storetest.Outcomes(t, s)["old"] == outage.Forwarded })
	if list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(1)}, 10); err != nil || len(list) != 2 {
		t.Errorf("the notes with ids: %v %v", list, err)
	}
}

// copyFolder copies the files of a store as they are, as after a crash.
func copyFolder(t *testing.T, from string) (to string) {
	t.Helper()
	to = t.TempDir()
	for _, name := range []string{"quell.db", "quell.db-wal", "pending"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// The process is killed. What was written is found after the restart: in the database, and while
// that did not answer, in the journal.
func TestPassedKill(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	pass(s, 1, "in the database")
	storetest.Eventually(t, "the note is written", func() bool { return passedRows(t, s) == 1 })
	release := storetest.HoldWriteLock(t, dir)
	pass(s, 1, "in the journal")
	storetest.Eventually(t, "the note is in the journal", func() bool { return s.Ledger.Pending() == 1 })
	after := storetest.Open(t, copyFolder(t, dir))
	release()
	for i, s := range []*store.Store{after, s} {
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
		isForwardedRetry(t, s, 1, "in the database", outage.ReasonNoWindow)
		isForwardedRetry(t, s, 1, "in the journal", outage.ReasonNoWindow)
		storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 })
		if n := passedRows(t, s); n != 2 {
			t.Errorf("%d: %d rows", i, n)
		}
	}
}

// While the database does not answer, notes go into the journal, and then into the database.
func TestPassedOutage(t *testing.T) { storetest.EachEngine(t, testPassedOutage) }

func testPassedOutage(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	release := storetest.HoldWriteLock(t, dir)
	const notes = 3000
	for n := range notes {
		pass(s, n, fmt.Sprint(n))
	}
	storetest.Eventually(t, "the notes are in the journal", func() bool { return s.Ledger.Pending() > 0 })
	release()
	storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 })
	s.Close()
	s = storetest.Open(t, dir)
	for n := 0; n < notes; n += 300 {
		s.Ledger.Record(t.Context(), storetest.OnDemand(n, 1, storetest.T0))
		isForwardedRetry(t, s, n, fmt.Sprint(n), outage.ReasonNoWindow)
	}
}

// If the journal cannot be written either, notes wait, and are written when the database answers
// again.
func TestPassedWait(t *testing.T) {
	dir := t.TempDir()
	var file storetest.JournalFile
	s := storetest.Open(t, dir, file.Use)
	release := storetest.HoldWriteLock(t, dir)
	file.Break()
	defer file.Repair()
	pass(s, 1, "first") // it is in the journal's memory, and shows that the file fails
	storetest.Eventually(t, "the journal is in memory", func() bool { held, _ := s.Ledger.JournalInMemory(); return held == 1 })
	const notes = 3000
	for n := range notes {
		pass(s, n, fmt.Sprint(n))
	}
	time.Sleep(2500 * time.Millisecond) // the writer waits a second for the lock: two tries fail
	if held, lost := s.Ledger.JournalInMemory(); held != 1 || lost != 0 {
		t.Errorf("%d records are in the journal's memory, %d lost", held, lost)
	}
	release()
	storetest.Eventually(t, "the notes are written", func() (all bool) {
		err := s.DB.QueryRow(t.Context(), `SELECT coalesce(sum(length(notes)), 0) = ? FROM passed`, 12*(notes+1)).Scan(&all)
		return err == nil && all
	})
	if list := s.Ledger.Conditions(); len(list) > 1 { // the file is still broken
		t.Errorf("conditions: %q", list)
	}
}

// insertNotes writes rows with n notes of alerts that passed at a time, and the id of the first.
func insertNotes(t testing.TB, s *store.Store, n int, first int, at time.Time) {
	t.Helper()
	var notes []byte
	for i := range n {
		note := passed.NoteOf(new(storetest.AD1(1, fmt.Sprint("note ", first+i), at)), outage.ReasonNoWindow)
		notes = passed.Append(notes, &note)
	}
	if err := s.DB.Do(t.Context(), sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error { return passed.Insert(ctx, tx, notes) }); err != nil {
		t.Fatal(err)
	}
}

func wasPassed(notes *passed.Notes, id string) bool {
	_, ok := notes.Of(passed.Key(id, storetest.Hub(1), storetest.OutageOf(id)))
	return ok
}

// Housekeeping merges the rows of notes, and deletes old ones. A node that follows and is behind
// misses none, wherever it is. Nor does one that starts.
func TestPassedHousekeep(t *testing.T) { storetest.EachEngine(t, testPassedHousekeep) }

func testPassedHousekeep(t *testing.T) {
	dir := t.TempDir()
	s := storetest.MakeLeader(t, storetest.Open(t, dir))
	second, err := sqldb.Open(sqldb.Options{Path: filepath.Join(dir, "quell.db"), Address: storetest.Database(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)
	second.SetReady()
	const rows, perHour = 1300, 150 // more than two pages
	at := func(n int) time.Time { return storetest.T0.Add(time.Duration(n) * time.Hour / perHour) }
	var followers []*passed.Notes
	follow := func(f *passed.Notes) {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = f.Follow(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := 0
	for n := range rows {
		if n%100 == 0 {
			followers = append(followers, passed.New(second, passed.Options{}))
			follow(followers[len(followers)-1])
		}
		insertNotes(t, s, 1+n%3*30, first, at(n))
		first += 1 + n%3*30
	}
	notesBefore := func(row int) (n int) {
		for i := range row {
			n += 1 + i%3*30
		}
		return n
	}
	housekeep(t, s, store.Limits{})
	few := passedRows(t, s)
	housekeep(t, s, store.Limits{})
	if again := passedRows(t, s); again != few || few > rows/3 {
		t.Errorf("%d rows are merged to %d, and then to %d", rows, few, again)
	}
	insertNotes(t, s, 1, first, at(rows))
	for i, f := range append(followers, passed.New(second, passed.Options{})) {
		follow(f)
		for n := range first + 1 {
			if !wasPassed(f, fmt.Sprint("note ", n)) {
				t.Fatalf("the node that was at row %d misses note %d of %d", i*100, n, first+1)
			}
		}
	}

	// A row is deleted when all of it is old.
	before := at(rows / 2).Truncate(time.Hour)
	old := notesBefore(int(before.Sub(storetest.T0) / (time.Hour / perHour)))
	housekeep(t, s, store.Limits{NotesBefore: before})
	fresh := passed.New(second, passed.Options{})
	follow(fresh)
	if fresh.Len() != first+1-old || wasPassed(fresh, fmt.Sprint("note ", old-1)) || !wasPassed(fresh, fmt.Sprint("note ", old)) {
		t.Errorf("%d notes are left of %d, want %d fewer", fresh.Len(), first+1, old)
	}
	f := followers[0]
	f.Expire(before)
	if f.Len() != fresh.Len() {
		t.Errorf("%d notes are left in memory, %d in the database", f.Len(), fresh.Len())
	}
	housekeep(t, s, store.Limits{NotesBefore: at(rows + 1).Add(time.Minute)})
	if n := passedRows(t, s); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	follow(f) // all rows are gone: it begins again
	insertNotes(t, s, 1, -1, at(rows))
	follow(f)
	if !wasPassed(f, "note -1") {
		t.Error("a note after all were deleted is not found")
	}
}

// Rows that an earlier version wrote for hubs without windows are deleted with the notes. Those of
// hubs that have a request or an entry, and those with other reasons, are kept as long as the log.
func TestPassedOfEarlierVersion(t *testing.T) { storetest.EachEngine(t, testPassedOfEarlierVersion) }

func testPassedOfEarlierVersion(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	const old = 2*ledger.HousekeepBatch + 7
	for n := range old {
		s.Ledger.NoteForwarded(storetest.Noted(100+n, fmt.Sprint("old ", n), storetest.T0.Add(time.Duration(n/5)), []outage.Reason{outage.ReasonNoWindow, outage.ReasonSwitchedOff}[n%2]))
		s.Ledger.NoteForwarded(storetest.Noted(1, fmt.Sprint("known ", n), storetest.T0.Add(time.Duration(n)), outage.ReasonNoWindow))
	}
	s.Ledger.NoteForwarded(storetest.Noted(2, "other", storetest.T0, outage.ReasonStoreUnavailable))
	s.Ledger.NoteForwarded(storetest.Noted(2, "young", storetest.T0.Add(time.Hour), outage.ReasonNoWindow))
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "all are written", func() bool {
		var n int
		return s.DB.QueryRow(t.Context(), `SELECT count(*) FROM forwarded`).Scan(&n) == nil && n == 2*old+2
	})
	h, err := s.Housekeep(t.Context(), store.Limits{NotesBefore: storetest.T0.Add(time.Hour)})
	if err != nil || h.Notes != old {
		t.Errorf("deleted %+v %v", h, err)
	}
	for id, want := range map[string]int{"old 0": 0, fmt.Sprint("old ", old-1): 0, "known 0": 1, fmt.Sprint("known ", old-1): 1, "other": 1, "young": 1} {
		if list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{AlertID: id}, 10); err != nil || len(list) != want {
			t.Errorf("%s: %d rows, want %d (%v)", id, len(list), want, err)
		}
	}
}

// After housekeeping a note takes 32 bytes of the file at most, whatever the rate is.
func TestPassedSize(t *testing.T) {
	for _, c := range []struct {
		name       string
		each, rows int // notes in a row
		between    time.Duration
	}{
		{"one an hour", 1, 2000, time.Hour},
		{"one a minute", 1, 5000, time.Minute},
		{"one a second", 1, 10_000, time.Second},
		{"1,000 a second", 100, 2000, 100 * time.Millisecond},
		{"1,700 a second", 170, 1500, 100 * time.Millisecond}, // rows of half a page
		{"20,000 a second", 2000, 100, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := storetest.Open(t, t.TempDir())
			used := func() (n int) {
				t.Helper()
				if err := s.DB.QueryRow(t.Context(), `SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			empty, first := used(), 0
			notes := make([][]byte, c.rows)
			for n := range notes {
				for range c.each {
					note := passed.NoteOf(new(storetest.AD1(1, fmt.Sprint("note ", first), storetest.T0.Add(time.Duration(n)*c.between))), outage.ReasonNoWindow)
					notes[n] = passed.Append(notes[n], &note)
					first++
				}
			}
			if err := s.DB.Do(t.Context(), sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error {
				// Long ids, as after some years.
				if err := tx.Later(ctx, `INSERT INTO passed (id, minute, notes) VALUES (300000000, 0, ?)`, []byte{}); err != nil {
					return err
				}
				for _, some := range notes {
					if err := passed.Insert(ctx, tx, some); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			before := used() - empty
			housekeep(t, s, store.Limits{})
			each := float64(used()-empty) / float64(first)
			t.Logf("%.1f bytes for each of %d notes, %.1f before housekeeping, %d rows", each, first, float64(before)/float64(first), passedRows(t, s))
			if each > 32 {
				t.Error("more than 32")
			}
		})
	}
}

// A node passes an alert of a hub whose window it does not know yet. Another node has suppressed
// it: the entry is corrected.
func TestPassedAtAnotherNode(t *testing.T) { storetest.OnlyPostgres(t, testPassedAtAnotherNode) }

func testPassedAtAnotherNode(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	a, b := list[0], list[1]
	a.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	if d := storetest.Decide(t, a, storetest.AD1(1, "x", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	pass(b, 1, "x")
	pass(b, 2, "no window anywhere")
	storetest.Eventually(t, "the entry is corrected", func() bool { return storetest.Outcomes(t, a)["x"] == outage.Forwarded })
	isForwardedRetry(t, a, 1, "x", outage.ReasonNoWindow)
	if list, err := a.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(2)}, 10); err != nil || len(list) > 0 {
		t.Errorf("a row with the id of the other: %+v %v", list, err)
	}
	notes, err := a.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{AlertID: "x"}, 10)
	if err != nil || len(notes) != 1 || notes[0].CHF != storetest.Hub(1) {
		t.Errorf("the note with its id: %+v %v", notes, err)
	}
}

// A node decides at once by what other nodes have noted and committed, though it has not followed
// them yet: alone, and in a batch of which it expects that all is suppressed.
func TestPassedAMomentAgo(t *testing.T) { storetest.OnlyPostgres(t, testPassedAMomentAgo) }

func testPassedAMomentAgo(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	a, b := list[0], list[1]
	b.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	for n := range 20 {
		hub, id := 10+n, fmt.Sprint("retry ", n)
		if n%2 == 0 {
			if d := storetest.Decide(t, b, storetest.AD1(1, fmt.Sprint("suppressed ", n), storetest.T0)); d.Outcome != outage.Suppressed {
				t.Fatalf("%+v", d)
			}
		}
		pass(a, hub, id)
		storetest.Eventually(t, "the note is written", func() bool { return passedRows(t, a) == n+1 })
		b.Ledger.Record(t.Context(), storetest.OnDemand(hub, 1, storetest.T0))
		if d := storetest.Decide(t, b, storetest.AD1(hub, id, storetest.T0.Add(time.Minute))); d.Outcome != outage.Forwarded || !d.Retry {
			t.Errorf("%s: %+v", id, d)
		}
		if got := storetest.Outcomes(t, b)[id]; got != "" && got != outage.Forwarded {
			t.Errorf("%s is in the log as %s", id, got)
		}
	}
}

// Until the notes are read after a start, no alert is suppressed that was not before. What goes
// forward then stays so.
func TestPassedNotRead(t *testing.T) { storetest.EachEngine(t, testPassedNotRead) }

func testPassedNotRead(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	storetest.Decide(t, s, storetest.AD1(1, "before", storetest.T0))
	storetest.Script(t, s, `ALTER TABLE passed RENAME TO hidden`)
	s.Close()
	s, err := store.Start(store.Options{Dir: dir, Database: storetest.Database(t, dir), Node: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-s.Ledger.Filled()
	if list := s.Conditions(); len(list) != 1 || list[0] != "the notes of passed alerts are being read: no alert is suppressed" || s.Started() {
		t.Errorf("conditions: %q, started: %v", list, s.Started())
	}
	for _, c := range []struct {
		id     string
		at     time.Time
		want   outage.Outcome
		reason outage.Reason
		retry  bool
	}{
		{"before", storetest.T0, outage.Suppressed, outage.ReasonWindowOpen, true},
		{"meanwhile", storetest.T0, outage.Forwarded, outage.ReasonStoreUnavailable, false},
		{"meanwhile", storetest.T0, outage.Forwarded, outage.ReasonStoreUnavailable, true},
		{"late", storetest.T0.Add(time.Hour), outage.Forwarded, outage.ReasonWindowOver, false},
	} {
		if d := storetest.Decide(t, s, storetest.AD1(1, c.id, c.at)); d.Outcome != c.want || d.Reason != c.reason || d.Retry != c.retry {
			t.Errorf("%s: %+v", c.id, d)
		}
	}
	if n := len(storetest.Entries(t, s)); n != 1 {
		t.Errorf("%d entries", n)
	}
	storetest.Script(t, s, `ALTER TABLE hidden RENAME TO passed`)
	storetest.Eventually(t, "the notes are read", s.Started)
	isForwardedRetry(t, s, 1, "meanwhile", outage.ReasonStoreUnavailable)
	if d := storetest.Decide(t, s, storetest.AD1(1, "after", storetest.T0)); d.Outcome != outage.Suppressed || len(s.Conditions()) > 0 {
		t.Errorf("%+v, conditions: %q", d, s.Conditions())
	}
}

var id = []byte("88-73-84-57-00-2F-96-1E:90-B3-D5-1F-30-02-00-00:12345")

// What noting an alert that passed costs the message.
func BenchmarkNotePassed(b *testing.B) {
	s := storetest.Open(b, b.TempDir(), func(o *store.Options) { o.Log = nil })
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		s.Ledger.NotePassed(id, storetest.Hub(n), storetest.T0, storetest.T0, outage.ReasonNoWindow)
	}
}

// How long a node with 10,000,000 notes reads them after a start.
func BenchmarkLoadNotes(b *testing.B) {
	dir := b.TempDir()
	s := storetest.Open(b, dir, func(o *store.Options) { o.Log = nil })
	const notes, each = 10_000_000, 100_000
	for first := 0; first < notes; first += each {
		var some []byte
		for n := range each {
			some = passed.Append(some, &passed.Note{AlertID: "note", CHF: storetest.Hub(first + n), OutageStart: storetest.T0, Received: storetest.T0, Reason: outage.ReasonNoWindow})
		}
		if err := s.DB.Do(b.Context(), sqldb.Background, func(ctx context.Context, tx sqldb.Tx) error { return passed.Insert(ctx, tx, some) }); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	for b.Loop() {
		s := storetest.Open(b, dir, func(o *store.Options) { o.Log = nil })
		if n := s.Ledger.Passed.Len(); n != notes {
			b.Fatal(n)
		}
		s.Close()
	}
}
