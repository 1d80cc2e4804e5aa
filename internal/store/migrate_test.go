package store

import (
	"fmt"
	"testing"
	"time"

	"quell/internal/outage"
)

// A store of before ResponseIDs could be used again opens with all that it had: its
// windows, its entries and its notes, of which the outage's start is not known, and
// housekeeping takes nothing of it too early.
func TestStoreOfBeforeIdentity(t *testing.T) {
	dir := t.TempDir()
	db := outside(t, dir)
	schema := sqlite.schema
	if onPostgres() {
		schema = postgres.schema
	}
	run := func(text string) {
		t.Helper()
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	run(`CREATE TABLE migration (name TEXT PRIMARY KEY, at TEXT NOT NULL)`)
	for _, name := range []string{"migrations/0001_motorway.sql", "migrations/0002_report.sql", "migrations/0003_nodes.sql"} {
		text, err := migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		run(schema(string(text)))
		run(fmt.Sprintf(`INSERT INTO migration (name, at) VALUES ('%s', 'then')`, name))
	}
	activation := func(a outage.Activation, standing bool, by int64) {
		run(fmt.Sprintf(`INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing, superseded_by)
			VALUES ('%s', '%s', '%s', %d, '%s', %d, %d, %d, %d, %d, '%s', %d, %d)`, a.RequestID, a.Form, a.Order.Kind, micros(a.Order.At), a.Mode(), int64(a.ESME), int64(a.CHF),
			micros(a.Received), micros(a.Start), micros(a.End), outage.Accepted, truth(standing), by))
	}
	activation(onDemand(1, 1, t0), true, 0)
	activation(futureDated(2, 1, t0, t0.Add(240*time.Hour)), false, 3)
	cancel := futureDated(2, 2, t0.Add(time.Minute), t0)
	cancel.Order, cancel.Start, cancel.End = outage.Order{Kind: outage.Cancellation}, time.Time{}, time.Time{}
	activation(cancel, true, 0)
	entry := ad1(1, "entry", t0.Add(time.Minute))
	run(fmt.Sprintf(`INSERT INTO suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at, activation_id, request_id, mode,
		window_start, window_end, throttled_count, outcome, started_before, repeated) VALUES (1, 'entry', 'AD1', %d, %d, '', 0, '', %d, %d, 1, 'r', 'on-demand', 0, 0, 3, 'suppressed', 0, 0)`,
		int64(hub(1)), int64(meter(1)), micros(entry.OutageStart), micros(entry.Received)))
	run(`UPDATE counter SET value = 1`)
	run(fmt.Sprintf(`INSERT INTO forwarded (alert_id, chf, received_at, reason) VALUES ('note', %d, %d, 'no-window')`, int64(hub(1)), micros(t0)))

	s := lead(t, openIn(t, dir))
	for _, c := range []struct {
		id      string
		outcome outage.Outcome
		retry   bool
	}{{"entry", outage.Suppressed, true}, {"note", outage.Forwarded, true}, {"new", outage.Suppressed, false}} {
		if d := decide(t, s, ad1(1, c.id, t0.Add(2*time.Minute))); d.Outcome != c.outcome || d.Retry != c.retry {
			t.Errorf("%s: %+v", c.id, d)
		}
	}
	if e := allEntries(t, s); len(e) != 2 || e[1].Seq != 2 || e[0].Throttled.Count == nil || *e[0].Throttled.Count != 3 {
		t.Errorf("%+v", e)
	}
	// The cancellation stays as long as what it cancelled, which the next request of
	// the meter does not revive.
	h, err := s.Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(239 * time.Hour)})
	if err != nil || h.Activations != 1 {
		t.Errorf("%+v %v", h, err)
	}
	s.Record(t.Context(), onDemand(2, 3, t0.Add(239*time.Hour)))
	if d := decide(t, s, ad1(2, "cancelled", t0.Add(240*time.Hour+time.Minute))); d.Outcome != outage.Forwarded {
		t.Errorf("%+v", d)
	}
	if h, err = s.Housekeep(t.Context(), Limits{WindowsBefore: t0.Add(400 * time.Hour)}); err != nil || h.Activations != 3 {
		t.Errorf("%+v %v", h, err)
	}
}
