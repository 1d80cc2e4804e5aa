package devices_test

import (
	"errors"
	"strings"
	"testing"

	"quell/internal/devices"
	"quell/internal/sqldb"
	"quell/internal/store/storetest"
)

// An import that runs on another node is left alone. One that makes no progress is dropped,
// and cannot come into force.
func TestNodesImport(t *testing.T) { storetest.OnlyPostgres(t, testNodesImport) }

func testNodesImport(t *testing.T) {
	list := storetest.OpenNodes(t, 2)
	storetest.Script(t, list[0], `INSERT INTO import (no, kind, source, sha256, rows, at, who, state, touched) VALUES (100, 'devices', 'x', '', 0, 0, '', 'running', `+sqldb.ServerTime+`)`)
	if _, err := list[1].Devices.ImportList(t.Context(), "bob", storetest.T0, devices.File{Name: "quick", Reader: strings.NewReader(storetest.Meter(2).String())}); !errors.Is(err, devices.ErrImporting) {
		t.Errorf("during an import of another node: %v", err)
	}
	storetest.Script(t, list[0], `UPDATE import SET touched = 0 WHERE no = 100`)
	if _, err := list[1].Devices.ImportList(t.Context(), "bob", storetest.T0, devices.File{Name: "quick", Reader: strings.NewReader(storetest.Meter(2).String())}); err != nil {
		t.Errorf("after an import that makes no progress: %v", err)
	}
	if err := list[0].Devices.WriteList(t.Context(), 100, storetest.Meter(1)); !errors.Is(err, devices.ErrDropped) || !errors.Is(err, devices.ErrImporting) {
		t.Errorf("writing rows of an import that was dropped: %v", err)
	}
	if left, err := sqldb.Numbers(list[0].DB.Query(t.Context(), `SELECT device_id FROM device_list WHERE import_no = 100`)); err != nil || len(left) > 0 {
		t.Errorf("rows of the dropped import are left: %v %v", left, err)
	}
	if err := list[0].Devices.FinishList(t.Context(), &devices.Import{No: 100}); !errors.Is(err, devices.ErrDropped) {
		t.Errorf("finishing an import that was dropped: %v", err)
	}
	if im, err := list[0].Devices.LastImport(t.Context(), "devices"); err != nil || im.Who != "bob" {
		t.Errorf("the last import is %+v, %v", im, err)
	}
}
