package devices_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"quell/internal/devices"
	"quell/internal/store/storetest"
)

func listOf(from, to int) devices.File {
	var b strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintln(&b, storetest.Meter(n))
	}
	return devices.File{Name: "list", Reader: strings.NewReader(b.String())}
}

// A check gets what an import would change. If it returns an error, nothing changes.
func TestImportChecks(t *testing.T) { storetest.EachEngine(t, testImportChecks) }

func testImportChecks(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	no := errors.New("no")
	var got devices.Change
	refuse := func(_ devices.Import, c devices.Change) error { got = c; return no }
	if _, err := s.Devices.ImportList(t.Context(), "bob", storetest.T0, listOf(0, 0), devices.RefuseShrinking); !errors.Is(err, devices.ErrShrinks) {
		t.Errorf("an empty list, and none is in force: %v", err)
	}
	const all = 2*devices.ChangePage + 5 // more than two pages
	im, err := s.Devices.ImportList(t.Context(), "bob", storetest.T0, listOf(0, all), devices.RefuseShrinking)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		from, to int
		want     devices.Change
		refused  bool
	}{
		{0, 0, devices.Change{Before: all, Removed: all}, true},
		{0, all, devices.Change{Before: all, After: all}, false},
		{0, all - all/5, devices.Change{Before: all, After: all - all/5, Removed: all / 5}, false}, // exactly a fifth
		{0, all - all/5 - 1, devices.Change{Before: all, After: all - all/5 - 1, Removed: all/5 + 1}, true},
		{all / 5, all, devices.Change{Before: all, After: all - all/5, Removed: all / 5}, false},
		{all/5 + 1, 2 * all, devices.Change{Before: all, After: 2*all - all/5 - 1, Added: all, Removed: all/5 + 1}, true}, // it grows, but loses too many
		{all, 2 * all, devices.Change{Before: all, After: all, Added: all, Removed: all}, true},
	} {
		if _, err := s.Devices.ImportList(t.Context(), "bob", storetest.T0, listOf(x.from, x.to), refuse); err != no || !reflect.DeepEqual(counts(got), x.want) {
			t.Errorf("%d to %d: the check gets %+v, want %+v (%v)", x.from, x.to, got, x.want, err)
		}
		if len(got.Additions) != min(got.Added, 200) || len(got.Removals) != min(got.Removed, 200) {
			t.Errorf("%d to %d: examples: %d of %d added, %d of %d removed", x.from, x.to, len(got.Additions), got.Added, len(got.Removals), got.Removed)
		}
		for _, id := range got.Removals {
			if n := int(id - storetest.Meter(0)); n >= x.from && n < x.to {
				t.Errorf("%d to %d: %s is no removal", x.from, x.to, id)
			}
		}
		if err := devices.RefuseShrinking(devices.Import{}, got); errors.Is(err, devices.ErrShrinks) != x.refused {
			t.Errorf("%d to %d: %v", x.from, x.to, err)
		}
	}
	if have, err := s.Devices.LastImport(t.Context(), "devices"); err != nil || have != im {
		t.Errorf("%+v is in force, want %+v (%v)", have, im, err)
	}

	inventory := func(models ...string) func() (devices.File, error) {
		var b strings.Builder
		b.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
		for n, model := range models {
			if model != "" {
				fmt.Fprintf(&b, "%s,ESME,SMETS2,Landis+Gyr,%s,%s,\n", storetest.Meter(n), model, storetest.Hub(n))
			}
		}
		return inTurn(devices.File{Name: "inventory", Reader: strings.NewReader(b.String())})
	}
	many := make([]string, devices.ImportBatch)
	for i := range many {
		many[i] = "a"
	}
	if _, err := s.Devices.ImportInventory(t.Context(), "bob", storetest.T0, inventory(many...), devices.RefuseShrinking); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Devices.ImportInventory(t.Context(), "bob", storetest.T0, inventory(), devices.RefuseShrinking); !errors.Is(err, devices.ErrShrinks) {
		t.Errorf("an inventory without devices: %v", err)
	}
	many[3], many[7] = "b", ""
	if _, err := s.Devices.ImportInventory(t.Context(), "bob", storetest.T0, inventory(append(many, "a", "a")...), refuse); err != no || !reflect.DeepEqual(got, devices.Change{After: devices.ImportBatch + 1, Added: 2, Changed: 1}) {
		t.Errorf("an inventory: the check gets %+v, %v", got, err)
	}
}

// counts returns a change without its examples.
func counts(c devices.Change) devices.Change {
	c.Additions, c.Removals = nil, nil
	return c
}

// An inventory that is imported again changes nothing, also where the texts of postcodes and groups are
// kept. If they are kept from now on, or no longer, that is a change.
func TestChangeWithPostcodes(t *testing.T) { storetest.EachEngine(t, testChangeWithPostcodes) }

func testChangeWithPostcodes(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	for i, x := range []struct {
		plain   bool
		added   int
		changed int
	}{{false, 2, 0}, {false, 0, 0}, {true, 0, 1}, {true, 0, 0}, {false, 0, 1}} {
		s.Devices.KeepPostcodes(x.plain)
		next := inTurn(devices.File{Name: "inventory", Reader: strings.NewReader("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,postcode,group\n" +
			fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,a,%s,,SW1A 1AA,f1\n%s,ESME,SMETS2,Landis+Gyr,a,%s,,,\n", storetest.Meter(1), storetest.Hub(1), storetest.Meter(2), storetest.Hub(2)))})
		var got devices.Change
		if _, err := s.Devices.ImportInventory(t.Context(), "bob", storetest.T0, next, func(_ devices.Import, c devices.Change) error { got = c; return nil }); err != nil {
			t.Fatal(err)
		}
		if want := (devices.Change{After: 2, Added: x.added, Changed: x.changed}); !reflect.DeepEqual(got, want) {
			t.Errorf("import %d: %+v, want %+v", i+1, got, want)
		}
	}
}
