package duis

import (
	"encoding/hex"

	"quell/internal/outage"
	"quell/internal/strictxml"
)

// Read reads one DUIS document: a whole XML document in UTF-8, in any layout.
//
// A document with another root than DUIS's two is not an error, but RootOther. An
// element counts only in the DUIS namespace and at its place in the schema. An
// element that Message has a field for may occur only once, and must hold only
// text. Body has one element, and a message at most one signature.
//
// The two messages that quell decides on are a Request of ServiceReferenceVariant
// 11.3 and a DCC Alert AD1. They must be valid to the schema from their first
// element to their last. Read is more lenient than the schema only here: it
// accepts unknown elements where a later version of DUIS may add them (see
// contents), and does not look into a Signature, or into the body of another
// service in an 11.3. It is stricter here: it accepts no id and no hub of zeros, no
// MPxN of blanks, no empty GBCSPayload, no time outside ParseTime's years, no 11.3
// of another ServiceReference, and no xsi:type or xsi:nil.
//
// Everything else in other messages is ignored, but must be well-formed. A value
// that is not valid is left zero.
//
// The error is a *SyntaxError; ErrTooLarge is one too. The Message then holds what
// the header and the alert code said before the fault. If the body of a request
// cannot be read, that is its RequestID, CommandVariant and ServiceReferenceVariant.
// This is for the audit trail, and enough to close a window. Decide nothing else on
// it. Read keeps no reference to b.
func Read(b []byte) (Message, error) {
	var m Message
	if len(b) > MaxSize {
		return m, ErrTooLarge
	}
	var r reader
	r.scan(b)
	r.header(&m)
	if r.Err == nil {
		r.body(&m)
	}
	if r.Err != nil {
		return m, (*SyntaxError)(r.Err)
	}
	return m, nil
}

// reader collects the values of a message while it scans the document.
type reader struct {
	strictxml.Scanner
	size   int                          // of the document, in bytes
	path   [strictxml.MaxDepth + 1]node // the nodes of the open elements, the innermost at depth
	places [leaf]uint8                  // the place of each node's last child in its content; 1 in a choice, 0 if there is none yet
	seen   nodeSet                      // nodes whose start has been read
	read   nodeSet                      // nodes whose end has been read

	versioned bool // the root has a valid schemaVersion, and no other attribute
	leaves    [nodes - leaf]struct {
		text []byte
		off  int // of the element
	}

	// The first thing that the schema does not allow. It is a fault only in a
	// message that quell decides on, which is known when the whole message has
	// been read.
	flaw    string
	flawOff int

	doc   []byte // the document
	alert struct {
		start, end int // the text of alertPayload, in the document
		odd        bool
	}
}

type nodeSet uint64

func (s nodeSet) has(n node) bool { return s>>n&1 != 0 }
func (s *nodeSet) add(n node)     { *s |= 1 << n }

// scan reads the whole document b. It leaves r.Err nil if that went well. If the
// fault is before the root, it looks for a header after it all the same.
func (r *reader) scan(b []byte) {
	r.elements(b)
	if err := r.Err; err != nil && !r.Started() {
		if i := strictxml.FirstTag(b); i >= 0 {
			*r = reader{}
			r.elements(b[i:])
			r.Err = err
		}
	}
}

// elements reads the elements of b.
func (r *reader) elements(b []byte) {
	r.Init(b, Namespace)
	r.doc = b
	r.size = len(b)
	r.path[0] = document
	for {
		switch r.Next() {
		case strictxml.StartElement:
			if !r.enter() {
				return
			}
		case strictxml.CharData:
			switch n := r.path[r.Depth]; {
			case n == alertPayload:
				r.alertText()
			case n >= leaf:
				l := &r.leaves[n-leaf]
				l.text = strictxml.Join(l.text, r.Text)
			case n != ignored && len(strictxml.TrimSpace(r.Text)) > 0:
				r.addFlaw("text in ", n, "")
			}
		case strictxml.EndElement:
			r.read.add(r.path[r.Depth+1])
		default:
			return
		}
	}
}

// alertText notes where the text of alertPayload is.
func (r *reader) alertText() {
	a := &r.alert
	switch n := len(r.Text); {
	case n == 0:
	case a.end == 0 && r.Offset+n <= len(r.doc) && &r.doc[r.Offset] == &r.Text[0]:
		a.start, a.end = r.Offset, r.Offset+n
	default:
		a.odd = true // a second piece, or one that is written in another way
	}
}

// addFlaw remembers a flaw at the event, if it is the first.
func (r *reader) addFlaw(before string, n node, after string) {
	if r.flaw == "" {
		r.flaw, r.flawOff = before+n.String()+after, r.Offset
	}
}

// enter finds the node of the element that has just started. The result is false
// after a fault.
func (r *reader) enter() bool {
	parent := r.path[r.Depth-1]
	r.path[r.Depth] = ignored
	if parent == ignored {
		return true
	}
	if parent == alertPayload {
		r.alert.odd = true
		return true
	}
	if parent >= leaf {
		r.Fail(r.Offset, "element within "+parent.String())
		return false
	}
	n := r.child(parent)
	if n == ignored || r.Err != nil {
		return r.Err == nil
	}
	if r.seen.has(n) && n == alertPayload {
		r.alert.odd = true
		return true
	}
	if r.seen.has(n) {
		r.Fail(r.Offset, "second "+n.String())
		return false
	}
	r.seen.add(n)
	if n == signature {
		return true
	}
	r.path[r.Depth] = n
	if n >= leaf {
		r.leaves[n-leaf].off = r.Offset
	}
	if r.Attributes > 0 {
		r.attributes(n)
	}
	return true
}

// child finds the node of the element that has just started. A wrong place in parent
// is a flaw.
func (r *reader) child(parent node) node {
	c, last := &contents[parent], r.places[parent]
	n, place := ignored, uint8(0)
	if r.Known || string(r.Namespace) == signatureNamespace {
		n, place = c.find(r.Local, last)
		if (n == signature) == r.Known {
			n, place = ignored, 0
		}
	}
	if n == ignored && (!c.open || !r.Known) {
		r.addFlaw("unknown element in ", parent, "")
	}
	switch {
	case c.choice:
		r.places[parent] = 1
		if last > 0 {
			r.second(parent)
			return n
		}
	case n == ignored:
	case place < last:
		r.addFlaw("", n, " out of order")
	default:
		r.places[parent] = place
	}
	return n
}

// attributes checks those of n: only the root may have one, its schemaVersion.
func (r *reader) attributes(n node) {
	if n != request && n != response {
		r.addFlaw("attribute of ", n, "")
	} else if version, ok := r.Attribute("schemaVersion"); ok && r.Attributes == 1 && isDecimal(strictxml.TrimSpace(version)) {
		r.versioned = true
	}
}

// second records a second element in a choice. In Body that is a fault in any
// message.
func (r *reader) second(parent node) {
	if parent == requestBody || parent == responseBody {
		r.Fail(r.Offset, "second element in Body")
	}
	r.addFlaw("second element in ", parent, "")
}

// value returns the text of a leaf without the white space around it. It is nil if
// the leaf is absent, or if a fault came before its end.
func (r *reader) value(n node) []byte {
	return strictxml.TrimSpace(r.raw(n))
}

// raw is value with the white space around it, which matters in an xs:string.
func (r *reader) raw(n node) []byte {
	if !r.read.has(n) {
		return nil
	}
	return r.leaves[n-leaf].text
}

// require fails if ok is false: n is malformed or missing. It returns ok.
func (r *reader) require(n node, ok bool) bool {
	switch {
	case ok:
	case r.read.has(n):
		r.Fail(r.leaves[n-leaf].off, n.String()+" is malformed")
	default:
		r.Fail(r.size, n.String()+" is missing")
	}
	return ok
}

// filled fails if the choice n is empty.
func (r *reader) filled(n node) bool {
	if r.places[n] == 0 {
		r.Fail(r.size, n.String()+" is empty")
		return false
	}
	return true
}

// optional is require for a leaf that may be absent.
func (r *reader) optional(n node, ok bool) bool {
	return !r.read.has(n) || r.require(n, ok)
}

// header sets what every message may have, as far as it is valid.
func (r *reader) header(m *Message) {
	switch {
	case r.seen.has(request):
		m.Root = RootRequest
	case r.seen.has(response):
		m.Root = RootResponse
	default:
		return
	}
	m.RequestID, _ = outage.ParseRequestIDBytes(r.value(requestID))
	m.ResponseID, _ = outage.ParseRequestIDBytes(r.value(responseID))
	if n, ok := parseUint32(r.value(commandVariant)); ok && n <= 9 {
		m.CommandVariant = int(n)
	}
	m.ServiceReferenceVariant = intern(r.value(serviceReferenceVariant))
	m.ResponseCode = intern(r.value(responseCode))
	m.ResponseTime, _ = ParseTime(r.value(responseDateTime))
	if r.seen.has(dccAlertMessage) {
		m.AlertCode = intern(r.value(dccAlertCode))
	} else {
		m.AlertCode = hexBinary(r.value(deviceAlertCode))
	}
}

// body sets the rest. It fails if something must be valid and is not.
func (r *reader) body(m *Message) {
	switch {
	case m.Root == RootRequest:
		r.request(m)
	case r.seen.has(dccAlertMessage):
		switch m.AlertCode {
		case "AD1":
			r.powerOutage(m)
		case "N12":
			m.FailedRequest, _ = outage.ParseRequestIDBytes(r.value(commandRequestID))
		case "N60":
			d := &m.Delivery
			d.Update, _ = outage.ParseRequestIDBytes(r.value(updateFirmwareID))
			d.Target, _ = outage.ParseDeviceIDBytes(r.value(targetDeviceID))
			switch string(r.value(transferStatus)) {
			case "Success":
				d.Status = Arrived
			case "Failure":
				d.Status = NotArrived
			}
		}
	case r.seen.has(deviceAlert):
		m.FromDevice = true
		if a := &r.alert; !a.odd && IsRestoration(m.AlertCode) {
			m.AlertPayload.Start, m.AlertPayload.End = a.start, a.end
		}
	case r.seen.has(responseMessage):
		m.FromDevice = r.seen.has(gbcsPayload) || r.seen.has(futureDatedAlert)
		if m.ServiceReferenceVariant == "11.3" {
			m.Payload = base64Binary(r.value(gbcsPayload))
		}
	}
}

// valid fails if the schema does not allow the message.
func (r *reader) valid() bool {
	if !r.versioned {
		r.Fail(0, "no schemaVersion, or another attribute of the root")
		return false
	}
	if r.flaw != "" {
		r.Fail(r.flawOff, r.flaw)
		return false
	}
	return true
}

func (r *reader) request(m *Message) {
	execution, _ := ParseTime(r.value(executionDateTime))
	var payload []byte
	spc, activation := r.seen.has(signedPreCommand), r.seen.has(activateFirmware)
	if m.ServiceReferenceVariant == "11.3" {
		payload = base64Binary(r.value(gbcsPayload))
		ok := r.valid() &&
			r.require(requestID, m.RequestID != (outage.RequestID{})) &&
			r.optional(firstInSequence, !r.read.has(firstInSequence) || isBoolean(r.value(firstInSequence))) &&
			r.optional(precedingID, !r.read.has(precedingID) || isRequestID(r.value(precedingID))) &&
			r.require(commandVariant, m.CommandVariant != 0) &&
			r.require(serviceReference, string(r.raw(serviceReference)) == "11.3") &&
			r.require(serviceReferenceVariant, string(r.raw(serviceReferenceVariant)) == "11.3") &&
			r.optional(executionDateTime, !execution.IsZero()) &&
			(!spc || r.require(gbcsPayload, payload != nil)) &&
			(!activation || r.require(firmwareHash, isSHA256Hex(r.value(firmwareHash)))) &&
			r.filled(requestBody)
		if !ok {
			return
		}
	}
	m.Execution, m.Payload = execution, payload
	switch {
	case spc:
		m.Body = BodySignedPreCommand
	case activation:
		m.Body = BodyActivateFirmware
		if hash := r.value(firmwareHash); len(hash) == hex.EncodedLen(len(m.ImageHash)) {
			hex.Decode(m.ImageHash[:], hash) // valid, if the message is an 11.3
		}
	}
}

func (r *reader) powerOutage(m *Message) {
	var o PowerOutage
	o.CHF, _ = outage.ParseDeviceIDBytes(r.value(commsHubDeviceID))
	o.Start, _ = ParseTime(r.value(startDateTime))
	sequence, sequenceOK := parseUint32(r.value(throttledSequenceID))
	count, countOK := parseUint32(r.value(throttledCount))
	ok := r.valid() &&
		r.optional(requestID, m.RequestID != (outage.RequestID{})) &&
		r.optional(responseID, m.ResponseID != (outage.RequestID{})) &&
		r.require(responseCode, isResponseCode(r.raw(responseCode))) &&
		r.require(responseDateTime, !m.ResponseTime.IsZero()) &&
		r.require(dccAlertCode, string(r.raw(dccAlertCode)) == "AD1") &&
		r.optional(throttledSequenceID, sequenceOK) &&
		r.optional(throttledCount, countOK) &&
		r.require(commsHubDeviceID, o.CHF != 0) &&
		r.require(startDateTime, !o.Start.IsZero()) &&
		r.require(mpxn, isMPxN(r.raw(mpxn)))
	if !ok {
		return
	}
	o.MPxN = string(r.value(mpxn))
	if sequenceOK {
		o.Throttled.SequenceID = new(sequence)
	}
	if countOK {
		o.Throttled.Count = new(count)
	}
	m.Outage = o
	m.Body = BodyPowerOutage
}
