package devices_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/store"
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
	im, err := s.Devices.ImportInventory(t.Context(), "alice", storetest.T0, inTurn(
		devices.File{Name: "f.csv", Reader: strings.NewReader(head + row(1, "Commissioned") + row(2, "Decommissioned"))},
		devices.File{Name: "f.csv", Reader: strings.NewReader(head + row(3, "Withdrawn") + row(4, ""))}))
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
		var files []devices.File
		for i, text := range texts {
			files = append(files, devices.File{Name: fmt.Sprintf("f%d.csv", len(texts)-i), Reader: strings.NewReader(text)})
		}
		return s.Devices.ImportInventory(t.Context(), "alice", storetest.T0, inTurn(files...))
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

// watched is a store that, while look is set, notes at each commit which devices are in force.
type watched struct {
	*store.Store
	look atomic.Bool
	seen []string     // written by the writer while look is set
	then func(string) // called at each commit, if it is set
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{}
	w.Store = storetest.Open(t, t.TempDir(), func(o *store.Options) {
		o.OnCommit = func(time.Duration, error) {
			if w.look.Load() {
				in := w.inForce(t)
				w.seen = append(w.seen, in)
				if w.then != nil {
					w.then(in)
				}
			}
		}
	})
	return w
}

// inForce returns what each query says about the devices in force.
func (w *watched) inForce(t *testing.T) (text string) {
	for _, m := range []int{0, devices.ImportBatch, 2 * devices.ImportBatch, 5000} {
		d, listed, err := w.Devices.Device(t.Context(), storetest.Meter(m))
		if err != nil {
			t.Error(err)
		}
		if text += fmt.Sprintf("meter %d: listed %v; ", m, listed); d != nil {
			text += fmt.Sprintf("%s on %s; ", d.SMETSVersion, d.CHF)
		}
	}
	at, err := w.Devices.At(t.Context(), "1200023305967", 10_000)
	list, err2 := w.Devices.List(t.Context(), nil, 10_000)
	var hub int64
	err3 := w.DB.QueryRow(t.Context(), `SELECT coalesce(`+devices.HubOf(fmt.Sprint(int64(storetest.Meter(1))))+`, 0)`).Scan(&hub)
	in, err4 := w.Devices.LastImport(t.Context(), "devices")
	inv, err5 := w.Devices.LastImport(t.Context(), "inventory")
	if err := errors.Join(err, err2, err3, err4, err5); err != nil {
		t.Error(err)
	}
	return text + fmt.Sprintf("%d at the MPxN, %d listed, hub %x, imports %d and %d", len(at), len(list), hub, in.No, inv.No)
}

// watchImport runs an import. It returns what was in force before, at each commit, and after.
func (w *watched) watchImport(t *testing.T, run func() error) (before string, seen []string, after string, err error) {
	t.Helper()
	before, w.seen = w.inForce(t), nil
	w.look.Store(true)
	err = run()
	if err := w.DB.Ping(t.Context()); err != nil { // after what it has left to the writer
		t.Fatal(err)
	}
	w.look.Store(false)
	if err := w.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	return before, w.seen, w.inForce(t), err
}

// inventoryOf returns an inventory. The SMETS version of its meters tells it from others.
func inventoryOf(from, to int, version string, more ...string) func() (devices.File, error) {
	var b strings.Builder
	b.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
	for m := from; m < to; m++ {
		fmt.Fprintf(&b, "%s,ESME,%s,Landis+Gyr,E470,%s,1200023305967\n", storetest.Meter(m), version, storetest.Hub(m+len(version)))
	}
	b.WriteString(strings.Join(more, ""))
	return inTurn(devices.File{Name: version, Reader: strings.NewReader(b.String())})
}

// inTurn gives an import of an inventory its files.
func inTurn(files ...devices.File) (next func() (devices.File, error)) {
	return func() (f devices.File, err error) {
		if len(files) == 0 {
			return f, io.EOF
		}
		f, files = files[0], files[1:]
		return f, nil
	}
}

// At each commit of an import, either what was in force before counts, or the whole import does.
// Nothing of an import that fails ever counts.
func TestImportCountsWhole(t *testing.T) { storetest.EachEngine(t, testImportCountsWhole) }

func testImportCountsWhole(t *testing.T) {
	w := watch(t)
	const many = 2*devices.ImportBatch + 5
	inventory := func(next func() (devices.File, error)) func() error {
		return func() error {
			_, err := w.Devices.ImportInventory(t.Context(), "alice", storetest.T0, next)
			return err
		}
	}
	list := func(f devices.File) func() error {
		return func() error {
			_, err := w.Devices.ImportList(t.Context(), "alice", storetest.T0, f)
			return err
		}
	}
	for _, c := range []struct {
		what  string
		fails bool
		run   func() error
	}{
		{"the first inventory", false, inventory(inventoryOf(0, many, "v1"))},
		{"the first list", false, list(listOf(0, many))},
		{"another inventory", false, inventory(inventoryOf(0, many, "second"))},
		{"one with a device twice", true, inventory(inventoryOf(0, many, "fails", storetest.DeviceRow(many-1, 1)))},
		{"another list", false, list(listOf(devices.ImportBatch+1, 2*many))},
		{"a few devices", false, inventory(inventoryOf(0, 2, "a few"))},
		{"a short list", false, list(listOf(0, 1))},
	} {
		before, seen, after, err := w.watchImport(t, c.run)
		if (err != nil) != c.fails || (before == after) != c.fails {
			t.Errorf("%s: %v; in force was %s, is %s", c.what, err, before, after)
		}
		n := slices.IndexFunc(seen, func(in string) bool { return in != before })
		if c.fails {
			n = len(seen)
		}
		if n < 2 {
			t.Fatalf("%s: it was in force at commit %d of %d", c.what, n+1, len(seen))
		}
		for i, in := range seen[n:] {
			if in != after {
				t.Errorf("%s: at commit %d in force is\n%s\nit was\n%s\nand is to be\n%s", c.what, n+i+1, in, before, after)
				break
			}
		}
	}
}

// The importer gives up at the moment at which the import comes into force. The import is not
// taken for an unfinished one: it stays.
func TestImportInForceStays(t *testing.T) { storetest.EachEngine(t, testImportInForceStays) }

func testImportInForceStays(t *testing.T) {
	w := watch(t)
	const many = devices.ImportBatch + 5
	for _, c := range []struct {
		what string
		run  func(ctx context.Context, n int) error
	}{
		{"a list", func(ctx context.Context, n int) error {
			_, err := w.Devices.ImportList(ctx, "alice", storetest.T0, listOf(n, many+n))
			return err
		}},
		{"an inventory", func(ctx context.Context, n int) error {
			_, err := w.Devices.ImportInventory(ctx, "alice", storetest.T0, inventoryOf(0, many, fmt.Sprint("v", n)))
			return err
		}},
	} {
		if err := c.run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		was, inForce := w.inForce(t), ""
		w.then = func(in string) {
			if in != was && inForce == "" {
				inForce = in
				cancel()
				time.Sleep(300 * time.Millisecond) // until the importer has given up
			}
		}
		_, _, after, err := w.watchImport(t, func() error { return c.run(ctx, 2) })
		w.then = nil
		if err == nil || inForce == "" || after != inForce {
			t.Errorf("%s, %v: in force was\n%s\nthen\n%s\nand is\n%s", c.what, err, was, inForce, after)
		}
		// The next import deletes what it replaces, and nothing else.
		if err := storetest.ImportRows(t.Context(), w.Store, storetest.DeviceRow(9000, 1)); err != nil {
			t.Error(err)
		}
		if d, listed, err := w.Devices.Device(t.Context(), storetest.Meter(many-1)); err != nil || !listed || c.what == "an inventory" && d == nil {
			t.Errorf("%s, after another import: %+v, listed %v, %v", c.what, d, listed, err)
		}
		cancel()
	}
}
