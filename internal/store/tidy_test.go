package store

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"quell/internal/outage"
)

// importRows imports an inventory of rows.
func importRows(ctx context.Context, s *Store, rows ...string) error {
	files := []File{{"x", strings.NewReader("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n" + strings.Join(rows, ""))}}
	_, err := s.ImportInventory(ctx, "test", t0, func() (File, error) {
		if len(files) == 0 {
			return File{}, io.EOF
		}
		f := files[0]
		files = nil
		return f, nil
	})
	return err
}

func deviceRowOf(m, on int) string {
	return fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967\n", meter(m), hub(on))
}

func rowsOfMeter(t *testing.T, s *Store, m int) (n int) {
	t.Helper()
	if err := s.reader.QueryRowContext(t.Context(), `SELECT count(*) FROM inventory WHERE device_id = ?`, int64(meter(m))).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A small import looks at its own devices alone: rows of others that are replaced are
// not found, unless an import before did not come to that. So is it with one that
// fails.
func TestImportLooksAtItsOwn(t *testing.T) {
	s := openIn(t, t.TempDir())
	if err := importRows(t.Context(), s, deviceRowOf(1, 1), deviceRowOf(2, 2), deviceRowOf(3, 3)); err != nil {
		t.Fatal(err)
	}
	// As if a later import had replaced meter 3, and not come to delete the row.
	script(t, s, fmt.Sprintf(`INSERT INTO inventory SELECT device_id, 0, device_type, smets_version, manufacturer, model, chf, mpxn FROM inventory WHERE device_id = %d`, int64(meter(3))))
	if err := importRows(t.Context(), s, deviceRowOf(1, 7)); err != nil {
		t.Fatal(err)
	}
	if n, other := rowsOfMeter(t, s, 1), rowsOfMeter(t, s, 3); n != 1 || other != 2 {
		t.Errorf("%d rows of the meter, %d of the other", n, other)
	}
	script(t, s, `UPDATE import SET untidy = 1 WHERE no = 1`)
	if err := importRows(t.Context(), s, deviceRowOf(2, 8)); err != nil {
		t.Fatal(err)
	}
	if n, other := rowsOfMeter(t, s, 2), rowsOfMeter(t, s, 3); n != 1 || other != 1 {
		t.Errorf("after one that was untidy: %d rows of the meter, %d of the other", n, other)
	}
	if left, err := numbers(s.reader.QueryContext(t.Context(), `SELECT no FROM import WHERE untidy = 1`)); err != nil || len(left) > 0 {
		t.Errorf("untidy are %v %v", left, err)
	}
	if d, _, err := s.Device(t.Context(), meter(1)); err != nil || d == nil || d.CHF != hub(7) {
		t.Errorf("%+v %v", d, err)
	}
	// An import that fails takes its rows away with it, and no others.
	if err := importRows(t.Context(), s, deviceRowOf(1, 9), deviceRowOf(1, 9)); err == nil {
		t.Error("a device twice is imported")
	}
	if n := rowsOfMeter(t, s, 1); n != 1 {
		t.Errorf("an import that failed leaves %d rows", n)
	}
}

// The windows that a small import moves are found from its devices.
func TestSmallMoveByIndex(t *testing.T) {
	s := openIn(t, t.TempDir())
	if plan := planOf(t, s, smallMove, 1, int64(1), column([]int64{1})); wholeTable.MatchString(plan) || strings.Contains(plan, "SCAN a\n") || !strings.Contains(plan, "activation_") {
		t.Errorf("the plan:\n%s", plan)
	}
	for n := range 3 {
		s.Record(t.Context(), onDemand(n, 1, t0))
	}
	if err := importRows(t.Context(), s, deviceRowOf(1, 7)); err != nil {
		t.Fatal(err)
	}
	for n, want := range []outage.Outcome{outage.Suppressed, outage.Forwarded, outage.Suppressed} {
		if d := decide(t, s, ad1(n, fmt.Sprint(n), t0)); d.Outcome != want {
			t.Errorf("hub %d: %+v", n, d)
		}
	}
	if d := decide(t, s, ad1(7, "moved", t0)); d.Outcome != outage.Suppressed {
		t.Errorf("the new hub: %+v", d)
	}
}
