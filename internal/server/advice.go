package server

import (
	"time"

	"quell/internal/adviser"
	"quell/internal/liveness"

	"github.com/prometheus/client_golang/prometheus"
)

// newAdviser returns what gives advice, and watches that alerts come as they should.
func newAdviser(s *Server, r prometheus.Registerer) *adviser.Adviser {
	m, st := s.m, s.store
	a := &adviser.Adviser{Windows: st.Windows, Devices: st.Devices, Ledger: st.Ledger, DB: st.DB, Now: m.Now, Log: s.log,
		InForce: func(model string) (from, to time.Duration) { return m.Rules().WindowOf(model) },
		Longest: func() time.Duration { return m.Rules().LongestWindow() },
		Asks:    func() bool { return s.cfg.Load().Evidence.Ask },
		Arrived: m.Arrived, Nodes: func() int { return max(1, len(st.Cluster.Nodes())) }}
	for _, c := range liveness.All {
		gauge(r, "liveness", "1 while alerts do not come as they should, by condition; else 0.", prometheus.Labels{"condition": string(c)}, func() bool { return a.Raised(c) })
	}
	return a
}
