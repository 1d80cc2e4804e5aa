package sim

import (
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
)

func TestActivation(t *testing.T) {
	town := NewTown(1)
	h := town.homes[0][0][0]
	for _, order := range []outage.Order{
		{Kind: outage.OnDemand},
		{Kind: outage.Cancellation},
		{Kind: outage.FutureDated, At: time.Date(2026, 11, 23, 4, 15, 0, 0, time.UTC)},
	} {
		m, err := duis.Read(town.serviceRequest(h, order))
		if err != nil || m.Body != duis.BodyActivateFirmware || m.CommandVariant != 4 || m.RequestID.Target != h.meter.ID || m.Order() != order {
			t.Errorf("Service Request %v reads %+v, %v", order, m, err)
		}
		m, err = duis.Read(town.signedPreCommand(h, order))
		if err != nil || m.Body != duis.BodySignedPreCommand || m.CommandVariant != 5 || m.RequestID.Target != h.meter.ID {
			t.Errorf("Signed Pre-Command %v reads %+v, %v", order, m, err)
		}
		have, err := gbcs.ReadCS06(m.Payload)
		if want := (gbcs.CS06{Originator: supplier, Target: h.meter.ID, Counter: m.RequestID.Counter, ImageHash: imageHash, Order: order}); err != nil || have != want {
			t.Errorf("payload %v reads %+v, %v", order, have, err)
		}
	}
}

func TestNorthboundMessages(t *testing.T) {
	town := NewTown(1)
	h := town.homes[0][0][0]
	at := time.Date(2026, 11, 23, 4, 15, 20, 0, time.UTC)
	for _, c := range []struct {
		code string
		body duis.Body
		text []byte
	}{
		{"AD1", duis.BodyPowerOutage, town.powerOutage(h, at, at.Add(-3*time.Minute))},
		{"N12", duis.BodyOther, town.commandFailure(h, at)},
		{"8F36", duis.BodyOther, town.restoration(h, at)},
		{"8F66", duis.BodyOther, town.activated(h, at)},
		{"", duis.BodyOther, town.response(h, at)},
	} {
		m, err := duis.Read(c.text)
		if err != nil || m.Root != duis.RootResponse || m.AlertCode != c.code || m.Body != c.body || !m.ResponseTime.Equal(at) {
			t.Errorf("%q reads %+v, %v", c.code, m, err)
		}
		if c.body == duis.BodyPowerOutage && (m.Outage.CHF != h.meter.CHF || m.Outage.MPxN != h.meter.MPxN || !m.Outage.Start.Equal(at.Add(-3*time.Minute))) {
			t.Errorf("%s says %+v of home %+v", c.code, m.Outage, h)
		}
	}
	m, _ := duis.Read(town.activated(h, at))
	done, err := gbcs.ReadOutcome(m.Payload)
	if err != nil || done.Alert != gbcs.AlertSuccess || done.Failed() || done.Meter != h.meter.ID || !done.At.Equal(at) {
		t.Errorf("8F66 says %+v, %v", done, err)
	}
	if m, _ := duis.Read(town.commandFailure(h, at)); m.FailedRequest.Target != h.meter.ID {
		t.Errorf("N12 says %+v", m)
	}
	a, _ := duis.Read(town.powerOutage(h, at, at))
	b, _ := duis.Read(town.powerOutage(h, at, at))
	if a.AlertID() == b.AlertID() {
		t.Error("two alerts have the same id")
	}
}

func TestFirmwareImage(t *testing.T) {
	town := NewTown(1)
	b := town.firmwareImage(town.homes[0][0][0], 10<<20)
	if len(b) < 10<<20 || len(b) > 10<<20+1000 {
		t.Errorf("%d bytes", len(b))
	}
	if m, _ := duis.Read(b[:8<<10]); m.ServiceReferenceVariant != "11.1" || m.RequestID.Originator != supplier {
		t.Errorf("its head reads %+v", m)
	}
}
