package outage_test

import (
	"fmt"
	"time"

	"quell/internal/outage"
)

// A window starts at the execution time. Its end is not part of it.
func ExampleDecide() {
	ordered := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	at := ordered.Add(16 * time.Hour)
	request := outage.Request{
		ID:       outage.RequestID{Originator: 0x90B3D51F30010000, Target: 0x00DB1234567890A0, Counter: 7},
		Form:     outage.SignedPreCommand,
		Order:    outage.Order{Kind: outage.FutureDated, At: at},
		Received: ordered,
	}
	window := request.Activation(0x88738457002F961E, 30*time.Minute)
	window.State = outage.Accepted

	of := []outage.Activation{window}
	outage.ResolveWindows(of)
	for _, received := range []time.Time{at.Add(-time.Microsecond), at, at.Add(30 * time.Minute)} {
		decision, _ := outage.Decide(of, received)
		fmt.Println(received.Format("15:04:05.000000"), decision.Outcome, decision.Reason)
	}
	// Output:
	// 01:59:59.999999 forwarded window-not-begun
	// 02:00:00.000000 suppressed window-open
	// 02:30:00.000000 forwarded window-over
}
