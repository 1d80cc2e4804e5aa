package console

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"quell/internal/access"
	"quell/internal/role"
	"quell/internal/sqldb"
)

// TestSearchErrors: what cannot be meant is refused with the reason.
func TestSearchErrors(t *testing.T) {
	c, h, _ := filled(t)
	operator := tokenOf(t, c, "operator", role.Operator)
	for _, x := range []struct {
		request string
		status  int
		says    string
	}{
		{"GET /api/v1/log?before=1&after=1", 400, "not both"},
		{"GET /api/v1/log?before=0", 400, "from 1"},
		{"GET /api/v1/log?limit=1001", 400, "from 1 to 1000"},
		{"GET /api/v1/log?outcome=lost", 400, "not one of [suppressed shadow forwarded released]"},
		{"GET /api/v1/log?evidence=sure", 400, "not one of [none weak strong]"},
		{"GET /api/v1/log?distributor=09", 400, "neither two digits nor unknown"},
		{"GET /api/v1/log?distributor=unknown", 200, `"entries": []`},
		{"GET /api/v1/log?hub=x", 400, "EUI-64"},
		{"GET /api/v1/log?from=noon", 400, "not a time"},
		{"GET /api/v1/log?mpxn=" + supplyPoint, 400, "unknown parameter"},
		{"GET /api/v1/log?from=2026-03-01T10:00:00Z&to=2026-03-01T10:00:00Z", 400, "from before to"},
		{"GET /api/v1/log/export?before=1&after=1", 400, "not both"},
		{"GET /api/v1/suspects?weak=no", 400, "not one of"},
		{"GET /api/v1/calendar?supplier=x", 400, "EUI-64"},
		{"GET /api/v1/windows/gantt", 400, "say whose windows"},
		{"GET /api/v1/windows/raised?after=99", 404, "not there any more"},
		{"GET /api/v1/windows/raised?which=loud", 400, "not one of [all raised silent]"},
		{"GET /api/v1/chart?minutes=0", 400, "from 1 to 1440"},
		{"GET /api/v1/chart?from=2025-03-01T10:00:00Z", 400, "up to 31 days"},
		{"GET /api/v1/imports?kind=hubs", 400, "not one of"},
		{"GET /api/v1/preview/window", 400, "not a time such as"},
		{"GET /api/v1/preview/window?to=3h", 400, "within two hours"},
		{"GET /api/v1/preview/window?from=20m&to=10m", 400, "must begin"},
		{"POST /api/v1/preview/list FORM" + meter.String() + "\n12", 422, "line 2"},
		{"POST /api/v1/preview/list x", 400, "multipart"},
	} {
		method, rest, _ := strings.Cut(x.request, " ")
		path, body, _ := strings.Cut(rest, " ")
		c.Guard.Access.Rates = &access.Rates{}
		if w := ask(h, "192.0.2.1:9", operator, method, path, body); w.Code != x.status || !strings.Contains(w.Body.String(), x.says) {
			t.Errorf("%s: %d, want %d and %q: %s", x.request, w.Code, x.status, x.says, w.Body)
		}
	}
}

// TestSearchMPxN: searches show MPxNs to analysts, with a record of each look-up before the answer,
// and to nobody else.
func TestSearchMPxN(t *testing.T) {
	c, h, audit := filled(t)
	if err := c.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `INSERT INTO evidence (seq, at, level, restored, facts) VALUES (1, 0, 'weak', 0, '{"entry":1,"level":"weak"}')`)
	}); err != nil {
		t.Fatal(err)
	}
	viewer, analyst := tokenOf(t, c, "viewer", role.Viewer), tokenOf(t, c, "analyst", role.Analyst)
	for _, x := range []struct {
		path   string
		viewer int
		object string // of the look-up
	}{
		{"/api/v1/log", 200, "entries 1 to 1, 1 of them"},
		{"/api/v1/log?hub=" + hub.String() + "&evidence=weak", 200, "entries 1 to 1, 1 of them"},
		{"/api/v1/log?outcome=shadow", 200, ""},
		{"/api/v1/suspects", 200, "entries 1 to 1, 1 of them"},
		{"/api/v1/suspects?weak=false", 200, ""},
		{"/api/v1/log/export?meter=" + meter.String(), 403, "export of log/export?meter=" + meter.String()},
	} {
		w := ask(h, "192.0.2.1:9", viewer, "GET", x.path, "")
		if w.Code != x.viewer || strings.Contains(w.Body.String(), supplyPoint) || w.Code == 200 && !strings.Contains(w.Body.String(), `"mpxn_hidden": true`) {
			t.Errorf("%s as viewer: %d %s", x.path, w.Code, w.Body)
		}
		audit.take()
		w = ask(h, "192.0.2.1:9", analyst, "GET", x.path, "")
		list := audit.take()
		if w.Code != 200 || strings.Contains(w.Body.String(), supplyPoint) != (x.object != "") || strings.Contains(w.Body.String(), "mpxn_hidden") {
			t.Errorf("%s as analyst: %d %s", x.path, w.Code, w.Body)
		}
		if len(list) > 1 || (len(list) == 1) != (x.object != "") || len(list) == 1 && (list[0].Object != x.object || list[0].What != "look-up" || list[0].Outcome != done) {
			t.Errorf("%s as analyst: audit %+v, want %q", x.path, list, x.object)
		}
	}
	audit.err = io.ErrShortWrite
	for _, path := range []string{"/api/v1/log", "/api/v1/suspects", "/api/v1/log/export"} {
		if w := ask(h, "192.0.2.1:9", analyst, "GET", path, ""); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), supplyPoint) {
			t.Errorf("%s without an audit: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestExportLog: the export is CSV, and its trailer says how to go on.
func TestExportLog(t *testing.T) {
	c, h, _ := filled(t)
	suppressNow(t, c)
	analyst := tokenOf(t, c, "analyst", role.Analyst)
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, x := range []struct {
		query string
		rows  int
		next  string
	}{{"", 3, "0"}, {"?limit=1", 2, "2"}, {"?limit=1&before=2", 2, "0"}, {"?outcome=shadow", 1, "0"}} {
		req, err := http.NewRequest("GET", srv.URL+"/api/v1/log/export"+x.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+analyst)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(res.Body).ReadAll()
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || len(rows) != x.rows || rows[0][0] != "sequence" || res.Trailer.Get("Quell-Next") != x.next {
			t.Errorf("%q: %d, %d rows, next %q, %v", x.query, res.StatusCode, len(rows), res.Trailer.Get("Quell-Next"), err)
		}
	}
}

// TestSettings: the settings have what is in force, and how it changed.
func TestSettings(t *testing.T) {
	c, h, _ := filled(t)
	operator := tokenOf(t, c, "operator", role.Operator)
	if w := ask(h, "192.0.2.1:9", operator, "PUT", "/api/v1/switch", `{"switch":"shadow","why":"a test"}`); w.Code != 200 {
		t.Fatal(w.Body)
	}
	if w := ask(h, "192.0.2.1:9", operator, "POST", "/api/v1/devices", "FORM"+meter.String()+"\n"+hub.String()); w.Code != 200 {
		t.Fatal(w.Body)
	}
	var s struct {
		Switch        string
		Manufacturers []string
		SwitchHistory []struct{ New, Why, Who string } `json:"switch_history"`
		DeviceLists   []struct {
			Rows    int
			InForce bool `json:"in_force"`
			Change  struct {
				Added     int
				Additions []string
			}
		} `json:"device_lists"`
	}
	w := ask(h, "192.0.2.1:9", operator, "GET", "/api/v1/settings", "")
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Switch != "shadow" || len(s.Manufacturers) != 1 || len(s.SwitchHistory) == 0 || s.SwitchHistory[0].New != "shadow" || s.SwitchHistory[0].Who != "token:operator" ||
		len(s.DeviceLists) != 2 || s.DeviceLists[0].Rows != 2 || !s.DeviceLists[0].InForce || s.DeviceLists[1].InForce || s.DeviceLists[0].Change.Added != 1 || s.DeviceLists[0].Change.Additions[0] != hub.String() {
		t.Errorf("%s", w.Body)
	}
}
