package sim

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
)

// The parties of the messages.
const (
	supplier    outage.DeviceID = 0x90B3D51F30010000
	distributor outage.DeviceID = 0x90B3D51F30020000
	dsp         outage.DeviceID = 0x90B3D51F30000002
)

// imageHash names the firmware image that all activations speak of.
var imageHash = sha256.Sum256([]byte("firmware image"))

// requestID gives the id of a new request to a device.
func (t *Town) requestID(target outage.DeviceID) outage.RequestID {
	return outage.RequestID{Originator: supplier, Target: target, Counter: t.count()}
}

// alertID gives the ResponseID of a new message from the DSP or a device to
// the distributor.
func (t *Town) alertID(originator outage.DeviceID) outage.RequestID {
	return outage.RequestID{Originator: originator, Target: distributor, Counter: t.count()}
}

// activation makes an 11.3. The Signed Pre-Command says in its payload alone
// what to do, as suppliers' systems have it; its signature is none.
func activation(id outage.RequestID, form outage.Form, order outage.Order) []byte {
	if form == outage.ServiceRequest {
		return duis.AppendActivateFirmware(nil, id, order, imageHash)
	}
	command := gbcs.AppendCS06(nil, gbcs.CS06{Originator: id.Originator, Target: id.Target, Counter: id.Counter, ImageHash: imageHash, Order: order})
	payload := gbcs.AppendSigned(nil, command, sha512.Sum512(command))
	return duis.AppendSignedPreCommand(nil, id, 5, outage.Order{Kind: outage.OnDemand}, payload)
}

// powerOutage makes an AD1 of a home whose outage began at start.
func (t *Town) powerOutage(h *Home, at, start time.Time) []byte {
	return duis.AppendPowerOutage(nil, t.alertID(dsp), at, duis.PowerOutage{CHF: h.CHF, Start: start.Truncate(time.Millisecond), MPxN: h.MPAN})
}

// commandFailure makes a DCC Alert N12 or N13: a command was not delivered, or
// not answered.
func (t *Town) commandFailure(h *Home, at time.Time, code string) []byte {
	meter := h.Meters[0].ID
	return duis.AppendDCCAlert(nil, t.alertID(dsp), at, code, fmt.Sprintf(
		"<sr:CommandFailure><sr:CommandRequestID>%s</sr:CommandRequestID><sr:DeviceID>%s</sr:DeviceID></sr:CommandFailure>",
		outage.RequestID{Originator: supplier, Target: meter, Counter: t.count()}, meter))
}

// restoration makes the device's alert, of code 0x8F35 and the like, that an
// outage from start to end is over (GBCS use case ECS80).
func (t *Town) restoration(h *Home, at, start, end time.Time, code uint16) []byte {
	id := t.alertID(h.Meters[0].ID)
	content := []byte{0x0F}
	content = binary.BigEndian.AppendUint32(content, 0x20000000|uint32(id.Counter&0xFFFFFF))
	content = append(content, 0x00, 0x02, 0x04, 0x12)
	content = binary.BigEndian.AppendUint16(content, code)
	for _, t := range []time.Time{at, start, end} {
		content = appendCOSEMTime(content, t)
	}
	payload := appendHeader(nil, 3, id, 0x0067, content)
	payload = gbcs.AppendSigned(nil, payload, sha512.Sum512(payload))
	return duis.AppendDeviceAlert(nil, id, at, fmt.Sprintf("%04X", code), payload)
}

// activated makes the response with the device's alert 0x8F66 that a
// future-dated activation has taken place.
func (t *Town) activated(h *Home, at time.Time) []byte {
	id := outage.RequestID{Originator: h.Meters[0].ID, Target: supplier, Counter: t.count()}
	o := gbcs.Outcome{Meter: id.Originator, Originator: id.Target, Counter: id.Counter, Alert: gbcs.AlertSuccess, At: at, Executed: true, Version: "01020304"}
	payload := gbcs.AppendOutcome(nil, o, t.count())
	payload = gbcs.AppendSigned(nil, payload, sha512.Sum512(payload))
	alert := "<sr:FutureDatedDeviceAlertMessage><sr:FutureDatedAlertCode>8F66</sr:FutureDatedAlertCode><sr:GBCSPayload>" +
		base64.StdEncoding.EncodeToString(payload) +
		"</sr:GBCSPayload><sr:InstructionNumber>1</sr:InstructionNumber><sr:TotalCommandInstructions>1</sr:TotalCommandInstructions></sr:FutureDatedDeviceAlertMessage>"
	const end = "</sr:ResponseMessage>"
	answer := duis.AppendAnswer(nil, t.requestID(id.Originator), at, "I0")
	return bytes.Replace(answer, []byte(end), []byte(alert+end), 1)
}

// appendHeader appends a GBCS message up to its signature: cra is 1 for a
// command, 2 for a response, 3 for an alert.
func appendHeader(b []byte, cra byte, id outage.RequestID, code uint16, content []byte) []byte {
	b = append(b, 0xDF, 9, cra)
	b = binary.BigEndian.AppendUint64(b, id.Counter)
	b = append(b, 8)
	b = binary.BigEndian.AppendUint64(b, uint64(id.Originator))
	b = append(b, 8)
	b = binary.BigEndian.AppendUint64(b, uint64(id.Target))
	b = append(b, 0, 2)
	b = binary.BigEndian.AppendUint16(b, code)
	b = append(b, byte(len(content))) // always under 128
	return append(b, content...)
}

// appendCOSEMTime appends an OCTET STRING of twelve bytes: year, month, day,
// weekday not said, hour, minute, second, hundredths, deviation and status not said.
func appendCOSEMTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	b = binary.BigEndian.AppendUint16(append(b, 0x09, 12), uint16(t.Year()))
	return append(b, byte(t.Month()), byte(t.Day()), 0xFF, byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0, 0x80, 0x00, 0xFF)
}

// updateFirmware makes an SRV 11.1 whose image is of size bytes as base64.
func (t *Town) updateFirmware(h *Home, size int) []byte {
	image := make([]byte, size/4*3)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(image) // never fails
	body := make([]byte, 0, size+200)
	body = append(body, "<sr:UpdateFirmware><sr:FirmwareImage>"...)
	body = base64.StdEncoding.AppendEncode(body, image)
	body = fmt.Appendf(body, "</sr:FirmwareImage><sr:FirmwareVersion>01020304</sr:FirmwareVersion><sr:DeviceIDList>%s</sr:DeviceIDList></sr:UpdateFirmware>", h.Meters[0].ID)
	return duis.AppendRequest(nil, t.requestID(dsp), 8, "11.1", "11.1", string(body))
}
