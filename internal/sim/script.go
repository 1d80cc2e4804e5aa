package sim

import (
	"net/http"
	"time"

	"quell/internal/outage"
)

// script is one kind of traffic: the homes that it needs, and what is sent.
type script struct {
	name  string
	homes []class
	storm bool // needs a storm's traffic
	run   func(p *play)
}

var (
	immediately = outage.Order{Kind: outage.OnDemand}
	cancel      = outage.Order{Kind: outage.Cancellation}
)

func futureDated(at time.Time) outage.Order {
	return outage.Order{Kind: outage.FutureDated, At: at}
}

// xmlMail is a message as nearly all are.
func xmlMail(what string, direction outage.Direction, path string, body []byte, want answer) *mail {
	return &mail{what: what, direction: direction, method: http.MethodPost, path: path, contentType: "application/xml", body: body, want: want}
}

// northMail is a northbound message.
func northMail(what string, body []byte, want answer) *mail {
	return xmlMail(what, outage.North, "/api/v1/alerts", body, want)
}

// outage sends an AD1 of the home, whose outage has just begun.
func (p *play) outage(g gate, what string, h *Home, want answer) {
	if !g.after.IsZero() {
		p.wait(g.after.Add(p.margin)) // so that the message says the right time
	}
	at := now()
	p.send(g, northMail(what, p.town.powerOutage(h, at, at), want))
}

// request is an 11.3 that can be sent more than once.
type request struct {
	id   outage.RequestID
	form outage.Form
	body []byte
}

// request makes an 11.3 for the meter.
func (p *play) request(form outage.Form, meter *outage.Device, order outage.Order) request {
	id := p.town.requestID(meter.ID)
	return request{id, form, activation(id, form, order)}
}

// deliver sends an 11.3 and returns the window that it opens if it is on demand.
func (p *play) deliver(g gate, r request) window {
	m := xmlMail("Signed Pre-Command", outage.South, "/api/v1/serviceS", r.body, passed)
	if r.form == outage.ServiceRequest {
		m.what, m.path = "Service Request", "/api/v1/serviceT"
	}
	p.send(g, m)
	return window{m.sent, m.answered, p.Window}
}

// activate makes an 11.3 for the meter, sends it, and returns its window.
func (p *play) activate(g gate, form outage.Form, meter *outage.Device, order outage.Order) window {
	w := p.deliver(g, p.request(form, meter, order))
	if order.Kind == outage.FutureDated {
		w.first, w.last = order.At, order.At
	}
	return w
}

// onDemand activates a meter on demand by a Signed Pre-Command.
func (p *play) onDemand(g gate, meter *outage.Device) window {
	return p.activate(g, outage.SignedPreCommand, meter, immediately)
}

// late is the gate for what is sent when 60 % of the window are over, so that
// a second window that begins then goes on for long enough after the first.
func (p *play) late(w window) gate {
	return gate{w.first.Add(w.length*6/10 - p.margin), w.first.Add(w.length)}
}

// halfway is the same at 50 %, for two windows that have to overlap as well.
func (p *play) halfway(w window) gate {
	return gate{w.first.Add(w.length/2 - p.margin), w.first.Add(w.length)}
}

// soon is the next full second that leaves time to send something before it,
// since payloads say the time in seconds. After a stall it leaves more.
func (p *play) soon(from time.Time) time.Time {
	return from.Add(2*p.margin + time.Duration(p.try+1)*time.Second).Truncate(time.Second)
}
