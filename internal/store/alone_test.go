package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
)

// What the database refuses fails alone: all beside it, in one batch, are decided,
// recorded and noted, and the store is not taken for one that does not answer.
func TestRefusedAlone(t *testing.T) {
	s := openIn(t, t.TempDir())
	refuse := `CREATE TRIGGER refuse_entry BEFORE INSERT ON suppression WHEN NEW.mpxn = 'poison' BEGIN SELECT RAISE(FAIL, 'refused'); END;
		CREATE TRIGGER refuse_note BEFORE INSERT ON forwarded WHEN NEW.alert_id = 'poison' BEGIN SELECT RAISE(FAIL, 'refused'); END`
	if onPostgres() {
		refuse = `ALTER TABLE suppression ADD CHECK (mpxn <> 'poison'); ALTER TABLE forwarded ADD CHECK (alert_id <> 'poison')`
	}
	script(t, s, refuse)
	s.Record(t.Context(), onDemand(1, 1, t0))
	const alerts = 60
	free := holdCommitter(t, s)
	var wg sync.WaitGroup
	outcomes := make([]string, alerts)
	for n := range alerts {
		a := ad1(1, fmt.Sprint(n), t0)
		switch n {
		case 7, 31:
			a.MPxN = "poison"
		case 44:
			// Longer than an entry of an index, and of nothing that can be compressed.
			a.MPxN = noise(60_000)
		}
		wg.Go(func() {
			d, err := s.Decide(t.Context(), a, outage.Suppressed, 0)
			outcomes[n] = string(d.Outcome)
			if err != nil {
				outcomes[n] = "failed"
			}
		})
		s.Note(noted(2, fmt.Sprint("note ", n), t0, outage.ReasonNoWindow))
	}
	s.Note(noted(2, "poison", t0, outage.ReasonNoWindow))
	eventually(t, "all wait", func() bool { s.queue.mu.Lock(); defer s.queue.mu.Unlock(); return len(s.queue.decisions) == alerts })
	free()
	wg.Wait()
	failed := 0
	for n, outcome := range outcomes {
		if outcome == "failed" {
			failed++
		}
		if want := n == 7 || n == 31 || n == 44 && onPostgres(); (outcome == "failed") != want {
			t.Errorf("alert %d: %s", n, outcome)
		}
	}
	if list, err := s.ForwardedAlerts(t.Context(), Find{CHF: hub(2)}, 1000); err != nil || len(list) != alerts {
		t.Errorf("%d notes of %d, %v", len(list), alerts, err)
	}
	if !s.Available() {
		t.Error("the store is said not to answer")
	}
	eventually(t, "that they went forward is noted", func() bool { return s.Pending() == 0 })
	entries := allEntries(t, s)
	if len(entries) != alerts-failed {
		t.Errorf("%d entries", len(entries))
	}
	for i, e := range entries {
		if e.Seq != int64(i+1) {
			t.Fatalf("entry %d has number %d", i+1, e.Seq)
		}
	}
}

func noise(n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte(byte('!' + rand.IntN(90)))
	}
	return b.String()
}

// holdCommitter has a transaction under way, so that what comes meanwhile becomes
// one batch, until free is called.
func holdCommitter(t testing.TB, s *Store) (free func()) {
	t.Helper()
	gate, held := make(chan struct{}), make(chan struct{})
	go s.do(t.Context(), urgent, func(context.Context) error {
		select {
		case <-held:
		default:
			close(held)
		}
		<-gate
		return nil
	})
	<-held
	return sync.OnceFunc(func() { close(gate) })
}

// However many notes wait, a retry meets the note of its first try.
func TestRetryMeetsItsNote(t *testing.T) {
	s := openIn(t, t.TempDir())
	free := holdCommitter(t, s)
	const notes = 3 * maxBatch
	for n := range notes {
		s.Note(noted(1, fmt.Sprint("alert ", n), t0, outage.ReasonNoWindow))
	}
	recorded := make(chan Recorded)
	go func() { recorded <- s.Record(t.Context(), onDemand(1, 1, t0)) }()
	eventually(t, "the request waits", func() bool { s.queue.mu.Lock(); defer s.queue.mu.Unlock(); return len(s.queue.tasks) == 1 })
	told := make(chan Decision)
	go func() { told <- decide(t, s, ad1(1, fmt.Sprint("alert ", notes-1), t0)) }()
	eventually(t, "the retry waits", func() bool { s.queue.mu.Lock(); defer s.queue.mu.Unlock(); return len(s.queue.decisions) == 1 })
	free()
	<-recorded
	if d := <-told; d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("the retry overtook its note: %+v", d)
	}
	eventually(t, "all are noted", func() bool {
		list, err := s.ForwardedAlerts(t.Context(), Find{CHF: hub(1)}, 2*notes)
		return err == nil && len(list) == notes
	})
}

// A retry is the same id, hub and outage; another by one of these is another alert.
func TestIdentity(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	s.Record(t.Context(), onDemand(2, 1, t0))
	first := ad1(1, "id", t0)
	again, other, later := first, first, first
	again.Received = t0.Add(time.Hour)
	other.CHF = hub(2)
	later.OutageStart, later.Received = first.OutageStart.Add(time.Hour), t0.Add(time.Hour)
	for _, c := range []struct {
		name    string
		a       outage.Alert
		outcome outage.Outcome
		retry   bool
	}{
		{"first", first, outage.Suppressed, false},
		{"again", again, outage.Suppressed, true},
		{"other hub", other, outage.Suppressed, false},
		{"later outage", later, outage.Forwarded, false},
		{"later outage again", later, outage.Forwarded, true},
		{"again, still", again, outage.Suppressed, true},
	} {
		if d := decide(t, s, c.a); d.Outcome != c.outcome || d.Retry != c.retry {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
	// One that goes forward after all corrects its own entry alone.
	s.Note(Forwarded{"id", hub(2), other.OutageStart, t0, outage.ReasonStoreUnavailable})
	eventually(t, "it is corrected", func() bool { return allEntries(t, s)[1].Outcome == outage.Forwarded })
	if e := allEntries(t, s); len(e) != 2 || e[0].Outcome != outage.Suppressed {
		t.Errorf("%+v", e)
	}
}

// A note that an earlier version wrote, without the outage's start, is of any.
func TestNoteOfEarlierVersion(t *testing.T) {
	s := openIn(t, t.TempDir())
	s.Record(t.Context(), onDemand(1, 1, t0))
	script(t, s, fmt.Sprintf(`INSERT INTO forwarded (alert_id, chf, received_at, reason) VALUES ('old', %d, 0, 'no-window')`, int64(hub(1))))
	if d := decide(t, s, ad1(1, "old", t0)); d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("%+v", d)
	}
}
