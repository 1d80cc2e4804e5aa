package server

import (
	"slices"

	"quell/internal/motorway"
	"quell/internal/outage"
)

// setToZero creates the series that monitoring watches, with the value 0. Prometheus counts the
// increase of a counter from its first value on: if a series came into being with the first
// event, that event would be in no increase, and would raise no alert.
func setToZero(m *motorway.Metrics) {
	for _, cause := range []string{"unreadable", "store-error", "store-timeout", "clock", "signature"} {
		m.FailOpen.WithLabelValues(cause)
	}
	for _, d := range []outage.Direction{outage.South, outage.North} {
		for _, cause := range []string{"unreachable", "timeout", "stalled", "answer", "own-listener", "tls", "sender-gone", "sender-stalled", "stopped"} {
			m.NextHop.WithLabelValues(string(d), cause)
		}
		for _, cause := range []string{"tunnel", "length", "broken-off", "stalled"} {
			m.Refused.WithLabelValues(string(d), cause)
		}
		for _, result := range []string{"verified", string(outage.ReasonSignatureMissing), string(outage.ReasonSignerUnknown), string(outage.ReasonSignatureInvalid)} {
			m.Signatures.WithLabelValues(string(d), result)
		}
	}
	listeners := []string{string(outage.South), string(outage.North), "console"}
	for _, l := range listeners {
		for _, cause := range []string{"no-certificate", "unknown-authority", "expired", "wrong-use", "not-allowed", "invalid", "handshake", "no-tls"} {
			m.TLSRefused.WithLabelValues(l, cause)
		}
	}
	for _, l := range slices.Concat(listeners, []string{"socket"}) {
		m.ConnectionsFull.WithLabelValues(l)
		m.AcceptErrors.WithLabelValues(l)
	}
	for _, mode := range []outage.Kind{outage.OnDemand, outage.FutureDated} {
		for _, reason := range []outage.Reason{outage.ReasonTracked, outage.ReasonUnknownDevice, outage.ReasonNotListed, outage.ReasonNoHub} {
			m.Activations.WithLabelValues(string(mode), string(reason))
		}
	}
	m.Northbound.WithLabelValues(string(outage.Suppressed), string(outage.ReasonWindowOpen))
	m.Northbound.WithLabelValues(string(outage.Forwarded), string(outage.ReasonNoWindow))
}
