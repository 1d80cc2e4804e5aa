// Package motorway is the use case: it reads what passes, records activations
// that go south, and decides on alerts that go north. Every transport calls
// it, and it alone calls the store.
//
// Whatever cannot be read, found out or stored is passed on. Nothing here
// returns an error to a transport that would keep it from forwarding.
package motorway

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"quell/internal/cluster"
	"quell/internal/devices"
	"quell/internal/duis"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/windows"
)

// Rules are the settings of the decision. They may change while traffic passes.
type Rules struct {
	Window         time.Duration // length of a window
	Manufacturers  outage.Manufacturers
	Track          []outage.Form
	ClockTolerance time.Duration // between the clocks of hub and motorway
	StoreTimeout   time.Duration // how long a message waits for the store
}

// Motorway is safe for use by many goroutines. Its fields are set before the
// first message; Trail may be nil.
type Motorway struct {
	Ledger  *ledger.Ledger
	Windows *windows.Windows
	Devices *devices.Devices
	Cluster *cluster.Cluster
	Now     func() time.Time
	Log     *slog.Logger
	Metrics *Metrics
	Trail   *Trail

	rules    atomic.Pointer[Rules]
	receipts receipts
}

// Resume has receipts come after those of before this program ran, as soon as the
// store can say when that was. The error is sqldb.ErrUnavailable.
func (m *Motorway) Resume(ctx context.Context) error {
	last, err := m.Ledger.LastReceipt(ctx)
	if err == nil {
		m.receipts.after(last, m.Now())
	}
	return err
}

// SetRules puts rules into force, for messages that arrive from now on.
func (m *Motorway) SetRules(r Rules) { m.rules.Store(&r) }

// Rules returns the rules in force.
func (m *Motorway) Rules() Rules { return *m.rules.Load() }

// Look is how many bytes of a message a transport hands over at most: one more
// than the longest DUIS message that is read.
const Look = duis.MaxSize + 1

// Body is what a transport hands over of a message.
type Body struct {
	XML  bool   // the transport says that it is XML, and not compressed
	Head []byte // all of it, or its beginning, up to Look bytes
	Rest bool   // there is more than Head, or than is read
}

// Passage is one message on its way.
type Passage struct {
	Direction outage.Direction
	Received  time.Time
	Message   duis.Message // what could be read, for the audit trail
	Decision  outage.Decision
	Entry     outage.Entry // northbound: the log entry, if there is one

	activation  *outage.Activation // southbound: set if it was recorded
	fault       error              // why it could not be read
	clockUnsure bool               // whether Received may be wrong by more than clocks may differ
}

// receipt gives the instant of a receipt, and notes whether it is sure enough to
// decide by.
func (m *Motorway) receipt(p *Passage) {
	var behind time.Duration
	p.Received, behind = m.receipts.next(m.Now(), m.Cluster.Elapsed)
	tolerance := m.Rules().ClockTolerance
	p.clockUnsure = behind > tolerance && tolerance > 0 || !m.Cluster.ClockSure()
}

// read reads the message as far as it is to be looked at. The reason is "" if
// it was read whole.
func (p *Passage) read(b Body) (reason outage.Reason) {
	if !b.XML {
		return outage.ReasonNotXML
	}
	p.Message, p.fault = duis.Read(b.Head[:min(len(b.Head), duis.MaxSize)]) // a header is read however long the message is
	switch {
	case b.Rest:
		return outage.ReasonTooLarge
	case p.fault != nil:
		return outage.ReasonUnreadable
	}
	return ""
}

// Northbound decides on a message that goes north: whether it is suppressed,
// in which case its log entry is durable, or goes forward.
func (m *Motorway) Northbound(ctx context.Context, b Body) Passage {
	began := time.Now()
	p := Passage{Direction: outage.North}
	m.receipt(&p)
	p.Decision = m.decide(ctx, b, &p)
	m.Metrics.northbound(p.Decision, time.Since(began))
	return p
}

func forward(r outage.Reason) outage.Decision {
	return outage.Decision{Outcome: outage.Forwarded, Reason: r}
}

func (m *Motorway) decide(ctx context.Context, b Body, p *Passage) outage.Decision {
	sw := m.Ledger.Switch()
	reason := p.read(b)
	isAD1 := p.Message.Root == duis.RootResponse && p.Message.Body == duis.BodyPowerOutage
	if reason == "" && p.Message.Root == duis.RootResponse && !isAD1 {
		m.failure(&p.Message)
	}
	if sw == outage.SwitchOff {
		if isAD1 {
			// It may be the retry of an alert whose entry says suppressed, and
			// may be sent again when the switch is on.
			m.noteForwarded(ctx, p, outage.ReasonSwitchedOff)
		}
		return forward(outage.ReasonSwitchedOff)
	}
	if reason != "" {
		if reason == outage.ReasonUnreadable {
			m.Metrics.FailOpen.WithLabelValues("unreadable").Inc()
		}
		return forward(reason)
	}
	if !isAD1 {
		return forward(outage.ReasonNotAD1)
	}
	return m.decideAlert(ctx, p, sw)
}

// decideAlert decides on an AD1 that was read.
func (m *Motorway) decideAlert(ctx context.Context, p *Passage, sw outage.Switch) outage.Decision {
	o := &p.Message.Outage
	if !m.Ledger.MayHold(o.CHF) {
		if !m.Cluster.Following() {
			// Another node may have recorded one.
			m.Metrics.FailOpen.WithLabelValues("store-error").Inc()
			m.Log.Warn("alert forwarded, the store does not answer", "alert", p.Message.AlertID(), "chf", o.CHF)
			m.Ledger.RememberForwarded(ctx, p.forwarded(outage.ReasonStoreUnavailable))
			return forward(outage.ReasonStoreUnavailable)
		}
		m.noteForwarded(ctx, p, outage.ReasonNoWindow)
		return forward(outage.ReasonNoWindow)
	}
	if sw == "" {
		// The store has not been reached since the start. The switch may be off.
		m.Metrics.FailOpen.WithLabelValues("store-error").Inc()
		m.Log.Warn("alert forwarded, the switch is not known yet", "alert", p.Message.AlertID(), "chf", o.CHF)
		m.Ledger.RememberForwarded(ctx, p.forwarded(outage.ReasonStoreUnavailable))
		return forward(outage.ReasonStoreUnavailable)
	}
	if p.clockUnsure {
		m.Metrics.FailOpen.WithLabelValues("clock").Inc()
		m.Log.Warn("alert forwarded, the clock has jumped", "alert", p.Message.AlertID(), "chf", o.CHF)
		m.noteForwarded(ctx, p, outage.ReasonClockUnsure)
		return forward(outage.ReasonClockUnsure)
	}
	alert := outage.Alert{ID: p.Message.AlertID(), Code: p.Message.AlertCode, CHF: o.CHF, OutageStart: o.Start,
		MPxN: o.MPxN, Throttled: o.Throttled, Received: p.Received}
	outcome := outage.Suppressed
	if sw == outage.SwitchShadow {
		outcome = outage.Shadow
	}
	rules := m.Rules()
	ctx, cancel := rules.wait(ctx)
	defer cancel()
	d, err := m.Ledger.Decide(ctx, alert, outcome, rules.ClockTolerance)
	if err != nil {
		cause := "store-error"
		if errors.Is(err, context.DeadlineExceeded) {
			cause = "store-timeout"
		}
		m.Metrics.FailOpen.WithLabelValues(cause).Inc()
		m.Log.Warn("alert forwarded, the store did not answer", "alert", alert.ID, "chf", o.CHF, "error", err)
		return forward(outage.ReasonStoreUnavailable)
	}
	p.Entry = d.Entry
	if d.Entry.Seq != 0 {
		m.Log.Info("alert "+string(d.Outcome), "reason", d.Reason, "alert", alert.ID, "chf", o.CHF, "esme", d.Entry.ESME, "request", d.Entry.RequestID,
			"sequence", d.Entry.Seq, "started_before_activation", d.Entry.StartedBefore, "repeated_in_window", d.Entry.Repeated, "retry", d.Retry)
	} else {
		m.Log.Info("alert forwarded", "reason", d.Reason, "alert", alert.ID, "chf", o.CHF, "retry", d.Retry)
	}
	return d.Decision
}

// noteForwarded has the store remember an AD1 that it was not asked about. If the
// hub may have an entry of it, which would say that it was suppressed, that is
// durable before the alert goes out.
func (m *Motorway) noteForwarded(ctx context.Context, p *Passage, r outage.Reason) {
	if m.Ledger.MayHold(p.Message.Outage.CHF) {
		m.Ledger.RememberForwarded(ctx, p.forwarded(r))
		return
	}
	m.Ledger.NoteForwarded(p.forwarded(r))
}

// forwarded is the note that an AD1 goes forward.
func (p *Passage) forwarded(r outage.Reason) ledger.ForwardedNote {
	return ledger.ForwardedNote{AlertID: p.Message.AlertID(), CHF: p.Message.Outage.CHF, OutageStart: p.Message.Outage.Start, Received: p.Received, Reason: r}
}

// Tracked reports whether the passage is an 11.3 whose answer matters.
func (p *Passage) Tracked() bool { return p.activation != nil }

// Delivery is what a transport knows of a message that was to go on.
type Delivery uint8

const (
	InDoubt   Delivery = iota // it may have arrived or not
	Delivered                 // it was answered with success
	Refused                   // it did not arrive, or was answered that it is not taken
)

// Answered takes the next hop's answer to a southbound passage: its body, or the
// first Look bytes of it. A request that was refused is withdrawn, and what it had
// closed is open again. If it is in doubt whether it arrived, neither is open. So is
// it with an answer of success that is not empty and no DUIS response, whatever its
// media type: a page to log in, or a refusal in an encoding that is not read, says no
// more than that something is wrong.
func (m *Motorway) Answered(ctx context.Context, p *Passage, d Delivery, answer []byte) {
	if p.activation == nil {
		return
	}
	msg, err := duis.Read(answer[:min(len(answer), duis.MaxSize)])
	if len(answer) > duis.MaxSize && msg.ResponseCode != "" {
		err = nil // its header could be read, which is enough
	}
	response := err == nil && msg.Root == duis.RootResponse && msg.ResponseCode != ""
	state := outage.Uncertain
	switch {
	case d == Refused || refused(&msg): // what can be read is enough for that
		state = outage.Withdrawn
	case d == Delivered && (len(answer) == 0 || response):
		state = outage.Accepted
	case d == Delivered:
		m.Log.Warn("the next hop's answer to an activation is no DUIS response", "request", p.activation.RequestID, "bytes", len(answer), "error", err)
		m.Metrics.Unreadable.Inc()
	}
	if state != outage.Accepted {
		m.Log.Info("activation withdrawn", "state", state, "request", p.activation.RequestID, "esme", p.activation.ESME, "response_code", msg.ResponseCode)
		m.Metrics.Withdrawn.Inc()
	}
	rules := m.Rules()
	ctx, cancel := rules.wait(ctx)
	defer cancel()
	if m.Ledger.RecordAnswer(ctx, *p.activation, state) {
		m.Log.Info("the answer to an activation is in the journal", "request", p.activation.RequestID, "state", state)
	}
}

// refused reports whether an answer refuses its request.
func refused(msg *duis.Message) bool { return strings.HasPrefix(msg.ResponseCode, "E") }

// Passed writes the Service Audit Trail's line of a message that was
// forwarded: status is the next hop's, 0 if it could not be reached.
func (m *Motorway) Passed(p *Passage, status int) {
	if m.Trail != nil {
		m.Trail.write(m.Now(), p, status)
	}
}
