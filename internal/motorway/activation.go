package motorway

import (
	"cmp"
	"context"
	"slices"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// Southbound looks at a message that goes south. It records the activation that an 11.3
// asks for, before the message is forwarded. When the next hop has answered, or could not
// be reached, the caller calls Answered.
//
// Many things keep an 11.3 from opening a window, such as the switch, or content that
// cannot be read. Only its form keeps it from closing the window that is pending.
func (m *Motorway) Southbound(ctx context.Context, b Body) Passage {
	p := Passage{Direction: outage.South}
	m.receipt(&p)
	p.Decision.Outcome = outage.Forwarded
	p.Decision.Reason = p.read(b)
	is11_3 := p.Message.Root == duis.RootRequest && p.Message.ServiceReferenceVariant == "11.3"
	if is11_3 {
		m.activation(ctx, &p, b.Head)
	} else if p.Message.ServiceReferenceVariant == "11.1" {
		m.seeUpdate(&p, b.Head)
	}
	if !is11_3 && p.Decision.Reason == "" {
		p.Decision.Reason = outage.ReasonNotActivation
	}
	if m.Ledger.Switch() == outage.SwitchOff {
		p.Decision.Reason = outage.ReasonSwitchedOff
	}
	if is11_3 {
		m.recordSouth(&p, b)
		if m.Tail.Watched() {
			var hub outage.DeviceID
			if p.activation != nil {
				hub = p.activation.CHF
			}
			m.Tail.Add(p.Received, &p.Message, p.Decision, hub, 0, 0)
		}
	}
	return p
}

// activation records what an 11.3 opens or closes, and sets p.Decision.Reason. Before the
// call that is why the message could not be read completely; "" if it could.
func (m *Motorway) activation(ctx context.Context, p *Passage, document []byte) {
	rules := m.Rules()
	req, reason := readRequest(p, &rules)
	switch {
	case p.Decision.Reason != "":
		m.Log.Warn("an 11.3 cannot be read", "reason", p.Decision.Reason, "request", req.ID, "error", p.fault)
	case reason == outage.ReasonPayloadUnreadable:
		m.Log.Warn("the payload of an 11.3 cannot be read", "request", req.ID, "error", p.fault)
	case reason == "" && !sameOrder(precise(p.Message.Order()), req.Order):
		// The meter obeys the payload.
		m.Log.Warn("the XML and the payload of an 11.3 differ, the payload counts", "request", req.ID,
			"xml", p.Message.Order().Kind, "xml_time", p.Message.Order().At, "payload", req.Order.Kind, "payload_time", req.Order.At)
	}
	trusted, why := m.trust(p, document, &req, &rules)
	if why != "" {
		reason = why
	}
	if reason == "" && m.Ledger.Switch() == outage.SwitchOff {
		reason = outage.ReasonSwitchedOff
	}
	a := req.Activation(0, rules.Window)
	switch {
	case !trusted, !rules.tracks(req.Form), req.ID == (outage.RequestID{}):
		// It is none of its sender's business; or quell does not track this form; or the
		// 11.3 does not say which meter it is for.
	default:
		a, reason = m.record(ctx, p, req, reason, &rules)
	}
	p.Decision.Reason = reason
	if trusted {
		m.seeOrder(p, &req, a.CHF, reason)
	}
	switch reason {
	case outage.ReasonTracked, outage.ReasonRepeated, outage.ReasonStoreUnavailable: // it is recorded, or will be
	default:
		if req.ID != (outage.RequestID{}) {
			m.Ledger.NoteUntracked(windows.Untracked{RequestID: req.ID.String(), Form: req.Form, ESME: a.ESME, Received: req.Received, Reason: reason})
		}
	}
	m.Metrics.Activations.WithLabelValues(string(a.Mode()), string(reason)).Inc()
	attrs := []any{"reason", reason, "request", req.ID, "esme", a.ESME, "chf", a.CHF, "form", req.Form, "mode", a.Mode()}
	if a.HasWindow() && p.activation != nil {
		attrs = append(attrs, "start", a.Start, "end", a.End)
	}
	m.Log.Info("activation", attrs...)
}

// sameOrder reports whether the XML of a request agrees with its payload. The XML may
// leave out the time.
func sameOrder(xml, payload outage.Order) bool { return xml.Kind == outage.OnDemand || xml == payload }

// readRequest reads an 11.3, without asking the inventory. The reason is "" if the request
// may open a window as far as its own content goes; otherwise it may only close.
func readRequest(p *Passage, rules *Rules) (outage.Request, outage.Reason) {
	msg := &p.Message
	order, reason := readOrder(p)
	p.order = order
	form := outage.SignedPreCommand // in doubt: it closes more
	if msg.CommandVariant == 4 && msg.Body != duis.BodySignedPreCommand {
		form = outage.ServiceRequest
	}
	switch {
	case reason == outage.ReasonCommandVariant || p.Decision.Reason != "":
	case !rules.tracks(form):
		reason = outage.ReasonFormNotTracked
	case reason == "" && order.Kind == outage.FutureDated && order.At.After(p.Received.Add(outage.MaxAhead)):
		reason = outage.ReasonTooFarAhead
	}
	if reason != "" && order.Kind != outage.Cancellation {
		order = outage.Order{Kind: outage.Closing}
	}
	return outage.Request{ID: msg.RequestID, Form: form, Order: order, Received: p.Received}, reason
}

func (r *Rules) tracks(form outage.Form) bool { return slices.Contains(r.Track, form) }

// readOrder reads what an 11.3 asks for. For a Signed Pre-Command that is what its payload
// says. If the reason is not "", the meter may get another order.
func readOrder(p *Passage) (outage.Order, outage.Reason) {
	msg := &p.Message
	order := precise(msg.Order())
	switch {
	case p.Decision.Reason != "":
		return outage.Order{Kind: outage.Closing}, p.Decision.Reason
	case msg.Body == duis.BodyActivateFirmware && msg.CommandVariant == 4:
		p.image = msg.ImageHash
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
	// The payload has a signature of its own, which the meter verifies. It is for this
	// request only if it has the request's whole id.
	switch {
	case command.Target != msg.RequestID.Target:
		return order, outage.ReasonTargetMismatch
	case command.Originator != msg.RequestID.Originator:
		return order, outage.ReasonOriginatorMismatch
	case command.Counter != msg.RequestID.Counter:
		return order, outage.ReasonCounterMismatch
	}
	order, p.image = precise(command.Order), command.ImageHash
	if msg.CommandVariant == 7 && order.Kind != outage.OnDemand {
		return order, outage.ReasonCommandVariant
	}
	return order, ""
}

// precise returns an order with its time in the precision of the store.
func precise(o outage.Order) outage.Order {
	o.At = o.At.UTC().Truncate(sqldb.Precision)
	return o
}

// record asks the inventory who supplies the meter, whether it is tracked, and on which hub
// it is. It records the activation, which it returns: as one that opens a window or, if
// there is a reason against that, as one that only closes. An 11.3 of another supplier has no
// effect.
func (m *Motorway) record(ctx context.Context, p *Passage, req outage.Request, reason outage.Reason, rules *Rules) (outage.Activation, outage.Reason) {
	lookup, cancel := rules.limit(ctx)
	d, listed, err := m.Devices.Device(lookup, req.ID.Target)
	cancel()
	if err != nil {
		m.Log.Error("the inventory does not answer, an activation goes to the journal", "request", req.ID, "error", err)
		a := req.Activation(0, rules.Window) // the ledger looks up its hub and its window when it plays the journal
		m.Ledger.RecordUnresolved(ctx, a, rules.Manufacturers, rules.Spans, reason != "")
		p.activation = &a
		return a, cmp.Or(reason, outage.ReasonStoreUnavailable)
	}
	p.meter, p.listed = d, listed
	if d == nil {
		req.Verified = false // no counters are kept of meters that are invented
	}
	a := req.Activation(0, rules.Window).On(d, rules.Spans)
	if !d.SuppliedBy(req.ID.Originator) {
		return a, outage.ReasonOtherSupplier
	}
	if reason != "" {
		m.recordClosing(ctx, p, &a, rules)
		return a, reason
	}
	if ok, reason := outage.Eligible(d, listed, rules.Manufacturers); !ok {
		if m.recordClosing(ctx, p, &a, rules).Repeated {
			return a, outage.ReasonRepeated
		}
		return a, reason
	}
	recording, cancel := rules.limit(ctx)
	defer cancel()
	r := m.Ledger.Record(recording, a)
	if !r.Nothing {
		p.activation = &a
	}
	switch {
	case r.Remembered:
		m.Log.Error("the store does not answer, an activation is in the journal", "request", req.ID, "chf", a.CHF)
		return a, outage.ReasonStoreUnavailable
	case r.Repeated:
		return a, outage.ReasonRepeated
	case r.Replayed:
		m.Log.Warn("an old 11.3 came again, it opens no window", "request", req.ID, "esme", a.ESME)
		return a, outage.ReasonReplayed
	case r.TooMany:
		m.Log.Warn("a meter has too many windows, this activation opens none", "request", req.ID, "esme", a.ESME)
		return a, outage.ReasonTooManyWindows
	}
	return a, outage.ReasonTracked
}

// recordClosing records an activation that may only close. If there is nothing to close,
// the next hop's answer does not matter.
func (m *Motorway) recordClosing(ctx context.Context, p *Passage, a *outage.Activation, rules *Rules) ledger.Recorded {
	ctx, cancel := rules.limit(ctx)
	defer cancel()
	r := m.Ledger.RecordClosing(ctx, *a)
	if !r.Nothing {
		p.activation = a
	}
	return r
}

// limit bounds how long a message waits for the store. It ignores the end of ctx: when a
// sender hangs up, its message still counts.
func (r *Rules) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), r.StoreTimeout)
}

// failure closes the windows of a request if a northbound message says that its activation
// did not run: an answer that refuses it, a meter's response or alert that says so, or the
// DCC's alert that the command was not delivered. The message may be about any request;
// the store knows whether it is an 11.3.
func (m *Motorway) failure(p *Passage) {
	var f windows.Failed
	msg := &p.Message
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
			m.seeNotRun(p, msg.RequestID, f.Why)
		}
	}
	if f.Request != (outage.RequestID{}) {
		m.Log.Info("an activation did not run", "request", f.Request, "why", f.Why)
		m.Ledger.Fail(f)
		m.seeNotRun(p, f.Request, f.Why)
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
