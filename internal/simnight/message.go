package simnight

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"iter"
	"time"

	"quell/internal/duis"
	"quell/internal/evidence"
	"quell/internal/gbcs"
	"quell/internal/nation"
	"quell/internal/outage"
)

// A Message is one on its way through quell.
type Message struct {
	At        time.Time // when quell receives it
	Direction outage.Direction
	Document  []byte

	seen     *evidence.Sighting
	home     *nation.Home
	decision outage.Decision // of an AD1: suppressed or not as the simulation says, and why by the rules
}

// Ids of those that are no device of a home.
const (
	dsp         outage.DeviceID = 0x7000_0000_0002
	distributor outage.DeviceID = 0x7000_0000_0003
	// supplier is who the simulation's 11.3s are from.
	supplier outage.DeviceID = 0x7000_0000_0001
)

// retryAfter is how much later the simulation sends an AD1 again.
const retryAfter = 300 * time.Second

// Messages yields the messages of a night in the order of receipt. A document is valid until
// the next one.
func Messages(w *nation.World, n *nation.Night) iter.Seq[Message] {
	return messages(w, n, retryAfter)
}

func messages(w *nation.World, n *nation.Night, retry time.Duration) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		m := maker{retry: retry, homes: make(map[outage.DeviceID]*nation.Home, len(w.Homes)), alerts: map[outageOf][]alert{}, entries: map[outage.DeviceID]time.Time{},
			acts: map[outage.DeviceID][]outage.Activation{}}
		for i := range w.Homes {
			m.homes[w.Homes[i].Hub] = &w.Homes[i]
		}
		for i := range n.Sightings {
			if !yield(m.message(&n.Sightings[i])) {
				return
			}
		}
	}
}

// maker makes messages of sightings.
type maker struct {
	retry    time.Duration                    // how much later AD1s are sent again
	homes    map[outage.DeviceID]*nation.Home // by hub
	alerts   map[outageOf][]alert
	entries  map[outage.DeviceID]time.Time           // when the last AD1 of a hub was suppressed
	acts     map[outage.DeviceID][]outage.Activation // by hub: the 11.3s that open windows
	counter  uint64
	document []byte
}

type outageOf struct {
	hub   outage.DeviceID
	start time.Time
}

// alert is an AD1 that was sent.
type alert struct {
	at       time.Time
	entry    int64
	id       outage.RequestID
	decision outage.Decision
}

func (m *maker) next() uint64 {
	m.counter++
	return m.counter
}

func (m *maker) message(s *evidence.Sighting) Message {
	b, at := m.document[:0], s.Received
	x := Message{At: at, Direction: outage.North, seen: s, home: m.homes[s.Home.Hub]}
	switch s.Kind {
	case evidence.Ordered:
		x.Direction = outage.South
		order := outage.Order{Kind: outage.OnDemand}
		if s.Start.After(at) {
			order = outage.Order{Kind: outage.FutureDated, At: s.Start}
		}
		if s.Tracked {
			a := outage.Request{ID: s.Request, Form: s.Form, Order: order, Received: at}.Activation(s.Home.Hub, Rules.Window)
			m.acts[a.CHF] = append(m.acts[a.CHF], a)
		}
		image := sha256.Sum256([]byte(s.Firmware))
		if s.Form == outage.ServiceRequest {
			b = duis.AppendActivateFirmware(b, s.Request, order, image)
			break
		}
		b = duis.AppendSignedPreCommand(b, s.Request, 5, order, signed(gbcs.AppendCS06(nil, gbcs.CS06{Originator: s.Request.Originator, Target: s.Request.Target, Counter: s.Request.Counter, ImageHash: image, Order: order})))
	case evidence.NotRun:
		for i, a := range m.acts[s.Home.Hub] {
			if a.RequestID == s.Request {
				m.acts[s.Home.Hub][i].State = outage.Failed
			}
		}
		b = m.notRun(b, s)
	case evidence.Lost:
		a := m.alert(s)
		x.decision = a.decision
		b = duis.AppendPowerOutage(b, a.id, at, duis.PowerOutage{CHF: s.Home.Hub, Start: s.Start, MPxN: mpan(x.home)})
	case evidence.Restored:
		id := outage.RequestID{Originator: s.Meter, Target: distributor, Counter: m.next()}
		b = duis.AppendDeviceAlert(b, id, at, "8F36", signed(gbcs.AppendRestoration(nil, gbcs.Restoration{Meter: s.Meter, Code: 0x8F36, Start: s.Start, End: s.End}, distributor, id.Counter)))
	case evidence.Heard:
		b = duis.AppendDeviceAlert(b, outage.RequestID{Originator: s.Home.Hub, Target: supplier, Counter: m.next()}, at, "81A0", []byte("something else"))
	}
	m.document, x.Document = b, b
	return x
}

// notRun appends what says that an activation did not run: the meter's response; or, if the hub
// may be without power, the DCC's refusal, since quell would else hear the home again.
func (m *maker) notRun(b []byte, s *evidence.Sighting) []byte {
	if last, ok := m.entries[s.Home.Hub]; ok && s.Received.Sub(last) < time.Hour {
		return duis.AppendAnswer(b, s.Request, s.Received, "E20")
	}
	o := gbcs.Outcome{Meter: s.Request.Target, Originator: s.Request.Originator, Counter: s.Request.Counter, Executed: true, Code: gbcs.ActivationFailed, Version: "01"}
	b = duis.AppendAnswer(b, s.Request, s.Received, "I0")
	const end = "</sr:ResponseMessage>"
	payload := "<sr:GBCSPayload>" + base64.StdEncoding.EncodeToString(signed(gbcs.AppendOutcome(nil, o, 0))) + "</sr:GBCSPayload>"
	return bytes.Replace(b, []byte(end), []byte(payload+end), 1)
}

// alert returns the AD1 that a sighting is of. One that was sent before has the same id, and the
// decision of then.
func (m *maker) alert(s *evidence.Sighting) alert {
	if s.Entry != 0 {
		m.entries[s.Home.Hub] = s.Received
	}
	key := outageOf{s.Home.Hub, s.Start}
	for _, a := range m.alerts[key] {
		if d := s.Received.Sub(a.at) - m.retry; a.entry == s.Entry && -time.Millisecond < d && d < time.Millisecond {
			return a
		}
	}
	a := alert{at: s.Received, entry: s.Entry, id: outage.RequestID{Originator: dsp, Target: supplier, Counter: m.next()}, decision: m.decide(s)}
	if len(m.alerts[key]) > 0 {
		a.id.Target = distributor
	}
	m.alerts[key] = append(m.alerts[key], a)
	return a
}

// decide says whether an AD1 was suppressed in the simulation, and why quell would have done that.
func (m *maker) decide(s *evidence.Sighting) outage.Decision {
	outage.ResolveWindows(m.acts[s.Home.Hub])
	d, _ := outage.Decide(m.acts[s.Home.Hub], s.Received)
	if s.Start.After(s.Received.Add(Rules.ClockTolerance)) && len(m.acts[s.Home.Hub]) > 0 {
		d = outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonOutageInFuture}
	}
	if d.Outcome = outage.Forwarded; s.Entry != 0 {
		d.Outcome = outage.Suppressed
	}
	return d
}

// signed adds a signature that nobody verifies.
func signed(payload []byte) []byte { return gbcs.AppendSigned(nil, payload, [64]byte{1}) }

// mpan returns the MPAN of a home.
func mpan(h *nation.Home) string {
	b := fmt.Appendf(nil, "%02d%010d0", 10+uint32(h.Distributor)%90, uint64(h.Meter)&0xFFFFFFFF)
	for c := byte('0'); c <= '9'; c++ { // the last digit checks the others
		b[12] = c
		if outage.DistributorID(string(b)) != "" {
			break
		}
	}
	return string(b)
}
