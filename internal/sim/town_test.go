package sim

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"quell/internal/outage"
)

// written returns the town's files.
func written(t *testing.T, town *Town) (inventory, list string) {
	t.Helper()
	var a, b bytes.Buffer
	if err := errors.Join(town.WriteInventory(&a), town.WriteDeviceList(&b)); err != nil {
		t.Fatal(err)
	}
	return a.String(), b.String()
}

func TestTownInventory(t *testing.T) {
	inventory, list := written(t, NewTown(1))
	rows, err := csv.NewReader(strings.NewReader(inventory)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if have := strings.Join(rows[0], ","); have != "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn" {
		t.Fatalf("header %q", have)
	}
	listed := map[string]bool{}
	for i, line := range strings.Fields(strings.SplitN(list, "\n", 2)[1]) {
		if _, err := outage.ParseDeviceID(line); err != nil || listed[line] {
			t.Fatalf("entry %d of the device list, %q, is no EUI-64 or stands twice", i+1, line)
		}
		listed[line] = true
	}
	if list[0] != '#' {
		t.Error("the device list has no comment at its head")
	}
	seen, hubs := map[string]bool{}, map[string]bool{}
	tracked, meters := 0, map[outage.Reason]int{}
	for _, row := range rows[1:] {
		id, err := outage.ParseDeviceID(row[0])
		if err != nil || seen[row[0]] {
			t.Fatalf("%q is no EUI-64 or stands twice", row)
		}
		seen[row[0]] = true
		if row[1] == "CHF" {
			hubs[row[0]] = true
			continue
		}
		chf, err := outage.ParseDeviceID(row[5])
		if err != nil || !hubs[row[5]] {
			t.Fatalf("%q: its hub does not stand before it", row)
		}
		if _, valid := outage.DistributorOf(row[6]); valid != (row[1] == "ESME") {
			t.Errorf("%q: MPAN valid is %v", row, valid)
		}
		d := outage.Device{ID: id, Type: row[1], SMETSVersion: row[2], Manufacturer: row[3], Model: row[4], CHF: chf, MPxN: row[6]}
		ok, reason := outage.Eligible(&d, listed[row[0]], outage.Manufacturers{"Landis+Gyr"})
		if meters[reason]++; ok {
			tracked++
		}
	}
	// Of twenty homes eleven are plain, two twin, two with gas, and five of
	// other classes.
	blocks := demoHomes / 20
	if want := blocks * (11 + 2*2 + 2); tracked != want {
		t.Errorf("%d meters tracked; want %d", tracked, want)
	}
	for reason, want := range map[outage.Reason]int{outage.ReasonNotESME: 2, outage.ReasonNotListed: 2, outage.ReasonOtherManufacturer: 2, outage.ReasonNotSMETS2: 1} {
		if meters[reason] != want*blocks {
			t.Errorf("%d meters are not tracked by reason of %s; want %d", meters[reason], reason, want*blocks)
		}
	}
}

func TestTownSeed(t *testing.T) {
	inventory, list := written(t, newTown(7, 60))
	if again, againList := written(t, newTown(7, 60)); again != inventory || againList != list {
		t.Error("the same seed makes another town")
	}
	if other, _ := written(t, newTown(8, 60)); other == inventory {
		t.Error("another seed makes the same town")
	}
}

func TestTownTake(t *testing.T) {
	town := newTown(1, 20)
	seen := map[*Home]bool{}
	check := func(homes []*Home, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range homes {
			if seen[h] {
				t.Error("a home was given out twice")
			}
			seen[h] = true
		}
	}
	homes, err := town.take(twin, withGas, smets1)
	check(homes, err)
	if len(homes[0].Meters) != 2 || homes[1].Meters[1].Type != "GSME" || homes[2].Meters[0].SMETSVersion[:6] != "SMETS1" {
		t.Errorf("homes %+v are not of the classes asked for", homes)
	}
	check(town.takeAny(17))
	for _, take := range []func() ([]*Home, error){func() ([]*Home, error) { return town.take(plain) }, func() ([]*Home, error) { return town.takeAny(1) }} {
		if _, err := take(); !errors.Is(err, errTooSmall) {
			t.Errorf("error %v of a town without homes left", err)
		}
	}
}

func TestTraffic(t *testing.T) {
	draw := func(seed uint64) (drawn []outage.DeviceID, windowed int) {
		tr, err := NewTraffic(seed, newTown(1, 100), 40, 0.25)
		if err != nil {
			t.Fatal(err)
		}
		if len(tr.Windowed) != 10 {
			t.Fatalf("%d of 40 hubs have a window; want 10", len(tr.Windowed))
		}
		for range 2000 {
			h, _ := tr.Next(now())
			drawn = append(drawn, h.CHF)
			for _, w := range tr.Windowed {
				if w == h {
					windowed++
				}
			}
		}
		return drawn, windowed
	}
	first, n := draw(1)
	if n < 400 || n > 600 {
		t.Errorf("%d of 2000 alerts are of hubs with a window; want about 500", n)
	}
	same, _ := draw(1)
	other, _ := draw(2)
	if bytes.Equal(flat(first), flat(other)) || !bytes.Equal(flat(first), flat(same)) {
		t.Error("the draw does not follow the seed")
	}
	if _, err := NewTraffic(1, newTown(1, 20), 40, 0.25); !errors.Is(err, errTooSmall) {
		t.Errorf("error %v of a town that is too small", err)
	}
}

func flat(ids []outage.DeviceID) (b []byte) {
	for _, id := range ids {
		b, _ = id.AppendText(b)
	}
	return b
}
