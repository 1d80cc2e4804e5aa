// Package wording writes times, numbers and sentences as the pages of the console have them.
package wording

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// UTC writes an instant to the second: "2026-03-01 10:00:00 UTC"; "never" if there is none.
func UTC(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// Clock writes the time of a day to the minute: "10:00". The text beside it says UTC.
func Clock(t time.Time) string { return t.UTC().Format("15:04") }

// Number writes a whole number with a comma at each thousand.
func Number(v any) string {
	text := fmt.Sprint(v)
	digits := strings.TrimPrefix(text, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return text[:len(text)-len(strings.TrimPrefix(text, "-"))] + digits
}

// Count writes a number and the word for what is counted: "1 window", "2 windows".
func Count(v any, one, many string) string {
	if fmt.Sprint(v) == "1" {
		return "1 " + one
	}
	return Number(v) + " " + many
}

// Short writes a number where there is little room: "999", "1.2k", "35k", "1.2m".
func Short(n int) string {
	unit := ""
	f := float64(n)
	for _, u := range []string{"k", "m"} {
		if f >= 999.5 {
			f, unit = f/1000, u
		}
	}
	if unit == "" || f >= 9.95 {
		return strconv.FormatFloat(f, 'f', 0, 64) + unit
	}
	return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + unit
}

// Span writes how long something is, in its two largest units: "2 h 5 min", "12 s".
func Span(d time.Duration) string {
	if d < 0 {
		d = -d
	}
	if d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	d = d.Round(time.Second)
	units := []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	for i, u := range units {
		if d < u.unit {
			continue
		}
		text := fmt.Sprintf("%d %s", d/u.unit, u.name)
		if rest := d % u.unit; i+1 < len(units) && rest >= units[i+1].unit {
			text += fmt.Sprintf(" %d %s", rest/units[i+1].unit, units[i+1].name)
		}
		return text
	}
	return "0 s"
}

// MaskMPxN hides an MPxN but for its first two digits, which say the distributor.
func MaskMPxN(id string) string {
	if len(id) <= 2 {
		return strings.Repeat("•", len(id))
	}
	return id[:2] + strings.Repeat("•", len(id)-2)
}

// Sentence begins with a capital letter and ends with a full stop.
func Sentence(text string) string {
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	word, _, _ := strings.Cut(text, " ")
	if !strings.ContainsAny(word, "._/") { // otherwise it is the name of a setting
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if !strings.ContainsRune(".!?", rune(text[len(text)-1])) {
		text += "."
	}
	return text
}
