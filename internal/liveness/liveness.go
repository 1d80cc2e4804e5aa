// Package liveness notices what no message shows: that AD1s do not come though they should, or
// that more are suppressed than there are windows for. It is a fold over samples. It does no I/O
// and reads no clock.
//
// A condition is raised by one threshold and cleared by another, so that it does not flicker.
// A system in which nothing happens raises none.
package liveness

import (
	"fmt"
	"slices"
	"time"
)

// The thresholds, in one place.
const (
	// Every is how often a sample is taken.
	Every = time.Minute

	// A campaign runs if so many windows of Signed Pre-Commands started from CampaignFrom to
	// CampaignTo ago. Of so many activations of meters that are in the list for their AD1s, at
	// least one raises one: if only one in twenty did, none in 200 would have a chance of 1 in
	// 28,000. After 15 minutes most AD1s have come.
	Campaign      = 200
	campaignOver  = 50 // cleared below this
	CampaignFrom  = 45 * time.Minute
	CampaignTo    = 15 * time.Minute
	campaignWatch = CampaignFrom // so long this node must have watched

	// More alerts are suppressed than windows allow, if within Within there were more than
	// perWindow for each window that was open, and spare more. A window usually has one: two, if
	// the outage is told to two users; a repeated activation may have another.
	Within       = 30 * time.Minute
	perWindow    = 3
	spare        = 100
	perWindowEnd = 2 // cleared at this or less
	spareEnd     = 50

	// The feed of AD1s has stopped, if none has come for silentSlots slots, though at least three
	// of four slots of the last day had usual or more. Storms do not move that quarter, and
	// where hardly any come at night it is low. A whole day is needed, with its night; as long as
	// the alarm is raised, none is added to it.
	slot        = 15 * time.Minute
	daySlots    = 96
	silentSlots = 4
	usual       = 5

	// After a step of the clock, or a pause, this long, everything is forgotten.
	mostPause = 10 * time.Minute
)

// Condition names what is wrong. It is a label of a metric.
type Condition string

const (
	NoAlerts    Condition = "no-alerts-in-campaign"
	TooMany     Condition = "more-suppressed-than-windows"
	FeedStopped Condition = "alerts-stopped"
)

// All are the conditions, in order.
var All = []Condition{NoAlerts, TooMany, FeedStopped}

// A Sample is what is counted at one time. Alerts and Northbound are of this node, since its
// start; the others are of all nodes.
type Sample struct {
	At         time.Time
	Alerts     uint64 // AD1s that came, whatever became of them
	Northbound uint64 // northbound messages that came
	Entries    int64  // the number of the last entry of the suppression log
	Campaign   int    // windows that started from CampaignFrom to CampaignTo ago; at most Campaign
	Windows    int    // windows that were open within Within; at most as many as there were entries
	Nodes      int    // that are alive
}

// A Change is a condition that was raised or cleared.
type Change struct {
	Condition Condition
	Raised    bool
	Text      string // what is wrong, for people
}

// Watch folds samples. The zero value is ready. It is not safe for concurrent use.
type Watch struct {
	samples []Sample // of the last CampaignFrom, in order
	slots   []uint64 // AD1s in each slot of the last day
	silent  int      // slots since the last AD1
	mute    int      // of these, those without any northbound message
	began   Sample   // of the slot under way
	text    map[Condition]string
}

// Suppressed returns how many entries there were within Within before an instant, when the last
// entry has a number: so many windows need to be counted for the next sample.
func (w *Watch) Suppressed(at time.Time, last int64) int {
	first := last
	for _, s := range w.samples {
		if at.Sub(s.At) <= Within {
			first = min(first, s.Entries)
		}
	}
	return int(last - first)
}

// Add adds a sample, and returns what has changed.
func (w *Watch) Add(s Sample) (changes []Change) {
	if n := len(w.samples); n > 0 {
		if d := s.At.Sub(w.samples[n-1].At); d <= 0 || d > mostPause || s.Alerts < w.samples[n-1].Alerts || s.Entries < w.samples[n-1].Entries {
			text := w.text
			*w = Watch{}
			for _, c := range All {
				if text[c] != "" {
					changes = append(changes, Change{c, false, text[c]})
				}
			}
		}
	}
	suppressed := w.Suppressed(s.At, s.Entries)
	w.samples = append(w.samples, s)
	w.samples = slices.DeleteFunc(w.samples, func(o Sample) bool { return s.At.Sub(o.At) > CampaignFrom })
	w.addSlots(s)
	set := func(c Condition, raise, clear bool, format string, args ...any) {
		was := w.text[c] != ""
		switch {
		case !was && raise, was && !clear:
			if w.text == nil {
				w.text = map[Condition]string{}
			}
			w.text[c] = fmt.Sprintf(format, args...)
		case was:
			changes = append(changes, Change{c, false, w.text[c]})
			delete(w.text, c)
			return
		}
		if !was && raise {
			changes = append(changes, Change{c, true, w.text[c]})
		}
	}
	first := w.samples[0]
	none := s.Alerts == first.Alerts && s.Entries == first.Entries
	watched := s.At.Sub(first.At) >= campaignWatch-Every
	set(NoAlerts, watched && none && s.Campaign >= Campaign, !none || s.Campaign < campaignOver,
		"a campaign runs, with %d windows or more, but no AD1 has come to this node for %d minutes, and none was suppressed: the way of alerts may be broken, or the list be wrong",
		Campaign, int(CampaignFrom.Minutes()))
	set(TooMany, suppressed > perWindow*s.Windows+spare, suppressed <= perWindowEnd*s.Windows+spareEnd,
		"%d alerts were suppressed within %d minutes, but %d windows were open: look at the suppression log, and turn the switch off if in doubt",
		suppressed, int(Within.Minutes()), s.Windows)
	low := w.lowQuarter()
	elsewhere := s.Nodes > 1 && w.mute >= silentSlots // a load balancer sends everything to others
	set(FeedStopped, w.silent >= silentSlots && low >= usual && !elsewhere, w.silent == 0 || elsewhere,
		"no AD1 has come for %d minutes, though %d or more came in most quarters of an hour of the last day: the way of alerts may be broken",
		w.silent*int(slot.Minutes()), low)
	return changes
}

// addSlots ends the slot under way, if it is over. An AD1 ends a silence at once.
func (w *Watch) addSlots(s Sample) {
	if w.began.At.IsZero() {
		w.began = s
		return
	}
	came := s.Alerts - w.began.Alerts
	if came > 0 {
		w.silent, w.mute = 0, 0
	}
	if s.At.Sub(w.began.At) < slot {
		return
	}
	if came == 0 {
		w.silent++
		if s.Northbound == w.began.Northbound {
			w.mute++
		}
	}
	if !w.Raised(FeedStopped) { // that does not become usual
		w.slots = append(w.slots, came)
		w.slots = w.slots[max(0, len(w.slots)-daySlots):]
	}
	w.began = s
}

// lowQuarter returns how many AD1s at least three of four slots had; 0 if there are too few slots.
func (w *Watch) lowQuarter() uint64 {
	if len(w.slots) < daySlots {
		return 0
	}
	sorted := slices.Sorted(slices.Values(w.slots))
	return sorted[len(sorted)/4]
}

// Conditions says what is wrong; nil if nothing is.
func (w *Watch) Conditions() (list []string) {
	for _, c := range All {
		if text := w.text[c]; text != "" {
			list = append(list, text)
		}
	}
	return list
}

// Raised reports whether a condition is raised.
func (w *Watch) Raised(c Condition) bool { return w.text[c] != "" }
