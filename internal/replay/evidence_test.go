package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/evidence"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/recording"
)

// TestEvidence: 200 meters reboot, each in its own street, and are heard again. In one street the
// power fails while one of its meters has a window. The replay says which AD1 that hides, if
// the inventory says who the neighbours are; without it, it does not.
func TestEvidence(t *testing.T) {
	const street = 40 // homes of the street: 1000 to 1039. The meter of 1000 is activated
	var text []byte
	settings, err := json.Marshal(motorway.Settings{Rules: rules, Switch: outage.SwitchOn})
	if err != nil {
		t.Fatal(err)
	}
	add := func(l recording.Line) { text = l.Append(text) }
	add(recording.Line{Kind: recording.Settings, At: t0, Run: "1", Rules: settings})
	inventory := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,postcode\n"
	counter := uint64(0)
	meterLine := func(home int) outage.Device {
		return outage.Device{ID: meterOf(home), Type: "ESME", SMETSVersion: "SMETS2", Manufacturer: "Landis+Gyr", Model: "E470", CHF: hubOf(home)}
	}
	order := func(at time.Time, home int) {
		counter++
		id := outage.RequestID{Originator: supplier, Target: meterOf(home), Counter: counter}
		add(recording.Line{Kind: recording.Southbound, At: at, No: counter, Document: message(id, outage.SignedPreCommand, outage.Order{Kind: outage.OnDemand}), Outcome: outage.Forwarded,
			Reason: outage.ReasonTracked, Listed: true, Meter: meterLine(home)})
		add(recording.Line{Kind: recording.Answer, At: at, No: counter, State: outage.Accepted, Code: "I99"})
	}
	lost := func(at, start time.Time, home int, d outage.Decision) {
		counter++
		add(recording.Line{Kind: recording.Northbound, At: at, Outcome: d.Outcome, Reason: d.Reason, Document: duis.AppendPowerOutage(nil,
			outage.RequestID{Originator: hubOf(home), Target: supplier, Counter: counter}, at, duis.PowerOutage{CHF: hubOf(home), Start: start, MPxN: mpan(home)})})
	}
	hidden := outage.Decision{Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen}
	passed := outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow}
	for i := range 200 {
		inventory += fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,%s,AB%d %dCD\n", meterOf(i), hubOf(i), mpan(i), 1+i/10%9, i%10)
	}
	for i := 1000; i < 1000+street; i++ {
		inventory += fmt.Sprintf("%s,ESME,SMETS2,Landis+Gyr,E470,%s,%s,ZE1 0AA\n", meterOf(i), hubOf(i), mpan(i))
	}
	for i := range 200 {
		at := t0.Add(time.Duration(i) * time.Minute)
		order(at, i)
		lost(at.Add(5*time.Minute), at.Add(100*time.Second), i, hidden)
		add(recording.Line{Kind: recording.Heard, At: at.Add(9 * time.Minute), Device: hubOf(i)})
	}
	at := t0.Add(4 * time.Hour)
	order(at, 1000)
	cut := at.Add(12 * time.Minute)
	for i := 1000; i < 1030; i++ {
		d := passed
		if i == 1000 {
			d = hidden
		}
		lost(cut.Add(200*time.Second+time.Duration(i)*time.Millisecond), cut.Add(time.Duration(i-1000)*time.Second/2), i, d)
	}
	add(recording.Line{Kind: recording.Heard, At: at.Add(2 * time.Hour), Device: 1})

	path := filepath.Join(t.TempDir(), "inventory.csv")
	if err := os.WriteFile(path, []byte(inventory), 0o600); err != nil {
		t.Fatal(err)
	}
	devices, err := ReadInventory(path)
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	csv := NewTable(&table)
	r, err := Run(t.Context(), []Source{memoryFile("a", text)}, Options{Inventory: devices, Evidence: true, Alert: csv.Add})
	if err != nil || csv.Flush() != nil {
		t.Fatal(err)
	}
	if (r.Alerts != Counts{201, 29}) || len(r.Changes) > 0 || len(r.Strong) != 1 || r.Strong[0].Entry.CHF != hubOf(1000) || r.Levels[evidence.Strong] != 1 || r.Levels[evidence.None]+r.Levels[evidence.Weak] != 200 {
		t.Errorf("%+v\n%+v", r, r.Strong)
	}
	var out bytes.Buffer
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"strong    1", hubOf(1000).String() + ", received 2026-03-02T02:15:21Z: ", "29 of 39 hubs"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if n := strings.Count(table.String(), ",strong,"); n != 1 {
		t.Errorf("%d lines are strong", n)
	}
	// Without the inventory nobody is a neighbour, so nothing may be claimed.
	if r, err = Run(t.Context(), []Source{memoryFile("a", text)}, Options{Evidence: true}); err != nil || r.Levels[evidence.Strong] != 0 || r.Levels[evidence.None]+r.Levels[evidence.Weak] != 201 {
		t.Errorf("%v, %v", err, r.Levels)
	}
	// A list without that meter: nothing is hidden.
	list := map[outage.DeviceID]bool{}
	for i := range 200 {
		list[meterOf(i)] = true
	}
	if r, err = Run(t.Context(), []Source{memoryFile("a", text)}, Options{Inventory: devices, List: list, Evidence: true}); err != nil || len(r.Strong) != 0 || r.Alerts.Suppressed != 200 {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestHeardAtAnotherNode: a home whose alert one node suppressed counts as heard again if another node
// recorded its message, also one of a device that only the inventory of then knew.
func TestHeardAtAnotherNode(t *testing.T) {
	lines := decode(t, night(t, "1", 2)) // an activation with its answers, and its AD1
	var a, b []byte
	for i, l := range lines {
		a = l.Append(a)
		if i == 0 {
			l.Run = "2"
			b = l.Append(b)
		}
	}
	var received time.Time
	for _, l := range lines {
		if l.Outcome == outage.Suppressed {
			received = l.At
		}
	}
	for name, heard := range map[string]recording.Line{
		"the hub":        {Device: hubOf(0)},
		"another device": {Device: 7, Meter: outage.Device{CHF: hubOf(0)}},
	} {
		heard.Kind, heard.At = recording.Heard, received.Add(4*time.Minute)
		var found *evidence.Assessment
		r, err := Run(t.Context(), []Source{memoryFile("a", a), memoryFile("b", heard.Append(bytes.Clone(b)))}, Options{Evidence: true, Alert: func(a *Alert) error {
			if a.Entry != 0 {
				found = a.Evidence
			}
			return nil
		}})
		if err != nil || found == nil || found.Facts.Heard != 4*time.Minute {
			t.Errorf("%s: %v, %+v, %+v", name, err, found, r.Alerts)
		}
	}
}

// TestLastLineIsEarlier: lines are in the order of decisions, which is not always that of receipt. What the last
// line brings is assessed also if it was received a moment before the line in front of it.
func TestLastLineIsEarlier(t *testing.T) {
	settings, err := json.Marshal(motorway.Settings{Rules: rules, Switch: outage.SwitchOn})
	if err != nil {
		t.Fatal(err)
	}
	at := t0.Add(5 * time.Minute)
	var text []byte
	for _, l := range []recording.Line{
		{Kind: recording.Settings, At: t0, Run: "1", Rules: settings},
		{Kind: recording.Southbound, At: t0, No: 1, Reason: outage.ReasonTracked, Outcome: outage.Forwarded, Listed: true,
			Document: message(outage.RequestID{Originator: supplier, Target: meterOf(1), Counter: 1}, outage.SignedPreCommand, outage.Order{Kind: outage.OnDemand}),
			Meter:    outage.Device{ID: meterOf(1), Type: "ESME", SMETSVersion: "SMETS2", Manufacturer: "Landis+Gyr", Model: "E470", CHF: hubOf(1)}},
		{Kind: recording.Answer, At: t0, No: 1, State: outage.Accepted, Code: "I99"},
		{Kind: recording.Heard, At: at, Device: hubOf(2)},
		{Kind: recording.Northbound, At: at.Add(-time.Millisecond), Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen,
			Document: duis.AppendPowerOutage(nil, outage.RequestID{Originator: hubOf(1), Target: supplier, Counter: 1}, at, duis.PowerOutage{CHF: hubOf(1), Start: t0.Add(time.Minute), MPxN: mpan(1)})},
	} {
		text = l.Append(text)
	}
	r, err := Run(t.Context(), []Source{memoryFile("a", text)}, Options{Evidence: true})
	if err != nil || r.Alerts.Suppressed != 1 || len(r.Changes) > 0 || r.Levels[evidence.None] != 1 {
		t.Errorf("%v, %+v", err, r)
	}
}

// What was received before To counts, also behind a line that was received later and decided sooner.
func TestToCountsAll(t *testing.T) {
	settings, err := json.Marshal(motorway.Settings{Rules: rules, Switch: outage.SwitchOn})
	if err != nil {
		t.Fatal(err)
	}
	to := t0.Add(5 * time.Minute)
	text := (&recording.Line{Kind: recording.Settings, At: t0, Run: "1", Rules: settings}).Append(nil)
	for i, at := range []time.Duration{-time.Second, time.Millisecond, -time.Millisecond, 0, time.Hour, -time.Microsecond} {
		text = (&recording.Line{Kind: recording.Northbound, At: to.Add(at), Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow,
			Document: duis.AppendPowerOutage(nil, outage.RequestID{Originator: hubOf(i), Target: supplier, Counter: 1}, to, duis.PowerOutage{CHF: hubOf(i), Start: t0, MPxN: mpan(i)})}).Append(text)
	}
	r, err := Run(t.Context(), []Source{memoryFile("a", text)}, Options{To: to})
	if err != nil || r.Alerts.Forwarded != 2 || !r.Last.Before(to) {
		t.Errorf("%v, %+v", err, r)
	}
}
