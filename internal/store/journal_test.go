package store

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

	"quell/internal/outage"
)

// stalled opens a store whose first batch of decisions stops before its
// commit, until release is called.
func stalled(t *testing.T, dir string) (s *Store, reached chan struct{}, release func()) {
	reached, gate := make(chan struct{}), make(chan struct{})
	first := true
	s = openIn(t, dir, func(o *Options) {
		o.BeforeCommit = func() {
			if first {
				first = false
				close(reached)
				<-gate
			}
		}
	})
	return s, reached, func() { close(gate) }
}

func outcomes(t *testing.T, s *Store) map[string]outage.Outcome {
	got := map[string]outage.Outcome{}
	for _, e := range allEntries(t, s) {
		got[e.AlertID] = e.Outcome
	}
	return got
}

func TestTimeoutAtTheWorstMoment(t *testing.T) {
	s, reached, release := stalled(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	_, err := s.Decide(short(t), ad1(1, "a", t0), outage.Suppressed, 0)
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	<-reached // the entry is written, its commit is to come
	if s.Pending() != 1 {
		t.Fatalf("the journal holds %d records", s.Pending())
	}
	release()
	eventually(t, "played", func() bool { return s.Pending() == 0 })
	if got := outcomes(t, s)["a"]; got != outage.Forwarded {
		t.Fatalf("the log says %s of an alert that was delivered", got)
	}
	if d := decide(t, s, ad1(1, "a", t0.Add(time.Minute))); d.Outcome != outage.Forwarded || d.Reason != outage.ReasonStoreUnavailable {
		t.Fatalf("its retry: %+v", d)
	}
	if info, err := os.Stat(s.journal.path); err != nil || info.Size() != 0 {
		t.Errorf("the journal was not emptied: %v %v", info.Size(), err)
	}
}

// The process dies after the commit of a decision that was abandoned, before
// its correction: the folder as it is then is what the next process finds.
func TestDeathBetweenCommitAndCorrection(t *testing.T) {
	dir := t.TempDir()
	s, reached, release := stalled(t, dir)
	s.Record(t.Context(), onDemand(1, 1, t0))
	if _, err := s.Decide(short(t), ad1(1, "a", t0), outage.Suppressed, 0); err == nil {
		t.Fatal("no time-out")
	}
	<-reached
	journal, err := os.ReadFile(s.journal.path)
	if err != nil || len(journal) == 0 {
		t.Fatal("the alert went forward before the journal knew", err)
	}
	release()
	eventually(t, "committed and corrected", func() bool { return s.Pending() == 0 })
	s.Close()
	// Undo the correction, as if it had not come to it.
	s = openIn(t, dir)
	script(t, s, `UPDATE suppression SET outcome = 'suppressed'; DELETE FROM forwarded`)
	s.Close()
	for range 2 { // and played twice
		if err := os.WriteFile(filepath.Join(dir, "pending"), journal, 0o600); err != nil {
			t.Fatal(err)
		}
		s = openIn(t, dir)
		eventually(t, "played", func() bool { return s.Pending() == 0 })
		if got := outcomes(t, s); len(got) != 1 || got["a"] != outage.Forwarded {
			t.Fatal(got)
		}
		s.Close()
	}
}

func TestStoreDown(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	release := holdWriteLock(t, dir)
	if r := s.Record(short(t), onDemand(1, 1, t0)); !r.Remembered {
		t.Fatal(r)
	}
	refused := onDemand(2, 1, t0)
	s.Record(short(t), refused)
	s.Settle(short(t), refused, outage.Withdrawn)
	if !s.MayHold(hub(1)) || !s.MayHold(hub(2)) {
		t.Fatal("a remembered window does not count at once")
	}
	if _, err := s.Decide(short(t), ad1(1, "a", t0), outage.Suppressed, 0); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	eventually(t, "the store says that it is down", func() bool { return !s.Available() })
	release()
	// The very next decision knows what the journal knew.
	if d := decide(t, s, ad1(1, "b", t0)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	if d := decide(t, s, ad1(1, "a", t0)); d.Outcome != outage.Forwarded {
		t.Fatalf("the retry of a forwarded alert: %+v", d)
	}
	if d := decide(t, s, ad1(2, "c", t0)); d.Reason != outage.ReasonWindowWithdrawn {
		t.Fatalf("the refused one: %+v", d)
	}
	if !s.Available() || s.Pending() != 0 {
		t.Error("still down")
	}
}

// What the journal holds at a restart is played before the first decision, a
// torn last line is cut off, and playing it twice changes nothing.
func TestJournalAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	release := holdWriteLock(t, dir)
	s.Record(short(t), onDemand(1, 1, t0))
	refused := onDemand(2, 1, t0)
	s.Record(short(t), refused)
	s.Settle(short(t), refused, outage.Withdrawn)
	d, cancel := context.WithCancel(t.Context())
	cancel()
	s.RecordUnresolved(d, onDemand(3, 1, t0), outage.Manufacturers{"Landis+Gyr"})
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
		s := openIn(t, fresh)
		if d := decide(t, s, ad1(1, "a", t0)); d.Outcome != outage.Suppressed {
			t.Fatalf("start %d: %+v", i, d)
		}
		if s.MayHold(hub(9)) {
			t.Error("the unresolved activation is still open")
		}
		after, err := scanActivations(s.reader.QueryContext(t.Context(), `SELECT `+activationColumns+` FROM activation ORDER BY id`))
		if err != nil || len(after) != 2 || i > 0 && (before[0] != after[0] || before[1] != after[1]) {
			t.Fatalf("start %d: %+v %v", i, after, err)
		}
		before = after
		s.Close()
	}
}

func TestJournalUnwritable(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	release := holdWriteLock(t, dir)
	// The file is closed under it: every write fails.
	s.journal.file.Close()
	s.Record(short(t), onDemand(1, 1, t0))
	if s.Pending() != 1 || len(s.journal.line) != 1 {
		t.Fatalf("not held in memory: %d", s.Pending())
	}
	release()
	if d := decide(t, s, ad1(1, "b", t0)); d.Outcome != outage.Suppressed {
		t.Fatalf("%+v", d)
	}
	if s.Pending() != 0 {
		t.Error("still held")
	}
}

// A record that the store refuses must not stand in the way of the others.
func TestJournalRecordRefused(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	refuse := `CREATE TRIGGER refuse BEFORE INSERT ON forwarded WHEN NEW.alert_id = 'poison' BEGIN SELECT RAISE(FAIL, 'refused'); END`
	if onPostgres() {
		refuse = `ALTER TABLE forwarded ADD CHECK (alert_id <> 'poison')`
	}
	script(t, s, refuse)
	release := holdWriteLock(t, dir)
	for _, id := range []string{"x", "poison", "y"} {
		s.remember(t.Context(), record{Forwarded: new(noted(1, id, t0, outage.ReasonStoreUnavailable))})
	}
	release()
	eventually(t, "played", func() bool { return s.Pending() == 0 })
	list, err := s.ForwardedAlerts(t.Context(), Find{CHF: hub(1)}, 10)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "pending.refused")); err != nil || len(text) == 0 {
		t.Fatal("not set aside", err)
	}
}

// A database that is not whole, as one that is being restored, refuses all
// records alike: none is set aside, and all are played when it is whole again.
func TestJournalMeetsRestore(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	db := outside(t, dir)
	for _, table := range []string{"forwarded", "activation"} {
		if _, err := db.Exec(`ALTER TABLE ` + table + ` RENAME TO elsewhere`); err != nil {
			t.Fatal(err)
		}
		s.remember(t.Context(), record{Forwarded: new(noted(1, table, t0, outage.ReasonStoreUnavailable))})
		s.remember(t.Context(), record{Activation: new(onDemand(1, 1, t0))})
		eventually(t, "the store says that it is down", func() bool { return !s.Available() })
		time.Sleep(500 * time.Millisecond) // for all of them to be tried
		if s.Pending() == 0 {
			t.Errorf("without the table %s the journal was played", table)
		}
		if _, err := db.Exec(`ALTER TABLE elsewhere RENAME TO ` + table); err != nil {
			t.Fatal(err)
		}
		eventually(t, "played", func() bool { return s.Pending() == 0 })
	}
	if list, err := s.ForwardedAlerts(t.Context(), Find{CHF: hub(1)}, 10); err != nil || len(list) != 2 {
		t.Error(list, err)
	}
	if list, err := s.Activations(t.Context(), Find{CHF: hub(1)}, 10); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "pending.refused")); err == nil {
		t.Errorf("set aside: %s", text)
	}
}

// What the database is too slow to play in one transaction is played in several.
func TestJournalMeetsSlowness(t *testing.T) {
	t.Parallel() // it waits more than it computes
	if !onPostgres() {
		t.Skip("skip allowed: on SQLite a transaction has no time; TestOnPostgreSQL runs this")
	}
	dir := t.TempDir()
	s := openIn(t, dir)
	const records = 120
	script(t, s, fmt.Sprintf(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(%f); RETURN NEW; END';
		CREATE TRIGGER slow BEFORE INSERT ON activation FOR EACH ROW EXECUTE FUNCTION slow()`, 1.5*remoteTimeout.Seconds()/records))
	release := holdWriteLock(t, dir)
	for n := range records {
		s.remember(t.Context(), record{Activation: new(onDemand(n, 1, t0))})
	}
	release()
	eventually(t, "played", func() bool { return s.Pending() == 0 })
}

// A disk that hangs holds up nobody, however many records wait for it.
func TestJournalHangs(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	release := holdWriteLock(t, dir)
	const records = 3000
	s.journal.mu.Lock() // as a write has it that does not end
	unlock := sync.OnceFunc(s.journal.mu.Unlock)
	defer unlock()
	var waits atomic.Int64
	waits.Store(records)
	for n := range records {
		go func() {
			s.Remember(t.Context(), noted(1, fmt.Sprint(n), t0, outage.ReasonStoreUnavailable))
			waits.Add(-1)
		}()
	}
	eventually(t, "nobody waits", func() bool { return waits.Load() == 0 })
	unlock()
	release()
	eventually(t, "all of it is played", func() bool {
		list, err := s.ForwardedAlerts(t.Context(), Find{CHF: hub(1)}, records)
		return err == nil && len(list) == records
	})
}

func TestCloseIsGraceful(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	s.Note(noted(1, "a", t0, outage.ReasonNoWindow))
	s.Close()
	if _, err := s.Decide(t.Context(), ad1(1, "b", t0), outage.Suppressed, 0); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	s = openIn(t, dir)
	if list, _ := s.ForwardedAlerts(t.Context(), Find{AlertID: "a"}, 1); len(list) != 1 {
		t.Fatal("a note was lost by Close")
	}
}

// The store comes back between a record's play and the question whether it
// answers: that is no refusal.
func TestJournalRecordMeetsLock(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	release := holdWriteLock(t, dir)
	s.remember(t.Context(), record{Activation: new(onDemand(1, 1, t0))})
	// Whoever writes waits a second for the lock: two plays fail, and the
	// question that follows has its answer.
	time.Sleep(2500 * time.Millisecond)
	release()
	if d := decide(t, s, ad1(1, "a", t0)); d.Outcome != outage.Suppressed {
		t.Errorf("%+v", d)
	}
	if _, err := os.Stat(filepath.Join(dir, "pending.refused")); err == nil {
		t.Error("the record was set aside")
	}
}
