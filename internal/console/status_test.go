package console

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"quell/internal/outage"
	"quell/internal/role"
)

// TestOverview: the status of the API has the overview. /readyz has not: probes come often, and
// each part of it is a question to the store.
func TestOverview(t *testing.T) {
	c, h, _ := filled(t)
	c.Neighbours = func() ([]NextHop, []Remote) {
		return []NextHop{{Direction: outage.South, URL: "http://dsp.example", Up: true}}, []Remote{{Name: "esi", Stream: "consolidated"}}
	}
	if _, err := c.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "alice", "a test", t0); err != nil {
		t.Fatal(err)
	}
	if err := c.Flow.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	viewer := tokenOf(t, c, "viewer", role.Viewer)
	w := ask(h, "192.0.2.1:9", viewer, "GET", "/api/v1/status", "")
	var s Status
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Overview == nil {
		t.Fatal(err, w.Body)
	}
	if s.SwitchChange == nil || s.SwitchChange.Who != "alice" || s.Store.Engine != "sqlite" || !s.Store.Up || s.Store.Bytes == 0 || s.Store.Lag <= 0 ||
		len(s.NextHops) != 1 || !s.NextHops[0].Up || len(s.Remotes) != 1 || s.Remotes[0].Unsent != 0 || !s.At.Equal(c.Motorway.Now()) {
		t.Errorf("%+v", s.Overview)
	}
	probe := ask(h, "192.0.2.1:9", viewer, "GET", "/readyz", "").Body.String()
	if !strings.Contains(probe, `"degraded"`) || strings.Contains(probe, "switch_change") || strings.Contains(probe, "last_day") {
		t.Error(probe)
	}
	if shown := w.Body.String() + probe; strings.Contains(shown, supplyPoint) {
		t.Error("an MPxN:", shown)
	}
}

// TestStatusUnread: when the store does not answer, the status says what in it means nothing.
func TestStatusUnread(t *testing.T) {
	c, h, _ := filled(t)
	c.Neighbours = func() ([]NextHop, []Remote) { return nil, []Remote{{Name: "esi", Stream: "consolidated"}} }
	var s Status
	get := func() {
		t.Helper()
		s = Status{}
		if err := json.Unmarshal(ask(h, "127.0.0.1:9", "", "GET", "/api/v1/status", "").Body.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
	}
	if get(); s.Unread != nil {
		t.Errorf("a store that answers: %q", s.Unread)
	}
	c.DB.Close()
	if get(); !slices.Contains(s.Unread, "windows_open") || !slices.Contains(s.Unread, "last_hour") || !slices.Contains(s.Unread, "remotes") || len(s.Degraded) == 0 {
		t.Errorf("a store that does not answer: %q, %q", s.Unread, s.Degraded)
	}
}
