package web

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/access"
	"quell/internal/adviser"
	auditlog "quell/internal/audit"
	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/guard"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/reporter"
	"quell/internal/role"
	"quell/internal/search"
	"quell/internal/store"
	"quell/internal/tokens"

	"github.com/prometheus/client_golang/prometheus"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

const (
	meter       = outage.DeviceID(0x00DB1234567890A0)
	hub         = outage.DeviceID(0x88738457002F961E)
	supplyPoint = "1200023305967"
)

const refused = auditlog.Refused

// audited collects what goes to the audit log.
type audited struct {
	mu   sync.Mutex
	list []auditlog.Record
	err  error
}

func (a *audited) record(_ context.Context, x ...auditlog.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, x...)
	return a.err
}

func (a *audited) refused(x auditlog.Record) {
	x.Outcome = refused
	a.record(context.Background(), x)
}

// take returns what was recorded since it was called last.
func (a *audited) take() []auditlog.Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.list
	a.list = nil
	return list
}

// empty returns a console with its API and its pages on a new store, at t0 and a minute.
func empty(t *testing.T) (*console.Console, *audited) {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return consoleOf(t, st, t0.Add(time.Minute))
}

// consoleOf returns a console with its API and its pages on a store, at an instant.
func consoleOf(t testing.TB, st *store.Store, now time.Time) (*console.Console, *audited) {
	r, log, a := prometheus.NewRegistry(), slog.New(slog.DiscardHandler), &audited{}
	m := &motorway.Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Evidence: st.Evidence, Now: func() time.Time { return now }, Log: log, Metrics: motorway.NewMetrics(r)}
	m.SetRules(motorway.Rules{Manufacturers: outage.Manufacturers{"Landis+Gyr"}})
	c := &console.Console{Motorway: m, DB: st.DB, Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Reports: st.Reports, Releases: st.Releases, Audit: st.Audit, Flow: st.Flow,
		Conditions: st.Conditions, Metrics: r, Log: log, Version: "v0", Tokens: tokens.New(st.DB)}
	c.Manufacturers = &devices.ManufacturerCheck{Devices: st.Devices, Tracked: func() outage.Manufacturers { return m.Rules().Manufacturers }, Log: log}
	c.Adviser = &adviser.Adviser{Windows: st.Windows, Devices: st.Devices, Ledger: st.Ledger, DB: st.DB, Now: m.Now, InForce: m.Rules().WindowOf,
		Asks: func() bool { return true }, Learned: func(context.Context) (*evidence.Learning, error) { return nil, nil },
		Assessed: func(context.Context, int64, int64) ([]evidence.Assessment, error) { return nil, nil }}
	c.Search = &search.Search{DB: st.DB, Devices: st.Devices, Evidence: st.Evidence, Now: m.Now, Learned: st.Evidence.Learned, Advice: c.Adviser.Window, InForce: c.InForce, Others: c.Manufacturers.Sentence, FirstWait: 20 * time.Second}
	reports := &reporter.Reporter{Register: st.Reports, Ledger: st.Ledger, Cluster: st.Cluster, Ready: st.Ready, Dir: filepath.Join(t.TempDir(), "reports"), Now: m.Now, Log: log, Metrics: reporter.NewMetrics(r)}
	reports.Set(reporter.Settings{SystemID: "quell", Every: time.Hour, MaxBytes: 10 << 20})
	c.Reporting = console.Reporting{Status: reports.Status, Chain: reports.Chain}
	c.Guard = &guard.Guard{Access: &access.Access{Tokens: c.Tokens, Now: m.Now, Rates: &access.Rates{}}, Log: log, Record: a.record, Refused: a.refused}
	c.Guard.Access.Set(access.Settings{})
	c.Register()
	(&Web{Console: c}).Register()
	return c, a
}

// filled is empty with something of everything: an entry at a supply point, whose window is open,
// and a report.
func filled(t *testing.T) (*console.Console, *audited) {
	t.Helper()
	c, a := empty(t)
	file := filepath.Join(t.TempDir(), "report.csv")
	if err := os.WriteFile(file, []byte("E,"+supplyPoint+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Reporting = console.Reporting{
		Status: c.Reporting.Status, Chain: c.Reporting.Chain,
		Cut:    func(context.Context) (report.Report, error) { return report.Report{No: 1}, nil },
		Send:   func(context.Context, int64, string) error { return nil },
		Resume: func(context.Context, int64, string, string) error { return nil },
		Open:   func(context.Context, int64, string) (*os.File, error) { return os.Open(file) },
		Export: func(string) (string, func(context.Context, io.Writer, time.Time, time.Time) error, error) {
			return "text/csv", func(_ context.Context, w io.Writer, _, _ time.Time) error {
				_, err := io.WriteString(w, supplyPoint+"\n")
				return err
			}, nil
		},
	}
	ctx := t.Context()
	if err := c.Ledger.FirstSwitch(ctx, outage.SwitchOn, "quell", "first value", t0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Devices.ImportList(ctx, "a", t0, devices.File{Name: "list", Reader: strings.NewReader(meter.String())}); err != nil {
		t.Fatal(err)
	}
	given := false
	if _, err := c.Devices.ImportInventory(ctx, "a", t0, func() (devices.File, error) {
		if given {
			return devices.File{}, io.EOF
		}
		given = true
		return devices.File{Name: "inventory", Reader: strings.NewReader("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n" +
			meter.String() + ",ESME,SMETS2,Landis+Gyr,E470," + hub.String() + "," + supplyPoint + "\n")}, nil
	}); err != nil {
		t.Fatal(err)
	}
	request := outage.Request{ID: outage.RequestID{Originator: hub, Target: meter, Counter: 1}, Form: outage.ServiceRequest, Order: outage.Order{Kind: outage.OnDemand}, Received: t0}
	c.Ledger.Record(ctx, request.Activation(hub, time.Hour))
	if _, err := c.Ledger.Decide(ctx, outage.Alert{ID: "a", Code: "AD1", CHF: hub, MPxN: supplyPoint, OutageStart: t0, Received: t0}, outage.Suppressed, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Reports.Cut(ctx, report.CutOptions{Cause: report.CauseAsked, End: t0.Add(time.Minute), At: t0.Add(time.Minute), Name: func(report.Report, report.File) string { return "report.csv" }}); err != nil {
		t.Fatal(err)
	}
	return c, a
}

// tokenOf creates a token.
func tokenOf(t *testing.T, c *console.Console, name string, as role.Role) string {
	t.Helper()
	text, _, err := c.Tokens.Create(t.Context(), name, as, time.Hour, "a test", c.Motorway.Now())
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const (
	here = "127.0.0.1:9" // without credentials a viewer
	far  = "192.0.2.1:9"
	root = "socket, uid 0" // an admin
)

// ask sends a request from an address, with a form if there is one, and with a token if there is one.
func ask(c *console.Console, from, token, method, path string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.RemoteAddr, r.Host = from, "127.0.0.1:8080"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	c.Guard.ServeHTTP(w, r)
	return w
}

// text returns what a page says, without its tags, with single blanks.
func text(w *httptest.ResponseRecorder) string { return plain(w.Body.String()) }

var _ http.Handler = (*guard.Guard)(nil)
