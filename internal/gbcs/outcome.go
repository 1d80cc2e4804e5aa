package gbcs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"quell/internal/outage"
)

// ErrNotOutcome says that a message is not a response or alert of CS06: it is a
// command, or has another message code.
var ErrNotOutcome = errors.New("gbcs: not a response or alert of CS06")

// An Outcome is a meter's answer to an Activate Firmware command. The meter answers
// each command with a response. When it has executed a future-dated one, it also
// sends an alert:
//
//	DF                            general-signing
//	09 02 counter(8)              transaction id: CRA flag 02 (response), the command's counter;
//	                              CRA flag 03 (alert), the meter's own counter
//	08 meter(8)
//	08 originator(8)              of the command
//	len date-time                 any in a response; none in an alert: 00
//	02 0012                       the message code: 0012 in a response, 00CA in an alert
//	len                           length of the content, which is in a response
//	05 00                           NULL: a future-dated command or a cancellation is accepted
//	30 len                          or SEQUENCE: the command was executed
//	  02 01 code                      INTEGER: 0 success, 1 no image, 2 other hash, 3 activation failed
//	  04 len version                  OCTET STRING
//	                              and in an alert
//	30 len                          SEQUENCE
//	  02 03 008F66                    INTEGER, the alert's code: 8F66 success, 8F67 failure
//	  18 0F YYYYMMDDhhmmssZ           GeneralizedTime of the execution
//	  02 len counter                  INTEGER, the command's
//	  30 len                          SEQUENCE as in a response
//	40 signature(64)
type Outcome struct {
	Meter      outage.DeviceID
	Originator outage.DeviceID // of the command
	Counter    uint64          // of the command: Originator, Meter and Counter name it
	Alert      uint16          // AlertSuccess or AlertFailure; 0 in a response
	At         time.Time       // of the execution, by the meter's clock, in UTC; zero in a response
	Executed   bool            // false: a future-dated command or a cancellation is accepted, and the fields below are zero
	Code       Code
	Version    string // of the firmware that the meter now runs, in upper-case hexadecimal
}

// Codes of the alert on the execution of a future-dated command.
const (
	AlertSuccess = 0x8F66
	AlertFailure = 0x8F67
)

// Code says how an activation went.
type Code uint8

// GBCS defines these codes. A higher code is read too, and counts as a failure.
const (
	Success Code = iota
	NoImage
	OtherHash
	ActivationFailed
)

// Failed reports whether the meter says that it did not activate the firmware. An
// alert that says both success and failure is a failure: to close a window is safe.
func (o *Outcome) Failed() bool {
	return o.Alert == AlertFailure || o.Executed && o.Code != Success
}

// ReadOutcome reads a response or an alert of CS06. The signature must be there; it
// is not verified. The error wraps ErrNotOutcome or ErrMalformed.
func ReadOutcome(payload []byte) (Outcome, error) {
	d := decoder{b: payload}
	h := d.header(ErrNotOutcome, header{cra: craResponse, code: messageCode}, header{cra: craAlert, code: alertCode})
	o := Outcome{Meter: h.originator, Originator: h.target, Counter: h.counter}
	content := decoder{b: d.take("content", d.length()), err: d.err}
	if h.cra == craAlert {
		content.alert(&o)
	} else {
		content.response(&o)
	}
	content.end("content")
	if d.err = content.err; d.err == nil {
		d.constant("signature's length", signatureSize)
		d.take("signature", signatureSize)
		d.end("message")
	}
	if d.err != nil {
		return Outcome{}, d.err
	}
	return o, nil
}

// response takes the content of a response.
func (d *decoder) response(o *Outcome) {
	if len(d.b) > 0 && d.b[0] == tagNull {
		d.constant("NULL", tagNull, 0)
		return
	}
	d.outcome(o)
}

// alert takes the content of an alert.
func (d *decoder) alert(o *Outcome) {
	d.sequence()
	d.constant("alert code", tagInteger, 3, 0)
	if b := d.take("alert code", 2); b != nil {
		o.Alert = uint16(b[0])<<8 | uint16(b[1])
	}
	if o.Alert != AlertSuccess && o.Alert != AlertFailure {
		d.malformed(fmt.Sprintf("alert code %04X", o.Alert))
	}
	if o.At = d.time("execution time"); o.At.IsZero() {
		d.malformed("execution time")
	}
	o.Counter = d.counter("originator counter")
	d.outcome(o)
}

// outcome takes the SEQUENCE of code and version, the last part of a content.
func (d *decoder) outcome(o *Outcome) {
	d.sequence()
	d.constant("outcome", tagInteger, 1)
	if code := d.take("outcome", 1); code != nil && code[0] < 0x80 {
		o.Code = Code(code[0])
	} else {
		d.malformed("outcome")
	}
	d.constant("firmware version", tagByteString)
	o.Version = strings.ToUpper(hex.EncodeToString(d.take("firmware version", d.length())))
	o.Executed = true
}

// AppendOutcome appends the message for o without its signature, which AppendSigned
// adds. own is the meter's counter, for the header of an alert. A response gets no
// date-time. Version must be hexadecimal, of at most 90 bytes. At has the same limits
// as the execution time of AppendCS06.
func AppendOutcome(b []byte, o Outcome, own uint64) []byte {
	h := header{cra: craResponse, counter: o.Counter, originator: o.Meter, target: o.Originator, code: messageCode}
	content := []byte{tagNull, 0}
	if o.Executed {
		version, _ := hex.DecodeString(o.Version)
		content = append([]byte{tagInteger, 1, byte(o.Code), tagByteString, byte(len(version))}, version...)
		content = append([]byte{tagSequence, byte(len(content))}, content...)
	}
	if o.Alert != 0 {
		h.cra, h.counter, h.code = craAlert, own, alertCode
		fields := []byte{tagInteger, 3, 0, byte(o.Alert >> 8), byte(o.Alert), tagGeneralizedTime, byte(len(timeLayout))}
		fields = o.At.UTC().AppendFormat(fields, timeLayout)
		fields = append(appendCounter(fields, o.Counter), content...)
		content = append([]byte{tagSequence, byte(len(fields))}, fields...)
	}
	b = append(appendHeader(b, h), byte(len(content)))
	return append(b, content...)
}
