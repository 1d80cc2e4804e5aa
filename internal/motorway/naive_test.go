package motorway

import (
	"time"

	"quell/internal/outage"
)

// naive is a model of the rules without a store. It keeps every request for ever, and goes
// through all of them from the beginning for each question. It has no journal, no set of
// hubs and no transactions.
type naive struct {
	town     map[outage.DeviceID]*home // by meter
	requests []*naiveRequest           // in order of arrival
	alerts   map[naiveAlert]*naiveOutcome
	sw       outage.Switch
	away     bool // the store does not answer
}

// home is what the inventory and the device list say about a meter.
type home struct {
	hub          outage.DeviceID // 0: not known
	listed, ours bool
	model        string
	span         outage.Span // of its model: where its windows are, from the activation on
}

// naiveRequest is one message, with all attempts to send it that were not refused.
type naiveRequest struct {
	id       outage.RequestID
	form     outage.Form
	order    outage.Order
	received time.Time
	span     outage.Span
	opens    bool
	refused  bool
	failed   bool // or it is not known whether it arrived
	accepted bool
}

type naiveAlert struct {
	id    outage.RequestID
	hub   outage.DeviceID
	start time.Time
}

// naiveOutcome is what happened to an alert: its entry in the log, and the note that it went
// forward, each until housekeeping deletes it.
type naiveOutcome struct {
	entered       time.Time // zero: it has no entry
	outcome       outage.Outcome
	seq           int64
	cut           bool // the entry is in a report
	corrected     bool // the outcome was suppressed before
	correctionCut bool // the correction is in a report

	noted time.Time // zero: it has no note
	// brief says that it has a note of an alert that passed without a question to the store.
	// Housekeeping has a limit of its own for those, which no history reaches.
	brief bool
}

// begins returns when the activation begins, and whether it is pending before that.
func (r *naiveRequest) begins() (at time.Time, pending bool) {
	if r.order.Kind == outage.FutureDated && r.order.At.After(r.received) {
		return r.order.At, true
	}
	return r.received, false
}

func (r *naiveRequest) window() (from, to time.Time) {
	at, _ := r.begins()
	return at.Add(r.span.From), at.Add(r.span.To)
}

// receive takes a request. It returns the request that this one repeats, or the new one. A
// request that may open a window only repeats one that might too. A request that may open
// no window, and has nothing to close, is not kept.
func (n *naive) receive(id outage.RequestID, form outage.Form, order outage.Order, readable bool, received time.Time) *naiveRequest {
	h := n.town[id.Target]
	windowed := order.Kind == outage.OnDemand || order.Kind == outage.FutureDated
	opens := windowed && readable && n.sw != outage.SwitchOff && h.listed && h.ours && h.hub != 0
	closes := false
	for _, r := range n.requests {
		if r.id == id && r.form == form && r.order == order && !r.refused && !r.failed && (r.opens || !opens) {
			return r
		}
		_, to := r.window()
		closes = closes || r.opens && r.id.Target == id.Target && to.After(received)
	}
	r := &naiveRequest{id: id, form: form, order: order, received: received, span: h.span, opens: opens}
	if opens || closes {
		n.requests = append(n.requests, r)
	}
	return r
}

// covered reports whether a window is open on a hub.
func (n *naive) covered(hub outage.DeviceID, at time.Time) bool {
	for meter, h := range n.town {
		if h.hub != hub {
			continue
		}
		for i, r := range n.requests {
			from, to := r.window()
			if r.id.Target == meter && r.opens && !r.refused && !r.failed && !at.Before(from) && at.Before(to) && !n.closed(i) {
				return true
			}
		}
	}
	return false
}

// closed reports whether a later request closed the window of the i-th.
func (n *naive) closed(i int) bool {
	b := n.requests[i]
	begins, pending := b.begins()
	_, to := b.window()
	for _, a := range n.requests[i+1:] {
		switch {
		case a.id.Target != b.id.Target || a.refused:
		case a.form == outage.ServiceRequest && b.form == outage.SignedPreCommand:
			// It reaches no meter.
		case pending && a.received.Before(begins):
			return true
		case a.form == outage.SignedPreCommand && b.form == outage.ServiceRequest && a.opens && a.order.Kind == b.order.Kind && a.received.Before(to):
			return true
		}
	}
	return false
}

// decide returns what happens to an alert.
func (n *naive) decide(a naiveAlert, at time.Time) outage.Outcome {
	f := n.alerts[a]
	if f == nil {
		f = &naiveOutcome{}
		n.alerts[a] = f
	}
	passes := n.sw == outage.SwitchOff || n.away
	switch logged := !f.entered.IsZero(); {
	case !f.noted.IsZero():
	case logged && !passes && (n.sw == outage.SwitchOn || f.outcome != outage.Suppressed):
		return f.outcome
	case logged:
		f.pass(at)
	case !passes && n.covered(a.hub, at):
		f.entered, f.outcome = at, outage.Suppressed
		if n.sw == outage.SwitchShadow {
			f.outcome = outage.Shadow
		}
		return f.outcome
	default:
		f.noted = at
	}
	return outage.Forwarded
}

// pass records that an alert with an entry goes forward after all.
func (f *naiveOutcome) pass(at time.Time) {
	if f.outcome == outage.Suppressed {
		f.outcome, f.corrected = outage.Forwarded, true
	}
	f.noted = at
}

// report records that the entries up to a number, and all corrections, are in a report.
func (n *naive) report(last int64) {
	for _, f := range n.alerts {
		f.cut = f.cut || f.seq != 0 && f.seq <= last
		f.correctionCut = f.corrected
	}
}

// forget deletes notes and entries that were received before an instant. It keeps entries that
// are in no report, or whose correction is in none.
func (n *naive) forget(before time.Time) {
	for a, f := range n.alerts {
		if f.noted.Before(before) && !f.brief {
			f.noted = time.Time{}
		}
		if f.entered.Before(before) && f.cut && (!f.corrected || f.correctionCut) {
			*f = naiveOutcome{noted: f.noted, brief: f.brief}
		}
		if f.noted.IsZero() && f.entered.IsZero() {
			delete(n.alerts, a)
		}
	}
}
