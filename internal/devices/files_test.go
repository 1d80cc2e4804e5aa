package devices

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"quell/internal/outage"
)

const (
	meter = outage.DeviceID(0x00DB1234567890A0)
	hub   = outage.DeviceID(0x00DB1234567890B0)
	head  = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	row   = "00-DB-12-34-56-78-90-A0,ESME,SMETS2 v4.2,Landis+Gyr,E470,00-DB-12-34-56-78-90-B0,1012345678909\n"
)

var whole = outage.Device{ID: meter, Type: "ESME", SMETSVersion: "SMETS2 v4.2", Manufacturer: "Landis+Gyr", Model: "E470", CHF: hub, MPxN: "1012345678909"}

func readDevices(text string) (all []outage.Device, err error) {
	_, err = ReadInventory(iotest.OneByteReader(strings.NewReader(text)), func(d outage.Device) error {
		all = append(all, d)
		return nil
	})
	return all, err
}

func TestReadDevicesCSV(t *testing.T) {
	odd := whole
	odd.Manufacturer, odd.Model, odd.CHF, odd.MPxN, odd.SMETSVersion = `Kröner, "K"`, strings.Repeat("ü", 30), 0, "", ""
	for name, c := range map[string]struct {
		text string
		want []outage.Device
	}{
		"header only":     {head, nil},
		"plain":           {head + row + row, []outage.Device{whole, whole}},
		"no last newline": {head + strings.TrimSpace(row), []outage.Device{whole}},
		"BOM and CRLF":    {"\ufeff" + strings.ReplaceAll(head+row+"\n"+row, "\n", "\r\n"), []outage.Device{whole, whole}},
		"blanks":          {"\n  \n" + strings.ReplaceAll(head+row, ",", " , ") + "\n\n", []outage.Device{whole}},
		"any order": {"mpxn,chf_id,model,manufacturer,smets_version,device_type,device_id\n" +
			"1012345678909,00-db-12-34-56-78-90-b0,E470,Landis+Gyr,SMETS2 v4.2,ESME,00-db-12-34-56-78-90-a0\n", []outage.Device{whole}},
		"quotes": {`"device_id",device_type,smets_version,manufacturer,model,"chf_id",mpxn` + "\n" +
			`"00-DB-12-34-56-78-90-A0",ESME,"","Kröner, ""K""",` + odd.Model + ",,\n", []outage.Device{odd}},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := readDevices(c.text)
			if err != nil || !reflect.DeepEqual(have, c.want) {
				t.Errorf("error %v, devices\n%+v\nwant\n%+v", err, have, c.want)
			}
		})
	}
	for _, typ := range Types {
		have, err := readDevices(head + strings.Replace(row, "ESME", typ, 1))
		if err != nil || len(have) != 1 || have[0].Type != typ {
			t.Errorf("%s: %v, %v", typ, have, err)
		}
	}
}

func TestReadDevicesFaults(t *testing.T) {
	with := func(old, new string) string { return head + row + strings.Replace(row, old, new, 1) + row }
	for name, c := range map[string]struct {
		text string
		want string
		good int // devices yielded all the same
	}{
		"empty":            {"", "line 1: no header; want the columns device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn", 0},
		"blank":            {"\n\n", "line 3: no header; want the columns device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn", 0},
		"header":           {"device_id,device_type,SMETS_version,manufacturer,model,chf_id,model\n" + row, "line 1: unknown column \"SMETS_version\"\nline 1: column model is there twice\nline 1: column smets_version is missing\nline 1: column mpxn is missing", 0},
		"header quoting":   {"\"device_id\n" + row, `line 1: extraneous or missing " in quoted-field`, 0},
		"device_id":        {with("A0,", "G0,"), `line 3: device_id "00-DB-12-34-56-78-90-G0": not an EUI-64 such as 00-DB-12-34-56-78-90-A0`, 2},
		"device_id empty":  {with("00-DB-12-34-56-78-90-A0", ""), `line 3: device_id "": not an EUI-64 such as 00-DB-12-34-56-78-90-A0`, 2},
		"device_id zero":   {with("00-DB-12-34-56-78-90-A0", "00-00-00-00-00-00-00-00"), "line 3: device_id is zero", 2},
		"chf_id":           {with("B0,", "B0-00,"), `line 3: chf_id "00-DB-12-34-56-78-90-B0-00": not an EUI-64 such as 00-DB-12-34-56-78-90-A0`, 2},
		"device_type":      {with("ESME", "esme"), `line 3: device_type "esme" is not one of ESME, GSME, GPF, CHF, HCALCS, PPMID, IHD, CAD`, 2},
		"too few":          {with(",1012345678909", ""), "line 3: 6 fields; want 7", 2},
		"too many":         {with("E470", "E470,"), "line 3: 8 fields; want 7", 2},
		"smets_version":    {with("SMETS2 v4.2", strings.Repeat("x", 21)), "line 3: smets_version has more than 20 characters", 2},
		"manufacturer":     {with("Landis+Gyr", strings.Repeat("ü", 31)), "line 3: manufacturer has more than 30 characters", 2},
		"model":            {with("E470", strings.Repeat("x", 31)), "line 3: model has more than 30 characters", 2},
		"mpxn":             {with("1012345678909", "10123456789090"), "line 3: mpxn has more than 13 characters", 2},
		"mpxn of a sheet":  {with("1012345678909", "1.20002E+12"), `line 3: mpxn "1.20002E+12" was written by a spreadsheet as a number, and has lost digits: make the column text there`, 2},
		"mpxn with comma":  {with("1012345678909", `"1,01235E+12"`), `line 3: mpxn "1,01235E+12" was written by a spreadsheet as a number, and has lost digits: make the column text there`, 2},
		"mpxn, no point":   {with("1012345678909", "1e+12"), `line 3: mpxn "1e+12" was written by a spreadsheet as a number, and has lost digits: make the column text there`, 2},
		"mpxn with a zero": {with("1012345678909", "101234567.0"), `line 3: mpxn "101234567.0" was written by a spreadsheet as a number, and has lost digits: make the column text there`, 2},
		"not UTF-8":        {with("Landis", "L\xe4ndis"), "line 3: manufacturer is not UTF-8", 2},
		"NUL":              {with("Landis", "L\x00ndis"), "line 3: manufacturer has a NUL", 2},
		"open quote":       {with("Landis", `"Landis`), `line 3: extraneous or missing " in quoted-field`, 2},
		"bare quote":       {with("Landis", `Lan"dis`), `line 3: bare " in non-quoted-field`, 2},
		"long line":        {with("Landis", strings.Repeat("x", 10000)), "line 3: longer than 4096 bytes", 2},
		"long line at end": {head + row + strings.Repeat("x", 10000), "line 3: longer than 4096 bytes", 1},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := readDevices(c.text)
			if err == nil || err.Error() != c.want {
				t.Errorf("have %v\nwant %s", err, c.want)
			}
			if len(have) != c.good || c.good > 0 && have[c.good-1] != whole {
				t.Errorf("devices: %+v", have)
			}
		})
	}
	t.Run("many", func(t *testing.T) {
		_, err := readDevices(head + strings.Repeat("x\n", 25))
		var faults *LineErrors
		if !errors.As(err, &faults) || len(faults.Faults) != 20 || faults.More != 5 || faults.Faults[19].Line != 21 || !strings.HasSuffix(err.Error(), "\nand 5 more") {
			t.Errorf("%v", err)
		}
	})
}

// Devices that are gone are counted, and not yielded.
func TestReadDevicesStatus(t *testing.T) {
	const statusHead = "device_status," + head
	second := whole
	second.ID = 0x00DB1234567890A1
	read := func(text string) (all []outage.Device, skipped int, err error) {
		skipped, err = ReadInventory(strings.NewReader(text), func(d outage.Device) error {
			all = append(all, d)
			return nil
		})
		return all, skipped, err
	}
	have, skipped, err := read(statusHead + "Commissioned," + row + " decommissioned ," + row + "," + strings.Replace(row, "A0", "A1", 1) + "Withdrawn," + row)
	if err != nil || skipped != 2 || !slices.Equal(have, []outage.Device{whole, second}) {
		t.Errorf("%+v, %d skipped, %v", have, skipped, err)
	}
	have, skipped, err = read("mpxn,model,device_id,device_type,chf_id,manufacturer,device_status,smets_version\n" +
		"1012345678909,E470,00DB1234567890A0,ESME,00:DB:12:34:56:78:90:B0,Landis+Gyr,Recovered,SMETS2 v4.2\n")
	if err != nil || skipped != 0 || !slices.Equal(have, []outage.Device{whole}) {
		t.Errorf("any order: %+v, %d skipped, %v", have, skipped, err)
	}
	for text, want := range map[string]string{
		statusHead + "Gone," + row: `line 2: device_status "Gone" is not one of Pending, Whitelisted, InstalledNotCommissioned, Commissioned, Decommissioned, Withdrawn, Suspended, Recovery, Recovered`,
		statusHead + row:           "line 2: 7 fields; want 8",
		statusHead + "Withdrawn," + strings.Replace(row, "A0", "A", 1): `line 2: device_id "00-DB-12-34-56-78-90-A": not an EUI-64 such as 00-DB-12-34-56-78-90-A0`,
		"device_status," + statusHead + row:                            "line 1: column device_status is there twice",
	} {
		if have, _, err := read(text); err == nil || err.Error() != want || have != nil {
			t.Errorf("%+v, %v\nwant %s", have, err, want)
		}
	}
}

func TestReadDevicesXML(t *testing.T) {
	file := func(deviceType string) string {
		return `<?xml version="1.0" encoding="UTF-8"?>
<sr:Response xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway" schemaVersion="5.4">
  <sr:Header>
    <sr:RequestID>90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A0:1</sr:RequestID>
    <sr:ResponseID>90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-01-00-00:1</sr:ResponseID>
    <sr:ResponseCode>I0</sr:ResponseCode>
    <sr:ResponseDateTime>2030-01-15T09:00:00Z</sr:ResponseDateTime>
  </sr:Header>
  <sr:Body>
    <sr:ResponseMessage>
      <sr:ServiceReference>8.2</sr:ServiceReference>
      <sr:ServiceReferenceVariant>8.2</sr:ServiceReferenceVariant>
      <sr:DSPInventory>
        <sr:Device>
          <sr:DeviceID>00-DB-12-34-56-78-90-B0</sr:DeviceID>
          <sr:DeviceType>CHF</sr:DeviceType>
          <sr:DeviceManufacturer>Toshiba</sr:DeviceManufacturer>
          <sr:DeviceModel>SKU1</sr:DeviceModel>
        </sr:Device>
        <sr:Device>
          <sr:DeviceID>00-DB-12-34-56-78-90-B1</sr:DeviceID>
          <sr:DeviceType>CHF</sr:DeviceType>
          <sr:DeviceStatus>Decommissioned</sr:DeviceStatus>
        </sr:Device>
        <sr:Device>
          <sr:DeviceID>00-DB-12-34-56-78-90-A0</sr:DeviceID>
          <sr:DeviceType>` + deviceType + `</sr:DeviceType>
          <sr:DeviceStatus>Commissioned</sr:DeviceStatus>
          <sr:DeviceManufacturer>Landis+Gyr</sr:DeviceManufacturer>
          <sr:DeviceModel>E470</sr:DeviceModel>
          <sr:SMETSCHTSVersion>SMETS2 v4.2</sr:SMETSCHTSVersion>
          <sr:ImportMPxN>1012345678909</sr:ImportMPxN>
        </sr:Device>
      </sr:DSPInventory>
    </sr:ResponseMessage>
  </sr:Body>
</sr:Response>
`
	}
	have, err := readDevices("\ufeff" + file("ESME"))
	if err != nil || len(have) != 2 || have[1].ID != meter || have[1].Manufacturer != "Landis+Gyr" {
		t.Errorf("%v, %+v", err, have)
	}
	if skipped, err := ReadInventory(strings.NewReader(file("ESME")), func(outage.Device) error { return nil }); err != nil || skipped != 1 {
		t.Errorf("%d skipped, %v", skipped, err)
	}
	if have, err := readDevices(file("Toaster")); err == nil || !strings.HasPrefix(err.Error(), "line ") || len(have) > 1 {
		t.Errorf("an unknown type: %v, %v", err, have)
	}
	if _, err := readDevices(file("ESME")[:1200]); err == nil {
		t.Error("a file cut short is read without an error")
	}
	stop := errors.New("stop")
	if _, err := ReadInventory(strings.NewReader(file("ESME")), func(outage.Device) error { return stop }); err != stop {
		t.Errorf("yield's error comes back as %v", err)
	}
}

func TestReadList(t *testing.T) {
	const a, b = "00-DB-12-34-56-78-90-A0", "00-db-12-34-56-78-90-b0"
	both := []outage.DeviceID{meter, hub}
	const noEUI = ": not an EUI-64 such as 00-DB-12-34-56-78-90-A0"
	for name, c := range map[string]struct {
		text   string
		want   []outage.DeviceID
		faults string
	}{
		"empty":            {"", nil, ""},
		"plain":            {a + "\n" + b, both, ""},
		"BOM and CRLF":     {"\ufeff" + a + "\r\n\r\n" + b + "\r\n", both, ""},
		"comments":         {"# first\n\n  " + a + " # one\n#" + a + "\n\t" + b + "#two\n", both, ""},
		"header":           {"# x\ndevice_id\n" + a + "\n" + b, both, ""},
		"quoted header":    {"\"GUID\",\n" + a + "\n" + b, both, ""},
		"header not first": {a + "\nGUID\n" + b, both, `line 2: "GUID"` + noEUI},
		"two headers":      {"GUID\nGUID\n" + a + "\n" + b, both, `line 2: "GUID"` + noEUI},
		"faulty first":     {"00-DB\n" + a + "\n" + b, both, `line 1: "00-DB"` + noEUI},
		"letters first":    {"AA-BB-CC-DD-EE-FF-AA\n" + a + "\n" + b, both, `line 1: "AA-BB-CC-DD-EE-FF-AA"` + noEUI},
		"two a line":       {a + "," + b, nil, `line 1: "` + a + "," + b + `"` + noEUI},
		"no hyphens":       {"00DB1234567890A0\n00db1234567890b0", both, ""},
		"colons":           {"00:DB:12:34:56:78:90:A0\n00:db:12:34:56:78:90:b0", both, ""},
		"mixed":            {"00:DB:12:34:56:78:90-A0", nil, `line 1: "00:DB:12:34:56:78:90-A0"` + noEUI},
		"letters only":     {"AAAAAAAAAAAAAAAA", []outage.DeviceID{0xAAAAAAAAAAAAAAAA}, ""}, // no header
		"zero":             {"00-00-00-00-00-00-00-00\n" + a + "\n" + b, both, "line 1: the device id is zero"},
		"long":             {strings.Repeat("x", 5000) + "\n" + strings.Repeat("0", 100), nil, "line 1: longer than 4096 bytes\nline 2: \"" + strings.Repeat("0", 60) + "…\"" + noEUI},
	} {
		t.Run(name, func(t *testing.T) {
			var have []outage.DeviceID
			err := ReadList(iotest.HalfReader(strings.NewReader(c.text)), func(id outage.DeviceID) error {
				have = append(have, id)
				return nil
			})
			if !slices.Equal(have, c.want) {
				t.Errorf("have %v, want %v", have, c.want)
			}
			if err == nil && c.faults != "" || err != nil && err.Error() != c.faults {
				t.Errorf("have %v\nwant %s", err, c.faults)
			}
		})
	}
}

// The errors of the reader and of yield are returned unchanged.
func TestReaderErrors(t *testing.T) {
	broken, stop := errors.New("broken"), errors.New("stop")
	device := func(outage.Device) error { return nil }
	id := func(outage.DeviceID) error { return nil }
	for _, text := range []string{"", "\xef", head, head + "x\n" + row, head + strings.Repeat("x", 9000)} {
		r := func() io.Reader { return io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)) }
		if _, err := ReadInventory(r(), device); err != broken {
			t.Errorf("devices after %.10q: %v", text, err)
		}
		if err := ReadList(r(), id); err != broken {
			t.Errorf("list after %.10q: %v", text, err)
		}
	}
	if _, err := ReadInventory(strings.NewReader(head+"x\n"+row), func(outage.Device) error { return stop }); err != stop {
		t.Errorf("yield of a device: %v", err)
	}
	if err := ReadList(strings.NewReader(meter.String()), func(outage.DeviceID) error { return stop }); err != stop {
		t.Errorf("yield of an id: %v", err)
	}
}

// TestBuiltin reads the list that is built in. "make build" runs it on the file that it is
// about to build in.
func TestBuiltin(t *testing.T) {
	list, size := Builtin()
	n := 0
	if err := ReadList(list, func(outage.DeviceID) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	if (n > 0) != (size > 0) {
		t.Errorf("%d devices in %d bytes", n, size)
	}
	file, err := os.ReadFile("builtin.txt")
	if err != nil || string(file) != noList {
		t.Errorf("the committed builtin.txt is %q, not %q (error %v)", file, noList, err)
	}
}

// Memory does not grow with the file: not even if the file is a single endless line or
// quote, or has only faults, or no text twice.
func TestMemory(t *testing.T) {
	const size = 8 << 20
	for name, c := range map[string]struct {
		first string
		line  func(i int) string
	}{
		"good":     {head, func(int) string { return row }},
		"distinct": {head, func(i int) string { return strings.Replace(row, "E470", fmt.Sprint("E", i), 1) }},
		"faults":   {head, func(int) string { return strings.Repeat("x", 80) + "\n" }},
		"quote":    {head + `"`, func(int) string { return row }},
		"no end":   {head, func(int) string { return strings.Repeat("0123456789abcdef", 8) }},
	} {
		t.Run(name, func(t *testing.T) {
			lines := &generator{rest: []byte(c.first), line: c.line, left: size}
			var most, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&most)
			before := most.HeapAlloc
			lines.every = func() {
				runtime.GC()
				runtime.ReadMemStats(&now)
				most.HeapAlloc = max(most.HeapAlloc, now.HeapAlloc)
			}
			if _, err := ReadInventory(lines, func(outage.Device) error { return nil }); lines.left > 0 {
				t.Fatalf("not read to the end: %v", err)
			}
			if grown := most.HeapAlloc - before; grown > 2<<20 && most.HeapAlloc > before {
				t.Errorf("memory grew by %d bytes for a file of %d", grown, size)
			}
		})
	}
}

// generator makes the text of a file while it is read, so that it is never whole in memory.
type generator struct {
	rest  []byte
	line  func(i int) string
	left  int
	i     int
	every func() // called every MiB
}

func (g *generator) Read(p []byte) (n int, err error) {
	for len(g.rest) < len(p) && g.left > 0 {
		line := g.line(g.i)
		g.i++
		if (g.left-len(line))>>20 != g.left>>20 && g.every != nil {
			g.every()
		}
		g.left -= len(line)
		g.rest = append(g.rest, line...)
	}
	if len(g.rest) == 0 {
		return 0, io.EOF
	}
	n = copy(p, g.rest)
	g.rest = append(g.rest[:0], g.rest[n:]...)
	return n, nil
}

func FuzzReadInventory(f *testing.F) {
	f.Add([]byte(head + row))
	f.Add([]byte(head + "\"\n\"\"\n" + row))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := ReadInventory(bytes.NewReader(text), func(d outage.Device) error {
			if err := checkDevice(&d); err != nil {
				t.Errorf("yielded a device with a fault: %v", err)
			}
			return nil
		})
		if err == nil && len(text) == 0 {
			t.Error("an empty file is read without an error")
		}
	})
}

func BenchmarkReadInventory(b *testing.B) {
	g := &generator{rest: []byte(head), line: func(int) string { return row }, left: b.N * len(row)}
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	if _, err := ReadInventory(g, func(outage.Device) error { return nil }); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkReadList(b *testing.B) {
	const line = "00-DB-12-34-56-78-90-A0\n"
	g := &generator{line: func(int) string { return line }, left: b.N * len(line)}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	if err := ReadList(g, func(outage.DeviceID) error { return nil }); err != nil {
		b.Fatal(err)
	}
}
