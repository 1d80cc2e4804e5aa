package outage

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/reasons.md")

func TestDeviceID(t *testing.T) {
	for text, want := range map[string]DeviceID{
		"00-DB-12-34-56-78-90-A0": 0x00DB1234567890A0,
		"ff-ff-Ff-fF-ff-ff-ff-ff": 1<<64 - 1,
		"90-b3-d5-1f-30-01-00-00": 0x90B3D51F30010000,
	} {
		id, err := ParseDeviceID(text)
		if err != nil || id != want || id.String() != strings.ToUpper(text) {
			t.Errorf("%s: %s, %v", text, id, err)
		}
		var back DeviceID
		if b, _ := id.MarshalText(); back.UnmarshalText(b) != nil || back != id {
			t.Errorf("%s does not come back", text)
		}
	}
	for _, text := range []string{"", "00DB1234567890A0", "00-DB-12-34-56-78-90-A", "00-DB-12-34-56-78-90-A00", "00-DB-12-34-56-78-90-G0",
		"00_DB_12_34_56_78_90_A0", "00-DB-12-34-56-78-90:A0", " 0-DB-12-34-56-78-90-A0", "00-DB-12-34-56-78-90-A\xff"} {
		if id, err := ParseDeviceID(text); !errors.Is(err, ErrDeviceID) || id != 0 {
			t.Errorf("%q is taken for %s", text, id)
		}
	}
}

func TestParseAnyDeviceID(t *testing.T) {
	for _, text := range []string{"00-DB-12-34-56-78-90-A0", "00:db:12:34:56:78:90:a0", "00DB1234567890A0", "00db1234567890A0"} {
		if id, err := ParseAnyDeviceID(text); err != nil || id != 0x00DB1234567890A0 {
			t.Errorf("%s: %s, %v", text, id, err)
		}
	}
	for _, text := range []string{"", "00DB1234567890A", "00DB1234567890A00", "00DB1234567890G0", "00-DB-12-34-56-78-90:A0", "00:DB:12:34:56:78:90-A0",
		"00:DB:12:34:56:78:90:", ":0:DB:12:34:56:78:90:A0", "00_DB_12_34_56_78_90_A0", "0x00DB1234567890", " 00DB1234567890A0", "00-DB12-3456-7890-A0", "00DB 1234567890A", "00DB-123456789-0"} {
		if id, err := ParseAnyDeviceID(text); !errors.Is(err, ErrDeviceID) || id != 0 {
			t.Errorf("%q is taken for %s", text, id)
		}
	}
}

func TestDeviceRemoved(t *testing.T) {
	for _, status := range append(DeviceStatuses, "", "withdrawn", "Gone") {
		if want := slices.Contains([]string{"Decommissioned", "Withdrawn", "withdrawn"}, status); DeviceRemoved(status) != want {
			t.Errorf("%q: %t", status, !want)
		}
	}
}

func TestRequestID(t *testing.T) {
	const euis = "90-B3-D5-1F-30-01-00-00:00-DB-12-34-56-78-90-A0:"
	for _, n := range []string{"0", "1", "1001", "18446744073709551615"} {
		id, err := ParseRequestID(strings.ToLower(euis) + n)
		if err != nil || id.String() != euis+n {
			t.Errorf("%s: %s, %v", n, id, err)
		}
	}
	for _, text := range []string{"", euis, euis + "01", euis + "-1", euis + "1x", euis + "18446744073709551616", euis + "99999999999999999999",
		strings.Replace(euis, ":", "-", 1) + "1", "x" + euis[1:] + "1", euis[:24] + "x" + euis[25:] + "1"} {
		if id, err := ParseRequestID(text); !errors.Is(err, ErrRequestID) || id != (RequestID{}) {
			t.Errorf("%q is taken for %s", text, id)
		}
	}
	if s := (RequestID{}).String(); s != "" {
		t.Errorf("the zero id is %q", s)
	}
}

func TestSMETSGeneration(t *testing.T) {
	for want, texts := range map[int][]string{
		2: {"SMETS2 v4.2", "smets2", " SMETS 2 ", "SMETS-2", "SMETS_2", "SMETS2 V1.58", "SMETS2v2.0", "SMETS2.0", "SMETS2-v5.1", "SMETS2 (4.2)", "SMETS2, v4.2",
			"SMETS V1.58", "V1.58", "1.58", "v 1.58", "1.59", "1.99", "1.100", "SMETS 1.58", "SMETS1.58", "1.58.1", "SMETS Version 2.0", "SMETS Ver. 3.1",
			"Version 2.0", "2.0", "2", "v5", "v5.1", "4.2", "SMETS v3.1", "10.0", "1.58.0.1", "SMETS\u00A02"},
		1: {"SMETS1", "SMETS1 v1.2", "SMETS-1", "SMETS 1 V1.58", "SMETS1 v2.0", "SMETS V1.2", "1.2", "1.0", "v1.1", "1", "SMETS Version 1.2", "1.2.3", "01.02"},
		0: {"", " ", "unknown", "SMETS", "SMETS v", "v", "CHTS v1.0", "CHTS V1.58", "SMETS3", "SMETS 3", "SMETS3 v1.0", "SMETS0", "SMETS20", "SMETS22", "0.9", "1.3", "1.5", "1.57",
			"SMETS V1.57", "-2", ".2", "2G", "2x", "SMETSA2", "TWO", "99999999999999999999", "SMETS99999", "+2", "V2.0x", "SMETS2x", "2.", "1.58."},
	} {
		for _, text := range texts {
			if got := SMETSGeneration(text); got != want {
				t.Errorf("%q: %d, want %d", text, got, want)
			}
		}
	}
}

func TestManufacturers(t *testing.T) {
	m := Manufacturers{" Landis+Gyr", "1063", "Smith & Sons"}
	for name, want := range map[string]bool{
		"Landis+Gyr": true, "LANDIS+GYR": true, "Landis + Gyr": true, "landis\u00A0+ gyr ": true, "Landis+ Gyr": true, "Lan dis+Gyr": true,
		"1063": true, " 1063 ": true, "Smith&Sons": true, "SMITH &  SONS": true,
		"": false, "Landis & Gyr": false, "Landis Gyr": false, "Landis+Gyr AG": false, "L+G": false, "Landis": false, "106": false, "10633": false, "Smith+Sons": false,
	} {
		if m.Has(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
	if (Manufacturers{}).Has("") || !(Manufacturers{"Landis + Gyr"}).Has("Landis+Gyr") {
		t.Error("an empty list has a name, or blanks count in the list")
	}
}

func TestEligible(t *testing.T) {
	good := Device{ID: 1, Type: "ESME", SMETSVersion: "SMETS2 v4.2", Manufacturer: " landis+GYR ", CHF: 2}
	with := func(f func(*Device)) *Device { d := good; f(&d); return &d }
	m := Manufacturers{"Other", "Landis+Gyr  "}
	for want, c := range map[Reason]struct {
		d      *Device
		listed bool
	}{
		ReasonTracked:           {&good, true},
		ReasonUnknownDevice:     {nil, true},
		ReasonNotESME:           {with(func(d *Device) { d.Type = "GSME" }), true},
		ReasonNotSMETS2:         {with(func(d *Device) { d.SMETSVersion = "SMETS1" }), true},
		ReasonOtherManufacturer: {with(func(d *Device) { d.Manufacturer = "Landis" }), true},
		ReasonNotListed:         {&good, false},
		ReasonNoHub:             {with(func(d *Device) { d.CHF = 0 }), true},
	} {
		if ok, got := Eligible(c.d, c.listed, m); got != want || ok != (want == ReasonTracked) {
			t.Errorf("%s: got %v %s", want, ok, got)
		}
	}
}

func TestDistributorOf(t *testing.T) {
	// The check digits were worked out by hand from the published weights.
	for mpan, want := range map[string]Distributor{
		"1200023305967": {"12", "DNO", "London", "UKPN"},
		"2300023305967": {"23", "DNO", "Yorkshire", "NPg"},
		"2412345678907": {"24", "IDNO", "", "Independent Power Networks"},
		"3812345678907": {"38", "IDNO", "", "Indigo Power"},
		"3912345678907": {"39", "IDNO", "", "unknown"},
		"9912345678907": {"99", "IDNO", "", "unknown"},
		"0912345678900": {"09", "", "", "unknown"},
	} {
		mpan = mpan[:12] + string('0'+byte(checkDigit(mpan)))
		if got, valid := DistributorOf(mpan); got != want || !valid {
			t.Errorf("%s: %+v %v", mpan, got, valid)
		}
	}
	if _, valid := DistributorOf("1200023305967"); !valid {
		t.Error("a real MPAN's check digit is refused")
	}
	for _, mpan := range []string{"", "1200023305966", "120002330596", "12000233059670", "12000233O5967", "1234567890"} {
		if got, valid := DistributorOf(mpan); valid || got != (Distributor{Operator: "unknown"}) {
			t.Errorf("%s: %+v %v", mpan, got, valid)
		}
	}
}

func TestIsDistributor(t *testing.T) {
	for id, want := range map[string]bool{"10": true, "23": true, "24": true, "39": true, "99": true, "09": false, "00": false, "": false,
		"1": false, "012": false, "100": false, "+1": false, "-5": false, "x4": false, "2x": false, "unknown": false, "٣٤": false} {
		if IsDistributor(id) != want {
			t.Errorf("%q: %t", id, !want)
		}
	}
}

func checkDigit(mpan string) int {
	sum := 0
	for i, w := range []int{3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43} {
		sum += w * int(mpan[i]-'0')
	}
	return sum % 11 % 10
}

var base = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// act makes an activation at minute "at", for a time in minutes from base.
func act(id int64, at int, form Form, kind Kind, exec int) Activation {
	o := Order{Kind: kind}
	if kind == FutureDated {
		o.At = base.Add(time.Duration(exec) * time.Minute)
	}
	r := Request{ID: RequestID{Target: 1, Counter: uint64(id)}, Form: form, Order: o, Received: base.Add(time.Duration(at) * time.Minute)}
	a := r.Activation(2, 30*time.Minute)
	a.ID = id
	return a
}

func TestResolveWindows(t *testing.T) {
	const sr, spc = ServiceRequest, SignedPreCommand
	withdrawn := func(a Activation) Activation { a.State = Withdrawn; return a }
	uncertain := func(a Activation) Activation { a.State = Uncertain; return a }
	failed := func(a Activation) Activation { a.State = Failed; return a }
	for _, c := range []struct {
		name string
		acts []Activation
		want string // for each: "in-force", "by N", "withdrawn" or "failed"
	}{
		{"on demand extends", []Activation{act(1, 0, spc, OnDemand, 0), act(2, 10, spc, OnDemand, 0)}, "in-force in-force"},
		{"future dated replaces what waits", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 10, spc, FutureDated, 90)}, "by 2 in-force"},
		{"but not what has begun", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 60, spc, FutureDated, 90)}, "in-force in-force"},
		{"future dated leaves on demand", []Activation{act(1, 0, spc, OnDemand, 0), act(2, 10, spc, FutureDated, 90)}, "in-force in-force"},
		{"on demand replaces what waits", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 10, spc, OnDemand, 0)}, "by 2 in-force"},
		{"but not what has begun", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 60, spc, OnDemand, 0)}, "in-force in-force"},
		{"a time in the past is on demand", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 10, spc, FutureDated, 10)}, "by 2 in-force"},
		{"closed", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 59, spc, OnDemand, 0).AsClosing()}, "by 2 in-force"},
		{"closed too late", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 60, spc, OnDemand, 0).AsClosing()}, "in-force in-force"},
		{"a refused closing", []Activation{act(1, 0, spc, FutureDated, 60), withdrawn(act(2, 59, spc, OnDemand, 0).AsClosing())}, "in-force withdrawn"},
		{"cancelled", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 59, spc, Cancellation, 0)}, "by 2 in-force"},
		{"cancelled too late", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 60, spc, Cancellation, 0)}, "in-force in-force"},
		{"on demand is not cancelled", []Activation{act(1, 0, spc, OnDemand, 0), act(2, 1, spc, Cancellation, 0)}, "in-force in-force"},
		{"a refused cancellation", []Activation{act(1, 0, spc, FutureDated, 60), withdrawn(act(2, 59, spc, Cancellation, 0))}, "in-force withdrawn"},
		{"a chain, its last refused", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 1, spc, FutureDated, 61), withdrawn(act(3, 2, spc, FutureDated, 62))}, "by 2 in-force withdrawn"},
		{"a chain, its middle refused", []Activation{act(1, 0, spc, FutureDated, 60), withdrawn(act(2, 1, spc, FutureDated, 61)), act(3, 2, spc, FutureDated, 62)}, "by 3 withdrawn in-force"},
		{"cancelled, then ordered again", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 1, spc, Cancellation, 0), act(3, 2, spc, FutureDated, 60)}, "by 2 in-force in-force"},
		{"pre-command follows its request", []Activation{act(1, 0, sr, OnDemand, 0), act(2, 29, spc, OnDemand, 0)}, "by 2 in-force"},
		{"after its window", []Activation{act(1, 0, sr, OnDemand, 0), act(2, 30, spc, OnDemand, 0)}, "in-force in-force"},
		{"of another kind", []Activation{act(1, 0, sr, OnDemand, 0), act(2, 1, spc, FutureDated, 60)}, "in-force in-force"},
		{"request does not follow pre-command", []Activation{act(1, 0, spc, OnDemand, 0), act(2, 1, sr, OnDemand, 0)}, "in-force in-force"},
		{"future dated, came late", []Activation{act(1, 0, sr, FutureDated, 60), act(2, 65, spc, FutureDated, 60)}, "by 2 in-force"},
		{"request leaves what a pre-command ordered", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 1, sr, FutureDated, 90)}, "in-force in-force"},
		{"request cancels no pre-command", []Activation{act(1, 0, spc, FutureDated, 60), act(2, 1, sr, Cancellation, 0)}, "in-force in-force"},
		{"request replaces a request", []Activation{act(1, 0, sr, FutureDated, 60), act(2, 1, sr, FutureDated, 90)}, "by 2 in-force"},
		{"request cancels a request", []Activation{act(1, 0, sr, FutureDated, 60), act(2, 1, sr, Cancellation, 0)}, "by 2 in-force"},
		{"pre-command of another kind replaces a pending request", []Activation{act(1, 0, sr, FutureDated, 60), act(2, 1, spc, OnDemand, 0)}, "by 2 in-force"},
		{"failed", []Activation{failed(act(1, 0, spc, OnDemand, 0))}, "failed"},
		{"what an uncertain one replaced stays replaced", []Activation{act(1, 0, spc, FutureDated, 60), uncertain(act(2, 1, spc, FutureDated, 61))}, "by 2 failed"},
		{"what a failed one replaced stays replaced", []Activation{act(1, 0, spc, FutureDated, 60), failed(act(2, 1, spc, FutureDated, 61))}, "by 2 failed"},
		{"refused pre-command", []Activation{act(1, 0, sr, OnDemand, 0), withdrawn(act(2, 1, spc, OnDemand, 0))}, "in-force withdrawn"},
	} {
		ResolveWindows(c.acts)
		var got []string
		for _, a := range c.acts {
			switch {
			case a.State == Withdrawn && !a.Standing && a.SupersededBy == 0:
				got = append(got, "withdrawn")
			case !a.State.Opens() && !a.Standing && a.SupersededBy == 0:
				got = append(got, "failed")
			case a.Standing && a.SupersededBy == 0:
				got = append(got, "in-force")
			case !a.Standing:
				got = append(got, fmt.Sprintf("by %d", a.SupersededBy))
			default:
				t.Errorf("%s: %+v", c.name, a)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

func TestDecide(t *testing.T) {
	waits, open := act(2, 0, SignedPreCommand, FutureDated, 60), act(1, 0, SignedPreCommand, OnDemand, 0)
	other := act(3, 20, SignedPreCommand, OnDemand, 0)
	gone := act(4, 0, SignedPreCommand, OnDemand, 0)
	for _, a := range []*Activation{&waits, &open, &other} {
		a.Standing = true
	}
	at := func(m int, us int) time.Time {
		return base.Add(time.Duration(m)*time.Minute + time.Duration(us)*time.Microsecond)
	}
	for _, c := range []struct {
		acts   []Activation
		at     time.Time
		reason Reason
		by     int64
	}{
		{nil, at(0, 0), ReasonNoWindow, 0},
		{[]Activation{open}, at(0, -1), ReasonWindowNotBegun, 1},
		{[]Activation{open}, at(0, 0), ReasonWindowOpen, 1},
		{[]Activation{open}, at(30, -1), ReasonWindowOpen, 1},
		{[]Activation{open}, at(30, 0), ReasonWindowOver, 1},
		{[]Activation{other, open}, at(25, 0), ReasonWindowOpen, 1},
		{[]Activation{other, open}, at(30, 0), ReasonWindowOpen, 3},
		{[]Activation{waits, open}, at(40, 0), ReasonWindowNotBegun, 2},
		{[]Activation{waits}, at(60, 0), ReasonWindowOpen, 2},
		{[]Activation{gone}, at(0, 0), ReasonWindowWithdrawn, 4},
		{[]Activation{act(5, 0, SignedPreCommand, Cancellation, 0)}, at(0, 0), ReasonNoWindow, 0},
	} {
		d, by := Decide(c.acts, c.at)
		if d.Reason != c.reason || (d.Outcome == Suppressed) != (c.reason == ReasonWindowOpen) || (by == nil) != (c.by == 0) || by != nil && by.ID != c.by {
			t.Errorf("at %s of %d: %+v by %+v, want %s by %d", c.at.Format(time.TimeOnly), len(c.acts), d, by, c.reason, c.by)
		}
	}
}

// Reasons lists all reasons, and so does docs/reasons.md.
func TestReasons(t *testing.T) {
	source, err := os.ReadFile("decide.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := regexp.MustCompile(`(?m)^\tReason\w+ +Reason = "(.+?)"`).FindAllSubmatch(source, -1)
	if len(constants) != len(Reasons) {
		t.Errorf("%d reasons of %d have a text", len(Reasons), len(constants))
	}
	for _, c := range constants {
		if r := Reason(c[1]); r.Text() == string(r) {
			t.Errorf("%s has no text in reason.go", r)
		}
	}
	var b strings.Builder
	b.WriteString("# Reasons\n\nWhy a message was suppressed or forwarded, or an activation tracked or not: all reasons, in the order of the checks. Reasons are\n" +
		"shown in the header `Quell-Reason` of northbound answers, in the Service Audit Trail, in the metrics and by `quell explain`.\n" +
		"`make generate` writes this file from `internal/outage/reason.go`.\n\n| reason | where | meaning |\n| --- | --- | --- |\n")
	seen := map[Reason]bool{}
	for _, r := range Reasons {
		where := ""
		for i, d := range r.Directions {
			where += strings.Repeat(", ", min(i, 1)) + string(d)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.Reason, where, r.Text)
		if seen[r.Reason] || r.Reason.Text() != r.Text {
			t.Errorf("%s is listed twice", r.Reason)
		}
		seen[r.Reason] = true
	}
	const file = "../../docs/reasons.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || string(have) != b.String() {
		t.Errorf("%s is stale; run make generate (%v)", file, err)
	}
}
