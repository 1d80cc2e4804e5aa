package outage

import "time"

// Kind is what an 11.3 asks for.
type Kind string

const (
	OnDemand     Kind = "on-demand"    // activate now
	FutureDated  Kind = "future-dated" // activate at an execution time
	Cancellation Kind = "cancellation" // forget the future-dated activation that waits
)

// Order is what one 11.3 asks of its meter. At is set for FutureDated only.
type Order struct {
	Kind Kind
	At   time.Time
}

// Form is the kind of DUIS message that an 11.3 came as.
type Form string

const (
	ServiceRequest   Form = "service-request"    // body ActivateFirmware, CommandVariant 4: asks for the Pre-Command
	SignedPreCommand Form = "signed-pre-command" // body SignedPreCommand, CommandVariant 5, 6 or 7: reaches the meter
)

// State is what is known of the next hop's answer to an activation's request.
type State string

const (
	Unanswered State = "unanswered" // recorded and forwarded, or about to be
	Accepted   State = "accepted"
	Withdrawn  State = "withdrawn" // refused or not delivered: as if it had never been
)

// Activation is one 11.3 for one tracked ESME, and the window that it asks
// for. A cancellation has no window: its Start and End are zero.
type Activation struct {
	ID           int64 // given by the store, rising in order of recording; 0 before
	RequestID    RequestID
	Form         Form
	Order        Order
	ESME, CHF    DeviceID
	Received     time.Time
	Start, End   time.Time
	State        State
	Standing     bool  // its window counts; see Settle
	SupersededBy int64 // the activation that took its place; 0 if none
}

// NewActivation makes the activation that an 11.3 received at the instant
// received asks for, with a window of the given length. An execution time that
// is not after receipt counts as on demand: the window is then [received, +length).
func NewActivation(id RequestID, form Form, order Order, chf DeviceID, received time.Time, length time.Duration) Activation {
	a := Activation{RequestID: id, Form: form, Order: order, ESME: id.Target, CHF: chf, Received: received, State: Unanswered}
	switch {
	case order.Kind == Cancellation:
		return a
	case order.Kind == FutureDated && order.At.After(received):
		a.Start = order.At
	default:
		a.Start = received
	}
	a.End = a.Start.Add(length)
	return a
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
// in order of receipt, which is the order of the slice. It sets Standing and
// SupersededBy of each. The rules:
//
//   - A withdrawn activation never was: what it had replaced stands again.
//   - A future-dated activation replaces the one that waits.
//   - A cancellation withdraws the one that waits, and nothing else. To wait is
//     to be future dated and not begun when the other request was received.
//   - A Signed Pre-Command takes the place of the Service Requests of the same
//     kind whose windows are not over.
//   - All else stays, so that a repeated on-demand request extends.
func Settle(acts []Activation) {
	for i := range acts {
		a := &acts[i]
		a.Standing = a.State != Withdrawn
		a.SupersededBy = 0
		if !a.Standing {
			continue
		}
		for j := range acts[:i] {
			if b := &acts[j]; b.Standing && a.supersedes(b) {
				b.Standing, b.SupersededBy = false, a.ID
			}
		}
	}
}

func (a *Activation) supersedes(b *Activation) bool {
	if b.Order.Kind == Cancellation {
		return false
	}
	waits := b.Start.After(b.Received) && b.Start.After(a.Received)
	if waits && (a.Mode() == FutureDated || a.Mode() == Cancellation) {
		return true
	}
	return a.Form == SignedPreCommand && b.Form == ServiceRequest && a.Order.Kind == b.Order.Kind && b.End.After(a.Received)
}
