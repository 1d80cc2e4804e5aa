package console

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/adviser"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/guard"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/role"
	"quell/internal/search"
	"quell/internal/sqldb"
	"quell/internal/store"
	"quell/internal/tokens"

	"github.com/prometheus/client_golang/prometheus"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

const (
	meter = outage.DeviceID(0x00DB1234567890A0)
	hub   = outage.DeviceID(0x88738457002F961E)
)

func newConsole(t *testing.T) (*Console, *httptest.Server) {
	st, err := store.Open(t.Context(), store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	r := prometheus.NewRegistry()
	log := slog.New(slog.DiscardHandler)
	m := &motorway.Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: func() time.Time { return t0.Add(time.Minute) }, Log: log, Metrics: motorway.NewMetrics(r)}
	m.SetRules(motorway.Rules{Manufacturers: outage.Manufacturers{"Landis+Gyr"}})
	c := &Console{Motorway: m, DB: st.DB, Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Reports: st.Reports, Releases: st.Releases, Audit: st.Audit, Flow: st.Flow, Conditions: st.Conditions, Metrics: r, Log: log, Version: "v0"}
	c.Manufacturers = &devices.ManufacturerCheck{Devices: st.Devices, Tracked: func() outage.Manufacturers { return m.Rules().Manufacturers }, Log: log}
	c.Adviser = &adviser.Adviser{Windows: st.Windows, Devices: st.Devices, Ledger: st.Ledger, DB: st.DB, Now: func() time.Time { return t0.Add(time.Hour) }, InForce: m.Rules().WindowOf,
		Asks: func() bool { return true }, Learned: func(context.Context) (*evidence.Learning, error) { return nil, nil },
		Assessed: func(_ context.Context, from, _ int64) ([]evidence.Assessment, error) {
			return []evidence.Assessment{{Entry: from, Level: evidence.Weak}}, nil
		}}
	c.Search = &search.Search{DB: st.DB, Devices: st.Devices, Evidence: st.Evidence, Now: m.Now, Learned: st.Evidence.Learned, Advice: c.Adviser.Window, InForce: c.InForce, Others: c.Manufacturers.Sentence, FirstWait: 20 * time.Second}
	c.Tokens = tokens.New(st.DB)
	c.Guard = &guard.Guard{Access: &access.Access{Tokens: c.Tokens, Now: m.Now, Rates: &access.Rates{}}, Log: log, Record: st.Audit.Write, Refused: st.Audit.Refused}
	c.Guard.Access.Set(access.Settings{})
	srv := httptest.NewServer(c.Handler())
	t.Cleanup(srv.Close)
	return c, srv
}

// Handler returns a handler of the API alone, each time with a guard of its own.
func (c *Console) Handler() http.Handler {
	c.Guard = &guard.Guard{Access: c.Guard.Access, Log: c.Guard.Log, Record: c.Guard.Record, Refused: c.Guard.Refused}
	c.Register()
	return c.Guard
}

func TestStatusOfErrors(t *testing.T) {
	c, srv := newConsole(t)
	admin := tokenOf(t, c, "admin", role.Admin)
	c.Configured = func(kind string) string {
		if kind == "devices" {
			return "device_list"
		}
		return ""
	}
	form := func(text string) (string, io.Reader) {
		const b = "xyz"
		return "multipart/form-data; boundary=" + b, strings.NewReader("--" + b + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.csv\"\r\n\r\n" + text + "\r\n--" + b + "--\r\n")
	}
	const head = "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	row := meter.String() + ",ESME,SMETS2,Landis+Gyr,E470," + hub.String() + ",\n"
	for _, x := range []struct {
		method, path, body string
		header             [2]string
		status             int
		says               string
	}{
		{"GET", "/healthz", "", [2]string{}, 200, "ok"},
		{"GET", "/readyz", "", [2]string{}, 200, "there is no device list: nothing is tracked"},
		{"GET", "/metrics", "", [2]string{}, 200, "quell_store_batch_size_count 0"},
		{"GET", "/nowhere", "", [2]string{}, 404, ""},
		{"POST", "/api/v1/suppressions", "", [2]string{}, 405, ""},
		{"GET", "/api/v1/suppressions", "", [2]string{}, 200, `"entries": []`},
		{"GET", "/api/v1/suppressions?limit=0", "", [2]string{}, 400, "from 1 to 10000"},
		{"GET", "/api/v1/suppressions?mpxn=1200023305967", "", [2]string{}, 400, `unknown parameter \"mpxn\"; this endpoint takes after, limit`},
		{"GET", "/api/v1/suppressions?limit=1&limit=2", "", [2]string{}, 400, "limit is there more than once"},
		{"GET", "/api/v1/suppressions?limit=1;after=2", "", [2]string{}, 400, "query"},
		{"GET", "/api/v1/suppressions?%zz", "", [2]string{}, 400, "query"},
		{"GET", "/api/v1/suppressions?after=x", "", [2]string{}, 400, "after"},
		{"GET", "/api/v1/activations", "", [2]string{}, 400, "either"},
		{"GET", "/api/v1/activations?chf=1", "", [2]string{}, 400, "EUI-64"},
		{"GET", "/api/v1/activations?chf=" + hub.String(), "", [2]string{}, 200, `"activations": []`},
		{"GET", "/api/v1/explain?id=x", "", [2]string{}, 400, "not an EUI-64"},
		{"GET", "/api/v1/explain?id=1&at=noon", "", [2]string{}, 400, "at="},
		{"GET", "/api/v1/devices/x", "", [2]string{}, 400, "EUI-64"},
		{"GET", "/api/v1/devices/" + meter.String(), "", [2]string{}, 200, "unknown-device"},
		{"PUT", "/api/v1/switch", `{"switch":"off"}`, [2]string{}, 400, "why"},
		{"PUT", "/api/v1/switch", `{"switch":"no","why":"b"}`, [2]string{}, 400, "on, shadow or off"},
		{"PUT", "/api/v1/switch", `{"switch":"off","why":"a\u0000b"}`, [2]string{}, 400, "why"},
		{"PUT", "/api/v1/switch", `{"swich":"off"}`, [2]string{}, 400, "swich"},
		{"PUT", "/api/v1/switch", `{"switch":"off","why":"b"}`, [2]string{"Origin", "http://elsewhere.example"}, 403, ""},
		{"PUT", "/api/v1/switch", `{"switch":"off","why":"b"}`, [2]string{"Host", "elsewhere.example"}, 200, `"new": "off"`},
		{"PUT", "/api/v1/switch", `{"switch":"off","why":"b"}`, [2]string{"Host", "localhost:1"}, 200, `"new": "off"`},
		{"GET", "/api/v1/windows", "", [2]string{}, 200, `"windows": []`},
		{"GET", "/api/v1/windows?chf=" + hub.String(), "", [2]string{}, 400, `unknown parameter \"chf\"; this endpoint takes target, supplier, limit`},
		{"GET", "/api/v1/windows?target=x", "", [2]string{}, 400, "neither an EUI-64"},
		{"GET", "/api/v1/windows?supplier=x", "", [2]string{}, 400, "EUI-64"},
		{"GET", "/api/v1/windows?limit=0", "", [2]string{}, 400, "from 1 to 10000"},
		{"GET", "/api/v1/windows?target=" + hub.String() + "&supplier=" + hub.String(), "", [2]string{}, 400, "whose windows"},
		{"POST", "/api/v1/windows/close?all=true", `{"all":true,"why":"b"}`, [2]string{}, 400, "unknown parameter"},
		{"POST", "/api/v1/windows/close", `{"all":true}`, [2]string{}, 400, "why"},
		{"POST", "/api/v1/windows/close", `{"all":true,"why":" "}`, [2]string{}, 400, "why"},
		{"POST", "/api/v1/windows/close", `{"all":true,"why":"a\u0000b"}`, [2]string{}, 400, "why"},
		{"POST", "/api/v1/windows/close", `{"why":"b"}`, [2]string{}, 400, "whose windows"},
		{"POST", "/api/v1/windows/close", `{"all":true,"target":"` + hub.String() + `","why":"b"}`, [2]string{}, 400, "whose windows"},
		{"POST", "/api/v1/windows/close", `{"target":"0000000000000000","why":"b"}`, [2]string{}, 400, "the id is zero"},
		{"POST", "/api/v1/windows/close", `{"targt":"x","why":"b"}`, [2]string{}, 400, "targt"},
		{"POST", "/api/v1/windows/close", `{"all":true,"why":"b"}`, [2]string{"Origin", "http://elsewhere.example"}, 403, ""},
		{"POST", "/api/v1/windows/close", `{"target":"` + hub.String() + `","why":"b"}`, [2]string{}, 404, "nothing was closed"},
		{"POST", "/api/v1/inventory", "FORM" + head + row, [2]string{}, 200, `"rows": 1`},
		{"POST", "/api/v1/inventory?who=a", "FORM" + head + row, [2]string{}, 400, "unknown parameter"},
		{"POST", "/api/v1/inventory", head, [2]string{}, 400, "multipart"},
		{"POST", "/api/v1/inventory", "FORM" + head + "x\n", [2]string{}, 422, "f.csv: line 2"},
		{"POST", "/api/v1/inventory", "FORM" + head + row + row, [2]string{}, 422, "twice: " + meter.String()},
		{"POST", "/api/v1/devices", "FORM" + meter.String(), [2]string{}, 409, "device_list comes from the configuration"},
		{"GET", "/api/v1/devices/" + meter.String(), "", [2]string{}, 200, "not-listed"},
	} {
		var body io.Reader = strings.NewReader(x.body)
		kind := ""
		if text, ok := strings.CutPrefix(x.body, "FORM"); ok {
			kind, body = form(text)
		}
		req, err := http.NewRequest(x.method, srv.URL+x.path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		req.Header.Set("Authorization", "Bearer "+admin)
		if x.header[0] == "Host" {
			req.Host = x.header[1]
		} else if x.header[0] != "" {
			req.Header.Set(x.header[0], x.header[1])
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != x.status || !strings.Contains(string(text), x.says) {
			t.Errorf("%s %s %q: %d, want %d and %q:\n%s", x.method, x.path, x.body, res.StatusCode, x.status, x.says, text)
		}
	}
	c.Drain()
	if res, err := http.Get(srv.URL + "/readyz"); err != nil || res.StatusCode != 503 {
		t.Errorf("draining: %v %v", res, err)
	}
	c.DB.Close()
	if res, err := http.Get(srv.URL + "/api/v1/suppressions"); err != nil || res.StatusCode != 503 {
		t.Errorf("without a store: %v %v", res, err)
	}
}

// No endpoint ignores an unknown parameter.
func TestUnknownParameters(t *testing.T) {
	c, srv := newConsole(t)
	admin := tokenOf(t, c, "admin", role.Admin)
	for _, endpoint := range []string{"GET /healthz", "GET /readyz", "GET /metrics", "GET /api/v1/status", "GET /api/v1/suppressions", "GET /api/v1/activations",
		"GET /api/v1/explain", "GET /api/v1/events", "PUT /api/v1/switch", "POST /api/v1/inventory", "POST /api/v1/devices", "GET /api/v1/devices",
		"GET /api/v1/devices/" + meter.String(), "GET /api/v1/reports", "POST /api/v1/reports", "GET /api/v1/reports/1", "GET /api/v1/reports/1/file",
		"POST /api/v1/reports/1/send", "GET /api/v1/export"} {
		method, path, _ := strings.Cut(endpoint, " ")
		req, err := http.NewRequest(method, srv.URL+path+"?sideways=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+admin)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 400 || !strings.Contains(string(text), `unknown parameter \"sideways\"`) {
			t.Errorf("%s: %d %s", endpoint, res.StatusCode, text)
		}
	}
}

// A value that cannot be written as JSON is an error, not an empty answer with status 200.
func TestNoJSON(t *testing.T) {
	c, srv := newConsole(t)
	if err := c.Ledger.FirstSwitch(t.Context(), "on", "a", "b", time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(srv.URL + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode != 500 || !strings.Contains(string(text), "cannot be written as JSON") {
		t.Errorf("%d %q", res.StatusCode, text)
	}
}

// logText is a log that can be read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// TestStatusCounts: while many windows are not counted yet, the status says so, and not that there
// are none.
func TestStatusCounts(t *testing.T) {
	c, _ := newConsole(t)
	now := c.Motorway.Now()
	if err := c.DB.Do(t.Context(), sqldb.Urgent, func(ctx context.Context, tx sqldb.Tx) error {
		return tx.Later(ctx, `WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 10000)
			INSERT INTO activation (request_id, form, kind, execute_at, mode, esme, chf, received_at, starts_at, ends_at, state, standing)
			SELECT 'r' || v, '', '', 0, '', v, v, 0, 1, ?, '', 1 FROM n`, sqldb.Micros(now.Add(time.Hour)))
	}); err != nil {
		t.Fatal(err)
	}
	if s, _ := c.Status(t.Context()); !s.Counting || s.WindowsOpen != 0 || len(s.Degraded) != 2 {
		t.Errorf("before they are counted: %+v", s)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, _ := c.Status(t.Context())
		if !s.Counting && s.WindowsOpen == 10_000 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("they are never counted: %+v", s)
		}
	}
}
