package duis

import (
	"bytes"
	"encoding/base64"
	"math"

	"quell/internal/outage"
)

// Read reads one DUIS document: a whole XML document in UTF-8, in any layout.
//
// A document whose root is neither of DUIS's two is no error, but RootOther.
// An element counts only in the DUIS namespace and at its place in the schema.
// Of those that Message has, none may occur twice, nor have elements within a
// leaf, and Body has one element. All else is ignored, but must be well-formed.
//
// Values are strict where a decision hangs on them. A Request of
// ServiceReferenceVariant 11.3 must have a valid RequestID and CommandVariant,
// a valid ExecutionDateTime if any, and a GBCSPayload if it is a Signed
// Pre-Command. A DCC Alert AD1 must have a PowerOutageEvent with a valid
// CommsHubDeviceID and StartDateTime and any MPxN, and what it has of
// RequestID, ResponseID and the throttling numbers must be valid. In all other
// messages, and elsewhere in these, a value that is not valid is left zero.
//
// The error is a *SyntaxError, ErrTooLarge among them. The Message then holds
// what the header and the alert code said up to the fault, for an audit trail;
// nothing must be decided on it. Read keeps nothing of b.
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
	seen   nodeSet            // nodes whose start has been read
	read   nodeSet            // nodes whose end has been read
	chosen bool               // Body has had its one element
	leaves [nodes - leaf]struct {
		text []byte
		off  int // of the element
	}
}

type nodeSet uint64

func (s nodeSet) has(n node) bool { return s>>n&1 != 0 }
func (s *nodeSet) add(n node)     { *s |= 1 << n }

// scan reads the whole document. It leaves r.err nil if that went well.
func (r *reader) scan() {
	if !r.begin() {
		return
	}
	for {
		switch r.next() {
		case evStart:
			if !r.enter() {
				return
			}
		case evText:
			if n := r.path[r.depth]; n >= leaf {
				l := &r.leaves[n-leaf]
				l.text = join(l.text, r.text)
			}
		case evEnd:
			r.read.add(r.path[r.depth+1])
		default:
			return
		}
	}
}

// enter finds the node of the element that has just begun.
func (r *reader) enter() bool {
	parent, n := r.path[r.depth-1], ignored
	switch {
	case parent >= leaf:
		r.fail(r.off, "element within "+parent.String())
		return false
	case parent == requestBody || parent == responseBody:
		if r.chosen {
			r.fail(r.off, "second element in Body")
			return false
		}
		r.chosen = true
	}
	if r.ns.duis {
		n = parent.child(r.local)
	}
	r.path[r.depth] = n
	if n == ignored {
		return true
	}
	if r.seen.has(n) {
		r.fail(r.off, "second "+n.String())
		return false
	}
	r.seen.add(n)
	if n >= leaf {
		r.leaves[n-leaf].off = r.off
	}
	return true
}

// value returns the text of a leaf without outer white space. It is nil if the
// leaf is absent, or if a fault came before its end.
func (r *reader) value(n node) []byte {
	if !r.read.has(n) {
		return nil
	}
	return trimSpace(r.leaves[n-leaf].text)
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
	if n, ok := parseUint32(r.value(commandVariant)); ok && n <= 8 {
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

func (r *reader) request(m *Message) {
	m.Execution, _ = ParseTime(r.value(executionDateTime))
	m.Payload = base64Binary(r.value(gbcsPayload))
	spc := r.seen.has(signedPreCommand)
	if m.ServiceReferenceVariant == "11.3" {
		ok := r.require(requestID, m.RequestID != (outage.RequestID{})) &&
			r.require(commandVariant, m.CommandVariant != 0) &&
			r.optional(executionDateTime, !m.Execution.IsZero()) &&
			(!spc || r.require(gbcsPayload, m.Payload != nil))
		if !ok {
			return
		}
	}
	switch {
	case spc:
		m.Body = BodySignedPreCommand
	case r.seen.has(activateFirmware):
		m.Body = BodyActivateFirmware
	}
}

func (r *reader) powerOutage(m *Message) {
	o := &m.Outage
	o.CHF, _ = outage.ParseDeviceIDBytes(r.value(commsHubDeviceID))
	o.Start, _ = ParseTime(r.value(startDateTime))
	o.MPxN = string(r.value(mpxn))
	sequence, sequenceOK := parseUint32(r.value(throttledSequenceID))
	count, countOK := parseUint32(r.value(throttledCount))
	ok := r.optional(requestID, m.RequestID != (outage.RequestID{})) &&
		r.optional(responseID, m.ResponseID != (outage.RequestID{})) &&
		r.optional(throttledSequenceID, sequenceOK) &&
		r.optional(throttledCount, countOK) &&
		r.require(commsHubDeviceID, o.CHF != 0) &&
		r.require(startDateTime, !o.Start.IsZero()) &&
		r.require(mpxn, r.read.has(mpxn))
	if !ok {
		return
	}
	if sequenceOK {
		o.Throttled.SequenceID = new(sequence)
	}
	if countOK {
		o.Throttled.Count = new(count)
	}
	m.Body = BodyPowerOutage
}

// parseUint32 reads an xs:unsignedInt: decimal digits, leading zeros allowed.
func parseUint32(b []byte) (uint32, bool) {
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + uint64(c-'0'); n > math.MaxUint32 {
			return 0, false
		}
	}
	return uint32(n), len(b) > 0
}

// hexBinary returns an xs:hexBinary in upper case, and "" for what is none.
func hexBinary(b []byte) string {
	lower := false
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9', 'A' <= c && c <= 'F':
		case 'a' <= c && c <= 'f':
			lower = true
		default:
			return ""
		}
	}
	if len(b)%2 != 0 {
		return ""
	}
	if lower {
		b = bytes.ToUpper(b)
	}
	return intern(b)
}

// base64Binary decodes an xs:base64Binary, within which white space may stand.
// It returns nil for what is none, and for none at all.
func base64Binary(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if containsSpace(b) {
		b = bytes.Join(bytes.Fields(b), nil)
	}
	p := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Strict().Decode(p, b)
	if err != nil || n == 0 {
		return nil
	}
	return p[:n]
}

// intern is string, without allocating for what most messages say.
func intern(b []byte) string {
	switch string(b) {
	case "":
		return ""
	case "11.3":
		return "11.3"
	case "11.2":
		return "11.2"
	case "I0":
		return "I0"
	case "I99":
		return "I99"
	case "AD1":
		return "AD1"
	case "8F35":
		return "8F35"
	case "8F36":
		return "8F36"
	case "8F66":
		return "8F66"
	}
	return string(b)
}
