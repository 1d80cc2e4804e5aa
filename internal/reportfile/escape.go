package reportfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Texts that others chose (an MPxN, the reason of a turn of the switch) are
// written so that no spreadsheet runs them, and so that each record is one line:
//
//   - A backslash is \\, a control character is \n, \r, \t or \uXXXX.
//   - Where a spreadsheet might begin a cell (at the beginning, and behind any of
//     comma, semicolon, bar and double quote, whatever blanks are between), an
//     apostrophe is put before each of = + - @, their full-width forms, and
//     before an apostrophe, so that none of them begins a cell.
//
// unescapeText undoes it.

// plain reports whether a text needs nothing: most are ids.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x80, c < ' ', c == 0x7f, c == '\\', c == ',', c == ';', c == '|', c == '"', c == ' ':
			return false
		case i == 0 && begins(rune(c)):
			return false
		}
	}
	return true
}

// begins reports whether a spreadsheet may take what begins with r as a
// formula; an apostrophe counts, to tell ours from others.
func begins(r rune) bool { return strings.ContainsRune("=+-@'＝＋－＠＇", r) }

// separates reports whether some spreadsheet may begin a cell behind r.
func separates(r rune) bool { return strings.ContainsRune(",;|\"", r) }

func escapeText(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	start := true // of a cell
	for _, r := range s {
		if start && begins(r) {
			b.WriteByte('\'')
		}
		start = separates(r) || start && (r == ' ' || r == '\u00a0')
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case control(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r) // what is no UTF-8 becomes U+FFFD
		}
	}
	return b.String()
}

// control reports whether r is a control character, or breaks lines.
func control(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 || r == '\u2028' || r == '\u2029' }

var errEscape = errors.New("a text that is not written as the format says")

// unescapeText gives back what escapeText was given. The error says that escapeText did not
// write the text.
func unescapeText(s string) (string, error) {
	if plain(s) {
		return s, nil
	}
	var b strings.Builder
	start := true
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if start && r == '\'' {
			r, n = utf8.DecodeRuneInString(s[i:])
			if i += n; !begins(r) {
				return "", errEscape
			}
		} else if start && begins(r) || control(r) {
			return "", errEscape
		}
		start = separates(r) || start && (r == ' ' || r == '\u00a0')
		if r == '\\' {
			var err error
			if r, n, err = unescape(s[i:]); err != nil {
				return "", err
			}
			i += n
		}
		b.WriteRune(r)
	}
	return b.String(), nil
}

// unescape reads what follows a backslash.
func unescape(s string) (r rune, n int, err error) {
	if s == "" {
		return 0, 0, errEscape
	}
	switch s[0] {
	case '\\':
		return '\\', 1, nil
	case 'n':
		return '\n', 1, nil
	case 'r':
		return '\r', 1, nil
	case 't':
		return '\t', 1, nil
	case 'u':
		if len(s) >= 5 {
			if v, err := strconv.ParseUint(s[1:5], 16, 16); err == nil && control(rune(v)) {
				return rune(v), 5, nil
			}
		}
	}
	return 0, 0, errEscape
}
