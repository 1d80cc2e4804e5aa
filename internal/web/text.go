package web

import (
	"fmt"
	"html/template"
	"time"

	"quell/internal/access"
	"quell/internal/outage"
	"quell/internal/wording"
)

// functions are those that templates may use; package wording says what most of them write.
var functions = template.FuncMap{
	"utc":      utc,
	"clock":    wording.Clock,
	"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"number":   number,
	"count":    count,
	"span":     wording.Span,
	"mpxn":     wording.MaskMPxN,
	"sentence": sentence,
	"who":      who,
	"tone":     tone,
	"eui":      eui,
	"inc":      func(i int) int { return i + 1 },
}

// What pages of this package use most, by short names.
var (
	utc      = wording.UTC
	number   = wording.Number
	count    = wording.Count
	sentence = wording.Sentence
)

// who names somebody who has no name of their own.
func who(id access.Identity) string {
	if id.Name != "" {
		return id.Name
	}
	return "anyone on this machine"
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
	case "on", "ready", "balanced", "delivered", "open":
		return "good"
	case "shadow", "weak", "pending", "uncertain":
		return "warn"
	case "off", "", "strong", "failed", "silent":
		return "bad"
	}
	return "plain"
}
