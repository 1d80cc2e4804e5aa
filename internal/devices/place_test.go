package devices_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

func TestParsePostcode(t *testing.T) {
	for text, want := range map[string][2]string{
		"SW1A 1AA": {"SW1A 1AA", "SW1A 1"}, "sw1a1aa": {"SW1A 1AA", "SW1A 1"}, " sw1 a1\taa ": {"SW1A 1AA", "SW1A 1"},
		"M1 1AE": {"M1 1AE", "M1 1"}, "B33 8TH": {"B33 8TH", "B33 8"}, "CR2 6XH": {"CR2 6XH", "CR2 6"}, "DN55 1PT": {"DN55 1PT", "DN55 1"}, "W1A 0AX": {"W1A 0AX", "W1A 0"},
		"": {}, "SW1A": {}, "1AA": {}, "SW1A 1A": {}, "SW1A 1AAA": {}, "SWA1 1AA": {}, "12345": {}, "SW1A-1AA": {}, "unknown": {}, "SW1A 1Ä": {},
	} {
		if postcode, sector := devices.ParsePostcode(text); postcode != want[0] || sector != want[1] {
			t.Errorf("%q: %q %q, want %q", text, postcode, sector, want)
		}
	}
}

func importText(t *testing.T, s *store.Store, text string) {
	t.Helper()
	files := []devices.File{{Name: "inventory", Reader: strings.NewReader(text)}}
	if _, err := s.Devices.ImportInventory(t.Context(), "a test", storetest.T0, func() (devices.File, error) {
		if len(files) == 0 {
			return devices.File{}, io.EOF
		}
		f := files[0]
		files = nil
		return f, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// Devices are found by where they are: by postcode and sector, or by a group in place of the
// postcode. A place has the same hash after each import, and on each node. A device that has moved
// is in one place only. Only if that is asked for are there texts in the store.
func TestPlaces(t *testing.T) { storetest.EachEngine(t, testPlaces) }

func testPlaces(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	const header = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,postcode,group\n"
	row := func(n, hub int, kind, postcode, group string) string {
		return fmt.Sprintf("%s,%s,SMETS2,Landis+Gyr,E470,%s,,%s,%s\n", storetest.Meter(n), kind, storetest.Hub(hub), postcode, group)
	}
	importText(t, s, header+
		row(1, 1, "ESME", "SW1A 1AA", "")+row(2, 2, "ESME", "sw1a1aa", "")+row(3, 2, "ESME", "SW1A 1AA", "")+ // two meters on hub 2
		row(4, 4, "ESME", "SW1A 1AB", "")+row(5, 5, "ESME", "SW1A 1AA", "TX-7")+row(6, 6, "ESME", "nonsense", "tx-7")+
		row(7, 1, "GSME", "SW1A 1AA", "")+row(8, 8, "ESME", "", ""))
	find := func(n int) outage.Device {
		t.Helper()
		d, _, err := s.Devices.Device(t.Context(), storetest.Meter(n))
		if err != nil || d == nil {
			t.Fatal(n, err)
		}
		return *d
	}
	hubs := func(what string, place int64, want int) {
		t.Helper()
		if n, err := s.Devices.HubsIn(t.Context(), place); err != nil || n != want {
			t.Errorf("%s: %d hubs, want %d (%v)", what, n, want, err)
		}
	}
	one := find(1)
	hubs("the postcode", one.Area, 2)
	hubs("the sector", one.Sector, 4)
	hubs("another postcode", find(4).Area, 1)
	hubs("a group", find(5).Area, 2)
	hubs("nowhere", 12345, 0)
	if find(5).Area != find(6).Area || !devices.IsGroup(find(5).Area) || devices.IsGroup(one.Area) || devices.IsGroup(one.Sector) || find(6).Sector != 0 || find(5).Sector != one.Sector ||
		find(8).Area != 0 || find(8).Sector != 0 || one.Area == one.Sector || find(2).Area != one.Area {
		t.Errorf("%+v\n%+v\n%+v\n%+v", one, find(5), find(6), find(8))
	}
	texts := func(want int) {
		t.Helper()
		var n int
		if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM inventory WHERE postcode <> '' OR feeder <> ''`).Scan(&n); err != nil || n != want {
			t.Errorf("%d devices with texts, want %d (%v)", n, want, err)
		}
	}
	texts(0)

	// Meter 1 moves, meter 4 loses its postcode.
	s.Devices.KeepPostcodes(true)
	importText(t, s, header+row(1, 1, "ESME", "SW1A 1AB", "")+row(4, 4, "ESME", "", ""))
	texts(1)
	hubs("the postcode that it has left", one.Area, 1)
	hubs("the sector", one.Sector, 3)
	hubs("its new postcode", find(1).Area, 1)
	var rows int
	if err := s.DB.QueryRow(t.Context(), `SELECT count(*) FROM inventory_place`).Scan(&rows); err != nil || rows != 9 {
		t.Errorf("%d rows of places (%v): what was replaced is there still", rows, err)
	}
	list, err := s.Devices.OfIDs(t.Context(), []int64{int64(storetest.Meter(1)), int64(storetest.Meter(5)), 99})
	if err != nil || len(list) != 2 {
		t.Errorf("%+v %v", list, err)
	}
}

// How many supply points a distributor has, and what is at one.
func TestSupplyPoints(t *testing.T) { storetest.EachEngine(t, testSupplyPoints) }

func testSupplyPoints(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	text := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	for n, mpxn := range []string{"1200023305967", "1200023305968", "1300023305967", "1200023305", "9900023305967", "", "9800023305967"} {
		text += fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,%s\n", storetest.Meter(n), storetest.Hub(n), mpxn)
	}
	// A supply point with several devices is one.
	text += fmt.Sprintf("%s,PPMID,SMETS2,Landis+Gyr,D,%s,1300023305967\n", storetest.Meter(1000), storetest.Hub(2))
	importText(t, s, text)
	for id, want := range map[string]int{"12": 2, "13": 1, "99": 1, "98": 1, "11": 0, "": 0, "1": 0, "x1": 0} {
		if n, err := s.Devices.SupplyPoints(t.Context(), id); err != nil || n != want {
			t.Errorf("%q: %d, want %d (%v)", id, n, want, err)
		}
	}
	list, err := s.Devices.OfMPxNs(t.Context(), []string{"1200023305967", "1300023305967", "nothing"})
	if err != nil || len(list) != 3 {
		t.Errorf("%+v %v", list, err)
	}
}

// TestOneSupplyPoint: an inventory that gives one supply point to every device does not make each
// look-up read them all.
func TestOneSupplyPoint(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	var text strings.Builder
	text.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "%s,ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967\n", storetest.Meter(i), storetest.Hub(i))
	}
	sent := false
	if _, err := s.Devices.ImportInventory(t.Context(), "test", storetest.T0, func() (devices.File, error) {
		if sent {
			return devices.File{}, io.EOF
		}
		sent = true
		return devices.File{Name: "inventory.csv", Reader: strings.NewReader(text.String())}, nil
	}); err != nil {
		t.Fatal(err)
	}
	list, err := s.Devices.OfMPxNs(t.Context(), []string{"1200023305967", "1200023305967", "1200023305967"})
	if err != nil || len(list) == 0 || len(list) > 50 {
		t.Errorf("%d devices, %v", len(list), err)
	}
}
