package gbcs_test

import (
	"fmt"
	"time"

	"quell/internal/gbcs"
	"quell/internal/outage"
)

func ExampleReadCS06() {
	at := time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC)
	payload := gbcs.AppendCS06(nil, gbcs.CS06{Originator: 0x90B3D51F30010000, Target: 0x00DB1234567890A0, Counter: 7,
		Order: outage.Order{Kind: outage.FutureDated, At: at}})
	payload = gbcs.AppendSigned(nil, payload, [64]byte{}) // quell does not look at the signature

	command, err := gbcs.ReadCS06(payload)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("meter", command.Target, "activates its firmware,", command.Order.Kind, "at", command.Order.At.Format(time.DateTime))
	// Output:
	// meter 00-DB-12-34-56-78-90-A0 activates its firmware, future-dated at 2026-03-02 02:00:00
}
