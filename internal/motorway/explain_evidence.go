package motorway

import (
	"context"
	"fmt"
	"strings"

	"quell/internal/assess"
	"quell/internal/evidence"
	"quell/internal/outage"
)

// EvidenceOf returns what is known of whether the alerts of some entries were genuine, in the order
// of the entries. Entries that were not assessed yet are left out.
func (m *Motorway) EvidenceOf(ctx context.Context, entries []outage.Entry) ([]*assess.Evidence, error) {
	seqs := make([]int64, len(entries))
	for i := range entries {
		seqs[i] = entries[i].Seq
	}
	found, err := m.Evidence.Of(ctx, seqs)
	list := []*assess.Evidence{}
	for _, seq := range seqs {
		if e := found[seq]; e != nil {
			list = append(list, e)
		}
	}
	return list, err
}

// evidenceText says what is known of an entry in words.
func evidenceText(e *assess.Evidence) string {
	var b strings.Builder
	switch e.Level {
	case evidence.Strong:
		fmt.Fprintf(&b, "Entry %d: there is strong evidence that the alert was genuine", e.Entry)
	case evidence.Weak:
		fmt.Fprintf(&b, "Entry %d: there is weak evidence that the alert was genuine", e.Entry)
	default:
		fmt.Fprintf(&b, "Entry %d: there is no evidence that the alert was genuine", e.Entry)
	}
	fmt.Fprintf(&b, " (odds %s, assessed %s).", oddsText(e.Odds), stamp(e.At))
	for _, text := range e.Text {
		b.WriteString(" " + text)
	}
	for _, s := range e.History {
		fmt.Fprintf(&b, " At %s it changed from %s to %s.", stamp(s.At), s.Was, s.Level)
	}
	return b.String()
}

// oddsText says odds as people do.
func oddsText(odds float64) string {
	switch {
	case odds >= 1e6:
		return "over 1,000,000 to 1"
	case odds >= 1:
		return fmt.Sprintf("about %.0f to 1", odds)
	case odds >= 1e-6:
		return fmt.Sprintf("about 1 to %.0f", 1/odds)
	}
	return "less than 1 to 1,000,000"
}
