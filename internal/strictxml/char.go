package strictxml

import (
	"bytes"
	"unicode/utf8"
)

// Classes of bytes.
const (
	isSpace     uint8 = 1 << iota
	isNameStart       // of a name without colon
	isName            //
	endsText          // ends a run of plain character data
	endsValue         // ends a run in an attribute's value
	endsComment       // may end a comment
	endsCDATA         // may end a CDATA section
	isSpecial         // not ASCII, or not legal in XML
)

var class = func() (t [256]uint8) {
	for c := range t {
		if c < ' ' || c >= utf8.RuneSelf {
			t[c] = isSpecial
		}
	}
	for _, c := range " \t\r\n" {
		t[c] = isSpace
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] = isNameStart | isName
		t[c-'a'+'A'] = isNameStart | isName
	}
	t['_'] = isNameStart | isName
	for _, c := range "0123456789.-" {
		t[c] = isName
	}
	for _, c := range "<&]\r" {
		t[c] |= endsText
	}
	for _, c := range "<&\"'" {
		t[c] |= endsValue
	}
	t['-'] |= endsComment
	t[']'] |= endsCDATA
	return t
}()

// run moves to the next byte of the classes in stop. All characters before it must
// be legal.
func (s *Scanner) run(stop uint8) bool {
	b := s.b
	for i := s.pos; ; {
		for i < len(b) && class[b[i]]&(stop|isSpecial) == 0 {
			i++
		}
		if i == len(b) {
			s.Fail(i, "unexpected end")
			return false
		}
		if class[b[i]]&stop != 0 {
			s.pos = i
			return true
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			s.Fail(i, "invalid UTF-8")
			return false
		}
		if !IsChar(r) {
			s.Fail(i, "illegal character")
			return false
		}
		i += n
	}
}

// ContainsSpace reports whether b has white space of XML in it.
func ContainsSpace(b []byte) bool {
	for _, c := range b {
		if class[c]&isSpace != 0 {
			return true
		}
	}
	return false
}

// TrimSpace returns b without the white space of XML around it.
func TrimSpace(b []byte) []byte {
	for len(b) > 0 && class[b[0]]&isSpace != 0 {
		b = b[1:]
	}
	for len(b) > 0 && class[b[len(b)-1]]&isSpace != 0 {
		b = b[:len(b)-1]
	}
	return b
}

// FirstTag returns the offset of the first thing in b that may be the start tag of
// an element, or -1.
func FirstTag(b []byte) int {
	for i := range len(b) - 1 {
		if b[i] == '<' && class[b[i+1]]&isNameStart != 0 {
			return i
		}
	}
	return -1
}

// IsChar reports whether r is a Char of XML 1.0.
func IsChar(r rune) bool {
	return r >= ' ' && r < 0xD800 || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xE000 && r < 0xFFFE || r >= 0x10000 && r <= utf8.MaxRune
}

// reference reads a character reference or one of the five predefined
// entities, and returns the character.
func (s *Scanner) reference() (text []byte, ok bool) {
	at := s.pos
	s.pos++ // &
	n := bytes.IndexByte(s.b[s.pos:min(s.pos+maxReference, len(s.b))], ';')
	if n < 0 {
		s.Fail(at, "reference without end")
		return nil, false
	}
	ref := s.b[s.pos : s.pos+n]
	s.pos += n + 1
	switch string(ref) {
	case "lt":
		return single('<'), true
	case "gt":
		return single('>'), true
	case "amp":
		return single('&'), true
	case "apos":
		return single('\''), true
	case "quot":
		return single('"'), true
	}
	r, ok := charRef(ref)
	if !ok {
		s.Fail(at, "reference to an unknown entity or an illegal character")
		return nil, false
	}
	if r < utf8.RuneSelf {
		return single(byte(r)), true
	}
	text = utf8.AppendRune(nil, r)
	return text[:len(text):len(text)], true
}

// maxReference is the length of the longest reference. It needs a limit, since a
// reference may have any number of leading zeros.
const maxReference = 32

func charRef(ref []byte) (r rune, ok bool) {
	if len(ref) < 2 || ref[0] != '#' {
		return 0, false
	}
	ref = ref[1:]
	base := rune(10)
	if ref[0] == 'x' {
		base = 16
		ref = ref[1:]
	}
	for _, c := range ref {
		d := rune(16)
		switch {
		case '0' <= c && c <= '9':
			d = rune(c - '0')
		case 'a' <= c && c <= 'f':
			d = rune(c-'a') + 10
		case 'A' <= c && c <= 'F':
			d = rune(c-'A') + 10
		}
		if d >= base {
			return 0, false
		}
		if r = r*base + d; r > utf8.MaxRune {
			return 0, false
		}
	}
	return r, IsChar(r)
}

// single returns the text c without allocating.
func single(c byte) []byte { return ascii[c : c+1 : c+1] }

var ascii = func() (t [utf8.RuneSelf]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	return t
}()
