package duis

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
	isOdd             // not ASCII, or not legal in XML
)

var class = func() (t [256]uint8) {
	for c := range t {
		if c < ' ' || c >= utf8.RuneSelf {
			t[c] = isOdd
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

// run goes to the next byte of the classes in stop, over legal characters only.
func (s *scanner) run(stop uint8) bool {
	b := s.b
	for i := s.pos; ; {
		for i < len(b) && class[b[i]]&(stop|isOdd) == 0 {
			i++
		}
		if i == len(b) {
			s.fail(i, "unexpected end")
			return false
		}
		if class[b[i]]&stop != 0 {
			s.pos = i
			return true
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			s.fail(i, "invalid UTF-8")
			return false
		}
		if !legal(r) {
			s.fail(i, "illegal character")
			return false
		}
		i += n
	}
}

func containsSpace(b []byte) bool {
	for _, c := range b {
		if class[c]&isSpace != 0 {
			return true
		}
	}
	return false
}

// legal reports whether r is a Char of XML 1.0.
func legal(r rune) bool {
	return r >= ' ' && r < 0xD800 || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xE000 && r < 0xFFFE || r >= 0x10000 && r <= utf8.MaxRune
}

// reference reads a character reference or one of the five predefined
// entities, and returns the character.
func (s *scanner) reference() (text []byte, ok bool) {
	at := s.pos
	s.pos++ // &
	n := bytes.IndexByte(s.b[s.pos:min(s.pos+maxReference, len(s.b))], ';')
	if n < 0 {
		s.fail(at, "reference without end")
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
		s.fail(at, "reference to no known entity or legal character")
		return nil, false
	}
	if r < utf8.RuneSelf {
		return single(byte(r)), true
	}
	text = utf8.AppendRune(nil, r)
	return text[:len(text):len(text)], true
}

// maxReference bounds a reference, which may have any number of leading zeros.
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
	return r, legal(r)
}

// single returns c as a text without allocating.
func single(c byte) []byte { return ascii[c : c+1 : c+1] }

var ascii = func() (t [utf8.RuneSelf]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	return t
}()
