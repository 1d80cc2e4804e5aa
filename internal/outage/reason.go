package outage

// A Direction is a way through quell.
type Direction string

const (
	North Direction = "northbound" // to the Service Users: responses and alerts
	South Direction = "southbound" // to the devices: requests
)

// ReasonText describes one reason.
type ReasonText struct {
	Reason     Reason
	Directions []Direction
	Text       string // plain words that complete "because …"
}

// Reasons lists all reasons, in the order of the checks. docs/reasons.md is made
// from it.
var Reasons = []ReasonText{
	{ReasonSwitchedOff, []Direction{North, South}, "the switch is off"},
	{ReasonNotXML, []Direction{North, South}, "the message is not a POST, has no body, or its body is compressed or not of an XML media type"},
	{ReasonTooLarge, []Direction{North, South}, "the message is longer than 64 KiB; no AD1 or 11.3 is that long"},
	{ReasonUnreadable, []Direction{North, South}, "the message is not well-formed DUIS, or is an AD1 or an 11.3 that the DUIS schema does not allow"},
	{ReasonNotAD1, []Direction{North}, "the message is not a Power Outage Alert (DCC alert code AD1)"},
	{ReasonClockUnsure, []Direction{North}, "this node's clock has jumped, and the right time is not known yet"},
	{ReasonOutageInFuture, []Direction{North}, "the alert says that its outage starts later than it was received, by more than the clock tolerance"},
	{ReasonStoreUnavailable, []Direction{North, South}, "the store did not answer in time"},
	{ReasonNoWindow, []Direction{North}, "no activation is known for the hub"},
	{ReasonSignatureMissing, []Direction{North, South}, "the message is not signed, and signatures are required"},
	{ReasonSignatureInvalid, []Direction{North, South}, "the message's signature is wrong, or is not one over the whole message"},
	{ReasonSignerUnknown, []Direction{North, South}, "there is no certificate for the message's signature that is valid at the time of the message"},
	{ReasonSignerMismatch, []Direction{South}, "the message was signed by another organisation than the one that its id names as its originator"},
	{ReasonWindowOpen, []Direction{North}, "the window of an activation on the hub is open"},
	{ReasonWindowNotBegun, []Direction{North}, "the activation on the hub is future dated, and its window has not started"},
	{ReasonWindowOver, []Direction{North}, "the window of the activation on the hub is over"},
	{ReasonWindowWithdrawn, []Direction{North}, "the activation on the hub was cancelled, replaced, refused or closed by hand, or it failed"},
	{ReasonInShadow, []Direction{North}, "the alert was suppressed before, and came again while the switch was on shadow"},
	{ReasonReleased, []Direction{North}, "the alert was suppressed before, was released and delivered, and came again"},
	{ReasonNotActivation, []Direction{South}, "the message is not a request of Service Reference Variant 11.3"},
	{ReasonNotASupplier, []Direction{South}, "the originator of the 11.3 is not one of the configured suppliers"},
	{ReasonOtherSupplier, []Direction{South}, "the inventory says that another supplier than the originator supplies the meter"},
	{ReasonTooManyRequests, []Direction{South}, "the originator has sent more 11.3s within an hour than it may"},
	{ReasonCommandVariant, []Direction{South}, "the CommandVariant of the 11.3 does not match its body (4 with ActivateFirmware; 5 or 7 with SignedPreCommand, 7 on demand only)"},
	{ReasonLocalDelivery, []Direction{South}, "the Signed Pre-Command is returned for local delivery (CommandVariant 6), and nothing is sent to the meter"},
	{ReasonFormNotTracked, []Direction{South}, "the configuration does not track this form of 11.3"},
	{ReasonPayloadUnreadable, []Direction{South}, "the GBCS payload cannot be read as a Signed Pre-Command of Activate Firmware (use case CS06)"},
	{ReasonTargetMismatch, []Direction{South}, "the GBCS payload is for another device than the request"},
	{ReasonOriginatorMismatch, []Direction{South}, "the GBCS payload is by another originator than the request"},
	{ReasonCounterMismatch, []Direction{South}, "the GBCS payload has another counter than the request"},
	{ReasonTooFarAhead, []Direction{South}, "the execution time is more than 400 days ahead"},
	{ReasonUnknownDevice, []Direction{South}, "the inventory does not know the device"},
	{ReasonNotESME, []Direction{South}, "the device is not an ESME"},
	{ReasonNotSMETS2, []Direction{South}, "the device is not SMETS2"},
	{ReasonOtherManufacturer, []Direction{South}, "the device's manufacturer is not in the configured list"},
	{ReasonNotListed, []Direction{South}, "the device is not in the device list"},
	{ReasonNoHub, []Direction{South}, "the inventory does not say which hub (CHF) the device is on"},
	{ReasonReplayed, []Direction{South}, "the originator has sent this meter an 11.3 with a higher counter, or this one long ago"},
	{ReasonTooManyWindows, []Direction{South}, "the meter already has 50 windows that are not over"},
	{ReasonTracked, []Direction{South}, "all conditions are met"},
	{ReasonRepeated, []Direction{South}, "the same message was recorded before"},
}

// Text returns the reason in plain words.
func (r Reason) Text() string {
	for _, t := range Reasons {
		if t.Reason == r {
			return t.Text
		}
	}
	return string(r)
}
