package duis

import (
	"encoding/hex"
	"encoding/xml"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

// TestRoundTrip reads messages of random values back.
func TestRoundTrip(t *testing.T) {
	const seed = 3
	r := rand.New(rand.NewPCG(seed, 0))
	id := func() outage.RequestID {
		return outage.RequestID{Originator: outage.DeviceID(r.Uint64()), Target: outage.DeviceID(r.Uint64()), Counter: 1 + r.Uint64()>>r.IntN(64)}
	}
	at := func() time.Time {
		t := time.Unix(r.Int64N(1<<36), r.Int64N(1e9)).UTC()
		return t.Truncate([]time.Duration{1, time.Millisecond, time.Second, time.Minute}[r.IntN(4)])
	}
	order := func() outage.Order {
		switch r.IntN(3) {
		case 0:
			return outage.Order{Kind: outage.FutureDated, At: at()}
		case 1:
			return outage.Order{Kind: outage.Cancellation}
		}
		return outage.Order{Kind: outage.OnDemand}
	}
	payload := func() []byte {
		p := make([]byte, 1+r.IntN(200))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		return p
	}
	runes := []rune("0123456789<>&'\"\r\n\t ]é😀")
	text := func() string {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteRune(runes[r.IntN(len(runes))])
		}
		return "7" + b.String() + "7"
	}
	number := func() *uint32 {
		if r.IntN(2) == 0 {
			return nil
		}
		return new(r.Uint32())
	}
	check := func(b []byte, want Message) {
		t.Helper()
		got, err := Read(b[1:])
		if err != nil || !reflect.DeepEqual(decided(got), want) || b[0] != 'x' {
			t.Fatalf("%s\nreads as %+v, %v\nwant %+v", b, got, err, want)
		}
	}
	checkOrder := func(b []byte, want Message, order outage.Order) {
		t.Helper()
		got, err := Read(b[1:])
		if err != nil || got.Order() != order {
			t.Fatalf("%s\nreads as %+v, %v", b, got.Order(), err)
		}
		want.Execution = got.Execution
		check(b, want)
	}
	for range 500 {
		id, at, order, payload := id(), at(), order(), payload()
		b := []byte("x")

		var hash [32]byte
		copy(hash[:], payload)
		request := Message{Root: RootRequest, RequestID: id, ServiceReferenceVariant: "11.3"}
		request.CommandVariant, request.Body = 4, BodyActivateFirmware
		written := AppendActivateFirmware(b, id, order, hash)
		checkOrder(written, request, order)
		if !strings.Contains(string(written), ">"+strings.ToUpper(hex.EncodeToString(hash[:]))+"<") {
			t.Fatalf("no hash %X in %s", hash, written)
		}

		request.CommandVariant, request.Body, request.Payload = 5+r.IntN(3), BodySignedPreCommand, payload
		checkOrder(AppendSignedPreCommand(b, id, request.CommandVariant, order, payload), request, order)

		check(AppendRequest(b, id, 1, "11.2", "11.2", "<sr:ReadFirmwareVersion/>"),
			Message{Root: RootRequest, RequestID: id, CommandVariant: 1, ServiceReferenceVariant: "11.2"})

		o := PowerOutage{CHF: id.Target, Start: at, MPxN: text(), Throttled: outage.Throttled{SequenceID: number(), Count: number()}}
		response := Message{Root: RootResponse, ResponseID: id, ResponseCode: "I0", ResponseTime: at}
		ad1 := response
		ad1.AlertCode, ad1.Body, ad1.Outage = "AD1", BodyPowerOutage, o
		check(AppendPowerOutage(b, id, at, o), ad1)

		response.AlertCode = "N12"
		check(AppendDCCAlert(b, id, at, "N12", "<sr:DeviceStatusChangeEvent/>"), response)
		response.AlertCode = "8F36"
		check(AppendDeviceAlert(b, id, at, "8F36", payload), response)
		check(AppendAnswer(b, id, at, "E4"),
			Message{Root: RootResponse, RequestID: id, ResponseCode: "E4", ResponseTime: at, ServiceReferenceVariant: "11.3"})
	}
}

func TestAppendPowerOutage(t *testing.T) {
	const want = `<?xml version="1.0" encoding="UTF-8" standalone="no"?>` +
		`<sr:Response xmlns:sr="http://www.dccinterface.co.uk/ServiceUserGateway" schemaVersion="5.4">` +
		`<sr:Header><sr:ResponseID>90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-05-00-00:1801000000777</sr:ResponseID>` +
		`<sr:ResponseCode>I0</sr:ResponseCode><sr:ResponseDateTime>2027-02-01T13:06:41.25Z</sr:ResponseDateTime></sr:Header>` +
		`<sr:Body><sr:DCCAlertMessage><sr:DCCAlertCode>AD1</sr:DCCAlertCode>` +
		`<sr:ThrottledAlertSequenceId>7</sr:ThrottledAlertSequenceId><sr:ThrottledAlertCount>3</sr:ThrottledAlertCount>` +
		`<sr:DCCAlert><sr:PowerOutageEvent><sr:CommsHubDeviceID>00-1B-C5-02-B0-00-4C-2D</sr:CommsHubDeviceID>` +
		`<sr:StartDateTime>2027-02-01T13:03:30Z</sr:StartDateTime><sr:MPxN>1400000000001</sr:MPxN>` +
		`</sr:PowerOutageEvent></sr:DCCAlert></sr:DCCAlertMessage></sr:Body></sr:Response>`
	m := readPowerCut()
	local := time.FixedZone("BST", 3600)
	m.Outage.Start = m.Outage.Start.In(local)
	if got := AppendPowerOutage(nil, alert, sent.In(local), m.Outage); string(got) != want {
		t.Errorf("got %s", got)
	}
}

func TestAppendText(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "",
		"a<b>&'\"\r\n":      "a&lt;b&gt;&amp;'\"&#13;\n",
		"\x00\uFFFE\xFFé\t": "\uFFFD\uFFFD\uFFFDé\t",
	} {
		got := string(appendText(nil, in))
		if got != want {
			t.Errorf("%q: got %q", in, got)
		}
		var x string
		if err := xml.Unmarshal([]byte("<x>"+got+"</x>"), &x); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
}
