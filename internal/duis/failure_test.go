package duis

import (
	"reflect"
	"strings"
	"testing"

	"quell/internal/outage"
)

// Messages north about an 11.3 that was sent before.
const (
	meterResponse = `<Response xmlns="` + Namespace + `" schemaVersion="5.4">` +
		`<Header><RequestID>90-B3-D5-1F-30-01-00-07:00-1B-C5-02-B0-00-4C-2E:70001</RequestID>` +
		`<ResponseID>90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-05-00-00:1801000000777</ResponseID>` +
		`<ResponseCode>I0</ResponseCode><ResponseDateTime>2027-02-01T13:06:41.25Z</ResponseDateTime></Header>` +
		`<Body><ResponseMessage><ServiceReference>11.3</ServiceReference><ServiceReferenceVariant>11.3</ServiceReferenceVariant>` +
		`<GBCSPayload>cXVlbGw=</GBCSPayload></ResponseMessage></Body></Response>`

	commandFailed = `<Response xmlns="` + Namespace + `" schemaVersion="5.4">` +
		`<Header><ResponseID>90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-05-00-00:1801000000777</ResponseID>` +
		`<ResponseCode>I0</ResponseCode><ResponseDateTime>2027-02-01T13:06:41.25Z</ResponseDateTime></Header>` +
		`<Body><DCCAlertMessage><DCCAlertCode>N12</DCCAlertCode><DCCAlert><CommandFailure>` +
		`<CommandRequestID>90-B3-D5-1F-30-01-00-07:00-1B-C5-02-B0-00-4C-2E:70001</CommandRequestID>` +
		`<DeviceID>00-1B-C5-02-B0-00-4C-2E</DeviceID></CommandFailure></DCCAlert></DCCAlertMessage></Body></Response>`
)

// Failures of activations, as far as they can be read. A value that is not valid is
// left zero; it does not make the message unreadable.
func TestReadFailures(t *testing.T) {
	none := func(*Message) {}
	noPayload := func(m *Message) { m.Payload = nil }
	noRequest := func(m *Message) { m.FailedRequest = outage.RequestID{} }
	const executed = "<FutureDatedDeviceAlertMessage><FutureDatedAlertCode>8F67</FutureDatedAlertCode><GBCSPayload>cXVlbGw=</GBCSPayload>" +
		"<InstructionNumber>1</InstructionNumber><TotalCommandInstructions>1</TotalCommandInstructions></FutureDatedDeviceAlertMessage>"
	tests := []struct {
		name, message, old, new string
		want                    func(*Message)
	}{
		{"response", meterResponse, "", "", none},
		{"refused", meterResponse, "<ResponseCode>I0", "<ResponseCode>E20", func(m *Message) { m.ResponseCode = "E20" }},
		{"alert on the execution", meterResponse, "<GBCSPayload>cXVlbGw=</GBCSPayload>", executed, func(m *Message) { m.AlertCode = "8F67" }},
		{"of another service", meterResponse, "Variant>11.3<", "Variant>11.2<", func(m *Message) { m.ServiceReferenceVariant, m.Payload = "11.2", nil }},
		{"no payload", meterResponse, "<GBCSPayload>cXVlbGw=</GBCSPayload>", "", noPayload},
		{"empty payload", meterResponse, "cXVlbGw=", "", noPayload},
		{"no base64", meterResponse, "cXVlbGw=", "*", noPayload},
		{"Pre-Command", meterResponse, "<GBCSPayload>cXVlbGw=</GBCSPayload>",
			"<PreCommand><GBCSVersion>4.3</GBCSVersion><GBCSPayload>cXVlbGw=</GBCSPayload></PreCommand>", noPayload},
		{"command for local delivery", meterResponse, "<GBCSPayload>cXVlbGw=</GBCSPayload>",
			"<LocalCommand><GBCSPayload>cXVlbGw=</GBCSPayload></LocalCommand>", noPayload},
		{"SMETS1", meterResponse, meterResponse, strings.ReplaceAll(meterResponse, "ResponseMessage", "SMETS1ResponseMessage"),
			func(m *Message) { m.ServiceReferenceVariant, m.Payload = "", nil }},

		{"N12", commandFailed, "", "", none},
		{"N12 with schedule", commandFailed, "<DeviceID>", "<DSPScheduleID>7</DSPScheduleID><DeviceID>", none},
		{"N13", commandFailed, "N12", "N13", func(m *Message) { m.AlertCode, m.FailedRequest = "N13", outage.RequestID{} }},
		{"N12 with bad id", commandFailed, ":70001", ":x", noRequest},
		{"N12 with empty id", commandFailed, "90-B3-D5-1F-30-01-00-07:00-1B-C5-02-B0-00-4C-2E:70001", "", noRequest},
		{"N12 without id", commandFailed, commandFailed, strings.ReplaceAll(commandFailed, "CommandRequestID", "x"), noRequest},
		{"N12 of another event", commandFailed, commandFailed, strings.ReplaceAll(commandFailed, "CommandFailure", "QuarantinedRequest"), noRequest},
	}
	for _, tt := range tests {
		want := Message{Root: RootResponse, ResponseID: alert, ResponseCode: "I0", ResponseTime: sent}
		if tt.message == meterResponse {
			want.RequestID, want.ServiceReferenceVariant, want.Payload = supplier, "11.3", []byte("quell")
		} else {
			want.AlertCode, want.FailedRequest = "N12", supplier
		}
		tt.want(&want)
		in := tt.message
		if tt.old != "" {
			in = change(t, in, tt.old, tt.new)
		}
		if got, err := Read([]byte(in)); err != nil || !reflect.DeepEqual(decided(got), want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", tt.name, got, err, want)
		}
	}
}
