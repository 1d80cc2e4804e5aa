// Package screen is how commands show things: tables and texts that fit 80 columns, colours for
// terminals, and the screen of "quell status". It reads nothing but its arguments.
package screen

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Columns is how wide everything is at most.
const Columns = 80

// Printable returns a text that came from outside as one line that a terminal shows and does
// not obey: what cannot be printed is escaped as in Go, a newline as \n.
func Printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// Wrap divides a text into lines of up to 80 columns, each with an indent. A date and its time stay
// together. A word that is longer than a line is divided too.
func Wrap(text, indent string) string {
	return indent + strings.Join(lines(text, Columns-width(indent)), "\n"+indent)
}

// lines divides a text into lines of up to a width; at least one.
func lines(text string, most int) (list []string) {
	line, used := "", 0
	for _, word := range words(text) {
		if used > 0 && used+1+width(word) > most {
			list, line, used = append(list, line), "", 0
		}
		if used > 0 {
			line, used = line+" ", used+1
		}
		for ; width(word) > most; line = "" {
			end := len(string([]rune(word)[:most-used]))
			list, word, used = append(list, line+word[:end]), word[end:], 0
		}
		line, used = line+word, used+width(word)
	}
	return append(list, line)
}

// words returns the words of a text. A date and its time, as in "2026-03-01 03:00:00", are one.
func words(text string) (list []string) {
	date := false
	for word := range strings.FieldsSeq(text) {
		if date && len(word) > 2 && word[2] == ':' {
			list[len(list)-1] += " " + word
			date = false
			continue
		}
		_, err := time.Parse(time.DateOnly, word)
		list, date = append(list, word), err == nil
	}
	return list
}

// Cut returns a text that is at most a width wide. What is missing is replaced by "…".
func Cut(text string, most int) string {
	if width(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

func width(text string) int { return utf8.RuneCountInString(text) }

// Style says whether to use colours. Its zero value does not.
type Style struct{ Colours bool }

func (s Style) in(code, text string) string {
	if !s.Colours {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// The colours, which never carry a meaning that the text does not have too.
func (s Style) good(text string) string  { return s.in("32", text) }
func (s Style) bad(text string) string   { return s.in("1;31", text) }
func (s Style) label(text string) string { return s.in("1", text) }
