package gbcs

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestReadOutcome(t *testing.T) {
	to := func(counter uint64, change func(*Outcome)) Outcome {
		o := Outcome{Meter: 0x001BC502B0004C2E, Originator: 0x90B3D51F30010007, Counter: counter}
		change(&o)
		return o
	}
	tests := []struct {
		file   string
		want   Outcome
		failed bool
	}{
		{"response.hex", to(70001, func(*Outcome) {}), false},
		{"response-success.hex", to(70001, func(o *Outcome) { o.Executed, o.Version = true, "AA010203" }), false},
		{"response-failure.hex", to(70001, func(o *Outcome) { o.Executed, o.Code, o.Version = true, NoImage, "04000102" }), true},
		{"alert.hex", to(70002, func(o *Outcome) {
			o.Alert, o.At, o.Executed, o.Version = AlertSuccess, future.At, true, "012300AA"
		}), false},
		{"alert-failure.hex", to(1<<63+1, func(o *Outcome) {
			o.Alert, o.At, o.Executed, o.Code, o.Version = AlertFailure, future.At, true, ActivationFailed, "04000102"
		}), true},
	}
	for _, tt := range tests {
		got, err := ReadOutcome(vector(t, tt.file))
		if err != nil || got != tt.want || got.Failed() != tt.failed {
			t.Errorf("%s: got %+v, %v, failed %t; want %+v", tt.file, got, err, got.Failed(), tt.want)
		}
	}
}

func TestAppendOutcome(t *testing.T) {
	want := vector(t, "alert-failure.hex")
	failure := Outcome{Meter: 0x001BC502B0004C2E, Originator: 0x90B3D51F30010007, Counter: 1<<63 + 1, Alert: AlertFailure,
		At: future.At, Executed: true, Code: ActivationFailed, Version: "04000102"}
	if got := AppendOutcome([]byte("x"), failure, 90002); string(got) != "x"+string(want[:len(want)-1-signatureSize]) {
		t.Errorf("got %X", got)
	}
	for _, file := range []string{"response.hex", "response-success.hex", "response-failure.hex", "alert.hex"} {
		want, err := ReadOutcome(vector(t, file))
		if err != nil {
			t.Fatal(err)
		}
		b := AppendSigned(nil, AppendOutcome(nil, want, 5), [64]byte{})
		if got, err := ReadOutcome(b); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", file, got, err, want)
		}
	}
}

func TestReadOutcomeOther(t *testing.T) {
	response, alert := vector(t, "response.hex"), vector(t, "alert.hex")
	code := func(b []byte, code string) []byte {
		old := []byte{2, 0, 0x12}
		if b[2] == craAlert {
			old = []byte{2, 0, 0xCA}
		}
		return bytes.Replace(b, old, append([]byte{2}, fromHex(t, code)...), 1)
	}
	for name, b := range map[string][]byte{
		"pre-command":                 vector(t, "immediate-precommand.hex"),
		"Signed Pre-Command":          vector(t, "future-signed.hex"),
		"restoration":                 code(alert, "0067"),
		"alert's code in a response":  code(response, "00CA"),
		"response's code in an alert": code(alert, "0012"),
	} {
		if o, err := ReadOutcome(b); !errors.Is(err, ErrNotOutcome) || o != (Outcome{}) {
			t.Errorf("%s: got %+v, %v", name, o, err)
		}
	}
}

// Each case is a message with one fault. The parts of a good response and of a
// good alert, in order:
var (
	responseParts = [...]string{
		"DF", "09", "02", "0000000000011171", "08", "001BC502B0004C2E", "08", "90B3D51F30010007",
		"0C", "07EB0201FF0D06290000FF00", "02", "0012", "0B", "30", "09", "02", "01", "00", "04", "04", "AA010203", "40", signature,
	}
	alertParts = [...]string{
		"DF", "09", "03", "0000000000015F91", "08", "001BC502B0004C2E", "08", "90B3D51F30010007",
		"00", "", "02", "00CA", "28", "30", "26", "02", "03", "008F66", "18", "0F", "32303237303331353032313530305A",
		"02", "03", "011172", "30", "09", "02", "01", "00", "04", "04", "012300AA", "40", signature,
	}
	signature = strings.Repeat("5A", 64)
)

func TestReadOutcomeMalformed(t *testing.T) {
	build := func(parts []string, changes map[int]string) []byte {
		p := append([]string(nil), parts...)
		for i, s := range changes {
			p[i] = s
		}
		return fromHex(t, strings.Join(p, ""))
	}
	response := func(changes map[int]string) []byte { return build(responseParts[:], changes) }
	alert := func(changes map[int]string) []byte { return build(alertParts[:], changes) }
	text := func(s string) string { return hex.EncodeToString([]byte(s)) }
	for name, whole := range map[string][]byte{"response": response(nil), "alert": alert(nil)} {
		if o, err := ReadOutcome(whole); err != nil || o.Counter < 70001 || !o.Executed || o.Failed() {
			t.Fatalf("the good %s: %+v, %v", name, o, err)
		}
		for n := range whole {
			if o, err := ReadOutcome(whole[:n]); !errors.Is(err, ErrMalformed) || o != (Outcome{}) {
				t.Errorf("the first %d bytes of the %s: %+v, %v", n, name, o, err)
			}
		}
	}
	// Codes that GBCS does not define are failures.
	for code, want := range map[string]Code{"04": 4, "7F": 0x7F} {
		if o, err := ReadOutcome(response(map[int]string{17: code})); err != nil || o.Code != want || !o.Failed() {
			t.Errorf("code %s: %+v, %v", code, o, err)
		}
	}
	if o, err := ReadOutcome(alert(map[int]string{17: "008F67"})); err != nil || !o.Failed() {
		t.Errorf("alert 8F67 with outcome 0: %+v, %v", o, err)
	}
	if o, err := ReadOutcome(response(map[int]string{8: "00", 9: ""})); err != nil || !o.Executed {
		t.Errorf("response without date-time: %+v, %v", o, err)
	}

	for name, b := range map[string][]byte{
		"tag":                         response(map[int]string{0: "DD"}),
		"transaction id's length":     response(map[int]string{1: "08"}),
		"meter's length":              response(map[int]string{4: "07"}),
		"originator's length":         response(map[int]string{6: "09"}),
		"date-time in an alert":       alert(map[int]string{8: "0C", 9: responseParts[9]}),
		"other information's length":  response(map[int]string{10: "03", 11: "001200"}),
		"content too long":            response(map[int]string{12: "0C"}),
		"content too short":           response(map[int]string{12: "0A"}),
		"empty content":               build(responseParts[:], map[int]string{12: "00", 13: "", 14: "", 15: "", 16: "", 17: "", 18: "", 19: "", 20: ""}),
		"NULL with more":              response(map[int]string{13: "05", 14: "00"}),
		"NULL with length":            response(map[int]string{13: "05", 14: "09"}),
		"SEQUENCE too long":           response(map[int]string{14: "0A"}),
		"SEQUENCE too short":          response(map[int]string{14: "08"}),
		"outcome no INTEGER":          response(map[int]string{15: "0A"}),
		"outcome of two bytes":        response(map[int]string{12: "0C", 14: "0A", 16: "02", 17: "0000"}),
		"negative outcome":            response(map[int]string{17: "80"}),
		"version no OCTET STRING":     response(map[int]string{18: "0C"}),
		"version too long":            response(map[int]string{19: "05"}),
		"version too short":           response(map[int]string{19: "03"}),
		"signature's length":          response(map[int]string{21: "41"}),
		"byte after signature":        append(response(nil), 0),
		"no signature":                response(map[int]string{21: "", 22: ""}),
		"response's content in alert": alert(map[int]string{12: "0B", 13: "", 14: "", 15: "", 16: "", 17: "", 18: "", 19: "", 20: "", 21: "", 22: "", 23: ""}),
		"NULL in alert":               build(alertParts[:12], map[int]string{11: "00CA 02 0500 40" + signature}),
		"another alert's code":        alert(map[int]string{17: "008F68"}),
		"negative alert code":         alert(map[int]string{17: "FF8F66"}),
		"short alert code":            alert(map[int]string{12: "27", 14: "25", 16: "02", 17: "0F66"}),
		"cancellation as time":        alert(map[int]string{20: text(cancelTime)}),
		"30 February":                 alert(map[int]string{20: text("20270230021500Z")}),
		"time's tag":                  alert(map[int]string{18: "17"}),
		"counter's tag":               alert(map[int]string{21: "04"}),
		"counter not minimal":         alert(map[int]string{12: "29", 14: "27", 22: "04", 23: "00011172"}),
		"negative counter":            alert(map[int]string{23: "811172"}),
		"empty counter":               alert(map[int]string{12: "25", 14: "23", 22: "00", 23: ""}),
		"counter of ten bytes":        alert(map[int]string{12: "2F", 14: "2D", 22: "0A", 23: "01000000000000000000"}),
		"nine bytes, not minimal":     alert(map[int]string{12: "2E", 14: "2C", 22: "09", 23: "010000000000000000"}),
		"outcome's SEQUENCE":          alert(map[int]string{25: "08"}),
	} {
		if o, err := ReadOutcome(b); !errors.Is(err, ErrMalformed) || o != (Outcome{}) {
			t.Errorf("%s: got %+v, %v", name, o, err)
		}
	}
}

func FuzzReadOutcome(f *testing.F) {
	for _, file := range []string{"response.hex", "response-success.hex", "response-failure.hex", "alert.hex", "alert-failure.hex", "future-signed.hex"} {
		f.Add(vector(f, file))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ReadOutcome(b)
		if err != nil {
			if errors.Is(err, ErrNotOutcome) == errors.Is(err, ErrMalformed) || o != (Outcome{}) {
				t.Fatalf("got %+v, %v", o, err)
			}
			return
		}
		if _, err := ReadCS06(b); !errors.Is(err, ErrNotCS06) {
			t.Fatalf("%X reads as %+v, and as a command: %v", b, o, err)
		}
		own := binary.BigEndian.Uint64(b[3:])
		want := AppendSigned(nil, AppendOutcome(nil, o, own), [64]byte(b[len(b)-signatureSize:]))
		const dateTime = 3 + 8 + 2*9 // its length, in a response
		if n := int(b[dateTime]); o.Alert == 0 && n > 0 {
			b = append(append(bytes.Clone(b[:dateTime]), 0), b[dateTime+1+n:]...)
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("%X reads as %+v, which is written %X", b, o, want)
		}
		if (o.Alert != 0) == o.At.IsZero() || o.Alert != 0 && !o.Executed || !o.Executed && (o.Failed() || o.Version != "") {
			t.Fatalf("%X reads as %+v", b, o)
		}
	})
}
