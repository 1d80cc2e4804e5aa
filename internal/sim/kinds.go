package sim

import (
	"time"

	"quell/internal/outage"
)

// scripts are the kinds of Demo, in the order of its table.
var scripts = []script{
	{name: "on demand", homes: []class{plain}, run: onDemand},
	{name: "on demand, requested again", homes: []class{plain}, run: onDemandAgain},
	{name: "future dated", homes: []class{plain}, run: future},
	{name: "cancelled", homes: []class{plain}, run: cancelled},
	{name: "cancelled too late", homes: []class{plain}, run: cancelledLate},
	{name: "replaced by a later one", homes: []class{plain}, run: replaced},
	{name: "request re-sent", homes: []class{plain}, run: requestAgain},
	{name: "alert re-sent", homes: []class{plain}, run: alertAgain},
	{name: "two meters on one hub", homes: []class{twin}, run: twoMeters},
	{name: "refused by the DSP", homes: []class{plain}, run: refused},
	{name: "replacement refused", homes: []class{plain}, run: replacementRefused},
	{name: "unlisted meter", homes: []class{unlisted}, run: untracked},
	{name: "other manufacturer", homes: []class{otherMaker}, run: untracked},
	{name: "SMETS1 meter", homes: []class{smets1}, run: untracked},
	{name: "gas meter", homes: []class{withGas}, run: untracked},
	{name: "genuine outages", homes: []class{plain}, run: genuine},
	{name: "restoration alerts", homes: []class{plain}, run: restorations},
	{name: "other DCC alerts", homes: []class{plain}, run: otherAlerts},
	{name: "responses", homes: []class{plain}, run: responses},
	{name: "unreadable messages", homes: []class{plain}, run: unreadable},
	{name: "other content types", homes: []class{plain, plain}, run: otherTypes},
	{name: "firmware image of 10 MiB", homes: []class{plain}, run: firmwareImage},
	{name: "storm of outages", storm: true, run: storm},
}

// The reasons by which alerts of the scripts are forwarded.
var (
	noWindow  = forwarded(outage.ReasonNoWindow)
	notBegun  = forwarded(outage.ReasonWindowNotBegun)
	over      = forwarded(outage.ReasonWindowOver)
	withdrawn = forwarded(outage.ReasonWindowWithdrawn)
)

// onDemand: the Signed Pre-Command takes the place of its Service Request, so
// that the window lasts from then.
func onDemand(p *play) {
	h := p.homes[0]
	sr := p.activate(atOnce, outage.ServiceRequest, &h.Meters[0], immediately)
	p.outage(sr.open(), "AD1 after the Service Request", h, suppressed)
	spc := p.onDemand(p.late(sr), &h.Meters[0])
	p.outage(spc.open(), "AD1 after the Signed Pre-Command", h, suppressed)
	p.outage(spc.open().and(sr.over()), "AD1 later in the window", h, suppressed)
	p.outage(spc.over(), "AD1 after the window", h, over)
}

// onDemandAgain: a second request extends.
func onDemandAgain(p *play) {
	h := p.homes[0]
	first := p.onDemand(atOnce, &h.Meters[0])
	second := p.onDemand(p.late(first), &h.Meters[0])
	p.outage(second.open().and(first.over()), "AD1 in the second window alone", h, suppressed)
	p.outage(second.over(), "AD1 after both windows", h, over)
}

func future(p *play) {
	h := p.homes[0]
	order := futureDated(p.soon(now()))
	p.activate(atOnce, outage.ServiceRequest, &h.Meters[0], order)
	w := p.activate(atOnce, outage.SignedPreCommand, &h.Meters[0], order)
	p.outage(w.notBegun(), "AD1 before the window", h, notBegun)
	p.outage(w.open(), "AD1 in the window", h, suppressed)
	p.outage(p.halfway(w), "AD1 halfway through the window", h, suppressed)
	p.outage(w.over(), "AD1 after the window", h, over)
}

func cancelled(p *play) {
	h := p.homes[0]
	w := p.activate(atOnce, outage.SignedPreCommand, &h.Meters[0], futureDated(p.soon(now())))
	p.outage(w.notBegun(), "AD1 before the cancellation", h, notBegun)
	p.activate(w.notBegun(), outage.SignedPreCommand, &h.Meters[0], cancel)
	p.outage(w.notBegun(), "AD1 after the cancellation", h, withdrawn)
	p.outage(w.open(), "AD1 in what was the window", h, withdrawn)
}

// cancelledLate: what has begun cannot be cancelled.
func cancelledLate(p *play) {
	h := p.homes[0]
	w := p.onDemand(atOnce, &h.Meters[0])
	p.activate(w.open(), outage.SignedPreCommand, &h.Meters[0], cancel)
	p.outage(w.open(), "AD1 after the cancellation", h, suppressed)
}

// replaced: the meter holds one future-dated request, the last.
func replaced(p *play) {
	h := p.homes[0]
	first := p.activate(atOnce, outage.SignedPreCommand, &h.Meters[0], futureDated(p.soon(now())))
	second := p.activate(first.notBegun(), outage.SignedPreCommand, &h.Meters[0], futureDated(p.soon(first.last)))
	p.outage(first.notBegun(), "AD1 before both times", h, notBegun)
	p.outage(first.open().and(second.notBegun()), "AD1 between the times", h, notBegun)
	p.outage(second.open(), "AD1 after the second time", h, suppressed)
	p.outage(second.over(), "AD1 after the window", h, over)
}

// requestAgain: the same request does not extend.
func requestAgain(p *play) {
	h := p.homes[0]
	r := p.request(outage.SignedPreCommand, &h.Meters[0], immediately)
	w := p.deliver(atOnce, r)
	again := p.deliver(p.late(w), r)
	p.outage(w.open(), "AD1 in the window", h, suppressed)
	p.outage(w.over().and(again.open()), "AD1 after the window of the first sending", h, over)
}

// alertAgain: the same alert gets the same decision, whatever the time.
func alertAgain(p *play) {
	h := p.homes[0]
	early := p.town.powerOutage(h, now(), now())
	p.send(atOnce, northMail("AD1 before the window", early, noWindow))
	w := p.onDemand(atOnce, &h.Meters[0])
	inside := p.town.powerOutage(h, now(), now())
	p.send(w.open(), northMail("another AD1 in the window", inside, suppressed))
	p.send(w.open(), northMail("the same again in the window", inside, suppressed))
	p.send(w.open(), northMail("the first AD1 again in the window", early, noWindow))
	p.send(w.over(), northMail("the suppressed AD1 again after the window", inside, suppressed))
	p.send(w.over(), northMail("the first AD1 again after the window", early, noWindow))
	p.outage(w.over(), "a new AD1 after the window", h, over)
}

func twoMeters(p *play) {
	h := p.homes[0]
	first := p.onDemand(atOnce, &h.Meters[0])
	p.outage(first.open(), "AD1 in the first window", h, suppressed)
	second := p.onDemand(p.halfway(first), &h.Meters[1])
	p.outage(first.open().and(second.open()), "AD1 in both windows", h, suppressed)
	p.outage(second.open().and(first.over()), "AD1 in the second window alone", h, suppressed)
	p.outage(second.over(), "AD1 after both windows", h, over)
}

// refused: a refused request leaves no window, and can be sent again.
func refused(p *play) {
	h := p.homes[0]
	r := p.request(outage.SignedPreCommand, &h.Meters[0], immediately)
	p.south.Refuse(r.id, "E19")
	p.deliver(atOnce, r)
	p.outage(atOnce, "AD1 after the refusal", h, withdrawn)
	p.south.Refuse(r.id, "")
	w := p.deliver(atOnce, r)
	p.outage(w.open(), "AD1 after the request was accepted", h, suppressed)
}

// replacementRefused: what a refused request had replaced stands again.
func replacementRefused(p *play) {
	h := p.homes[0]
	w := p.activate(atOnce, outage.SignedPreCommand, &h.Meters[0], futureDated(p.soon(now())))
	r := p.request(outage.SignedPreCommand, &h.Meters[0], futureDated(w.last.Add(24*time.Hour)))
	p.south.Refuse(r.id, "E20")
	p.deliver(w.notBegun(), r)
	p.outage(w.notBegun(), "AD1 before the first time", h, notBegun)
	p.outage(w.open(), "AD1 in the first window", h, suppressed)
}

// untracked: activations of the home's last meter open no window.
func untracked(p *play) {
	h := p.homes[0]
	meter := &h.Meters[len(h.Meters)-1]
	p.activate(atOnce, outage.ServiceRequest, meter, immediately)
	p.outage(atOnce, "AD1 after the Service Request", h, noWindow)
	p.onDemand(atOnce, meter)
	p.outage(atOnce, "AD1 after the Signed Pre-Command", h, noWindow)
}

// genuine: one inside a window is suppressed, and its log entry says that the
// outage began long before the activation.
func genuine(p *play) {
	h := p.homes[0]
	p.outage(atOnce, "AD1 before the activation", h, noWindow)
	w := p.onDemand(atOnce, &h.Meters[0])
	p.send(w.open(), northMail("AD1 of an outage before the activation", p.town.powerOutage(h, now(), now().Add(-5*time.Minute)), suppressed))
	p.outage(w.over(), "AD1 after the window", h, over)
}
