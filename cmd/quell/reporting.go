package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/remote"
	"quell/internal/report"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
)

// loadConfig is config.Load for those who deliver: it also checks the targets
// of remotes, without reaching them. first says that rclone's configuration is
// the one that cfg names; later it stays what it was.
func loadConfig(file string, environ []string, first bool) (config.Config, error) {
	cfg, err := config.Load(file, environ)
	if err != nil {
		return cfg, err
	}
	if first {
		err := remote.Configure(cfg.Report.RcloneConfig)
		if err != nil && cfg.Report.RcloneConfig == "" && len(cfg.Report.Remotes) == 0 {
			err = remote.Configure(remote.NoConfig) // somebody's own, that nobody asked for
		}
		if err != nil {
			return cfg, fmt.Errorf("report.rclone_config: %w", err)
		}
	}
	var errs []error
	if database := cfg.Database(); database != "" { // else its variables are somebody else's
		if err := store.CheckDatabase(database); err != nil {
			errs = append(errs, fmt.Errorf("store: %w", err))
		}
	}
	for i, r := range cfg.Report.Remotes {
		if err := remote.Check(r.Target); err != nil {
			errs = append(errs, fmt.Errorf("report.remotes: item %d (%s): %w", i+1, r.Name, err))
		}
	}
	return cfg, errors.Join(errs...)
}

func newReporter(s *system, cfg config.Config, registry prometheus.Registerer) *report.Reporter {
	return &report.Reporter{Store: s.store, Dir: filepath.Join(cfg.DataDir, "reports"), Now: s.store.Now, Log: s.log, Metrics: report.NewMetrics(registry)}
}

// reportSettings are what a configuration says of reports.
func reportSettings(cfg config.Config) report.Settings {
	s := report.Settings{SystemID: cfg.Report.SystemID, Every: time.Duration(cfg.Report.Every), MaxBytes: int64(cfg.Report.MaxBytes), Empty: cfg.Report.Empty,
		PerDistributor: cfg.Report.PerDistributor, AlarmAfter: time.Duration(cfg.Report.AlarmAfter), Keep: time.Duration(cfg.Report.Keep), Window: time.Duration(cfg.Window)}
	for _, r := range cfg.Report.Remotes {
		s.Remotes = append(s.Remotes, report.Remote{Name: r.Name, Target: r.Target, Stream: r.Takes()})
	}
	return s
}

// deliver cuts and delivers reports with the remotes of now, in place of those
// before, until ctx ends.
func (s *system) deliver(ctx context.Context) {
	s.stopReports()
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	s.background.Go(func() {
		defer close(done)
		s.reports.Run(ctx)
	})
	s.stopReports = func() {
		stop()
		<-done
	}
}

// redeliver takes over the remotes of a changed configuration. Where they are the
// same, deliveries that are under way go on, and what waits after a failure is tried
// now: rclone's own configuration may have changed.
func (s *system) redeliver(ctx context.Context, was, now config.Config) {
	if slices.Equal(was.Report.Remotes, now.Report.Remotes) {
		s.reports.Retry()
		return
	}
	s.deliver(ctx)
}

func reporting(r *report.Reporter, st *store.Store) console.Reporting {
	return console.Reporting{
		Cut: func(ctx context.Context) (store.Report, error) {
			rep, err := r.Cut(ctx)
			return rep, notNow(err)
		},
		Resume: func(ctx context.Context, next int64, who, why string) error {
			return notNow(r.Resume(ctx, next, who, why))
		},
		Open: r.Open,
		Send: func(ctx context.Context, no int64, name string) error {
			err := r.Send(ctx, no, name)
			if errors.Is(err, report.ErrNoRemote) {
				err = fmt.Errorf("%w: %w", console.ErrNotFound, err)
			}
			return err
		},
		Export: func(format string) (string, func(context.Context, io.Writer, time.Time, time.Time) error, error) {
			f, err := report.ParseFormat(format)
			return f.ContentType(), func(ctx context.Context, w io.Writer, from, to time.Time) error {
				return report.Export(ctx, st, w, f, from, to)
			}, err
		},
	}
}

// notNow marks errors for the console that say how things are.
func notNow(err error) error {
	if errors.Is(err, report.ErrRestored) || errors.Is(err, report.ErrNotRestored) || errors.Is(err, report.ErrResume) {
		return console.NotNow{Err: err}
	}
	return err
}
