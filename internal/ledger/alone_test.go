package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// What the database refuses fails alone. All others in the batch are decided, recorded and
// noted, and the store still counts as available.
func TestRefusedAlone(t *testing.T) { storetest.EachEngine(t, testRefusedAlone) }

func testRefusedAlone(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	refuse := `CREATE TRIGGER refuse_entry BEFORE INSERT ON suppression WHEN NEW.mpxn = 'poison' BEGIN SELECT RAISE(FAIL, 'refused'); END;
		CREATE TRIGGER refuse_note BEFORE INSERT ON forwarded WHEN NEW.alert_id = 'poison' BEGIN SELECT RAISE(FAIL, 'refused'); END`
	if storetest.OnPostgres(t) {
		refuse = `ALTER TABLE suppression ADD CHECK (mpxn <> 'poison'); ALTER TABLE forwarded ADD CHECK (alert_id <> 'poison')`
	}
	storetest.Script(t, s, refuse)
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	const alerts = 60
	free := storetest.HoldWriter(t, s)
	var wg sync.WaitGroup
	outcomes := make([]string, alerts)
	for n := range alerts {
		a := storetest.AD1(1, fmt.Sprint(n), storetest.T0)
		switch n {
		case 7, 31:
			a.MPxN = "poison"
		case 44:
			// Too long for an index, and of text that cannot be compressed.
			a.MPxN = noise(60_000)
		}
		wg.Go(func() {
			d, err := s.Ledger.Decide(t.Context(), a, outage.Suppressed, 0)
			outcomes[n] = string(d.Outcome)
			if err != nil {
				outcomes[n] = "failed"
			}
		})
		s.Ledger.NoteForwarded(storetest.Noted(2, fmt.Sprint("note ", n), storetest.T0, outage.ReasonNoWindow))
	}
	s.Ledger.NoteForwarded(storetest.Noted(2, "poison", storetest.T0, outage.ReasonNoWindow))
	storetest.Eventually(t, "all wait", func() bool { return s.Ledger.DecisionsWaiting() == alerts })
	free()
	wg.Wait()
	failed := 0
	for n, outcome := range outcomes {
		if outcome == "failed" {
			failed++
		}
		if want := n == 7 || n == 31 || n == 44 && storetest.OnPostgres(t); (outcome == "failed") != want {
			t.Errorf("alert %d: %s", n, outcome)
		}
	}
	if list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(2)}, 1000); err != nil || len(list) != alerts {
		t.Errorf("%d notes of %d, %v", len(list), alerts, err)
	}
	if !s.DB.Available() {
		t.Error("the store counts as unavailable")
	}
	storetest.Eventually(t, "the refused alerts are noted as forwarded", func() bool { return s.Ledger.Pending() == 0 })
	entries := storetest.Entries(t, s)
	if len(entries) != alerts-failed {
		t.Errorf("%d entries, want %d", len(entries), alerts-failed)
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

// However many notes wait, a retry finds the note of its first try.
func TestRetryMeetsItsNote(t *testing.T) { storetest.EachEngine(t, testRetryMeetsItsNote) }

func testRetryMeetsItsNote(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	free := storetest.HoldWriter(t, s)
	const notes = 3 * 1000
	for n := range notes {
		s.Ledger.NoteForwarded(storetest.Noted(1, fmt.Sprint("alert ", n), storetest.T0, outage.ReasonNoWindow))
	}
	if d := storetest.Decide(t, s, storetest.AD1(1, fmt.Sprint("alert ", notes-1), storetest.T0)); d.Outcome != outage.Forwarded || d.Reason != outage.ReasonNoWindow || !d.Retry {
		t.Errorf("while its note waits: %+v", d)
	}
	recorded := make(chan ledger.Recorded)
	go func() { recorded <- s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0)) }()
	free()
	<-recorded
	for n := 0; n < notes; n += 97 {
		if d := storetest.Decide(t, s, storetest.AD1(1, fmt.Sprint("alert ", n), storetest.T0)); d.Outcome != outage.Forwarded || !d.Retry {
			t.Errorf("a retry was decided before its note was there: %+v", d)
		}
	}
	storetest.Eventually(t, "all are noted", func() bool {
		list, err := s.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: storetest.Hub(1)}, 2*notes)
		return err == nil && len(list) == notes
	})
}

// A retry has the same id, hub and outage. If one of these differs, it is another alert.
func TestIdentity(t *testing.T) { storetest.EachEngine(t, testIdentity) }

func testIdentity(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	s.Ledger.Record(t.Context(), storetest.OnDemand(2, 1, storetest.T0))
	first := storetest.AD1(1, "id", storetest.T0)
	again, other, next, later := first, first, first, first
	again.Received = storetest.T0.Add(time.Hour)
	next.OutageStart, next.Received = first.OutageStart.Add(time.Minute), storetest.T0.Add(time.Minute)
	other.CHF = storetest.Hub(2)
	later.OutageStart, later.Received = first.OutageStart.Add(time.Hour), storetest.T0.Add(time.Hour)
	for _, c := range []struct {
		name    string
		a       outage.Alert
		outcome outage.Outcome
		retry   bool
	}{
		{"first", first, outage.Suppressed, false},
		{"again", again, outage.Suppressed, true},
		{"other hub", other, outage.Suppressed, false},
		{"next outage", next, outage.Suppressed, false},
		{"next outage again", next, outage.Suppressed, true},
		{"later outage", later, outage.Forwarded, false},
		{"later outage again", later, outage.Forwarded, true},
		{"again, still", again, outage.Suppressed, true},
	} {
		if d := storetest.Decide(t, s, c.a); d.Outcome != c.outcome || d.Retry != c.retry {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
	// An alert that goes forward after all corrects only its own entry.
	s.Ledger.NoteForwarded(ledger.ForwardedNote{AlertID: "id", CHF: storetest.Hub(2), OutageStart: other.OutageStart, Received: storetest.T0, Reason: outage.ReasonStoreUnavailable})
	storetest.Eventually(t, "it is corrected", func() bool { return storetest.Entries(t, s)[1].Outcome == outage.Forwarded })
	if e := storetest.Entries(t, s); len(e) != 3 || e[0].Outcome != outage.Suppressed || e[2].Outcome != outage.Suppressed {
		t.Errorf("the entries are %+v", e)
	}
}

// A note of an earlier version, without the outage's start, matches any start.
func TestNoteOfEarlierVersion(t *testing.T) { storetest.EachEngine(t, testNoteOfEarlierVersion) }

func testNoteOfEarlierVersion(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	s.Ledger.Record(t.Context(), storetest.OnDemand(1, 1, storetest.T0))
	storetest.Script(t, s, fmt.Sprintf(`INSERT INTO forwarded (alert_id, chf, received_at, reason) VALUES ('old', %d, 0, 'no-window')`, int64(storetest.Hub(1))))
	if d := storetest.Decide(t, s, storetest.AD1(1, "old", storetest.T0)); d.Outcome != outage.Forwarded || !d.Retry {
		t.Errorf("%+v", d)
	}
}
