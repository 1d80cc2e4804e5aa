package duis

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

var (
	supplier = outage.RequestID{Originator: 0x90B3D51F30010007, Target: 0x001BC502B0004C2E, Counter: 70001}
	alert    = outage.RequestID{Originator: 0x90B3D51F30000002, Target: 0x90B3D51F30050000, Counter: 1801000000777}
	sent     = time.Date(2027, 2, 1, 13, 6, 41, 250e6, time.UTC)
	began    = time.Date(2027, 2, 1, 13, 3, 30, 0, time.UTC)
	later    = time.Date(2027, 3, 15, 2, 15, 0, 0, time.UTC)
)

// Messages that the tests change.
const (
	activation = `<r:Request xmlns:r="` + Namespace + `" schemaVersion="5.4">` +
		`<r:Header><r:RequestID>90-b3-d5-1f-30-01-00-07:00-1b-c5-02-b0-00-4c-2e:70001</r:RequestID>` +
		`<r:CommandVariant>4</r:CommandVariant><r:ServiceReference>11.3</r:ServiceReference>` +
		`<r:ServiceReferenceVariant>11.3</r:ServiceReferenceVariant></r:Header>` +
		`<r:Body><r:ActivateFirmware><r:ExecutionDateTime>2027-03-15T02:15:00Z</r:ExecutionDateTime>` +
		`<r:FirmwareHash>6105D6CC76AF400325E94D588CE511BE5BFDBB73B437DC51ECA43917D7A43E3D</r:FirmwareHash></r:ActivateFirmware></r:Body></r:Request>`

	preCommand = `<Request xmlns="` + Namespace + `" schemaVersion="5.4">` +
		`<Header><RequestID>90-B3-D5-1F-30-01-00-07:00-1B-C5-02-B0-00-4C-2E:70001</RequestID>` +
		`<CommandVariant>5</CommandVariant><ServiceReference>11.3</ServiceReference>` +
		`<ServiceReferenceVariant>11.3</ServiceReferenceVariant></Header>` +
		`<Body><SignedPreCommand><ExecutionDateTime>2027-03-15T02:15:00Z</ExecutionDateTime>` +
		`<GBCSPayload>cXVlbGw=</GBCSPayload></SignedPreCommand></Body></Request>`

	powerCut = `<Response xmlns="` + Namespace + `" schemaVersion="5.4">` +
		`<Header><RequestID>90-B3-D5-1F-30-01-00-07:00-1B-C5-02-B0-00-4C-2E:70001</RequestID>` +
		`<ResponseID>90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-05-00-00:1801000000777</ResponseID>` +
		`<ResponseCode>I0</ResponseCode><ResponseDateTime>2027-02-01T13:06:41.25Z</ResponseDateTime></Header>` +
		`<Body><DCCAlertMessage><DCCAlertCode>AD1</DCCAlertCode>` +
		`<ThrottledAlertSequenceId>7</ThrottledAlertSequenceId><ThrottledAlertCount>3</ThrottledAlertCount>` +
		`<DCCAlert><PowerOutageEvent><CommsHubDeviceID>00-1B-C5-02-B0-00-4C-2D</CommsHubDeviceID>` +
		`<StartDateTime>2027-02-01T13:03:30Z</StartDateTime><MPxN>1400000000001</MPxN></PowerOutageEvent></DCCAlert>` +
		`</DCCAlertMessage></Body></Response>`

	restoration = `<Response xmlns="` + Namespace + `"><Header><ResponseCode>I0</ResponseCode></Header>` +
		`<Body><DeviceAlertMessage><AlertCode>8f36</AlertCode></DeviceAlertMessage></Body></Response>`

	activated = `<Response xmlns="` + Namespace + `"><Header><ResponseCode>I0</ResponseCode></Header>` +
		`<Body><ResponseMessage><ServiceReferenceVariant>11.3</ServiceReferenceVariant>` +
		`<FutureDatedDeviceAlertMessage><FutureDatedAlertCode>8F66</FutureDatedAlertCode>` +
		`<GBCSPayload>AA==</GBCSPayload></FutureDatedDeviceAlertMessage></ResponseMessage></Body></Response>`
)

func readActivation() Message {
	return Message{Root: RootRequest, RequestID: supplier, CommandVariant: 4, ServiceReferenceVariant: "11.3",
		Body: BodyActivateFirmware, Execution: later}
}

func readPreCommand() Message {
	return Message{Root: RootRequest, RequestID: supplier, CommandVariant: 5, ServiceReferenceVariant: "11.3",
		Body: BodySignedPreCommand, Execution: later, Payload: []byte("quell")}
}

func readPowerCut() Message {
	return Message{Root: RootResponse, RequestID: supplier, ResponseID: alert, ResponseCode: "I0", AlertCode: "AD1",
		ResponseTime: sent, Body: BodyPowerOutage,
		Outage: PowerOutage{CHF: 0x001BC502B0004C2D, Start: began, MPxN: "1400000000001",
			Throttled: outage.Throttled{SequenceID: new(uint32(7)), Count: new(uint32(3))}}}
}

func TestReadSamples(t *testing.T) {
	ad1 := readPowerCut()
	ad1.RequestID = outage.RequestID{}
	ad1.Outage.Throttled = outage.Throttled{}
	cancel := readActivation()
	cancel.RequestID.Counter = 70003
	cancel.Execution = CancellationTime
	answer := Message{Root: RootResponse, ResponseCode: "I0", ServiceReferenceVariant: "8.2", ResponseTime: sent,
		RequestID: outage.RequestID{Originator: 0x90B3D51F30010007, Target: 0x90B3D51F30000002, Counter: 70009}}
	pre := Message{Root: RootRequest, RequestID: supplier, CommandVariant: 5, ServiceReferenceVariant: "11.3", Body: BodySignedPreCommand}
	want := map[string]Message{
		"activate-signed.xml":   readActivation(),
		"activate-template.xml": cancel,
		"ad1.xml":               ad1,
		"ad1-signed.xml":        ad1,
		"inventory.xml":         answer,
		"precommand.xml":        pre,
		"precommand-signed.xml": pre,
	}
	for name, b := range samples(t) {
		got, err := Read(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want[name].Body == BodySignedPreCommand {
			if n := len(got.Payload); n < 130 || got.Payload[0] != 0xDF {
				t.Errorf("%s: payload %X", name, got.Payload)
			}
			got.Payload = nil
		}
		if !reflect.DeepEqual(decided(got), want[name]) {
			t.Errorf("%s: got %+v\nwant %+v", name, got, want[name])
		}
	}
}

// change replaces old, which occurs once in the message.
func change(t *testing.T, message, old, new string) string {
	t.Helper()
	if n := strings.Count(message, old); n != 1 {
		t.Fatalf("%q occurs %d times in %s", old, n, message)
	}
	return strings.Replace(message, old, new, 1)
}

func TestRead(t *testing.T) {
	none := func(*Message) {}
	other := func(m *Message) { *m = Message{} }
	tests := []struct {
		name     string
		message  string
		old, new string
		want     func(*Message) // changes what Read returns for the unchanged message; nil: Read refuses it
	}{
		{"prefix and case", activation, "", "", none},
		{"default namespace", preCommand, "", "", none},
		{"alert", powerCut, "", "", none},

		// Where elements count.
		{"other namespace", activation, "ServiceUserGateway", "ServiceUserGateWay", other},
		{"no namespace", powerCut, ` xmlns="` + Namespace + `"`, "", other},
		{"other root", powerCut, powerCut, "<x>" + powerCut + "</x>", other},
		{"other root of DUIS", powerCut, powerCut, `<S1SPAlert xmlns="` + Namespace + `"/>`, other},
		{"leaf of another namespace", powerCut, "<MPxN>", `<MPxN xmlns="urn:x">0</MPxN><MPxN>`, nil},
		{"leaf in another place", powerCut, "<DCCAlert>", `<MPxN>0</MPxN><Header/><DCCAlert>`, none},
		{"unknown elements", activation, "<r:CommandVariant>", `<r:x y="z"><RequestID/><r:RequestID/>text</r:x><r:CommandVariant>`, none},
		{"element within the hash", activation, "</r:FirmwareHash>", "<r:x/></r:FirmwareHash>", nil},
		{"request's leaf in a response", powerCut, "<ResponseCode>", "<CommandVariant>4</CommandVariant><ResponseCode>", none},
		{"variant in a response's header", powerCut, "<ResponseCode>", "<ServiceReferenceVariant>11.3</ServiceReferenceVariant><ResponseCode>", none},
		{"payload of no pre-command", activation, "<r:FirmwareHash>", "<r:GBCSPayload>*</r:GBCSPayload><r:FirmwareHash>", none}, // an unknown element
		{"body before header", restoration, "<Header><ResponseCode>I0</ResponseCode></Header>", "", func(m *Message) { m.ResponseCode = "" }},
		{"SMETS1 alert", restoration, "<DeviceAlertMessage><AlertCode>8f36</AlertCode></DeviceAlertMessage>",
			"<SMETS1ResponseMessage><ServiceReferenceVariant>11.3</ServiceReferenceVariant></SMETS1ResponseMessage>", func(m *Message) { m.AlertCode = "" }},

		// Once only.
		{"second leaf", powerCut, "<MPxN>", "<MPxN>1</MPxN><MPxN>", nil},
		{"second leaf, empty", activation, "<r:RequestID>", "<r:RequestID/><r:RequestID>", nil},
		{"second header", powerCut, "<Body>", "<Header/><Body>", nil},
		{"second body", powerCut, "<Body>", "<Body/><Body>", nil},
		{"second request body", activation, "<r:Body>", "<r:Body/><r:Body>", nil},
		{"two bodies of one kind", powerCut, "<Body>", "<Body><DCCAlertMessage/>", nil},
		{"two kinds of body", powerCut, "<Body>", "<Body><DeviceAlertMessage/>", nil},
		{"two kinds of body, one unknown", preCommand, "<Body>", "<Body><ReadFirmwareVersion/>", nil},
		{"two kinds of body, one foreign", preCommand, "</Body>", `<x xmlns=""/></Body>`, nil},
		{"second event", powerCut, "<DCCAlert>", "<DCCAlert><PowerOutageEvent/>", nil},
		{"second DCCAlert", powerCut, "<DCCAlert>", "<DCCAlert/><DCCAlert>", nil},
		{"element within a leaf", powerCut, "<MPxN>", "<MPxN><x/>", nil},
		{"element within a leaf of no decision", restoration, "<ResponseCode>", "<ResponseCode><x/>", nil},

		// Values.
		{"white space around", powerCut, ">7<", "> \t\r\n7&#13;&#32;\n<", none},
		{"white space around a code", powerCut, ">AD1<", "> AD1 <", nil},
		{"white space within", powerCut, ">1400000000001<", "> 14 00 <", func(m *Message) { m.Outage.MPxN = "14 00" }},
		{"joined text", powerCut, ">AD1<", "><!-- x -->A<!-- x --><![CDATA[D]]>&#49;<!-- x --><", none},
		{"no-break space", powerCut, ">AD1<", ">AD1\u00A0<", func(m *Message) {
			*m = Message{Root: m.Root, RequestID: m.RequestID, ResponseID: m.ResponseID, ResponseCode: "I0", ResponseTime: sent, AlertCode: "AD1\u00A0"}
		}},
		{"wrapped payload", preCommand, "cXVlbGw=", "cXV&#13;\n\tlbG w=", none},
		{"cancellation", activation, "2027-03-15T02:15:00Z", "3000-12-31T00:00:00.00Z", func(m *Message) { m.Execution = CancellationTime }},
		{"execution in another zone", activation, "02:15:00Z", "03:15:00.0+01:00", none},
		{"execution without zone", activation, "02:15:00Z", "02:15:00", none},
		{"on demand", activation, "<r:ExecutionDateTime>2027-03-15T02:15:00Z</r:ExecutionDateTime>", "", func(m *Message) { m.Execution = time.Time{} }},
		{"white space around 11.3", activation, "Variant>11.3<", "Variant> 11.3 <", nil},
		{"variant with sign", activation, ">4<", ">+04<", none},
		{"variant 9 of 11.3", activation, ">4<", ">9<", func(m *Message) { m.CommandVariant = 9 }},
		{"midnight as 24:00:00", activation, "2027-03-15T02:15:00Z", "2027-03-14T24:00:00Z", func(m *Message) { m.Execution = later.Truncate(24 * time.Hour) }},
		{"variant 8 of 11.3", activation, ">4<", ">8<", func(m *Message) { m.CommandVariant = 8 }},

		// 11.3: strict.
		{"11.3 without id", activation, "RequestID>90-b3-d5-1f-30-01-00-07:00-1b-c5-02-b0-00-4c-2e:70001</r:RequestID", "x/", nil},
		{"11.3 with bad id", activation, ":70001", ":070001", nil},
		{"11.3 with empty id", activation, "90-b3-d5-1f-30-01-00-07:00-1b-c5-02-b0-00-4c-2e:70001", "", nil},
		{"11.3 with zero id", activation, "90-b3-d5-1f-30-01-00-07:00-1b-c5-02-b0-00-4c-2e:70001", "00-00-00-00-00-00-00-00:00-00-00-00-00-00-00-00:0", nil},
		{"11.3 without variant", activation, "<r:CommandVariant>4</r:CommandVariant>", "", nil},
		{"11.3 of variant 0", activation, ">4<", ">0<", nil},
		{"11.3 of variant 10", activation, ">4<", ">10<", nil},
		{"11.3 of bad variant", activation, ">4<", ">4.0<", nil},
		{"11.3 of huge variant", activation, ">4<", ">4294967300<", nil},
		{"11.3 with bad time", activation, "02:15:00Z", "24:00:01Z", nil},
		{"11.3 with empty time", activation, "2027-03-15T02:15:00Z", "", nil},
		{"11.3 pre-command with bad time", preCommand, "02:15:00Z", "02:15Z", nil},
		{"11.3 with bad base64", preCommand, "cXVlbGw=", "cXVlbGw", nil},
		{"11.3 with bits after base64", preCommand, "cXVlbGw=", "cXVlbGx=", nil},
		{"11.3 with base64 for URLs", preCommand, "cXVlbGw=", "cX_lbGw=", nil},
		{"11.3 with empty payload", preCommand, "cXVlbGw=", "", nil},
		{"11.3 without payload", preCommand, "<GBCSPayload>cXVlbGw=</GBCSPayload>", "", nil},
		{"11.3 of another body", preCommand, preCommand, strings.ReplaceAll(preCommand, "SignedPreCommand", "ReadFirmwareVersion"),
			func(m *Message) { m.Body, m.Execution, m.Payload = BodyOther, time.Time{}, nil }},

		// Other requests: what is not valid is left zero.
		{"11.2 with bad id", preCommand, preCommand, strings.NewReplacer("Variant>11.3", "Variant>11.2", ":70001", ":x").Replace(preCommand),
			func(m *Message) { m.ServiceReferenceVariant, m.RequestID, m.Payload = "11.2", outage.RequestID{}, nil }}, // only that of an 11.3 is decoded
		{"11.2 with bad values", preCommand, preCommand,
			strings.NewReplacer("Variant>11.3", "Variant>11.2", ">5<", ">x<", "02:15:00Z", "25:00:00Z", "cXVlbGw=", "*").Replace(preCommand),
			func(m *Message) {
				m.ServiceReferenceVariant, m.CommandVariant, m.Execution, m.Payload = "11.2", 0, time.Time{}, nil
			}},
		{"rare variant", activation, "Variant>11.3", "Variant>4.1.1", func(m *Message) { m.ServiceReferenceVariant = "4.1.1" }},

		// AD1: strict.
		{"lower case EUI", powerCut, "00-1B-C5-02-B0-00-4C-2D", "00-1b-c5-02-b0-00-4c-2d", none},
		{"empty MPxN", powerCut, "<MPxN>1400000000001</MPxN>", "<MPxN/>", nil},
		{"MPxN of blanks", powerCut, ">1400000000001<", "> <", nil},
		{"MPxN of 14", powerCut, ">1400000000001<", ">14000000000010<", nil},
		{"MPxN of 13 and a blank", powerCut, ">1400000000001<", ">1400000000001 <", nil},
		{"MPxN of 13, not ASCII", powerCut, ">1400000000001<", ">éééééééééé001<", func(m *Message) { m.Outage.MPxN = "éééééééééé001" }},
		{"strange MPxN", powerCut, ">1400000000001<", "> &lt;é&gt; <", func(m *Message) { m.Outage.MPxN = "<é>" }},
		{"no ids", powerCut, powerCut, strings.NewReplacer("RequestID", "x", "ResponseID", "x").Replace(powerCut),
			func(m *Message) { m.RequestID, m.ResponseID = outage.RequestID{}, outage.RequestID{} }},
		{"no throttling", powerCut, powerCut, strings.NewReplacer("ThrottledAlertCount", "x", "ThrottledAlertSequenceId", "x").Replace(powerCut),
			func(m *Message) { m.Outage.Throttled = outage.Throttled{} }},
		{"largest count", powerCut, ">3<", ">4294967295<", func(m *Message) { m.Outage.Throttled.Count = new(uint32(4294967295)) }},
		{"count with zeros", powerCut, ">3<", ">003<", none},
		{"bad time of response", powerCut, "2027-02-01T13:06:41.25Z", "yesterday", nil},
		{"no time of response", powerCut, "<ResponseDateTime>2027-02-01T13:06:41.25Z</ResponseDateTime>", "", nil},
		{"no hub", powerCut, "<CommsHubDeviceID>00-1B-C5-02-B0-00-4C-2D</CommsHubDeviceID>", "", nil},
		{"bad hub", powerCut, "00-1B-C5-02-B0-00-4C-2D", "001BC502B0004C2D", nil},
		{"zero hub", powerCut, "00-1B-C5-02-B0-00-4C-2D", "00-00-00-00-00-00-00-00", nil},
		{"no start", powerCut, "<StartDateTime>2027-02-01T13:03:30Z</StartDateTime>", "", nil},
		{"bad start", powerCut, "13:03:30Z", "13:03:60Z", nil},
		{"no MPxN", powerCut, "<MPxN>1400000000001</MPxN>", "", nil},
		{"no event", powerCut, powerCut, strings.ReplaceAll(powerCut, "PowerOutageEvent", "CommsHubAlert"), nil},
		{"no alert", powerCut, powerCut, strings.ReplaceAll(powerCut, "DCCAlert>", "Alert>"), nil},
		{"bad RequestID", powerCut, ":70001", ":-1", nil},
		{"bad ResponseID", powerCut, ":1801000000777", "", nil},
		{"empty ResponseID", powerCut, "90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-05-00-00:1801000000777", "", nil},
		{"sequence with sign", powerCut, ">7<", ">+7<", none},
		{"bad sequence", powerCut, ">7<", ">++7<", nil},
		{"empty sequence", powerCut, ">7<", "><", nil},
		{"count too large", powerCut, ">3<", ">4294967296<", nil},
		{"negative count", powerCut, ">3<", ">-3<", nil},

		// Other alerts.
		{"code too long", restoration, ">I0<", ">" + strings.Repeat("E", 17) + "<", func(m *Message) { m.ResponseCode = "" }},
		{"longest code", restoration, ">I0<", ">" + strings.Repeat("E", 16) + "<", func(m *Message) { m.ResponseCode = strings.Repeat("E", 16) }},
		{"DCC alert code too long", powerCut, ">AD1<", ">AD1" + strings.Repeat("1", 60000) + "<", func(m *Message) {
			m.AlertCode, m.Body, m.Outage = "", BodyOther, PowerOutage{}
		}},
		{"device alert code too long", restoration, ">8f36<", ">" + strings.Repeat("8f36", 5) + "<", func(m *Message) { m.AlertCode = "" }},
		{"variant too long", preCommand, "Variant>11.3<", "Variant>11.3" + strings.Repeat(".3", 20000) + "<", func(m *Message) { m.ServiceReferenceVariant, m.Payload = "", nil }},
		{"N12 with all faults", powerCut, powerCut,
			strings.NewReplacer("AD1", "N12", ":70001", "", ":1801000000777", "", ">3<", "><", "13:03:30", "", "PowerOutageEvent", "x").Replace(powerCut),
			func(m *Message) {
				*m = Message{Root: m.Root, ResponseCode: "I0", ResponseTime: sent, AlertCode: "N12"}
			}},
		{"N12 with a power outage", powerCut, ">AD1<", ">N12<", func(m *Message) {
			m.AlertCode, m.Body, m.Outage = "N12", BodyOther, PowerOutage{}
		}},
		{"ad1 in lower case", powerCut, ">AD1<", ">ad1<", func(m *Message) {
			m.AlertCode, m.Body, m.Outage = "ad1", BodyOther, PowerOutage{}
		}},
		{"alert without code", powerCut, "<DCCAlertCode>AD1</DCCAlertCode>", "", func(m *Message) {
			m.AlertCode, m.Body, m.Outage = "", BodyOther, PowerOutage{}
		}},
		{"restoration", restoration, "", "", none},
		{"rare device alert", restoration, "8f36", "81a0", func(m *Message) { m.AlertCode = "81A0" }},
		{"device alert AD1 is no DCC alert", restoration, "8f36", "AD1", func(m *Message) { m.AlertCode = "" }},
		{"device alert not hexadecimal", restoration, "8f36", "8G36", func(m *Message) { m.AlertCode = "" }},
		{"refused", restoration, ">I0<", ">E12<", func(m *Message) { m.ResponseCode = "E12" }},
		{"activation done", activated, "", "", none},
	}
	for _, tt := range tests {
		var want Message
		switch tt.message {
		case activation:
			want = readActivation()
		case preCommand:
			want = readPreCommand()
		case powerCut:
			want = readPowerCut()
		case restoration:
			want = Message{Root: RootResponse, ResponseCode: "I0", AlertCode: "8F36"}
		case activated:
			want = Message{Root: RootResponse, ResponseCode: "I0", ServiceReferenceVariant: "11.3", AlertCode: "8F66", Payload: []byte{0}}
		}
		in := tt.message
		if tt.old != "" {
			in = change(t, in, tt.old, tt.new)
		}
		got, err := Read([]byte(in))
		if tt.want == nil {
			var fault *SyntaxError
			if !errors.As(err, &fault) || fault.Offset < 0 || fault.Offset > len(in) || got.Body != BodyOther {
				t.Errorf("%s: got %+v, %v; want a fault", tt.name, got, err)
			}
			continue
		}
		tt.want(&want)
		if err != nil || !reflect.DeepEqual(decided(got), want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", tt.name, got, err, want)
		}
	}
}

// After a fault, the parts of the header that could be read whole are there.
func TestReadPartly(t *testing.T) {
	whole := readPowerCut()
	cut := func(before string) Message {
		i := strings.Index(powerCut, before)
		m, err := Read([]byte(powerCut[:i]))
		if err == nil {
			t.Errorf("cut before %s: no error", before)
		}
		return m
	}
	want := Message{}
	for _, step := range []struct {
		before string
		then   func()
	}{
		{"<Response ", func() { want.Root = RootResponse }},
		{"70001<", func() {}},
		{"</RequestID>", func() { want.RequestID = whole.RequestID }},
		{"0777<", func() {}}, // an id of fewer digits would be valid, and wrong
		{"</ResponseID>", func() { want.ResponseID = whole.ResponseID }},
		{"</ResponseCode>", func() { want.ResponseCode = "I0" }},
		{"</ResponseDateTime>", func() { want.ResponseTime = sent }},
		{"</DCCAlertCode>", func() { want.AlertCode = "AD1" }},
		{"</Response>", func() {}},
	} {
		if got := cut(step.before); !reflect.DeepEqual(got, want) {
			t.Errorf("cut before %s: got %+v\nwant %+v", step.before, got, want)
		}
		step.then()
	}
	want.ResponseID = outage.RequestID{}
	want.ResponseCode, want.ResponseTime, want.AlertCode = "", time.Time{}, ""
	if m, err := Read([]byte(strings.Replace(powerCut, "0777<", "0<!-- x --><x/>777<", 1))); err == nil || !reflect.DeepEqual(m, want) {
		t.Errorf("fault within an id: got %+v, %v", m, err)
	}
	want = whole
	want.Body, want.Outage = BodyOther, PowerOutage{}
	m, err := Read([]byte(strings.Replace(powerCut, ">1400000000001<", ">\xFF<", 1)))
	if err == nil || !reflect.DeepEqual(m, want) {
		t.Errorf("bad UTF-8: got %+v, %v", m, err)
	}
}

// If only the header of a request can be read, Read still returns it. What the
// request asks for is not known, but its meter is: enough to close a window.
func TestReadKeepsHeader(t *testing.T) {
	faults := map[string]string{
		"bad time":               change(t, activation, "02:15:00Z", "02:15:60Z"),
		"bad hash":               change(t, activation, "6105D6CC", "6105D6C"),
		"no hash":                change(t, activation, "r:FirmwareHash>6105D6CC76AF400325E94D588CE511BE5BFDBB73B437DC51ECA43917D7A43E3D</r:FirmwareHash", "r:X/"),
		"bad payload":            change(t, preCommand, "cXVlbGw=", "*"),
		"no payload":             change(t, preCommand, "<GBCSPayload>cXVlbGw=</GBCSPayload>", ""),
		"text":                   change(t, preCommand, "<SignedPreCommand>", "<SignedPreCommand>x"),
		"attribute":              change(t, preCommand, "<SignedPreCommand>", "<SignedPreCommand x='y'>"),
		"foreign element":        change(t, preCommand, "<SignedPreCommand>", "<SignedPreCommand><x xmlns=''/>"),
		"two bodies":             change(t, preCommand, "</Body>", "<ActivateFirmware/></Body>"),
		"empty body":             change(t, preCommand, preCommand[strings.Index(preCommand, "<SignedPreCommand>"):strings.Index(preCommand, "</Body>")], ""),
		"no body":                change(t, preCommand, preCommand[strings.Index(preCommand, "<Body>"):strings.Index(preCommand, "</Request>")], ""),
		"wrong order":            change(t, change(t, preCommand, "<GBCSPayload>cXVlbGw=</GBCSPayload>", ""), "<SignedPreCommand>", "<SignedPreCommand><GBCSPayload>cXVlbGw=</GBCSPayload>"),
		"cut":                    preCommand[:strings.Index(preCommand, "<GBCSPayload>")],
		"cut after the header":   preCommand[:strings.Index(preCommand, "<Body>")],
		"not well-formed":        change(t, preCommand, "cXVlbGw=", "\xFF"),
		"no schemaVersion":       change(t, preCommand, ` schemaVersion="5.4"`, ""),
		"blank in the reference": change(t, preCommand, "Variant>11.3<", "Variant>11.3 <"),
		"other ServiceReference": change(t, preCommand, "Reference>11.3<", "Reference>11.2<"),
		"two signatures":         change(t, preCommand, "</Request>", strings.Repeat("<Signature xmlns='http://www.w3.org/2000/09/xmldsig#'/>", 2)+"</Request>"),
	}
	for name, in := range faults {
		want := Message{Root: RootRequest, RequestID: supplier, CommandVariant: 5, ServiceReferenceVariant: "11.3"}
		if strings.Contains(in, "<r:") {
			want.CommandVariant = 4
		}
		if got, err := Read([]byte(in)); err == nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", name, got, err, want)
		}
	}
}

func TestReadSize(t *testing.T) {
	full := []byte(powerCut + strings.Repeat(" ", MaxSize-len(powerCut)))
	if m, err := Read(full); err != nil || m.Body != BodyPowerOutage {
		t.Errorf("%d bytes: %v", len(full), err)
	}
	m, err := Read(append(full, ' '))
	var fault *SyntaxError
	if !errors.Is(err, ErrTooLarge) || !errors.As(err, &fault) || !reflect.DeepEqual(m, Message{}) {
		t.Errorf("%d bytes: %+v, %v", len(full)+1, m, err)
	}
	if !strings.Contains(ErrTooLarge.Error(), fmt.Sprint(MaxSize)) {
		t.Errorf("%v says another size than %d", ErrTooLarge, MaxSize)
	}
}

// Read must not keep the bytes that it was given: callers reuse them.
func TestReadKeepsNothing(t *testing.T) {
	for _, in := range []string{activation, preCommand, powerCut, restoration} {
		b := []byte(in)
		got, _ := Read(b)
		clear(b)
		if want, _ := Read([]byte(in)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: after the bytes are gone: %+v", in, got)
		}
	}
	// Joining text must not write to them either.
	b := []byte(change(t, powerCut, ">AD1<", ">A<!-- x -->D<![CDATA[1]]><"))
	before := string(b)
	if _, err := Read(b); err != nil || string(b) != before {
		t.Errorf("changed to %s, %v", b, err)
	}
}

// For an AD1, Read allocates only the MPxN.
func TestReadAllocates(t *testing.T) {
	for _, name := range []string{"ad1.xml", "ad1-signed.xml"} {
		doc := samples(t)[name]
		if n := testing.AllocsPerRun(100, func() {
			if m, err := Read(doc); err != nil || m.Body != BodyPowerOutage {
				t.Fatal(m, err)
			}
		}); n > 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Read allocates nothing for the header of other messages: it knows the texts that occur.
func TestReadAllocatesNothing(t *testing.T) {
	other := outage.RequestID{Originator: 1, Target: 2, Counter: 3}
	docs := [][]byte{[]byte("<a/>"),
		AppendAnswer(nil, other, began, "I99"), AppendAnswer(nil, other, began, "E062801"),
		AppendDeviceAlert(nil, other, began, "8F36", nil), AppendDeviceAlert(nil, other, began, "81a0", nil),
		AppendDCCAlert(nil, other, began, "N999", ""),
		[]byte(change(t, preCommand, ">11.3</ServiceReferenceVariant>", ">6.2.10</ServiceReferenceVariant>"))}
	for _, srv := range strings.Fields(strings.Replace(serviceReferenceVariants, " 11.3 ", " ", 1)) { // an 11.3 must be whole
		docs = append(docs, AppendRequest(nil, other, 4, "1.1", srv, ""))
	}
	for _, code := range strings.Fields(responseCodes) {
		docs = append(docs, AppendAnswer(nil, other, began, code))
	}
	for _, code := range strings.Fields(strings.Replace(alertCodes, " AD1 ", " ", 1)) { // and an AD1
		docs = append(docs, AppendDCCAlert(nil, other, began, code, ""))
	}
	for _, doc := range docs {
		if n := testing.AllocsPerRun(20, func() { Read(doc) }); n > 0 {
			t.Errorf("%v allocations: %s", n, doc)
		}
	}
}

func BenchmarkReadAD1(b *testing.B) {
	benchmarkRead(b, "unsigned", "ad1.xml")
	benchmarkRead(b, "signed", "ad1-signed.xml")
	// For comparison on the same machine: encoding/xml's tokens, which are then ignored.
	doc := samples(b)["ad1.xml"]
	b.Run("encoding-xml", func(b *testing.B) {
		for b.Loop() {
			d := xml.NewDecoder(bytes.NewReader(doc))
			for {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

func BenchmarkReadActivation(b *testing.B) {
	benchmarkRead(b, "service-request", "activate-signed.xml")
	benchmarkRead(b, "pre-command", "precommand.xml")
	benchmarkRead(b, "pre-command-signed", "precommand-signed.xml")
}

func benchmarkRead(b *testing.B, name, sample string) {
	doc := samples(b)[sample]
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			if m, err := Read(doc); err != nil || m.Body == BodyOther {
				b.Fatal(m, err)
			}
		}
	})
}
