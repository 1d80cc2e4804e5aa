package outage

import "time"

// Kind is what an 11.3 asks for.
type Kind string

const (
	OnDemand     Kind = "on-demand"    // activate now
	FutureDated  Kind = "future-dated" // activate at an execution time
	Cancellation Kind = "cancellation" // forget the pending future-dated activation

	// Closing is what is left of an 11.3 that may open no window, or whose order
	// cannot be read: it may have replaced what the meter had pending.
	Closing Kind = "closing"
)

// MaxAhead is how far ahead an execution time may be that opens a window. DUIS
// allows 30 days; a time far beyond them is a mistake, such as the GBCS value for
// a cancellation in another form.
const MaxAhead = 400 * 24 * time.Hour

// Order is what one 11.3 asks of its meter. At is set for FutureDated only.
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

// State is what is known of the next hop's answer to an activation's request.
type State string

const (
	Unanswered State = "unanswered" // recorded and forwarded, or about to be
	Accepted   State = "accepted"
	Withdrawn  State = "withdrawn" // refused or not delivered: as if it had never been

	// Uncertain says that the request may have reached the meter or not. It has no
	// window, and what it replaced stays replaced: in doubt the alert is forwarded.
	Uncertain State = "uncertain"
	// Failed says that the activation did not run, although the request was
	// delivered. As with Uncertain, the meter may have forgotten what it replaced.
	Failed State = "failed"
	// Closed says that somebody closed the window by hand, whatever became of the
	// request. As with Failed, what it replaced stays replaced.
	Closed State = "closed"
)

// Opens reports whether a window of an activation in this state may count.
func (s State) Opens() bool { return s == Unanswered || s == Accepted }

// Activation is one 11.3 for one ESME, and the window that it asks for. A
// cancellation and a closing have no window: their Start and End are zero.
type Activation struct {
	ID           int64 // given by the store, rising in order of recording; 0 before
	RequestID    RequestID
	Form         Form
	Order        Order
	ESME, CHF    DeviceID
	Received     time.Time
	Start, End   time.Time
	State        State
	Why          string // of Failed: what was answered, in a few words; of Closed: by whom, and why
	Standing     bool   // its window counts; see Settle
	SupersededBy int64  // an activation that took its place; 0 if none
}

// NewActivation makes the activation that an 11.3 received at the instant
// received asks for, with a window of the given length. An execution time that
// is not after receipt counts as on demand: the window is then [received, +length).
func NewActivation(id RequestID, form Form, order Order, chf DeviceID, received time.Time, length time.Duration) Activation {
	a := Activation{RequestID: id, Form: form, Order: order, ESME: id.Target, CHF: chf, Received: received, State: Unanswered}
	switch {
	case order.Kind == Cancellation || order.Kind == Closing:
		return a
	case order.Kind == FutureDated && order.At.After(received):
		a.Start = order.At
	default:
		a.Start = received
	}
	a.End = a.Start.Add(length)
	return a
}

// Closes is the activation as one that opens no window, and still closes what is
// pending.
func (a Activation) Closes() Activation {
	if a.HasWindow() {
		a.Order = Order{Kind: Closing}
		a.Start, a.End = time.Time{}, time.Time{}
	}
	return a
}

// HasWindow reports whether the activation has a window: it asks for one, and it may
// open one.
func (a *Activation) HasWindow() bool {
	return (a.Order.Kind == OnDemand || a.Order.Kind == FutureDated) && !a.End.IsZero()
}

// Mode is how the window began or will begin: future dated, or on demand,
// which a future-dated request that came too late also is.
func (a *Activation) Mode() Kind {
	if a.Order.Kind == FutureDated && !a.Start.After(a.Received) {
		return OnDemand
	}
	return a.Order.Kind
}

// Same reports whether b is the same message as a: a retry of it. The id alone
// does not say so, since a Signed Pre-Command may carry the id of its Service
// Request.
func (a *Activation) Same(b *Activation) bool {
	return a.RequestID == b.RequestID && a.Form == b.Form && a.Order.Kind == b.Order.Kind && a.Order.At.Equal(b.Order.At)
}

// Settle works out which of one meter's activations stand, by following them
// in order of arrival, which is the order of the slice. It sets Standing and
// SupersededBy of each. The rules:
//
//   - A withdrawn activation never was: what it had replaced stands again. One that
//     failed, was closed by hand or is uncertain has no window, and what it replaced
//     stays replaced.
//   - Any 11.3 takes the place of a pending window: one that is future dated and
//     has not begun when the other is received. Only the Signed Pre-Command reaches
//     the meter, so a Service Request does so only to what Service Requests opened.
//   - A Signed Pre-Command takes the place of the Service Requests of the same
//     kind whose windows are not over.
//   - All else stays, so that a repeated on-demand request extends.
//
// Whether an activation stands depends on itself and on those after it alone:
// none that is superseded already has to be looked at again when another arrives.
func Settle(acts []Activation) {
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

// Supersedes reports whether a, which arrived after b, takes the place of b.
func (a *Activation) Supersedes(b *Activation) bool {
	if !b.HasWindow() || a.Form == ServiceRequest && b.Form == SignedPreCommand {
		return false
	}
	if b.Start.After(b.Received) && b.Start.After(a.Received) {
		return true // pending
	}
	return a.Form == SignedPreCommand && b.Form == ServiceRequest && a.Order.Kind == b.Order.Kind && b.End.After(a.Received)
}
