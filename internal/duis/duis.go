// Package duis reads and writes the messages of the DCC User Interface
// Specification (DUIS) that quell has to understand: requests to activate
// firmware (SRV 11.3), Power Outage Alerts (AD1), and of all others the header.
// ReadInventory reads the answer to SRV 8.2.
//
// Read stands on a strict, bounded XML reader of the package's own. It is far
// stricter than encoding/xml, which accepts text behind the root, several
// roots and repeated attributes, and it allocates next to nothing. What it
// refuses is unreadable, and quell forwards what it cannot read.
//
// Element names and types are those of the DUIS XML schema, version 5.4.
package duis

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"quell/internal/outage"
)

// Namespace is the target namespace of the DUIS schema.
const Namespace = "http://www.dccinterface.co.uk/ServiceUserGateway"

// MaxSize is the length in bytes of the longest document that Read takes.
const MaxSize = 64 << 10

// ErrTooLarge is the error of Read for a document longer than MaxSize.
var ErrTooLarge error = &SyntaxError{Offset: MaxSize, Msg: "document longer than 65536 bytes"}

// SyntaxError says why a document is unreadable: it is not well-formed, it
// goes beyond a limit, or it lacks what its kind of message must say.
type SyntaxError struct {
	Offset int // in bytes from the start of the document
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("duis: %s at offset %d", e.Msg, e.Offset)
}

// Root is the root element of a document.
type Root uint8

const (
	RootOther    Root = iota // well-formed, but not a message of DUIS
	RootRequest              // sr:Request
	RootResponse             // sr:Response: answers and alerts
)

// Body is what a message carries, as far as quell has to tell it apart.
type Body uint8

const (
	BodyOther            Body = iota
	BodyActivateFirmware      // a request for the Pre-Command of an activation
	BodySignedPreCommand      // any Signed Pre-Command, not only that of an activation
	BodyPowerOutage           // DCC Alert AD1
)

// Message is what Read finds in a document. A field that the document does not
// have, or has in a form that is not valid, is zero.
//
// What a meter says of an 11.3 comes as a ResponseMessage of that
// ServiceReferenceVariant: its response as the GBCSPayload there, its alert on
// the execution as that of the FutureDatedDeviceAlertMessage within. A
// Pre-Command or a command for local delivery, which answer a request too, are
// the DCC's, and no Payload.
type Message struct {
	Root                    Root
	RequestID, ResponseID   outage.RequestID
	CommandVariant          int       // 1 to 9
	ServiceReferenceVariant string    // of a request's header, or of a ResponseMessage
	ResponseCode            string    // "I0", "E4", …
	AlertCode               string    // "AD1", "N12", … or, in upper case, that of a device's alert: "8F36", "8F66", …
	ResponseTime            time.Time // ResponseDateTime
	Body                    Body
	Execution               time.Time        // ExecutionDateTime of ActivateFirmware or SignedPreCommand
	Payload                 []byte           // GBCSPayload, decoded: of a SignedPreCommand, or what a meter says of an 11.3 (see below)
	Outage                  PowerOutage      // of BodyPowerOutage
	FailedRequest           outage.RequestID // CommandRequestID of the DCC Alert N12: the request that failed
}

// PowerOutage is what an AD1 says. It names the hub that lost its power, not
// the meter.
type PowerOutage struct {
	CHF       outage.DeviceID
	Start     time.Time
	MPxN      string // as written, without outer white space: 1 to 13 characters, valid or not
	Throttled outage.Throttled
}

// CancellationTime is the execution time by which an 11.3 asks to forget the
// future-dated activation that waits in the meter.
var CancellationTime = time.Date(3000, 12, 31, 0, 0, 0, 0, time.UTC)

// payloadCancellation is what a GBCS payload has in its place. It ends with the
// times that can be read at all, so all from it on are of that second.
var payloadCancellation = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Order returns what the XML of an 11.3 asks for. Signed Pre-Commands leave
// ExecutionDateTime out and say in their payload when to activate. The time by
// which a payload cancels does so in the XML as well: nobody can mean that
// second.
func (m *Message) Order() outage.Order {
	switch {
	case m.Execution.IsZero():
		return outage.Order{Kind: outage.OnDemand}
	case m.Execution.Equal(CancellationTime), !m.Execution.Before(payloadCancellation):
		return outage.Order{Kind: outage.Cancellation}
	}
	return outage.Order{Kind: outage.FutureDated, At: m.Execution}
}

// AlertID returns the identity of an alert, the same for every repeat of it:
// its ResponseID in canonical form or, where it has none, "content:" and the
// SHA-256 in hexadecimal of what it says. Neither the layout of the XML nor
// its signature counts.
func (m *Message) AlertID() string {
	if m.ResponseID != (outage.RequestID{}) {
		return m.ResponseID.String()
	}
	// U+0000 cannot occur in XML, so it keeps the fields apart.
	b := make([]byte, 0, 256)
	b = append(append(b, m.RequestID.String()...), 0)
	b = append(append(b, m.ResponseCode...), 0)
	b = append(appendTime(b, m.ResponseTime), 0)
	b = append(append(b, m.Outage.CHF.String()...), 0)
	b = append(appendTime(b, m.Outage.Start), 0)
	b = append(append(b, m.Outage.MPxN...), 0)
	for _, n := range []*uint32{m.Outage.Throttled.SequenceID, m.Outage.Throttled.Count} {
		if n != nil {
			b = strconv.AppendUint(b, uint64(*n), 10)
		}
		b = append(b, 0)
	}
	sum := sha256.Sum256(b)
	return "content:" + hex.EncodeToString(sum[:])
}
