package outage

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	euiForm       = regexp.MustCompile(`^([0-9A-Fa-f]{2}-){7}[0-9A-Fa-f]{2}$`)
	anyEUIForm    = regexp.MustCompile(`^(([0-9A-Fa-f]{2}-){7}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{16})$`)
	requestIDForm = regexp.MustCompile(`^([^:]*):([^:]*):(0|[1-9][0-9]*)$`)
)

// FuzzParseDeviceID compares the readers of EUI-64s with a regular expression and the library.
func FuzzParseDeviceID(f *testing.F) {
	for _, s := range []string{"00-DB-12-34-56-78-90-A0", "00:db:12:34:56:78:90:a0", "00DB1234567890A0", "00-DB-12-34-56-78-90:A0", "０0-DB-12-34-56-78-90"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		digits := strings.NewReplacer("-", "", ":", "").Replace(s)
		for _, c := range []struct {
			parse func(string) (DeviceID, error)
			form  *regexp.Regexp
		}{{ParseDeviceID, euiForm}, {ParseAnyDeviceID, anyEUIForm}} {
			id, err := c.parse(s)
			if (err == nil) != c.form.MatchString(s) {
				t.Fatalf("%q: %v, %v", s, id, err)
			}
			if err != nil {
				if id != 0 {
					t.Fatalf("%q: %v, %v", s, id, err)
				}
				continue
			}
			if want, _ := strconv.ParseUint(digits, 16, 64); id != DeviceID(want) {
				t.Fatalf("%q is read as %v", s, id)
			}
			if again, err := ParseDeviceID(id.String()); err != nil || again != id {
				t.Fatalf("%q is read as %v, and that as %v, %v", s, id, again, err)
			}
		}
	})
}

// FuzzParseRequestID compares the reader of ids with big numbers, and with what it writes.
func FuzzParseRequestID(f *testing.F) {
	const pair = "00-DB-12-34-56-78-90-A0:90-B3-D5-1F-30-01-00-00:"
	for _, n := range []string{"0", "7", "18446744073709551615", "18446744073709551616", "007", "-1", "+1", ""} {
		f.Add(pair + n)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseRequestID(s)
		want := RequestID{}
		m := requestIDForm.FindStringSubmatch(s)
		ok := m != nil && euiForm.MatchString(m[1]) && euiForm.MatchString(m[2])
		if ok {
			n, _ := new(big.Int).SetString(m[3], 10)
			if ok = n.IsUint64(); ok {
				want.Originator, _ = ParseDeviceID(m[1])
				want.Target, _ = ParseDeviceID(m[2])
				want.Counter = n.Uint64()
			}
		}
		if ok != (err == nil) || id != want {
			t.Fatalf("%q is read as %v, %v; want %v, %v", s, id, err, want, ok)
		}
		if ok && id != (RequestID{}) && !strings.EqualFold(id.String(), s) {
			t.Fatalf("%q is written as %v", s, id)
		}
	})
}

// FuzzDistributorOf: one digit of a valid MPAN that is changed makes it invalid, or leaves a
// sum that the check digit cannot tell from it, which is so for 0 and 10 alone. A distributor is
// always the first two digits.
func FuzzDistributorOf(f *testing.F) {
	for _, s := range []string{"1012345678909", "1400000000001", "3000000001", "２012345678909", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := DistributorOf(s)
		if id := DistributorID(s); id != d.ID {
			t.Fatalf("%q: the id alone is %q, of %+v", s, id, d)
		}
		if !ok {
			if d.ID != "" || d.Operator != UnknownDistributor {
				t.Fatalf("%q, which is not valid: %+v", s, d)
			}
			return
		}
		if len(s) != 13 || strings.Trim(s, "0123456789") != "" || d.ID != s[:2] {
			t.Fatalf("%q: %+v", s, d)
		}
		last := s[12]
		for c := byte('0'); c <= '9'; c++ {
			if _, ok := DistributorOf(s[:12] + string(c)); ok != (c == last) {
				t.Fatalf("%q is valid, and with the check digit %c: %v", s, c, ok)
			}
		}
	})
}

// FuzzSMETSGeneration: white space and the case of letters do not change what a version says,
// and a text that says nothing of a version names no generation.
func FuzzSMETSGeneration(f *testing.F) {
	for _, s := range []string{"SMETS2 v4.2", "SMETS-2", "1.58", "SMETS Version 2.0", "v5.1", "SMETS1", "CHTS v1.1", "2.0.0 (x)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g := SMETSGeneration(s)
		if g < 0 || g > 2 || g > 0 && !strings.ContainsAny(s, "0123456789") {
			t.Fatalf("%q is generation %d", s, g)
		}
		for _, same := range []string{"  " + s + "\t", asciiUpper(s)} {
			if h := SMETSGeneration(same); h != g {
				t.Fatalf("%q is generation %d, %q is %d", s, g, same, h)
			}
		}
	})
}

func asciiUpper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
