// Package motorway is the use case: it reads each message, records activations that go
// south, and decides on alerts that go north. The gateway calls it for each message.
//
// A message goes on even if it cannot be read, or the store does not answer. No function
// for a message returns an error, so none can keep the gateway from forwarding it.
package motorway

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"quell/internal/assess"
	"quell/internal/duis"
	"quell/internal/flow"
	"quell/internal/held"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/receipts"
	"quell/internal/recording"
	"quell/internal/senders"
	"quell/internal/sighting"
	"quell/internal/smki"
	"quell/internal/tail"
	"quell/internal/updates"
	"quell/internal/windows"
)

// Rules are the settings of the decision. They may change while traffic passes.
type Rules struct {
	Window         time.Duration // length of a window
	Spans          outage.Spans  // the windows of models that have their own
	Manufacturers  outage.Manufacturers
	Track          []outage.Form
	ClockTolerance time.Duration // between the clocks of hub and motorway
	StoreTimeout   time.Duration // how long a message waits for the store

	Suppliers       []outage.DeviceID // originators whose 11.3s have any effect; empty: all
	MaxPerHour      int               // 11.3s of one originator that are tracked within an hour; 0: any number
	SouthSignatures outage.Signatures // of 11.3s
	NorthSignatures outage.Signatures // of AD1s
}

// WindowOf returns the window of a model, from the activation on.
func (r Rules) WindowOf(model string) (from, to time.Duration) {
	if s, ok := r.Spans[outage.ModelKey(model)]; ok {
		return s.From, s.To
	}
	return 0, r.Window
}

// Motorway is safe for use by many goroutines. Its fields are set before the
// first message; Flow, Trail, Recording, Recorded and Tail may be nil.
type Motorway struct {
	Ledger    Ledger
	Windows   *windows.Windows
	Devices   Devices
	Cluster   Cluster
	Flow      *flow.Counters
	Now       func() time.Time
	Log       *slog.Logger
	Metrics   *Metrics
	Trail     *Trail
	Recording *recording.Recorder
	Tail      *tail.Tail

	// Recorded, if it is set, is for a replay: it returns when the message that is being read
	// was received, and what was found out about its signature then.
	Recorded func() (time.Time, recording.Signature)

	Sightings *sighting.Sightings // may be nil
	Updates   *updates.Updates    // for the forecast; may be nil
	Evidence  *assess.Assessor    // for explanations; may be nil

	rules    atomic.Pointer[Rules]
	receipts receipts.Times
	senders  senders.Counts
	recorded atomic.Pointer[settings] // what the recording has as being in force

	northbound, alerts atomic.Uint64 // see Arrived

	certificates atomic.Pointer[smki.Certificates] // of those who sign messages; nil if there are none
}

// Resume makes sure that each time of receipt is later than those before the start of this
// process. It asks the store for the last of them; the error is sqldb.ErrUnavailable.
func (m *Motorway) Resume(ctx context.Context) error {
	last, err := m.Ledger.LastReceipt(ctx)
	if err == nil {
		m.receipts.Resume(last, m.Now())
	}
	return err
}

// SetRules sets the rules for messages that arrive from now on.
func (m *Motorway) SetRules(r Rules) { m.rules.Store(&r) }

// Rules returns the rules in force.
func (m *Motorway) Rules() Rules { return *m.rules.Load() }

// MaxHead is the largest size of Body.Head: one byte more than the longest DUIS message
// that is read.
const MaxHead = duis.MaxSize + 1

// Body is the body of a message, as far as the gateway hands it over.
type Body struct {
	XML  bool   // the body is XML, and not compressed, as far as its header says
	Head []byte // the whole body, or its first MaxHead bytes
	Rest bool   // the body is longer than Head, or than what is read

	// The whole message, so that it can be kept if it is suppressed: as it came, or as net/http has
	// it, then with Head as its body. Without either it is not kept.
	Message []byte
	Request *http.Request
}

// message returns a copy of the whole message, as package held keeps it; nil if it cannot be kept.
func (b *Body) message() (m []byte) {
	switch {
	case b.Message != nil:
		m = bytes.Clone(b.Message)
	case b.Request != nil:
		m = held.Write(b.Request, b.Head)
	}
	if len(m) > held.MaxMessage {
		return nil
	}
	return m
}

// Passage is one message on its way through quell.
type Passage struct {
	Direction outage.Direction
	Received  time.Time
	Message   duis.Message // as far as it could be read
	Decision  outage.Decision

	activation  *outage.Activation // southbound: set if it was recorded
	recorded    uint64             // southbound: its number in the recording; 0 if it is not in one
	meter       *outage.Device     // southbound: what the inventory says of its meter
	listed      bool               // southbound: the meter is in the device list
	signature   recording.Signature
	window      outage.DeviceID // northbound: the meter in whose window it was suppressed
	entry       int64           // northbound: its number in the log; 0 if it has none
	order       outage.Order    // of an 11.3, whether it is tracked or not
	image       [32]byte        // that the order is about; zero if it is not known
	fault       error           // why the message or its payload could not be read
	flow        *flow.Cell      // of an AD1
	update      *updates.Tap    // of an 11.1
	clockUnsure bool            // Received may be wrong by more than the clock tolerance
}

// receipt sets the time of receipt, and whether alerts may be decided by it.
func (m *Motorway) receipt(p *Passage) {
	if m.Recorded != nil {
		p.Received, _ = m.Recorded()
		return
	}
	var ahead time.Duration
	p.Received, ahead = m.receipts.Next(m.Now(), m.Cluster.Elapsed)
	tolerance := m.rules.Load().ClockTolerance
	p.clockUnsure = ahead > tolerance && tolerance > 0 || !m.Cluster.ClockSure()
}

// read reads the message. The reason says why it could not be read completely; it is "" if
// it could.
func (p *Passage) read(b Body) (reason outage.Reason) {
	if !b.XML {
		return outage.ReasonNotXML
	}
	p.Message, p.fault = duis.Read(b.Head[:min(len(b.Head), duis.MaxSize)]) // the header of a long message too
	switch {
	case b.Rest:
		return outage.ReasonTooLarge
	case p.fault != nil:
		return outage.ReasonUnreadable
	}
	return ""
}

// Northbound decides whether a message that goes north is suppressed or goes forward. If it
// is suppressed, its log entry is durable.
func (m *Motorway) Northbound(ctx context.Context, b Body) Passage {
	began := time.Now() // not Cluster.Elapsed, which is a system call
	p := Passage{Direction: outage.North}
	m.receipt(&p)
	m.northbound.Add(1)
	p.Decision = m.decide(ctx, b, &p)
	if p.Decision.Outcome == outage.Suppressed {
		p.flow.End(flow.Suppressed)
	}
	m.recordNorth(&p, b)
	if m.Tail.Watched() {
		m.Tail.Add(p.Received, &p.Message, p.Decision, 0, p.window, p.entry)
	}
	m.Metrics.northbound(p.Decision, time.Since(began))
	m.seeNorth(&p, b.Head)
	return p
}

// Arrived returns how many northbound messages have come since the start, and how many of them
// are AD1s as far as they could be read.
func (m *Motorway) Arrived() (northbound, alerts uint64) { return m.northbound.Load(), m.alerts.Load() }

func forward(r outage.Reason) outage.Decision {
	return outage.Decision{Outcome: outage.Forwarded, Reason: r}
}

func (m *Motorway) decide(ctx context.Context, b Body, p *Passage) outage.Decision {
	sw := m.Ledger.Switch()
	reason := p.read(b)
	isAD1 := p.Message.Root == duis.RootResponse && p.Message.Body == duis.BodyPowerOutage
	if isAD1 {
		m.alerts.Add(1)
	}
	if isAD1 && !b.Rest {
		p.flow = m.Flow.Received(p.Received, p.Message.Outage.MPxN)
	}
	if reason == "" && p.Message.Root == duis.RootResponse && !isAD1 {
		m.failure(p)
	}
	if sw == outage.SwitchOff {
		if isAD1 {
			// It may be the retry of a suppressed alert, whose entry must be corrected.
			// And it may be sent again when the switch is on.
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
	return m.decideAlert(ctx, p, &b, sw)
}

// decideAlert decides on an AD1 that was read.
func (m *Motorway) decideAlert(ctx context.Context, p *Passage, b *Body, sw outage.Switch) outage.Decision {
	o := &p.Message.Outage
	if !m.Ledger.MayHaveWindow(o.CHF) {
		if !m.Cluster.Following() {
			// Another node may have recorded a window.
			m.Metrics.FailOpen.WithLabelValues("store-error").Inc()
			m.Log.Warn("alert forwarded, the store does not answer", "alert", p.Message.AlertID(), "chf", o.CHF)
			m.Ledger.RememberForwarded(ctx, p.forwarded(outage.ReasonStoreUnavailable))
			return forward(outage.ReasonStoreUnavailable)
		}
		m.noteForwarded(ctx, p, outage.ReasonNoWindow)
		return forward(outage.ReasonNoWindow)
	}
	if sw == "" {
		// The store has not answered since the start. The switch may be off.
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
	rules := m.Rules()
	// A decision counts for every later alert with the same id, hub and start. So it must not
	// be made beforehand: somebody could have a genuine alert of next week suppressed.
	if o.Start.After(p.Received.Add(rules.ClockTolerance)) {
		m.Log.Warn("alert forwarded, its outage has not started", "alert", p.Message.AlertID(), "chf", o.CHF, "outage_start", o.Start)
		m.noteForwarded(ctx, p, outage.ReasonOutageInFuture)
		return forward(outage.ReasonOutageInFuture)
	}
	// Who signed it does not matter: one who forges the alert of a hub whose window is open,
	// about an outage that has started, only gets it suppressed.
	sent := p.Message.ResponseTime
	if sent.IsZero() {
		sent = p.Received
	}
	if _, reason, _ := m.verify(p, rules.NorthSignatures, b.Head, sent); reason != "" {
		m.Metrics.FailOpen.WithLabelValues("signature").Inc()
		m.noteForwarded(ctx, p, reason)
		return forward(reason)
	}
	alert := outage.Alert{ID: p.Message.AlertID(), Code: p.Message.AlertCode, CHF: o.CHF, OutageStart: o.Start,
		MPxN: o.MPxN, Throttled: o.Throttled, Received: p.Received, Message: b.message()}
	outcome := outage.Suppressed
	if sw == outage.SwitchShadow {
		outcome = outage.Shadow
	}
	ctx, cancel := rules.limit(ctx)
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
	if d.Entry.Seq != 0 && !d.Retry {
		p.flow.Entered(d.Entry.Seq)
	}
	m.logDecision(ctx, &alert, &d)
	p.window, p.entry = d.Entry.ESME, d.Entry.Seq
	return d.Decision
}

// logDecision logs what the store decided. In a storm each alert has such a line, so its
// attributes are of plain types, which the log writes without reflection.
func (m *Motorway) logDecision(ctx context.Context, a *outage.Alert, d *ledger.Decision) {
	reason, alert, chf, retry := slog.String("reason", string(d.Reason)), slog.String("alert", a.ID), slog.String("chf", a.CHF.String()), slog.Bool("retry", d.Retry)
	if d.Entry.Seq == 0 {
		m.Log.LogAttrs(ctx, slog.LevelInfo, "alert forwarded", reason, alert, chf, retry)
		return
	}
	m.Log.LogAttrs(ctx, slog.LevelInfo, "alert "+string(d.Outcome), reason, alert, chf, slog.String("esme", d.Entry.ESME.String()), slog.String("request", d.Entry.RequestID),
		slog.Int64("sequence", d.Entry.Seq), slog.Bool("started_before_activation", d.Entry.StartedBefore), slog.Bool("repeated_in_window", d.Entry.Repeated), retry)
}

// noteForwarded notes in the store that an AD1 goes forward without a decision of the
// store. If the alert may have an entry that says suppressed, the note is durable before
// the alert is forwarded.
func (m *Motorway) noteForwarded(ctx context.Context, p *Passage, r outage.Reason) {
	if m.Ledger.MayHaveWindow(p.Message.Outage.CHF) {
		m.Ledger.RememberForwarded(ctx, p.forwarded(r))
		return
	}
	o := &p.Message.Outage
	var space [duis.MaxAlertID]byte
	id := p.Message.AppendAlertID(space[:0])
	if l, ok := m.Ledger.(*ledger.Ledger); ok { // a call through the interface would allocate the id
		l.NotePassed(id, o.CHF, o.Start, p.Received, r)
		return
	}
	m.Ledger.NotePassed(bytes.Clone(id), o.CHF, o.Start, p.Received, r)
}

// forwarded returns the note that an AD1 goes forward.
func (p *Passage) forwarded(r outage.Reason) ledger.ForwardedNote {
	return ledger.ForwardedNote{AlertID: p.Message.AlertID(), CHF: p.Message.Outage.CHF, OutageStart: p.Message.Outage.Start, Received: p.Received, Reason: r}
}

// Tracked reports whether the passage is an 11.3 whose answer must go to Answered.
func (p *Passage) Tracked() bool { return p.activation != nil || p.recorded != 0 }

// Delivery says whether a message arrived at the next hop.
type Delivery uint8

const (
	InDoubt   Delivery = iota // not known
	Delivered                 // the next hop answered with success
	Refused                   // it did not arrive, or the next hop did not accept it
)

// Answered records the next hop's answer to a southbound passage: its body, or the first
// MaxHead bytes of it. A request that was refused is withdrawn, and what it had closed is
// open again. If it is not known whether the request arrived, its window is closed, and
// what it had closed stays closed. The same applies to an answer with success whose body
// is neither empty nor a DUIS response, whatever its media type: it may be a login page,
// or a refusal in an encoding that quell does not read.
func (m *Motorway) Answered(ctx context.Context, p *Passage, d Delivery, answer []byte) {
	if !p.Tracked() {
		return
	}
	msg, err := duis.Read(answer[:min(len(answer), duis.MaxSize)])
	if len(answer) > duis.MaxSize && msg.ResponseCode != "" {
		err = nil // the header could be read, which is enough
	}
	response := err == nil && msg.Root == duis.RootResponse && msg.ResponseCode != ""
	state := outage.Uncertain
	switch {
	case d == Refused || refused(&msg): // even if the rest of the answer cannot be read
		state = outage.Withdrawn
	case d == Delivered && (len(answer) == 0 || response):
		state = outage.Accepted
	case d == Delivered && p.activation != nil:
		m.Log.Warn("the next hop's answer to an activation is not a DUIS response", "request", p.activation.RequestID, "bytes", len(answer), "error", err)
		m.Metrics.Unreadable.Inc()
	}
	m.AnsweredAs(ctx, p, state, msg.ResponseCode)
	m.recordAnswer(p, state, msg.ResponseCode)
}

// AnsweredAs is Answered for an answer whose meaning is known: Accepted, Withdrawn or
// Uncertain.
func (m *Motorway) AnsweredAs(ctx context.Context, p *Passage, state outage.State, code string) {
	if p.activation == nil {
		return
	}
	if state != outage.Accepted {
		m.Log.Info("activation withdrawn", "state", state, "request", p.activation.RequestID, "esme", p.activation.ESME, "response_code", code)
		m.Metrics.Withdrawn.Inc()
	}
	if state == outage.Withdrawn {
		m.seeNotRun(p, p.activation.RequestID, "it was not delivered")
	}
	rules := m.Rules()
	ctx, cancel := rules.limit(ctx)
	defer cancel()
	if m.Ledger.RecordAnswer(ctx, *p.activation, state) {
		m.Log.Info("the answer to an activation is in the journal", "request", p.activation.RequestID, "state", state)
	}
}

// refused reports whether an answer refuses its request.
func refused(msg *duis.Message) bool { return strings.HasPrefix(msg.ResponseCode, "E") }

// Passed counts the end of a message that was forwarded, and writes a line to the Service Audit
// Trail for it. status is that of the next hop's answer, or 0 if it is not known to have arrived.
func (m *Motorway) Passed(p *Passage, status int) {
	switch {
	case status == 0:
		p.flow.End(flow.Failed)
	case status < 200 || status > 299:
		p.flow.End(flow.Refused)
	case p.Decision.Outcome == outage.Shadow:
		p.flow.End(flow.Shadow)
	default:
		p.flow.End(flow.Forwarded)
	}
	if m.Trail != nil {
		m.Trail.write(m.Now(), p, status)
	}
}
