package outage

import (
	"cmp"
	"slices"
	"time"
)

// Switch is the feature switch: it turns all of quell's work on and off.
type Switch string

const (
	SwitchOn     Switch = "on"     // suppress
	SwitchShadow Switch = "shadow" // log what would be suppressed, forward everything
	SwitchOff    Switch = "off"    // forward everything, open no window
)

// Valid reports whether s is one of the three.
func (s Switch) Valid() bool { return s == SwitchOn || s == SwitchShadow || s == SwitchOff }

// Outcome is what happened to an alert. The header Quell-Decision and the
// suppression log use its values.
type Outcome string

const (
	Suppressed Outcome = "suppressed" // logged, not delivered
	Shadow     Outcome = "shadow"     // logged, and delivered because the switch was on shadow
	Forwarded  Outcome = "forwarded"  // delivered; in the log: should have been suppressed, but was delivered
	Released   Outcome = "released"   // in the log only: suppressed, and delivered late because somebody asked for it
)

// Reason says why a decision was made. docs/reasons.md lists all reasons.
type Reason string

// Reasons of decisions on northbound messages.
const (
	ReasonWindowOpen       Reason = "window-open"
	ReasonNoWindow         Reason = "no-window"
	ReasonWindowNotBegun   Reason = "window-not-begun"
	ReasonWindowOver       Reason = "window-over"
	ReasonWindowWithdrawn  Reason = "window-withdrawn"
	ReasonNotAD1           Reason = "not-ad1"
	ReasonNotXML           Reason = "not-xml"
	ReasonTooLarge         Reason = "too-large"
	ReasonUnreadable       Reason = "unreadable"
	ReasonSwitchedOff      Reason = "switched-off"
	ReasonStoreUnavailable Reason = "store-unavailable"
	ReasonClockUnsure      Reason = "clock-unsure"
	ReasonOutageInFuture   Reason = "outage-in-future"
	ReasonInShadow         Reason = "in-shadow"
	ReasonReleased         Reason = "released"
)

// Reasons of decisions on signatures, in both directions.
const (
	ReasonSignatureMissing Reason = "signature-missing"
	ReasonSignatureInvalid Reason = "signature-invalid"
	ReasonSignerUnknown    Reason = "signer-unknown"
	ReasonSignerMismatch   Reason = "signer-mismatch"
)

// Reasons of decisions on southbound messages; unreadable, not-xml, too-large,
// switched-off and store-unavailable occur there too.
const (
	ReasonTracked            Reason = "tracked"
	ReasonRepeated           Reason = "repeated"
	ReasonNotActivation      Reason = "not-activation"
	ReasonFormNotTracked     Reason = "form-not-tracked"
	ReasonCommandVariant     Reason = "command-variant"
	ReasonLocalDelivery      Reason = "local-delivery"
	ReasonTooFarAhead        Reason = "too-far-ahead"
	ReasonTooManyWindows     Reason = "too-many-windows"
	ReasonPayloadUnreadable  Reason = "payload-unreadable"
	ReasonTargetMismatch     Reason = "target-mismatch"
	ReasonOriginatorMismatch Reason = "originator-mismatch"
	ReasonCounterMismatch    Reason = "counter-mismatch"
	ReasonNotASupplier       Reason = "not-a-supplier"
	ReasonOtherSupplier      Reason = "other-supplier"
	ReasonReplayed           Reason = "replayed"
	ReasonTooManyRequests    Reason = "too-many-requests"
	ReasonUnknownDevice      Reason = "unknown-device"
	ReasonNotESME            Reason = "not-esme"
	ReasonNotSMETS2          Reason = "not-smets2"
	ReasonOtherManufacturer  Reason = "other-manufacturer"
	ReasonNotListed          Reason = "not-listed"
	ReasonNoHub              Reason = "no-hub"
)

// Throttled is what alert storm protection (SECMP0062) writes into an alert that
// stands for several. A pointer is nil if the message does not have the field.
type Throttled struct {
	SequenceID *uint32 `json:"throttled_sequence_id,omitempty"`
	Count      *uint32 `json:"throttled_count,omitempty"`
}

// Alert is one AD1 as received. An alert with the same ID, hub, code and outage
// start is a retry of it. A ResponseID alone may be used again.
type Alert struct {
	ID          string // ResponseID in canonical form, or a digest of the content
	Code        string // "AD1"
	CHF         DeviceID
	OutageStart time.Time
	MPxN        string
	Throttled   Throttled
	Received    time.Time
	Message     []byte // the whole message as it came, to be kept if it is suppressed (package held); nil: it is not kept
}

// Decision is what happens to one alert, and why.
type Decision struct {
	Outcome Outcome
	Reason  Reason
}

// Decide decides on an AD1 received at the instant at, whose CHF has the given
// activations. The AD1 is suppressed if the window of an activation in force is
// open. Decide returns that activation: of several, the one that starts first.
// Otherwise it returns the activation that the reason is about, or nil.
func Decide(acts []Activation, at time.Time) (Decision, *Activation) {
	forward := func(r Reason, a *Activation) (Decision, *Activation) {
		return Decision{Forwarded, r}, a
	}
	var open, next, last, gone *Activation
	for i := range acts {
		a := &acts[i]
		switch {
		case !a.HasWindow():
		case !a.Standing:
			gone = a
		case at.Before(a.Start):
			next = earliest(next, a)
		case at.Before(a.End):
			open = earliest(open, a)
		case last == nil || a.End.After(last.End):
			last = a
		}
	}
	switch {
	case open != nil:
		return Decision{Suppressed, ReasonWindowOpen}, open
	case next != nil:
		return forward(ReasonWindowNotBegun, next)
	case last != nil:
		return forward(ReasonWindowOver, last)
	case gone != nil:
		return forward(ReasonWindowWithdrawn, gone)
	}
	return forward(ReasonNoWindow, nil)
}

func earliest(a, b *Activation) *Activation {
	if a == nil || b.Start.Before(a.Start) || b.Start.Equal(a.Start) && b.ID < a.ID {
		return b
	}
	return a
}

// Entry is one entry of the suppression log. Its JSON is part of the API.
type Entry struct {
	Seq         int64     `json:"sequence"`
	AlertID     string    `json:"alert_id"`
	AlertCode   string    `json:"alert_code"`
	CHF         DeviceID  `json:"chf_id"`
	ESME        DeviceID  `json:"esme_id"`
	MPxN        string    `json:"mpxn"`
	MPxNValid   bool      `json:"mpxn_valid"`
	Distributor string    `json:"distributor"` // the MPAN's first two digits; "" if it is not valid
	OutageStart time.Time `json:"outage_start"`
	Received    time.Time `json:"received_at"`
	RequestID   string    `json:"request_id"`
	Mode        Kind      `json:"mode"`
	WindowStart time.Time `json:"window_start"`
	WindowEnd   time.Time `json:"window_end"`
	Throttled
	Outcome       Outcome `json:"outcome"`
	StartedBefore bool    `json:"started_before_activation"` // the outage started before the window by more than the clock tolerance
	Repeated      bool    `json:"repeated_in_window"`        // the window had an earlier outage
}

// SortByArrival puts activations into the order that ResolveWindows needs: by time
// of receipt, then by order of recording.
func SortByArrival(acts []Activation) {
	slices.SortFunc(acts, func(a, b Activation) int {
		return cmp.Or(a.Received.Compare(b.Received), cmp.Compare(a.ID, b.ID))
	})
}
