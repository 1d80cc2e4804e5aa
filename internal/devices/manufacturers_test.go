package devices_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"quell/internal/devices"
	"quell/internal/store/storetest"
)

// Meters of the list in force are counted, each by the last inventory that has it.
func TestListedManufacturers(t *testing.T) { storetest.EachEngine(t, testListedManufacturers) }

func testListedManufacturers(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	inventory := func(rows string) {
		t.Helper()
		text := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n" + rows
		if _, err := s.Devices.ImportInventory(t.Context(), "a test", storetest.T0, inTurn(devices.File{Name: "f.csv", Reader: strings.NewReader(text)})); err != nil {
			t.Fatal(err)
		}
	}
	row := func(n int, kind, maker string) string {
		return fmt.Sprintf("%s,%s,SMETS2,%s,E470,%s,\n", storetest.Meter(n), kind, maker, storetest.Hub(n))
	}
	list := func(from, to int) {
		t.Helper()
		var text strings.Builder
		for n := from; n < to; n++ {
			fmt.Fprintln(&text, storetest.Meter(n))
		}
		if _, err := s.Devices.ImportList(t.Context(), "a test", storetest.T0, devices.File{Name: "l.txt", Reader: strings.NewReader(text.String())}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(more int, want ...devices.Manufacturer) {
		t.Helper()
		got, rest, err := s.Devices.ListedManufacturers(t.Context())
		if err != nil || rest != more || !slices.Equal(got, want) {
			t.Errorf("%v and %d more, %v; want %v and %d", got, rest, err, want, more)
		}
	}
	want(0)
	list(0, 8)
	want(0) // none is known
	inventory(row(0, "ESME", "Landis+Gyr") + row(1, "ESME", "1063") + row(2, "ESME", "1063") + row(3, "ESME", "B") + row(4, "GSME", "B") + row(5, "ESME", "A") +
		row(9, "ESME", "not listed"))
	want(0, devices.Manufacturer{"1063", 2}, devices.Manufacturer{"A", 1}, devices.Manufacturer{"B", 1}, devices.Manufacturer{"Landis+Gyr", 1})
	inventory(row(1, "ESME", "Landis+Gyr") + row(6, "ESME", ""))
	want(0, devices.Manufacturer{"Landis+Gyr", 2}, devices.Manufacturer{"", 1}, devices.Manufacturer{"1063", 1}, devices.Manufacturer{"A", 1}, devices.Manufacturer{"B", 1})
	list(1, 4)
	want(0, devices.Manufacturer{"1063", 1}, devices.Manufacturer{"B", 1}, devices.Manufacturer{"Landis+Gyr", 1})

	// More than one step, and more texts than are counted.
	const n = 2*devices.ManufacturerStep + 7
	var rows strings.Builder
	for i := range n {
		maker := "Big"
		if i >= n-devices.MaxManufacturers-4 {
			maker = fmt.Sprintf("%04d", i-n+devices.MaxManufacturers+4)
		}
		rows.WriteString(row(i, "ESME", maker))
	}
	inventory(rows.String())
	list(0, n)
	got, more, err := s.Devices.ListedManufacturers(t.Context())
	if err != nil || more != 5 || len(got) != devices.MaxManufacturers || got[0] != (devices.Manufacturer{"Big", n - devices.MaxManufacturers - 4}) || got[1] != (devices.Manufacturer{"0000", 1}) {
		t.Errorf("%d texts, %d meters more, %v; first %v", len(got), more, err, got[:min(2, len(got))])
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Devices.ListedManufacturers(ended); err == nil {
		t.Error("it does not end with its context")
	}
}

// BenchmarkListedManufacturers counts b.N listed meters: -benchtime 2000000x.
func BenchmarkListedManufacturers(b *testing.B) {
	s := storetest.Open(b, b.TempDir())
	head := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	file := devices.File{"f.csv", &rowReader{n: b.N, buf: []byte(head), row: func(b []byte, i int) []byte {
		return fmt.Appendf(b, "%s,ESME,SMETS2,%d,E470,%s,\n", storetest.Meter(scatter(i)), i%7, storetest.Hub(scatter(i)))
	}}}
	if _, err := s.Devices.ImportInventory(b.Context(), "a test", storetest.T0, inTurn(file)); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Devices.ImportList(b.Context(), "a test", storetest.T0, devices.File{"l.txt", &rowReader{n: b.N, row: func(b []byte, i int) []byte {
		return fmt.Appendf(b, "%s\n", storetest.Meter(scatter(i)))
	}}}); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	list, _, err := s.Devices.ListedManufacturers(b.Context())
	if err != nil || len(list) != min(7, b.N) {
		b.Fatal(list, err)
	}
}
