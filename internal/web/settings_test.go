package web

import (
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"quell/internal/cluster"
	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/role"
	"quell/internal/search"
)

// TestSwitchForm: the switch is changed only for a reason, after a page that repeats what will happen,
// and by an operator; who and why are in its history.
func TestSwitchForm(t *testing.T) {
	c, audit := filled(t)
	operator, analyst := tokenOf(t, c, "operator", role.Operator), tokenOf(t, c, "analyst", role.Analyst)
	const why = `CHG0042 </textarea><script>alert(1)</script>` + "\u202e"
	for _, x := range []struct {
		token, to, why string
		code           int
		says           string
	}{
		{operator, "off", "", 400, "Give a reason"},
		{operator, "off", " \t", 400, "Give a reason"},
		{operator, "", "x", 400, "Choose on, shadow or off"},
		{operator, "sideways", "x", 400, "Choose on, shadow or off"},
		{operator, "on", "x", 400, "The switch is on already"},
		{analyst, "off", "x", 403, "needs the role operator"},
	} {
		for _, path := range []string{"/settings/switch", "/settings/switch/confirmed"} {
			a := ask(c, far, x.token, "POST", path, url.Values{"to": {x.to}, "why": {x.why}})
			checked(t, path, a)
			if a.Code != x.code || !strings.Contains(text(a), x.says) || c.Ledger.Switch() != outage.SwitchOn {
				t.Errorf("%s %+v: %d %s", path, x, a.Code, text(a))
			}
		}
	}
	for to, says := range map[outage.Switch]string{
		outage.SwitchOff:    "Off: all alerts pass, nothing is suppressed and nothing logged.",
		outage.SwitchShadow: "Shadow: all alerts pass. quell logs what it would suppress",
	} {
		a := ask(c, far, operator, "POST", "/settings/switch", url.Values{"to": {string(to)}, "why": {why}})
		checked(t, "the question", a)
		if a.Code != 200 || !strings.Contains(text(a), says) || !strings.Contains(text(a), "The switch is on now.") || c.Ledger.Switch() != outage.SwitchOn {
			t.Errorf("%d %s", a.Code, text(a))
		}
	}
	audit.take()
	if a := ask(c, far, operator, "POST", "/settings/switch/confirmed", url.Values{"to": {"shadow"}, "why": {why}}); a.Code != 303 || a.Header().Get("Location") != "/settings" || c.Ledger.Switch() != outage.SwitchShadow {
		t.Errorf("%d, the switch is %s: %s", a.Code, c.Ledger.Switch(), text(a))
	}
	list, err := events.LatestOf(t.Context(), c.DB, "switch", 0, 10)
	if err != nil || len(list) != 2 || list[0].Why != why || list[0].Who != "token:operator" || list[0].New != "shadow" {
		t.Errorf("%+v %v", list, err)
	}
	if list := audit.take(); len(list) != 0 { // the change records itself
		t.Errorf("%+v", list)
	}
	a := ask(c, here, "", "GET", "/settings", nil)
	checked(t, "/settings", a)
	if !strings.Contains(text(a), "CHG0042 </textarea><script>alert(1)</script>\ufffd") || strings.Contains(a.Body.String(), "<script>alert") || strings.Contains(a.Body.String(), `action="/settings/switch"`) {
		t.Errorf("%s", a.Body)
	}
	if a = ask(c, far, operator, "GET", "/settings", nil); !strings.Contains(a.Body.String(), `action="/settings/switch"`) || strings.Contains(a.Body.String(), `value="shadow"`) {
		t.Error("an operator must have a form for the other positions alone")
	}
	checked(t, "/settings", a)
}

// TestSettingsAway: without the store the page shows what is in force, and the switch can be set to off.
func TestSettingsAway(t *testing.T) {
	c, _ := filled(t)
	c.DB.Close()
	a := ask(c, root, "", "GET", "/settings", nil)
	checked(t, "/settings", a)
	if a.Code != 200 || !strings.Contains(text(a), "The store does not answer") || !strings.Contains(a.Body.String(), `value="off"`) || !strings.Contains(text(a), "Landis+Gyr") {
		t.Errorf("%d %s", a.Code, text(a))
	}
	form := url.Values{"to": {"off"}, "why": {"a test"}}
	if a = ask(c, root, "", "POST", "/settings/switch", form); a.Code != 200 || !strings.Contains(text(a), "Off: all alerts pass") {
		t.Errorf("%d %s", a.Code, text(a))
	}
	a = ask(c, root, "", "POST", "/settings/switch/confirmed", form)
	checked(t, "here only", a)
	if a.Code != 200 || !strings.Contains(text(a), "off on this node only") || c.Ledger.Switch() != outage.SwitchOff {
		t.Errorf("%d %s: %s", a.Code, c.Ledger.Switch(), text(a))
	}
}

// TestHistories: a long history has pages, each import with its difference to the one before.
func TestHistories(t *testing.T) {
	c, _ := filled(t)
	for i := range 60 {
		to := []outage.Switch{outage.SwitchOff, outage.SwitchOn}[i%2]
		if _, err := c.Ledger.SetSwitch(t.Context(), to, "somebody", fmt.Sprintf("change %d", i), t0); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("list %d <i>\u202e.txt", i)
		if _, err := c.Devices.ImportList(t.Context(), "somebody", t0, devices.File{Name: name, Reader: strings.NewReader(fmt.Sprintf("%v\n%016x\n", meter, 0xDB00+i))}); err != nil {
			t.Fatal(err)
		}
	}
	a := ask(c, here, "", "GET", "/settings", nil)
	checked(t, "/settings", a)
	for _, want := range []string{"change 59", "change 55", "list 59 <i>\ufffd.txt", "1 added, 1 removed", "in force", "All changes", "All imports", "00-00-00-00-00-00-DB-3B"} {
		if !strings.Contains(text(a), want) {
			t.Errorf("no %q: %s", want, text(a))
		}
	}
	if strings.Contains(text(a), "change 54") || strings.Contains(a.Body.String(), "<i>") || strings.Contains(a.Body.String(), "\u202e") {
		t.Errorf("%s", a.Body)
	}
	for of, n := range map[string]int{"switch": 61, "devices": 61, "inventory": 1} {
		rows := 0
		for at := "/settings/history?of=" + of; at != ""; {
			a := ask(c, here, "", "GET", at, nil)
			checked(t, at, a)
			if a.Code != 200 {
				t.Fatalf("%s: %d %s", at, a.Code, text(a))
			}
			rows += strings.Count(a.Body.String(), `<th scope="row"`)
			_, next, more := strings.Cut(a.Body.String(), "&amp;before=")
			if next, _, _ = strings.Cut(next, `"`); more {
				at = "/settings/history?of=" + of + "&before=" + next
			} else {
				at = ""
			}
		}
		if rows != n {
			t.Errorf("%s: %d rows, want %d", of, rows, n)
		}
	}
	for _, path := range []string{"/settings/history?of=nothing", "/settings/history?before=x", "/settings/history?before=0"} {
		if a := ask(c, here, "", "GET", path, nil); a.Code != 400 {
			t.Errorf("%s: %d", path, a.Code)
		}
	}
}

// TestPreviews: the page says what another window or list would have done, and imports nothing.
func TestPreviews(t *testing.T) {
	c, _ := filled(t)
	operator := tokenOf(t, c, "operator", role.Operator)
	before, err := c.Devices.LastImport(t.Context(), "devices")
	if err != nil {
		t.Fatal(err)
	}
	list := func(text string) *httptest.ResponseRecorder {
		return send(c, far, operator, "/settings/preview", sent{"<b>new\u202elist.txt", strings.NewReader(text)})
	}
	for _, x := range []struct {
		a    *httptest.ResponseRecorder
		code int
		says string
	}{
		{list(meter.String() + "\n"), 200, "Of 1 alert that was suppressed since 2026-01-30 10:01:00 UTC, 0 would have passed"},
		{list(hub.String() + "\n"), 200, "1 would have passed, since their meters are not in it"},
		{list(hub.String() + "\n"), 200, "The list <b>new\ufffdlist.txt , with 1 device"},
		{list("not an id\nnor this\n"), 422, "nor this"},
		{send(c, far, operator, "/settings/preview"), 400, "Choose a file first"},
		{send(c, far, operator, "/settings/preview", sent{"a", strings.NewReader(meter.String())}, sent{"b", strings.NewReader(meter.String())}), 400, "the most is 1"},
		{send(c, far, operator, "/settings/preview", sent{"a", io.LimitReader(readerFunc(func(b []byte) (int, error) {
			for i := range b {
				b[i] = "#\n"[i%2]
			}
			return len(b) / 2 * 2, nil
		}), 129<<20)}), 413, "larger than 128 MiB"},
		{send(c, far, tokenOf(t, c, "analyst", role.Analyst), "/settings/preview", sent{"a", strings.NewReader("")}), 403, "needs the role operator"},
		{ask(c, here, "", "GET", "/settings/preview?to=12m", nil), 400, `"" is not a time`},
		{ask(c, here, "", "GET", "/settings/preview?from=0&to=12m", nil), 200, "All models: a window from the activation to 12 min after it"},
		{ask(c, here, "", "GET", "/settings/preview?from=1&to=12&model=%3Ci%3E", nil), 200, "<i>: a window from 1 min after the activation to 12 min after it"},
		{ask(c, here, "", "GET", "/settings/preview?from=0&to=3h", nil), 400, "within two hours"},
		{ask(c, here, "", "GET", "/settings/preview?from=12m&to=1m", nil), 400, "within two hours"},
		{ask(c, here, "", "GET", "/settings/preview?from=0&to=NaN", nil), 400, "is not a time"},
		{ask(c, here, "", "GET", "/settings/preview?from=0&to=1e300", nil), 400, "is not a time"},
	} {
		checked(t, x.says, x.a)
		if x.a.Code != x.code || !strings.Contains(text(x.a), x.says) {
			t.Errorf("%d, want %d %q: %s", x.a.Code, x.code, x.says, text(x.a))
		}
	}
	if after, err := c.Devices.LastImport(t.Context(), "devices"); err != nil || after != before {
		t.Errorf("%+v, was %+v: %v", after, before, err)
	}
}

// TestNodes: the page has the nodes, the windows of models and what differs, whatever they are named.
func TestNodes(t *testing.T) {
	c, _ := filled(t)
	c.Search.InForce = func() search.Settings {
		s := c.InForce()
		s.WindowByModel = []search.ModelWindow{{Model: "<i>e470", From: 165, To: 720}}
		s.Nodes = []cluster.Node{{Name: "<b>one", Version: "v1", Seen: t0, Here: true, Leader: true}, {Name: "two\u202e", Version: "v2", Seen: t0}}
		s.Differences = []string{"window: <b>one has 30m0s, two has 20m0s"}
		return s
	}
	a := ask(c, here, "", "GET", "/settings", nil)
	checked(t, "/settings", a)
	for _, want := range []string{"<i>e470 2 min 45 s 12 min", "<b>one (this one) leader v1 2026-03-01 10:00:00 UTC", "two\ufffd v2", "Their settings differ:", "Window: <b>one has 30m0s"} {
		if !strings.Contains(text(a), want) {
			t.Errorf("no %q: %s", want, text(a))
		}
	}
	if strings.Contains(a.Body.String(), "<b>") || strings.Contains(a.Body.String(), "<i>") {
		t.Errorf("%s", a.Body)
	}
}
