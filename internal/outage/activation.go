package outage

import "time"

// Kind is what an 11.3 asks for.
type Kind string

const (
	OnDemand     Kind = "on-demand"    // activate now
	FutureDated  Kind = "future-dated" // activate at an execution time
	Cancellation Kind = "cancellation" // cancel the pending future-dated activation

	// Closing is an 11.3 that must not open a window, or that cannot be read. It may
	// have replaced what the meter had pending, so it still closes.
	Closing Kind = "closing"
)

// MaxAhead is how far ahead the execution time of a window may be. DUIS allows 30
// days. A time far beyond that is a mistake, such as the GBCS value for a
// cancellation in another form.
const MaxAhead = 400 * 24 * time.Hour

// Order is what one 11.3 asks its meter to do. At is set for FutureDated only.
type Order struct {
	Kind Kind
	At   time.Time
}

// Form is the kind of DUIS message that an 11.3 came as.
type Form string

const (
	ServiceRequest   Form = "service-request"    // body ActivateFirmware, CommandVariant 4: asks for the Pre-Command, and reaches no meter
	SignedPreCommand Form = "signed-pre-command" // body SignedPreCommand, CommandVariant 5 or 7: reaches the meter
)

// Request is one 11.3 for one ESME, as it was received.
type Request struct {
	ID       RequestID
	Form     Form
	Order    Order
	Received time.Time
	Verified bool // its signature was verified, so its counter can be believed
}

// State is what is known about the answer to an activation's request.
type State string

const (
	Unanswered State = "unanswered" // recorded and forwarded, or about to be
	Accepted   State = "accepted"
	Withdrawn  State = "withdrawn" // refused or not delivered: it has no effect at all

	// Uncertain says that the request may or may not have reached the meter. It has
	// no window, and what it replaced stays replaced: in doubt the alert is forwarded.
	Uncertain State = "uncertain"
	// Failed says that the activation did not run, although the request was
	// delivered. The meter may have dropped what it replaced, as with Uncertain.
	Failed State = "failed"
	// Closed says that an operator closed the window by hand, whatever happened to
	// the request. What it replaced stays replaced, as with Failed.
	Closed State = "closed"
)

// Opens reports whether the window of an activation in this state may be in force.
func (s State) Opens() bool { return s == Unanswered || s == Accepted }

// Activation is one 11.3 for one ESME, with the window that it asks for. A
// cancellation and a closing have no window: their Start and End are zero.
type Activation struct {
	ID           int64 // assigned by the store, in rising order of recording; 0 before
	RequestID    RequestID
	Form         Form
	Order        Order
	ESME, CHF    DeviceID
	Received     time.Time
	Start, End   time.Time // of the window; it need not start with the activation: see Within
	State        State
	Why          string // of Failed: the answer, in a few words; of Closed: who closed it, and why
	Standing     bool   // it is in force: no state and no later activation has ended it; see ResolveWindows
	SupersededBy int64  // the activation that replaced it; 0 if none
	Verified     bool   // of its request; not stored with it
}

// Activation returns the activation that the request asks for, on a hub, with a window of
// the given length. If the execution time is not after the receipt, the request counts as
// on demand: the window is [Received, Received + length).
func (r Request) Activation(chf DeviceID, length time.Duration) Activation {
	a := Activation{RequestID: r.ID, Form: r.Form, Order: r.Order, ESME: r.ID.Target, CHF: chf, Received: r.Received, State: Unanswered, Verified: r.Verified}
	if r.Order.Kind == Cancellation || r.Order.Kind == Closing {
		return a
	}
	a.Start = a.Begins()
	a.End = a.Start.Add(length)
	return a
}

// Begins returns when the meter is to activate: at the execution time or, if the request names
// none or came too late, at once.
func (a *Activation) Begins() time.Time {
	if a.Order.Kind == FutureDated && a.Order.At.After(a.Received) {
		return a.Order.At
	}
	return a.Received
}

// AsClosing returns the activation without its window. It still closes what is
// pending.
func (a Activation) AsClosing() Activation {
	if a.HasWindow() {
		a.Order = Order{Kind: Closing}
		a.Start, a.End = time.Time{}, time.Time{}
	}
	return a
}

// HasWindow reports whether the activation has a window: it asks for one, and is
// allowed to open one.
func (a *Activation) HasWindow() bool {
	return (a.Order.Kind == OnDemand || a.Order.Kind == FutureDated) && !a.End.IsZero()
}

// Mode is how the activation begins: future dated or on demand. A future-dated request
// that came too late is on demand.
func (a *Activation) Mode() Kind {
	if a.Order.Kind == FutureDated && !a.Pending(a.Received) {
		return OnDemand
	}
	return a.Order.Kind
}

// Pending reports whether the activation is future dated and has not begun at an instant. Its
// window need not have started when it has begun.
func (a *Activation) Pending(at time.Time) bool {
	return a.Begins().After(a.Received) && a.Begins().After(at)
}

// SameMessage reports whether b is a retry of a. The id alone does not show that: a
// Signed Pre-Command may carry the id of its Service Request.
func (a *Activation) SameMessage(b *Activation) bool {
	return a.RequestID == b.RequestID && a.Form == b.Form && a.Order.Kind == b.Order.Kind && a.Order.At.Equal(b.Order.At)
}

// ResolveWindows works out which activations of one meter are in force. The slice
// must be in order of arrival. It sets Standing and SupersededBy of each. The rules:
//
//   - A withdrawn activation has no effect: what it had replaced is in force again.
//     One that failed, was closed by hand or is uncertain has no window, and what it
//     replaced stays replaced.
//   - Any 11.3 replaces what is pending: an activation that is future dated and has not
//     begun when the 11.3 is received. But only a Signed Pre-Command reaches the
//     meter, so a Service Request replaces only the windows of Service Requests.
//   - A Signed Pre-Command replaces the Service Requests of the same kind whose
//     windows are not over.
//   - Everything else stays, so a repeated on-demand request extends the window.
//
// Whether an activation is in force depends only on itself and on later ones: one
// that was already replaced need not be looked at again when another arrives.
func ResolveWindows(acts []Activation) {
	for i := range acts {
		a := &acts[i]
		a.Standing = a.State.Opens()
		a.SupersededBy = 0
		if a.State == Withdrawn {
			continue
		}
		for j := range acts[:i] {
			if b := &acts[j]; b.Standing && a.Supersedes(b) {
				b.Standing, b.SupersededBy = false, a.ID
			}
		}
	}
}

// Supersedes reports whether a, which arrived after b, replaces b. A cancellation counts as
// any 11.3 does: it replaces what is pending.
func (a *Activation) Supersedes(b *Activation) bool {
	if !b.HasWindow() || a.Form == ServiceRequest && b.Form == SignedPreCommand {
		return false
	}
	if b.Pending(a.Received) {
		return true
	}
	return a.Form == SignedPreCommand && b.Form == ServiceRequest && a.Order.Kind == b.Order.Kind && b.End.After(a.Received)
}
