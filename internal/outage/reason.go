package outage

// A Direction is a way through the motorway.
type Direction string

const (
	North Direction = "northbound" // to the Service Users: responses and alerts
	South Direction = "southbound" // to the devices: requests
)

// ReasonText describes one reason of the closed set.
type ReasonText struct {
	Reason     Reason
	Directions []Direction
	Text       string // plain words, completing "because …"
}

// Reasons is the closed set of reasons, in the order of the checks.
// docs/reasons.md is made from it.
var Reasons = []ReasonText{
	{ReasonSwitchedOff, []Direction{North, South}, "the switch is off"},
	{ReasonNotXML, []Direction{North, South}, "the message has no body of an XML media type, or it is compressed, or the method is not POST"},
	{ReasonTooLarge, []Direction{North, South}, "the message is longer than 64 KiB, which no AD1 and no 11.3 is"},
	{ReasonUnreadable, []Direction{North, South}, "the message is no well-formed DUIS, or an AD1 or an 11.3 that the DUIS schema does not allow"},
	{ReasonNotAD1, []Direction{North}, "the message is no Power Outage Alert (DCC alert code AD1)"},
	{ReasonNoWindow, []Direction{North}, "no activation is known for the hub"},
	{ReasonWindowOpen, []Direction{North}, "the window of an activation on the hub is open"},
	{ReasonWindowNotBegun, []Direction{North}, "the activation on the hub is future dated, and its window has not begun"},
	{ReasonWindowOver, []Direction{North}, "the window of the activation on the hub is over"},
	{ReasonWindowWithdrawn, []Direction{North}, "the activation on the hub was cancelled, replaced, refused or closed by hand, or failed"},
	{ReasonInShadow, []Direction{North}, "the alert was suppressed before, and was sent again while the switch was on shadow"},
	{ReasonStoreUnavailable, []Direction{North, South}, "the store did not answer in time"},
	{ReasonClockUnsure, []Direction{North}, "this node's clock has jumped, and it is not known yet what the time is"},
	{ReasonNotActivation, []Direction{South}, "the message is no request of Service Reference Variant 11.3"},
	{ReasonCommandVariant, []Direction{South}, "the 11.3's CommandVariant does not go with its body (4 with ActivateFirmware; 5 or 7 with SignedPreCommand, 7 on demand only)"},
	{ReasonLocalDelivery, []Direction{South}, "the Signed Pre-Command is returned for local delivery (CommandVariant 6), and nothing is sent to the meter"},
	{ReasonFormNotTracked, []Direction{South}, "the configuration does not track this form of the 11.3"},
	{ReasonPayloadUnreadable, []Direction{South}, "the Signed Pre-Command's GBCS payload is no signed pre-command of Activate Firmware (use case CS06) that can be read"},
	{ReasonTargetMismatch, []Direction{South}, "the GBCS payload is for another device than the request"},
	{ReasonTooFarAhead, []Direction{South}, "the execution time is more than 400 days ahead"},
	{ReasonUnknownDevice, []Direction{South}, "the inventory does not know the device"},
	{ReasonNotESME, []Direction{South}, "the device is not an ESME"},
	{ReasonNotSMETS2, []Direction{South}, "the device is not of SMETS2"},
	{ReasonOtherManufacturer, []Direction{South}, "the device's manufacturer is not in the configured list"},
	{ReasonNotListed, []Direction{South}, "the device is not in the device list"},
	{ReasonNoHub, []Direction{South}, "the inventory does not say on which hub (CHF) the device is"},
	{ReasonTooManyWindows, []Direction{South}, "the meter has 50 windows that are not over"},
	{ReasonTracked, []Direction{South}, "all conditions hold"},
	{ReasonRepeated, []Direction{South}, "the same message was recorded before"},
}

// Text gives the reason in plain words.
func (r Reason) Text() string {
	for _, t := range Reasons {
		if t.Reason == r {
			return t.Text
		}
	}
	return string(r)
}
