package duis

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"quell/internal/outage"
)

// home is a bare inventory of a hub and a meter, one device a line.
const home = `<DSPInventory xmlns="` + Namespace + `">
<Device><DeviceID>00-1B-C5-02-B0-00-4C-2D</DeviceID><DeviceType>CHF</DeviceType></Device>
<Device><DeviceID>00-1B-C5-02-B0-00-4C-2E</DeviceID><DeviceType>ESME</DeviceType></Device>
</DSPInventory>`

func readInventory(in string) (devices []outage.Device, lines []int, err error) {
	_, err = ReadInventory(strings.NewReader(in), func(d outage.Device, line int) error {
		devices, lines = append(devices, d), append(lines, line)
		return nil
	})
	return devices, lines, err
}

func TestReadInventory(t *testing.T) {
	const hub = 0x001BC502B0004C2D
	devices, lines, err := readInventory(string(samples(t)["inventory.xml"]))
	want := []outage.Device{
		{ID: hub + 1, Type: "ESME", SMETSVersion: "SMETS2 v4.2", Manufacturer: "Landis+Gyr", Model: "E470", CHF: hub, MPxN: "1400000000001"},
		{ID: hub, Type: "CHF", SMETSVersion: "CHTS v1.1", Manufacturer: "Toshiba & Co", Model: "SKU2"},
		{ID: hub + 3, Type: "GSME", SMETSVersion: "SMETS2 v4.2", Manufacturer: "Flonidan", Model: "G4SZV", CHF: hub, MPxN: "3000000001"},
	}
	if err != nil || !reflect.DeepEqual(devices, want) || !reflect.DeepEqual(lines, []int{13, 23, 32}) {
		t.Errorf("got %+v on lines %d, %v", devices, lines, err)
	}

	tests := []struct {
		name, old, new string
		meter          outage.Device
	}{
		{"bare", "", "", outage.Device{ID: hub + 1, Type: "ESME", CHF: hub}},
		{"no hub", ">CHF<", ">GPF<", outage.Device{ID: hub + 1, Type: "ESME"}},
		{"white space", ">ESME<", "> ESME<!-- x -->\n<", outage.Device{ID: hub + 1, Type: "ESME", CHF: hub}},
		{"other namespace", ">ESME<", `>ESME</DeviceType><DeviceType xmlns="urn:x">CHF<`, outage.Device{ID: hub + 1, Type: "ESME", CHF: hub}},
		{"other elements", "<DeviceType>ESME", "<X><DeviceID/><Device/></X><DeviceType>ESME", outage.Device{ID: hub + 1, Type: "ESME", CHF: hub}},
		{"no type", "<DeviceType>ESME</DeviceType>", "", outage.Device{ID: hub + 1, CHF: hub}},
		{"version", "<DeviceType>ESME", "<SMETSCHTSVersion>2.0</SMETSCHTSVersion><DeviceType>ESME", outage.Device{ID: hub + 1, Type: "ESME", CHF: hub, SMETSVersion: "2.0"}},
		{"SMETS1 by region", "<DeviceType>ESME", "<SMETSCHTSVersion>2.0</SMETSCHTSVersion><CSPRegion>SMETS1</CSPRegion><DeviceType>ESME",
			outage.Device{ID: hub + 1, Type: "ESME", CHF: hub, SMETSVersion: "SMETS1"}},
		{"SMETS2 by region", "<DeviceType>ESME", "<SMETSCHTSVersion>2.0</SMETSCHTSVersion><CSPRegion>4G North</CSPRegion><S1SP/><DeviceType>ESME",
			outage.Device{ID: hub + 1, Type: "ESME", CHF: hub, SMETSVersion: "2.0"}},
		{"SMETS1 by provider", "<DeviceType>ESME", "<S1SP>DXC</S1SP><DeviceType>ESME", outage.Device{ID: hub + 1, Type: "ESME", CHF: hub, SMETSVersion: "SMETS1"}},
		{"device elsewhere", "\n</DSP", "\n<X><Device/><DSPInventory/></X></DSP", outage.Device{ID: hub + 1, Type: "ESME", CHF: hub}},
	}
	for _, tt := range tests {
		in := home
		if tt.old != "" {
			in = change(t, home, tt.old, tt.new)
		}
		devices, lines, err := readInventory(in)
		if err != nil || len(devices) != 2 || devices[1] != tt.meter || !reflect.DeepEqual(lines, []int{2, 3}) {
			t.Errorf("%s: got %+v on lines %d, %v", tt.name, devices, lines, err)
		}
	}
	if devices, _, err := readInventory(`<DSPInventory xmlns="` + Namespace + `"/>`); err != nil || len(devices) != 0 {
		t.Errorf("empty: got %+v, %v", devices, err)
	}
}

func TestReadInventoryRefuses(t *testing.T) {
	more := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "<Device><DeviceID>00-1B-C5-02-B0-00-4D-%02X</DeviceID></Device>\n", i)
		}
		return b.String()
	}
	tests := []struct {
		name, old, new string
		line           int // 0: not refused
	}{
		{"17 devices", "</DSP", more(15) + "</DSP", 0},
		{"18 devices", "</DSP", more(16) + "</DSP", 19},
		{"two hubs", "ESME", "CHF", 3},
		{"bad EUI", "4C-2E", "4C-2", 3},
		{"zero EUI", "00-1B-C5-02-B0-00-4C-2D", "00-00-00-00-00-00-00-00", 2},
		{"no EUI", "<DeviceID>00-1B-C5-02-B0-00-4C-2E</DeviceID>", "", 3},
		{"second DeviceID", "<DeviceType>ESME", "<DeviceID/>\n<DeviceType>ESME", 3},
		{"second DeviceType", "<DeviceType>ESME", "<DeviceType/>\n<DeviceType>ESME", 4},
		{"element in DeviceID", "4C-2E", "4C-2E<x/>", 3},
		{"two inventories", home, `<Response xmlns="` + Namespace + `"><Body><ResponseMessage>` + home + "\n" + home + "</ResponseMessage></Body></Response>", 5},
		{"no inventory", home, `<Response xmlns="` + Namespace + `"><Body><ResponseMessage/></Body>` + "\n</Response>", 2},
		{"inventory elsewhere", home, `<Response xmlns="` + Namespace + `"><Body>` + home + "</Body></Response>", 4},
		{"no namespace", ` xmlns="` + Namespace + `"`, "", 4},
		{"two homes", home, home + "\n" + home, 5},
		{"cut", "</DSPInventory>", "", 4},
		{"entity", "ESME", "&esme;", 3},
		{"document type", home, "\n<!DOCTYPE x>" + home, 2},
	}
	for _, tt := range tests {
		devices, _, err := readInventory(change(t, home, tt.old, tt.new))
		if tt.line == 0 {
			if err != nil || len(devices) != 17 {
				t.Errorf("%s: %d devices, %v", tt.name, len(devices), err)
			}
			continue
		}
		var fault *SyntaxError
		if !errors.As(err, &fault) || !strings.HasPrefix(err.Error(), fmt.Sprintf("line %d: ", tt.line)) || devices != nil {
			t.Errorf("%s: got %+v, %v; want a fault on line %d", tt.name, devices, err, tt.line)
		}
	}
}

func TestReadInventoryEnds(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	_, err := ReadInventory(strings.NewReader(home), func(outage.Device, int) error { n++; return stop })
	if err != stop || n != 1 {
		t.Errorf("yield's error: %v after %d devices", err, n)
	}
	never := func(outage.Device, int) error { t.Error("yield was called"); return nil }
	if _, err := ReadInventory(iotest.ErrReader(stop), never); err != stop {
		t.Errorf("the reader's error: %v", err)
	}
	space := strings.NewReader(strings.Repeat(" ", maxInventory))
	if _, err := ReadInventory(io.MultiReader(strings.NewReader(home), space), never); err == nil {
		t.Error("more than 1 MiB: no error")
	}
	full := home + strings.Repeat(" ", maxInventory-len(home))
	if devices, _, err := readInventory(full); err != nil || len(devices) != 2 {
		t.Errorf("1 MiB: %v", err)
	}
}

// Devices that have left the home are skipped, whatever their type.
func TestReadInventoryGone(t *testing.T) {
	const hub = 0x001BC502B0004C2D
	of := func(id, kind, status string) string {
		return "<Device><DeviceID>00-1B-C5-02-B0-00-4C-" + id + "</DeviceID><DeviceType>" + kind + "</DeviceType><DeviceStatus>" + status + "</DeviceStatus></Device>\n"
	}
	const newHub, meter = hub + 2, hub + 1
	for name, tt := range map[string]struct {
		devices string
		want    []outage.Device
		skipped int
	}{
		"old hub first": {of("2D", "CHF", "Decommissioned") + of("2E", "ESME", "Commissioned") + of("2F", "CHF", "Commissioned"),
			[]outage.Device{{ID: meter, Type: "ESME", CHF: newHub}, {ID: newHub, Type: "CHF"}}, 1},
		"old hub last": {of("2F", "CHF", " Commissioned ") + of("2E", "ESME", "Suspended") + of("2D", "CHF", " Withdrawn\n"),
			[]outage.Device{{ID: newHub, Type: "CHF"}, {ID: meter, Type: "ESME", CHF: newHub}}, 1},
		"old hub only":  {of("2D", "CHF", "Withdrawn") + of("2E", "ESME", "Pending"), []outage.Device{{ID: meter, Type: "ESME"}}, 1},
		"all gone":      {of("2D", "CHF", "Withdrawn") + of("2E", "ESME", "Decommissioned"), nil, 2},
		"unknown state": {of("2D", "CHF", "Elsewhere"), []outage.Device{{ID: hub, Type: "CHF"}}, 0},
	} {
		var have []outage.Device
		skipped, err := ReadInventory(strings.NewReader(`<DSPInventory xmlns="`+Namespace+`">`+tt.devices+"</DSPInventory>"), func(d outage.Device, _ int) error {
			have = append(have, d)
			return nil
		})
		if err != nil || skipped != tt.skipped || !reflect.DeepEqual(have, tt.want) {
			t.Errorf("%s: %+v, %d skipped, %v", name, have, skipped, err)
		}
	}
	for name, devices := range map[string]string{
		"two hubs":           of("2D", "CHF", "Suspended") + of("2F", "CHF", "Commissioned"),
		"gone, without id":   of("2", "ESME", "Withdrawn"),
		"gone, second state": strings.Replace(of("2D", "ESME", "Withdrawn"), "<DeviceStatus>", "<DeviceStatus/><DeviceStatus>", 1),
	} {
		if d, _, err := readInventory(`<DSPInventory xmlns="` + Namespace + `">` + devices + "</DSPInventory>"); err == nil || d != nil {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}
