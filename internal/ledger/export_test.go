package ledger

import (
	"context"

	"quell/internal/outage"
)

// For the tests in package ledger_test.
const (
	FillPage       = fillPage
	HousekeepBatch = housekeepBatch
	DecideSQL      = decideSQL
	RepeatedSQL    = repeatedSQL
	AddSQL         = addCorrectionsSQL
	CorrectSQL     = correctSQL
	CountSQL       = countSQL
	HubsSQL        = hubsSQL
	EndsSQL        = endsSQL
)

var EntriesQuery = entriesQuery

// Followed is how far a node has followed the others.
type Followed = followed

// At returns the last activation that is known, and whether nothing has to be read once more.
func (f *Followed) At() (last int64, done bool) { return f.last, f.rereadFrom == f.rereadTo }

// FollowFrom is Follow from a given place.
func (l *Ledger) FollowFrom(ctx context.Context, at *Followed) (more bool, err error) {
	return l.follow(ctx, at)
}

// FollowedTo returns the last activation that is known.
func (l *Ledger) FollowedTo() int64 { return l.followed.last }

// DecisionsWaiting and FailuresWaiting return how many wait for the writer.
func (l *Ledger) DecisionsWaiting() int { return l.decisions.Waiting() }
func (l *Ledger) FailuresWaiting() int  { return l.failed.Waiting() }

// AddHub and RemoveHub change the set of hubs.
func (l *Ledger) AddHub(chf outage.DeviceID)    { l.hubs.Add(chf) }
func (l *Ledger) RemoveHub(chf outage.DeviceID) { l.hubs.Remove(chf) }

// RememberActivation puts a request into the journal.
func (l *Ledger) RememberActivation(ctx context.Context, a outage.Activation) {
	l.remember(ctx, record{Activation: &a})
}

// EntryRow returns the row of an alert in the parameter of DecideSQL.
func EntryRow(a *outage.Alert) []byte { return appendRow(nil, a, outage.Suppressed, 0) }
