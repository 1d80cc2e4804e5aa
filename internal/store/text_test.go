package store

import (
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"quell/internal/outage"
)

// What comes from outside and is not UTF-8, or has a NUL, does not make the store
// "not answer": PostgreSQL refuses such texts, and the transaction with them.
func TestTextsFromOutside(t *testing.T) {
	const bad, good = "caf\xe9 \x00 \xff", "caf\uFFFD \uFFFD \uFFFD"
	s := lead(t, openIn(t, t.TempDir(), func(o *Options) { o.Node = "host " + bad }))
	logN(t, s, 1)
	r := writeReport(t, s, 1, func(c *Cut) { c.Remotes = map[string]string{"esi": Consolidated} })
	d := Delivery{Report: r.No, Stream: Consolidated, Remote: "esi", State: StateWritten, At: t0, Tries: 1, Error: bad + strings.Repeat("é", 1<<20)}
	if err := s.SetDelivery(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	r, err := s.Report(t.Context(), r.No)
	if err != nil || len(r.Files[0].Deliveries) != 1 {
		t.Fatalf("%+v %v", r, err)
	}
	if text := r.Files[0].Deliveries[0].Error; !strings.HasPrefix(text, good) || len(text) > 2*maxText || !utf8.ValidString(text) {
		t.Errorf("a remote's error of %d bytes: %.40q", len(text), text)
	}
	for range 2 { // the second finds the first
		if _, err := s.SetSwitch(t.Context(), outage.SwitchOff, bad, bad, t0); err != nil {
			t.Fatal(err)
		}
	}
	list := []File{{bad, strings.NewReader(meter(1).String())}}
	if _, err := s.ImportList(t.Context(), bad, t0, list[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ImportInventory(t.Context(), bad, t0, func() (File, error) { // who imports nothing
		return File{}, io.EOF
	}); err != nil {
		t.Fatal(err)
	}
	events, err := s.Events(t.Context(), 10)
	if err != nil || len(events) != 3 {
		t.Fatalf("%+v %v", events, err)
	}
	for _, e := range events {
		if e.Who != good || e.What != "inventory" && e.Why != good {
			t.Errorf("%+v", e)
		}
	}
	if !s.Available() {
		t.Error("the store does not answer")
	}
}
