package server

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"time"

	"quell/internal/config"
	"quell/internal/console"
	"quell/internal/ledger"
	"quell/internal/report"
	"quell/internal/reporter"
	"quell/internal/reportfile"

	"github.com/prometheus/client_golang/prometheus"
)

func newReporter(s *Server, cfg config.Config, registry prometheus.Registerer) *reporter.Reporter {
	return &reporter.Reporter{Register: s.store.Reports, Ledger: s.store.Ledger, Cluster: s.store.Cluster, Ready: s.store.Ready,
		Dir: filepath.Join(cfg.DataDir, "reports"), Now: s.store.Cluster.Now, Log: s.log, Metrics: reporter.NewMetrics(registry)}
}

// reportSettings returns the settings of reports in a configuration.
func reportSettings(cfg config.Config) reporter.Settings {
	s := reporter.Settings{SystemID: cfg.Report.SystemID, Every: time.Duration(cfg.Report.Every), MaxBytes: int64(cfg.Report.MaxBytes), Empty: cfg.Report.Empty,
		PerDistributor: cfg.Report.PerDistributor, AlarmAfter: time.Duration(cfg.Report.AlarmAfter), Keep: time.Duration(cfg.Report.Keep), Window: time.Duration(cfg.Window)}
	for _, r := range cfg.Report.Remotes {
		s.Remotes = append(s.Remotes, reporter.Remote{Name: r.Name, Target: r.Target, Stream: r.FilterOrDefault()})
	}
	return s
}

// startReports cuts and delivers reports, with the present remotes, until ctx ends. It
// first stops what an earlier call started.
func (s *Server) startReports(ctx context.Context) {
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

// reloadReports takes over the remotes of a changed configuration. If they are the same,
// deliveries that are under way go on, and those that failed are retried now, because
// rclone's own configuration may have changed.
func (s *Server) reloadReports(ctx context.Context, was, now config.Config) {
	if slices.Equal(was.Report.Remotes, now.Report.Remotes) {
		s.reports.Retry()
		return
	}
	s.startReports(ctx)
}

func reporting(r *reporter.Reporter, l *ledger.Ledger) console.Reporting {
	return console.Reporting{
		Cut: func(ctx context.Context) (report.Report, error) {
			rep, err := r.Cut(ctx)
			return rep, conflict(err)
		},
		Resume: func(ctx context.Context, next int64, who, why string) error {
			return conflict(r.Resume(ctx, next, who, why))
		},
		Status: r.Status,
		Chain:  r.Chain,
		Open:   r.Open,
		Send: func(ctx context.Context, no int64, name string) error {
			err := r.Send(ctx, no, name)
			if errors.Is(err, reporter.ErrNoRemote) {
				err = console.NotFound{Err: err}
			}
			return err
		},
		Export: func(format string) (string, func(context.Context, io.Writer, time.Time, time.Time) error, error) {
			f, err := reportfile.ParseFormat(format)
			return f.ContentType(), func(ctx context.Context, w io.Writer, from, to time.Time) error {
				return reportfile.Export(w, f, l.EntriesReceived(ctx, from, to))
			}, err
		},
	}
}

// conflict marks the errors that are about the state of the reports.
func conflict(err error) error {
	if errors.Is(err, reporter.ErrRestored) || errors.Is(err, reporter.ErrNotRestored) || errors.Is(err, reporter.ErrResume) {
		return console.Conflict{Err: err}
	}
	return err
}
