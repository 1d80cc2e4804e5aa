package sim

import (
	"encoding/hex"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
)

func TestActivation(t *testing.T) {
	town := newTown(1, 20)
	meter := town.homes[0].Meters[0].ID
	at := time.Date(2026, 11, 23, 4, 15, 0, 0, time.UTC)
	for _, order := range []outage.Order{immediately, cancel, futureDated(at)} {
		id := town.requestID(meter)
		m, err := duis.Read(activation(id, outage.ServiceRequest, order))
		if err != nil || m.Body != duis.BodyActivateFirmware || m.CommandVariant != 4 || m.RequestID != id || m.Order() != order {
			t.Errorf("Service Request %v reads %+v, %v", order, m, err)
		}
		m, err = duis.Read(activation(id, outage.SignedPreCommand, order))
		if err != nil || m.Body != duis.BodySignedPreCommand || m.CommandVariant != 5 || m.RequestID != id {
			t.Errorf("Signed Pre-Command %v reads %+v, %v", order, m, err)
		}
		have, err := gbcs.ReadCS06(m.Payload)
		if want := (gbcs.CS06{Originator: id.Originator, Target: meter, Counter: id.Counter, ImageHash: imageHash, Order: order}); err != nil || have != want {
			t.Errorf("payload %v reads %+v, %v", order, have, err)
		}
	}
}

func TestNorthboundMessages(t *testing.T) {
	town := newTown(1, 20)
	h := town.homes[0]
	at := time.Date(2026, 11, 23, 4, 15, 20, 0, time.UTC)
	for _, c := range []struct {
		code string
		body duis.Body
		text []byte
	}{
		{"AD1", duis.BodyPowerOutage, town.powerOutage(h, at, at.Add(-3*time.Minute))},
		{"N12", duis.BodyOther, town.commandFailure(h, at, "N12")},
		{"8F36", duis.BodyOther, town.restoration(h, at, at, at, 0x8F36)},
		{"8F66", duis.BodyOther, town.activated(h, at)},
	} {
		m, err := duis.Read(c.text)
		if err != nil || m.Root != duis.RootResponse || m.AlertCode != c.code || m.Body != c.body || !m.ResponseTime.Equal(at) {
			t.Errorf("%s reads %+v, %v", c.code, m, err)
		}
		if c.body == duis.BodyPowerOutage && (m.Outage.CHF != h.CHF || m.Outage.MPxN != h.MPAN || !m.Outage.Start.Equal(at.Add(-3*time.Minute))) {
			t.Errorf("%s says %+v of home %+v", c.code, m.Outage, h)
		}
	}
	m, _ := duis.Read(town.activated(h, at))
	done, err := gbcs.ReadOutcome(m.Payload)
	if meter := h.Meters[0].ID; err != nil || done.Alert != gbcs.AlertSuccess || done.Failed() || done.Meter != meter || !done.At.Equal(at) {
		t.Errorf("8F66 says %+v, %v", done, err)
	}
	if m, _ := duis.Read(town.commandFailure(h, at, "N12")); m.FailedRequest.Target != h.Meters[0].ID {
		t.Errorf("N12 says %+v", m)
	}
	a, _ := duis.Read(town.powerOutage(h, at, at))
	b, _ := duis.Read(town.powerOutage(h, at, at))
	if a.AlertID() == b.AlertID() {
		t.Error("two alerts have the same id")
	}
}

// TestCOSEMTime holds the times of a restoration to those of the industry's
// reference data.
func TestCOSEMTime(t *testing.T) {
	have := hex.EncodeToString(appendCOSEMTime(nil, time.Date(2014, 12, 31, 23, 50, 0, 0, time.UTC)))
	if want := "090c07de0c1fff173200008000ff"; have != want {
		t.Errorf("have %s\nwant %s", have, want)
	}
}

func TestUpdateFirmware(t *testing.T) {
	town := newTown(1, 20)
	b := town.updateFirmware(town.homes[0], 10<<20)
	if len(b) < 10<<20 || len(b) > 10<<20+1000 {
		t.Errorf("%d bytes", len(b))
	}
	if m, _ := duis.Read(b[:headSize]); m.ServiceReferenceVariant != "11.1" || m.RequestID.Originator != supplier {
		t.Errorf("its head reads %+v", m)
	}
}
