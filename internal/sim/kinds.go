package sim

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
)

// A kind is one kind of traffic: the homes that it needs, and the messages about each.
type kind struct {
	name  string
	homes int
	class class
	steps []step
}

// A step is one message about a home. The messages of one phase are sent in order.
type step struct {
	at   phase
	send template
	want answer
}

// HiddenCut is the kind of a home that loses its power with its street while its meter is being
// activated: its AD1 is genuine, and suppressed.
const HiddenCut = "hidden power cut there"

// Each kind shows one thing that quell does. The timelines have everything that it does.
var kinds = []kind{
	{"activated on demand", 3, tracked, []step{
		{atOnce, serviceRequest, passed},
		{atOnce, signedPreCommand(onDemand), passed},
		{atOnce, ad1, suppressed},
		{over, ad1, forwarded(outage.ReasonWindowOver)},
	}},
	{"future dated", 3, tracked, []step{
		{atOnce, signedPreCommand(futureDated), passed},
		{atOnce, ad1, forwarded(outage.ReasonWindowNotBegun)},
		{started, ad1, suppressed},
		{over, ad1, forwarded(outage.ReasonWindowOver)},
	}},
	{"cancelled", 1, tracked, []step{
		{atOnce, signedPreCommand(futureDated), passed},
		{atOnce, signedPreCommand(cancellation), passed},
		{started, ad1, forwarded(outage.ReasonWindowWithdrawn)},
	}},
	{"refused by the DSP", 1, tracked, []step{
		{atOnce, signedPreCommand(onDemand).refused(), passed},
		{atOnce, ad1, forwarded(outage.ReasonWindowWithdrawn)},
	}},
	{"not in the device list", 1, unlisted, untracked},
	{"other manufacturer", 1, otherMaker, untracked},
	{"SMETS1 meter", 1, smets1, untracked},
	{"power cut in a street", 100, street, []step{
		{atOnce, ad1, forwarded(outage.ReasonNoWindow)},
	}},
	{HiddenCut, 1, street, []step{
		{atOnce, signedPreCommand(onDemand), passed},
		{atOnce, ad1, suppressed},
	}},
	{"evidence of a power cut", 1, tracked, []step{
		{atOnce, signedPreCommand(onDemand), passed},
		{atOnce, ad1OfBefore, suppressed},
		{atOnce, ad1, suppressed},
	}},
	{"other alerts, a response", 1, tracked, []step{
		{atOnce, signedPreCommand(onDemand), passed},
		{atOnce, restoration, forwarded(outage.ReasonNotAD1)},
		{atOnce, commandFailure, forwarded(outage.ReasonNotAD1)},
		{atOnce, activated, forwarded(outage.ReasonNotAD1)},
		{atOnce, response, forwarded(outage.ReasonNotAD1)},
	}},
	{"unreadable alerts", 1, tracked, []step{
		{atOnce, signedPreCommand(onDemand), passed},
		{atOnce, noXML, forwarded(outage.ReasonUnreadable)},
		{atOnce, ad1CutShort, forwarded(outage.ReasonUnreadable)},
		{atOnce, ad1TooLong, forwarded(outage.ReasonTooLarge)},
		{atOnce, ad1.asBytes(), forwarded(outage.ReasonNotXML)},
	}},
	{"11.3 not sent as XML", 1, tracked, []step{
		{atOnce, signedPreCommand(onDemand).asBytes(), passed},
		{atOnce, ad1, forwarded(outage.ReasonNoWindow)},
	}},
	{"11.3 not signed", 1, tracked, []step{
		{atOnce, unsigned, passed},
		{atOnce, ad1, forwarded(outage.ReasonNoWindow)},
	}},
	{"11.3 changed on its way", 1, tracked, []step{
		{atOnce, changed, passed},
		{atOnce, ad1, forwarded(outage.ReasonNoWindow)},
	}},
	{"11.3 by another supplier", 1, tracked, []step{
		{atOnce, byAnother, passed},
		{atOnce, inAnothersName, passed},
		{atOnce, ad1, forwarded(outage.ReasonNoWindow)},
	}},
	{"AD1 that nobody signed", 1, tracked, []step{
		{atOnce, signedPreCommand(onDemand), passed},
		{atOnce, ad1NotSigned, forwarded(outage.ReasonSignatureMissing)},
		{atOnce, ad1, suppressed},
	}},
	{"firmware image of 10 MiB", 1, tracked, []step{
		{atOnce, firmwareImage, passed},
	}},
}

// untracked has an activation that opens no window.
var untracked = []step{
	{atOnce, signedPreCommand(onDemand), passed},
	{atOnce, ad1, forwarded(outage.ReasonNoWindow)},
}

// passed is the answer to a southbound message.
var passed = answer{status: http.StatusOK}

var suppressed = answer{http.StatusOK, outage.Suppressed, outage.ReasonWindowOpen}

func forwarded(reason outage.Reason) answer {
	return answer{http.StatusOK, outage.Forwarded, reason}
}

// A template is a message that can be sent about any home.
type template struct {
	what        string
	path        string // ends with "?", or with a part of the query and "&"
	contentType string
	body        func(*scene) []byte
}

// asBytes returns the message with a media type that is not XML.
func (m template) asBytes() template {
	m.what += " as bytes"
	m.contentType = "application/octet-stream"
	return m
}

// refused returns the request with a query that makes the DSP refuse it.
func (m template) refused() template {
	m.path += "answer=E19&"
	return m
}

const xml = "application/xml"

var (
	onDemand     = func(*scene) outage.Order { return outage.Order{Kind: outage.OnDemand} }
	cancellation = func(*scene) outage.Order { return outage.Order{Kind: outage.Cancellation} }
	futureDated  = func(s *scene) outage.Order { return outage.Order{Kind: outage.FutureDated, At: s.begin} }
)

// request returns a southbound Signed Pre-Command.
func request(what string, body func(t *Town, h *home) []byte) template {
	return template{what, "/api/v1/serviceS?", xml, func(s *scene) []byte { return body(s.town, s.home) }}
}

// The 11.3s that open no window because of who sent or signed them.
var (
	unsigned = request("Signed Pre-Command that is not signed", func(t *Town, h *home) []byte {
		return preCommand(t.requestID(h), outage.Order{Kind: outage.OnDemand})
	})
	changed = request("Signed Pre-Command that was changed", func(t *Town, h *home) []byte {
		return bytes.Replace(t.signedPreCommand(h, outage.Order{Kind: outage.OnDemand}), []byte("CommandVariant>5<"), []byte("CommandVariant>7<"), 1)
	})
	byAnother = request("Signed Pre-Command of another supplier", func(t *Town, h *home) []byte {
		return t.sign(otherSupplier, preCommand(t.requestBy(otherSupplier, h), outage.Order{Kind: outage.OnDemand}))
	})
	inAnothersName = request("Signed Pre-Command that another supplier signed", func(t *Town, h *home) []byte {
		return t.sign(otherSupplier, preCommand(t.requestID(h), outage.Order{Kind: outage.OnDemand}))
	})
)

func signedPreCommand(order func(*scene) outage.Order) template {
	return template{"Signed Pre-Command", "/api/v1/serviceS?", xml, func(s *scene) []byte { return s.town.signedPreCommand(s.home, order(s)) }}
}

var (
	serviceRequest = template{"Service Request", "/api/v1/serviceT?", xml, func(s *scene) []byte { return s.town.serviceRequest(s.home, onDemand(s)) }}
	firmwareImage  = template{"SRV 11.1", "/api/v1/serviceD?", xml, func(s *scene) []byte { return s.town.firmwareImage(s.home, 10<<20) }}

	ad1          = alert("AD1", func(t *Town, h *home, at time.Time) []byte { return t.powerOutage(h, at, at) })
	ad1OfBefore  = alert("AD1 of an earlier outage", func(t *Town, h *home, at time.Time) []byte { return t.powerOutage(h, at, at.Add(-5*time.Minute)) })
	ad1NotSigned = alert("AD1 that is not signed", func(t *Town, h *home, at time.Time) []byte {
		return duis.AppendPowerOutage(nil, t.alertID(dsp), at, duis.PowerOutage{CHF: h.meter.CHF, Start: at.Truncate(time.Millisecond), MPxN: h.meter.MPxN})
	})
	restoration    = alert("device alert 8F36", (*Town).restoration)
	commandFailure = alert("DCC alert N12", (*Town).commandFailure)
	activated      = alert("device alert 8F66", (*Town).activated)
	response       = alert("response", (*Town).response)
	noXML          = alert("bytes that are not XML", func(*Town, *home, time.Time) []byte { return []byte("\x00\xff\x1f\x8b") })
	ad1CutShort    = alert("AD1 cut short", func(t *Town, h *home, at time.Time) []byte { return t.powerOutage(h, at, at)[:500] })
	ad1TooLong     = alert("AD1 of 70 KiB", func(t *Town, h *home, at time.Time) []byte {
		return append(t.powerOutage(h, at, at), strings.Repeat(" ", 70<<10)...)
	})
)

// alert returns a northbound message.
func alert(what string, body func(t *Town, h *home, at time.Time) []byte) template {
	return template{what, "/api/v1/alerts?", xml, func(s *scene) []byte { return body(s.town, s.home, now()) }}
}
