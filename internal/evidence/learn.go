package evidence

import (
	"maps"
	"time"
)

// Learning is what an Engine has learned of each model: from nights before, and from tonight
// up to Until.
//
// It learns of an activation once, one hour after it, when its AD1 has come if there is one: so
// activations and AD1s are always of the same time. It learns of a restoration alert two
// minutes after it was received, since a model that begins to break A5 must be known soon.
// Nothing is learned of an alert that is strong by its neighbours and timing alone, or that would
// be strong with its restoration alert even if the model sent one after every reboot: neither it nor
// its activation counts. So genuine outages in a storm teach little about reboots. And since
// that does not depend on what was learned of restorations, a model that breaks A5 cannot hide
// it from us: its alerts do not become strong and so left out. What remains is genuine alerts
// without neighbours, some 1 in 27,000: they are counted as reboots.
type Learning struct {
	Until  time.Time            `json:"until"`
	Models map[Model]*Behaviour `json:"models"`
	Rates  []*Rate              `json:"rates,omitempty"`
	// Quiet is how many AD1s came of hubs without any recent 11.3, by day ("2026-11-26"): what
	// there is of AD1s anyway.
	Quiet map[string]int `json:"quiet,omitempty"`

	index map[rateKey]*Rate // of Rates; made when it is needed
}

type rateKey struct {
	model    Model
	firmware string
	tracked  bool
}

// Behaviour is what the meters of one model did after activations that opened a window.
type Behaviour struct {
	Activations int           `json:"activations"` // that were not known not to have run
	AD1s        int           `json:"ad1s"`        // of these, with an AD1 within 30 minutes
	Bins        [binCount]int `json:"bins"`        // of these, by start of the outage: 15 seconds each, from the activation on
	Came        [binCount]int `json:"came"`        // of these, by receipt of the AD1: what a window can suppress
	Restored    int           `json:"restored"`    // of these, with a restoration alert: violations of A5
	Heard       int           `json:"heard"`       // of these, with a message within 20 minutes after the AD1
	Genuine     int           `json:"genuine"`     // left out, since they were genuine
}

// Rate is how often the meters of one model, with one firmware, had an AD1 within 30 minutes
// after an activation. Firmware is what the activation brought.
type Rate struct {
	Model       Model  `json:"model"`
	Firmware    string `json:"firmware"`
	Tracked     bool   `json:"tracked"` // the activations opened windows
	Activations int    `json:"activations"`
	AD1s        int    `json:"ad1s"`
}

const (
	learnAfter    = time.Hour        // of an activation; its AD1 came within 30 minutes, and what is heard within 20 more
	learnRestored = 2 * time.Minute  // of a restoration alert; other nodes have told of theirs by then
	effect        = 30 * time.Minute // an AD1 within so long after an activation is counted as its effect

	maxRates = 10_000 // firmware hashes come from outside: more are counted together
)

// MaxDays is of how many days Quiet is kept.
const MaxDays = 400

// Violations is how many restoration alerts came after reboots of a model, and after how many:
// the measurement of assumption A5.
func (b *Behaviour) Violations() (restored, reboots int) { return b.Restored, b.AD1s }

func (b *Behaviour) add(other *Behaviour) {
	b.Activations += other.Activations
	b.AD1s += other.AD1s
	b.Restored += other.Restored
	b.Heard += other.Heard
	b.Genuine += other.Genuine
	for i, n := range other.Bins {
		b.Bins[i] += n
	}
	for i, n := range other.Came {
		b.Came[i] += n
	}
}

// perActivation is the share of activations with an AD1.
func (b *Behaviour) perActivation() float64 {
	return min(1, (float64(b.AD1s)+.5)/float64(b.Activations+1))
}

// restoredShare is the share of reboots with a restoration alert.
func (b *Behaviour) restoredShare() float64 {
	return min(1, (float64(b.Restored)+.5)/float64(b.AD1s+1))
}

// heardShare is the share of homes that are heard within 20 minutes after a reboot.
func (b *Behaviour) heardShare() float64 {
	return min(1, (float64(b.Heard)+.5)/float64(b.AD1s+1))
}

// density is how probably an AD1 of an activation starts so long after it, for each second.
func (b *Behaviour) density(u time.Duration) float64 {
	if u < 0 || u >= binCount*binWidth {
		return flat
	}
	i := int(u / binWidth)
	// At the ends the neighbour that does not exist is the bin itself.
	smooth := .25*float64(b.Bins[max(i-1, 0)]) + .5*float64(b.Bins[i]) + .25*float64(b.Bins[min(i+1, binCount-1)])
	n := 0
	for _, c := range b.Bins {
		n += c
	}
	return learned*(smooth+pseudo/binCount)/(float64(n)+pseudo)/binWidth.Seconds() + flat
}

// Clone returns a copy that shares nothing with l.
func (l *Learning) Clone() *Learning {
	c := &Learning{Until: l.Until, Models: map[Model]*Behaviour{}, Quiet: maps.Clone(l.Quiet)}
	for m, b := range l.Models {
		copied := *b
		c.Models[m] = &copied
	}
	for _, r := range l.Rates {
		copied := *r
		c.Rates = append(c.Rates, &copied)
	}
	return c
}

// Merge adds what other has learned from other traffic. Until is the later one.
func (l *Learning) Merge(other *Learning) {
	if other.Until.After(l.Until) {
		l.Until = other.Until
	}
	for m, b := range other.Models {
		l.behaviour(m).add(b)
	}
	for _, r := range other.Rates {
		own := l.rate(r.Model, r.Firmware, r.Tracked)
		own.Activations += r.Activations
		own.AD1s += r.AD1s
	}
	for day, n := range other.Quiet {
		l.addQuiet(day, n)
	}
}

// behaviour returns what is learned of a model, to add to.
func (l *Learning) behaviour(m Model) *Behaviour {
	b := l.Models[m]
	if b == nil {
		if l.Models == nil {
			l.Models = map[Model]*Behaviour{}
		}
		b = new(Behaviour)
		l.Models[m] = b
	}
	return b
}

// unknown is a model of which nothing is learned.
var unknown Behaviour

// of returns what is learned of a model, to read.
func (l *Learning) of(m Model) *Behaviour {
	if b := l.Models[m]; b != nil {
		return b
	}
	return &unknown
}

// rate returns the counts of a model and firmware, to add to.
func (l *Learning) rate(m Model, firmware string, tracked bool) *Rate {
	if l.index == nil {
		l.index = map[rateKey]*Rate{}
		for _, r := range l.Rates {
			l.index[rateKey{r.Model, r.Firmware, r.Tracked}] = r
		}
	}
	r := l.index[rateKey{m, firmware, tracked}]
	if r == nil && len(l.Rates) >= maxRates && firmware != "" {
		return l.rate(m, "", tracked)
	}
	if r == nil {
		r = &Rate{Model: m, Firmware: firmware, Tracked: tracked}
		l.Rates = append(l.Rates, r)
		l.index[rateKey{m, firmware, tracked}] = r
	}
	return r
}

func (l *Learning) addQuiet(day string, n int) {
	if l.Quiet == nil {
		l.Quiet = map[string]int{}
	}
	l.Quiet[day] += n
	for len(l.Quiet) > MaxDays {
		first := day
		for d := range l.Quiet {
			first = min(first, d)
		}
		delete(l.Quiet, first)
	}
}
