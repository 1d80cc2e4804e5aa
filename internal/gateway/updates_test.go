package gateway

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"quell/internal/devices"
	"quell/internal/duis"
	"quell/internal/outage"
)

// updateFor is an 11.1 for meters from one to another, with an image of some bytes.
func updateFor(image, from, to int) *message {
	var ids []string
	for n := from; n <= to; n++ {
		ids = append(ids, meterID(n).String())
	}
	m := &message{method: "POST", target: "/", host: "quell", body: []byte(`<?xml version="1.0" encoding="UTF-8"?><Request xmlns="` + duis.Namespace + `" schemaVersion="5.4"><Header><RequestID>` +
		outage.RequestID{Originator: deviceBase["USER"], Target: 1, Counter: 7}.String() + `</RequestID><CommandVariant>8</CommandVariant><ServiceReference>11.1</ServiceReference>` +
		`<ServiceReferenceVariant>11.1</ServiceReferenceVariant></Header><Body><UpdateFirmware><FirmwareImage>` + strings.Repeat("Q", image) + `</FirmwareImage><FirmwareVersion>00000002</FirmwareVersion>` +
		`<DeviceIDList>` + strings.Join(ids, ",") + `</DeviceIDList></UpdateFirmware></Body></Request>`)}
	m.setHeader("Content-Type", "application/xml")
	return m
}

// TestUpdates: the meters of an 11.1 are noted if it was accepted, and N60s that arrive. Messages pass
// unchanged, in any form and size.
func TestUpdates(t *testing.T) { bothWays(t, testUpdates) }

func testUpdates(t *testing.T, slow bool) {
	w := startedWorldBy(t, func(w *world) { w.slow = slow })
	w.m.Sightings, w.m.Updates = w.store.Sightings, w.store.Updates
	w.store.Sightings.Enable(true)
	waiting := func() (ordered, arrived int) {
		if err := w.store.Updates.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := w.store.Updates.Waiting(t.Context(), devices.Newest, w.now())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			if x.Supplier != deviceBase["USER"] {
				t.Errorf("supplier %s", x.Supplier)
			}
			if x.Arrived {
				arrived += x.Count
			} else {
				ordered += x.Count
			}
		}
		return ordered, arrived
	}
	// Each message is for one meter of its own.
	for i, c := range []struct {
		image   int
		chunked bool
		how     answer
		counts  bool
	}{
		{100, false, answer{status: 200, code: "I0"}, true},
		{100, true, answer{status: 200, code: "I0"}, true},
		{1 << 20, false, answer{status: 200, code: "I0"}, true},
		{1 << 20, true, answer{status: 200, code: "I99"}, true},
		{1 << 20, true, answer{status: 204}, true},
		{100, false, answer{status: 200, code: "E19"}, false},
		{1 << 20, false, answer{status: 200, code: "E19"}, false},
		{1 << 20, true, answer{status: 200, code: "E19", padding: 100_000}, false},
		{1 << 20, false, answer{status: 500}, false},
		{100, false, answer{status: 400, code: "I0"}, false},
	} {
		w.hops[outage.South].set(c.how, false)
		m := updateFor(c.image, i+1, i+1)
		m.chunked = c.chunked
		before, _ := waiting()
		from := len(w.hops[outage.South].seen(0))
		r := w.mustSend(outage.South, m)
		seen := w.hops[outage.South].seen(from)
		if len(seen) != 1 || seen[0].sum != sha256.Sum256(m.body) || r.status != c.how.status || c.how.status != 204 && string(r.body) != string(seen[0].body) {
			t.Errorf("message %d was changed, or its answer", i)
		}
		want := before
		if c.counts {
			want++
		}
		w.eventually(fmt.Sprintf("message %d: %d meters", i, want), func() bool { n, _ := waiting(); return n == want })
	}
	w.hops[outage.South].set(answer{status: 200, hangUp: "before"}, false)
	w.mustSend(outage.South, updateFor(1<<20, 11, 11))
	other := updateFor(1<<20, 12, 12) // of another service
	other.body = []byte(strings.ReplaceAll(string(other.body), "11.1<", "11.2<"))
	w.hops[outage.South].set(answer{status: 200, code: "I0"}, false)
	w.mustSend(outage.South, other)
	w.store.Sightings.Enable(false)
	w.mustSend(outage.South, updateFor(100, 13, 13))
	w.store.Sightings.Enable(true)

	arrived := &message{method: "POST", target: "/", host: "quell", body: []byte(`<Response xmlns="` + duis.Namespace + `" schemaVersion="5.4"><Header><ResponseCode>I0</ResponseCode>` +
		`<ResponseDateTime>2026-03-01T10:00:00Z</ResponseDateTime></Header><Body><DCCAlertMessage><DCCAlertCode>N60</DCCAlertCode><DCCAlert><CSPFirmwareDeliveryStatus><UpdateFirmwareRequestID>` +
		outage.RequestID{Originator: deviceBase["USER"], Target: 1, Counter: 7}.String() + `</UpdateFirmwareRequestID><CommsHubDeviceID>` + hubID(1).String() + `</CommsHubDeviceID><TargetDeviceID>` +
		meterID(1).String() + `</TargetDeviceID><FirmwareVersion>00000002</FirmwareVersion><TimeStamp>2026-03-01T10:00:00Z</TimeStamp><CommsHubTransferStatus>Success</CommsHubTransferStatus>` +
		`</CSPFirmwareDeliveryStatus></DCCAlert></DCCAlertMessage></Body></Response>`)}
	arrived.setHeader("Content-Type", "application/xml")
	w.mustSend(outage.North, arrived)
	w.eventually("an image has arrived", func() bool { _, n := waiting(); return n == 1 })
	if n, _ := waiting(); n != 4 {
		t.Errorf("%d meters are waiting for their image", n)
	}
}
