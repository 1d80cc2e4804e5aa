package motorway

import (
	"encoding/json"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
	"quell/internal/recording"
)

// Settings is what a recording has as being in force.
type Settings struct {
	Rules
	Switch outage.Switch
}

// settings says what was recorded last. Rules are replaced, never changed.
type settings struct {
	rules *Rules
	sw    outage.Switch
}

// recordSettings records what is in force, if that has changed.
func (m *Motorway) recordSettings(at time.Time) {
	now := settings{m.rules.Load(), m.Ledger.Switch()}
	if last := m.recorded.Load(); last != nil && *last == now {
		return
	}
	text, err := json.Marshal(Settings{*now.rules, now.sw})
	if err != nil {
		m.Log.Error("settings cannot be recorded", "error", err)
		return
	}
	if m.Recording.Settings(at, text) {
		m.recorded.Store(&now)
	}
}

// recordSouth records an 11.3, and numbers it, so that its answer is recorded too.
func (m *Motorway) recordSouth(p *Passage, b Body) {
	if !m.Recording.Enabled() {
		return
	}
	m.recordSettings(p.Received)
	p.recorded = m.Recording.Next()
	line := recording.Line{Kind: recording.Southbound, At: p.Received, No: p.recorded, Document: b.Head, Rest: b.Rest, Outcome: p.Decision.Outcome, Reason: p.Decision.Reason,
		Listed: p.listed, Signature: p.signature}
	if p.meter != nil {
		line.Meter = *p.meter
	}
	m.Recording.Add(line, "")
}

// recordAnswer records the next hop's answer to an 11.3 that is in the recording.
func (m *Motorway) recordAnswer(p *Passage, state outage.State, code string) {
	if p.recorded != 0 && m.Recording.Enabled() {
		m.Recording.Add(recording.Line{Kind: recording.Answer, At: m.Now(), No: p.recorded, State: state, Code: code}, "")
	}
}

// recordNorth records a northbound message, if it matters for decisions, or for what is known of
// alerts that were suppressed.
func (m *Motorway) recordNorth(p *Passage, b Body) {
	if !m.Recording.Enabled() {
		return
	}
	msg := &p.Message
	line := recording.Line{Kind: recording.Northbound, At: p.Received, Outcome: p.Decision.Outcome, Reason: p.Decision.Reason}
	switch {
	case msg.Root != duis.RootResponse:
		return
	case msg.Body == duis.BodyPowerOutage && !b.Rest:
		if p.Decision.Outcome != outage.Forwarded {
			m.Recording.Follow(p.Received, msg.Outage.CHF, p.window)
		}
		line.Document = b.Head
	case msg.AlertCode == "AD1": // it could not be read, so where its MPxN is is not known
	case p.fault == nil && !b.Rest && (msg.ServiceReferenceVariant == "11.3" || msg.FailedRequest != outage.RequestID{} || isRestoration(msg.AlertCode)):
		line.Document = b.Head
	case !msg.FromDevice: // the DSP's own
		return
	default:
		device := msg.ResponseID.Originator
		if device == 0 {
			device = msg.RequestID.Target
		}
		hub := m.Sightings.Waits(device, p.Received) // also of homes whose alert another node suppressed
		if device == 0 || hub == 0 && !m.Recording.Follows(device) {
			return
		}
		line = recording.Line{Kind: recording.Heard, At: p.Received, Device: device, Meter: outage.Device{CHF: hub}}
	}
	m.recordSettings(p.Received)
	m.Recording.Add(line, msg.Outage.MPxN)
}

// isRestoration reports whether an alert says that a meter has power again.
func isRestoration(code string) bool { return code >= "8F35" && code <= "8F3C" && len(code) == 4 }

// ReadSettings reads settings as a recording has them.
func ReadSettings(text []byte) (s Settings, err error) {
	err = json.Unmarshal(text, &s)
	return s, err
}
