package motorway

import (
	"context"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/windows"
)

// Ledger is what messages need of the ledger. Package ledger says what each method does. Package
// replay has one without a database.
type Ledger interface {
	Switch() outage.Switch
	LastReceipt(ctx context.Context) (time.Time, error)

	Record(ctx context.Context, a outage.Activation) ledger.Recorded
	RecordClosing(ctx context.Context, a outage.Activation) ledger.Recorded
	RecordUnresolved(ctx context.Context, a outage.Activation, m outage.Manufacturers, spans outage.Spans, closing bool)
	RecordAnswer(ctx context.Context, a outage.Activation, answer outage.State) (remembered bool)
	Fail(f windows.Failed)
	NoteUntracked(u windows.Untracked)

	MayHaveWindow(chf outage.DeviceID) bool
	Decide(ctx context.Context, a outage.Alert, outcome outage.Outcome, tolerance time.Duration) (ledger.Decision, error)
	NotePassed(id []byte, chf outage.DeviceID, start, received time.Time, reason outage.Reason)
	RememberForwarded(ctx context.Context, f ledger.ForwardedNote)
}

// Devices is what messages need of the inventory and the device list.
type Devices interface {
	Device(ctx context.Context, id outage.DeviceID) (d *outage.Device, listed bool, err error)
}

// Cluster is what messages need to know about this node.
type Cluster interface {
	Elapsed() time.Duration // since a fixed instant, whatever the clock says
	ClockSure() bool
	Following() bool
}
