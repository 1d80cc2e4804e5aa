package web

import (
	"context"
	"html"
	"io"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/outage"
	"quell/internal/search"
)

const hostileModel = `<b onclick=x()>&'" {{.}}`

// campaign adds to filled: a window of tomorrow for another meter of a hostile model, whose supplier
// is another.
func campaign(t *testing.T) (c *console.Console, other, supplier outage.DeviceID, at time.Time) {
	t.Helper()
	c, _ = filled(t)
	other, supplier, at = meter+1, hub+1, t0.Add(24*time.Hour)
	given := false
	_, err := c.Devices.ImportInventory(t.Context(), "a", t0, func() (devices.File, error) {
		if given {
			return devices.File{}, io.EOF
		}
		given = true
		return devices.File{Name: "inventory", Reader: strings.NewReader("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n" +
			other.String() + ",ESME,SMETS2,Landis+Gyr,\"" + strings.ReplaceAll(hostileModel, `"`, `""`) + "\"," + hub.String() + ",\n")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	request := outage.Request{ID: outage.RequestID{Originator: supplier, Target: other, Counter: 7}, Form: outage.ServiceRequest, Order: outage.Order{Kind: outage.FutureDated, At: at}, Received: t0}
	c.Ledger.Record(t.Context(), request.Activation(hub, 30*time.Minute))
	return c, other, supplier, at
}

// TestCalendar: the windows are counted by day, hour, supplier and model, and lead to their meters.
func TestCalendar(t *testing.T) {
	c, _, supplier, _ := campaign(t)
	for path, want := range map[string]struct {
		windows string // of the days that are shown
		has     []string
	}{
		"/activations": {"1 1", []string{"counted 2026-03-01 10:01:00 UTC", "pending 1 open 1 over 0 raised an AD1 1 false AD1s to come about 1", hostileModel, supplier.String()}},
		"/activations?supplier=" + supplier.String():                        {"1", []string{"of the supplier " + supplier.String(), "All suppliers"}},
		"/activations?supplier=" + hub.String():                             {"1", []string{"pending 0 open 1"}},
		"/activations?supplier=" + meter.String():                           {"", []string{"No window was open"}},
		"/activations?model=":                                               {"", []string{"of the model not in the inventory", "All models"}},
		"/activations?model=" + url.QueryEscape("Landis+Gyr "+hostileModel): {"1", []string{"of the model Landis+Gyr " + hostileModel}},
	} {
		w := ask(c, here, "", "GET", path, nil)
		checked(t, path, w)
		var days []string
		for _, m := range regexp.MustCompile(`</a> <small>(\d+)</small></th>`).FindAllStringSubmatch(w.Body.String(), -1) {
			days = append(days, m[1])
		}
		if have := strings.Join(days, " "); w.Code != 200 || have != want.windows {
			t.Errorf("%s: %d, days with %q, want %q: %s", path, w.Code, have, want.windows, text(w))
		}
		for _, s := range want.has {
			if !strings.Contains(text(w), s) {
				t.Errorf("%s: no %q in %s", path, s, text(w))
			}
		}
		for _, m := range regexp.MustCompile(`href="(/activations[^"]*)"`).FindAllStringSubmatch(w.Body.String(), -1) {
			to := html.UnescapeString(m[1])
			if w := ask(c, here, "", "GET", to, nil); w.Code != 200 {
				t.Errorf("%s leads to %s: %d %s", path, to, w.Code, text(w))
			}
		}
	}
}

// TestCalendarCounting: while the windows are counted for the first time the page says so, and what
// one can do meanwhile.
func TestCalendarCounting(t *testing.T) {
	c, _ := filled(t)
	counted := make(chan struct{})
	s := c.Search
	c.Search = &search.Search{DB: s.DB, Devices: s.Devices, Evidence: s.Evidence, Now: s.Now, Learned: func(context.Context) (*evidence.Learning, error) { <-counted; return nil, nil }}
	for _, path := range []string{"/activations", "/activations/windows?of=supplier&id=" + hub.String()} {
		w := ask(c, here, "", "GET", path, nil)
		checked(t, path, w)
		if w.Code != 200 || !strings.Contains(text(w), "quell is counting the windows for the first time") || strings.Contains(text(w), "never") {
			t.Errorf("%s: %d %s", path, w.Code, text(w))
		}
	}
	close(counted)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if w := ask(c, root, "", "GET", "/activations", nil); strings.Contains(text(w), "open 1") {
			return
		} else if time.Now().After(until) {
			t.Fatalf("%d %s", w.Code, text(w))
		}
	}
}

// TestWindows: the windows of a hub, a meter or a supplier are drawn to scale, and listed.
func TestWindows(t *testing.T) {
	c, other, supplier, _ := campaign(t)
	for query, want := range map[string][]string{
		"":                          {},
		"of=hub&id=" + hub.String(): {"Hub " + hub.String(), meter.String(), other.String(), "2026-03-01 10:00:00 2026-03-01 11:00:00", "2026-03-02 10:00:00 2026-03-02 10:30:00", "open entry 1", "pending none"},
		"of=hub&id=88738457002f961e&from=2026-03-02": {other.String(), "2026-03-02 10:00:00"},
		"of=meter&id=" + other.String():              {"Meter " + other.String(), "2026-03-02 10:30:00", supplier.String()},
		"of=supplier&id=" + supplier.String():        {"Supplier " + supplier.String(), "counted 2026-03-01 10:01:00", hostileModel},
		"of=supplier&id=" + meter.String():           {"No window was found"},
		"id=" + supplier.String():                    {"No window was found"},
	} {
		w := ask(c, here, "", "GET", "/activations/windows?"+query, nil)
		checked(t, query, w)
		for _, s := range want {
			if w.Code != 200 || !strings.Contains(text(w), s) {
				t.Errorf("%s: %d: no %q in %s", query, w.Code, s, text(w))
			}
		}
	}
}

// TestMeters: the meters of an hour, with the entry of those that raised an AD1.
func TestMeters(t *testing.T) {
	c, other, supplier, _ := campaign(t)
	for query, want := range map[string]struct{ has, not string }{
		"":                              {"entry 1", other.String()},
		"from=2026-03-01+10:00":         {"In all 1 window, of which 1 raised an AD1", other.String()},
		"from=2026-03-01&to=2026-03-03": {"silent", "\x00"},
		"from=2026-03-01&to=2026-03-03&which=raised":                                   {meter.String(), other.String()},
		"from=2026-03-01&to=2026-03-03&which=silent":                                   {other.String(), meter.String()},
		"from=2026-03-01&to=2026-03-03&supplier=" + strings.ToLower(supplier.String()): {other.String(), meter.String()},
		"from=2025-03-01": {"No window starts in this time", "In all"},
	} {
		w := ask(c, here, "", "GET", "/activations/meters?"+query, nil)
		checked(t, query, w)
		if w.Code != 200 || !strings.Contains(text(w), want.has) || strings.Contains(text(w), want.not) {
			t.Errorf("%s: %d: %q, not %q: %s", query, w.Code, want.has, want.not, text(w))
		}
	}
}
