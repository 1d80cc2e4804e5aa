package duis_test

import (
	"fmt"
	"time"

	"quell/internal/duis"
	"quell/internal/outage"
)

func ExampleRead() {
	began := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	id := outage.RequestID{Originator: 0x90B3D51F30000002, Target: 0x90B3D51F30010000, Counter: 7}
	document := duis.AppendPowerOutage(nil, id, began.Add(3*time.Minute), duis.PowerOutage{CHF: 0x88738457002F961E, Start: began, MPxN: "1200023305967"})

	message, err := duis.Read(document)
	if err != nil {
		fmt.Println("it is forwarded as it is:", err)
		return
	}
	fmt.Println(message.AlertCode, "of hub", message.Outage.CHF, "at", message.Outage.MPxN)
	fmt.Println("the outage began at", message.Outage.Start.Format(time.TimeOnly))
	// Output:
	// AD1 of hub 88-73-84-57-00-2F-96-1E at 1200023305967
	// the outage began at 10:00:00
}
