package console

// For tests outside of the package, which may import its client.
var (
	NewTest = newConsole
	TokenOf = tokenOf
)

const (
	Hub   = hub
	Meter = meter
)

var T0 = t0

type LogText = logText

func (l *logText) Count(text string) int { return l.count(text) }
