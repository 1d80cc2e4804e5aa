package server

import (
	"context"
	"time"

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

// recordChange records a change that a file of the machine made, in the background: who may speak,
// or is believed, depends on them.
func (s *Server) recordChange(what, object string) {
	s.background.Go(func() {
		ctx, cancel := context.WithTimeout(s.running, recordTimeout)
		defer cancel()
		if err := s.store.Audit.Write(ctx, audit.Record{Who: audit.Quell, From: audit.Quell, What: what, Object: object, Outcome: audit.Done}); err != nil {
			s.log.Error("a change is not in the audit log", "what", what, "object", object, "error", err)
		}
	})
}

// recordTimeout bounds the wait for the record of a change that a file made.
const recordTimeout = time.Minute

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
			Help: "Records of the audit log that are not sent to syslog yet or, while that fails, not delivered; 0 if this node does not send them."}, func() float64 { return float64(s.Waiting()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "quell", Name: "syslog_failures_total",
			Help: "How often records of the audit log could not be delivered to syslog."}, func() float64 { return float64(s.Failures()) }))
}
