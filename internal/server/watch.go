package server

import (
	"context"
	"time"

	"quell/internal/outage"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// conditions returns what is wrong while alerts still pass, nil if nothing is.
func (s *Server) conditions() (list []string) {
	list = append(s.store.Conditions(), s.gateway.Conditions()...)
	list = append(list, s.m.Conditions()...)
	list = append(list, s.signers.conditions()...)
	list = append(list, s.adviser.Conditions()...)
	list = append(list, s.store.Evidence.Conditions()...)
	if s.running != nil && s.loader.loading() && s.store.DB.Available() {
		list = append(list, "the files that the configuration names are being read: until they are, what was in force before counts")
	}
	if s.running != nil {
		list = append(list, s.cfg.Load().Insecure(&s.started)...)
	}
	list = append(list, s.faults.conditions()...)
	list = append(list, s.reports.Conditions()...)
	list = append(append(list, s.socket.conditions()...), s.guard.Access.Conditions()...)
	add := func(output, trouble string) {
		if trouble != "" {
			list = append(list, output+": "+trouble)
		}
	}
	if q := s.logLines; q != nil {
		add("the log", q.Trouble())
	}
	if s.trail != nil {
		add("the service audit trail", s.trail.Trouble())
		add("the recording", s.recording.Trouble())
	}
	add("syslog", s.syslog.Trouble())
	return list
}

// gauge registers a metric that is 1 or 0.
func gauge(r prometheus.Registerer, name, help string, labels prometheus.Labels, is func() bool) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: name, Help: help, ConstLabels: labels}, func() float64 {
		return number(is())
	}))
}

// countLines registers the metrics of lines that the log and the trail dropped.
func (s *Server) countLines(r prometheus.Registerer) {
	for output, dropped := range map[string]func() uint64{
		"log": func() uint64 {
			if q := s.logLines; q != nil {
				return q.Dropped()
			}
			return 0
		},
		"audit-trail": func() uint64 {
			if s.trail != nil {
				return s.trail.Dropped()
			}
			return 0
		},
		"recording": func() uint64 {
			if s.recording != nil {
				return s.recording.Dropped()
			}
			return 0
		},
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "quell", Name: "lines_dropped_total",
			Help:        "Lines that were dropped because they could not be written as fast as they came, by output.",
			ConstLabels: prometheus.Labels{"output": output}}, func() float64 { return float64(dropped()) }))
	}
}

// watch registers the gauges whose values are read from the store when they are asked for.
func watch(r prometheus.Registerer, st *store.Store, now func() time.Time) {
	f := promauto.With(r)
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: name, Help: help, ConstLabels: labels}, value)
	}
	r.MustRegister(&windowCount{store: st, now: now, desc: prometheus.NewDesc("quell_windows", "Windows in force, by state: open, or pending (not started).", []string{"state"}, nil)})
	gauge("store_up", "1 if the store took the last transaction, else 0.", nil, func() float64 { return number(st.DB.Available()) })
	gauge("journal_pending", "Records in the node's journal that are not in the store.", nil, func() float64 { return float64(st.Ledger.Pending()) })
	gauge("journal_in_memory", "Records of the journal that are in memory only, because its file cannot be written.", nil, func() float64 {
		held, _ := st.Ledger.JournalInMemory()
		return float64(held)
	})
	gauge("journal_lost", "Records of the journal that were lost since the start, because neither its file nor memory had room.", nil, func() float64 {
		_, lost := st.Ledger.JournalInMemory()
		return float64(lost)
	})
	f.NewCounterFunc(prometheus.CounterOpts{Namespace: "quell", Name: "released_total", Help: "Suppressed alerts that were released, and delivered by this node."},
		func() float64 { return float64(st.Releases.Delivered()) })
	gauge("releases_waiting", "Released alerts that are not delivered yet, on the leader; 0 on any other node.", nil, func() float64 { return float64(st.Releases.Waiting()) })
	gauge("leading", "1 if this node is the leader, which cuts and delivers reports and runs housekeeping, else 0.", nil, func() float64 { return number(st.Cluster.IsLeader()) })
	gauge("settings_different", "Settings of other nodes that must be equal to those of this node, and are not.", nil, func() float64 { return float64(len(st.Cluster.Differences())) })
	gauge("clock_offset_seconds", "How far this node's clock is ahead of the database's; 0 with SQLite, or while that is not known.", nil, func() float64 {
		ahead, _ := st.Cluster.ClockOffset()
		return ahead.Seconds()
	})
	gauge("hubs", "Hubs that have an activation or a log entry: the store decides on their alerts.", nil, func() float64 { return float64(st.Ledger.Hubs()) })
	for _, sw := range []outage.Switch{outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff} {
		gauge("switch", "1 for the position of the switch, 0 for the others.", prometheus.Labels{"position": string(sw)},
			func() float64 { return number(st.Ledger.Switch() == sw) })
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// windowCount counts open and pending windows at one instant, with one query. If the store
// does not answer, it has no value.
type windowCount struct {
	store *store.Store
	now   func() time.Time
	desc  *prometheus.Desc
}

func (w *windowCount) Describe(c chan<- *prometheus.Desc) { c <- w.desc }

func (w *windowCount) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	open, pending, err := w.store.Windows.Counts(ctx, w.now())
	if err != nil {
		return
	}
	c <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, float64(open), "open")
	c <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, float64(pending), "pending")
}
