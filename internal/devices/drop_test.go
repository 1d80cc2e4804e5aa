package devices_test

import (
	"fmt"
	"testing"

	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

func rowsOfMeter(t *testing.T, s *store.Store, m int) (n int) {
	t.Helper()
	if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM inventory WHERE device_id = ?`, int64(storetest.Meter(m))).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A small import searches only its own devices for replaced rows, unless an earlier import
// did not delete its replaced rows. So does an import that fails.
func TestImportReadsOwnDevices(t *testing.T) { storetest.EachEngine(t, testImportReadsOwnDevices) }

func testImportReadsOwnDevices(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	if err := storetest.ImportRows(t.Context(), s, storetest.DeviceRow(1, 1), storetest.DeviceRow(2, 2), storetest.DeviceRow(3, 3)); err != nil {
		t.Fatal(err)
	}
	// As if a later import had replaced meter 3, and had not deleted the old row.
	storetest.Script(t, s, fmt.Sprintf(`INSERT INTO inventory SELECT device_id, 0, device_type, smets_version, manufacturer, model, chf, mpxn, supplier, area, sector, postcode, feeder FROM inventory WHERE device_id = %d`, int64(storetest.Meter(3))))
	if err := storetest.ImportRows(t.Context(), s, storetest.DeviceRow(1, 7)); err != nil {
		t.Fatal(err)
	}
	if n, other := rowsOfMeter(t, s, 1), rowsOfMeter(t, s, 3); n != 1 || other != 2 {
		t.Errorf("%d rows of the imported meter, want 1; %d of the other, want 2", n, other)
	}
	storetest.Script(t, s, `UPDATE import SET untidy = 1 WHERE no = 1`)
	if err := storetest.ImportRows(t.Context(), s, storetest.DeviceRow(2, 8)); err != nil {
		t.Fatal(err)
	}
	if n, other := rowsOfMeter(t, s, 2), rowsOfMeter(t, s, 3); n != 1 || other != 1 {
		t.Errorf("after an untidy import: %d rows of the imported meter, %d of the other; want 1 each", n, other)
	}
	if left, err := sqldb.Numbers(s.DB.Query(t.Context(), `SELECT no FROM import WHERE untidy = 1`)); err != nil || len(left) > 0 {
		t.Errorf("imports %v are untidy, %v", left, err)
	}
	if d, _, err := s.Devices.Device(t.Context(), storetest.Meter(1)); err != nil || d == nil || d.CHF != storetest.Hub(7) {
		t.Errorf("%+v %v", d, err)
	}
	// An import that fails deletes its own rows, and no others.
	if err := storetest.ImportRows(t.Context(), s, storetest.DeviceRow(1, 9), storetest.DeviceRow(1, 9)); err == nil {
		t.Error("an inventory with a device twice is imported")
	}
	if n := rowsOfMeter(t, s, 1); n != 1 {
		t.Errorf("after an import that failed the meter has %d rows, want 1", n)
	}
}
