package web

import (
	"fmt"
	"slices"
	"time"

	"quell/internal/assess"
	"quell/internal/evidence"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/release"
)

// timeline is what happened to some devices: as a picture, drawn to scale, and as a table.
type timeline struct {
	axis
	Ticks  []tick
	Lanes  []lane
	Events []happening
	Now    *percent // nil: it is not in the picture
}

// lane is one line of the picture.
type lane struct {
	Name, Key      string
	Spans          []stretch
	Marks          []mark
	Earlier, Later int // what is outside of the picture
}

type stretch struct {
	X, Width    percent
	Class, Text string
}

type mark struct {
	X           percent
	Class, Text string
}

// happening is one line of the table.
type happening struct {
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

// newTimeline returns what an explanation has, around an entry or, if that is nil, around the last
// window. facts are those of the entry; nil if it was not assessed. It returns nil if nothing
// happened.
func newTimeline(x *motorway.Explanation, focus *outage.Entry, facts *evidence.Assessment, releases []release.Release) *timeline {
	l := &timeline{}
	var spans []motorway.Activation
	for _, a := range x.Activations {
		l.add(a.Received, requestLane, "first", "Request", fmt.Sprintf("%s, %s, for meter %s, from %s. %s", a.Form, a.Mode, a.ESME, orderedBy(a.RequestID), stateText(&a)), "/explain/message/"+a.RequestID)
		if a.WindowStart != nil {
			spans = append(spans, a)
			l.add(*a.WindowStart, 0, "", "Window begins", windowText(&a), "")
			l.add(*a.WindowEnd, 0, "", "Window ends", windowText(&a), "")
		}
	}
	for _, u := range x.Untracked {
		l.add(u.Received, requestLane, "hollow", "Request without a window", sentence(u.Reason.Text()), "/explain/message/"+u.RequestID)
	}
	for i := range x.Entries {
		e := &x.Entries[i]
		class, what := "first", "AD1 suppressed"
		if e.Outcome == outage.Shadow || e.Outcome == outage.Forwarded {
			class, what = "hollow", "AD1 forwarded"
		}
		l.add(e.Received, alertLane, class, what, fmt.Sprintf("Entry %s, from hub %s.", number(e.Seq), e.CHF), fmt.Sprintf("/explain/entry/%d", e.Seq))
		if focus != nil && e.Seq == focus.Seq {
			l.add(e.OutageStart, restorationLane, "hollow", "Outage began", "As the AD1 says.", "")
		}
	}
	for _, f := range x.Forwarded {
		if f.Reason == outage.ReasonReleased {
			continue // the release is there already
		}
		l.add(f.Received, alertLane, "hollow", "AD1 forwarded", sentence(f.Reason.Text()), "")
	}
	l.addEvidence(x.Evidence, focus, facts)
	for _, r := range releases {
		l.add(r.AskedAt, evidenceLane, "third", "Release asked for", fmt.Sprintf("Entry %s, by %s: %s", number(r.Entry), r.Who, r.Why), "")
		if r.State == release.Done {
			l.add(r.EndedAt, alertLane, "hollow", "AD1 delivered late", fmt.Sprintf("Entry %s.", number(r.Entry)), "")
		}
	}
	if len(l.Events) == 0 {
		return nil
	}
	slices.SortStableFunc(l.Events, func(a, b happening) int { return a.At.Compare(b.At) })
	l.frame(spans, focus)
	l.draw(spans, x.At)
	return l
}

func (l *timeline) add(at time.Time, in int, class, what, text, to string) {
	if !at.IsZero() {
		l.Events = append(l.Events, happening{at, in, what, text, to, class})
	}
}

func (l *timeline) addEvidence(list []*assess.Evidence, focus *outage.Entry, facts *evidence.Assessment) {
	for _, e := range list {
		for _, s := range e.History {
			l.add(s.At, evidenceLane, "third", "Evidence "+string(s.Level), fmt.Sprintf("Entry %s: it was %s before.", number(e.Entry), s.Was), "")
		}
		if focus != nil && e.Entry == focus.Seq {
			l.add(e.At, evidenceLane, "hollow", "Assessed last", fmt.Sprintf("Entry %s: %s.", number(e.Entry), e.Level), "")
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
func (l *timeline) frame(spans []motorway.Activation, focus *outage.Entry) {
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
	l.axis = axis{From: first.Add(-edge), To: last.Add(edge)}
	l.Ticks = l.axis.Ticks(6)
}

func (l *timeline) draw(spans []motorway.Activation, now time.Time) {
	l.Lanes = make([]lane, len(laneNames))
	for i, name := range laneNames {
		l.Lanes[i].Name, l.Lanes[i].Key = name[0], name[1]
	}
	outside := func(n *lane, from, to time.Time) bool {
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
		w.Spans = append(w.Spans, stretch{l.At(*a.WindowStart), l.At(*a.WindowEnd) - l.At(*a.WindowStart), class, windowText(&a)})
	}
	for _, e := range l.Events {
		if e.Lane == 0 {
			continue
		}
		n := &l.Lanes[e.Lane-1]
		if !outside(n, e.At, e.At) {
			n.Marks = append(n.Marks, mark{l.At(e.At), e.class, fmt.Sprintf("%s: %s. %s", utc(e.At), e.What, e.Text)})
		}
	}
	if !now.Before(l.From) && !now.After(l.To) {
		x := l.At(now)
		l.Now = &x
	}
}

func windowText(a *motorway.Activation) string {
	return fmt.Sprintf("Window %s to %s of meter %s. %s", a.WindowStart.UTC().Format("15:04:05"), a.WindowEnd.UTC().Format("15:04:05"), a.ESME, stateText(a))
}

// stateText says what became of a request.
func stateText(a *motorway.Activation) string {
	switch {
	case a.State == outage.Withdrawn:
		return "Withdrawn: the next hop refused it, or did not get it."
	case a.State == outage.Failed:
		return sentence("closed, since the activation did not run: " + a.Why)
	case a.State == outage.Closed:
		return sentence("closed by hand, " + a.Why)
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

// orderedBy names who sent a request.
func orderedBy(requestID string) string {
	id, err := outage.ParseRequestID(requestID)
	if err != nil {
		return "somebody unknown"
	}
	return id.Originator.String()
}
