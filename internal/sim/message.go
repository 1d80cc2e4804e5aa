package sim

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
)

// The senders and receivers of the messages.
const (
	supplier      outage.DeviceID = 0x90B3D51F30010000
	otherSupplier outage.DeviceID = 0x90B3D51F30010001
	distributor   outage.DeviceID = 0x90B3D51F30020000
	dsp           outage.DeviceID = 0x90B3D51F30000002
)

// imageHash is the hash of the firmware image of all activations.
var imageHash = sha256.Sum256([]byte("firmware image"))

// requestID returns the id of a new request of the home's supplier for its meter.
func (t *Town) requestID(h *home) outage.RequestID { return t.requestBy(supplier, h) }

// requestBy returns the id of a new request for the home's meter.
func (t *Town) requestBy(originator outage.DeviceID, h *home) outage.RequestID {
	return outage.RequestID{Originator: originator, Target: h.meter.ID, Counter: t.count()}
}

// alertID returns the ResponseID of a new message to the distributor.
func (t *Town) alertID(originator outage.DeviceID) outage.RequestID {
	return outage.RequestID{Originator: originator, Target: distributor, Counter: t.count()}
}

// serviceRequest returns an 11.3 as a supplier sends it first.
func (t *Town) serviceRequest(h *home, order outage.Order) []byte {
	return t.sign(supplier, duis.AppendActivateFirmware(nil, t.requestID(h), order, imageHash))
}

// signedPreCommand returns an 11.3 that a meter executes. Only its payload says what to do,
// as in messages of suppliers' systems.
func (t *Town) signedPreCommand(h *home, order outage.Order) []byte {
	return t.sign(supplier, preCommand(t.requestID(h), order))
}

// preCommand returns an 11.3 without its signature. The signature of its payload is not a real
// one: only the meter verifies that.
func preCommand(id outage.RequestID, order outage.Order) []byte {
	command := gbcs.AppendCS06(nil, gbcs.CS06{Originator: id.Originator, Target: id.Target, Counter: id.Counter, ImageHash: imageHash, Order: order})
	payload := gbcs.AppendSigned(nil, command, sha512.Sum512(command))
	return duis.AppendSignedPreCommand(nil, id, 5, outage.Order{Kind: outage.OnDemand}, payload)
}

// powerOutage returns an AD1 of the home. The outage began at start.
func (t *Town) powerOutage(h *home, at, start time.Time) []byte {
	return t.sign(dsp, duis.AppendPowerOutage(nil, t.alertID(dsp), at, duis.PowerOutage{CHF: h.meter.CHF, Start: start.Truncate(time.Millisecond), MPxN: h.meter.MPxN}))
}

// restoration returns the meter's alert 8F36, which says that the power is back. The payload
// is not a real one: nobody reads it here.
func (t *Town) restoration(h *home, at time.Time) []byte {
	return duis.AppendDeviceAlert(nil, t.alertID(h.meter.ID), at, "8F36", []byte("no GBCS"))
}

// commandFailure returns the DCC alert N12, which says that a command was not delivered.
func (t *Town) commandFailure(h *home, at time.Time) []byte {
	return duis.AppendDCCAlert(nil, t.alertID(dsp), at, "N12", fmt.Sprintf(
		"<sr:CommandFailure><sr:CommandRequestID>%s</sr:CommandRequestID><sr:DeviceID>%s</sr:DeviceID></sr:CommandFailure>", t.requestID(h), h.meter.ID))
}

// response returns the response to a request for the home's meter.
func (t *Town) response(h *home, at time.Time) []byte {
	return duis.AppendAnswer(nil, t.requestID(h), at, "I0")
}

// activated returns the response with the meter's alert 8F66, which says that a future-dated
// activation has run.
func (t *Town) activated(h *home, at time.Time) []byte {
	o := gbcs.Outcome{Meter: h.meter.ID, Originator: supplier, Counter: t.count(), Alert: gbcs.AlertSuccess, At: at, Executed: true, Version: "01020304"}
	payload := gbcs.AppendOutcome(nil, o, t.count())
	payload = gbcs.AppendSigned(nil, payload, sha512.Sum512(payload))
	alert := "<sr:FutureDatedDeviceAlertMessage><sr:FutureDatedAlertCode>8F66</sr:FutureDatedAlertCode><sr:GBCSPayload>" +
		base64.StdEncoding.EncodeToString(payload) +
		"</sr:GBCSPayload><sr:InstructionNumber>1</sr:InstructionNumber><sr:TotalCommandInstructions>1</sr:TotalCommandInstructions></sr:FutureDatedDeviceAlertMessage>"
	const end = "</sr:ResponseMessage>"
	return bytes.Replace(t.response(h, at), []byte(end), []byte(alert+end), 1)
}

// firmwareImage returns an SRV 11.1 with an image of size bytes in base64.
func (t *Town) firmwareImage(h *home, size int) []byte {
	image := make([]byte, size/4*3)
	rand.NewChaCha8([32]byte{1}).Read(image) // never fails
	body := append(make([]byte, 0, size+300), "<sr:UpdateFirmware><sr:FirmwareImage>"...)
	body = base64.StdEncoding.AppendEncode(body, image)
	body = fmt.Appendf(body, "</sr:FirmwareImage><sr:FirmwareVersion>01020304</sr:FirmwareVersion><sr:DeviceIDList>%s</sr:DeviceIDList></sr:UpdateFirmware>", h.meter.ID)
	id := outage.RequestID{Originator: supplier, Target: dsp, Counter: t.count()}
	return duis.AppendRequest(nil, id, 8, "11.1", "11.1", string(body))
}
