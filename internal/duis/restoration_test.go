package duis

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

// decided is a message without what only evidence needs, which the tests here are about.
func decided(m Message) Message {
	m.ImageHash, m.FromDevice = [32]byte{}, false
	m.AlertPayload.Start, m.AlertPayload.End = 0, 0
	return m
}

// The payload of a restoration alert is found where it is. If it is odd, or of another alert, the
// message reads as it did before, and the payload does not count.
func TestReadRestoration(t *testing.T) {
	id := outage.RequestID{Originator: 0x001BC502B0004C2E, Target: 0x90B3D51F30010007, Counter: 7}
	at := time.Date(2027, 3, 15, 2, 0, 0, 0, time.UTC)
	payload := bytes.Repeat([]byte{0xDF, 9, 3}, 40)
	text := base64.StdEncoding.EncodeToString(payload)
	for code := range map[string]bool{"8F34": false, "8F35": true, "8F36": true, "8f36": true, "8F3C": true, "8F3D": false, "81A0": false, "8F3": false} {
		doc := string(AppendDeviceAlert(nil, id, at, code, payload))
		upper := strings.ToUpper(code)
		counts := IsRestoration(upper)
		if counts != (upper >= "8F35" && upper <= "8F3C" && len(code) == 4) {
			t.Errorf("%s counts: %v", code, counts)
		}
		whole := "<sr:GBCSPayload>" + text + "</sr:GBCSPayload>"
		for name, c := range map[string]struct {
			with string
			want string // the text that is found
		}{
			"plain":            {whole, text},
			"blanks around":    {"<sr:GBCSPayload>\n " + text + "\n</sr:GBCSPayload>", "\n " + text + "\n"},
			"other prefix":     {"<x:GBCSPayload xmlns:x='" + Namespace + "'>" + text + "</x:GBCSPayload>", text},
			"missing":          {"", ""},
			"empty":            {"<sr:GBCSPayload/>", ""},
			"twice":            {whole + whole, ""},
			"element in it":    {"<sr:GBCSPayload><sr:X>" + text + "</sr:X></sr:GBCSPayload>", ""},
			"element after":    {"<sr:GBCSPayload>" + text + "<sr:AlertCode>8F36</sr:AlertCode></sr:GBCSPayload>", ""},
			"of no namespace":  {"<GBCSPayload>" + text + "</GBCSPayload>", ""},
			"with a reference": {"<sr:GBCSPayload>&#65;" + text + "</sr:GBCSPayload>", ""},
			"CDATA":            {"<sr:GBCSPayload><![CDATA[" + text + "]]></sr:GBCSPayload>", ""},
			"comment within":   {"<sr:GBCSPayload>" + text[:8] + "<!-- x -->" + text[8:] + "</sr:GBCSPayload>", ""},
		} {
			in := strings.Replace(doc, whole, c.with, 1)
			m, err := Read([]byte(in))
			if err != nil || !m.FromDevice || m.ResponseID != id || m.Payload != nil || m.Body != BodyOther || counts && m.AlertCode != upper {
				t.Errorf("%s, %s: %+v, %v", code, name, m, err)
			}
			if !counts {
				c.want = ""
			}
			if have := in[m.AlertPayload.Start:m.AlertPayload.End]; have != c.want {
				t.Errorf("%s, %s: found %q, want %q", code, name, have, c.want)
			}
		}
	}
}

// What comes from a device, and what comes from the DCC.
func TestFromDevice(t *testing.T) {
	id := outage.RequestID{Originator: 0x001BC502B0004C2E, Target: 0x90B3D51F30010007, Counter: 7}
	at := time.Date(2027, 3, 15, 2, 0, 0, 0, time.UTC)
	response := func(content string) []byte {
		return bytes.Replace(AppendAnswer(nil, id, at, "I0"), []byte("</sr:ResponseMessage>"), []byte(content+"</sr:ResponseMessage>"), 1)
	}
	for name, c := range map[string]struct {
		doc  []byte
		want bool
	}{
		"device alert":            {AppendDeviceAlert(nil, id, at, "81A0", []byte("x")), true},
		"response":                {response("<sr:GBCSPayload>AAAA</sr:GBCSPayload>"), true},
		"future-dated alert":      {response("<sr:FutureDatedDeviceAlertMessage/>"), true},
		"acknowledgement":         {AppendAnswer(nil, id, at, "I99"), false},
		"pre-command":             {response("<sr:PreCommand><sr:GBCSPayload>AAAA</sr:GBCSPayload></sr:PreCommand>"), false},
		"DCC alert":               {AppendDCCAlert(nil, id, at, "N16", "<sr:X/>"), false},
		"AD1":                     {AppendPowerOutage(nil, id, at, PowerOutage{CHF: 1, Start: at, MPxN: "1"}), false},
		"request with a payload":  {AppendSignedPreCommand(nil, id, 5, outage.Order{Kind: outage.OnDemand}, []byte("x")), false},
		"activation with a hash":  {AppendActivateFirmware(nil, id, outage.Order{Kind: outage.OnDemand}, [32]byte{1, 2, 31: 3}), false},
		"something else entirely": {[]byte("<x/>"), false},
	} {
		m, err := Read(c.doc)
		if err != nil || m.FromDevice != c.want {
			t.Errorf("%s: %v, %v", name, m.FromDevice, err)
		}
		hash := [32]byte{}
		if name == "activation with a hash" {
			hash = [32]byte{1, 2, 31: 3}
		}
		if m.ImageHash != hash {
			t.Errorf("%s: the image is %X", name, m.ImageHash)
		}
	}
}
