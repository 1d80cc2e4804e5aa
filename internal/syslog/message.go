package syslog

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"quell/internal/audit"
)

// The facility and the severities of messages (RFC 5424, section 6.2.1).
const (
	logAudit = 13
	warning  = 4
	notice   = 5
)

// Limits of the length of a message, in bytes. A receiver of UDP should take 2048 (RFC 5426,
// section 3.2), and one of TLS 8192 (RFC 5425, section 4.3.1).
const (
	maxDatagram = 2048
	maxMessage  = 8192
)

// shortest is the length of texts that always fit, however they are escaped.
const shortest = 16

// maxHostname and maxID are the limits of RFC 5424, section 6.
const (
	maxHostname = 255
	maxID       = 32
)

// message returns a record as one message. Its text is the record's JSON in ASCII, with what is
// not as \u escapes. So it has no control characters, and needs no byte order mark, which comes
// before UTF-8 (RFC 5424, section 6.4). If the message would be longer than limit, texts are cut,
// and "cut" says so.
func message(r audit.Record, hostname string, process, limit int) []byte {
	severity := notice
	if r.Outcome != audit.Done {
		severity = warning
	}
	header := "<" + strconv.Itoa(logAudit*8+severity) + ">1 " + r.At.UTC().Format("2006-01-02T15:04:05.000000Z07:00") + " " +
		printASCII(hostname, maxHostname) + " quell " + strconv.Itoa(process) + " " + printASCII(r.What, maxID) + " - "
	for longest := limit; ; longest /= 2 {
		if text := body(r, longest); len(header)+len(text) <= limit || longest < shortest {
			return append([]byte(header), text...)
		}
	}
}

// body returns the JSON of a record in ASCII, with texts of at most longest bytes.
func body(r audit.Record, longest int) string {
	cut := false
	for _, t := range []*string{&r.Who, &r.Role, &r.From, &r.What, &r.Object, (*string)(&r.Outcome), &r.Why, &r.Detail} {
		if len(*t) > longest {
			*t, cut = strings.ToValidUTF8((*t)[:longest], ""), true
		}
	}
	b, err := json.Marshal(struct {
		audit.Record
		Cut bool `json:"cut,omitempty"`
	}{r, cut})
	if err != nil { // a time that JSON cannot say
		r.At = time.Time{}
		return body(r, longest)
	}
	return ascii(string(b))
}

// ascii returns JSON with \u escapes in place of what is not ASCII. That is only in its texts.
func ascii(text string) string {
	var b strings.Builder
	escape := func(unit rune) {
		const hex = "0123456789abcdef"
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(hex[unit>>shift&0xf])
		}
	}
	for _, r := range text {
		switch hi, lo := utf16.EncodeRune(r); {
		case r < 0x7f:
			b.WriteRune(r)
		case hi != utf8.RuneError:
			escape(hi)
			escape(lo)
		default:
			escape(r)
		}
	}
	return b.String()
}

// printASCII returns a text for a field of the header, which has no blanks; "-" if there is none.
func printASCII(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	return text[:min(len(text), limit)]
}
