package motorway

import (
	"context"
	"fmt"
	"slices"

	"quell/internal/windows"
)

// untrackedInText is how many of the requests that were not tracked are in the text.
const untrackedInText = 10

// explainUntracked adds the requests that opened no window, and why: those for the meter or
// with the id that was asked about, or for all meters on the hubs concerned.
func (m *Motorway) explainUntracked(ctx context.Context, x *Explanation, sub *subject) error {
	first := windows.Filter{ESME: sub.eui, RequestID: sub.filter.RequestID}
	if sub.meter != 0 {
		first.ESME = sub.meter
	}
	filters := []windows.Filter{first}
	for _, d := range x.Devices {
		filters = append(filters, windows.Filter{ESME: d.ID})
	}
	if sub.meter == 0 {
		for _, hub := range sub.hubs {
			filters = append(filters, windows.Filter{CHF: hub})
		}
	}
	if len(sub.hubs) == 0 && sub.origin != 0 {
		filters = append(filters, windows.Filter{CHF: sub.origin}) // an alert of a hub without a window has no record
	}
	seen := map[windows.Untracked]bool{}
	for _, f := range filters {
		if f == (windows.Filter{}) {
			continue
		}
		list, err := m.Windows.Untracked(ctx, f, explainLimit)
		if err != nil {
			return err
		}
		for _, u := range list {
			if !seen[u] {
				seen[u] = true
				x.Untracked = append(x.Untracked, u)
			}
		}
	}
	slices.SortStableFunc(x.Untracked, func(a, b windows.Untracked) int { return b.Received.Compare(a.Received) })
	x.Untracked = x.Untracked[:min(len(x.Untracked), explainLimit)]
	for i, u := range x.Untracked {
		if i == untrackedInText {
			x.Text = append(x.Text, fmt.Sprintf("There are %d or more other requests that opened no window.", len(x.Untracked)-i))
			break
		}
		x.Text = append(x.Text, untrackedText(&u))
	}
	return nil
}

func untrackedText(u *windows.Untracked) string {
	text := fmt.Sprintf("Request %s (%s) for meter %s", u.RequestID, u.Form, u.ESME)
	if u.CHF != 0 {
		text += fmt.Sprintf(" on hub %s", u.CHF)
	}
	return text + fmt.Sprintf(", received %s, was not tracked and opened no window: %s.", stamp(u.Received), u.Reason.Text())
}
