package server

import (
	"context"
	"errors"
	"time"

	"quell/internal/assess"
	"quell/internal/evidence"
	"quell/internal/release"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// assess assesses the entries of the log, while this node is the leader and until ctx ends.
func (s *Server) assess(ctx context.Context) {
	if s.store.Ready(ctx) == nil {
		s.store.Evidence.Run(ctx)
	}
}

// followEvidence tells this node which homes it must listen for.
func (s *Server) followEvidence(ctx context.Context) {
	if s.store.Ready(ctx) == nil {
		s.store.Evidence.Follow(ctx)
	}
}

// releaseWithin is how long ago an entry may have become strong to be released without being
// asked for: another leader has taken over by then. What is older is left to the operator, also
// what there is when evidence.release is turned on.
const releaseWithin = time.Hour

// releaseStrong releases the entries that have become strong, if evidence.release says so, while
// this node is the leader and until ctx ends. It asks again for what it has asked for before a
// restart; that is refused, and nobody needs to know.
func (s *Server) releaseStrong(ctx context.Context) {
	if s.store.Ready(ctx) != nil {
		return
	}
	var last int64
	for ctx.Err() == nil {
		if s.cfg.Load().Evidence.Release == "strong" {
			// After an error nothing is in the list, and the next turn tries again.
			list, _ := s.store.Evidence.BecameStrong(ctx, last, s.store.Cluster.Now().Add(-releaseWithin), 1000)
			for i := range list {
				_, err := s.store.Releases.Release(ctx, list[i].Entry, importer, list[i].Text)
				if errors.Is(err, release.ErrNotKept) {
					s.log.Error("an alert that was probably genuine cannot be released", "sequence", list[i].Entry, "error", err)
				}
				if err != nil && !errors.Is(err, release.ErrRefused) && !errors.Is(err, release.ErrNoEntry) {
					break // the store does not answer
				}
				last = list[i].ID
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// watchEvidence registers the metrics of the evidence.
func watchEvidence(r prometheus.Registerer, st *store.Store) {
	f := promauto.With(r)
	for _, level := range []evidence.Level{evidence.Strong, evidence.Weak, evidence.None} {
		f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: "evidence_entries", ConstLabels: prometheus.Labels{"level": string(level)},
			Help: "Entries of the last 24 hours, by the evidence that the alert was genuine: strong, weak or none. On the leader, since it is that."},
			func() float64 { return float64(st.Evidence.Levels()[level]) })
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: "evidence_lag_seconds", Help: "How long ago the leader assessed entries last; 0 on other nodes."},
		func() float64 { return st.Evidence.Lag(st.Cluster.Now()).Seconds() })
	f.NewCounterFunc(prometheus.CounterOpts{Namespace: "quell", Name: "sightings_dropped_total", Help: "Sightings for the evidence that were dropped, because they could not be written as fast as they came."},
		func() float64 { return float64(st.Sightings.Dropped()) })
	f.NewCounterFunc(prometheus.CounterOpts{Namespace: "quell", Name: "updates_dropped_total", Help: "Notes of firmware updates for the forecast that were dropped: of meters, or of whole requests."},
		func() float64 { return float64(st.Updates.Dropped()) })
	violations := f.NewCounterVec(prometheus.CounterOpts{Namespace: "quell", Name: "a5_violation_total",
		Help: "Suppressed alerts that a restoration alert of the meter is about, by model: the outage was genuine, or assumption A5 does not hold for the model."}, []string{"model"})
	strong := f.NewCounter(prometheus.CounterOpts{Namespace: "quell", Name: "evidence_strong_total",
		Help: "Times that the evidence that a suppressed alert was genuine has become strong. On the leader, since it is that."})
	st.Evidence.Changed = func(c assess.Change) {
		if c.Level == evidence.Strong && c.Was != evidence.Strong {
			strong.Inc()
		}
		if c.Restored {
			violations.WithLabelValues(string(c.Model)).Inc()
		}
	}
}
