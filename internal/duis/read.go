package duis

import "quell/internal/outage"

// Read reads one DUIS document: a whole XML document in UTF-8, in any layout.
//
// A document whose root is neither of DUIS's two is no error, but RootOther.
// An element counts only in the DUIS namespace and at its place in the schema.
// Of those that Message has, none may occur twice, nor have elements within a
// leaf; Body has one element, and a message one signature.
//
// The two messages that quell decides on, a Request of ServiceReferenceVariant
// 11.3 and a DCC Alert AD1, must be valid to the schema from their first element
// to their last. Only in this Read is more lenient: it tolerates elements that
// it does not know where a later version of DUIS may add them (see contents),
// and does not look into a Signature, or into the body of another service in an
// 11.3. In this it is stricter: it takes no id and no hub of zeros, no MPxN of
// blanks, no empty GBCSPayload, no time outside of ParseTime's years, no 11.3 of
// another ServiceReference, and no xsi:type and xsi:nil.
//
// All else in other messages is ignored, but must be well-formed; a value that
// is not valid is left zero.
//
// The error is a *SyntaxError, ErrTooLarge among them. The Message then holds
// what the header and the alert code said up to the fault: of a request whose
// body cannot be read, its RequestID, CommandVariant and
// ServiceReferenceVariant. That is for an audit trail, and enough to close a
// window; nothing else must be decided on it. Read keeps nothing of b.
func Read(b []byte) (Message, error) {
	var m Message
	if len(b) > MaxSize {
		return m, ErrTooLarge
	}
	var r reader
	r.b = b
	r.path[0] = document
	r.scan()
	r.header(&m)
	if r.err == nil {
		r.body(&m)
	}
	if r.err != nil {
		return m, r.err
	}
	return m, nil
}

// reader collects the leaves of a message while it scans.
type reader struct {
	scanner
	path   [maxDepth + 1]node // the nodes of the open elements, the innermost at depth
	places [leaf]uint8        // of the last child of each in its content; 1 in a choice, 0 if there is none yet
	seen   nodeSet            // nodes whose start has been read
	read   nodeSet            // nodes whose end has been read

	versioned bool // the root has a valid schemaVersion, and no other attribute
	leaves    [nodes - leaf]struct {
		text []byte
		off  int // of the element
	}

	// The first thing that the schema does not allow, but that is a fault only
	// of a message that quell decides on: that is not known until the whole of
	// it has been read.
	flaw    string
	flawOff int
}

type nodeSet uint64

func (s nodeSet) has(n node) bool { return s>>n&1 != 0 }
func (s *nodeSet) add(n node)     { *s |= 1 << n }

// scan reads the whole document. It leaves r.err nil if that went well. If what comes
// before the root cannot be read, it looks for a header behind it all the same.
func (r *reader) scan() {
	if r.begin() {
		r.elements()
	}
	if err := r.err; err != nil && r.depth == 0 && !r.closed {
		if pos := tagIn(r.b); pos >= 0 {
			*r = reader{scanner: scanner{b: r.b, pos: pos}}
			r.path[0] = document
			r.elements()
			r.err = err
		}
	}
}

// tagIn finds the first that may be the start tag of an element, or -1.
func tagIn(b []byte) int {
	for i := range len(b) - 1 {
		if b[i] == '<' && class[b[i+1]]&isNameStart != 0 {
			return i
		}
	}
	return -1
}

// elements reads from the root on.
func (r *reader) elements() {
	for {
		switch r.next() {
		case evStart:
			if !r.enter() {
				return
			}
		case evText:
			switch n := r.path[r.depth]; {
			case n >= leaf:
				l := &r.leaves[n-leaf]
				l.text = join(l.text, r.text)
			case n != ignored && len(trimSpace(r.text)) > 0:
				r.note("text in ", n, "")
			}
		case evEnd:
			r.read.add(r.path[r.depth+1])
		default:
			return
		}
	}
}

// note remembers a flaw at the event, unless there was one before.
func (r *reader) note(before string, n node, after string) {
	if r.flaw == "" {
		r.flaw, r.flawOff = before+n.String()+after, r.off
	}
}

// enter finds the node of the element that has just begun.
func (r *reader) enter() bool {
	parent := r.path[r.depth-1]
	r.path[r.depth] = ignored
	if parent == ignored {
		return true
	}
	if parent >= leaf {
		r.fail(r.off, "element within "+parent.String())
		return false
	}
	n := r.child(parent)
	if n == ignored || r.err != nil {
		return r.err == nil
	}
	if r.seen.has(n) {
		r.fail(r.off, "second "+n.String())
		return false
	}
	r.seen.add(n)
	if n == signature {
		return true
	}
	r.path[r.depth] = n
	if n >= leaf {
		r.leaves[n-leaf].off = r.off
	}
	if r.extra > 0 {
		r.attributes(n)
	}
	return true
}

// child finds the node of the element that has just begun, and notes what is
// wrong with its place in parent.
func (r *reader) child(parent node) node {
	c, last := &contents[parent], r.places[parent]
	n, place := ignored, uint8(0)
	if r.ns.duis || string(r.ns.uri) == signatureNamespace {
		n, place = c.find(r.local, last)
		if (n == signature) == r.ns.duis {
			n, place = ignored, 0
		}
	}
	if n == ignored && (!c.open || !r.ns.duis) {
		r.note("unknown element in ", parent, "")
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
		r.note("", n, " out of order")
	default:
		r.places[parent] = place
	}
	return n
}

// attributes notes those that n has, but for the root's schemaVersion.
func (r *reader) attributes(n node) {
	if n != request && n != response {
		r.note("attribute of ", n, "")
	} else if r.extra == 1 && decimal(trimSpace(r.version)) {
		r.versioned = true
	}
}

// second notes a second element in a choice. In Body it is a fault of any message.
func (r *reader) second(parent node) {
	if parent == requestBody || parent == responseBody {
		r.fail(r.off, "second element in Body")
	}
	r.note("second element in ", parent, "")
}

// value returns the text of a leaf without outer white space. It is nil if the
// leaf is absent, or if a fault came before its end.
func (r *reader) value(n node) []byte {
	return trimSpace(r.raw(n))
}

// raw is value with the outer white space, which counts in an xs:string.
func (r *reader) raw(n node) []byte {
	if !r.read.has(n) {
		return nil
	}
	return r.leaves[n-leaf].text
}

// trimSpace returns b without the white space of XML around it.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && class[b[0]]&isSpace != 0 {
		b = b[1:]
	}
	for len(b) > 0 && class[b[len(b)-1]]&isSpace != 0 {
		b = b[:len(b)-1]
	}
	return b
}

// require fails, and says how, if ok does not say that n is there and valid.
func (r *reader) require(n node, ok bool) bool {
	switch {
	case ok:
	case r.read.has(n):
		r.fail(r.leaves[n-leaf].off, n.String()+" is malformed")
	default:
		r.fail(len(r.b), n.String()+" is missing")
	}
	return ok
}

// filled fails if nothing is in the choice n.
func (r *reader) filled(n node) bool {
	if r.places[n] == 0 {
		r.fail(len(r.b), "nothing in "+n.String())
		return false
	}
	return true
}

// optional is require for what may be absent.
func (r *reader) optional(n node, ok bool) bool {
	return !r.read.has(n) || r.require(n, ok)
}

// header fills in what every message may have, as far as it is valid.
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

// body fills in the rest, and fails where that must be valid and is not.
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
		}
	case r.seen.has(responseMessage) && m.ServiceReferenceVariant == "11.3":
		m.Payload = base64Binary(r.value(gbcsPayload))
	}
}

// valid fails if something was noted.
func (r *reader) valid() bool {
	if !r.versioned {
		r.fail(0, "no schemaVersion, or another attribute of the root")
		return false
	}
	if r.flaw != "" {
		r.fail(r.flawOff, r.flaw)
		return false
	}
	return true
}

func (r *reader) request(m *Message) {
	execution, _ := ParseTime(r.value(executionDateTime))
	payload := base64Binary(r.value(gbcsPayload))
	spc, activation := r.seen.has(signedPreCommand), r.seen.has(activateFirmware)
	if m.ServiceReferenceVariant == "11.3" {
		ok := r.valid() &&
			r.require(requestID, m.RequestID != (outage.RequestID{})) &&
			r.optional(firstInSequence, !r.read.has(firstInSequence) || boolean(r.value(firstInSequence))) &&
			r.optional(precedingID, !r.read.has(precedingID) || isRequestID(r.value(precedingID))) &&
			r.require(commandVariant, m.CommandVariant != 0) &&
			r.require(serviceReference, string(r.raw(serviceReference)) == "11.3") &&
			r.require(serviceReferenceVariant, string(r.raw(serviceReferenceVariant)) == "11.3") &&
			r.optional(executionDateTime, !execution.IsZero()) &&
			(!spc || r.require(gbcsPayload, payload != nil)) &&
			(!activation || r.require(firmwareHash, sha256Hex(r.value(firmwareHash)))) &&
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
