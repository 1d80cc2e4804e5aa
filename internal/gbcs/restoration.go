package gbcs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"quell/internal/outage"
)

// ErrNotRestoration says that a message is not an alert of ECS80: it is a command or a response, or
// has another message code.
var ErrNotRestoration = errors.New("gbcs: not a restoration alert of ECS80")

// A Restoration is a meter's alert that its supply is back (use case ECS80):
//
//	DF                            general-signing
//	09 03 counter(8)              transaction id: CRA flag 03 (alert), the meter's counter
//	08 meter(8)
//	08 recipient(8)
//	00                            no date-time
//	02 0067                       the message code
//	35                            length of the content
//	0F invoke-id(4) 00            data-notification, without a date-time
//	02 04                         structure of four
//	  12 8F36                       long-unsigned, the alert's code
//	  09 0C date-time(12)           OCTET STRING, of the alert
//	  09 0C date-time(12)           start of the outage
//	  09 0C date-time(12)           end of the outage
//	40 signature(64)
//
// A date-time is year(2) month day weekday hour minute second hundredths deviation(2) status, as
// COSEM has it: the deviation is minutes from local time to UTC, or 8000 if it is not given, which
// is UTC here.
type Restoration struct {
	Meter      outage.DeviceID
	Code       uint16    // 8F35 to 8F3C
	Start, End time.Time // of the outage, by the meter's clock, in UTC
}

const (
	restorationCode  = 0x0067
	tagNotification  = 0x0F
	tagStructure     = 0x02
	tagLongUnsigned  = 0x12
	tagOctetString   = 0x09
	dateTimeSize     = 12
	noDeviation      = -0x8000
	firstRestoration = 0x8F35
	lastRestoration  = 0x8F3C
)

// ReadRestoration reads a restoration alert. The signature must be there; it is not verified. The
// error wraps ErrNotRestoration or ErrMalformed. It keeps no reference to payload, and allocates
// nothing if there is no error.
func ReadRestoration(payload []byte) (Restoration, error) {
	d := decoder{b: payload}
	h := d.header(ErrNotRestoration, header{cra: craAlert, code: restorationCode})
	r := Restoration{Meter: h.originator}
	content := decoder{b: d.take("content", d.length()), err: d.err}
	content.constant("data-notification", tagNotification)
	content.take("invoke id", 4)
	content.constant("date-time of the notification", 0)
	content.constant("structure", tagStructure, 4)
	content.constant("alert code", tagLongUnsigned)
	if b := content.take("alert code", 2); b != nil {
		r.Code = binary.BigEndian.Uint16(b)
	}
	if content.err == nil && (r.Code < firstRestoration || r.Code > lastRestoration) {
		content.malformed(fmt.Sprintf("alert code %04X", r.Code))
	}
	content.constant("time of the alert", tagOctetString, dateTimeSize)
	content.take("time of the alert", dateTimeSize) // it may leave parts out, and nobody needs it
	r.Start = content.dateTime("start of the outage")
	r.End = content.dateTime("end of the outage")
	if content.err == nil && r.End.Before(r.Start) {
		content.malformed("the outage ends before it starts")
	}
	content.end("content")
	if d.err = content.err; d.err == nil {
		d.constant("signature's length", signatureSize)
		d.take("signature", signatureSize)
		d.end("message")
	}
	if d.err != nil {
		return Restoration{}, d.err
	}
	return r, nil
}

// dateTime takes a COSEM date-time, which must name a second.
func (d *decoder) dateTime(what string) time.Time {
	d.constant(what, tagOctetString, dateTimeSize)
	b := d.take(what, dateTimeSize)
	if b == nil {
		return time.Time{}
	}
	year, month, day := int(binary.BigEndian.Uint16(b)), time.Month(b[2]), int(b[3])
	hour, minute, second, hundredths := int(b[5]), int(b[6]), int(b[7]), int(b[8])
	if hundredths == 0xFF { // not given
		hundredths = 0
	}
	deviation := int(int16(binary.BigEndian.Uint16(b[9:])))
	if deviation == noDeviation {
		deviation = 0
	}
	t := time.Date(year, month, day, hour, minute, second, hundredths*int(10*time.Millisecond), time.UTC)
	// Date makes a time of any numbers; only of valid ones it is the same.
	if year < 1 || year > 9999 || hundredths > 99 || deviation < -720 || deviation > 840 || t.Year() != year || t.Month() != month || t.Day() != day ||
		t.Hour() != hour || t.Minute() != minute || t.Second() != second {
		d.malformed(what)
		return time.Time{}
	}
	return t.Add(time.Duration(deviation) * time.Minute)
}

// AppendRestoration appends the message for r without its signature, which AppendSigned adds. own
// is the meter's counter. Times are cut to hundredths of a second.
func AppendRestoration(b []byte, r Restoration, recipient outage.DeviceID, own uint64) []byte {
	content := append(make([]byte, 0, 53), tagNotification)
	content = binary.BigEndian.AppendUint32(content, 0x20<<24|uint32(own)&0xFFFFFF)
	content = append(content, 0, tagStructure, 4, tagLongUnsigned, byte(r.Code>>8), byte(r.Code))
	for _, t := range []time.Time{r.End, r.Start, r.End} {
		t = t.UTC()
		content = append(content, tagOctetString, dateTimeSize)
		content = binary.BigEndian.AppendUint16(content, uint16(t.Year()))
		content = append(content, byte(t.Month()), byte(t.Day()), 0xFF, byte(t.Hour()), byte(t.Minute()), byte(t.Second()), byte(t.Nanosecond()/int(10*time.Millisecond)), 0x80, 0, 0xFF)
	}
	b = appendHeader(b, header{cra: craAlert, counter: own, originator: r.Meter, target: recipient, code: restorationCode})
	return append(append(b, byte(len(content))), content...)
}

// IsAlert reports whether a message begins as an alert of GBCS does.
func IsAlert(payload []byte) bool {
	return len(payload) > 2 && payload[0] == tagSigned && payload[1] == 9 && payload[2] == craAlert
}
