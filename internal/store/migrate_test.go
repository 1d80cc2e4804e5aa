package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// A store from before quell handled repeated ResponseIDs opens with all that it had: its windows,
// its entries, and its notes, which do not have the outage's start. Housekeeping deletes nothing of
// it too early.
func TestStoreBeforeIdentity(t *testing.T) { storetest.EachEngine(t, testStoreBeforeIdentity) }

func testStoreBeforeIdentity(t *testing.T) {
	dir := t.TempDir()
	then := fstest.MapFS{}
	for _, name := range []string{"migrations/0001_motorway.sql", "migrations/0002_report.sql", "migrations/0003_nodes.sql"} {
		text, err := store.Migrations.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		then[name] = &fstest.MapFile{Data: text}
	}
	early, err := sqldb.Open(sqldb.Options{Path: filepath.Join(dir, "quell.db"), Address: storetest.Database(t, dir)})
	if err != nil {
		t.Fatal(err)
	}
	if err := early.Migrate(t.Context(), then); err != nil {
		t.Fatal(err)
	}
	early.Close()
	db := storetest.Outside(t, dir)
	run := func(text string) {
		t.Helper()
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	activation := func(a outage.Activation, standing bool, by int64) {
		run(fmt.Sprintf(`INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing, superseded_by)
			VALUES ('%s', '%s', '%s', %d, '%s', %d, %d, %d, %d, %d, '%s', %d, %d)`, a.RequestID, a.Form, a.Order.Kind, sqldb.Micros(a.Order.At), a.Mode(), int64(a.ESME), int64(a.CHF),
			sqldb.Micros(a.Received), sqldb.Micros(a.Start), sqldb.Micros(a.End), outage.Accepted, sqldb.Bool(standing), by))
	}
	activation(storetest.OnDemand(1, 1, storetest.T0), true, 0)
	activation(storetest.FutureDated(2, 1, storetest.T0, storetest.T0.Add(240*time.Hour)), false, 3)
	cancel := storetest.FutureDated(2, 2, storetest.T0.Add(time.Minute), storetest.T0)
	cancel.Order, cancel.Start, cancel.End = outage.Order{Kind: outage.Cancellation}, time.Time{}, time.Time{}
	activation(cancel, true, 0)
	entry := storetest.AD1(1, "entry", storetest.T0.Add(time.Minute))
	run(fmt.Sprintf(`INSERT INTO suppression (seq, alert_id, alert_code, chf, esme, mpxn, mpxn_valid, distributor, outage_start, received_at, activation_id, request_id, mode,
		window_start, window_end, throttled_count, outcome, started_before, repeated) VALUES (1, 'entry', 'AD1', %d, %d, '', 0, '', %d, %d, 1, 'r', 'on-demand', 0, 0, 3, 'suppressed', 0, 0)`,
		int64(storetest.Hub(1)), int64(storetest.Meter(1)), sqldb.Micros(entry.OutageStart), sqldb.Micros(entry.Received)))
	run(`UPDATE counter SET value = 1`)
	run(fmt.Sprintf(`INSERT INTO forwarded (alert_id, chf, received_at, reason) VALUES ('note', %d, %d, 'no-window')`, int64(storetest.Hub(1)), sqldb.Micros(storetest.T0)))

	s := storetest.MakeLeader(t, storetest.Open(t, dir))
	for _, c := range []struct {
		id      string
		outcome outage.Outcome
		retry   bool
	}{{"entry", outage.Suppressed, true}, {"note", outage.Forwarded, true}, {"new", outage.Suppressed, false}} {
		if d := storetest.Decide(t, s, storetest.AD1(1, c.id, storetest.T0.Add(2*time.Minute))); d.Outcome != c.outcome || d.Retry != c.retry {
			t.Errorf("%s: %+v", c.id, d)
		}
	}
	if e := storetest.Entries(t, s); len(e) != 2 || e[1].Seq != 2 || e[0].Throttled.Count == nil || *e[0].Throttled.Count != 3 {
		t.Errorf("the entries are %+v", e)
	}
	// The cancellation is kept as long as the request that it cancelled. So the next request of the
	// meter does not open that window.
	h, err := s.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(239 * time.Hour)})
	if err != nil || h.Activations != 1 {
		t.Errorf("housekeeping before the cancelled window is over: %+v %v", h, err)
	}
	s.Ledger.Record(t.Context(), storetest.OnDemand(2, 3, storetest.T0.Add(239*time.Hour)))
	if d := storetest.Decide(t, s, storetest.AD1(2, "cancelled", storetest.T0.Add(240*time.Hour+time.Minute))); d.Outcome != outage.Forwarded {
		t.Errorf("%+v", d)
	}
	if h, err = s.Housekeep(t.Context(), store.Limits{WindowsBefore: storetest.T0.Add(400 * time.Hour)}); err != nil || h.Activations != 3 {
		t.Errorf("housekeeping after all windows are over: %+v %v", h, err)
	}
}
