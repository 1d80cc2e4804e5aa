package replay

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/recording"
)

var t0 = time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC)

const supplier outage.DeviceID = 0x90b3d51f30010000

func hubOf(n int) outage.DeviceID   { return 0x00db123456000000 + outage.DeviceID(n) }
func meterOf(n int) outage.DeviceID { return 0x00db124000000000 + outage.DeviceID(n) }

// rules are those of the default configuration.
var rules = motorway.Rules{Window: 30 * time.Minute, Manufacturers: outage.Manufacturers{"Landis+Gyr"}, Track: []outage.Form{outage.ServiceRequest, outage.SignedPreCommand},
	ClockTolerance: time.Minute, StoreTimeout: time.Minute}

// night makes a recording of a night: homes/2 activations, each of a Service Request and a Signed
// Pre-Command with their answers, an AD1 of each of these homes, and as many AD1s of others as
// there are homes.
func night(t testing.TB, run string, homes int) []byte {
	type event struct {
		at   time.Duration
		kind int
		home int
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	var events []event
	for home := range homes / 2 {
		at := time.Duration(rnd.Int64N(int64(6 * time.Hour)))
		events = append(events, event{at, 0, home}, event{at + time.Minute, 1, home}, event{at + 4*time.Minute + time.Duration(rnd.Int64N(int64(5*time.Minute))), 2, home})
	}
	for home := range homes {
		events = append(events, event{time.Duration(rnd.Int64N(int64(7 * time.Hour))), 3, homes + home})
	}
	slices.SortFunc(events, func(a, b event) int { return int(a.at - b.at) })
	var file bytes.Buffer
	e := recording.NewEncoder(&file)
	write := func(l recording.Line) {
		if err := e.Write(&l); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(motorway.Settings{Rules: rules, Switch: outage.SwitchOn})
	if err != nil {
		t.Fatal(err)
	}
	write(recording.Line{Kind: recording.Settings, At: t0, Run: run, Rules: text})
	var document []byte
	for no, v := range events {
		at := t0.Add(v.at)
		switch v.kind {
		case 0, 1:
			id := outage.RequestID{Originator: supplier, Target: meterOf(v.home), Counter: uint64(no) + 1}
			if v.kind == 0 {
				document = duis.AppendActivateFirmware(document[:0], id, outage.Order{Kind: outage.OnDemand}, [32]byte{1})
			} else {
				document = duis.AppendSignedPreCommand(document[:0], id, 5, outage.Order{Kind: outage.OnDemand},
					gbcs.AppendSigned(nil, gbcs.AppendCS06(nil, gbcs.CS06{Originator: supplier, Target: id.Target, Counter: id.Counter, Order: outage.Order{Kind: outage.OnDemand}}), [64]byte{1}))
			}
			write(recording.Line{Kind: recording.Southbound, At: at, No: uint64(no) + 1, Document: document, Reason: outage.ReasonTracked, Outcome: outage.Forwarded, Listed: true,
				Meter: outage.Device{ID: id.Target, Type: "ESME", SMETSVersion: "SMETS2", Manufacturer: "Landis+Gyr", Model: "E470", CHF: hubOf(v.home)}})
			write(recording.Line{Kind: recording.Answer, At: at.Add(50 * time.Millisecond), No: uint64(no) + 1, State: outage.Accepted, Code: "I99"})
		default:
			document = duis.AppendPowerOutage(document[:0], outage.RequestID{Originator: hubOf(v.home), Target: supplier, Counter: uint64(no) + 1}, at,
				duis.PowerOutage{CHF: hubOf(v.home), Start: at.Add(-3 * time.Minute), MPxN: mpan(v.home)})
			d := outage.Decision{Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen}
			if v.kind == 3 {
				d = outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonNoWindow}
			}
			write(recording.Line{Kind: recording.Northbound, At: at, Document: document, Outcome: d.Outcome, Reason: d.Reason})
		}
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// mpan returns a valid MPAN.
func mpan(n int) string {
	b := []byte("1400000000000")
	b[1] = byte('0' + n%10)
	for i := 11; i > 1; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	for c := byte('0'); c <= '9'; c++ {
		b[12] = c
		if _, ok := outage.DistributorOf(string(b)); ok {
			break
		}
	}
	return string(b)
}

// memoryFile is a source in memory.
func memoryFile(name string, text []byte) Source {
	return Source{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }}
}

// BenchmarkNight replays a night of 1,000,000 homes:
//
//	go test ./internal/replay -run '^$' -bench Night -benchtime 1x
func BenchmarkNight(b *testing.B) {
	homes := 1_000_000
	if testing.Short() {
		homes = 10_000
	}
	text := night(b, "1", homes)
	for name, o := range map[string]Options{"decide": {}, "evidence": {Evidence: true}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r, err := Run(b.Context(), []Source{memoryFile("night", text)}, o)
				if err != nil {
					b.Fatal(err)
				}
				if r.Alerts != (Counts{homes / 2, homes}) || len(r.Changes) != 0 {
					b.Fatalf("%+v, %v", r.Alerts, r.Changes)
				}
			}
			b.ReportMetric(float64(len(text)), "file-bytes")
		})
	}
}
