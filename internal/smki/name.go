package smki

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var errName = errors.New("not a distinguished name")

// keywords are the short names of attribute types, in upper case (RFC 4514, 3, and those that
// tools write besides).
var keywords = map[string]string{
	"CN": "2.5.4.3", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8", "S": "2.5.4.8",
	"STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11", "X500UNIQUEIDENTIFIER": "2.5.4.45",
	"DC": "0.9.2342.19200300.100.1.25", "UID": "0.9.2342.19200300.100.1.1",
}

// A name in its normal form has one line for each attribute, as type=value. The type is
// dotted decimal. The value is in lower case, and white space in it is one blank and none
// around it. The lines are sorted, since tools write a name in either direction. So names
// that differ only in case, blanks, order, or in which attributes share a set have one form.
// That is enough for a key: if two issuers have one form, their certificates can only
// be taken for doubles, and then neither serves.

// normalName returns the normal form of a name as RFC 4514 and RFC 2253 write it.
func normalName(s string) (string, error) {
	var lines []string
	for rest := s; ; {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			return "", errName
		}
		kind, ok := attributeType(strings.TrimSpace(key))
		if !ok {
			return "", errName
		}
		value, after, err := cutValue(after)
		if err != nil {
			return "", err
		}
		lines = append(lines, kind+"="+value)
		if after == "" {
			return joinLines(lines), nil
		}
		rest = after[1:] // without the separator
	}
}

func joinLines(lines []string) string {
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func attributeType(key string) (string, bool) {
	upper := strings.ToUpper(key)
	if kind, ok := keywords[upper]; ok {
		return kind, true
	}
	dotted := strings.TrimPrefix(upper, "OID.")
	if dotted == "" || strings.Trim(dotted, "0123456789.") != "" {
		return "", false
	}
	return dotted, true
}

// cutValue reads a value up to a separator, and returns its normal form and what comes after
// it, with the separator.
func cutValue(s string) (value, rest string, err error) {
	s = strings.TrimLeft(s, " \t\r\n")
	if strings.HasPrefix(s, "#") {
		end := strings.IndexAny(s, ",;+")
		if end < 0 {
			end = len(s)
		}
		der, err := hex.DecodeString(strings.TrimSpace(s[1:end]))
		if err != nil {
			return "", "", errName
		}
		value, err := attributeValue(der)
		return value, s[end:], err
	}
	var b strings.Builder
	quoted, closed := strings.HasPrefix(s, `"`), false
	i := 0
	if quoted {
		i++
	}
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case closed && strings.IndexByte(" \t\r\n", c) >= 0:
		case !quoted && strings.IndexByte(",;+", c) >= 0, closed && strings.IndexByte(",;+", c) >= 0:
			return normalValue(b.String()), s[i:], nil
		case closed, c == '"' && !quoted:
			return "", "", errName
		case c == '"':
			closed = true
		case c == '\\':
			switch {
			case i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
				octet, _ := hex.DecodeString(s[i+1 : i+3])
				b.Write(octet)
				i += 2
			case i+1 < len(s):
				i++
				b.WriteByte(s[i])
			default:
				return "", "", errName
			}
		default:
			b.WriteByte(c)
		}
	}
	if quoted && !closed {
		return "", "", errName
	}
	return normalValue(b.String()), "", nil
}

func isHex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

func normalValue(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// attributeValue returns the normal form of a value in DER. What is no text stays DER, in
// hexadecimal after "#".
func attributeValue(der []byte) (string, error) {
	in := cryptobyte.String(der)
	var text cryptobyte.String
	var tag asn1.Tag
	if !in.ReadAnyASN1(&text, &tag) || !in.Empty() {
		return "", errName
	}
	switch tag {
	case asn1.UTF8String, asn1.PrintableString, asn1.IA5String, numericString, asn1.T61String:
		return normalValue(string(text)), nil
	}
	return "#" + hex.EncodeToString(der), nil
}

const numericString = asn1.Tag(18)

// attributes reads a Name (RFC 5280, 4.1.2.4), and calls found for each attribute.
func attributes(name cryptobyte.String, found func(kind string, der cryptobyte.String) error) error {
	for !name.Empty() {
		var set cryptobyte.String
		if !name.ReadASN1(&set, asn1.SET) || set.Empty() {
			return errName
		}
		for !set.Empty() {
			var pair, kind, value cryptobyte.String
			if !set.ReadASN1(&pair, asn1.SEQUENCE) || !pair.ReadASN1Element(&kind, asn1.OBJECT_IDENTIFIER) ||
				!pair.ReadAnyASN1Element(&value, nil) || !pair.Empty() {
				return errName
			}
			id, err := objectIdentifier(kind)
			if err != nil {
				return err
			}
			if err := found(id, value); err != nil {
				return err
			}
		}
	}
	return nil
}
