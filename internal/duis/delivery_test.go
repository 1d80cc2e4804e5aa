package duis

import (
	"strings"
	"testing"

	"quell/internal/outage"
)

// An N60 says whether an image has arrived at the hub of a device. A value that is not valid is left
// zero; it does not make the message unreadable.
func TestReadDelivery(t *testing.T) {
	const delivery = `<sr:Response xmlns:sr="` + Namespace + `" schemaVersion="5.4">` +
		`<sr:Header><sr:ResponseID>90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-05-00-00:1801000000777</sr:ResponseID>` +
		`<sr:ResponseCode>I0</sr:ResponseCode><sr:ResponseDateTime>2027-02-01T13:06:41.25Z</sr:ResponseDateTime></sr:Header>` +
		`<sr:Body><sr:DCCAlertMessage><sr:DCCAlertCode>N60</sr:DCCAlertCode><sr:DCCAlert><sr:CSPFirmwareDeliveryStatus>` +
		`<sr:UpdateFirmwareRequestID>90-B3-D5-1F-30-01-00-07:00-1B-C5-02-B0-00-4C-2E:70001</sr:UpdateFirmwareRequestID>` +
		`<sr:CommsHubDeviceID>00-1B-C5-02-B0-00-4C-00</sr:CommsHubDeviceID><sr:TargetDeviceID>00-1B-C5-02-B0-00-4C-2F</sr:TargetDeviceID>` +
		`<sr:FirmwareVersion>00000002</sr:FirmwareVersion><sr:TimeStamp>2027-02-01T13:06:41Z</sr:TimeStamp>` +
		`<sr:CommsHubTransferStatus>Success</sr:CommsHubTransferStatus></sr:CSPFirmwareDeliveryStatus></sr:DCCAlert></sr:DCCAlertMessage></sr:Body></sr:Response>`
	update := outage.RequestID{Originator: 0x90B3D51F30010007, Target: 0x001BC502B0004C2E, Counter: 70001}
	const target = outage.DeviceID(0x001BC502B0004C2F)
	for _, c := range []struct {
		old, new string
		want     FirmwareDelivery
	}{
		{"", "", FirmwareDelivery{update, target, Arrived}},
		{">Success<", ">Failure<", FirmwareDelivery{update, target, NotArrived}},
		{">Success<", ">success<", FirmwareDelivery{update, target, 0}},
		{":70001", ":x", FirmwareDelivery{outage.RequestID{}, target, Arrived}},
		{"4C-2F", "4C", FirmwareDelivery{update, 0, Arrived}},
		{">N60<", ">N61<", FirmwareDelivery{}},
		{"CSPFirmwareDeliveryStatus", "CommandFailure", FirmwareDelivery{}},
		{"CSPFirmwareDeliveryStatus", "PowerOutageEvent", FirmwareDelivery{}},
	} {
		m, err := Read([]byte(strings.ReplaceAll(delivery, c.old, c.new)))
		if err != nil || m.Delivery != c.want {
			t.Errorf("%q for %q: %+v, %v", c.new, c.old, m.Delivery, err)
		}
	}
}
