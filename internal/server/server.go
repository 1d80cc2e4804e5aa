// Package server is one running quell: it puts the parts together, starts them in the right
// order, takes over changed configurations, and stops gracefully.
//
// A start first locks the data folder and opens the ports. The database is opened after
// that, in the background. Then a loader imports the lists that the configuration names.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/access"
	"quell/internal/adviser"
	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/devices"
	"quell/internal/gateway"
	"quell/internal/guard"
	"quell/internal/lines"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/recording"
	"quell/internal/reporter"
	"quell/internal/store"
	"quell/internal/syslog"
	"quell/internal/tail"
	"quell/internal/tokens"
	"quell/internal/web"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Server is a running quell, or the parts of it that a single command needs.
type Server struct {
	log       *slog.Logger
	cfg       atomic.Pointer[config.Config]
	store     *store.Store
	m         *motorway.Motorway
	trail     *motorway.Trail
	recording *recording.Recorder // nil until Start has opened it
	gateway   *gateway.Gateway
	console   *console.Console
	guard     *guard.Guard // the handler of the console
	reports   *reporter.Reporter
	syslog    *syslog.Sender
	adviser   *adviser.Adviser
	faults    fileFaults
	socket    socket
	loader    loader
	signers   signers
	started   config.Config // the configuration at the start

	south, north, admin *gateway.Listener
	failed              chan error      // has the error of a listener that ended by itself
	running             context.Context // ends with stop; nil if the server was never started
	stop                context.CancelFunc
	stopReports         func() // stops the reporter
	background          sync.WaitGroup

	logLines *lines.Queue // of the log; nil if the log has none
	version  string
}

// StopTimeout bounds the wait for messages under way at a stop: as long as the gateway
// waits for a next hop's answer to begin, and then for a byte of it. Then they are cut off.
// cutOffTimeout is the time for the answers that say so.
const (
	StopTimeout   = 90 * time.Second
	cutOffTimeout = 5 * time.Second
)

// housekeepEvery is the pause after housekeeping.
const housekeepEvery = time.Hour

// Options are options of Start and OpenForCommand.
type Options struct {
	Config   config.Config
	Version  string
	Log      *slog.Logger
	LogLines *lines.Queue      // of the log; nil if the log has none
	Existing bool              // as store.Options.Existing
	Reached  func(step string) // for tests of crashes: called at each step of a report; may be nil
}

// open opens the parts that work without listeners. openStore is store.Start or store.Open.
func open(o Options, openStore func(store.Options) (*store.Store, error)) (*Server, error) {
	cfg, log := o.Config, o.Log
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := motorway.NewMetrics(registry)
	setToZero(metrics)
	host, _ := os.Hostname()
	st, err := openStore(store.Options{Dir: cfg.DataDir, Existing: o.Existing, Database: cfg.Database(), Node: host + " (console " + cfg.Console.Listen + ")", Version: o.Version,
		Log: log, OnCommit: metrics.Committed, OnDecided: metrics.Decided})
	if err != nil {
		return nil, err
	}
	m := &motorway.Motorway{Tail: &tail.Tail{}, Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Flow: st.Flow, Now: st.Cluster.Now, Log: log, Metrics: metrics,
		Sightings: st.Sightings, Updates: st.Updates, Evidence: st.Evidence}
	watch(registry, st, m.Now)
	s := &Server{log: log, logLines: o.LogLines, version: o.Version, store: st, m: m, gateway: gateway.New(m, log, gateway.Limits{NextHopIdle: time.Duration(cfg.NextHopIdle)}), failed: make(chan error, 4), stopReports: func() {},
		loader: loader{files: files{idle: fileIdle}, wake: make(chan struct{}, 1)}}
	s.signers = signers{m: m, config: s.cfg.Load, log: log, wake: make(chan struct{}, 1),
		changed: func(n int) { s.recordChange("certificates", strconv.Itoa(n)) }}
	s.reports = newReporter(s, cfg, registry)
	s.syslog = syslog.New(st.Audit, log)
	watchAudit(registry, st.Audit, s.syslog)
	watchEvidence(registry, st)
	s.console = &console.Console{Motorway: m, DB: st.DB, Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Reports: st.Reports, Releases: st.Releases, Audit: st.Audit, Flow: st.Flow,
		Metrics: registry, Log: log, Version: o.Version, Configured: s.configured,
		Conditions: s.conditions, Neighbours: s.neighbours, Reporting: reporting(s.reports, st.Ledger)}
	s.console.Manufacturers = &devices.ManufacturerCheck{Devices: st.Devices, Tracked: func() outage.Manufacturers { return m.Rules().Manufacturers }, Log: log}
	s.adviser = newAdviser(s, registry)
	s.console.Adviser = s.adviser
	s.console.Search = newSearch(s)
	s.console.Tokens = tokens.New(st.DB)
	s.guard = &guard.Guard{Access: &access.Access{Tokens: s.console.Tokens, Now: m.Now, Rates: &access.Rates{}}, Log: log, Record: st.Audit.Write, Refused: st.Audit.Refused}
	s.console.Guard = s.guard
	s.console.Register()
	(&web.Web{Console: s.console}).Register()
	s.socket.path = cfg.SocketPath()
	s.started = cfg
	s.countLines(registry)
	s.faults.register(registry)
	gauge(registry, "starting", "1 after a start, until the store is open, the hubs that have windows are known, and the configured files are read; else 0.", nil, s.starting)
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: "clock_tolerance_seconds", Help: "The setting clock_tolerance."},
		func() float64 { return time.Duration(s.cfg.Load().ClockTolerance).Seconds() }))
	s.apply(cfg)
	return s, nil
}

// startWait is how long a start waits for the store and the lists before the listeners are
// served. The ports are open meanwhile, and connections wait in the kernel's queue. So the
// first alert is usually decided like all others.
const startWait = 500 * time.Millisecond

// OpenForCommand opens what a single command needs when no quell runs: the store, and a
// console on a Unix socket in the data folder. The error is datadir.ErrInUse if another process
// has the data folder, or store.ErrNone.
func OpenForCommand(ctx context.Context, o Options) (*Server, error) {
	s, err := open(o, func(so store.Options) (*store.Store, error) { return store.Open(ctx, so) })
	if err != nil {
		return nil, err
	}
	s.socket.path = filepath.Join(o.Config.DataDir, "command.sock")
	if err = s.socket.open(s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Socket returns the path of the console's Unix socket.
func (s *Server) Socket() string { return s.socket.path }

// Console returns the base URL of the console.
func (s *Server) Console() string { return s.admin.URL }

// Southbound returns the base URL of the southbound listener.
func (s *Server) Southbound() string { return s.south.URL }

// Northbound returns the base URL of the northbound listener.
func (s *Server) Northbound() string { return s.north.URL }

// Failed returns a channel with the error of a listener that ended by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Drain makes /readyz answer 503, so that load balancers send no new messages here, and
// waits for the time "drain" of the configuration.
func (s *Server) Drain() {
	s.console.Drain()
	time.Sleep(time.Duration(s.cfg.Load().Drain))
}

// Start starts a quell, and returns when its listeners are served. The store and the lists
// may come later; until then "degraded" says so.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	s, err := open(o, store.Start)
	if err != nil {
		return nil, err
	}
	cfg, log := o.Config, o.Log
	s.reports.Reached, s.store.Releases.Reached = o.Reached, o.Reached
	s.store.Flow.Begin()
	ctx, s.stop = context.WithCancel(ctx)
	s.running = ctx
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	s.trail = motorway.OpenTrail(cfg.DataDir, log)
	s.trail.Enable(cfg.AuditTrail.Enabled)
	s.m.Trail = s.trail
	s.recording = recording.Open(cfg.DataDir, log)
	s.recording.Configure(recordingLimits(&cfg))
	s.m.Recording = s.recording
	secure, err := listenerTLS(&cfg, log)
	if err != nil {
		return nil, fmt.Errorf("the configuration is not valid:\n%w", err)
	}
	hops, err := s.hopTLS(nil, &cfg)
	if err != nil {
		log.Error("certificates cannot be read, so messages cannot go to their next hop; will retry", "error", err)
	}
	for d, t := range hops {
		s.gateway.SecureNextHop(d, t)
	}
	for _, l := range []struct {
		at   **gateway.Listener
		name string
		addr string
		h    http.Handler
	}{
		{&s.admin, "console", cfg.Console.Listen, s.guard},
		{&s.south, "southbound", cfg.Southbound.Listen, s.gateway.Southbound()},
		{&s.north, "northbound", cfg.Northbound.Listen, s.gateway.Northbound()},
	} {
		if *l.at, err = s.gateway.ListenTLS(l.name, l.addr, l.h, secure[l.name]); err != nil {
			return nil, fmt.Errorf("%s.listen: %w", l.name, err)
		}
	}
	if len(cfg.Suppliers) == 0 {
		log.Warn("suppliers: " + anySupplier)
	}
	loaded, certificates := make(chan struct{}), make(chan struct{})
	s.keepSocket(ctx)
	s.background.Go(func() {
		s.runLoader(ctx, func() {
			s.logReady(ctx)
			close(loaded)
		})
	})
	s.background.Go(func() {
		s.signers.run(ctx, func() { close(certificates) })
	})
	wait, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for _, ready := range []chan struct{}{loaded, certificates} {
		select {
		case <-ready:
		case <-wait.Done():
		}
	}
	for _, l := range []*gateway.Listener{s.admin, s.south, s.north} {
		s.serve(l)
	}
	s.background.Go(func() { s.store.Cluster.WhileLeader(ctx, s.housekeep) })
	s.background.Go(func() { s.forgetNotes(ctx) })
	s.background.Go(func() { s.adviser.Watch(ctx) })
	s.background.Go(func() { s.store.Cluster.WhileLeader(ctx, s.adviseWeekly) })
	s.background.Go(func() { s.followEvidence(ctx) })
	s.background.Go(func() { s.store.Cluster.WhileLeader(ctx, s.assess) })
	s.background.Go(func() { s.store.Cluster.WhileLeader(ctx, s.sendAudit) })
	s.background.Go(func() { s.store.Cluster.WhileLeader(ctx, s.release) })
	s.background.Go(func() { s.store.Cluster.WhileLeader(ctx, s.releaseStrong) })
	s.startReports(ctx)
	go s.watchFiles(ctx)
	log.Info("quell runs", "version", o.Version, "southbound", s.south.URL, "northbound", s.north.URL, "console", s.admin.URL)
	return s, nil
}

// logReady logs the switch and the device list in force.
func (s *Server) logReady(ctx context.Context) {
	list, err := s.store.Devices.LastImport(ctx, "devices")
	if err != nil {
		s.log.Error("the device list in force cannot be read", "error", err)
	}
	s.log.Info("the store is open, and the lists are read", "switch", s.store.Ledger.Switch(), "device_list", list.Source, "device_list_sha256", list.SHA256, "devices", list.Rows)
}

// serve serves a listener in the background, until Close.
func (s *Server) serve(l *gateway.Listener) {
	go func() {
		if err := l.Serve(); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("listener %s: %w", l.URL, err)
		}
	}()
}

// Close stops gracefully: it closes the listeners, finishes messages under way, and commits
// what waits for the store.
func (s *Server) Close() error {
	s.console.Drain()
	if s.stop != nil {
		s.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), StopTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var errs [3]error
	wg.Go(func() { errs[0] = s.shutDown(ctx, s.south) })
	wg.Go(func() { errs[1] = s.shutDown(ctx, s.north) })
	wg.Wait()
	s.await(ctx, &s.background)
	errs[2] = errors.Join(s.shutDown(ctx, s.admin), s.shutDown(ctx, s.socket.close())) // last: monitoring can read health and metrics to the end
	err := errors.Join(append(errs[:], s.store.Close())...)
	if s.trail != nil {
		err = errors.Join(err, s.trail.Close(), s.recording.Close())
	}
	return err
}

// await waits for the goroutines in the background, until ctx is done.
func (s *Server) await(ctx context.Context, wg *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		s.log.Warn("a task in the background does not end, quell stops without it")
	}
}

// shutDown closes a listener when its messages are finished. When ctx is done, it cuts them
// off.
func (s *Server) shutDown(ctx context.Context, l *gateway.Listener) error {
	if l == nil {
		return nil
	}
	err := l.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.log.Warn("messages are cut off, because their senders or next hops keep quell from stopping", "listener", l.URL)
	s.gateway.AbandonMessages()
	last, cancel := context.WithTimeout(context.Background(), cutOffTimeout)
	defer cancel()
	if l.Shutdown(last) == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("listener %s: %w", l.URL, err), l.Close())
}

// apply puts those settings of a configuration into force that can change while messages
// pass.
func (s *Server) apply(cfg config.Config) {
	s.cfg.Store(&cfg)
	s.m.SetRules(motorway.Rules{Window: time.Duration(cfg.Window), Spans: cfg.Spans(), Manufacturers: cfg.Manufacturers, Track: cfg.Track,
		ClockTolerance: time.Duration(cfg.ClockTolerance), StoreTimeout: time.Duration(cfg.StoreTimeout),
		Suppliers: cfg.Originators(), MaxPerHour: cfg.MaxActivationsPerHour,
		SouthSignatures: cfg.Southbound.Signatures, NorthSignatures: cfg.Northbound.Signatures})
	south, _ := url.Parse(cfg.Southbound.NextHop) // it was checked before
	north, _ := url.Parse(cfg.Northbound.NextHop)
	s.gateway.SetNextHops(south, north)
	if s.trail != nil {
		s.trail.Enable(cfg.AuditTrail.Enabled)
		s.recording.Configure(recordingLimits(&cfg))
	}
	s.store.Cluster.SetClockTolerance(time.Duration(cfg.ClockTolerance))
	s.store.Sightings.Enable(cfg.Evidence.Enabled)
	s.store.Devices.KeepPostcodes(cfg.Privacy.Postcode == "plain")
	s.reports.Set(reportSettings(cfg))
	s.syslog.Set(cfg.Syslog)
	s.guard.Access.Set(accessSettings(cfg))
}

// ReopenTrail reopens the file of the audit trail, which another program may have moved.
func (s *Server) ReopenTrail() { s.trail.Reopen() }

// Reload takes over what it can of a changed configuration. It reads the files of the
// inventory and the device list again in any case, in the background, and imports them if
// they changed.
func (s *Server) Reload(cfg config.Config) {
	ctx := s.running
	was := *s.cfg.Load()
	live, waits := config.Changes(was, cfg)
	_, restart := config.Changes(s.started, cfg) // a setting that was changed back needs none
	hops, err := s.hopTLS(&was, &cfg)
	if err != nil {
		s.log.Error("the configuration is not valid, the one before stays in force", "error", err)
		return
	}
	for d, t := range hops {
		s.gateway.SecureNextHop(d, t)
	}
	s.allow(&was, &cfg)
	s.apply(cfg)
	s.log.Info("the configuration was read again", "taken_over", live, "needs_restart", restart)
	s.signers.reload()
	if changed := slices.Concat(live, waits); len(changed) > 0 { // what differs from the configuration that was read before
		s.recordChange("configuration", strings.Join(changed, ", "))
	}
	s.loader.reload(&was, &cfg)
	s.reloadReports(ctx, was, cfg) // last: it waits for a report that is being written, which may hang with its disk
}

// configured returns the key that names the files of the inventory or the device list; ""
// if they are imported by hand.
func (s *Server) configured(kind string) string {
	cfg := s.cfg.Load()
	switch {
	case kind == "devices" && cfg.DeviceList != "":
		return "device_list"
	case kind == "inventory" && len(cfg.Inventory) > 0:
		return "inventory"
	}
	return ""
}

// forgetNotes removes old notes of passed alerts from this node's memory every hour, until ctx
// ends.
func (s *Server) forgetNotes(ctx context.Context) {
	for {
		select {
		case <-time.After(housekeepEvery):
			s.store.Ledger.Passed.Expire(s.store.Cluster.Now().Add(-time.Duration(s.cfg.Load().Housekeeping.KeepNotes)))
		case <-ctx.Done():
			return
		}
	}
}

// release delivers released alerts, until ctx ends.
func (s *Server) release(ctx context.Context) {
	if s.store.Ready(ctx) == nil {
		s.store.Releases.Run(ctx, s.gateway.SendLate)
	}
}

// housekeep deletes old data, now and every hour, until ctx ends.
func (s *Server) housekeep(ctx context.Context) {
	if s.store.Ready(ctx) != nil {
		return
	}
	for {
		cfg, now := s.cfg.Load(), s.store.Cluster.Now()
		keepLog := time.Duration(cfg.Housekeeping.KeepLog)
		h, err := s.store.Housekeep(ctx, store.Limits{WindowsBefore: now.Add(-time.Duration(cfg.Housekeeping.KeepWindows)), LogBefore: now.Add(-keepLog),
			NotesBefore: now.Add(-time.Duration(cfg.Housekeeping.KeepNotes)), Remotes: s.reports.Remotes(), ReportsBefore: now.Add(-max(keepLog, time.Duration(cfg.Report.Keep)))})
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("housekeeping failed", "error", err)
		case h != store.Housekeeping{}:
			s.log.Info("housekeeping", "activations", h.Activations, "entries", h.Entries, "notes", h.Notes, "untracked", h.Untracked,
				"reports", h.Reports, "events", h.Events, "audit", h.Audit, "sightings", h.Sightings, "held", h.Held)
		}
		select {
		case <-time.After(housekeepEvery):
		case <-ctx.Done():
			return
		}
	}
}
