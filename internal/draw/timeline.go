package draw

import (
	"fmt"
	"slices"
	"time"

	"quell/internal/assess"
	"quell/internal/evidence"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/release"
	"quell/internal/wording"
)

// Timeline is what happened to some devices: as a picture, drawn to scale, and as a table.
type Timeline struct {
	Axis
	Scale  []Tick
	Lanes  []Lane
	Events []Happening
	Now    *Percent // nil: it is not in the picture
}

// Lane is one line of the picture.
type Lane struct {
	Name, Key      string
	Spans          []Stretch
	Marks          []Mark
	Earlier, Later int // what is outside of the picture
}

// Stretch is a span of time in a lane.
type Stretch struct {
	X, Width    Percent
	Class, Text string
}

// Mark is an instant in a lane.
type Mark struct {
	X           Percent
	Class, Text string
}

// Happening is one line of the table.
type Happening struct {
	At             time.Time
	Lane           int // 0: not in the picture
	What, Text, To string
	class          string
}

// The lanes of a picture.
const (
	requestLane = 1 + iota
	windowLane
	alertLane
	restorationLane
	evidenceLane
)

// laneNames has the name of each lane, and what its signs mean.
var laneNames = [][2]string{{"Requests (11.3)", "hollow: opened no window"}, {"Windows", "broken line: closed early"}, {"AD1s", "hollow: went forward"},
	{"Outage and restoration", "hollow: the outage began"}, {"Evidence and releases", "hollow: assessed last"}}

// NewTimeline returns what an explanation has, around an entry or, if that is nil, around the last
// window. facts are those of the entry; nil if it was not assessed. It returns nil if nothing
// happened.
func NewTimeline(x *motorway.Explanation, focus *outage.Entry, facts *evidence.Assessment, releases []release.Release) *Timeline {
	l := &Timeline{}
	var spans []motorway.Activation
	for _, a := range x.Activations {
		l.add(a.Received, requestLane, "first", "Request", fmt.Sprintf("%s, %s, for meter %s, from %s. %s", a.Form, a.Mode, a.ESME, OrderedBy(a.RequestID), StateText(&a)), "/explain/message/"+a.RequestID)
		if a.WindowStart != nil {
			spans = append(spans, a)
			l.add(*a.WindowStart, 0, "", "Window begins", windowText(&a), "")
			l.add(*a.WindowEnd, 0, "", "Window ends", windowText(&a), "")
		}
	}
	for _, u := range x.Untracked {
		l.add(u.Received, requestLane, "hollow", "Request without a window", wording.Sentence(u.Reason.Text()), "/explain/message/"+u.RequestID)
	}
	for i := range x.Entries {
		e := &x.Entries[i]
		class, what := "first", "AD1 suppressed"
		if e.Outcome == outage.Shadow || e.Outcome == outage.Forwarded {
			class, what = "hollow", "AD1 forwarded"
		}
		l.add(e.Received, alertLane, class, what, fmt.Sprintf("Entry %s, from hub %s.", wording.Number(e.Seq), e.CHF), fmt.Sprintf("/explain/entry/%d", e.Seq))
		if focus != nil && e.Seq == focus.Seq {
			l.add(e.OutageStart, restorationLane, "hollow", "Outage began", "As the AD1 says.", "")
		}
	}
	for _, f := range x.Forwarded {
		if f.Reason == outage.ReasonReleased {
			continue // the release is there already
		}
		l.add(f.Received, alertLane, "hollow", "AD1 forwarded", wording.Sentence(f.Reason.Text()), "")
	}
	l.addEvidence(x.Evidence, focus, facts)
	for _, r := range releases {
		l.add(r.AskedAt, evidenceLane, "third", "Release asked for", fmt.Sprintf("Entry %s, by %s: %s", wording.Number(r.Entry), r.Who, r.Why), "")
		if r.State == release.Done {
			l.add(r.EndedAt, alertLane, "hollow", "AD1 delivered late", fmt.Sprintf("Entry %s.", wording.Number(r.Entry)), "")
		}
	}
	if len(l.Events) == 0 {
		return nil
	}
	slices.SortStableFunc(l.Events, func(a, b Happening) int { return a.At.Compare(b.At) })
	l.frame(spans, focus)
	l.draw(spans, x.At)
	return l
}

func (l *Timeline) add(at time.Time, in int, class, what, text, to string) {
	if !at.IsZero() {
		l.Events = append(l.Events, Happening{at, in, what, text, to, class})
	}
}

func (l *Timeline) addEvidence(list []*assess.Evidence, focus *outage.Entry, facts *evidence.Assessment) {
	for _, e := range list {
		for _, s := range e.History {
			l.add(s.At, evidenceLane, "third", "Evidence "+string(s.Level), fmt.Sprintf("Entry %s: it was %s before.", wording.Number(e.Entry), s.Was), "")
		}
		if focus != nil && e.Entry == focus.Seq {
			l.add(e.At, evidenceLane, "hollow", "Assessed last", fmt.Sprintf("Entry %s: %s.", wording.Number(e.Entry), e.Level), "")
		}
	}
	if facts == nil || focus == nil {
		return
	}
	if f := facts.Facts; f.Heard > 0 {
		l.add(focus.Received.Add(f.Heard), restorationLane, "first", "Home heard again", "Something of the home sent a message.", "")
	}
	if f := facts.Facts; f.Restored {
		l.add(f.RestoredStart, restorationLane, "hollow", "Outage began", "As a restoration alert of the meter says.", "")
		l.add(f.RestoredEnd, restorationLane, "first", "Power restored", "As a restoration alert of the meter says.", "")
	}
}

// near is how far from the window what happened is drawn; the table has all.
const near = 2 * time.Hour

// frame chooses what the picture shows: a window, and what happened near it.
func (l *Timeline) frame(spans []motorway.Activation, focus *outage.Entry) {
	from, to := l.Events[0].At, l.Events[len(l.Events)-1].At
	if focus != nil {
		from, to = focus.WindowStart, focus.WindowEnd
	} else if len(spans) > 0 {
		from, to = *spans[0].WindowStart, *spans[0].WindowEnd
	}
	first, last := from, to
	for _, e := range l.Events {
		if e.Lane == 0 {
			continue
		}
		if e.At.Before(from) && from.Sub(e.At) < near && e.At.Before(first) {
			first = e.At
		}
		if e.At.After(to) && e.At.Sub(to) < near && e.At.After(last) {
			last = e.At
		}
	}
	edge := max(last.Sub(first)/12, time.Second)
	l.Axis = Axis{first.Add(-edge), last.Add(edge)}
	l.Scale = l.Ticks(6)
}

func (l *Timeline) draw(spans []motorway.Activation, now time.Time) {
	l.Lanes = make([]Lane, len(laneNames))
	for i, name := range laneNames {
		l.Lanes[i].Name, l.Lanes[i].Key = name[0], name[1]
	}
	outside := func(n *Lane, from, to time.Time) bool {
		switch {
		case to.Before(l.From):
			n.Earlier++
		case from.After(l.To):
			n.Later++
		default:
			return false
		}
		return true
	}
	for _, a := range slices.Backward(spans) {
		w := &l.Lanes[windowLane-1]
		if outside(w, *a.WindowStart, *a.WindowEnd) {
			continue
		}
		class := "window"
		if !a.Standing {
			class += " closed"
		}
		w.Spans = append(w.Spans, Stretch{l.At(*a.WindowStart), l.At(*a.WindowEnd) - l.At(*a.WindowStart), class, windowText(&a)})
	}
	for _, e := range l.Events {
		if e.Lane == 0 {
			continue
		}
		n := &l.Lanes[e.Lane-1]
		if !outside(n, e.At, e.At) {
			n.Marks = append(n.Marks, Mark{l.At(e.At), e.class, fmt.Sprintf("%s: %s. %s", wording.UTC(e.At), e.What, e.Text)})
		}
	}
	if !now.Before(l.From) && !now.After(l.To) {
		x := l.At(now)
		l.Now = &x
	}
}

func windowText(a *motorway.Activation) string {
	return fmt.Sprintf("Window %s to %s of meter %s. %s", a.WindowStart.UTC().Format("15:04:05"), a.WindowEnd.UTC().Format("15:04:05"), a.ESME, StateText(a))
}

// StateText says what became of a request.
func StateText(a *motorway.Activation) string {
	switch {
	case a.State == outage.Withdrawn:
		return "Withdrawn: the next hop refused it, or did not get it."
	case a.State == outage.Failed:
		return wording.Sentence("closed, since the activation did not run: " + a.Why)
	case a.State == outage.Closed:
		return wording.Sentence("closed by hand, " + a.Why)
	case a.SupersededBy != 0:
		return "Closed: a later request took its place."
	case a.Kind == outage.Cancellation:
		return "It cancelled what was pending."
	case a.WindowStart == nil:
		return "It opened no window."
	case a.State == outage.Uncertain:
		return "It is not certain that the request arrived, so the window does not count."
	}
	return "The window counts."
}

// OrderedBy names who sent a request.
func OrderedBy(requestID string) string {
	id, err := outage.ParseRequestID(requestID)
	if err != nil {
		return "somebody unknown"
	}
	return id.Originator.String()
}
