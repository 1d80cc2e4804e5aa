package server

import (
	"context"
	"path/filepath"
	"time"

	"quell/internal/adviser"
	"quell/internal/evidence"
	"quell/internal/liveness"
	"quell/internal/search"

	"github.com/prometheus/client_golang/prometheus"
)

// newAdviser returns what gives advice, and watches that alerts come as they should.
func newAdviser(s *Server, r prometheus.Registerer) *adviser.Adviser {
	m, st := s.m, s.store
	a := &adviser.Adviser{Windows: st.Windows, Updates: st.Updates, Devices: st.Devices, Ledger: st.Ledger, DB: st.DB, Now: m.Now, Log: s.log,
		InForce: func(model string) (from, to time.Duration) { return m.Rules().WindowOf(model) },
		Asks:    func() bool { return s.cfg.Load().Evidence.Ask },
		Learned: st.Evidence.Learned,
		Assessed: func(ctx context.Context, from, to int64) ([]evidence.Assessment, error) {
			if !s.cfg.Load().Evidence.Enabled {
				return nil, adviser.ErrNoEvidence
			}
			return st.Evidence.Assessed(ctx, from, to)
		},
		Arrived: m.Arrived, Nodes: func() int { return max(1, len(st.Cluster.Nodes())) }}
	for _, c := range liveness.All {
		gauge(r, "liveness", "1 while alerts do not come as they should, by condition; else 0.", prometheus.Labels{"condition": string(c)}, func() bool { return a.Raised(c) })
	}
	return a
}

// newSearch returns what reads the store for the console.
func newSearch(s *Server) *search.Search {
	m, st := s.m, s.store
	return &search.Search{DB: st.DB, Devices: st.Devices, Evidence: st.Evidence, Now: m.Now,
		Learned: st.Evidence.Learned, Advice: s.adviser.Window, InForce: s.console.InForce, Others: s.console.Manufacturers.Sentence, FirstWait: 40 * time.Millisecond}
}

// adviseWeekly writes the advice on the list of meters once a week, until ctx ends.
func (s *Server) adviseWeekly(ctx context.Context) {
	if s.store.Ready(ctx) != nil {
		return
	}
	for {
		path, err := s.adviser.WriteWeekly(ctx, filepath.Join(s.started.DataDir, "advice"))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Warn("the weekly advice on the list cannot be written; quell tries again in an hour", "error", err)
		case path != "":
			s.log.Info("the weekly advice on the list is written", "file", path)
		}
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
			return
		}
	}
}
