package store

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// Counted are the listed meters in force, by the last inventory that names each.
func TestListedManufacturers(t *testing.T) {
	s := openIn(t, t.TempDir())
	inventory := func(rows string) {
		t.Helper()
		text := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n" + rows
		done := false
		if _, err := s.ImportInventory(t.Context(), "a test", t0, func() (File, error) {
			if done {
				return File{}, io.EOF
			}
			done = true
			return File{"f.csv", strings.NewReader(text)}, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	row := func(n int, kind, maker string) string {
		return fmt.Sprintf("%s,%s,SMETS2,%s,E470,%s,\n", meter(n), kind, maker, hub(n))
	}
	list := func(from, to int) {
		t.Helper()
		var text strings.Builder
		for n := from; n < to; n++ {
			fmt.Fprintln(&text, meter(n))
		}
		if _, err := s.ImportList(t.Context(), "a test", t0, File{"l.txt", strings.NewReader(text.String())}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(more int, want ...Manufacturer) {
		t.Helper()
		got, rest, err := s.ListedManufacturers(t.Context())
		if err != nil || rest != more || !slices.Equal(got, want) {
			t.Errorf("%v and %d more, %v; want %v and %d", got, rest, err, want, more)
		}
	}
	want(0)
	list(0, 8)
	want(0) // none is known
	inventory(row(0, "ESME", "Landis+Gyr") + row(1, "ESME", "1063") + row(2, "ESME", "1063") + row(3, "ESME", "B") + row(4, "GSME", "B") + row(5, "ESME", "A") +
		row(9, "ESME", "not listed"))
	want(0, Manufacturer{"1063", 2}, Manufacturer{"A", 1}, Manufacturer{"B", 1}, Manufacturer{"Landis+Gyr", 1})
	inventory(row(1, "ESME", "Landis+Gyr") + row(6, "ESME", ""))
	want(0, Manufacturer{"Landis+Gyr", 2}, Manufacturer{"", 1}, Manufacturer{"1063", 1}, Manufacturer{"A", 1}, Manufacturer{"B", 1})
	list(1, 4)
	want(0, Manufacturer{"1063", 1}, Manufacturer{"B", 1}, Manufacturer{"Landis+Gyr", 1})

	// More than one step, and more texts than are told apart.
	const n = 2*manufacturerStep + 7
	var rows strings.Builder
	for i := range n {
		maker := "Big"
		if i >= n-maxManufacturers-4 {
			maker = fmt.Sprintf("%04d", i-n+maxManufacturers+4)
		}
		rows.WriteString(row(i, "ESME", maker))
	}
	inventory(rows.String())
	list(0, n)
	got, more, err := s.ListedManufacturers(t.Context())
	if err != nil || more != 5 || len(got) != maxManufacturers || got[0] != (Manufacturer{"Big", n - maxManufacturers - 4}) || got[1] != (Manufacturer{"0000", 1}) {
		t.Errorf("%d texts, %d meters more, %v; first %v", len(got), more, err, got[:min(2, len(got))])
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.ListedManufacturers(ended); err == nil {
		t.Error("it goes on when nobody waits for it")
	}
}

// BenchmarkListedManufacturers asks about b.N listed meters: -benchtime 2000000x.
func BenchmarkListedManufacturers(b *testing.B) {
	s := openIn(b, b.TempDir())
	done := false
	if _, err := s.ImportInventory(b.Context(), "a test", t0, func() (File, error) {
		if done {
			return File{}, io.EOF
		}
		done = true
		head := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
		return File{"f.csv", &rowReader{n: b.N, buf: []byte(head), row: func(b []byte, i int) []byte {
			return fmt.Appendf(b, "%s,ESME,SMETS2,%d,E470,%s,\n", meter(scatter(i)), i%7, hub(scatter(i)))
		}}}, nil
	}); err != nil {
		b.Fatal(err)
	}
	if _, err := s.ImportList(b.Context(), "a test", t0, File{"l.txt", &rowReader{n: b.N, row: func(b []byte, i int) []byte {
		return fmt.Appendf(b, "%s\n", meter(scatter(i)))
	}}}); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	list, _, err := s.ListedManufacturers(b.Context())
	if err != nil || len(list) != min(7, b.N) {
		b.Fatal(list, err)
	}
}
