package reportfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Texts that others chose (an MPxN, the reason for a change of the switch) are written so that
// no spreadsheet runs them as formulas, and so that each record is one line:
//
//   - A backslash is \\, a control character is \n, \r, \t or \uXXXX.
//   - A spreadsheet may start a cell at the beginning of a text, and after a comma, a semicolon,
//     a bar or a double quote, also with blanks after these. There an apostrophe is put before
//     = + - @, their full-width forms and an apostrophe, so that none of them starts a cell.
//
// unescapeText is the inverse.

// needsNoEscape reports whether a text stays as it is. Most texts do: they are ids.
func needsNoEscape(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x80, c < ' ', c == 0x7f, c == '\\', c == ',', c == ';', c == '|', c == '"', c == ' ':
			return false
		case i == 0 && startsFormula(rune(c)):
			return false
		}
	}
	return true
}

// startsFormula reports whether a spreadsheet may take a cell that starts with r for a formula.
// An apostrophe counts too, so that unescapeText can tell ours from others.
func startsFormula(r rune) bool { return strings.ContainsRune("=+-@'＝＋－＠＇", r) }

// separatesCells reports whether a spreadsheet may start a cell after r.
func separatesCells(r rune) bool { return strings.ContainsRune(",;|\"", r) }

// EscapeText writes a text so that no spreadsheet runs it as a formula, as report files do.
func EscapeText(s string) string { return escapeText(s) }

func escapeText(s string) string {
	if needsNoEscape(s) {
		return s
	}
	var b strings.Builder
	start := true // of a cell
	for _, r := range s {
		if start && startsFormula(r) {
			b.WriteByte('\'')
		}
		start = separatesCells(r) || start && (r == ' ' || r == '\u00a0')
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
			b.WriteRune(r) // bytes that are not UTF-8 become U+FFFD
		}
	}
	return b.String()
}

// control reports whether r is a control character, or breaks lines.
func control(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 || r == '\u2028' || r == '\u2029' }

var errEscape = errors.New("a text that is not written as the format says")

// unescapeText is the inverse of escapeText. The error says that escapeText did not write the
// text.
func unescapeText(s string) (string, error) {
	if needsNoEscape(s) {
		return s, nil
	}
	var b strings.Builder
	start := true
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if start && r == '\'' {
			r, n = utf8.DecodeRuneInString(s[i:])
			if i += n; !startsFormula(r) {
				return "", errEscape
			}
		} else if start && startsFormula(r) || control(r) {
			return "", errEscape
		}
		start = separatesCells(r) || start && (r == ' ' || r == '\u00a0')
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

// unescape reads the character after a backslash.
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
