package devices_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/store/storetest"
)

// A check that fails is in "degraded", and is not repeated for each status.
func TestOtherManufacturersNotKnown(t *testing.T) {
	s := storetest.Open(t, t.TempDir())
	c := &devices.ManufacturerCheck{Devices: s.Devices, Tracked: func() outage.Manufacturers { return nil }, Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Run(ctx); err == nil {
		t.Error("a result after the context ended")
	}
	if _, err := c.Run(t.Context()); err != nil {
		t.Error(err)
	}
	s.DB.Close()
	if _, err := c.Run(t.Context()); err == nil {
		t.Error("a result from a closed store")
	}
	if got := c.Sentence(devices.Import{}, devices.Import{}); got != "" {
		t.Errorf("there are no imports, and so no other manufacturers: %q", got)
	}
	for range 3 {
		if got := c.Sentence(devices.Import{No: 1}, devices.Import{}); !strings.HasPrefix(got, "the manufacturers of the listed meters are not known: ") {
			t.Errorf("%q", got)
		}
		if c.Checking() {
			t.Error("checked again at once")
		}
	}
	long := c.Failed().Add(-2 * devices.OthersPause)
	c.SetFailed(long)
	c.Sentence(devices.Import{No: 1}, devices.Import{})
	again := func() bool {
		return c.Failed().After(long) // it was checked, and that failed again
	}
	for deadline := time.Now().Add(20 * time.Second); !again(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not checked again after the pause")
		}
	}
}

// A text of any length does not make the sentence long.
func TestOtherManufacturersAreCut(t *testing.T) {
	o := devices.OtherManufacturers{Meters: 3, Largest: []devices.Manufacturer{{Text: strings.Repeat("€", 100_000), Meters: 3}}}
	if s := o.String(); len(s) > 300 || !strings.Contains(s, "… (300000 bytes)") || strings.Contains(s, "others") {
		t.Error(s)
	}
}
