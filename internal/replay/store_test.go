package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/recording"
	"quell/internal/store"

	"github.com/prometheus/client_golang/prometheus"
)

// files returns the recordings in a data folder.
func files(t testing.TB, dir string) (list []Source) {
	names, err := filepath.Glob(filepath.Join(dir, "recordings", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		list = append(list, Source{Name: name, Open: func() (io.ReadCloser, error) { return os.Open(name) }})
	}
	return list
}

// live is a motorway on a store, which records.
type live struct {
	*motorway.Motorway
	st  *store.Store
	now time.Time
	dir string
}

func newLive(t testing.TB) *live { return newLiveWith(t, store.Options{}) }

func newLiveWith(t testing.TB, o store.Options) *live {
	l := &live{now: t0, dir: t.TempDir()}
	st, err := store.Open(t.Context(), store.Options{Dir: l.dir, Now: o.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	<-st.Ledger.Filled()
	l.st = st
	log := slog.New(slog.DiscardHandler)
	l.Motorway = &motorway.Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: func() time.Time { return l.now }, Log: log,
		Metrics: motorway.NewMetrics(prometheus.NewRegistry()), Recording: recording.Open(l.dir, log)}
	l.Recording.Configure(recording.Limits{Enabled: true, MaxBytes: 1 << 30, Keep: time.Hour})
	l.SetRules(rules)
	return l
}

func (l *live) setSwitch(t testing.TB, to outage.Switch) {
	if _, err := l.st.Ledger.SetSwitch(t.Context(), to, "a test", l.now.String(), l.now); err != nil {
		t.Fatal(err)
	}
}

// importTown imports homes; every fifth meter is not listed, every seventh of another
// manufacturer, and every third of another model.
func (l *live) importTown(t testing.TB, homes int) {
	inventory, list := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,import_supplier\n", ""
	for i := range homes {
		maker, model := "Landis+Gyr", "E470"
		if i%7 == 6 {
			maker = "Other"
		}
		if i%3 == 2 {
			model = "E360"
		}
		inventory += fmt.Sprintf("%s,ESME,SMETS2,%s,%s,%s,%s,\n", meterOf(i), maker, model, hubOf(i/2), mpan(i))
		if i%5 != 4 {
			list += meterOf(i).String() + "\n"
		}
	}
	l.importDevices(t, inventory, list)
}

// importDevices imports an inventory and a device list.
func (l *live) importDevices(t testing.TB, inventory, list string) {
	read := false
	if _, err := l.st.Devices.ImportInventory(t.Context(), "a test", l.now, func() (f devices.File, err error) {
		if read {
			return f, io.EOF
		}
		read = true
		return devices.File{Name: "inventory", Reader: strings.NewReader(inventory)}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.st.Devices.ImportList(t.Context(), "a test", l.now, devices.File{Name: "list", Reader: strings.NewReader(list)}); err != nil {
		t.Fatal(err)
	}
}

// end stops the recording.
func (l *live) end(t testing.TB) {
	if err := l.Recording.Close(); err != nil {
		t.Fatal(err)
	}
	if n := l.Recording.Dropped(); n > 0 {
		t.Fatalf("%d lines were dropped", n)
	}
}

func message(id outage.RequestID, form outage.Form, order outage.Order) []byte {
	if form == outage.ServiceRequest {
		return duis.AppendActivateFirmware(nil, id, order, [32]byte{})
	}
	return duis.AppendSignedPreCommand(nil, id, 5, order,
		gbcs.AppendSigned(nil, gbcs.AppendCS06(nil, gbcs.CS06{Originator: id.Originator, Target: id.Target, Counter: id.Counter, Order: order}), [64]byte{1}))
}

// TestAgainstStore: random histories of 11.3s of every kind and form, readable and not, answers in
// any order, failures, AD1s, retries and changes of the switch, are recorded from a motorway on
// a database. The replay, whose ledger is in memory, decides on each message as that did.
func TestAgainstStore(t *testing.T) {
	suppressed, requests := 0, 0
	for range 60 {
		seed := rand.Uint64()
		if text := os.Getenv("QUELL_TEST_SEED"); text != "" {
			seed, _ = strconv.ParseUint(text, 10, 64)
		}
		l := newLive(t)
		playRandom(t, l, seed, 400)
		l.end(t)
		var differences []string
		r, err := Run(t.Context(), files(t, l.dir), Options{Alert: func(a *Alert) error {
			if a.Then != a.Now {
				differences = append(differences, fmt.Sprintf("%s %s of %s: %v, was %v", a.Received.Format(time.TimeOnly), a.ID, a.Hub, a.Now, a.Then))
			}
			return nil
		}})
		if err != nil || len(differences) > 0 || r.RequestChanges > 0 {
			t.Fatalf("QUELL_TEST_SEED=%d: %v, %d requests differ: %v\n%s", seed, err, r.RequestChanges, r.RequestReasons, strings.Join(differences, "\n"))
		}
		suppressed += r.Alerts.Suppressed
		requests += r.Requests
	}
	if suppressed < 1000 || requests < 5000 {
		t.Errorf("the histories say little: %d suppressed, %d requests", suppressed, requests)
	}
}

func playRandom(t *testing.T, l *live, seed uint64, steps int) {
	const homes = 6
	rnd := rand.New(rand.NewPCG(seed, 0))
	l.setSwitch(t, outage.SwitchOn)
	l.importTown(t, homes)
	type sent struct {
		id   outage.RequestID
		form outage.Form
		text []byte
	}
	type told struct {
		id    outage.RequestID
		hub   outage.DeviceID
		start time.Time
	}
	var all []sent
	var pending []motorway.Passage
	var alerts []told
	counter := uint64(0)
	body := func(text []byte) motorway.Body { return motorway.Body{XML: true, Head: text} }
	for range steps {
		l.now = l.now.Add(time.Duration(1+rnd.IntN(120)) * time.Second)
		switch what := rnd.IntN(20); {
		case what < 7:
			counter++
			s := sent{id: outage.RequestID{Originator: supplier, Target: meterOf(rnd.IntN(homes + 1)), Counter: counter}}
			s.form = []outage.Form{outage.ServiceRequest, outage.SignedPreCommand, outage.SignedPreCommand}[rnd.IntN(3)]
			order := outage.Order{Kind: []outage.Kind{outage.OnDemand, outage.FutureDated, outage.FutureDated, outage.Cancellation}[rnd.IntN(4)]}
			if order.Kind == outage.FutureDated {
				order.At = l.now.Add(time.Duration(rnd.IntN(60)-5) * time.Minute).Truncate(time.Second)
			}
			s.text = message(s.id, s.form, order)
			switch rnd.IntN(10) {
			case 0:
				s.text = s.text[:len(s.text)-20]
			case 1:
				s.text = append(s.text, 0xff, '"', '\\')
			}
			if rnd.IntN(4) == 0 && len(all) > 0 {
				s = all[rnd.IntN(len(all))]
			}
			all = append(all, s)
			p := l.Southbound(t.Context(), body(s.text))
			pending = append(pending, p)
		case what < 12 && len(pending) > 0:
			i := rnd.IntN(len(pending))
			code := []string{"I99", "I99", "I99", "E4", "E4", "", "login"}[rnd.IntN(7)]
			d, text := motorway.Delivered, duis.AppendAnswer(nil, pending[i].Message.RequestID, l.now, code)
			switch code {
			case "":
				d, text = motorway.InDoubt, nil
			case "login":
				text = []byte("<html>")
			}
			l.Answered(t.Context(), &pending[i], d, text)
			pending = append(pending[:i], pending[i+1:]...)
		case what == 12 && len(all) > 0:
			l.Northbound(t.Context(), body(duis.AppendAnswer(nil, all[rnd.IntN(len(all))].id, l.now, "E20")))
			if err := l.st.DB.Ping(t.Context()); err != nil { // nobody waits for a failure
				t.Fatal(err)
			}
		case what == 13:
			l.setSwitch(t, []outage.Switch{outage.SwitchOn, outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff}[rnd.IntN(4)])
		default:
			counter++
			a := told{outage.RequestID{Originator: hubOf(0), Target: supplier, Counter: counter}, hubOf(rnd.IntN(homes/2 + 1)), l.now.Add(-3 * time.Minute)}
			if rnd.IntN(3) == 0 && len(alerts) > 0 {
				a = alerts[rnd.IntN(len(alerts))]
			}
			if rnd.IntN(20) == 0 {
				a.start = l.now.Add(time.Hour)
			}
			alerts = append(alerts, a)
			text := duis.AppendPowerOutage(nil, a.id, l.now, duis.PowerOutage{CHF: a.hub, Start: a.start, MPxN: mpan(rnd.IntN(homes))})
			if rnd.IntN(20) == 0 {
				text = text[:len(text)-3]
			}
			l.Northbound(context.Background(), body(text))
		}
	}
}

// decode returns the lines of a recording.
func decode(t *testing.T, text []byte) (list []recording.Line) {
	r, err := recording.NewReader("f", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		var l recording.Line
		if err := r.Next(&l); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
}

// What was found out about a signature then counts: the certificates of then need not be there.
func TestSignatures(t *testing.T) {
	settings, err := json.Marshal(motorway.Settings{Rules: rules, Switch: outage.SwitchOn})
	if err != nil {
		t.Fatal(err)
	}
	text := (&recording.Line{Kind: recording.Settings, At: t0, Run: "1", Rules: settings}).Append(nil)
	add := func(no int, s recording.Signature, reason outage.Reason) {
		id := outage.RequestID{Originator: supplier, Target: meterOf(1), Counter: uint64(no)}
		l := recording.Line{Kind: recording.Southbound, At: t0.Add(time.Duration(len(text)) * time.Millisecond), No: uint64(no), Outcome: outage.Forwarded, Reason: reason, Listed: true, Signature: s,
			Document: message(id, outage.SignedPreCommand, outage.Order{Kind: outage.OnDemand}),
			Meter:    outage.Device{ID: id.Target, Type: "ESME", SMETSVersion: "SMETS2", Manufacturer: "Landis+Gyr", Model: "E470", CHF: hubOf(1)}}
		text = l.Append(text)
	}
	add(5, recording.Signature{Signer: supplier}, outage.ReasonTracked)
	add(4, recording.Signature{Signer: supplier}, outage.ReasonReplayed)
	add(3, recording.Signature{}, outage.ReasonTracked)
	add(6, recording.Signature{Reason: outage.ReasonSignatureInvalid, Forged: true}, outage.ReasonSignatureInvalid)
	add(7, recording.Signature{Reason: outage.ReasonSignatureMissing}, outage.ReasonSignatureMissing)
	add(8, recording.Signature{Signer: supplier + 1}, outage.ReasonSignerMismatch)
	alert := (&recording.Line{Kind: recording.Northbound, At: t0.Add(time.Minute), Outcome: outage.Forwarded, Reason: outage.ReasonSignatureInvalid,
		Document: duis.AppendPowerOutage(nil, outage.RequestID{Originator: hubOf(1), Target: supplier, Counter: 1}, t0, duis.PowerOutage{CHF: hubOf(1), Start: t0, MPxN: mpan(1)})}).Append(nil)
	r, err := Run(t.Context(), []Source{memoryFile("a", append(text, alert...))}, Options{})
	if err != nil || r.Requests != 6 || r.RequestChanges != 0 || len(r.Changes) != 0 || r.Alerts.Forwarded != 1 {
		t.Errorf("%v, %+v", err, r)
	}
}
