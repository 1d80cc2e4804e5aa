package duis

import (
	"bytes"
	"encoding/base64"
	"fmt"
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
	if len(b) > maxCode {
		return ""
	}
	var upper [maxCode]byte
	for i, c := range b {
		if c >= 'a' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	return intern(upper[:len(b)])
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

// intern is string(b), but allocates nothing for the values that occur. A text longer
// than maxCode is not a code, and becomes "".
func intern(b []byte) string {
	switch string(b) { // those of an AD1, and of an 11.3
	case "":
		return ""
	case "I0":
		return "I0"
	case "AD1":
		return "AD1"
	case "11.3":
		return "11.3"
	}
	return otherText(b)
}

func otherText(b []byte) string {
	if len(b) > maxCode {
		return ""
	}
	if text, ok := texts[string(b)]; ok {
		return text
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

// texts has the values that intern knows, each under itself.
var texts = func() map[string]string {
	known := strings.Fields(responseCodes + alertCodes + serviceReferenceVariants)
	for _, b := range []string{"81", "8F"} { // alert codes of devices
		for n := range 256 {
			known = append(known, fmt.Sprintf("%s%02X", b, n))
		}
	}
	m := make(map[string]string, len(known))
	for _, text := range known {
		m[text] = text
	}
	return m
}()

// serviceReferenceVariants has the values of ServiceReferenceVariant in DUIS 5.4.
const serviceReferenceVariants = "" +
	" 1.1.1 1.1.2 1.2.1 1.2.2 1.5 1.6 1.7 2.1 2.2 2.3 2.5 3.1 3.2 3.3 3.4 3.5 4.1.1 4.1.2 4.1.3 4.1.4 4.2 4.3 4.4.2" +
	" 4.4.3 4.4.4 4.4.5 4.6.1 4.6.2 4.8.1 4.8.2 4.8.3 4.10 4.11.1 4.11.2 4.12.1 4.12.2 4.13 4.14 4.15 4.16 4.17 4.18" +
	" 5.1 5.2 5.3 6.2.1 6.2.2 6.2.3 6.2.4 6.2.5 6.2.7 6.2.8 6.2.9 6.2.10 6.4.1 6.4.2 6.5 6.6 6.7 6.8 6.11 6.12 6.13" +
	" 6.14.1 6.14.2 6.14.3 6.15.1 6.15.2 6.17 6.18.1 6.18.2 6.20.1 6.20.2 6.21 6.22 6.23 6.24.1 6.24.2 6.25 6.26 6.27" +
	" 6.28 6.29 6.30 6.31 6.32 7.1 7.2 7.3 7.4 7.5 7.6 7.7 7.8 7.9 7.10 7.11 7.12 7.13 7.14 7.15 7.16 8.1.1 8.2 8.3" +
	" 8.4 8.5 8.6 8.7.1 8.7.2 8.8.1 8.8.2 8.9 8.11 8.12.1 8.12.2 8.13 8.14.1 8.14.2 8.14.3 8.14.4 9.1 11.1 11.2 11.3" +
	" 11.4 12.1 12.2 14.1 "

// alertCodes has the values of DCCAlertCode in DUIS 5.4.
const alertCodes = "" +
	" AD1 N1 N2 N3 N4 N5 N6 N7 N8 N9 N10 N11 N12 N13 N14 N15 N16 N17 N18 N19 N20 N21 N22 N23 N24 N25 N26 N27 N28 N29" +
	" N30 N31 N33 N34 N35 N36 N37 N38 N39 N40 N41 N42 N43 N44 N45 N46 N47 N48 N49 N50 N51 N52 N53 N54 N55 N56 N57 N58" +
	" N59 N60 N61 N62 N63 N64 N65 N999 "

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
