package server

import (
	"context"

	"quell/internal/audit"
	"quell/internal/syslog"

	"github.com/prometheus/client_golang/prometheus"
)

// sendAudit sends the audit log to syslog, until ctx ends.
func (s *Server) sendAudit(ctx context.Context) {
	if s.store.Ready(ctx) == nil {
		s.syslog.Run(ctx)
	}
}

// watchAudit registers the metrics of the audit log.
func watchAudit(r prometheus.Registerer, l *audit.Log, s *syslog.Sender) {
	r.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "quell", Name: "audit_refused_total",
			Help: "Requests to the console that were refused or failed, and that the audit log has or will have."}, func() float64 {
			total, _ := l.RefusedCount()
			return float64(total)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: "audit_refused_waiting",
			Help: "Of these, those that are in no record of the audit log yet."}, func() float64 {
			_, waiting := l.RefusedCount()
			return float64(waiting)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: "syslog_waiting",
			Help: "Records of the audit log that are not delivered to syslog yet; 0 if this node does not send them."}, func() float64 { return float64(s.Waiting()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "quell", Name: "syslog_failures_total",
			Help: "How often records of the audit log could not be delivered to syslog."}, func() float64 { return float64(s.Failures()) }))
}
