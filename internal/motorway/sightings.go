package motorway

import (
	"bytes"
	"encoding/base64"
	"slices"

	"quell/internal/duis"
	"quell/internal/evidence"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/sighting"
	"quell/internal/updates"
)

// What passes is noted for the evidence on suppressed alerts, after it was decided. No decision
// depends on it. Each function here takes less than a microsecond, allocates nothing, and waits for
// nothing: see package sighting.

// seeNorth notes a message that goes north: an AD1 that went forward, a restoration alert, or a
// message of a home that is waited for.
func (m *Motorway) seeNorth(p *Passage, document []byte) {
	if !m.Sightings.On() {
		return
	}
	switch msg := &p.Message; {
	case msg.Body == duis.BodyPowerOutage && p.Decision.Outcome == outage.Forwarded:
		switch p.Decision.Reason {
		case outage.ReasonSignatureMissing, outage.ReasonSignatureInvalid, outage.ReasonSignerUnknown:
			return // anybody could have made it
		}
		o := &msg.Outage
		m.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: p.Received, Home: evidence.Home{Hub: o.CHF}, Start: o.Start}, MPAN: o.MPxN})
	case msg.Delivery.Status != 0:
		m.Updates.Arrived(msg.Delivery.Update, msg.Delivery.Target, msg.Delivery.Status == duis.Arrived, p.Received)
	case msg.FromDevice:
		device := msg.ResponseID.Originator
		if device == 0 {
			device = msg.RequestID.Target
		}
		m.Sightings.Heard(device, p.Received)
		if at := &msg.AlertPayload; at.End > 0 {
			m.seeRestoration(p, document[at.Start:at.End])
		}
	}
}

// maxRestoration is how long the payload of a restoration alert may be: it has about 170 bytes.
const maxRestoration = 240

// seeRestoration notes a restoration alert, by its payload in base64, unless that cannot be read.
func (m *Motorway) seeRestoration(p *Passage, text []byte) {
	var space [maxRestoration]byte
	text = bytes.TrimSpace(text)
	if base64.StdEncoding.DecodedLen(len(text)) > len(space) {
		return
	}
	n, err := base64.StdEncoding.Decode(space[:], text)
	if err != nil || !gbcs.IsAlert(space[:n]) {
		return
	}
	r, err := gbcs.ReadRestoration(space[:n])
	if err != nil {
		return
	}
	m.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Restored, Received: p.Received, Meter: r.Meter, Start: r.Start, End: r.End}})
}

// seeOrder notes an 11.3 that is believed: what it orders, as far as that can be read, whether it is
// tracked or not.
func (m *Motorway) seeOrder(p *Passage, req *outage.Request, hub outage.DeviceID, reason outage.Reason) {
	if !m.Sightings.On() || req.ID == (outage.RequestID{}) || reason == outage.ReasonOtherSupplier || reason == outage.ReasonRepeated {
		return
	}
	s := sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Ordered, Received: req.Received, Home: evidence.Home{Hub: hub}, Meter: req.ID.Target, Request: req.ID,
		Form: req.Form, Firmware: sighting.Firmware(p.image), Tracked: reason == outage.ReasonTracked || reason == outage.ReasonStoreUnavailable, Start: req.Received}}
	switch p.order.Kind {
	case outage.OnDemand:
	case outage.FutureDated:
		if p.order.At.After(req.Received) {
			s.Start = p.order.At
		}
	case outage.Cancellation:
		if req.Form != outage.SignedPreCommand {
			return // it reaches no meter
		}
		s.Kind, s.Request, s.Why = evidence.NotRun, outage.RequestID{}, "it was cancelled"
	default:
		return
	}
	m.Sightings.Add(&s)
}

// seeNotRun notes that an activation did not run.
func (m *Motorway) seeNotRun(p *Passage, request outage.RequestID, why string) {
	m.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.NotRun, Received: p.Received, Meter: request.Target, Request: request, Why: why}})
}

// seeUpdate begins to follow an 11.1 of a supplier. Its caller gives the tap the rest of the message.
func (m *Motorway) seeUpdate(p *Passage, head []byte) {
	id, suppliers := p.Message.RequestID, m.rules.Load().Suppliers
	if m.Sightings.On() && p.Message.Root == duis.RootRequest && id.Originator != 0 && (len(suppliers) == 0 || slices.Contains(suppliers, id.Originator)) {
		p.update = m.Updates.Begin(id, p.Received)
		p.update.Write(head)
	}
}

// Update returns what follows the passage of an 11.1: it gets what of the message is not in
// Body.Head, and the next hop's answer. It is nil for other messages.
func (p *Passage) Update() *updates.Tap { return p.update }
