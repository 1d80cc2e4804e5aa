package web

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"quell/internal/access"
	"quell/internal/outage"
	"quell/internal/wording"
)

// functions are those that templates may use; package wording says what most of them write.
var functions = template.FuncMap{
	"utc":      utc,
	"clock":    wording.Clock,
	"period":   period,
	"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"number":   number,
	"count":    count,
	"short":    wording.Short,
	"span":     wording.Span,
	"mpxn":     wording.MaskMPxN,
	"sentence": sentence,
	"who":      who,
	"tone":     tone,
	"eui":      eui,
	"visible":  visible,
	"seconds":  func(n int) string { return wording.Span(time.Duration(n) * time.Second) },
	"percent":  func(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" },
	"rounded":  func(v float64) string { return number(int64(math.Round(v))) },
	"inc":      func(i int) int { return i + 1 },
}

// What pages of this package use most, by short names.
var (
	utc      = wording.UTC
	number   = wording.Number
	count    = wording.Count
	sentence = wording.Sentence
)

// period writes a time from an instant to another, with the day once if it is the same.
func period(from, to time.Time) string {
	if from.UTC().Format(time.DateOnly) == to.UTC().Format(time.DateOnly) {
		return strings.TrimSuffix(utc(from), " UTC") + " to " + to.UTC().Format("15:04:05 UTC")
	}
	return strings.TrimSuffix(utc(from), " UTC") + " to " + utc(to)
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
