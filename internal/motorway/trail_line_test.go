package motorway

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/lines"
	"quell/internal/outage"
)

// marshalTrailLine is what encoding/json makes of a message's TrailLine.
func marshalTrailLine(now time.Time, p *Passage, status int) ([]byte, error) {
	cut := func(text string) string { return lines.Truncate(text, trailField) }
	b, err := json.Marshal(TrailLine{Time: now.UTC(), Direction: outage.Direction(cut(string(p.Direction))), RequestID: p.Message.RequestID.String(), ResponseID: p.Message.ResponseID.String(),
		SRV: cut(p.Message.ServiceReferenceVariant), AlertCode: cut(p.Message.AlertCode), Reason: outage.Reason(cut(string(p.Decision.Reason))), Status: status})
	return append(b, '\n'), err
}

// sameTrailLine compares appendTrailLine with encoding/json.
func sameTrailLine(t *testing.T, now time.Time, p *Passage, status int) {
	t.Helper()
	want, wantErr := marshalTrailLine(now, p, status)
	got, err := appendTrailLine(nil, now, p, status)
	if (err != nil) != (wantErr != nil) || err == nil && string(got) != string(want) {
		t.Errorf("%s, %v\nwant %s, %v", got, err, want, wantErr)
	}
}

// A line of the trail is to the byte what encoding/json makes of it, whatever texts, ids and
// times are in it.
func TestTrailLineIsJSON(t *testing.T) {
	texts := []string{"", "AD1", "8F36", "no-window", "4.8.1", `"`, `\`, "/", "<", ">", "&", "'", "\x00", "\b\f\n\r\t", "\x1f", " ", "~", "\x7f", "\x80", "\xff", "\xed\xa0\x80",
		"é", "\u2028", "\u2029", "\ufeff", "\ufffd", "\U0001F600", strings.Repeat("x", trailField), strings.Repeat("x", trailField+1), strings.Repeat("<", 2*trailField), strings.Repeat("€", trailField)}
	for c := range 256 {
		texts = append(texts, "a"+string([]byte{byte(c)})+"b")
	}
	times := []time.Time{{}, t0, t0.Add(1), t0.Add(120 * time.Millisecond), t0.In(time.FixedZone("", 5*3600+1800)), time.Unix(0, 0), time.Now(),
		time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}
	ids := []outage.RequestID{{}, {Counter: 1}, {Originator: 1}, {Target: 1}, request(70001), {Originator: 1<<64 - 1, Target: 1<<64 - 1, Counter: 1<<64 - 1}}
	for _, text := range texts {
		for _, p := range []*Passage{
			{Direction: outage.Direction(text)},
			{Direction: outage.North, Message: duis.Message{AlertCode: text}},
			{Direction: outage.South, Message: duis.Message{ServiceReferenceVariant: text}},
			{Decision: outage.Decision{Reason: outage.Reason(text)}},
		} {
			sameTrailLine(t, t0, p, 200)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	pick := func() string { return texts[r.IntN(len(texts))] }
	for range 20_000 {
		p := &Passage{Direction: outage.North, Decision: outage.Decision{Reason: outage.Reason(pick() + pick())},
			Message: duis.Message{RequestID: ids[r.IntN(len(ids))], ResponseID: ids[r.IntN(len(ids))], ServiceReferenceVariant: pick(), AlertCode: pick() + pick()}}
		sameTrailLine(t, times[r.IntN(len(times))], p, r.IntN(1200)-100)
	}
}

func FuzzTrailLine(f *testing.F) {
	f.Add("4.8.1", "AD1", "no-window", uint64(1), uint64(2), uint64(3), int64(1772359200), 200)
	f.Add("\u2028<", "\xff", "\"\\", uint64(0), uint64(0), uint64(0), int64(-62135596800), 0)
	f.Fuzz(func(t *testing.T, srv, code, reason string, originator, target, counter uint64, sec int64, status int) {
		id := outage.RequestID{Originator: outage.DeviceID(originator), Target: outage.DeviceID(target), Counter: counter}
		p := &Passage{Direction: outage.South, Message: duis.Message{RequestID: id, ResponseID: id, ServiceReferenceVariant: srv, AlertCode: code}, Decision: outage.Decision{Reason: outage.Reason(reason)}}
		sameTrailLine(t, time.Unix(sec, int64(counter%1e9)), p, status)
	})
}
