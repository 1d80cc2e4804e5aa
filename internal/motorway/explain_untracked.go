package motorway

import (
	"context"
	"fmt"
	"slices"

	"quell/internal/windows"
)

// saidUntracked is how many requests that were not tracked are told in words.
const saidUntracked = 10

// explainUntracked says which requests opened no window, and why: those of the meter or
// the request that was asked about, or of all meters of the hubs concerned.
func (m *Motorway) explainUntracked(ctx context.Context, x *Explanation, sub *subject) error {
	find := windows.Filter{ESME: sub.eui, RequestID: sub.find.RequestID}
	if sub.meter != 0 {
		find.ESME = sub.meter
	}
	finds := []windows.Filter{find}
	for _, d := range x.Devices {
		finds = append(finds, windows.Filter{ESME: d.ID})
	}
	if sub.meter == 0 {
		for _, hub := range sub.hubs {
			finds = append(finds, windows.Filter{CHF: hub})
		}
	}
	seen := map[windows.Untracked]bool{}
	for _, f := range finds {
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
		if i == saidUntracked {
			x.Text = append(x.Text, fmt.Sprintf("There are %d or more other requests that opened no window.", len(x.Untracked)-i))
			break
		}
		x.Text = append(x.Text, sayUntracked(&u))
	}
	return nil
}

func sayUntracked(u *windows.Untracked) string {
	text := fmt.Sprintf("Request %s (%s) for meter %s", u.RequestID, u.Form, u.ESME)
	if u.CHF != 0 {
		text += fmt.Sprintf(" on hub %s", u.CHF)
	}
	return text + fmt.Sprintf(", received %s, was not tracked and opened no window: %s.", stamp(u.Received), u.Reason.Text())
}
