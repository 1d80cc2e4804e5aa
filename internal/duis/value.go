package duis

import (
	"bytes"
	"encoding/base64"
	"math"
	"strings"
	"unicode/utf8"

	"quell/internal/outage"
	"quell/internal/strictxml"
)

// parseUint32 reads an xs:unsignedInt: decimal digits, perhaps with leading zeros
// and a plus sign.
func parseUint32(b []byte) (uint32, bool) {
	if len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
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

// hexBinary returns an xs:hexBinary in upper case; "" if b is not one.
func hexBinary(b []byte) string {
	if !isHexBinary(b) {
		return ""
	}
	for _, c := range b {
		if c >= 'a' {
			return intern(bytes.ToUpper(b))
		}
	}
	return intern(b)
}

func isHexBinary(b []byte) bool {
	for _, c := range b {
		if !hexDigits[c] {
			return false
		}
	}
	return len(b)%2 == 0
}

var hexDigits = func() (t [256]bool) {
	for _, c := range "0123456789ABCDEFabcdef" {
		t[c] = true
	}
	return t
}()

// base64Binary decodes an xs:base64Binary, which may contain white space. It
// returns nil if b is empty or not valid.
func base64Binary(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if strictxml.ContainsSpace(b) {
		b = bytes.Map(func(r rune) rune {
			if strings.ContainsRune(" \t\r\n", r) {
				return -1
			}
			return r
		}, b) // XML's white space only: bytes.Fields has Unicode's
	}
	p := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Strict().Decode(p, b)
	if err != nil || n == 0 {
		return nil
	}
	return p[:n]
}

// maxCode is more than the length of any code or reference in the schema's
// enumerations, and of any alert code.
const maxCode = 16

// intern is string(b), but allocates nothing for the most common values. A text
// longer than maxCode is not a code, and becomes "".
func intern(b []byte) string {
	if len(b) > maxCode {
		return ""
	}
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

// isBoolean reports whether b is an xs:boolean.
func isBoolean(b []byte) bool {
	switch string(b) {
	case "true", "false", "1", "0":
		return true
	}
	return false
}

func isRequestID(b []byte) bool {
	_, err := outage.ParseRequestIDBytes(b)
	return err == nil
}

// isDecimal reports whether b is an xs:decimal.
func isDecimal(b []byte) bool {
	if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
		b = b[1:]
	}
	digits, points := 0, 0
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case c == '.':
			points++
		default:
			return false
		}
	}
	return digits > 0 && points <= 1
}

// isSHA256Hex reports whether b is an xs:hexBinary of 32 bytes.
func isSHA256Hex(b []byte) bool { return len(b) == 64 && isHexBinary(b) }

// isMPxN reports whether b, with its white space, has the length of the schema's
// ImportMPxN, 1 to 13 characters, and is not blank.
func isMPxN(b []byte) bool {
	return len(strictxml.TrimSpace(b)) > 0 && (len(b) <= 13 || utf8.RuneCount(b) <= 13)
}

// isResponseCode reports whether b is a value of the schema's ResponseCode.
func isResponseCode(b []byte) bool {
	return string(b) == "I0" || len(b) > 0 && !strictxml.ContainsSpace(b) && strings.Contains(responseCodes, " "+string(b)+" ")
}

// responseCodes has the values of ResponseCode in DUIS 5.4, each between blanks.
const responseCodes = "" +
	" I0 I99 E1 E2 E3 E4 E5 E11 E12 E13 E17 E19 E20 E21 E30 E31 E40 E41 E42 E43 E44 E45 E46 E47 E48 E49 E50 E51 E52" +
	" E53 E54 E55 E56 E57 E58 E59 E60 E61 E62 E63 E64 E65 E66 E67 E68 E69 E70 E71 E100 E1000 E1001 E1003 E1004 E1006" +
	" E1007 E1008 E1010 E1011 E010101 E010102 E010201 E030301 E030302 E040101 E041701 E050101 E050102 E050103" +
	" E050105 E050107 E050108 E050109 E050110 E050111 E050112 E050201 E050202 W050201 E050301 E050302 W050301" +
	" E060501 E060502 E060701 E060801 E060802 E060803 E061301 E061304 E061305 E061501 E061504 E061505 E061506" +
	" E061507 E061508 E061509 E061801 E061802 E061803 E062101 E062102 E062103 E062105 E062201 E062202 E062203" +
	" E062301 E062302 E062303 E062304 E062305 E062306 E062401 E062402 E062403 E062801 E062802 E062803 E080201" +
	" E080202 E080301 E080302 E080405 E080406 E080407 E080408 E080409 E080410 E080411 E080412 E080413 E080414" +
	" E080415 E080501 E080502 E080503 E080601 E080602 E080604 E080606 E080607 E080702 E080721 E080722 E080723" +
	" E080801 E080821 E080822 E080901 E080902 E080903 E081101 E081102 E081104 E081105 E081106 E081107 E081108" +
	" E081109 E081110 E081111 E081202 E081204 E081205 E081221 E081222 E081223 E081301 E081302 E081303 E081401" +
	" E081402 E081405 E081406 W081401 E110101 E110102 E110103 E110105 E110106 W110101 E110401 E110402 E110403" +
	" E110405 W110401 E120101 E120102 E120103 E120201 E120203 E120204 E120207 "
