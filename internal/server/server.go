// Package server is one running quell: it puts the parts together, starts them in the right
// order, takes over changed configurations, and stops gracefully.
//
// A start takes the data folder and opens the ports first. The database is opened behind
// them. One loader then brings into the store what the newest configuration says of lists.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/gateway"
	"quell/internal/lines"
	"quell/internal/motorway"
	"quell/internal/reporter"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Server is a running quell, or the parts of one that work for a single command.
type Server struct {
	log     *slog.Logger
	cfg     atomic.Pointer[config.Config]
	store   *store.Store
	m       *motorway.Motorway
	trail   *motorway.Trail
	gateway *gateway.Gateway
	console *console.Console
	reports *reporter.Reporter
	keep    atomic.Pointer[[2]time.Duration] // windows, log
	lists   lists
	loader  loader
	started config.Config // as it was at the start

	south, north, admin *gateway.Listener
	failed              chan error      // a listener that ended by itself
	running             context.Context // until stop; nil: never started
	stop                context.CancelFunc
	stopReports         func() // of the reporter that runs
	background          sync.WaitGroup

	logLines *lines.Queue // where lines of the log wait; nil: they do not
	version  string
}

// StopTimeout bounds the wait for messages under way at the end: as long as the
// gateway waits for a next hop's answer to begin, and then for a byte of it. What
// has not ended by then is cut off, and given cutOffTimeout to say so.
const (
	StopTimeout   = 90 * time.Second
	cutOffTimeout = 5 * time.Second
)

// housekeepEvery is the pause between housekeepings.
const housekeepEvery = time.Hour

// Options are what Start and OpenForCommand need to know.
type Options struct {
	Config   config.Config
	Version  string
	Log      *slog.Logger
	LogLines *lines.Queue      // where lines of the log wait; nil: they do not
	Reached  func(step string) // for tests of crashes: told the steps of reports; may be nil
}

// open opens the parts that work without listeners, the store by a function of its package.
func open(o Options, openStore func(store.Options) (*store.Store, error)) (*Server, error) {
	cfg, log := o.Config, o.Log
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := motorway.NewMetrics(registry)
	host, _ := os.Hostname()
	st, err := openStore(store.Options{Dir: cfg.DataDir, Database: cfg.Database(), Node: host + " (console " + cfg.Console.Listen + ")", Version: o.Version,
		Log: log, OnCommit: metrics.Committed, OnDecided: metrics.Decided})
	if err != nil {
		return nil, err
	}
	m := &motorway.Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: st.Cluster.Now, Log: log, Metrics: metrics}
	watch(registry, st, m.Now)
	s := &Server{log: log, logLines: o.LogLines, version: o.Version, store: st, m: m, gateway: gateway.New(m, log, gateway.Limits{NextHopIdle: time.Duration(cfg.NextHopIdle)}), failed: make(chan error, 3), stopReports: func() {},
		loader: loader{files: files{idle: fileIdle}, wake: make(chan struct{}, 1)}}
	s.reports = newReporter(s, cfg, registry)
	s.console = &console.Console{Motorway: m, DB: st.DB, Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Reports: st.Reports,
		Metrics: registry, Log: log, Version: o.Version, Insecure: cfg.Console.Insecure, Configured: s.configured,
		Conditions: s.conditions, Reporting: reporting(s.reports, st.Ledger)}
	s.started = cfg
	s.countLines(registry)
	s.lists.count(registry)
	gauge(registry, "starting", "1 while the store is being opened, its hubs read, or the files of the configuration imported, after a start.", nil, s.starting)
	s.apply(cfg)
	return s, nil
}

// startPatience is how long the listeners are open, and connections wait in the
// kernel's queue, before they are served, if the store and the lists are not there
// by then: so that usually the first alert is decided as all others.
const startPatience = 500 * time.Millisecond

// OpenForCommand opens what a single command needs where no quell runs: the store, and a
// console on a port of the loopback that nobody else is told. The error is datadir.ErrInUse
// when another process has the data folder.
func OpenForCommand(ctx context.Context, o Options) (*Server, error) {
	s, err := open(o, func(so store.Options) (*store.Store, error) { return store.Open(ctx, so) })
	if err != nil {
		return nil, err
	}
	if s.admin, err = s.gateway.Listen("console", "127.0.0.1:0", s.console.Handler()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.serve(s.admin)
	return s, nil
}

// Console, Southbound and Northbound are the base URLs of the listeners.
func (s *Server) Console() string    { return s.admin.URL }
func (s *Server) Southbound() string { return s.south.URL }
func (s *Server) Northbound() string { return s.north.URL }

// Failed has the error of a listener that ended by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Drain makes the console say that this quell is not ready, so that no new messages are sent
// here, and waits for the time that the configuration sets.
func (s *Server) Drain() {
	s.console.Drain()
	time.Sleep(time.Duration(s.cfg.Load().Drain))
}

// Start starts a quell: it returns when its listeners are served. The store and the lists may
// come later; until they are there, "degraded" says so.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	s, err := open(o, store.Start)
	if err != nil {
		return nil, err
	}
	cfg, log := o.Config, o.Log
	s.reports.Reached = o.Reached
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
	for _, l := range []struct {
		at   **gateway.Listener
		name string
		addr string
		h    http.Handler
	}{
		{&s.admin, "console", cfg.Console.Listen, s.console.Handler()},
		{&s.south, "southbound", cfg.Southbound.Listen, s.gateway.Southbound()},
		{&s.north, "northbound", cfg.Northbound.Listen, s.gateway.Northbound()},
	} {
		if *l.at, err = s.gateway.Listen(l.name, l.addr, l.h); err != nil {
			return nil, fmt.Errorf("%s.listen: %w", l.name, err)
		}
	}
	ready := make(chan struct{})
	s.background.Go(func() {
		s.runLoader(ctx, func() {
			s.saysReady(ctx)
			close(ready)
		})
	})
	select {
	case <-ready:
	case <-time.After(startPatience):
	case <-ctx.Done():
	}
	for _, l := range []*gateway.Listener{s.admin, s.south, s.north} {
		s.serve(l)
	}
	s.background.Go(func() { s.store.Cluster.WhileLeader(ctx, s.housekeep) })
	s.deliver(ctx)
	log.Info("quell runs", "version", o.Version, "southbound", s.south.URL, "northbound", s.north.URL, "console", s.admin.URL)
	return s, nil
}

// saysReady logs what is in force.
func (s *Server) saysReady(ctx context.Context) {
	list, err := s.store.Devices.LastImport(ctx, "devices")
	if err != nil {
		s.log.Error("the device list in force cannot be read", "error", err)
	}
	s.log.Info("the store and the lists are there", "switch", s.store.Ledger.Switch(), "device_list", list.Source, "device_list_sha256", list.SHA256, "devices", list.Rows)
}

// serve has a listener take connections, until close.
func (s *Server) serve(l *gateway.Listener) {
	go func() {
		if err := l.Serve(); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("listener %s: %w", l.URL, err)
		}
	}()
}

// Close stops gracefully: listeners take no more, messages under way are
// finished, and what waits for the store is committed.
func (s *Server) Close() error {
	s.console.Drain()
	if s.stop != nil {
		s.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), StopTimeout)
	defer cancel()
	var wg sync.WaitGroup
	var errs [3]error
	wg.Go(func() { errs[0] = s.shut(ctx, s.south) })
	wg.Go(func() { errs[1] = s.shut(ctx, s.north) })
	wg.Wait()
	s.await(ctx, &s.background)
	errs[2] = s.shut(ctx, s.admin) // the last, so that health and metrics are seen to the end
	err := errors.Join(append(errs[:], s.store.Close())...)
	if s.trail != nil {
		err = errors.Join(err, s.trail.Close())
	}
	return err
}

// await waits for what goes on in the background, until ctx is done.
func (s *Server) await(ctx context.Context, wg *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		s.log.Warn("something in the background does not end, it is left")
	}
}

// shut closes a listener when its messages are finished, or cuts them off when ctx
// is done.
func (s *Server) shut(ctx context.Context, l *gateway.Listener) error {
	if l == nil {
		return nil
	}
	err := l.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.log.Warn("messages are cut off, whose senders or next hops keep quell from stopping", "listener", l.URL)
	s.gateway.AbandonMessages()
	last, cancel := context.WithTimeout(context.Background(), cutOffTimeout)
	defer cancel()
	if l.Shutdown(last) == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("listener %s: %w", l.URL, err), l.Close())
}

// apply puts into force what a configuration says that can change while
// traffic passes.
func (s *Server) apply(cfg config.Config) {
	s.cfg.Store(&cfg)
	s.m.SetRules(motorway.Rules{Window: time.Duration(cfg.Window), Manufacturers: cfg.Manufacturers, Track: cfg.Track,
		ClockTolerance: time.Duration(cfg.ClockTolerance), StoreTimeout: time.Duration(cfg.StoreTimeout)})
	south, _ := url.Parse(cfg.Southbound.NextHop) // the configuration is checked
	north, _ := url.Parse(cfg.Northbound.NextHop)
	s.gateway.SetNextHops(south, north)
	if s.trail != nil {
		s.trail.Enable(cfg.AuditTrail.Enabled)
	}
	s.store.Cluster.SetClockTolerance(time.Duration(cfg.ClockTolerance))
	s.reports.Set(reportSettings(cfg))
	s.keep.Store(&[2]time.Duration{time.Duration(cfg.Housekeeping.KeepWindows), time.Duration(cfg.Housekeeping.KeepLog)})
}

// ReopenTrail opens the file of the audit trail again, which may have been moved away.
func (s *Server) ReopenTrail() { s.trail.Reopen() }

// Reload takes over what it can of a changed configuration. The files of
// inventory and device list are looked at in any case, and imported if they
// changed, beside the traffic. What it begins ends with the system, which may end by
// itself.
func (s *Server) Reload(cfg config.Config) {
	ctx := s.running
	was := *s.cfg.Load()
	live, _ := config.Changes(was, cfg)
	_, restart := config.Changes(s.started, cfg) // what was changed back needs none
	s.apply(cfg)
	s.redeliver(ctx, was, cfg)
	s.log.Info("the configuration was read again", "taken_over", live, "needs_restart", restart)
	s.loader.changed(&was, &cfg)
}

// configured names the key that says where the inventory or the devices come
// from; "" if they are imported by command.
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

// housekeep deletes what is old, now and every hour, until ctx ends.
func (s *Server) housekeep(ctx context.Context) {
	if s.store.Ready(ctx) != nil {
		return
	}
	for {
		keep, files := s.keep.Load(), time.Duration(s.cfg.Load().Report.Keep)
		now := s.store.Cluster.Now()
		h, err := s.store.Housekeep(ctx, store.Limits{WindowsBefore: now.Add(-keep[0]), LogBefore: now.Add(-keep[1]),
			Remotes: s.reports.Remotes(), ReportsBefore: now.Add(-max(keep[1], files))})
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("housekeeping", "error", err)
		case h != store.Housekeeping{}:
			s.log.Info("housekeeping", "activations", h.Activations, "entries", h.Entries, "notes", h.Notes, "untracked", h.Untracked,
				"reports", h.Reports, "events", h.Events)
		}
		select {
		case <-time.After(housekeepEvery):
		case <-ctx.Done():
			return
		}
	}
}
