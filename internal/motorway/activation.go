package motorway

import (
	"context"
	"slices"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// Southbound looks at a message that goes south, and records the activation
// that an 11.3 asks for, before the message is forwarded. When the next hop has
// answered, or could not be reached, Answered is to be called.
//
// Much may keep an 11.3 from opening a window, the switch and what cannot be read
// of it among them; only its form keeps it from closing the one that is pending.
func (m *Motorway) Southbound(ctx context.Context, b Body) Passage {
	p := Passage{Direction: outage.South}
	m.receipt(&p)
	p.Decision.Outcome = outage.Forwarded
	p.Decision.Reason = p.read(b)
	is11_3 := p.Message.Root == duis.RootRequest && p.Message.ServiceReferenceVariant == "11.3"
	if is11_3 {
		m.activation(ctx, &p)
	} else if p.Decision.Reason == "" {
		p.Decision.Reason = outage.ReasonNotActivation
	}
	if m.Ledger.Switch() == outage.SwitchOff {
		p.Decision.Reason = outage.ReasonSwitchedOff
	}
	return p
}

// activation records what an 11.3 opens or closes, and says why in p.Decision.Reason,
// which is what kept the message from being read whole, if anything did.
func (m *Motorway) activation(ctx context.Context, p *Passage) {
	rules := m.Rules()
	a, reason := readActivation(p, &rules)
	off := m.Ledger.Switch() == outage.SwitchOff
	switch {
	case p.Decision.Reason != "":
		m.Log.Warn("an 11.3 cannot be read", "reason", p.Decision.Reason, "request", p.Message.RequestID, "error", p.fault)
	case reason == outage.ReasonPayloadUnreadable:
		m.Log.Warn("the payload of an 11.3 cannot be read", "request", a.RequestID, "error", p.fault)
	case reason == "" && !sameOrder(precise(p.Message.Order()), a.Order):
		// The payload is what the meter will obey.
		m.Log.Warn("an 11.3 says two execution times, the payload's counts", "request", a.RequestID,
			"xml", p.Message.Order().Kind, "xml_time", p.Message.Order().At, "payload", a.Order.Kind, "payload_time", a.Order.At)
	}
	if off && reason == "" {
		reason = outage.ReasonSwitchedOff
	}
	switch {
	case !rules.tracks(a.Form) || a.RequestID == (outage.RequestID{}):
		// It is not looked at, or does not say of which meter it is.
	case reason != "":
		m.recordClosing(ctx, p, &a, &rules)
	default:
		reason = m.record(ctx, p, &a, &rules)
	}
	p.Decision.Reason = reason
	switch reason {
	case outage.ReasonTracked, outage.ReasonRepeated, outage.ReasonStoreUnavailable: // it is recorded, or will be
	default:
		if a.RequestID != (outage.RequestID{}) {
			m.Ledger.NoteUntracked(windows.Untracked{RequestID: a.RequestID.String(), Form: a.Form, ESME: a.ESME, Received: a.Received, Reason: reason})
		}
	}
	m.Metrics.Activations.WithLabelValues(string(a.Mode()), string(reason)).Inc()
	said := []any{"reason", reason, "request", a.RequestID, "esme", a.ESME, "chf", a.CHF, "form", a.Form, "mode", a.Mode()}
	if a.HasWindow() && p.activation != nil {
		said = append(said, "start", a.Start, "end", a.End)
	}
	m.Log.Info("activation", said...)
}

// sameOrder reports whether the XML of a request agrees with its payload. It may
// leave the time to the payload.
func sameOrder(xml, payload outage.Order) bool { return xml.Kind == outage.OnDemand || xml == payload }

// readActivation reads an 11.3 as far as its own text goes. The reason is ""
// if nothing in it speaks against opening a window; otherwise the activation
// closes.
func readActivation(p *Passage, rules *Rules) (a outage.Activation, _ outage.Reason) {
	msg := &p.Message
	order, reason := readOrder(p)
	form := outage.SignedPreCommand // in doubt: it closes more
	if msg.CommandVariant == 4 && msg.Body != duis.BodySignedPreCommand {
		form = outage.ServiceRequest
	}
	a = outage.NewActivation(msg.RequestID, form, order, 0, p.Received, rules.Window)
	switch {
	case reason == outage.ReasonCommandVariant || p.Decision.Reason != "":
	case !rules.tracks(form):
		reason = outage.ReasonFormNotTracked
	case reason == "" && order.Kind == outage.FutureDated && order.At.After(p.Received.Add(outage.MaxAhead)):
		reason = outage.ReasonTooFarAhead
	}
	if reason != "" {
		a = a.AsClosing()
	}
	return a, reason
}

func (r *Rules) tracks(form outage.Form) bool { return slices.Contains(r.Track, form) }

// readOrder reads what an 11.3 asks for: of a Signed Pre-Command that is what its
// payload says. If the reason is not "", the order may not be what the meter gets.
func readOrder(p *Passage) (outage.Order, outage.Reason) {
	msg := &p.Message
	order := precise(msg.Order())
	switch {
	case p.Decision.Reason != "":
		return outage.Order{Kind: outage.Closing}, p.Decision.Reason
	case msg.Body == duis.BodyActivateFirmware && msg.CommandVariant == 4:
		return order, ""
	case msg.Body == duis.BodySignedPreCommand && msg.CommandVariant == 6:
		return order, outage.ReasonLocalDelivery
	case msg.Body != duis.BodySignedPreCommand || msg.CommandVariant != 5 && msg.CommandVariant != 7:
		return order, outage.ReasonCommandVariant
	}
	command, err := gbcs.ReadCS06(msg.Payload)
	if err != nil {
		p.fault = err
		return order, outage.ReasonPayloadUnreadable
	}
	if command.Target != msg.RequestID.Target {
		return order, outage.ReasonTargetMismatch
	}
	order = precise(command.Order)
	if msg.CommandVariant == 7 && order.Kind != outage.OnDemand {
		return order, outage.ReasonCommandVariant
	}
	return order, ""
}

// precise is an order with its time as the store keeps it.
func precise(o outage.Order) outage.Order {
	o.At = o.At.UTC().Truncate(sqldb.Precision)
	return o
}

// record asks the inventory whether the meter is tracked, and on which hub it
// is, and records the activation if so.
func (m *Motorway) record(ctx context.Context, p *Passage, a *outage.Activation, rules *Rules) outage.Reason {
	ask, cancel := rules.wait(ctx)
	d, listed, err := m.Devices.Device(ask, a.ESME)
	cancel()
	if err != nil {
		m.Log.Error("the inventory does not answer, an activation goes to the journal", "request", a.RequestID, "error", err)
		m.Ledger.RecordUnresolved(ctx, *a, rules.Manufacturers)
		p.activation = a
		return outage.ReasonStoreUnavailable
	}
	if d != nil {
		a.CHF = d.CHF
	}
	if ok, reason := outage.Eligible(d, listed, rules.Manufacturers); !ok {
		if m.recordClosing(ctx, p, a, rules).Repeated {
			return outage.ReasonRepeated
		}
		return reason
	}
	p.activation = a
	keep, cancel := rules.wait(ctx)
	defer cancel()
	r := m.Ledger.Record(keep, *a)
	switch {
	case r.Remembered:
		m.Log.Error("the store does not answer, an activation is in the journal", "request", a.RequestID, "chf", a.CHF)
		return outage.ReasonStoreUnavailable
	case r.Repeated:
		return outage.ReasonRepeated
	case r.TooMany:
		m.Log.Warn("a meter has too many windows, this opens none", "request", a.RequestID, "esme", a.ESME)
		return outage.ReasonTooManyWindows
	}
	return outage.ReasonTracked
}

// recordClosing records an activation that may only close. If there is nothing to
// close, its answer does not matter.
func (m *Motorway) recordClosing(ctx context.Context, p *Passage, a *outage.Activation, rules *Rules) ledger.Recorded {
	keep, cancel := rules.wait(ctx)
	defer cancel()
	r := m.Ledger.RecordClosing(keep, *a)
	if !r.Nothing {
		p.activation = a
	}
	return r
}

// wait bounds what a message waits for the store. A sender that hangs up does not
// take back its message.
func (r *Rules) wait(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), r.StoreTimeout)
}

// failure closes the windows of a request if a message that goes north says that
// its activation did not run: an answer that refuses it, a meter's response or
// alert that says so, or the DCC's alert that the command was not delivered. What
// such a message is about may be any request; the store knows whether it is one.
func (m *Motorway) failure(msg *duis.Message) {
	var f windows.Failed
	switch {
	case msg.FailedRequest != (outage.RequestID{}):
		f = windows.Failed{Request: msg.FailedRequest, Why: "DCC alert " + msg.AlertCode}
	case msg.ServiceReferenceVariant != "11.3":
		return
	case refused(msg):
		f = windows.Failed{Request: msg.RequestID, Why: "response code " + msg.ResponseCode}
	case msg.Payload != nil:
		o, err := gbcs.ReadOutcome(msg.Payload)
		if err != nil || !o.Failed() {
			return
		}
		f = windows.Failed{Request: outage.RequestID{Originator: o.Originator, Target: o.Meter, Counter: o.Counter}, Why: outcomeText(&o)}
		if msg.RequestID != (outage.RequestID{}) && msg.RequestID != f.Request {
			m.Ledger.Fail(windows.Failed{Request: msg.RequestID, Why: f.Why})
		}
	}
	if f.Request != (outage.RequestID{}) {
		m.Log.Info("an activation did not run", "request", f.Request, "why", f.Why)
		m.Ledger.Fail(f)
	}
}

func outcomeText(o *gbcs.Outcome) string {
	text := "the meter's response"
	if o.Alert == gbcs.AlertFailure {
		text = "alert 8F67"
	}
	switch o.Code {
	case gbcs.NoImage:
		text += ": no image"
	case gbcs.OtherHash:
		text += ": another hash"
	case gbcs.ActivationFailed:
		text += ": the activation failed"
	}
	return text
}
