package updates_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/updates"
	"quell/internal/windows"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var noCheck = func(context.Context, sqldb.Tx) error { return nil }

// importMeters imports an inventory with meters 1 to 4; 4 is a gas meter.
func importMeters(t *testing.T, s *store.Store) {
	t.Helper()
	importRows(t, s, []string{"ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967", "ESME,SMETS2,Landis+Gyr,E470,%s,1400000000000", "ESME,SMETS2,Other Ltd,M2,%s,", "GSME,SMETS2,Landis+Gyr,G370,%s,"})
}

func importRows(t *testing.T, s *store.Store, rows []string) {
	t.Helper()
	text := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	for i, row := range rows {
		text += storetest.Meter(i+1).String() + "," + fmt.Sprintf(row, storetest.Hub(i+1)) + "\n"
	}
	if err := storetest.ImportInventory(t.Context(), s, text); err != nil {
		t.Fatal(err)
	}
}

// order notes an 11.1 for meters, of supplier n, at a time.
func order(u *updates.Updates, n int, at time.Time, meters ...int) {
	tap := u.Begin(outage.RequestID{Originator: outage.DeviceID(n), Counter: 1}, at)
	io.WriteString(tap, "<DeviceIDList>")
	for _, m := range meters {
		io.WriteString(tap, storetest.Meter(m).String()+",")
	}
	io.WriteString(tap, "</DeviceIDList>")
	tap.Answer(io.NopCloser(strings.NewReader(""))).Close()
}

func arrive(u *updates.Updates, n int, at time.Time, meter int, ok bool) {
	u.Arrived(outage.RequestID{Originator: outage.DeviceID(n), Counter: 1}, storetest.Meter(meter), ok, at)
}

// waiting says what is waiting in words.
func waiting(t *testing.T, u *updates.Updates, now time.Time) string {
	t.Helper()
	list, err := u.Waiting(t.Context(), devices.Newest, now)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, w := range list {
		text = append(text, fmt.Sprintf("%s %s %q by %d, arrived %t, %s: %d", w.Manufacturer, w.Model, w.Distributor, w.Supplier, w.Arrived, w.Since.Sub(storetest.T0.Truncate(time.Hour)), w.Count))
	}
	return strings.Join(text, "; ")
}

func TestUpdates(t *testing.T) { storetest.EachEngine(t, testUpdates) }

func testUpdates(t *testing.T) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	importMeters(t, s)
	ctx, t0 := t.Context(), storetest.T0
	u := updates.New(s.DB, slog.New(slog.DiscardHandler)) // that of the store writes when it wants to
	flush := func() {
		t.Helper()
		if err := u.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what, want string) {
		t.Helper()
		flush()
		if got := waiting(t, u, t0.Add(48*time.Hour)); got != want {
			t.Errorf("%s: %s\nwant %s", what, got, want)
		}
	}
	const e470, m2 = `Landis+Gyr E470 `, `Other Ltd M2 ""`
	expect("nothing", "")
	order(u, 7, t0, 1, 2, 3, 4, 99, 1) // 4 is a gas meter, 99 is unknown, 1 is there twice
	expect("ordered", e470+`"12" by 7, arrived false, 0s: 1; `+e470+`"14" by 7, arrived false, 0s: 1; `+m2+` by 7, arrived false, 0s: 1`)
	arrive(u, 7, t0.Add(2*time.Hour), 1, true)
	arrive(u, 7, t0.Add(2*time.Hour), 2, false) // it did not
	arrive(u, 8, t0.Add(-time.Hour), 3, true)   // seen late by another node: the 11.1 is newer
	expect("arrived", m2+` by 7, arrived false, 0s: 1; `+e470+`"12" by 7, arrived true, 2h0m0s: 1`)
	order(u, 7, t0.Add(3*time.Hour), 2)
	expect("again", m2+` by 7, arrived false, 0s: 1; `+e470+`"12" by 7, arrived true, 2h0m0s: 1; `+e470+`"14" by 7, arrived false, 3h0m0s: 1`)

	// 11.3s: of meter 1 one that is pending, then on demand; meter 3 is not listed. That of a Service
	// Request reaches no meter, and what was before the update is about another.
	s.Ledger.Record(ctx, storetest.OnDemand(2, 1, t0))
	request := storetest.OnDemand(2, 2, t0.Add(4*time.Hour))
	request.Form = outage.ServiceRequest
	s.Ledger.Record(ctx, request)
	pending := storetest.FutureDated(1, 1, t0.Add(4*time.Hour), t0.Add(9*time.Hour))
	s.Ledger.Record(ctx, pending)
	expect("pending", m2+` by 7, arrived false, 0s: 1; `+e470+`"14" by 7, arrived false, 3h0m0s: 1`)
	cancel := pending
	cancel.RequestID.Counter, cancel.Order, cancel.Received = 2, outage.Order{Kind: outage.Cancellation}, t0.Add(5*time.Hour)
	cancelled := outage.Request{ID: cancel.RequestID, Form: outage.SignedPreCommand, Order: cancel.Order, Received: cancel.Received}.Activation(storetest.Hub(1), 30*time.Minute)
	s.Ledger.Record(ctx, cancelled)
	expect("cancelled", m2+` by 7, arrived false, 0s: 1; `+e470+`"12" by 7, arrived true, 2h0m0s: 1; `+e470+`"14" by 7, arrived false, 3h0m0s: 1`)
	s.Ledger.Record(ctx, storetest.OnDemand(1, 3, t0.Add(8*time.Hour).Add(time.Minute)))
	if err := s.DB.Do(ctx, sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return s.Windows.NoteUntracked(ctx, tx, []windows.Untracked{
			{RequestID: "x", Form: outage.SignedPreCommand, ESME: storetest.Meter(3), Received: t0.Add(30 * time.Hour), Reason: outage.ReasonNotListed},
			{RequestID: "y", Form: outage.SignedPreCommand, ESME: storetest.Meter(2), Received: t0.Add(30 * time.Hour), Reason: outage.ReasonLocalDelivery}})
	}); err != nil {
		t.Fatal(err)
	}
	expect("activated", e470+`"14" by 7, arrived false, 3h0m0s: 1`)

	// How long they waited is known after housekeeping, and stays so when windows are deleted.
	for _, now := range []time.Time{t0.Add(10 * time.Hour), t0.Add(31 * time.Hour)} {
		if err := u.Housekeep(ctx, now, noCheck); err != nil {
			t.Fatal(err)
		}
	}
	waits, err := u.Waits(ctx)
	if want := []updates.Wait{{Supplier: 7, Hours: 30, Count: 1}, {Supplier: 7, Arrived: true, Hours: 6, Count: 1}}; err != nil || !reflect.DeepEqual(waits, want) {
		t.Errorf("%+v, %v", waits, err)
	}
	expect("after housekeeping", e470+`"14" by 7, arrived false, 3h0m0s: 1`)

	// A new update of the same meter waits again. What is old is forgotten.
	order(u, 9, t0.Add(40*time.Hour), 1)
	expect("another", e470+`"14" by 7, arrived false, 3h0m0s: 1; `+e470+`"12" by 9, arrived false, 40h0m0s: 1`)
	if got := waiting(t, u, t0.Add(4*time.Hour+updates.Keep)); got != e470+`"12" by 9, arrived false, 40h0m0s: 1` {
		t.Error(got)
	}
	if err := u.Housekeep(ctx, t0.Add(4*time.Hour+updates.Keep), noCheck); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := s.DB.QueryRow(ctx, `SELECT count(*) FROM firmware`).Scan(&left); err != nil || left != 1 {
		t.Errorf("%d rows are left, %v", left, err)
	}
}

// While the database does not answer notes wait, and are written once it does.
func TestUpdatesWait(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	importMeters(t, s)
	u := updates.New(s.DB, slog.New(slog.DiscardHandler))
	order(u, 7, storetest.T0, 1, 2)
	arrive(u, 7, storetest.T0.Add(time.Minute), 2, true)
	rename(t, s, "firmware", "away")
	if err := u.Flush(t.Context()); err == nil {
		t.Error("written without a table")
	}
	rename(t, s, "away", "firmware")
	if err := u.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := waiting(t, u, storetest.T0.Add(time.Hour)), `Landis+Gyr E470 "12" by 7, arrived false, 0s: 1; Landis+Gyr E470 "14" by 7, arrived true, 0s: 1`; got != want {
		t.Error(got)
	}
}

// rename renames a table.
func rename(t *testing.T, s *store.Store, table, to string) {
	if err := s.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		_, err := tx.Exec(ctx, "ALTER TABLE "+table+" RENAME TO "+to)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// What is noted when quell ends is written.
func TestUpdatesAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	importMeters(t, s)
	order(s.Updates, 7, storetest.T0, 1)
	s.Close()
	s = storetest.Open(t, dir)
	if got, want := waiting(t, s.Updates, storetest.T0.Add(time.Hour)), `Landis+Gyr E470 "12" by 7, arrived false, 0s: 1`; got != want {
		t.Error(got)
	}
}

// Lists of many meters are written, each meter once, and none that the inventory does not have.
func TestManyUpdates(t *testing.T) { storetest.EachEngine(t, testManyUpdates) }

func testManyUpdates(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	u := updates.New(s.DB, slog.New(slog.DiscardHandler))
	importRows(t, s, slices.Repeat([]string{"ESME,SMETS2,Other Ltd,M2,%s,"}, 1500)) // meters 1 to 1500
	var meters []int
	for i := range 3000 {
		meters = append(meters, i%2000+1)
	}
	order(u, 7, storetest.T0, meters...)
	if err := u.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM firmware`).Scan(&n); err != nil || n != 1500 {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := u.Housekeep(t.Context(), storetest.T0, noCheck); err != nil {
		t.Fatal(err)
	}
}
