package assess

import (
	"context"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
)

// Write writes assessments, as Run does.
func (a *Assessor) Write(ctx context.Context, list []evidence.Assessment) error {
	return a.write(ctx, &work{unwritten: list, limit: time.Now()})
}

// Orders follow requests as Run does.
type Orders struct{ orders orders }

func (o *Orders) Resolve(s evidence.Sighting) []evidence.Sighting {
	if o.orders == nil {
		o.orders = map[outage.DeviceID][]order{}
	}
	return o.orders.resolve(nil, &s)
}

// InRush reports whether entries come in a rush. SetRush says so until Follow does.
func (a *Assessor) InRush() bool      { return a.rush.Load() }
func (a *Assessor) SetRush(rush bool) { a.rush.Store(rush) }

// WaitInRush waits while entries come in a rush, until an instant.
func (a *Assessor) WaitInRush(ctx context.Context, patience time.Time) {
	a.waitInRush(ctx, &work{patience: patience})
}

// HubsIn is what tells the engine how many hubs there are in an area.
func (a *Assessor) HubsIn(ctx context.Context) func(evidence.Area) int { return a.hubsIn(ctx) }
