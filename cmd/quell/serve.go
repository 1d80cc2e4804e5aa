package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/gateway"
	"quell/internal/lines"
	"quell/internal/motorway"
	"quell/internal/report"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

var serveCommand = command{
	name: "serve", usage: "[--config FILE]", short: "Run quell in the motorway, until it gets SIGTERM or SIGINT",
	run: serve,
}

func serve(ctx context.Context, e *env, args []string) error {
	fs := e.flags("SIGHUP makes it read the configuration again.")
	file := configFlag(fs, e.environ)
	if rest, err := parse(fs, args); err != nil || len(rest) > 0 {
		return orUsage(err, "takes no arguments")
	}
	cfg, err := loadConfig(*file, e.environ, true)
	if err != nil {
		return fmt.Errorf("the configuration is not valid:\n%w", err)
	}
	log, queue := e.openLog()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // now: the start may take as long as an import
	defer signal.Stop(hangup)
	s, err := start(ctx, cfg, log, e.reached)
	if err != nil {
		return err
	}
	s.logLines.Store(queue)
	for {
		select {
		case <-hangup:
			s.trail.Reopen()
			changed, err := loadConfig(*file, e.environ, false)
			if err != nil {
				log.Error("the configuration is not valid, the one before stays in force", "error", err)
				continue
			}
			s.reload(changed)
		case err := <-s.failed:
			return errors.Join(err, s.close())
		case <-ctx.Done():
			log.Info("stopping: what was accepted is finished first")
			s.console.Drain()
			time.Sleep(time.Duration(s.cfg.Load().Drain))
			return s.close()
		}
	}
}

// system is a running quell.
type system struct {
	log     *slog.Logger
	cfg     atomic.Pointer[config.Config]
	store   *store.Store
	m       *motorway.Motorway
	trail   *motorway.Trail
	gateway *gateway.Gateway
	console *console.Console
	reports *report.Reporter
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

	logLines atomic.Pointer[lines.Queue] // where lines of the log wait; nil: they do not
}

// stopTimeout bounds the wait for messages under way at the end: as long as the
// gateway waits for a next hop's answer to begin, and then for a byte of it. What
// has not ended by then is cut off, and given cutOffTimeout to say so.
const (
	stopTimeout   = 90 * time.Second
	cutOffTimeout = 5 * time.Second
)

// housekeepEvery is the pause between housekeepings.
const housekeepEvery = time.Hour

// open opens the parts of a system that work without listeners, the store by a
// function of its package.
func open(cfg config.Config, log *slog.Logger, openStore func(store.Options) (*store.Store, error)) (*system, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := motorway.NewMetrics(registry)
	host, _ := os.Hostname()
	st, err := openStore(store.Options{Dir: cfg.DataDir, Database: cfg.Database(), Node: host + " (console " + cfg.Console.Listen + ")", Version: version(),
		Log: log, OnCommit: metrics.Committed})
	if err != nil {
		return nil, err
	}
	m := &motorway.Motorway{Store: st, Now: st.Now, Log: log, Metrics: metrics}
	m.Watch(registry)
	s := &system{log: log, store: st, m: m, gateway: gateway.New(m, log, gateway.Limits{NextHopUse: time.Duration(cfg.NextHopIdle)}), failed: make(chan error, 3), stopReports: func() {},
		loader: loader{files: files{idle: fileIdle}, wake: make(chan struct{}, 1)}}
	s.reports = newReporter(s, cfg, registry)
	s.console = &console.Console{Motorway: m, Metrics: registry, Log: log, Version: version(), Insecure: cfg.Console.Insecure, Configured: s.configured, Conditions: s.gateway.Conditions,
		Reporting: reporting(s.reports, st)}
	s.started = cfg
	s.addConditions()
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

// start starts a system: it returns when its listeners are served. The store and the
// lists may come later; until they are there, "degraded" says so. reached is told the
// steps of reports; it may be nil.
func start(ctx context.Context, cfg config.Config, log *slog.Logger, reached func(step string)) (_ *system, err error) {
	s, err := open(cfg, log, store.Start)
	if err != nil {
		return nil, err
	}
	s.reports.Reached = reached
	ctx, s.stop = context.WithCancel(ctx)
	s.running = ctx
	defer func() {
		if err != nil {
			s.close()
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
	s.background.Go(func() { s.store.WhileLeading(ctx, s.housekeep) })
	s.deliver(ctx)
	log.Info("quell runs", "version", version(), "southbound", s.south.URL, "northbound", s.north.URL, "console", s.admin.URL)
	return s, nil
}

// saysReady logs what is in force.
func (s *system) saysReady(ctx context.Context) {
	list, err := s.store.LastImport(ctx, "devices")
	if err != nil {
		s.log.Error("the device list in force cannot be read", "error", err)
	}
	s.log.Info("the store and the lists are there", "switch", s.store.Switch(), "device_list", list.Source, "device_list_sha256", list.SHA256, "devices", list.Rows)
}

// serve has a listener take connections, until close.
func (s *system) serve(l *gateway.Listener) {
	go func() {
		if err := l.Serve(); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("listener %s: %w", l.URL, err)
		}
	}()
}

// close stops gracefully: listeners take no more, messages under way are
// finished, and what waits for the store is committed.
func (s *system) close() error {
	s.console.Drain()
	if s.stop != nil {
		s.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
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
func (s *system) await(ctx context.Context, wg *sync.WaitGroup) {
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
func (s *system) shut(ctx context.Context, l *gateway.Listener) error {
	if l == nil {
		return nil
	}
	err := l.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.log.Warn("messages are cut off, whose senders or next hops keep quell from stopping", "listener", l.URL)
	s.gateway.CutOff()
	last, cancel := context.WithTimeout(context.Background(), cutOffTimeout)
	defer cancel()
	if l.Shutdown(last) == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("listener %s: %w", l.URL, err), l.Close())
}

// apply puts into force what a configuration says that can change while
// traffic passes.
func (s *system) apply(cfg config.Config) {
	s.cfg.Store(&cfg)
	s.m.SetRules(motorway.Rules{Window: time.Duration(cfg.Window), Manufacturers: cfg.Manufacturers, Track: cfg.Track,
		ClockTolerance: time.Duration(cfg.ClockTolerance), StoreTimeout: time.Duration(cfg.StoreTimeout)})
	south, _ := url.Parse(cfg.Southbound.NextHop) // the configuration is checked
	north, _ := url.Parse(cfg.Northbound.NextHop)
	s.gateway.SetNextHops(south, north)
	if s.trail != nil {
		s.trail.Enable(cfg.AuditTrail.Enabled)
	}
	s.store.SetClockTolerance(time.Duration(cfg.ClockTolerance))
	s.reports.Set(reportSettings(cfg))
	s.keep.Store(&[2]time.Duration{time.Duration(cfg.Housekeeping.KeepWindows), time.Duration(cfg.Housekeeping.KeepLog)})
}

// reload takes over what it can of a changed configuration. The files of
// inventory and device list are looked at in any case, and imported if they
// changed, beside the traffic. What it begins ends with the system, which may end by
// itself.
func (s *system) reload(cfg config.Config) {
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
func (s *system) configured(kind string) string {
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
func (s *system) housekeep(ctx context.Context) {
	if s.store.Ready(ctx) != nil {
		return
	}
	for {
		keep, files := s.keep.Load(), time.Duration(s.cfg.Load().Report.Keep)
		now := s.store.Now()
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

func orUsage(err error, text string) error {
	if err != nil {
		return err
	}
	return errUsage{text}
}
