package outage

import (
	"strings"
	"time"
	"unicode"
)

// A Span is where a window is, counted from when the activation begins: [From, To).
type Span struct {
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
}

// MaxWindow is how long after the activation a window may end. It limits the harm of a mistyped setting,
// and the search for windows by their ends: none that was ever opened is longer.
const MaxWindow = 24 * time.Hour

// Spans are the windows of models of meters that have their own, by ModelKey.
type Spans map[string]Span

// ModelKey returns what spellings of a model have in common. A model is named by its manufacturer
// and its model, as the inventory has them: "Landis+Gyr E470". Upper or lower case, blanks and
// slashes do not matter.
func ModelKey(model string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '/' {
			return -1
		}
		return unicode.ToLower(r)
	}, model)
}

// On returns the activation on the hub of a device and, if it has a window and the device's
// model has its own, with that one. If the device is not known, nothing changes.
func (a Activation) On(d *Device, s Spans) Activation {
	if d == nil {
		return a
	}
	a.CHF = d.CHF
	if len(s) > 0 {
		if its, ok := s[ModelKey(d.Manufacturer+d.Model)]; ok {
			a = a.Within(its)
		}
	}
	return a
}

// Within returns the activation with its window moved to the span, if it has one. That changes
// neither what the activation supersedes nor what supersedes it.
func (a Activation) Within(s Span) Activation {
	if a.HasWindow() {
		a.Start, a.End = a.Begins().Add(s.From), a.Begins().Add(s.To)
	}
	return a
}
