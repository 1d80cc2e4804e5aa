package sqldb_test

import (
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

// Texts from outside that are not UTF-8, or have a NUL, do not make the store
// unavailable: PostgreSQL refuses such texts, and the whole transaction with them.
func TestTextsFromOutside(t *testing.T) { storetest.EachEngine(t, testTextsFromOutside) }

func testTextsFromOutside(t *testing.T) {
	const bad, good = "caf\xe9 \x00 \xff", "caf\uFFFD \uFFFD \uFFFD"
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir(), func(o *store.Options) { o.Node = "host " + bad }))
	storetest.LogN(t, s, 1)
	r := storetest.WriteReport(t, s, 1, func(c *report.CutOptions) { c.Remotes = map[string]string{"esi": report.Consolidated} })
	d := report.Delivery{Report: r.No, Stream: report.Consolidated, Remote: "esi", State: report.StateWritten, At: storetest.T0, Tries: 1, Error: bad + strings.Repeat("é", 1<<20)}
	if err := s.Reports.SetDelivery(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	r, err := s.Reports.Report(t.Context(), r.No)
	if err != nil || len(r.Files[0].Deliveries) != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if text := r.Files[0].Deliveries[0].Error; !strings.HasPrefix(text, good) || len(text) > 2*sqldb.MaxText || !utf8.ValidString(text) {
		t.Errorf("a remote's error of %d bytes: %.40q", len(text), text)
	}
	for range 2 { // the second finds the first, and changes nothing
		if _, err := s.Ledger.SetSwitch(t.Context(), outage.SwitchOff, bad, bad, storetest.T0); err != nil {
			t.Fatal(err)
		}
	}
	list := []devices.File{{Name: bad, Reader: strings.NewReader(storetest.Meter(1).String())}}
	if _, err := s.Devices.ImportList(t.Context(), bad, storetest.T0, list[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Devices.ImportInventory(t.Context(), bad, storetest.T0, func() (devices.File, error) { // no file at all
		return devices.File{}, io.EOF
	}); err != nil {
		t.Fatal(err)
	}
	events, err := events.Latest(t.Context(), s.DB, 10)
	if err != nil || len(events) != 3 {
		t.Fatalf("%+v %v", events, err)
	}
	for _, e := range events {
		if e.Who != good || e.What != "inventory" && e.Why != good {
			t.Errorf("%+v", e)
		}
	}
	if !s.DB.Available() {
		t.Error("the store is not available")
	}
}
