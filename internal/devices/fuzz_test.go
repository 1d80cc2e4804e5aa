package devices

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"quell/internal/outage"
)

// FuzzReadList compares ReadList with a reader that is simple, and holds the whole file.
func FuzzReadList(f *testing.F) {
	for _, s := range []string{"00-DB-12-34-56-78-90-A0\n", "\ufeffdevice_id\r\n00db1234567890a0 # one\r\n\r\n00:DB:12:34:56:78:90:A1", "GUID\nGUID\n",
		"00-00-00-00-00-00-00-00\n", "# nothing\n\"GUID\",\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got []outage.DeviceID
		err := ReadList(bytes.NewReader(text), func(id outage.DeviceID) error { got = append(got, id); return nil })
		var want []outage.DeviceID
		var faults []int
		first := true
		for i, line := range bytes.SplitAfter(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\n")) {
			if len(line) >= maxLine {
				faults = append(faults, i+1)
				continue
			}
			line, _, _ = bytes.Cut(line, []byte("#"))
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			if id, err := outage.ParseAnyDeviceID(string(line)); err == nil && id != 0 {
				want = append(want, id)
			} else if !first || err == nil || !isHeader(line) {
				faults = append(faults, i+1)
			}
			first = false
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		var lines *LineErrors
		if errors.As(err, &lines) != (len(faults) > 0) || err != nil && lines == nil {
			t.Fatalf("%v; want faults on the lines %d", err, faults)
		}
		if lines != nil {
			var at []int
			for _, fault := range lines.Faults {
				at = append(at, fault.Line)
			}
			if len(at)+lines.More != len(faults) || !slices.Equal(at, faults[:min(len(faults), maxFaults)]) {
				t.Fatalf("faults on the lines %d and %d more, want %d", at, lines.More, faults)
			}
		}
	})
}
