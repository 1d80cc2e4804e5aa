package reporter

import (
	"time"

	"quell/internal/report"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the metrics of reports.
type Metrics struct {
	Cut       *prometheus.CounterVec // by cause
	Files     prometheus.Counter
	Bytes     prometheus.Counter
	Delivered *prometheus.CounterVec // by remote, as are the next four
	Failures  *prometheus.CounterVec
	Unsent    *prometheus.GaugeVec
	Oldest    *prometheus.GaugeVec
	Late      *prometheus.GaugeVec
	Ahead     prometheus.Gauge
	Halted    prometheus.Gauge
	Due       prometheus.Gauge
}

// NewMetrics returns the metrics, registered.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	f := promauto.With(registry)
	remote := []string{"remote"}
	m := &Metrics{
		Cut:       f.NewCounterVec(prometheus.CounterOpts{Name: "quell_reports_cut_total", Help: "Reports cut, by cause: time, size or asked."}, []string{"cause"}),
		Files:     f.NewCounter(prometheus.CounterOpts{Name: "quell_report_files_written_total", Help: "Report files written to the data folder."}),
		Bytes:     f.NewCounter(prometheus.CounterOpts{Name: "quell_report_bytes_written_total", Help: "Bytes of report files written to the data folder."}),
		Delivered: f.NewCounterVec(prometheus.CounterOpts{Name: "quell_report_deliveries_total", Help: "Report files confirmed by a remote."}, remote),
		Failures:  f.NewCounterVec(prometheus.CounterOpts{Name: "quell_report_delivery_failures_total", Help: "Failed tries to deliver a report file."}, remote),
		Unsent:    f.NewGaugeVec(prometheus.GaugeOpts{Name: "quell_report_unsent_files", Help: "Report files that a remote has not confirmed."}, remote),
		Oldest:    f.NewGaugeVec(prometheus.GaugeOpts{Name: "quell_report_oldest_unsent_seconds", Help: "Age of the oldest report that a remote has not confirmed; 0 if there is none."}, remote),
		Late:      f.NewGaugeVec(prometheus.GaugeOpts{Name: "quell_report_late", Help: "1 if a remote has not confirmed a report within report.alarm_after."}, remote),
		Ahead:     f.NewGauge(prometheus.GaugeOpts{Name: "quell_report_period_ahead_seconds", Help: "How far in the future the last report's period ends. More than some minutes: the clock was wrong."}),
		Halted:    f.NewGauge(prometheus.GaugeOpts{Name: "quell_reports_halted", Help: "1 while no report is cut or delivered, since the store does not know all that were delivered."}),
		Due:       f.NewGauge(prometheus.GaugeOpts{Name: "quell_report_due_timestamp_seconds", Help: "When the next report is due, in seconds since 1970, on the leader; 0 on any other node."}),
	}
	for _, cause := range []report.Cause{report.CauseTime, report.CauseSize, report.CauseAsked} {
		m.Cut.WithLabelValues(string(cause)) // from 0 on, so that its first increase is seen
	}
	return m
}

func (m *Metrics) written(f report.File) {
	m.Files.Inc()
	m.Bytes.Add(float64(f.Size))
}

func (m *Metrics) waiting(remote string, files int, age time.Duration, late bool) {
	m.Delivered.WithLabelValues(remote) // from 0 on, so that their first increase is seen
	m.Failures.WithLabelValues(remote)
	m.Unsent.WithLabelValues(remote).Set(float64(files))
	m.Oldest.WithLabelValues(remote).Set(age.Seconds())
	v := 0.0
	if late {
		v = 1
	}
	m.Late.WithLabelValues(remote).Set(v)
}

// forget resets the metrics that only the leader has.
func (m *Metrics) forget() {
	m.Unsent.Reset()
	m.Oldest.Reset()
	m.Late.Reset()
	m.Ahead.Set(0)
	m.Halted.Set(0)
	m.Due.Set(0)
}
