// Package duis reads and writes the messages of the DCC User Interface
// Specification (DUIS) that quell has to understand: requests to activate
// firmware (SRV 11.3), Power Outage Alerts (AD1), and the header of all others.
// ReadInventory reads the answer to SRV 8.2.
//
// Package strictxml reads the XML. What it refuses is unreadable, and quell
// forwards what it cannot read.
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

// MaxSize is the length in bytes of the longest document that Read accepts.
const MaxSize = 64 << 10

// ErrTooLarge is what Read returns for a document longer than MaxSize.
var ErrTooLarge error = &SyntaxError{Offset: MaxSize, Msg: "document longer than 65536 bytes"}

// SyntaxError says why a document is unreadable: it is not well-formed, it
// exceeds a limit, or it is not valid for its kind of message.
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
	RootOther    Root = iota // well-formed, but not a DUIS message
	RootRequest              // sr:Request
	RootResponse             // sr:Response: answers and alerts
)

// Body is what a message carries, as far as quell needs to know.
type Body uint8

const (
	BodyOther            Body = iota
	BodyActivateFirmware      // a request for the Pre-Command of an activation
	BodySignedPreCommand      // any Signed Pre-Command, not only of an activation
	BodyPowerOutage           // DCC Alert AD1
)

// Message is what Read finds in a document. A field that is missing or not valid
// there is zero.
//
// A meter answers an 11.3 in a ResponseMessage with that ServiceReferenceVariant.
// Its response is the GBCSPayload there. Its alert on the execution is the
// GBCSPayload of the FutureDatedDeviceAlertMessage inside. A Pre-Command or a
// command for local delivery also answers a request, but comes from the DCC: it
// is not in Payload.
type Message struct {
	Root                    Root
	RequestID, ResponseID   outage.RequestID
	CommandVariant          int       // 1 to 9
	ServiceReferenceVariant string    // of a request's header, or of a ResponseMessage
	ResponseCode            string    // "I0", "E4", …
	AlertCode               string    // of a DCC alert: "AD1", "N12", …; or of a device alert, in upper case: "8F36", "8F66", …
	ResponseTime            time.Time // ResponseDateTime
	Body                    Body
	Execution               time.Time        // ExecutionDateTime of ActivateFirmware or SignedPreCommand
	Payload                 []byte           // GBCSPayload of an 11.3, decoded: of its SignedPreCommand, or of a meter's answer (see above)
	Outage                  PowerOutage      // of BodyPowerOutage
	FailedRequest           outage.RequestID // CommandRequestID of the DCC Alert N12: the request that failed
	Delivery                FirmwareDelivery // of the DCC Alert N60
	ImageHash               [32]byte         // FirmwareHash of ActivateFirmware
	FromDevice              bool             // a device of a home sent it: a device alert, or a ResponseMessage with a GBCSPayload
	// AlertPayload is where in the document the GBCSPayload of a restoration alert (8F35 to 8F3C)
	// is, in base64. End is 0 if it is not there, or not in one plain piece.
	AlertPayload struct{ Start, End int }
}

// IsRestoration reports whether a code in upper case is that of a device alert on supply that is
// restored: 8F35 and 8F36, or 8F37 to 8F3C for one phase. (GBCS use case ECS80.)
func IsRestoration(code string) bool {
	return len(code) == 4 && code[:2] == "8F" && code >= "8F35" && code <= "8F3C"
}

// PowerOutage is what an AD1 says. It names the hub that lost power, not the
// meter.
type PowerOutage struct {
	CHF       outage.DeviceID
	Start     time.Time
	MPxN      string // as written, without white space around it: 1 to 13 characters, valid or not
	Throttled outage.Throttled
}

// FirmwareDelivery is what an N60 says: whether the image of an update (SRV 11.1) has arrived at the hub
// of a device.
type FirmwareDelivery struct {
	Update outage.RequestID
	Target outage.DeviceID
	Status DeliveryStatus
}

// DeliveryStatus is CommsHubTransferStatus.
type DeliveryStatus uint8

const (
	_ DeliveryStatus = iota // not valid
	Arrived
	NotArrived
)

// CancellationTime is the execution time of an 11.3 that cancels the future-dated
// activation pending in the meter.
var CancellationTime = time.Date(3000, 12, 31, 0, 0, 0, 0, time.UTC)

// payloadCancellation has the same meaning in a GBCS payload. It is the last second
// that can be read, so every later time is in that second.
var payloadCancellation = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Order returns what the XML of an 11.3 asks for. A Signed Pre-Command may leave
// out ExecutionDateTime; then its payload says when to activate. The time that
// means cancellation in a payload means it in the XML too: no one can intend to
// activate in that second.
func (m *Message) Order() outage.Order {
	switch {
	case m.Execution.IsZero():
		return outage.Order{Kind: outage.OnDemand}
	case m.Execution.Equal(CancellationTime), !m.Execution.Before(payloadCancellation):
		return outage.Order{Kind: outage.Cancellation}
	}
	return outage.Order{Kind: outage.FutureDated, At: m.Execution}
}

// AlertID returns the identity of an alert, which is the same for every repeat of
// it: its ResponseID in canonical form or, if it has none, "content:" and the
// SHA-256 of its fields in hexadecimal. The layout of the XML and its signature do
// not matter.
func (m *Message) AlertID() string { return string(m.AppendAlertID(make([]byte, 0, MaxAlertID))) }

// MaxAlertID is the length in bytes of the longest AlertID.
const MaxAlertID = 72

// AppendAlertID appends the AlertID. It allocates nothing if b has room for MaxAlertID bytes.
func (m *Message) AppendAlertID(b []byte) []byte {
	if m.ResponseID != (outage.RequestID{}) {
		b, _ = m.ResponseID.AppendText(b)
		return b
	}
	// U+0000 cannot occur in XML, so it separates the fields.
	var space [256]byte
	c, _ := m.RequestID.AppendText(space[:0])
	c = append(append(append(c, 0), m.ResponseCode...), 0)
	c = append(appendTime(c, m.ResponseTime), 0)
	c, _ = m.Outage.CHF.AppendText(c)
	c = append(c, 0)
	c = append(appendTime(c, m.Outage.Start), 0)
	c = append(append(c, m.Outage.MPxN...), 0)
	for _, n := range []*uint32{m.Outage.Throttled.SequenceID, m.Outage.Throttled.Count} {
		if n != nil {
			c = strconv.AppendUint(c, uint64(*n), 10)
		}
		c = append(c, 0)
	}
	sum := sha256.Sum256(c)
	return hex.AppendEncode(append(b, "content:"...), sum[:])
}
