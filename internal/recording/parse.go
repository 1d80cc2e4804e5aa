package recording

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"quell/internal/outage"
)

// A Parser reads lines. It is written for this format, and several times as fast as
// encoding/json.
type Parser struct {
	b     []byte
	at    int
	texts map[string]string
}

// errNotLine is the reason for most lines that cannot be read.
var errNotLine = errors.New("not a JSON object of a recording")

// Parse reads a line into l, with or without its newline. The document of l is in memory of
// l, which the next Parse into it uses again. Fields that are not known are ignored.
func (p *Parser) Parse(b []byte, l *Line) error {
	document := l.Document[:0]
	*l = Line{}
	p.b, p.at = b, 0
	if !p.take('{') {
		return errNotLine
	}
	for first := true; !p.take('}'); first = false {
		if !first && !p.take(',') {
			return errNotLine
		}
		name, ok := p.raw()
		if !ok || !p.take(':') {
			return errNotLine
		}
		if err := p.field(l, name, document); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	if p.space(); p.at != len(p.b) {
		return errNotLine
	}
	switch l.Kind {
	case Settings, Southbound, Answer, Northbound, Heard:
	default:
		return fmt.Errorf("there is no kind %q", l.Kind)
	}
	if l.At.IsZero() {
		return errors.New("there is no time (at)")
	}
	return nil
}

func (p *Parser) field(l *Line, name []byte, document []byte) (err error) {
	switch string(name) {
	case "kind":
		return p.text((*string)(&l.Kind))
	case "at":
		n, err := p.number()
		if l.At = time.UnixMicro(int64(n)).UTC(); err == nil && n > maxTime {
			err = errors.New("it is not a time in microseconds")
		}
		return err
	case "no":
		l.No, err = p.number()
		return err
	case "area":
		n, err := p.number()
		l.Meter.Area = int64(n)
		return err
	case "sector":
		n, err := p.number()
		l.Meter.Sector = int64(n)
		return err
	case "run":
		return p.text(&l.Run)
	case "mpxn":
		return p.text(&l.mpxn)
	case "outcome":
		return p.text((*string)(&l.Outcome))
	case "reason":
		return p.text((*string)(&l.Reason))
	case "type":
		return p.text(&l.Meter.Type)
	case "smets":
		return p.text(&l.Meter.SMETSVersion)
	case "manufacturer":
		return p.text(&l.Meter.Manufacturer)
	case "model":
		return p.text(&l.Meter.Model)
	case "signature":
		return p.text((*string)(&l.Signature.Reason))
	case "state":
		return p.text((*string)(&l.State))
	case "code":
		return p.text(&l.Code)
	case "meter":
		return p.id(&l.Meter.ID)
	case "hub":
		return p.id(&l.Meter.CHF)
	case "supplier":
		return p.id(&l.Meter.Supplier)
	case "signer":
		return p.id(&l.Signature.Signer)
	case "device":
		return p.id(&l.Device)
	case "listed":
		return p.flag(&l.Listed)
	case "forged":
		return p.flag(&l.Signature.Forged)
	case "rest":
		return p.flag(&l.Rest)
	case "document":
		s, ok := p.raw()
		if !ok {
			return errNotLine
		}
		l.Document, err = unquote(document, s)
		return err
	case "base64":
		s, ok := p.raw()
		if !ok {
			return errNotLine
		}
		l.Document, err = base64.StdEncoding.AppendDecode(document, s)
		return err
	case "rules":
		value, err := p.any()
		l.Rules = bytes.Clone(value)
		return err
	}
	_, err = p.any()
	return err
}

// maxTime is the end of the year 9999, in microseconds.
const maxTime = 253402300799999999

func (p *Parser) space() {
	for p.at < len(p.b) && (p.b[p.at] == ' ' || p.b[p.at] == '\n' || p.b[p.at] == '\r' || p.b[p.at] == '\t') {
		p.at++
	}
}

// take takes a character, after white space, if it is the next.
func (p *Parser) take(c byte) bool {
	p.space()
	if p.at < len(p.b) && p.b[p.at] == c {
		p.at++
		return true
	}
	return false
}

// raw takes a string, and returns what is between its quotes.
func (p *Parser) raw() (s []byte, ok bool) {
	if !p.take('"') {
		return nil, false
	}
	rest := p.b[p.at:]
	for n := 0; ; n++ {
		i := bytes.IndexByte(rest[n:], '"')
		if i < 0 {
			return nil, false
		}
		n += i
		slashes := 0
		for slashes < n && rest[n-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			p.at += n + 1
			return rest[:n], true
		}
	}
}

// maxTexts is how many texts a Parser keeps, so that it need not make them again.
const maxTexts = 10_000

// text takes a string.
func (p *Parser) text(to *string) error {
	s, ok := p.raw()
	if !ok {
		return errNotLine
	}
	if known, ok := p.texts[string(s)]; ok {
		*to = known
		return nil
	}
	plain, err := unquote(nil, s)
	if err != nil {
		return err
	}
	*to = string(plain)
	if len(s) < 64 {
		if p.texts == nil || len(p.texts) >= maxTexts {
			p.texts = map[string]string{}
		}
		p.texts[string(s)] = *to
	}
	return nil
}

func (p *Parser) id(to *outage.DeviceID) (err error) {
	s, ok := p.raw()
	if !ok {
		return errNotLine
	}
	*to, err = outage.ParseDeviceIDBytes(s)
	return err
}

func (p *Parser) number() (n uint64, err error) {
	p.space()
	from := p.at
	for ; p.at < len(p.b) && p.b[p.at] >= '0' && p.b[p.at] <= '9'; p.at++ {
		d := uint64(p.b[p.at] - '0')
		if n > (1<<64-1-d)/10 {
			return 0, errors.New("the number is too large")
		}
		n = n*10 + d
	}
	if p.at == from {
		return 0, errors.New("it is not a number")
	}
	return n, nil
}

func (p *Parser) flag(to *bool) error {
	p.space()
	for _, v := range []bool{true, false} {
		if word := map[bool]string{true: "true", false: "false"}[v]; bytes.HasPrefix(p.b[p.at:], []byte(word)) {
			*to = v
			p.at += len(word)
			return nil
		}
	}
	return errNotLine
}

// any takes a value of any kind, as it is.
func (p *Parser) any() (value []byte, err error) {
	d := json.NewDecoder(bytes.NewReader(p.b[p.at:]))
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return nil, err
	}
	p.at += int(d.InputOffset())
	return raw, nil
}

// unquote appends what a JSON string says.
func unquote(b, s []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(b, s...), nil
		}
		b = append(b, s[:i]...)
		if len(s) < i+2 {
			return b, errNotLine
		}
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'u':
			r, rest, ok := hex4(s)
			if !ok {
				return b, errNotLine
			}
			s = rest
			if utf16.IsSurrogate(r) {
				low, rest := rune(0), []byte(nil)
				if ok = bytes.HasPrefix(s, []byte(`\u`)); ok {
					low, rest, ok = hex4(s[2:])
				}
				if both := utf16.DecodeRune(r, low); ok && both != utf8.RuneError {
					r, s = both, rest
				} else {
					r = utf8.RuneError
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			return b, errNotLine
		}
	}
}

func hex4(s []byte) (r rune, rest []byte, ok bool) {
	if len(s) < 4 {
		return 0, nil, false
	}
	for _, c := range s[:4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, nil, false
		}
	}
	return r, s[4:], true
}
