package gbcs

import (
	"errors"
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

var restorationParts = [...]string{
	"DF", "09", "03", "0000000000015F91", "08", "001BC502B0004C2E", "08", "90B3D51F30010007", "00", "02", "0067",
	"35", "0F", "20015F91", "00", "02", "04", "12", "8F36",
	"09", "0C", "07EB030FFF020A1E008000FF", "09", "0C", "07EB030FFF020000008000FF", "09", "0C", "07EB030FFF02091E328000FF",
	"40", signature,
}

const (
	partStart = 24
	partEnd   = 27
)

func restoration(t *testing.T, changes map[int]string) []byte {
	p := append([]string(nil), restorationParts[:]...)
	for i, s := range changes {
		p[i] = s
	}
	return fromHex(t, strings.Join(p, ""))
}

func TestReadRestoration(t *testing.T) {
	at := func(hour, minute, second, hundredths int) time.Time {
		return time.Date(2027, 3, 15, hour, minute, second, hundredths*1e7, time.UTC)
	}
	good := Restoration{Meter: 0x001BC502B0004C2E, Code: 0x8F36, Start: at(2, 0, 0, 0), End: at(2, 9, 30, 50)}
	for name, c := range map[string]struct {
		changes map[int]string
		want    func(*Restoration)
	}{
		"as it is":                     {nil, func(*Restoration) {}},
		"first code":                   {map[int]string{18: "8F35"}, func(r *Restoration) { r.Code = 0x8F35 }},
		"last code":                    {map[int]string{18: "8F3C"}, func(r *Restoration) { r.Code = 0x8F3C }},
		"start without hundredths":     {map[int]string{partStart: "07EB030FFF020000FF8000FF"}, func(*Restoration) {}},
		"start in summer time":         {map[int]string{partStart: "07EB030FFF03000000FFC4FF"}, func(*Restoration) {}},
		"end in a zone to the west":    {map[int]string{partEnd: "07EB030FFF01091E32003C00"}, func(*Restoration) {}},
		"no time of the alert":         {map[int]string{21: "FFFFFFFFFFFFFFFFFF8000FF"}, func(*Restoration) {}},
		"it ends at once":              {map[int]string{partEnd: restorationParts[partStart]}, func(r *Restoration) { r.End = r.Start }},
		"start on the last of the day": {map[int]string{partStart: "07EB030EFF173B3B638000FF"}, func(r *Restoration) { r.Start = time.Date(2027, 3, 14, 23, 59, 59, 99e7, time.UTC) }},
	} {
		want := good
		c.want(&want)
		b := restoration(t, c.changes)
		if got, err := ReadRestoration(b); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
		if n := testing.AllocsPerRun(100, func() { ReadRestoration(b) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	whole := restoration(t, nil)
	for n := range whole {
		if r, err := ReadRestoration(whole[:n]); !errors.Is(err, ErrMalformed) || r != (Restoration{}) {
			t.Errorf("the first %d bytes: %+v, %v", n, r, err)
		}
	}
	for name, b := range map[string][]byte{
		"more after it":            append(restoration(t, nil), 0),
		"start without a minute":   restoration(t, map[int]string{partStart: "07EB030FFF02FF00008000FF"}),
		"start without a year":     restoration(t, map[int]string{partStart: "FFFF030FFF020000008000FF"}),
		"30 February":              restoration(t, map[int]string{partStart: "07EB021EFF020000008000FF"}),
		"month 13":                 restoration(t, map[int]string{partStart: "07EB0D0FFF020000008000FF"}),
		"24:00":                    restoration(t, map[int]string{partStart: "07EB030FFF180000008000FF"}),
		"second 60":                restoration(t, map[int]string{partStart: "07EB030FFF02003C008000FF"}),
		"hundredth 100":            restoration(t, map[int]string{partStart: "07EB030FFF020000648000FF"}),
		"deviation of 13 hours":    restoration(t, map[int]string{partStart: "07EB030FFF02000000FCF4FF"}),
		"ends before it starts":    restoration(t, map[int]string{partEnd: "07EB030FFF013B3B008000FF"}),
		"date-time of 11 bytes":    restoration(t, map[int]string{23: "0B"}),
		"no octet string":          restoration(t, map[int]string{22: "04"}),
		"structure of five":        restoration(t, map[int]string{16: "05"}),
		"code before":              restoration(t, map[int]string{18: "8F34"}),
		"code after":               restoration(t, map[int]string{18: "8F3D"}),
		"date-time of the message": restoration(t, map[int]string{8: "01"}),
	} {
		if r, err := ReadRestoration(b); !errors.Is(err, ErrMalformed) || r != (Restoration{}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for name, b := range map[string][]byte{
		"8F66":                 vector(t, "alert.hex"),
		"response":             vector(t, "response.hex"),
		"pre-command":          vector(t, "immediate-precommand.hex"),
		"its code in response": restoration(t, map[int]string{2: "02"}),
		"another use case":     restoration(t, map[int]string{10: "0068"}),
	} {
		if r, err := ReadRestoration(b); !errors.Is(err, ErrNotRestoration) || r != (Restoration{}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// FuzzReadRestoration: whatever is read can be written, and reads the same.
func FuzzReadRestoration(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(AppendSigned(nil, AppendRestoration(nil, Restoration{Meter: 1, Code: 0x8F36, Start: time.Unix(1e9, 0), End: time.Unix(1e9+600, 0)}, 2, 3), [64]byte{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadRestoration(b)
		if err != nil {
			if r != (Restoration{}) || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotRestoration) {
				t.Fatalf("%+v, %v", r, err)
			}
			return
		}
		if r.Start.Year() < 1 || r.End.Year() > 9999 {
			return // a deviation made it so
		}
		again, err := ReadRestoration(AppendSigned(nil, AppendRestoration(nil, r, outage.DeviceID(7), 8), [64]byte{}))
		if err != nil || again != r {
			t.Fatalf("%+v reads as %+v, %v", r, again, err)
		}
	})
}
