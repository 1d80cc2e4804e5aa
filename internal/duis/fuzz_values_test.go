package duis

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/strictxml"
)

// FuzzReadInventory: a document with a fault yields nothing. What is yielded is in the
// document, as encoding/xml reads it, in order, and all of it is on the one hub.
func FuzzReadInventory(f *testing.F) {
	f.Add([]byte(home))
	f.Add(samples(f)["inventory.xml"])
	f.Add([]byte(strings.Replace(home, ">ESME<", ">ESME</DeviceType><DeviceStatus>Decommissioned</DeviceStatus><DeviceType xmlns='urn:x'><", 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var devices []outage.Device
		var lines []int
		skipped, err := ReadInventory(bytes.NewReader(b), func(d outage.Device, line int) error {
			devices, lines = append(devices, d), append(lines, line)
			return nil
		})
		if err != nil {
			if len(devices) > 0 || skipped > 0 {
				t.Fatalf("%d devices of a document with a fault: %v", len(devices), err)
			}
			return
		}
		if len(devices)+skipped > maxDevices {
			t.Fatalf("%d devices", len(devices)+skipped)
		}
		ids := deviceIDs(t, b)
		var hub outage.DeviceID
		for i, d := range devices {
			if d.Type == "CHF" {
				hub = d.ID
			}
			if i > 0 && lines[i] < lines[i-1] || lines[i] < 1 || lines[i] > 1+bytes.Count(b, []byte("\n")) {
				t.Errorf("lines %d", lines)
			}
			// The next of the document's, apart from those that are skipped.
			for len(ids) > 0 && !strings.EqualFold(ids[0], d.ID.String()) {
				ids = ids[1:]
			}
			if len(ids) == 0 || d.ID == 0 {
				t.Fatalf("%v is not in the document at its place", d.ID)
			}
			ids = ids[1:]
		}
		for _, d := range devices {
			if want := hub; d.Type != "CHF" && d.CHF != want || d.Type == "CHF" && d.CHF != 0 {
				t.Errorf("%+v, the hub is %v", d, hub)
			}
		}
	})
}

// deviceIDs returns what encoding/xml reads in the DeviceIDs of a document, wherever they are.
func deviceIDs(t *testing.T, b []byte) (ids []string) {
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return ids
		}
		if err != nil {
			t.Fatalf("encoding/xml: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name == (xml.Name{Space: Namespace, Local: "DeviceID"}) {
			var text strings.Builder
			for depth := 1; depth > 0; {
				token, err := d.Token()
				if err != nil {
					t.Fatalf("encoding/xml: %v", err)
				}
				switch e := token.(type) {
				case xml.StartElement:
					depth++
				case xml.EndElement:
					depth--
				case xml.CharData:
					text.Write(e)
				}
			}
			ids = append(ids, strings.Trim(text.String(), " \t\r\n"))
		}
	}
}

// rfc3339 is what RFC 3339 and the schema's dateTime have in common.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-](0\d|1[0-3]):[0-5]\d)$`)

// FuzzParseTime compares ParseTime with the library where both read the same form.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2027-02-01T13:03:30Z", "2027-02-01T23:30:00.125-05:45", "2028-02-29T24:00:00+01:00", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:60Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTime([]byte(s))
		if err == nil && (got.IsZero() || got.Year() < 1 || got.Year() > 9999 || got.Location() != time.UTC) {
			t.Fatalf("%q is read as %v", s, got)
		}
		if !rfc3339.MatchString(s) || strings.HasPrefix(s[11:], "24") {
			return
		}
		want, wantErr := time.Parse(time.RFC3339Nano, s)
		in := wantErr == nil && want.UTC().Year() >= 1 && want.UTC().Year() <= 9999 && !want.IsZero() && !strings.HasPrefix(s, "0000")
		if in != (err == nil) || in && !got.Equal(want) {
			t.Fatalf("%q is read as %v, %v; the library: %v, %v", s, got, err, want, wantErr)
		}
	})
}

// FuzzBase64: a payload has one text, apart from white space.
func FuzzBase64(f *testing.F) {
	for _, s := range []string{"", "AAAA", "QQ==", "QR==", "Q Q\n==", "QQ=", "____", "QQ==QQ==", "QQ\u00a0 ==", "QQ\v\n=="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := base64Binary(b)
		text := bytes.Map(func(r rune) rune {
			if r < 0x80 && strictxml.ContainsSpace([]byte{byte(r)}) {
				return -1
			}
			return r
		}, b)
		want, err := base64.StdEncoding.DecodeString(string(text))
		same := err == nil && base64.StdEncoding.EncodeToString(want) == string(text) && len(want) > 0
		if same != (p != nil) || same && !bytes.Equal(p, want) {
			t.Fatalf("%q is read as %X; want %X, %v", b, p, want, err)
		}
	})
}
