package store

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func listOf(from, to int) File {
	var b strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintln(&b, meter(n))
	}
	return File{"list", strings.NewReader(b.String())}
}

// A check is told what an import would change, and nothing changes if it says no.
func TestImportChecks(t *testing.T) {
	s := openIn(t, t.TempDir())
	no := errors.New("no")
	var told Change
	refuse := func(_ Import, c Change) error { told = c; return no }
	if _, err := s.ImportList(t.Context(), "bob", t0, listOf(0, 0), Careful); !errors.Is(err, ErrShrinks) {
		t.Errorf("an empty list where there is none: %v", err)
	}
	const all = 2*changePage + 5 // more than two pages
	im, err := s.ImportList(t.Context(), "bob", t0, listOf(0, all), Careful)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		from, to int
		want     Change
		refused  bool
	}{
		{0, 0, Change{Before: all, Removed: all}, true},
		{0, all, Change{Before: all, After: all}, false},
		{0, all - all/5, Change{Before: all, After: all - all/5, Removed: all / 5}, false}, // a fifth exactly
		{0, all - all/5 - 1, Change{Before: all, After: all - all/5 - 1, Removed: all/5 + 1}, true},
		{all / 5, all, Change{Before: all, After: all - all/5, Removed: all / 5}, false},
		{all/5 + 1, 2 * all, Change{Before: all, After: 2*all - all/5 - 1, Added: all, Removed: all/5 + 1}, true}, // grown, and yet
		{all, 2 * all, Change{Before: all, After: all, Added: all, Removed: all}, true},
	} {
		if _, err := s.ImportList(t.Context(), "bob", t0, listOf(x.from, x.to), refuse); err != no || told != x.want {
			t.Errorf("%d to %d: told %+v, want %+v (%v)", x.from, x.to, told, x.want, err)
		}
		if err := Careful(Import{}, told); errors.Is(err, ErrShrinks) != x.refused {
			t.Errorf("%d to %d: %v", x.from, x.to, err)
		}
	}
	if have, err := s.LastImport(t.Context(), "devices"); err != nil || have != im {
		t.Errorf("in force is %+v, was %+v (%v)", have, im, err)
	}

	inventory := func(models ...string) func() (File, error) {
		var b strings.Builder
		b.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
		for n, model := range models {
			if model != "" {
				fmt.Fprintf(&b, "%s,ESME,SMETS2,Landis+Gyr,%s,%s,\n", meter(n), model, hub(n))
			}
		}
		files := []File{{"inventory", strings.NewReader(b.String())}}
		return func() (File, error) {
			if len(files) == 0 {
				return File{}, io.EOF
			}
			f := files[0]
			files = nil
			return f, nil
		}
	}
	many := make([]string, importBatch)
	for i := range many {
		many[i] = "a"
	}
	if _, err := s.ImportInventory(t.Context(), "bob", t0, inventory(many...), Careful); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ImportInventory(t.Context(), "bob", t0, inventory(), Careful); !errors.Is(err, ErrShrinks) {
		t.Errorf("an inventory of nothing: %v", err)
	}
	many[3], many[7] = "b", ""
	if _, err := s.ImportInventory(t.Context(), "bob", t0, inventory(append(many, "a", "a")...), refuse); err != no || told != (Change{After: importBatch + 1, Added: 2, Changed: 1}) {
		t.Errorf("an inventory: told %+v, %v", told, err)
	}
}
