package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/windows"
)

// flight is a request that its next hop holds.
type flight struct {
	m       *message
	arrival *arrival
	done    chan response
}

// message sends what the clauses say, and reports whether they are a message.
func (p *player) message(clauses []clause) bool {
	c, options := clauses[0], clauses[1:]
	var m *message
	d := outage.North
	if w, ok := c.match("11.3 request _ for _"); ok {
		d = outage.South
		m, options = p.activation(p.number(w[0]), w[1], options)
	} else if w, ok := c.match("_ request _ for _"); ok {
		d = outage.South
		id := outage.RequestID{Originator: p.device("USER"), Target: p.declared(w[2]), Counter: p.number(w[1])}
		m = &message{target: "/api/v1/serviceS", body: duis.AppendRequest(nil, id, 1, w[0], w[0], "<sr:AnyService/>")}
	} else if w, ok := c.match("AD1 _ from _"); ok {
		m, options = p.powerOutage(p.number(w[0]), w[1], options)
	} else if w, ok := c.match("AD1 without id from _"); ok {
		m, options = p.powerOutage(0, w[0], options)
	} else if w, ok := c.match("DCC alert _ _ from _"); ok {
		id := p.responseID(w[1], w[2])
		m = &message{body: duis.AppendDCCAlert(nil, id, p.now, w[0], "<sr:AnyEvent/>")}
	} else if w, ok := c.match("device alert _ _ from _"); ok {
		id := p.responseID(w[1], w[2])
		m = &message{body: duis.AppendDeviceAlert(nil, id, p.now, w[0], []byte("GBCS"))}
	} else if w, ok := c.match("response _ to request _ for _"); ok {
		id := outage.RequestID{Originator: p.device("USER"), Target: p.declared(w[2]), Counter: p.number(w[1])}
		m = &message{body: duis.AppendAnswer(nil, id, p.now, w[0])}
	} else if w, ok := c.match("meter response outcome _ to request _ for _"); ok {
		m = p.outcome(p.number(w[1]), w[2], byte(p.number(w[0])))
	} else if w, ok := c.match("DCC alert N12 _ from _ on request _ for _"); ok {
		request := outage.RequestID{Originator: p.device("USER"), Target: p.declared(w[3]), Counter: p.number(w[2])}
		m = &message{body: duis.AppendDCCAlert(nil, p.responseID(w[0], w[1]), p.now, "N12", fmt.Sprintf(
			"<sr:CommandFailure><sr:CommandRequestID>%s</sr:CommandRequestID><sr:DeviceID>%s</sr:DeviceID></sr:CommandFailure>", request, request.Target))}
	} else if w, ok := c.match("northbound bytes _"); ok {
		m = &message{body: []byte(w[0])}
	} else if w, ok := c.match("southbound bytes _"); ok {
		d, m = outage.South, &message{body: []byte(w[0])}
	} else if w, ok := c.match("northbound _ MiB"); ok {
		m = &message{size: int(p.number(w[0])) << 20}
	} else if w, ok := c.match("southbound _ MiB"); ok {
		d, m = outage.South, &message{size: int(p.number(w[0])) << 20}
	} else {
		return false
	}
	m.label = p.named(c.String())
	m.method, m.host = "POST", "motorway.example"
	if m.target == "" {
		m.target = "/"
	}
	m.setHeader("Content-Type", "application/xml; charset=UTF-8")
	for _, o := range options {
		p.transport(m, o)
	}
	if d == outage.South {
		p.south(m)
	} else {
		p.north(m)
	}
	return true
}

// transport reads an option that any message may have.
func (p *player) transport(m *message, o clause) {
	if w, ok := o.match("type _"); ok {
		m.setHeader("Content-Type", w[0])
	} else if _, ok := o.match("no type"); ok {
		m.setHeader("Content-Type", "")
	} else if w, ok := o.match("method _"); ok {
		m.method = w[0]
	} else if w, ok := o.match("path _"); ok {
		m.target = w[0]
	} else if w, ok := o.match("host _"); ok {
		m.host = w[0]
	} else if w, ok := o.match("header _"); ok {
		name, value, ok := strings.Cut(w[0], ": ")
		if !ok {
			p.fail("%q is not a header such as \"Name: value\"", w[0])
		}
		m.header = append(m.header, [2]string{name, value})
	} else if _, ok := o.match("chunked"); ok {
		m.chunked = true
	} else if _, ok := o.match("cut short"); ok {
		m.body = m.body[:len(m.body)-20]
	} else if w, ok := o.match("padded to _ KiB"); ok {
		m.body = append(m.body, bytes.Repeat([]byte(" "), max(0, int(p.number(w[0]))<<10-len(m.body)))...)
	} else if _, ok := o.match("signed anew"); ok {
		signature := fmt.Sprintf(`<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignatureValue>%d</ds:SignatureValue></ds:Signature>`, p.line)
		i := bytes.LastIndex(m.body, []byte("</sr:"))
		m.body = slices.Insert(m.body, i, []byte(signature)...)
	} else if w, ok := o.match("signed by _"); ok {
		m.body = p.signer(w[0]).sign(p.T, m.body)
	} else if w, ok := o.match("_ in place of _"); ok {
		if bytes.Count(m.body, []byte(w[1])) == 0 {
			p.fail("%q does not occur in the message", w[1])
		}
		m.body = bytes.ReplaceAll(m.body, []byte(w[1]), []byte(w[0]))
	} else {
		p.fail("this part of a message is not understood: %s", o)
	}
}

// order reads a clause that says when to activate, after a first word.
func (p *player) orderOf(c clause, before string) (o outage.Order, ok bool) {
	before = strings.TrimSpace(before + " ")
	if _, ok := c.match(before + " on demand"); ok {
		return outage.Order{Kind: outage.OnDemand}, true
	}
	if _, ok := c.match(before + " cancel"); ok {
		return outage.Order{Kind: outage.Cancellation}, true
	}
	if w, ok := c.match(before + " at _"); ok {
		return outage.Order{Kind: outage.FutureDated, At: p.instant(w[0])}, true
	}
	return o, false
}

// activation makes an 11.3, and returns the options that it does not use.
func (p *player) activation(counter uint64, target string, options []clause) (m *message, rest []clause) {
	id := outage.RequestID{Originator: p.device("USER"), Target: p.declared(target), Counter: counter}
	m = &message{}
	var order outage.Order
	payload := gbcs.CS06{Originator: id.Originator, Target: id.Target, Counter: counter, ImageHash: [32]byte{1}}
	variant, unreadable, mac, unsigned, silent, differs := 0, false, false, false, false, false
	for _, o := range options {
		if when, ok := p.orderOf(o, ""); ok && order.Kind == "" {
			order = when
		} else if when, ok := p.orderOf(o, "payload"); ok {
			payload.Order, differs = when, true
		} else if w, ok := o.match("by _"); ok {
			id.Originator = p.device(w[0])
			payload.Originator = id.Originator
		} else if w, ok := o.match("payload by _"); ok {
			payload.Originator = p.device(w[0])
		} else if w, ok := o.match("payload request _"); ok {
			payload.Counter = p.number(w[0])
		} else if w, ok := o.match("payload for _"); ok {
			payload.Target = p.declared(w[0])
		} else if _, ok := o.match("payload unreadable"); ok {
			unreadable = true
		} else if _, ok := o.match("payload with MAC"); ok {
			mac = true
		} else if _, ok := o.match("payload without signature"); ok {
			unsigned = true
		} else if _, ok := o.match("XML silent"); ok {
			silent = true
		} else if _, ok := o.match("as service request"); ok && m.form == "" {
			m.form = outage.ServiceRequest
		} else if _, ok := o.match("as signed pre-command"); ok && m.form == "" {
			m.form = outage.SignedPreCommand
		} else if w, ok := o.match("variant _"); ok {
			variant, _ = strconv.Atoi(w[0])
		} else {
			rest = append(rest, o)
		}
	}
	if order.Kind == "" || m.form == "" {
		p.fail("an 11.3 needs one of: on demand, at TIME, cancel; and one of: as service request, as signed pre-command")
	}
	if !differs {
		payload.Order = order
	}
	if payload.Order.At.Nanosecond() != 0 && m.form == outage.SignedPreCommand {
		p.fail("a payload cannot have fractions of a second")
	}
	if m.form == outage.ServiceRequest {
		m.target = "/api/v1/serviceT"
		m.body = duis.AppendActivateFirmware(nil, id, order, payload.ImageHash)
		if variant != 0 {
			m.body = bytes.Replace(m.body, []byte("CommandVariant>4<"), fmt.Appendf(nil, "CommandVariant>%d<", variant), 1)
		}
		return m, rest
	}
	if variant == 0 {
		variant = 5
	}
	if silent {
		order = outage.Order{Kind: outage.OnDemand}
	}
	raw := gbcs.AppendCS06(nil, payload)
	if !unsigned {
		raw = gbcs.AppendSigned(nil, raw, [64]byte{7})
	}
	if mac {
		inner := append([]byte{0x11, 0, 0, 0, 0}, append(raw, make([]byte, 12)...)...)
		raw = append([]byte{0xDD, 0, 0, 0, 0, 0, 0, 0x81, byte(len(inner))}, inner...)
	}
	if unreadable {
		raw = []byte("no GBCS")
	}
	m.target = "/api/v1/serviceS"
	m.body = duis.AppendSignedPreCommand(nil, id, variant, order, raw)
	return m, rest
}

// outcome makes a meter's response to an 11.3.
func (p *player) outcome(counter uint64, meter string, code byte) *message {
	id := outage.RequestID{Originator: p.device("USER"), Target: p.declared(meter), Counter: counter}
	b := binary.BigEndian.AppendUint64([]byte{0xDF, 9, 2}, counter)
	b = binary.BigEndian.AppendUint64(append(b, 8), uint64(id.Target))
	b = binary.BigEndian.AppendUint64(append(b, 8), uint64(id.Originator))
	b = append(b, 0, 2, 0, 0x12, 11, 0x30, 9, 2, 1, code, 4, 4, 1, 2, 3, 4, 64)
	b = append(b, make([]byte, 64)...)
	body := duis.AppendAnswer(nil, id, p.now, "I0")
	payload := "<sr:GBCSPayload>" + base64.StdEncoding.EncodeToString(b) + "</sr:GBCSPayload></sr:ResponseMessage>"
	return &message{body: bytes.Replace(body, []byte("</sr:ResponseMessage>"), []byte(payload), 1)}
}

func (p *player) responseID(counter, from string) outage.RequestID {
	return outage.RequestID{Originator: p.declared(from), Target: p.device("USER"), Counter: p.number(counter)}
}

// powerOutage makes an AD1. It has no ResponseID if the counter is 0.
func (p *player) powerOutage(counter uint64, hub string, options []clause) (m *message, rest []clause) {
	o := duis.PowerOutage{CHF: p.declared(hub), MPxN: mpanOf("12", 9999)}
	for _, name := range slices.Backward(p.order) {
		if p.meters[name].hub == hub && p.meters[name].mpan != "" {
			o.MPxN = p.meters[name].mpan
		}
	}
	small := func(s string) *uint32 { n := uint32(p.number(s)); return &n }
	for _, c := range options {
		if w, ok := c.match("outage began _"); ok {
			o.Start = p.instant(w[0])
		} else if w, ok := c.match("mpan _"); ok {
			o.MPxN = w[0]
		} else if w, ok := c.match("throttled _ alerts"); ok {
			o.Throttled.Count = small(w[0])
		} else if w, ok := c.match("throttled sequence _"); ok {
			o.Throttled.SequenceID = small(w[0])
		} else {
			rest = append(rest, c)
		}
	}
	if o.Start.IsZero() {
		p.fail("an AD1 needs: outage began TIME")
	}
	id := outage.RequestID{Originator: o.CHF, Target: p.device("USER"), Counter: counter}
	// The hub's own time, so that the same line always gives the same bytes.
	m = &message{body: duis.AppendPowerOutage(nil, id, o.Start.Add(3*time.Minute), o)}
	if counter == 0 {
		m.body = bytes.Replace(m.body, []byte("<sr:ResponseID>"+id.String()+"</sr:ResponseID>"), nil, 1)
	}
	return m, rest
}

// south sends a message south and reports what happened.
func (p *player) south(m *message) {
	h := p.w.hops[outage.South]
	before := len(h.seen(0))
	done := make(chan response, 1)
	go func() {
		r, err := p.w.send(outage.South, m)
		if err != nil {
			r.broken = true
		}
		done <- r
	}()
	h.mu.Lock()
	hold := h.how.hold && !h.down
	h.mu.Unlock()
	if hold {
		p.w.eventually("the request reached its next hop", func() bool { return len(h.seen(before)) > 0 })
		a := h.seen(before)[0]
		p.held[a.message.RequestID.Counter] = &flight{m, a, done}
		p.say("-> held by the next hop%s", p.window(m, a.message.RequestID))
		return
	}
	r := <-done
	p.answered(m, r, h.seen(before))
}

func (p *player) answered(m *message, r response, seen []*arrival) {
	text := p.status(r, seen, outage.South) + ", " + p.delivery(m, r, seen, outage.South)
	trail := p.w.trail(false)
	if len(trail) != 1 {
		text += fmt.Sprintf("; AUDIT TRAIL: %d LINES", len(trail))
	}
	for _, l := range trail {
		text += "; " + string(l.Reason)
	}
	if m.form != "" {
		msg, _ := duis.Read(m.body)
		text += p.window(m, msg.RequestID)
	}
	p.say("-> %s%s", text, p.warned())
}

func (p *player) warned() (text string) {
	for _, w := range p.w.logs.takeWarnings() {
		text += fmt.Sprintf("; warns %q", w)
	}
	return text
}

func (p *player) status(r response, seen []*arrival, d outage.Direction) string {
	text := strconv.Itoa(r.status)
	switch {
	case r.status == 0:
		return "connection closed without an answer"
	case (r.status == 502 || r.status == 504) && bytes.HasPrefix(r.body, []byte("quell: the next hop ("+string(d)+") could not be reached, send the message again")):
		text += " from quell"
	case len(seen) > 0:
		if msg, _ := duis.Read(bytes.TrimSpace(r.body)); msg.ResponseCode != "" {
			text += " " + msg.ResponseCode
		}
	}
	if r.broken {
		text += " cut off"
	}
	return text
}

// delivery reports whether the next hop got the message, and how message or answer
// differ from what was sent.
func (p *player) delivery(m *message, r response, seen []*arrival, d outage.Direction) string {
	if len(seen) == 0 {
		return "not delivered"
	}
	text := "delivered"
	if len(seen) > 1 {
		text = fmt.Sprintf("delivered %d TIMES", len(seen))
	}
	for _, a := range seen {
		p.delivered = append(p.delivered, fmt.Sprintf("%s: %s", d, m.label))
		if diff := m.difference(a); diff != "" {
			text += ", CHANGED: " + diff
		}
		if a.status != 0 && r.status != 0 {
			if diff := a.difference(r, d); diff != "" {
				text += ", ANSWER CHANGED: " + diff
			}
		}
	}
	return text
}

// window reports what the store has of a request.
func (p *player) window(m *message, id outage.RequestID) string {
	if id == (outage.RequestID{}) {
		return ""
	}
	all, err := p.w.store.Windows.Activations(p.Context(), windows.Filter{ESME: id.Target}, 1000)
	if err != nil {
		return "; " + err.Error()
	}
	for _, a := range all { // the latest first
		if a.RequestID == id && a.Form == m.form {
			return "; " + p.activationText(a) + effects(a, all)
		}
	}
	return ""
}

func (p *player) activationText(a outage.Activation) string {
	text := string(a.Order.Kind)
	if a.HasWindow() {
		text = fmt.Sprintf("%s %s to %s", a.Mode(), p.clockText(a.Start), p.clockText(a.End))
	}
	text += ", " + string(a.State)
	if !a.Standing && a.State.Opens() {
		text += ", DOES NOT STAND"
	}
	return text
}

// effects reports what an activation replaces, and what replaced it.
func effects(a outage.Activation, all []outage.Activation) (text string) {
	for _, b := range slices.Backward(all) {
		if b.SupersededBy == a.ID {
			text += fmt.Sprintf(", in place of %d (%s)", b.ID, b.RequestID)
		}
	}
	if a.SupersededBy != 0 {
		text += fmt.Sprintf(", replaced by %d", a.SupersededBy)
	}
	return text
}

// north sends a message north and reports what happened.
func (p *player) north(m *message) {
	h := p.w.hops[outage.North]
	before := len(h.seen(0))
	r, err := p.w.send(outage.North, m)
	if err != nil { // the connection was closed
		r = response{broken: true, header: http.Header{}}
	}
	seen := h.seen(before)
	decision, reason := r.header.Get(DecisionHeader), r.header.Get(ReasonHeader)
	text := fmt.Sprintf("%s, %s, %s; %s", p.status(r, seen, outage.North), decision, reason, p.delivery(m, r, seen, outage.North))
	switch {
	case err != nil:
		text = "connection closed without an answer; " + p.delivery(m, r, seen, outage.North)
	case len(r.header[DecisionHeader]) != 1 || len(r.header[ReasonHeader]) != 1:
		text += "; HEADERS OF THE DECISION ARE NOT THERE ONCE"
	}
	lines := 1
	if decision == string(outage.Suppressed) {
		lines = 0
		if len(r.body) > 0 {
			text += "; BODY IS NOT EMPTY"
		}
	}
	if trail := p.w.trail(false); len(trail) != lines || reason != "" && lines == 1 && string(trail[0].Reason) != reason {
		text += fmt.Sprintf("; AUDIT TRAIL SAYS OTHERWISE: %+v", trail)
	}
	for _, e := range p.newEntries() {
		text += "; " + e
	}
	p.say("-> %s%s", text, p.warned())
}

// newEntries reports what is new in the suppression log.
func (p *player) newEntries() (list []string) {
	for _, e := range p.entries(p.lastEntry) {
		p.lastEntry = e.Seq
		text := fmt.Sprintf("entry %d: %s by %s, %s to %s", e.Seq, e.ESME, e.RequestID, p.clockText(e.WindowStart), p.clockText(e.WindowEnd))
		if e.StartedBefore {
			text += ", started before activation"
		}
		if e.Repeated {
			text += ", repeated in window"
		}
		list = append(list, text)
	}
	return list
}

func (p *player) entries(after int64) []outage.Entry {
	list, err := p.w.store.Ledger.EntriesAfter(p.Context(), after, 1000)
	if err != nil {
		p.fail("log: %v", err)
	}
	return list
}
