package web

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"quell/internal/access"
	"quell/internal/outage"
)

// functions are those that templates may use.
var functions = template.FuncMap{
	"utc":      utc,
	"clock":    clock,
	"period":   period,
	"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"number":   number,
	"count":    count,
	"short":    short,
	"inc":      func(n int) int { return n + 1 },
	"span":     span,
	"mpxn":     maskMPxN,
	"sentence": sentence,
	"who":      who,
	"tone":     tone,
	"eui":      eui,
	"visible":  visible,
	"seconds":  func(n int) string { return span(time.Duration(n) * time.Second) },
	"percent":  func(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" },
	"rounded":  func(v float64) string { return number(int64(math.Round(v))) },
}

// utc writes an instant to the second: "2026-03-01 10:00:00 UTC"; "never" if there is none.
func utc(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// period writes a time from an instant to another, with the day once if it is the same.
func period(from, to time.Time) string {
	if from.UTC().Format(time.DateOnly) == to.UTC().Format(time.DateOnly) {
		return strings.TrimSuffix(utc(from), " UTC") + " to " + to.UTC().Format("15:04:05 UTC")
	}
	return strings.TrimSuffix(utc(from), " UTC") + " to " + utc(to)
}

// clock writes the time of a day to the minute: "10:00". The text beside it says UTC.
func clock(t time.Time) string { return t.UTC().Format("15:04") }

// number writes a whole number with a comma at each thousand.
func number(v any) string {
	text := fmt.Sprint(v)
	digits := strings.TrimPrefix(text, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return text[:len(text)-len(strings.TrimPrefix(text, "-"))] + digits
}

// count writes a number and the word for what is counted: "1 window", "2 windows".
func count(v any, one, many string) string {
	if fmt.Sprint(v) == "1" {
		return "1 " + one
	}
	return number(v) + " " + many
}

// short writes a number where there is little room: "999", "1.2k", "35k", "1.2m".
func short(n int) string {
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

// span writes how long something is, in its two largest units: "2 h 5 min", "12 s".
func span(d time.Duration) string {
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

// maskMPxN hides an MPxN but for its first two digits, which say the distributor.
func maskMPxN(id string) string {
	if len(id) <= 2 {
		return strings.Repeat("•", len(id))
	}
	return id[:2] + strings.Repeat("•", len(id)-2)
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(text string) string {
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

// who names somebody who has no name of their own.
func who(id access.Identity) string {
	if id.Name != "" {
		return id.Name
	}
	return "anyone on this machine"
}

// visible is a text that others have chosen, such as the name of a file: what cannot be seen, or
// would change how the text around it reads, is replaced.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\n' {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
}

// eui writes the id of a device, or "none".
func eui(id outage.DeviceID) string {
	if id == 0 {
		return "none"
	}
	return id.String()
}

// tone is the class of a badge for what it says: "good", "warn", "bad" or "plain".
func tone(v any) string {
	switch fmt.Sprint(v) {
	case "on", "ready", "balanced", "delivered", "open", "holds", "same", "confirmed":
		return "good"
	case "shadow", "weak", "pending", "uncertain", "waiting":
		return "warn"
	case "off", "", "strong", "failed", "silent", "broken", "fault", "other":
		return "bad"
	}
	return "plain"
}
