package devices_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// Devices that are gone are skipped and counted, over all files of an import.
func TestImportSkips(t *testing.T) { storetest.EachEngine(t, testImportSkips) }

func testImportSkips(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	const head = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,device_status\n"
	row := func(m int, status string) string {
		return fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,,%s\n", storetest.Meter(m), storetest.Hub(m), status)
	}
	files := []string{head + row(1, "Commissioned") + row(2, "Decommissioned"), head + row(3, "Withdrawn") + row(4, "")}
	im, err := s.Devices.ImportInventory(t.Context(), "alice", storetest.T0, func() (devices.File, error) {
		if len(files) == 0 {
			return devices.File{}, io.EOF
		}
		f := devices.File{Name: "f.csv", Reader: strings.NewReader(files[0])}
		files = files[1:]
		return f, nil
	})
	if err != nil || im.Rows != 2 || im.Skipped != 2 {
		t.Fatalf("%+v %v", im, err)
	}
	for m, want := range map[int]bool{1: true, 2: false, 3: false, 4: true} {
		if d, _, err := s.Devices.Device(t.Context(), storetest.Meter(m)); err != nil || (d != nil) != want {
			t.Errorf("meter %d: %+v %v", m, d, err)
		}
	}
}

func TestImports(t *testing.T) { storetest.EachEngine(t, testImports) }

func testImports(t *testing.T) {
	dir := t.TempDir()
	s := storetest.Open(t, dir)
	const head = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	row := func(m int, version string) string {
		return fmt.Sprintf("%s,ESME,%s,Landis+Gyr,E470,%s,1200023305967\n", storetest.Meter(m), version, storetest.Hub(m))
	}
	load := func(texts ...string) (devices.Import, error) {
		return s.Devices.ImportInventory(t.Context(), "alice", storetest.T0, func() (devices.File, error) {
			if len(texts) == 0 {
				return devices.File{}, io.EOF
			}
			f := devices.File{Name: fmt.Sprintf("f%d.csv", len(texts)), Reader: strings.NewReader(texts[0])}
			texts = texts[1:]
			return f, nil
		})
	}
	version := func(m int) string {
		d, _, err := s.Devices.Device(t.Context(), storetest.Meter(m))
		if err != nil {
			t.Fatal(err)
		}
		if d == nil {
			return "none"
		}
		return d.SMETSVersion
	}
	var many strings.Builder
	many.WriteString(head)
	for i := range 2*devices.ImportBatch + 5 {
		many.WriteString(row(i, "first"))
	}
	if im, err := load(many.String(), head+row(5000, "other file")); err != nil || im.Rows != 2*devices.ImportBatch+6 || im.Source != "f2.csv, f1.csv" {
		t.Fatalf("%+v %v", im, err)
	}
	if im, err := load(head + row(1, "second") + row(6000, "second")); err != nil || im.Rows != 2 {
		t.Fatalf("%+v %v", im, err)
	}
	faulty := strings.Replace(many.String(), "first", "third", -1)
	for name, text := range map[string]string{
		"fault at the end":     faulty + "rubbish\n",
		"twice, far apart":     faulty + row(0, "third"),
		"twice, side by side":  head + row(0, "third") + row(0, "third"),
		"in the second of two": faulty,
	} {
		more := []string{text}
		if name == "in the second of two" {
			more = append(more, head+"rubbish\n")
		}
		_, err := load(more...)
		if err == nil || !strings.Contains(err.Error(), "f1.csv: ") && !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: error %v", name, err)
		}
		if strings.HasPrefix(name, "twice") && !strings.Contains(err.Error(), storetest.Meter(0).String()) {
			t.Errorf("%s: the error does not name the device: %v", name, err)
		}
	}
	check := func() {
		t.Helper()
		for m, want := range map[int]string{0: "first", 1: "second", devices.ImportBatch: "first", 5000: "other file", 6000: "second", 7000: "none"} {
			if got := version(m); got != want {
				t.Errorf("meter %d: %s, want %s", m, got, want)
			}
		}
		var rows int
		if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM inventory`).Scan(&rows); err != nil || rows != 2*devices.ImportBatch+7 {
			t.Errorf("%d rows of inventory are kept, %v", rows, err)
		}
	}
	check()
	s.Close()
	s = storetest.Open(t, dir)
	check()

	list := func(text string) error {
		_, err := s.Devices.ImportList(t.Context(), "bob", storetest.T0, devices.File{Name: "list", Reader: strings.NewReader(text)})
		return err
	}
	listed := func(m int) bool {
		_, yes, err := s.Devices.Device(t.Context(), storetest.Meter(m))
		return yes && err == nil
	}
	if err := list(storetest.Meter(1).String() + "\n" + storetest.Meter(2).String() + "\n" + storetest.Meter(2).String()); err != nil || !listed(1) || !listed(2) || listed(3) {
		t.Fatal(err)
	}
	if err := list(storetest.Meter(3).String() + "\nrubbish!\n"); err == nil || !listed(1) || listed(3) {
		t.Fatal("half a list came into force")
	}
	if err := list(storetest.Meter(3).String()); err != nil || listed(1) || !listed(3) {
		t.Fatal("the list was not replaced", err)
	}
	im, err := s.Devices.LastImport(t.Context(), "devices")
	if err != nil || im.Rows != 1 || im.Who != "bob" || len(im.SHA256) != 64 {
		t.Fatalf("%+v %v", im, err)
	}
	if ids, err := s.Devices.List(t.Context(), nil, 10); err != nil || fmt.Sprint(ids) != fmt.Sprint([]outage.DeviceID{storetest.Meter(3)}) {
		t.Fatal(ids, err)
	}
}
