package motorway

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/outage"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the metrics of messages. docs/operations.md says what each means.
type Metrics struct {
	Northbound  *prometheus.CounterVec // by decision, reason
	Activations *prometheus.CounterVec // by mode, reason
	FailOpen    *prometheus.CounterVec // by cause
	NextHop     *prometheus.CounterVec // by direction, cause
	NextHopUp   *prometheus.GaugeVec   // by direction
	Withdrawn   prometheus.Counter
	Unreadable  prometheus.Counter     // answers to tracked 11.3s
	Refused     *prometheus.CounterVec // by direction, cause
	Signatures  *prometheus.CounterVec // by direction, result

	// By listener: open connections, how often all places were in use when another
	// connection came, and how often a connection could not be accepted.
	Connections     *prometheus.GaugeVec
	ConnectionsFull *prometheus.CounterVec
	AcceptErrors    *prometheus.CounterVec
	TLSRefused      *prometheus.CounterVec // and cause: clients that TLS refused

	Decision *prometheus.HistogramVec // by decision
	Commit   prometheus.Histogram
	Batch    prometheus.Histogram

	adding    sync.Mutex                                          // held to replace decisions
	decisions atomic.Pointer[map[outage.Decision]decisionMetrics] // see northbound
}

// decisionMetrics are the metrics of one decision.
type decisionMetrics struct {
	count   prometheus.Counter
	seconds prometheus.Observer
}

// NewMetrics creates the metrics and registers them.
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
			Help: "0 after a next hop did not take or answer a message, until it answers one; else 1."}, []string{"direction"}),
		Withdrawn: f.NewCounter(prometheus.CounterOpts{Namespace: "quell", Name: "activations_withdrawn_total",
			Help: "Tracked activations that the next hop refused, or is not known to have received."}),
		Unreadable: f.NewCounter(prometheus.CounterOpts{Namespace: "quell", Name: "answers_unreadable_total",
			Help: "Tracked activations that the next hop answered with success and a body that is not a DUIS response."}),
		Refused:    counter("refused_total", "HTTP requests that are not a message, by direction and cause.", "direction", "cause"),
		Signatures: counter("signatures_total", "Messages whose signature was looked at, by direction and result: verified, or why not.", "direction", "result"),
		Connections: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "quell", Name: "connections",
			Help: "Open connections, by listener."}, []string{"listener"}),
		ConnectionsFull: counter("connections_full_total", "How often all connections of a listener were in use when another one came, by listener.", "listener"),
		AcceptErrors:    counter("accept_errors_total", "Connections that could not be accepted, by listener.", "listener"),
		TLSRefused:      counter("tls_refused_total", "Connections, and requests on open connections, that TLS or the rules for certificates refused, by listener and cause.", "listener", "cause"),
		Decision: f.NewHistogramVec(prometheus.HistogramOpts{Namespace: "quell", Name: "decision_seconds",
			Help: "Time from a northbound message's receipt to its decision.", Buckets: times}, []string{"decision"}),
		Commit: f.NewHistogram(prometheus.HistogramOpts{Namespace: "quell", Name: "store_commit_seconds",
			Help: "Duration of a transaction of the store.", Buckets: times}),
		Batch: f.NewHistogram(prometheus.HistogramOpts{Namespace: "quell", Name: "store_batch_size",
			Help: "Decisions in a transaction of the store.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
	}
	m.decisions.Store(&map[outage.Decision]decisionMetrics{})
	return m
}

// northbound counts a decision. What it counts with is kept: to find that by its labels takes
// longer than to count.
func (m *Metrics) northbound(d outage.Decision, took time.Duration) {
	of, ok := (*m.decisions.Load())[d]
	if !ok {
		of = m.addDecision(d)
	}
	of.count.Inc()
	of.seconds.Observe(took.Seconds())
}

// addDecision makes the metrics of a decision that is made for the first time. There are as
// many as outage has reasons.
func (m *Metrics) addDecision(d outage.Decision) decisionMetrics {
	m.adding.Lock()
	defer m.adding.Unlock()
	all := maps.Clone(*m.decisions.Load())
	all[d] = decisionMetrics{m.Northbound.WithLabelValues(string(d.Outcome), string(d.Reason)), m.Decision.WithLabelValues(string(d.Outcome))}
	m.decisions.Store(&all)
	return all[d]
}

// Committed counts a transaction. It is made for store.Options.OnCommit.
func (m *Metrics) Committed(took time.Duration, _ error) { m.Commit.Observe(took.Seconds()) }

// Decided counts a batch of decisions. It is made for store.Options.OnDecided.
func (m *Metrics) Decided(n int, _ error) { m.Batch.Observe(float64(n)) }
