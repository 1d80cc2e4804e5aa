package sim

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"quell/internal/outage"
)

// written returns the files of a town.
func written(t *testing.T, town *Town) (inventory, list string) {
	t.Helper()
	var a, b bytes.Buffer
	if err := errors.Join(town.WriteInventory(&a), town.WriteDeviceList(&b)); err != nil {
		t.Fatal(err)
	}
	return a.String(), b.String()
}

func TestTownInventory(t *testing.T) {
	town := NewTown(1)
	inventory, list := written(t, town)
	rows, err := csv.NewReader(strings.NewReader(inventory)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if have := strings.Join(rows[0], ","); have != "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,import_supplier,postcode" {
		t.Fatalf("header %q", have)
	}
	if list[0] != '#' {
		t.Error("the device list does not start with a comment")
	}
	listed := map[string]bool{}
	for i, line := range strings.Fields(strings.SplitN(list, "\n", 2)[1]) {
		if _, err := outage.ParseDeviceID(line); err != nil || listed[line] {
			t.Fatalf("entry %d of the device list, %q, is no EUI-64 or is there twice", i+1, line)
		}
		listed[line] = true
	}
	seen, hubs := map[string]bool{}, map[string]bool{}
	have, want := map[outage.Reason]int{}, map[outage.Reason]int{}
	for _, row := range rows[1:] {
		id, err := outage.ParseDeviceID(row[0])
		if err != nil || seen[row[0]] {
			t.Fatalf("%q is no EUI-64 or is there twice", row)
		}
		seen[row[0]] = true
		if row[1] == "CHF" {
			hubs[row[0]] = true
			continue
		}
		chf, err := outage.ParseDeviceID(row[5])
		if _, valid := outage.DistributorOf(row[6]); err != nil || !hubs[row[5]] || !valid {
			t.Fatalf("%q: its hub is not before it, or its MPAN is not valid", row)
		}
		d := outage.Device{ID: id, Type: row[1], SMETSVersion: row[2], Manufacturer: row[3], Model: row[4], CHF: chf, MPxN: row[6]}
		ok, reason := outage.Eligible(&d, listed[row[0]], outage.Manufacturers{"Landis+Gyr"})
		if ok {
			reason = ""
		}
		have[reason]++
	}
	reasons := map[class]outage.Reason{unlisted: outage.ReasonNotListed, otherMaker: outage.ReasonOtherManufacturer, smets1: outage.ReasonNotSMETS2}
	for _, k := range kinds {
		want[reasons[k.class]] += tries * k.homes
	}
	if len(want) != 4 {
		t.Errorf("homes of %d classes", len(want))
	}
	for reason, n := range want {
		if have[reason] != n {
			t.Errorf("%d meters are not tracked because of %q; want %d", have[reason], reason, n)
		}
	}
}

func TestTownSeed(t *testing.T) {
	inventory, list := written(t, NewTown(7))
	if again, againList := written(t, NewTown(7)); again != inventory || againList != list {
		t.Error("the same seed gives another town")
	}
	if other, _ := written(t, NewTown(8)); other == inventory {
		t.Error("another seed gives the same town")
	}
}
