package sim

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"sync"

	"quell/internal/duis"
	"quell/internal/outage"
)

// The scripts in this file are of messages that pass in spite of an open
// window, and of the storm.

var (
	notAD1 = forwarded(outage.ReasonNotAD1)
	notXML = forwarded(outage.ReasonNotXML)
)

// restorations: device alerts pass, also inside the window of an AD1 that was
// suppressed, which they speak against.
func restorations(p *play) {
	h := p.homes[0]
	w := p.onDemand(atOnce, &h.Meters[0])
	p.outage(w.open(), "AD1 in the window", h, suppressed)
	for _, a := range []struct {
		what string
		code uint16
	}{{"8F35", 0x8F35}, {"8F36", 0x8F36}, {"8F37", 0x8F37}} {
		p.send(w.open(), northMail("device alert "+a.what, p.town.restoration(h, now(), w.first, now(), a.code), notAD1))
	}
}

func otherAlerts(p *play) {
	h := p.homes[0]
	w := p.onDemand(atOnce, &h.Meters[0])
	for _, code := range []string{"N12", "N13"} {
		p.send(w.open(), northMail("DCC alert "+code, p.town.commandFailure(h, now(), code), notAD1))
	}
	p.outage(w.open(), "AD1 in the window", h, suppressed)
}

func responses(p *play) {
	h := p.homes[0]
	meter := h.Meters[0].ID
	w := p.onDemand(atOnce, &h.Meters[0])
	for _, code := range []string{"I0", "E20"} {
		p.send(w.open(), northMail("response "+code, duis.AppendAnswer(nil, p.town.requestID(meter), now(), code), notAD1))
	}
	p.send(w.open(), northMail("response with device alert 8F66", p.town.activated(h, now()), notAD1))
}

// unreadable: what cannot be read goes on as it is, an AD1 with a fault too.
func unreadable(p *play) {
	h := p.homes[0]
	w := p.onDemand(atOnce, &h.Meters[0])
	ad1 := string(p.town.powerOutage(h, now(), now()))
	faulty := forwarded(outage.ReasonUnreadable)
	for _, m := range []*mail{
		northMail("no XML at all", []byte("\x00\xff\x1f\x8bnot XML"), faulty),
		northMail("nothing at all", nil, faulty),
		northMail("AD1 cut off", []byte(ad1[:len(ad1)/2]), faulty),
		northMail("AD1 with text behind", []byte(ad1+"<more/>"), faulty),
		northMail("AD1 of no hub", []byte(strings.ReplaceAll(ad1, h.CHF.String(), "a hub")), faulty),
		northMail("AD1 of 70 KiB", []byte(ad1+"<!--"+strings.Repeat(" ", 70<<10)+"-->"), forwarded(outage.ReasonTooLarge)),
		xmlMail("11.3 cut off", outage.South, "/api/v1/serviceS",
			p.request(outage.SignedPreCommand, &h.Meters[0], immediately).body[:500], answer{status: http.StatusBadRequest}),
	} {
		p.send(w.open(), m)
	}
}

// otherTypes: only what calls itself XML, or nothing, is looked at.
func otherTypes(p *play) {
	h, other := p.homes[0], p.homes[1]
	w := p.onDemand(atOnce, &h.Meters[0])
	for _, t := range []struct {
		method, contentType string
		want                answer
	}{
		{http.MethodPost, "text/xml; charset=utf-8", suppressed},
		{http.MethodPost, "", suppressed},
		{http.MethodPost, "text/plain", notXML},
		{http.MethodPost, "application/octet-stream", notXML},
		{http.MethodPut, "application/xml", notXML},
	} {
		m := northMail(strings.Join([]string{"AD1", t.method, t.contentType}, " "), p.town.powerOutage(h, now(), now()), t.want)
		m.method, m.contentType = t.method, t.contentType
		p.send(w.open(), m)
	}
	m := northMail("AD1 compressed", compressed(p.town.powerOutage(h, now(), now())), notXML)
	m.encoding = "gzip"
	p.send(w.open(), m)

	r := p.request(outage.SignedPreCommand, &other.Meters[0], immediately)
	m = xmlMail("11.3 as bytes", outage.South, "/api/v1/serviceS", r.body, passed)
	m.contentType = "application/octet-stream"
	p.send(atOnce, m)
	p.outage(atOnce, "AD1 after an 11.3 as bytes", other, noWindow)
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b) // to memory: neither fails
	w.Close()
	return out.Bytes()
}

func firmwareImage(p *play) {
	p.send(atOnce, xmlMail("SRV 11.1", outage.South, "/api/v1/serviceD", p.town.updateFirmware(p.homes[0], 10<<20), passed))
}

// The storm.
const (
	stormHubs   = 100
	stormShare  = 0.05 // of the hubs have a window
	stormAlerts = 500
)

// storm: many outages at once, most of them of hubs without a window.
func storm(p *play) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	windows := map[*Home]window{}
	for _, h := range p.storm.Windowed {
		wg.Go(func() {
			w := p.onDemand(atOnce, &h.Meters[0])
			mu.Lock()
			defer mu.Unlock()
			windows[h] = w
		})
	}
	wg.Wait()
	type drop struct {
		gate
		*mail
	}
	inside, outside := make(chan drop, stormAlerts), make(chan drop, stormAlerts)
	for range stormAlerts {
		h, body := p.storm.Next(now())
		if w, ok := windows[h]; ok {
			inside <- drop{w.open(), northMail("AD1 of a hub with a window", body, suppressed)}
		} else {
			outside <- drop{atOnce, northMail("AD1 of a hub without a window", body, noWindow)}
		}
	}
	close(inside)
	close(outside)
	send := func(drops <-chan drop) {
		for d := range drops {
			p.send(d.gate, d.mail)
		}
	}
	// Those whose time is short have more senders, and do not wait for the others.
	for range 6 {
		wg.Go(func() { send(inside) })
	}
	for range 2 {
		wg.Go(func() { send(outside) })
	}
	wg.Wait()
}
