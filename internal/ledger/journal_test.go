package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// openStalled opens a store whose first batch of decisions stops before its commit, until
// release is called.
func openStalled(t *testing.T, dir string) (s *store.Store, reached chan struct{}, release func()) {
	reached, gate := make(chan struct{}), make(chan struct{})
	first := true
	s = storetest.Open(t, dir, func(o *store.Options) {
		o.BeforeCommit = func() {
			if first {
				first = false
				close(reached)
				<-gate
			}
		}
	})
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release) // before the store is closed
	return s, reached, release
}

func TestTimeoutAtTheWorstMoment(t *testing.T) { storetest.EachEngine(t, testTimeoutAtTheWorstMoment) }

func testTimeoutAtTheWorstMoment(t *testing.T) {
	dir := t.TempDir()
	s, reached, release := openStalled(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	_, err := s.Ledger.Decide(storetest.Short(t), storetest.AD1(1, "a", storetest.T0), outage.Suppressed, 0)
	if !errors.Is(err, sqldb.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	<-reached // the entry is written, but not committed
	if s.Ledger.Pending() != 1 {
		t.Fatalf("the journal holds %d records", s.Ledger.Pending())
	}
	release()
	storetest.Eventually(t, "played", func() bool { return s.Ledger.Pending() == 0 })
	if got := storetest.Outcomes(t, s)["a"]; got != outage.Forwarded {
		t.Fatalf("the log says %s for an alert that was delivered", got)
	}
	if d := storetest.Decide(t, s, storetest.AD1(1, "a", storetest.T0.Add(time.Minute))); d.Outcome != outage.Forwarded || d.Reason != outage.ReasonStoreUnavailable {
		t.Fatalf("its retry: %+v", d)
	}
	if info, err := os.Stat(filepath.Join(dir, "pending")); err != nil || info.Size() != 0 {
		t.Errorf("the journal was not emptied: %v %v", info.Size(), err)
	}
}

// The process is killed after the commit of a decision that was abandoned, and before its
// correction. The next process finds the folder as it is then.
func TestDeathBetweenCommitAndCorrection(t *testing.T) {
	storetest.EachEngine(t, testDeathBetweenCommitAndCorrection)
}

func testDeathBetweenCommitAndCorrection(t *testing.T) {
	dir := t.TempDir()
	s, reached, release := openStalled(t, dir)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	if _, err := s.Ledger.Decide(storetest.Short(t), storetest.AD1(1, "a", storetest.T0), outage.Suppressed, 0); err == nil {
		t.Fatal("no time-out")
	}
	<-reached
	journal, err := os.ReadFile(filepath.Join(dir, "pending"))
	if err != nil || len(journal) == 0 {
		t.Fatal("the alert went forward before it was in the journal", err)
	}
	release()
	storetest.Eventually(t, "committed and corrected", func() bool { return s.Ledger.Pending() == 0 })
	s.Close()
	// Undo the correction, as if it had not been made.
	s = storetest.Open(t, dir)
	storetest.Script(t, s, `UPDATE suppression SET outcome = 'suppressed'; DELETE FROM forwarded`)
	s.Close()
	for range 2 { // the second time it is played again
		if err := os.WriteFile(filepath.Join(dir, "pending"), journal, 0o600); err != nil {
			t.Fatal(err)
		}
		s = storetest.Open(t, dir)
		storetest.Eventually(t, "played", func() bool { return s.Ledger.Pending() == 0 })
		if got := storetest.Outcomes(t, s); len(got) != 1 || got["a"] != outage.Forwarded {
			t.Fatal(got)
		}
		s.Close()
	}
}

func TestStoreDown(t *testing.T) { storetest.EachEngine(t, testStoreDown) }

func testStoreDown(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	release := storetest.HoldWriteLock(t, dir)
	if r := s.Ledger.Record(storetest.Short(t), storetest.OnDemand(1, 1, storetest.T0)); !r.Remembered {
		t.Fatal(r)
	}
	refused := storetest.OnDemand(2, 1, storetest.T0)
	s.Ledger.Record(storetest.Short(t), refused)
	s.Ledger.RecordAnswer(storetest.Short(t), refused, outage.Withdrawn)
	if !s.Ledger.MayHaveWindow(storetest.Hub(1)) || !s.Ledger.MayHaveWindow(storetest.Hub(2)) {
		t.Fatal("a window in the journal does not count at once")
	}
	if _, err := s.Ledger.Decide(storetest.Short(t), storetest.AD1(1, "a", storetest.T0), outage.Suppressed, 0); !errors.Is(err, sqldb.ErrUnavailable) {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the store counts as unavailable", func() bool { return !s.DB.Available() })
	release()
	// The next decision is made after the journal is played.
	if d := storetest.Decide(t, s, storetest.AD1(1, "b", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	if d := storetest.Decide(t, s, storetest.AD1(1, "a", storetest.T0)); d.Outcome != outage.Forwarded {
		t.Fatalf("the retry of a forwarded alert: %+v", d)
	}
	if d := storetest.Decide(t, s, storetest.AD1(2, "c", storetest.T0)); d.Reason != outage.ReasonWindowWithdrawn {
		t.Fatalf("an alert in the window of the refused request: %+v", d)
	}
	if !s.DB.Available() || s.Ledger.Pending() != 0 {
		t.Error("the store still counts as unavailable, or the journal is not played")
	}
}

// What the journal holds at a restart is played before the first decision. An incomplete last
// line is removed. Playing the journal twice changes nothing.
func TestJournalAcrossRestart(t *testing.T) { storetest.EachEngine(t, testJournalAcrossRestart) }

func testJournalAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	release := storetest.HoldWriteLock(t, dir)
	s.Ledger.Record(storetest.Short(t), storetest.OnDemand(1, 1, storetest.T0))
	refused := storetest.OnDemand(2, 1, storetest.T0)
	s.Ledger.Record(storetest.Short(t), refused)
	s.Ledger.RecordAnswer(storetest.Short(t), refused, outage.Withdrawn)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.Ledger.RecordUnresolved(ended, storetest.OnDemand(3, 1, storetest.T0), outage.Manufacturers{"Landis+Gyr"}, nil, false)
	text, err := os.ReadFile(filepath.Join(dir, "pending"))
	if err != nil {
		t.Fatal(err)
	}
	release()
	s.Close()

	fresh := t.TempDir()
	var before []outage.Activation
	for i := range 3 {
		if i < 2 {
			os.WriteFile(filepath.Join(fresh, "pending"), append(text, text[:len(text)/7]...), 0o600)
		}
		s := storetest.Open(t, fresh)
		if d := storetest.Decide(t, s, storetest.AD1(1, "a", storetest.T0)); d.Outcome != outage.Suppressed {
			t.Fatalf("start %d: %+v", i, d)
		}
		if s.Ledger.MayHaveWindow(storetest.Hub(9)) {
			t.Error("any hub may still have a window")
		}
		after, err := s.Windows.Activations(t.Context(), windows.Filter{CHF: storetest.Hub(1), ESME: storetest.Meter(2), RequestID: storetest.OnDemand(3, 1, storetest.T0).RequestID}, 10)
		if err != nil || len(after) != 2 || i > 0 && (before[0] != after[0] || before[1] != after[1]) {
			t.Fatalf("start %d: %+v %v", i, after, err)
		}
		before = after
		s.Close()
	}
}

func TestJournalUnwritable(t *testing.T) { storetest.EachEngine(t, testJournalUnwritable) }

func testJournalUnwritable(t *testing.T) {
	dir := t.TempDir()
	var file storetest.JournalFile
	s := storetest.Open(t, dir, file.Use)
	release := storetest.HoldWriteLock(t, dir)
	file.Break()
	s.Ledger.Record(storetest.Short(t), storetest.OnDemand(1, 1, storetest.T0))
	if held, _ := s.Ledger.JournalInMemory(); s.Ledger.Pending() != 1 || held != 1 {
		t.Fatalf("%d records, %d in memory", s.Ledger.Pending(), held)
	}
	release()
	if d := storetest.Decide(t, s, storetest.AD1(1, "b", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	if s.Ledger.Pending() != 0 {
		t.Error("the journal is not played")
	}
}

// A record that the store refuses does not stop the others from being played.
func TestJournalRecordRefused(t *testing.T) { storetest.EachEngine(t, testJournalRecordRefused) }

func testJournalRecordRefused(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	refuse := `CREATE TRIGGER refuse BEFORE INSERT ON forwarded WHEN NEW.alert_id = 'poison' BEGIN SELECT RAISE(FAIL, 'refused'); END`
	if storetest.OnPostgres(t) {
		refuse = `ALTER TABLE forwarded ADD CHECK (alert_id <> 'poison')`
	}
	storetest.Script(t, s, refuse)
	release := storetest.HoldWriteLock(t, dir)
	for _, id := range []string{"x", "poison", "y"} {
		s.Ledger.RememberForwarded(t.Context(), storetest.Noted(1, id, storetest.T0, outage.ReasonStoreUnavailable))
	}
	release()
	storetest.Eventually(t, "played", func() bool { return s.Ledger.Pending() == 0 })
	list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(1)}, 10)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "pending.refused")); err != nil || len(text) == 0 {
		t.Fatal("the refused record is not set aside", err)
	}
}

// A database that is not whole, such as one that is being restored, refuses all records. None
// is set aside, and all are played when it is whole again.
func TestJournalMeetsRestore(t *testing.T) { storetest.EachEngine(t, testJournalMeetsRestore) }

func testJournalMeetsRestore(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	db := storetest.Outside(t, dir)
	for _, table := range []string{"forwarded", "activation"} {
		if _, err := db.Exec(`ALTER TABLE ` + table + ` RENAME TO elsewhere`); err != nil {
			t.Fatal(err)
		}
		s.Ledger.RememberForwarded(t.Context(), storetest.Noted(1, table, storetest.T0, outage.ReasonStoreUnavailable))
		s.Ledger.RememberActivation(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
		storetest.Eventually(t, "the store counts as unavailable", func() bool { return !s.DB.Available() })
		time.Sleep(500 * time.Millisecond) // until all of them were tried
		if s.Ledger.Pending() == 0 {
			t.Errorf("without the table %s the journal was played", table)
		}
		if _, err := db.Exec(`ALTER TABLE elsewhere RENAME TO ` + table); err != nil {
			t.Fatal(err)
		}
		storetest.Eventually(t, "played", func() bool { return s.Ledger.Pending() == 0 })
	}
	if list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(1)}, 10); err != nil || len(list) != 2 {
		t.Error(list, err)
	}
	if list, err := s.Windows.Activations(t.Context(), windows.Filter{CHF: storetest.Hub(1)}, 10); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "pending.refused")); err == nil {
		t.Errorf("records are set aside: %s", text)
	}
}

// If the database is too slow to play the records in one transaction, several are used.
func TestJournalMeetsSlowness(t *testing.T) { storetest.OnlyPostgres(t, testJournalMeetsSlowness) }

func testJournalMeetsSlowness(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	t.Parallel() // it waits more than it computes
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	const records = 120
	storetest.Script(t, s, fmt.Sprintf(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(%f); RETURN NEW; END';
		CREATE TRIGGER slow BEFORE INSERT ON activation FOR EACH ROW EXECUTE FUNCTION slow()`, 1.5*5.0/records))
	release := storetest.HoldWriteLock(t, dir)
	for n := range records {
		s.Ledger.RememberActivation(t.Context(), storetest.OnDemand(n, 1, storetest.T0))
	}
	release()
	for left := records; left > 0; { // a busy machine needs more, smaller transactions
		storetest.Eventually(t, "more of them are played", func() bool { return s.Ledger.Pending() < left })
		left = s.Ledger.Pending()
	}
}

// Nobody waits for a disk that hangs, however many records there are for it.
func TestJournalHangs(t *testing.T) { storetest.EachEngine(t, testJournalHangs) }

func testJournalHangs(t *testing.T) {
	dir := t.TempDir()
	var file storetest.JournalFile
	s := storetest.Open(t, dir, file.Use)
	release := storetest.HoldWriteLock(t, dir)
	const records = 3000
	unlock := file.Hang()
	defer unlock()
	var waits atomic.Int64
	waits.Store(records)
	for n := range records {
		go func() {
			s.Ledger.RememberForwarded(t.Context(), storetest.Noted(1, fmt.Sprint(n), storetest.T0, outage.ReasonStoreUnavailable))
			waits.Add(-1)
		}()
	}
	storetest.Eventually(t, "nobody waits", func() bool { return waits.Load() == 0 })
	unlock()
	release()
	storetest.Eventually(t, "all records are played", func() bool {
		list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(1)}, records)
		return err == nil && len(list) == records
	})
}

func TestCloseIsGraceful(t *testing.T) { storetest.EachEngine(t, testCloseIsGraceful) }

func testCloseIsGraceful(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	s.Ledger.NoteForwarded(storetest.Noted(1, "a", storetest.T0, outage.ReasonNoWindow))
	s.Close()
	if _, err := s.Ledger.Decide(t.Context(), storetest.AD1(1, "b", storetest.T0), outage.Suppressed, 0); !errors.Is(err, sqldb.ErrUnavailable) {
		t.Fatal(err)
	}
	s = storetest.Open(t, dir)
	if list, _ := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{AlertID: "a"}, 1); len(list) != 1 {
		t.Fatal("a note was lost by Close")
	}
}

// Records that cannot be played because the database is locked are not refused: they are
// played when it is unlocked.
func TestJournalRecordMeetsLock(t *testing.T) { storetest.EachEngine(t, testJournalRecordMeetsLock) }

func testJournalRecordMeetsLock(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	release := storetest.HoldWriteLock(t, dir)
	s.Ledger.RememberActivation(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	time.Sleep(2500 * time.Millisecond) // the writer waits a second for the lock: two tries fail
	release()
	if d := storetest.Decide(t, s, storetest.AD1(1, "a", storetest.T0)); d.Outcome != outage.Suppressed {
		t.Errorf("%+v", d)
	}
	if _, err := os.Stat(filepath.Join(dir, "pending.refused")); err == nil {
		t.Error("the record was set aside")
	}
}
