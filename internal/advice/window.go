package advice

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// What window advice needs.
const (
	// MinWindowAlerts is how many AD1s of a model must have been seen before a window is advised
	// for it: the last one in a hundred decides its end, so that there must be some of those.
	MinWindowAlerts = 200
	// Earliest is where a learned window starts: no hub is known to report an outage sooner after
	// the activation. What comes before it goes forward.
	Earliest = 165 * time.Second
	// quantile is the share of the AD1s that a learned window reaches, and margin is added then.
	quantile = 0.99
	margin   = 30 * time.Second
	// MaxMinutes is the longest window of a curve.
	MaxMinutes = 120
)

// Bin is the width of the bins in which times are counted.
const Bin = 15 * time.Second

// Times are the times from the activation to the AD1 that were seen of a model: Bins[i] AD1s were
// received from i to i + 1 times Bin after the activation. What came after the last bin was not
// looked at.
type Times struct {
	Model       string
	Activations int
	Bins        []int
}

func (t *Times) alerts() (n int) {
	for _, b := range t.Bins {
		n += b
	}
	return n
}

// before returns how many AD1s came before an instant after the activation. Within a bin they
// are taken to be spread evenly.
func (t *Times) before(d time.Duration) (n float64) {
	whole := min(int(d/Bin), len(t.Bins))
	for _, b := range t.Bins[:whole] {
		n += float64(b)
	}
	if whole < len(t.Bins) {
		n += float64(t.Bins[whole]) * float64(d%Bin) / float64(Bin)
	}
	return n
}

// quantile returns by when the share q of the AD1s had come: the end of its bin.
func (t *Times) quantile(q float64) time.Duration {
	need := int(math.Ceil(q * float64(t.alerts())))
	for i, b := range t.Bins {
		if need -= b; need <= 0 {
			return time.Duration(i+1) * Bin
		}
	}
	return time.Duration(len(t.Bins)) * Bin
}

// A Trade is what a window does: false alerts that it removes against genuine ones that it
// hides, of a model's activations.
type Trade struct {
	From    int     `json:"from_seconds"`
	To      int     `json:"to_seconds"`
	Removed float64 `json:"removed"`       // AD1s that came within it
	Share   float64 `json:"removed_share"` // of those that were seen
	Hidden  float64 `json:"hidden"`        // genuine AD1s within it, by the base rate
}

// Window is what is advised about the window of a model. Learned is nil if too few AD1s were
// seen.
type Window struct {
	Model       string  `json:"model"`
	Activations int     `json:"activations"`
	Alerts      int     `json:"alerts"`
	Seen        int     `json:"seen_seconds"` // how long after the activation AD1s were looked for
	Median      int     `json:"median_seconds"`
	Q99         int     `json:"q99_seconds"`
	Learned     *Trade  `json:"learned,omitempty"`
	Now         Trade   `json:"now"`   // the window that is in force
	Curve       []Trade `json:"curve"` // from the activation, for 1 to 120 minutes
}

// AdviseWindows says for each model, in order, what each window would do. inForce returns the
// window of a model as it is now.
//
// Hidden is the base rate times the hub-minutes of the windows. It assumes that power cuts come
// to the homes whose meters are activated as often as to others, at the times of activations as
// at others. Removed counts the few genuine ones among those that were seen, too.
func AdviseWindows(times []Times, base Base, inForce func(model string) (from, to time.Duration)) []Window {
	list := []Window{}
	for i := range times {
		t := &times[i]
		trade := func(from, to time.Duration) Trade {
			removed := t.before(to) - t.before(from)
			return Trade{From: int(from.Seconds()), To: int(to.Seconds()), Removed: removed, Share: removed / math.Max(1, float64(t.alerts())),
				Hidden: base.PerMinute() * (to - from).Minutes() * float64(t.Activations)}
		}
		w := Window{Model: t.Model, Activations: t.Activations, Alerts: t.alerts(), Seen: int((time.Duration(len(t.Bins)) * Bin).Seconds()), Curve: []Trade{}}
		w.Now = trade(inForce(t.Model))
		if w.Alerts > 0 {
			w.Median, w.Q99 = int(t.quantile(0.5).Seconds()), int(t.quantile(quantile).Seconds())
		}
		for m := 1; m <= MaxMinutes; m++ {
			w.Curve = append(w.Curve, trade(0, time.Duration(m)*time.Minute))
		}
		if to := t.quantile(quantile) + margin; w.Alerts >= MinWindowAlerts && to > Earliest {
			learned := trade(Earliest, to)
			w.Learned = &learned
		}
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b Window) int { return cmp.Compare(a.Model, b.Model) })
	return list
}
