package recording

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"quell/internal/outage"
)

// Kind says what a line is about.
type Kind string

const (
	Settings   Kind = "settings"   // what is in force from here on
	Southbound Kind = "southbound" // an 11.3
	Answer     Kind = "answer"     // the next hop's answer to an 11.3
	Northbound Kind = "northbound"
	Heard      Kind = "heard" // a device sent another message
)

// A Line is one line of a recording. Which fields are set depends on its kind.
type Line struct {
	Kind Kind
	At   time.Time // of receipt, in UTC, to the microsecond

	// Settings.
	Run   string // of the process that recorded, at random
	Rules []byte // JSON, as package motorway has it

	// Southbound, Answer: the number of the 11.3 in its run, counted from 1.
	No uint64

	// Southbound, Northbound. The document is empty if it could not be read, and might have
	// had an MPxN.
	Document []byte
	Rest     bool // the document is longer than what is here
	Outcome  outage.Outcome
	Reason   outage.Reason

	// Southbound: what the inventory said of the meter. Its ID is 0 if it was not asked, or does
	// not know the meter. MPxN is empty. Heard: CHF alone, the hub of a device that was waited for.
	Meter  outage.Device
	Listed bool

	// Southbound: what was found out about the signature.
	Signature Signature

	// Answer.
	State outage.State // what it means for the activation
	Code  string       // ResponseCode; "" if there is none

	// Heard.
	Device outage.DeviceID

	mpxn string // Northbound: the MPxN in the document that must be replaced; "" if none
}

// Signature is what was found out about the signature of a message.
type Signature struct {
	Signer outage.DeviceID // 0: it was not signed, or signatures were not looked at
	Reason outage.Reason   // why the message cannot be believed; "" if it can
	Forged bool            // that is proven
}

// Append appends the line as JSON, with a newline. Fields that are zero are left out. The field
// mpxn comes first, and is in no file.
func (l *Line) Append(b []byte) []byte {
	b = append(b, '{')
	if l.mpxn != "" {
		b = append(appendString(append(b, mpxnField...), l.mpxn), ',')
	}
	b = append(append(append(b, `"kind":"`...), l.Kind...), `","at":`...)
	b = strconv.AppendInt(b, l.At.UnixMicro(), 10)
	text := func(name, value string) {
		if value != "" {
			b = appendString(appendName(b, name), value)
		}
	}
	flag := func(name string, is bool) {
		if is {
			b = append(appendName(b, name), "true"...)
		}
	}
	id := func(name string, id outage.DeviceID) {
		if id != 0 {
			b, _ = id.AppendText(append(appendName(b, name), '"'))
			b = append(b, '"')
		}
	}
	number := func(name string, n uint64) {
		if n != 0 {
			b = strconv.AppendUint(appendName(b, name), n, 10)
		}
	}
	text("run", l.Run)
	if len(l.Rules) > 0 {
		b = append(appendName(b, "rules"), l.Rules...)
	}
	number("no", l.No)
	text("outcome", string(l.Outcome))
	text("reason", string(l.Reason))
	id("meter", l.Meter.ID)
	text("type", l.Meter.Type)
	text("smets", l.Meter.SMETSVersion)
	text("manufacturer", l.Meter.Manufacturer)
	text("model", l.Meter.Model)
	id("hub", l.Meter.CHF)
	id("supplier", l.Meter.Supplier)
	number("area", uint64(l.Meter.Area))
	number("sector", uint64(l.Meter.Sector))
	flag("listed", l.Listed)
	id("signer", l.Signature.Signer)
	text("signature", string(l.Signature.Reason))
	flag("forged", l.Signature.Forged)
	text("state", string(l.State))
	text("code", l.Code)
	id("device", l.Device)
	flag("rest", l.Rest)
	if len(l.Document) > 0 {
		if utf8.Valid(l.Document) {
			b = appendString(appendName(b, "document"), l.Document)
		} else {
			b = append(appendName(b, "base64"), '"')
			b = append(base64.StdEncoding.AppendEncode(b, l.Document), '"')
		}
	}
	return append(b, "}\n"...)
}

// mpxnField is how a line begins whose MPxN must be replaced.
const mpxnField = `"mpxn":`

func appendName(b []byte, name string) []byte {
	return append(append(append(b, `,"`...), name...), `":`...)
}

// appendString appends a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString[T string | []byte](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			continue
		}
		if c >= utf8.RuneSelf {
			if r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))])); r != utf8.RuneError || size > 1 {
				i += size - 1
				continue
			}
		}
		b = append(b, s[from:i]...)
		switch {
		case c >= utf8.RuneSelf:
			b = append(b, `\ufffd`...)
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		from = i + 1
	}
	return append(append(b, s[from:]...), '"')
}
