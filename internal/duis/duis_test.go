package duis

import (
	"strings"
	"testing"
	"time"

	"quell/internal/outage"
)

func TestOrder(t *testing.T) {
	tests := []struct {
		execution time.Time
		want      outage.Order
	}{
		{time.Time{}, outage.Order{Kind: outage.OnDemand}},
		{later, outage.Order{Kind: outage.FutureDated, At: later}},
		{CancellationTime, outage.Order{Kind: outage.Cancellation}},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), outage.Order{Kind: outage.Cancellation}},
		{time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), outage.Order{Kind: outage.Cancellation}},
		{time.Date(9999, 12, 31, 23, 59, 58, 999999999, time.UTC),
			outage.Order{Kind: outage.FutureDated, At: time.Date(9999, 12, 31, 23, 59, 58, 999999999, time.UTC)}},
		{CancellationTime.Add(time.Nanosecond), outage.Order{Kind: outage.FutureDated, At: CancellationTime.Add(time.Nanosecond)}},
	}
	for _, tt := range tests {
		if got := (&Message{Execution: tt.execution}).Order(); got != tt.want {
			t.Errorf("%v: got %+v", tt.execution, got)
		}
	}
}

// AppendAlertID is AlertID, but allocates nothing.
func TestAppendAlertID(t *testing.T) {
	with := readPowerCut()
	without := with
	without.ResponseID = outage.RequestID{}
	longest := without
	longest.RequestID = outage.RequestID{Originator: 1<<64 - 1, Target: 1<<64 - 1, Counter: 1<<64 - 1}
	longest.ResponseCode, longest.Outage.MPxN = "E010101", strings.Repeat("\U0001F600", 13)
	longest.Outage.Throttled = outage.Throttled{SequenceID: new(uint32(1<<32 - 1)), Count: new(uint32(1<<32 - 1))}
	id := longest
	id.ResponseID = longest.RequestID
	for _, m := range []Message{with, without, longest, id} {
		var space [MaxAlertID + 1]byte
		if got := m.AppendAlertID(append(space[:0], '=')); string(got) != "="+m.AlertID() || len(got) > len(space) {
			t.Errorf("%s, %s", got, m.AlertID())
		}
		if n := testing.AllocsPerRun(100, func() {
			var space [MaxAlertID]byte
			if len(m.AppendAlertID(space[:0])) == 0 {
				t.Error("empty")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", m.AlertID(), n)
		}
	}
}

func TestAlertID(t *testing.T) {
	m := readPowerCut()
	if got := m.AlertID(); got != "90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-05-00-00:1801000000777" {
		t.Errorf("by ResponseID: %s", got)
	}
	without := change(t, powerCut, "<ResponseID>90-B3-D5-1F-30-00-00-02:90-B3-D5-1F-30-05-00-00:1801000000777</ResponseID>", "")
	id := func(in string) string {
		m, err := Read([]byte(in))
		if err != nil {
			t.Fatalf("%v: %s", err, in)
		}
		return m.AlertID()
	}
	first := id(without)
	if !strings.HasPrefix(first, "content:") || len(first) != len("content:")+64 {
		t.Errorf("by content: %s", first)
	}
	for name, same := range map[string]string{
		"indented":    strings.ReplaceAll(without, "><", ">\n  <"),
		"signed":      change(t, without, "</Response>", `<s:Signature xmlns:s="http://www.w3.org/2000/09/xmldsig#">x</s:Signature></Response>`),
		"other case":  change(t, without, "4C-2D", "4c-2d"),
		"other zone":  change(t, without, "13:03:30Z", "14:03:30+01:00"),
		"other zeros": change(t, without, "41.25Z", "41.250000Z"),
	} {
		if got := id(same); got != first {
			t.Errorf("%s: another alert", name)
		}
	}
	const sequence, count = "<ThrottledAlertSequenceId>7</ThrottledAlertSequenceId>", "<ThrottledAlertCount>3</ThrottledAlertCount>"
	seen := map[string]string{first: "the first"}
	for _, c := range [][2]string{
		{":70001", ":70002"}, {">I0<", ">I99<"}, {"41.25Z", "41.26Z"}, {"4C-2D", "4C-2F"}, {"13:03:30Z", "13:03:31Z"},
		{">1400000000001<", ">1400000000002<"}, {">7<", ">8<"}, {">3<", ">4<"},
		{sequence, ""},
		{count, ""},
		{sequence + count, ""},
		{sequence + count, "<ThrottledAlertCount>73</ThrottledAlertCount>"},
		{sequence + count, "<ThrottledAlertSequenceId>73</ThrottledAlertSequenceId>"},
	} {
		got := id(change(t, without, c[0], c[1]))
		if was, ok := seen[got]; ok {
			t.Errorf("%s for %s: the same as %s", c[1], c[0], was)
		}
		seen[got] = c[1] + " for " + c[0]
	}
}
