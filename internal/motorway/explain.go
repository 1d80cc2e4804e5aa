package motorway

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/internal/assess"
	"quell/internal/devices"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/windows"
)

// ErrNotAnID says that the text that Explain was given is not the id of a hub, a meter, a
// supply point, a request or an alert, nor the number of an entry.
var ErrNotAnID = errors.New("not an EUI-64, an MPxN, the id of a request or an alert, or the number of an entry (such as entry 12)")

// Explanation says why alerts were or would be suppressed or not, with the records that
// show it. Its JSON is part of the API. The MPxN in it is personal data.
type Explanation struct {
	ID          string                 `json:"id"`
	At          time.Time              `json:"at"`
	Known       bool                   `json:"known"` // it is in the inventory, or there is a record of it
	Text        []string               `json:"text"`  // sentences in plain words
	Devices     []ExplainedDevice      `json:"devices"`
	Activations []Activation           `json:"activations"` // on the hubs concerned, the latest first
	Entries     []outage.Entry         `json:"entries"`     // of the suppression log, the latest first
	Evidence    []*assess.Evidence     `json:"evidence"`    // whether the alerts of the entries were genuine
	Forwarded   []ledger.ForwardedNote `json:"forwarded"`   // alerts that went north, the latest first
	Untracked   []windows.Untracked    `json:"untracked"`   // requests (11.3) that opened no window, the latest first
	Verdicts    map[string]Verdict     `json:"verdicts"`    // by hub: the decision on an AD1 received at At
}

// Verdict is what would be decided.
type Verdict struct {
	Decision outage.Outcome `json:"decision"`
	Reason   outage.Reason  `json:"reason"`
}

// ExplainedDevice is a device in the inventory, and whether an 11.3 for it would be
// tracked.
type ExplainedDevice struct {
	outage.Device
	Listed  bool          `json:"listed"`
	Tracked bool          `json:"tracked"`
	Reason  outage.Reason `json:"reason"`
}

// Activation is the JSON of an activation in the API.
type Activation struct {
	ID           int64           `json:"id"`
	RequestID    string          `json:"request_id"`
	Form         outage.Form     `json:"form"`
	Kind         outage.Kind     `json:"kind"`
	Mode         outage.Kind     `json:"mode"`
	ESME         outage.DeviceID `json:"esme_id"`
	CHF          outage.DeviceID `json:"chf_id"`
	Received     time.Time       `json:"received_at"`
	WindowStart  *time.Time      `json:"window_start"` // null for a cancellation or a closing
	WindowEnd    *time.Time      `json:"window_end"`
	State        outage.State    `json:"state"`
	Why          string          `json:"why,omitempty"` // if it failed: how quell knows; if it was closed by hand: by whom, and why
	Standing     bool            `json:"standing"`
	SupersededBy int64           `json:"superseded_by,omitempty"`
}

// View returns the JSON of an activation.
func View(a outage.Activation) Activation {
	v := Activation{ID: a.ID, RequestID: a.RequestID.String(), Form: a.Form, Kind: a.Order.Kind, Mode: a.Mode(), ESME: a.ESME, CHF: a.CHF,
		Received: a.Received, State: a.State, Why: a.Why, Standing: a.Standing, SupersededBy: a.SupersededBy}
	if a.HasWindow() {
		v.WindowStart, v.WindowEnd = &a.Start, &a.End
	}
	return v
}

// shortestMPxN is how many digits an MPxN has at least: an MPRN has 6 to 10, an MPAN 13.
const shortestMPxN = 6

// explainLimit bounds each list of an explanation.
const explainLimit = 50

// subject is what an id refers to.
type subject struct {
	hubs   []outage.DeviceID
	meter  outage.DeviceID // 0: all meters on the hubs
	eui    outage.DeviceID // the id itself, if it is an EUI-64
	filter ledger.Filter   // finds entries and forwarded alerts
	// message says that the id is that of a request or an alert. It may be unknown even if
	// its device is known.
	message bool
	origin  outage.DeviceID // who sent the message: the hub, if it is an alert
}

// log and inventory are those of a store, which Explain needs. A replay explains nothing.
func (m *Motorway) log() *ledger.Ledger         { return m.Ledger.(*ledger.Ledger) }
func (m *Motorway) inventory() *devices.Devices { return m.Devices.(*devices.Devices) }

// Explain looks up what is known about an id: of a hub or a meter (EUI-64), of a supply
// point (MPxN), of a request or of an alert, or "entry" and a number. The verdict is for an AD1 received at the
// instant at. The error is ErrNotAnID or sqldb.ErrUnavailable.
func (m *Motorway) Explain(ctx context.Context, id string, at time.Time) (*Explanation, error) {
	x := &Explanation{ID: id, At: at, Verdicts: map[string]Verdict{}}
	sub, err := m.identify(ctx, x, strings.TrimSpace(id))
	if err != nil {
		return nil, err
	}
	if sub.filter != (ledger.Filter{}) {
		if x.Entries, err = m.log().Entries(ctx, sub.filter, explainLimit); err != nil {
			return nil, err
		}
		if x.Forwarded, err = m.log().ForwardedAlerts(ctx, sub.filter, explainLimit); err != nil {
			return nil, err
		}
	}
	if x.Evidence, err = m.EvidenceOf(ctx, x.Entries); err != nil {
		return nil, err
	}
	for _, e := range x.Entries {
		sub.addHub(e.CHF)
		x.Text = append(x.Text, entryText(&e))
		for _, known := range x.Evidence {
			if known.Entry == e.Seq {
				x.Text = append(x.Text, evidenceText(known))
			}
		}
	}
	for _, f := range x.Forwarded {
		if sub.filter.AlertID != "" || len(x.Forwarded) <= 5 {
			x.Text = append(x.Text, fmt.Sprintf("Alert %s of hub %s, received %s, was forwarded: %s.", f.AlertID, f.CHF, stamp(f.Received), f.Reason.Text()))
		}
		sub.addHub(f.CHF)
	}
	for _, hub := range sub.hubs {
		if err := m.explainHub(ctx, x, hub, sub.meter); err != nil {
			return nil, err
		}
	}
	if err := m.explainUntracked(ctx, x, &sub); err != nil {
		return nil, err
	}
	unnamed := sub.filter.AlertID != "" && len(x.Text) == len(x.Untracked) && !slices.ContainsFunc(x.Untracked, func(u windows.Untracked) bool { return u.RequestID == id })
	x.Known = len(x.Activations)+len(x.Entries)+len(x.Forwarded)+len(x.Untracked) > 0 || len(x.Devices) > 0 && !sub.message
	if len(x.Text) == 0 {
		x.Text = []string{"Nothing is known of " + id + ": it is not in the inventory, and there are no records of it."}
		if sub.filter.MPxN != "" && len(id) < shortestMPxN {
			x.Text = append(x.Text, "If it is the number of an entry of the suppression log, ask for: entry "+id)
		}
	}
	if unnamed {
		x.Text = append(x.Text, "An alert that passed because its hub had no window leaves no record with its id. If quell writes the Service Audit Trail, that has a line for it.")
	}
	switch sw := m.Ledger.Switch(); sw {
	case outage.SwitchOn:
	case "":
		x.Text = append(x.Text, "The switch is not known yet: at present nothing is suppressed.")
	default:
		x.Text = append(x.Text, fmt.Sprintf("The switch is %s: at present nothing is suppressed.", sw))
	}
	return x, nil
}

func (s *subject) addHub(id outage.DeviceID) {
	for _, have := range s.hubs {
		if have == id {
			return
		}
	}
	if id != 0 {
		s.hubs = append(s.hubs, id)
	}
}

var entryForm = regexp.MustCompile(`^(?i:entry|#)\s*#?\s*((?:,?[0-9]){1,18})$`) // pages write 7,500,001

// EntryNumber reads the number of an entry of the suppression log as people write it: "entry 12".
func EntryNumber(text string) (no int64, ok bool) {
	m := entryForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, false
	}
	no, err := strconv.ParseInt(strings.ReplaceAll(m[1], ",", ""), 10, 64)
	return no, err == nil
}

// identify finds out what an id refers to. It adds the devices to x.
func (m *Motorway) identify(ctx context.Context, x *Explanation, id string) (s subject, err error) {
	if eui, err := outage.ParseAnyDeviceID(id); err == nil {
		return m.identifyDevice(ctx, x, eui)
	}
	if r, err := outage.ParseRequestID(id); err == nil {
		s.filter, s.message, s.origin = ledger.Filter{AlertID: r.String(), RequestID: r}, true, r.Originator
		acts, err := m.Windows.Activations(ctx, windows.Filter{RequestID: r}, explainLimit)
		for _, a := range acts {
			s.addHub(a.CHF)
			s.meter = a.ESME
		}
		if err == nil && len(acts) == 0 && r.Target != 0 {
			d, listed, err := m.Devices.Device(ctx, r.Target)
			if err != nil {
				return s, err
			}
			if d != nil {
				x.Text = append(x.Text, fmt.Sprintf("No activation is recorded under request id %s.", r))
				m.addDevice(x, d, listed)
			}
		}
		return s, err
	}
	if strings.HasPrefix(id, "content:") {
		s.filter = ledger.Filter{AlertID: id}
		return s, nil
	}
	if no, ok := EntryNumber(id); ok {
		s.filter = ledger.Filter{Entry: no}
		return s, nil
	}
	if len(id) == 0 || len(id) > 13 || strings.Trim(id, "0123456789") != "" {
		return s, fmt.Errorf("%q is %w", id, ErrNotAnID)
	}
	s.filter = ledger.Filter{MPxN: id}
	devices, err := m.inventory().At(ctx, id, explainLimit)
	for _, d := range devices {
		_, listed, err := m.Devices.Device(ctx, d.ID)
		if err != nil {
			return s, err
		}
		m.addDevice(x, &d, listed)
		s.addHub(d.CHF)
	}
	return s, err
}

func (m *Motorway) identifyDevice(ctx context.Context, x *Explanation, eui outage.DeviceID) (s subject, err error) {
	d, listed, err := m.Devices.Device(ctx, eui)
	if err != nil {
		return s, err
	}
	if d != nil {
		m.addDevice(x, d, listed)
	} else {
		x.Text = append(x.Text, fmt.Sprintf("The inventory does not know the device %s.", eui))
	}
	s.eui = eui
	acts, err := m.Windows.Activations(ctx, windows.Filter{ESME: eui}, explainLimit)
	for _, a := range acts {
		s.addHub(a.CHF)
	}
	switch {
	case len(acts) > 0 || d != nil && d.Type == "ESME":
		s.meter, s.filter = eui, ledger.Filter{ESME: eui}
		if d != nil {
			s.addHub(d.CHF)
		}
	case d != nil && d.Type != "CHF" && d.CHF != 0:
		s.addHub(d.CHF)
	default:
		s.filter = ledger.Filter{CHF: eui}
		s.addHub(eui)
	}
	return s, err
}

// addDevice adds a device to x.
func (m *Motorway) addDevice(x *Explanation, d *outage.Device, listed bool) {
	ok, reason := outage.Eligible(d, listed, m.Rules().Manufacturers)
	x.Devices = append(x.Devices, ExplainedDevice{*d, listed, ok, reason})
	text := fmt.Sprintf("%s is %s of %s, model %s, SMETS version %s", d.ID, article(d.Type), d.Manufacturer, d.Model, d.SMETSVersion)
	if d.CHF != 0 && d.Type != "CHF" {
		text += fmt.Sprintf(", on hub %s", d.CHF)
	}
	x.Text = append(x.Text, text+".")
	if d.Type == "CHF" {
		return
	}
	if ok {
		x.Text = append(x.Text, "A firmware activation (11.3) for it is tracked: "+reason.Text()+".")
	} else {
		x.Text = append(x.Text, "A firmware activation (11.3) for it is not tracked: "+reason.Text()+".")
	}
}

// explainHub adds the activations on a hub, and the verdict on its AD1s. The text has only
// those of the meter, unless that is 0.
func (m *Motorway) explainHub(ctx context.Context, x *Explanation, hub, meter outage.DeviceID) error {
	acts, err := m.Windows.Activations(ctx, windows.Filter{CHF: hub}, explainLimit)
	if err != nil {
		return err
	}
	for i := range acts {
		a := &acts[i]
		x.Activations = append(x.Activations, View(*a))
		if meter == 0 || a.ESME == meter {
			x.Text = append(x.Text, activationText(a, x.At))
		}
	}
	d, _ := outage.Decide(acts, x.At)
	x.Verdicts[hub.String()] = Verdict{d.Outcome, d.Reason}
	verb := "would go forward"
	if d.Outcome == outage.Suppressed {
		verb = "would be suppressed"
	}
	x.Text = append(x.Text, fmt.Sprintf("An AD1 of hub %s received at %s %s: %s.", hub, stamp(x.At), verb, d.Reason.Text()))
	return nil
}

func activationText(a *outage.Activation, at time.Time) string {
	text := fmt.Sprintf("Request %s (%s, %s) for meter %s, received %s", a.RequestID, a.Form, a.Mode(), a.ESME, stamp(a.Received))
	switch {
	case a.Order.Kind == outage.Cancellation:
		text += ", cancelled what was pending then"
	case !a.HasWindow():
		text += ", opened no window, and closed what was pending then"
	default:
		text += fmt.Sprintf(", has the window %s to %s", stamp(a.Start), stamp(a.End))
	}
	switch {
	case a.State == outage.Withdrawn:
		text += "; withdrawn, because the next hop refused it or could not be reached"
	case a.State == outage.Failed:
		text += fmt.Sprintf("; closed, because the activation did not run (%s)", a.Why)
	case a.State == outage.Closed:
		text += fmt.Sprintf("; closed by hand, %s", a.Why)
	case a.SupersededBy != 0:
		text += fmt.Sprintf("; closed, because activation %d took its place", a.SupersededBy)
	case !a.HasWindow():
	case a.Pending(at):
		text += "; pending"
	case at.Before(a.Start):
		text += "; not open yet"
	case at.Before(a.End):
		text += "; open"
	default:
		text += "; over"
	}
	return text + fmt.Sprintf(" (activation %d).", a.ID)
}

func entryText(e *outage.Entry) string {
	text := fmt.Sprintf("Alert %s of hub %s, received %s,", e.AlertID, e.CHF, stamp(e.Received))
	switch e.Outcome {
	case outage.Suppressed:
		text += " was suppressed"
	case outage.Shadow:
		text += " would have been suppressed, but went forward because the switch was on shadow"
	case outage.Released:
		text += " was suppressed, and delivered late, because it was released"
	case outage.Forwarded:
		text += " was to be suppressed, but went forward, because the store did not answer in time or the switch was not on any more"
	}
	text += fmt.Sprintf(" (entry %d): within the window %s to %s of request %s for meter %s, %s.", e.Seq, stamp(e.WindowStart), stamp(e.WindowEnd), e.RequestID, e.ESME, e.Mode)
	if e.StartedBefore {
		text += fmt.Sprintf(" The hub says that the outage began at %s, before the window: it may have been genuine.", stamp(e.OutageStart))
	}
	if e.Repeated {
		text += " The hub had reported another outage in that window before: this one may have been genuine."
	}
	return text
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000 UTC") }

func article(deviceType string) string {
	if strings.ContainsAny(deviceType[:min(1, len(deviceType))], "EHI") {
		return "an " + deviceType
	}
	return "a " + deviceType
}
