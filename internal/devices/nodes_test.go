package devices_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/store"
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

// An import that was silent for too long comes into force after all, just before another node
// drops it. Then it is not dropped.
func TestSilentImportFinishes(t *testing.T) { storetest.OnlyPostgres(t, testSilentImportFinishes) }

func testSilentImportFinishes(t *testing.T) {
	database := storetest.Database(t, t.TempDir())
	a := storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Database = database })
	var began atomic.Bool
	b := storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.Database = database
		o.OnCommit = func(time.Duration, error) {
			if began.Swap(false) { // the second import has begun, and has seen the first one
				if err := a.Devices.FinishList(t.Context(), &devices.Import{No: 100, Rows: 1}); err != nil {
					t.Error(err)
				}
			}
		}
	})
	storetest.Script(t, a, fmt.Sprintf(`INSERT INTO import (no, kind, source, sha256, rows, at, who, state, touched) VALUES (100, 'devices', 'x', '', 0, 0, '', 'running', 0);
		INSERT INTO device_list (import_no, device_id) VALUES (100, %d)`, int64(storetest.Meter(1))))
	began.Store(true)
	if err := storetest.ImportRows(t.Context(), b, storetest.DeviceRow(2, 2)); err != nil {
		t.Error(err)
	}
	if list, err := a.Devices.List(t.Context(), nil, 10); err != nil || !slices.Equal(list, []outage.DeviceID{storetest.Meter(1)}) {
		t.Errorf("the list in force has %v %v", list, err)
	}
}
