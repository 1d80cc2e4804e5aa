package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/audit"
	"quell/internal/config"
	"quell/internal/duis"
	"quell/internal/liveness"
	"quell/internal/outage"
	"quell/internal/report"
	"quell/internal/search"
	"quell/internal/store"
	"quell/internal/store/storetest"
	"quell/internal/windows"
)

// running starts a quell whose listeners have free ports, and which stops at the end of the
// test.
func running(t *testing.T, reached func(string), change func(*config.Config)) (*Server, config.Config) {
	t.Helper()
	cfg := config.Default()
	cfg.DataDir, cfg.StoreTimeout, cfg.Drain = t.TempDir(), config.Duration(10*time.Second), 0
	for _, addr := range []*string{&cfg.Southbound.Listen, &cfg.Northbound.Listen, &cfg.Console.Listen} {
		*addr = "127.0.0.1:0"
	}
	hop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	t.Cleanup(hop.Close)
	cfg.Southbound.NextHop, cfg.Northbound.NextHop = hop.URL, hop.URL
	change(&cfg)
	s, err := Start(t.Context(), Options{Config: cfg, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Reached: reached})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	wait(t, "the store and the lists are there", func() bool { return !s.starting() })
	return s, cfg
}

// status returns the status of a page of the console; 0 if there is no answer.
func status(s *Server, page string) int {
	res, err := http.Get(s.Console() + page)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// TestReloadTakesEffect: a reload changes the audit trail and the tolerance of clocks, for the
// next message.
func TestReloadTakesEffect(t *testing.T) {
	database := storetest.Start(t).URL("postgres") // whose clock there is to compare with
	s, cfg := running(t, nil, func(c *config.Config) {
		c.Store = database
		c.AuditTrail.Enabled = false
	})
	lines := func() int {
		t.Helper()
		res, err := http.Post(s.Northbound(), "application/xml", strings.NewReader("<x/>"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if err := s.trail.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(cfg.DataDir, "audit", "trail.jsonl"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("\n"))
	}
	for i, want := range []int{0, 1, 1, 2} {
		if n := lines(); n != want {
			t.Errorf("%d: the audit trail has %d lines, want %d", i, n, want)
		}
		cfg.AuditTrail.Enabled = !cfg.AuditTrail.Enabled
		s.Reload(cfg)
	}
	// Two readings of clocks always differ by more than a nanosecond.
	sure := s.store.Cluster.ClockSure
	wait(t, "the clock is sure", func() bool { _, wrong := s.store.Cluster.ClockOffset(); return !wrong && sure() })
	for range 3 {
		cfg.ClockTolerance = 1
		s.Reload(cfg)
		wait(t, "the clock is not sure", func() bool { return !sure() })
		cfg.ClockTolerance = config.Duration(time.Hour)
		s.Reload(cfg)
		if !sure() {
			t.Error("the clock is not sure, within an hour")
		}
	}
}

// TestOneReporter: a reload in the middle of a delivery changes the remotes. The reporter of the
// changed remotes begins when the one before has ended.
func TestOneReporter(t *testing.T) {
	before, after := t.TempDir(), t.TempDir()
	reached, release := make(chan struct{}), make(chan struct{})
	first := true
	s, cfg := running(t, func(step string) {
		if step == "sending" && first { // under a lock of the delivery
			first = false
			close(reached)
			<-release
		}
	}, func(c *config.Config) { c.Report.Remotes = []config.Remote{{Name: "esi", Target: before}} })
	goOn := sync.OnceFunc(func() { close(release) })
	t.Cleanup(goOn)
	if _, err := s.reports.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-reached
	cfg.Report.Remotes = []config.Remote{{Name: "other", Target: after}}
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		s.Reload(cfg)
	}()
	wait(t, "the remotes are changed", func() bool { return s.reports.Remotes()[0] == "other" })
	r, err := s.reports.Cut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	delivered := func() bool {
		r, err := s.store.Reports.Report(t.Context(), r.No)
		return err == nil && r.Files[0].Deliveries[0].State == report.StateConfirmed
	}
	for began := time.Now(); time.Since(began) < 500*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if delivered() {
			t.Fatal("a second reporter delivers beside the first")
		}
	}
	select {
	case <-reloaded:
		t.Error("the reload is over, and the first reporter is not")
	default:
	}
	goOn()
	<-reloaded
	wait(t, "the report is delivered", delivered)
	if files, err := os.ReadDir(after); err != nil || len(files) != 1 {
		t.Errorf("the remote has %v %v", files, err)
	}
}

// TestStopOrder: a stop comes while an 11.3 waits for its next hop. quell takes no more messages,
// the console still answers, and what the next hop then says is recorded, and is in the audit
// trail.
func TestStopOrder(t *testing.T) {
	const meter, hub = outage.DeviceID(0x00DB123400000001), outage.DeviceID(0x8873845700000001)
	id := outage.RequestID{Originator: 0x90B3D51F30010000, Target: meter, Counter: 1}
	arrived, answer := make(chan struct{}), make(chan struct{})
	hop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		close(arrived)
		<-answer
		w.Write(duis.AppendAnswer(nil, id, time.Now(), "I99"))
	}))
	t.Cleanup(hop.Close)
	dir := t.TempDir()
	for name, text := range map[string]string{"list.txt": meter.String() + "\n", "inventory.csv": "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n" +
		fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,\n", meter, hub)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, cfg := running(t, nil, func(c *config.Config) {
		c.DeviceList, c.Inventory, c.Southbound.NextHop = filepath.Join(dir, "list.txt"), []string{filepath.Join(dir, "inventory.csv")}, hop.URL
	})
	sent := make(chan int, 1)
	go func() {
		res, err := http.Post(s.Southbound(), "application/xml", bytes.NewReader(duis.AppendActivateFirmware(nil, id, outage.Order{Kind: outage.OnDemand}, [32]byte{1})))
		if err != nil {
			t.Error(err)
			sent <- 0
			return
		}
		defer res.Body.Close()
		sent <- res.StatusCode
	}()
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- s.Close() }()
	for _, l := range []string{s.Southbound(), s.Northbound()} {
		wait(t, "no more messages are taken", func() bool {
			c, err := net.Dial("tcp", strings.TrimPrefix(l, "http://"))
			if err == nil {
				c.Close()
			}
			return err != nil
		})
	}
	for page, want := range map[string]int{"/readyz": 503, "/healthz": 200, "/metrics": 200} {
		if got := status(s, page); got != want {
			t.Errorf("while a message is under way %s answers %d, want %d", page, got, want)
		}
	}
	close(answer)
	if got := <-sent; got != 200 {
		t.Errorf("the sender got %d", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	trail, err := os.ReadFile(filepath.Join(cfg.DataDir, "audit", "trail.jsonl"))
	if err != nil || !bytes.Contains(trail, []byte(id.String())) {
		t.Errorf("the audit trail is %q %v", trail, err)
	}
	if text, err := os.ReadFile(filepath.Join(cfg.DataDir, "pending")); err != nil || len(text) > 0 {
		t.Errorf("the journal has %q %v", text, err)
	}
	st, err := store.Open(context.WithoutCancel(t.Context()), store.Options{Dir: cfg.DataDir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	list, err := st.Windows.Activations(t.Context(), windows.Filter{RequestID: id}, 10)
	if err != nil || len(list) != 1 || list[0].State != outage.Accepted {
		t.Errorf("the 11.3 is %+v %v", list, err)
	}
}

// inReport returns a server whose first report hangs, until release.
func inReport(t *testing.T) (s *Server, cfg config.Config, release func()) {
	reached, released := make(chan struct{}), make(chan struct{})
	first := true
	s, cfg = running(t, func(step string) {
		if step == "in place" && first {
			first = false
			close(reached)
			<-released
		}
	}, func(c *config.Config) { c.Report.Every = config.Duration(time.Second) })
	<-reached
	return s, cfg, sync.OnceFunc(func() { close(released) })
}

// TestStopWaitsForReports: a stop comes while a report is being written. It waits until the store
// knows that the files are there.
func TestStopWaitsForReports(t *testing.T) {
	s, cfg, release := inReport(t)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Close() }()
	select {
	case err := <-stopped:
		t.Errorf("it has stopped: %v", err)
		stopped <- err
	case <-time.After(300 * time.Millisecond):
	}
	release()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	st, err := store.Open(context.WithoutCancel(t.Context()), store.Options{Dir: cfg.DataDir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if list, err := st.Reports.Unwritten(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("not written are %+v %v", list, err)
	}
}

// TestReloadWhileReportsHang: a report hangs, as on a disk that does. A reload that names another remote takes over
// the rest of the configuration all the same, and records that.
func TestReloadWhileReportsHang(t *testing.T) {
	s, cfg, release := inReport(t)
	to := t.TempDir()
	cfg.Report.Remotes = []config.Remote{{Name: "esi", Target: to}}
	cfg.DeviceList = filepath.Join(to, "missing.txt")
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		s.Reload(cfg)
	}()
	defer release()
	wait(t, "the new list is read, and the change is in the audit log", func() bool {
		p, err := s.store.Audit.Page(t.Context(), 0, 100)
		return err == nil && s.faults.any() && slices.ContainsFunc(p.Records, func(r audit.Record) bool { return r.What == "configuration" })
	})
	release()
	<-reloaded
	wait(t, "the new remote has reports", func() bool {
		list, _ := os.ReadDir(to)
		return len(list) > 0
	})
}

// TestReloadShorterWindow: windows that an activation opened before a reload keep their length, and are found and
// counted as before.
func TestReloadShorterWindow(t *testing.T) {
	s, cfg := running(t, nil, func(c *config.Config) { c.Window = config.Duration(2 * time.Hour) })
	now := s.m.Now()
	request := outage.Request{ID: outage.RequestID{Originator: 1, Target: 2, Counter: 3}, Form: outage.SignedPreCommand, Order: outage.Order{Kind: outage.OnDemand}, Received: now}
	s.store.Ledger.Record(t.Context(), request.Activation(4, 2*time.Hour))
	count := func() (found, open int) {
		c, err := s.console.Search.Campaign(t.Context(), search.CampaignQuery{From: now.Add(-time.Hour), To: now.Add(time.Second), Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		open, err = s.store.Windows.WereOpen(t.Context(), now.Add(-liveness.Within), now.Add(time.Second), 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(c.Windows), open
	}
	if found, open := count(); found != 1 || open != 1 {
		t.Errorf("before: %d found, %d were open", found, open)
	}
	cfg.Window = config.Duration(30 * time.Minute)
	s.Reload(cfg)
	if found, open := count(); found != 1 || open != 1 {
		t.Errorf("after: %d found, %d were open", found, open)
	}
}

// TestReloadRoles: a reload changes who may use the console.
func TestReloadRoles(t *testing.T) {
	s, cfg := running(t, nil, func(*config.Config) {})
	if have := status(s, "/login"); have != 404 {
		t.Errorf("without OpenID Connect: %d", have)
	}
	cfg.Console.URL = "https://quell.example"
	cfg.Console.OIDC = &config.OIDC{Issuer: "http://127.0.0.1:1", ClientID: "quell", ClientSecretFile: "none", Roles: config.OIDCRoles{Viewer: []string{"staff"}}}
	s.Reload(cfg)
	if have := status(s, "/login"); have != 502 { // nobody is at that port
		t.Errorf("with a provider that is away: %d", have)
	}
	if list := s.conditions(); !slices.ContainsFunc(list, func(text string) bool { return strings.HasPrefix(text, "console.oidc: nobody can log in: ") }) {
		t.Errorf("%q", list)
	}
	cfg.Console.OIDC = nil
	s.Reload(cfg)
	if have := status(s, "/login"); have != 404 {
		t.Errorf("without it again: %d", have)
	}
}
