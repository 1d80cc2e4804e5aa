package motorway

import (
	"context"
	"time"

	"quell/internal/outage"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are what operators watch. docs/operations.md says what each means.
type Metrics struct {
	Northbound  *prometheus.CounterVec // by decision, reason
	Activations *prometheus.CounterVec // by mode, reason
	FailOpen    *prometheus.CounterVec // by cause
	NextHop     *prometheus.CounterVec // by direction, cause
	NextHopUp   *prometheus.GaugeVec   // by direction
	Withdrawn   prometheus.Counter
	Unreadable  prometheus.Counter     // answers to tracked 11.3s
	Refused     *prometheus.CounterVec // by direction, cause

	// By listener: connections that are open, how often there was no place for
	// one more, and how often one could not be accepted.
	Connections     *prometheus.GaugeVec
	ConnectionsFull *prometheus.CounterVec
	AcceptErrors    *prometheus.CounterVec

	Decision *prometheus.HistogramVec // by decision
	Commit   prometheus.Histogram
	Batch    prometheus.Histogram
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f := promauto.With(r)
	times := prometheus.ExponentialBucketsRange(10e-6, 2, 18)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Namespace: "quell", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		Northbound:  counter("northbound_total", "Northbound messages, by decision and reason.", "decision", "reason"),
		Activations: counter("activations_total", "11.3 requests, by mode and reason.", "mode", "reason"),
		FailOpen:    counter("fail_open_total", "Northbound messages forwarded because something failed, by cause.", "cause"),
		NextHop:     counter("next_hop_errors_total", "Messages that could not be delivered to the next hop, by direction and cause.", "direction", "cause"),
		NextHopUp: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "quell", Name: "next_hop_up",
			Help: "0 from the first message that a next hop does not take or answer until it answers one, else 1."}, []string{"direction"}),
		Withdrawn: f.NewCounter(prometheus.CounterOpts{Namespace: "quell", Name: "activations_withdrawn_total",
			Help: "Tracked activations withdrawn because the next hop refused them or could not be reached."}),
		Unreadable: f.NewCounter(prometheus.CounterOpts{Namespace: "quell", Name: "answers_unreadable_total",
			Help: "Tracked activations withdrawn because the next hop's answer of success could not be read."}),
		Refused: counter("refused_total", "Requests that are no message, by direction and cause.", "direction", "cause"),
		Connections: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "quell", Name: "connections",
			Help: "Connections that are open, by listener."}, []string{"listener"}),
		ConnectionsFull: counter("connections_full_total", "Times that a listener had all the connections that it takes.", "listener"),
		AcceptErrors:    counter("accept_errors_total", "Connections that could not be accepted, by listener.", "listener"),
		Decision: f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "quell", Name: "decision_seconds",
			Help: "Time from a northbound message's receipt to its decision.", Buckets: times}, []string{"decision"}),
		Commit: f.NewHistogram(prometheus.HistogramOpts{Namespace: "quell", Name: "store_commit_seconds",
			Help: "Time of a transaction of the store.", Buckets: times}),
		Batch: f.NewHistogram(prometheus.HistogramOpts{Namespace: "quell", Name: "store_batch_size",
			Help: "Decisions in a transaction of the store.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
	}
	return m
}

func (m *Metrics) northbound(d outage.Decision, took time.Duration) {
	m.Northbound.WithLabelValues(string(d.Outcome), string(d.Reason)).Inc()
	m.Decision.WithLabelValues(string(d.Outcome)).Observe(took.Seconds())
}

// Committed is for store.Options.OnCommit.
func (m *Metrics) Committed(decisions int, took time.Duration, _ error) {
	m.Commit.Observe(took.Seconds())
	if decisions > 0 {
		m.Batch.Observe(float64(decisions))
	}
}

// Watch registers the gauges that are read off the motorway when asked.
func (m *Motorway) Watch(r prometheus.Registerer) {
	f := promauto.With(r)
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "quell", Name: name, Help: help, ConstLabels: labels}, value)
	}
	r.MustRegister(&windows{m: m, desc: prometheus.NewDesc("quell_windows", "Windows that stand, by state: open, or pending (not begun).", []string{"state"}, nil)})
	gauge("store_up", "1 if the store took the last transaction, else 0.", nil, func() float64 { return truth(m.Store.Available()) })
	gauge("journal_pending", "Records in the node's journal that are not in the store.", nil, func() float64 { return float64(m.Store.Pending()) })
	gauge("journal_in_memory", "Records of the journal that are in memory only, since its file cannot be written.", nil, func() float64 {
		held, _ := m.Store.JournalInMemory()
		return float64(held)
	})
	gauge("journal_lost", "Records of the journal that were lost since the start, since neither its file nor memory had room.", nil, func() float64 {
		_, lost := m.Store.JournalInMemory()
		return float64(lost)
	})
	gauge("leading", "1 if this node cuts and delivers reports and runs housekeeping, else 0.", nil, func() float64 { return truth(m.Store.Leading()) })
	gauge("settings_different", "Settings of other nodes that differ from those of this one and must not.", nil, func() float64 { return float64(len(m.Store.Differences())) })
	gauge("clock_offset_seconds", "How far this node's clock is ahead of the database's; 0 if there is none to compare with.", nil, func() float64 {
		ahead, _ := m.Store.ClockOffset()
		return ahead.Seconds()
	})
	gauge("hubs", "Hubs with an activation or a log entry, whose alerts the store is asked about.", nil, func() float64 { return float64(m.Store.Hubs()) })
	for _, sw := range []outage.Switch{outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff} {
		gauge("switch", "1 for the position of the switch, 0 for the others.", prometheus.Labels{"position": string(sw)},
			func() float64 { return truth(m.Store.Switch() == sw) })
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// windows counts open and pending windows at one instant, by one question to
// the store. Without an answer there is no value.
type windows struct {
	m    *Motorway
	desc *prometheus.Desc
}

func (w *windows) Describe(c chan<- *prometheus.Desc) { c <- w.desc }

func (w *windows) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	open, pending, err := w.m.Store.WindowCounts(ctx, w.m.Now())
	if err != nil {
		return
	}
	c <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, float64(open), "open")
	c <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, float64(pending), "pending")
}
