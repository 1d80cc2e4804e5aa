package console_test

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/motorway"
	"quell/internal/operator"
	"quell/internal/outage"
	"quell/internal/role"
)

// An import and "degraded" say which manufacturers of listed meters are not tracked, also
// after a change of the setting, and after an import on another node.
func TestOtherManufacturers(t *testing.T) {
	c, srv := console.NewTest(t)
	log := &console.LogText{}
	c.Manufacturers.Log = slog.New(slog.NewTextHandler(log, nil))
	client := operator.Client{Base: srv.URL, Token: console.TokenOf(t, c, "admin", role.Admin)}
	files := func(text string) []devices.File {
		return []devices.File{{Name: "f.txt", Reader: strings.NewReader(text)}}
	}
	id := func(n int) outage.DeviceID { return console.Meter + outage.DeviceID(n) }
	var inv, list strings.Builder
	inv.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n")
	add := func(from, n int, maker string) {
		for i := range n {
			fmt.Fprintf(&inv, "%s,ESME,SMETS2,%s,E470,%s,\n", id(from+i), maker, console.Hub)
			fmt.Fprintln(&list, id(from+i))
		}
	}
	long := strings.Repeat("Ω", 30)
	add(0, 10, "Landis+Gyr")
	add(10, 9, "1063")
	add(20, 7, "B")
	add(30, 6, `"Say ""C"""`)
	add(40, 5, long)
	add(50, 4, "")
	add(60, 3, "F")
	add(70, 2, "G")
	degraded := func(want string) {
		t.Helper()
		var last []string
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			s, err := client.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			last = nil
			for _, d := range s.Degraded {
				if strings.Contains(d, "manufacturers") {
					last = append(last, d)
				}
			}
			if strings.Join(last, "\n") == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("degraded: %q, want %q", last, want)
			}
		}
	}
	const begin = ` meters in the device list are not tracked, since their manufacturers are not in "manufacturers": `
	im, err := client.Import(t.Context(), "inventory", files(inv.String()), console.ImportOptions{})
	if err != nil || im.Rows != 46 || im.Others == nil || im.Others.Meters != 0 {
		t.Fatalf("without a list: %+v %v", im, err)
	}
	degraded("")
	im, err = client.Import(t.Context(), "devices", files(list.String()), console.ImportOptions{})
	want := "36" + begin + `"1063" (9), "B" (7), "Say \"C\"" (6), "` + long + `" (5), "" (4), others (5)`
	if err != nil || im.Rows != 46 || im.Others == nil || im.Others.String() != want {
		t.Fatalf("%+v %v\nwant %s", im, err, want)
	}
	degraded(want)
	degraded(want)
	if n := log.Count("not tracked, since"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	// The setting changes.
	c.Motorway.SetRules(motorway.Rules{Manufacturers: outage.Manufacturers{"Landis+Gyr", "1063", "B", `say "c"`, long, "F", "G"}})
	degraded("4" + begin + `"" (4)`)
	// Another node imports.
	if _, err := c.Devices.ImportList(t.Context(), "another", console.T0, files(id(0).String() + "\n" + id(10).String())[0]); err != nil {
		t.Fatal(err)
	}
	degraded("")
	if n := log.Count("all listed meters are tracked now"); n != 1 {
		t.Errorf("logged %d times that all are tracked", n)
	}
	// And the inventory.
	text := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n" + id(0).String() + ",ESME,SMETS2,New,E470," + console.Hub.String() + ",\n"
	sent := false
	if _, err := c.Devices.ImportInventory(t.Context(), "another", console.T0, func() (devices.File, error) {
		if sent {
			return devices.File{}, io.EOF
		}
		sent = true
		return files(text)[0], nil
	}); err != nil {
		t.Fatal(err)
	}
	degraded(`1 meter in the device list is not tracked, since its manufacturer is not in "manufacturers": "New" (1)`)
}

// Conditions of other parts are in "degraded". They do not change "ready".
func TestConditions(t *testing.T) {
	c, srv := console.NewTest(t)
	c.Conditions = func() []string { return []string{"the log: broken", "the trail: full"} }
	client := operator.Client{Base: srv.URL}
	s, err := client.Status(t.Context())
	if err != nil || !s.Ready || !strings.Contains(strings.Join(s.Degraded, "; "), "the log: broken; the trail: full") {
		t.Errorf("%+v %v", s, err)
	}
}
