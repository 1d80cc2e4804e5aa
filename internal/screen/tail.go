package screen

import (
	"fmt"
	"strings"

	"quell/internal/console"
	"quell/internal/outage"
	"quell/internal/tail"
)

// TailLine returns what "quell tail" shows of a line: one line of up to 80 columns, or "".
func TailLine(l *console.TailLine, style Style) string {
	switch {
	case l.Lost > 0:
		return style.bad(fmt.Sprintf("%d lines are missing here: they came faster than this terminal took them.", l.Lost))
	case l.Line == nil:
		return ""
	}
	device, what := l.Hub, string(l.Decision)
	if l.Kind == tail.Activation {
		device, what = l.Meter, tail.Activation
	}
	entry := ""
	if l.Entry > 0 {
		entry = fmt.Sprintf("#%d", l.Entry)
	}
	text := fmt.Sprintf("%s %-10s %-19s %-2s %v %s", l.At.UTC().Format("15:04:05"), Printable(what), Printable(string(l.Reason)), Printable(l.Distributor), device, entry)
	text = Cut(strings.TrimRight(text, " "), Columns)
	if l.Decision == outage.Suppressed {
		return style.good(text)
	}
	return text
}
