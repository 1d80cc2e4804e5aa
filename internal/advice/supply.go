package advice

import (
	"time"

	"quell/internal/evidence"
)

// When a Read Supply Status is of use.
const (
	// askAfter is how long after an alert the home is left alone: its hub may still be starting.
	askAfter = 5 * time.Minute
	// askFor is for how long after an alert it is of use to ask: later the power is back, or
	// the network operator knows.
	askFor = 24 * time.Hour
)

// WorthAsking reports whether a Read Supply Status would settle if a suppressed alert was
// genuine: its level is weak, or nothing can be told since it is not known where the home is and
// it has been silent for longer than a reboot takes; and neither a restoration alert nor
// anything else was received of the home since.
func WorthAsking(a *evidence.Assessment, received, now time.Time) bool {
	f := &a.Facts
	switch age := now.Sub(received); {
	case age < askAfter, age >= askFor, f.Restored, f.Heard > 0:
		return false
	case a.Level == evidence.Weak:
		return true
	}
	return a.Level == evidence.None && !f.HasPostcode && !f.HasSector && f.Silent
}
