package motorway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"quell/internal/devices"
	"quell/internal/duis"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

const (
	supplier = outage.DeviceID(0x90B3D51F30010000)
	theHub   = outage.DeviceID(0x88738457002F961E)
	theMeter = outage.DeviceID(0x00DB1234567890A0)
	gasMeter = outage.DeviceID(0x00DB1234567890A1)
	theMPAN  = "1200023305967"
)

type system struct {
	*Motorway
	st  *store.Store
	dir string
	now time.Time
}

func newMotorway(t testing.TB) *system {
	s := newMotorwayOn(t, store.Options{})
	s.setSwitch(t, outage.SwitchOn)
	return s
}

// newMotorwayOn returns a motorway whose switch was never set.
func newMotorwayOn(t testing.TB, o store.Options) *system {
	s := &system{dir: t.TempDir(), now: t0}
	o.Dir = s.dir
	st, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	log := slog.New(slog.DiscardHandler)
	s.st = st
	s.Motorway = &Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: func() time.Time { return s.now }, Log: log, Metrics: NewMetrics(prometheus.NewRegistry()), Trail: OpenTrail(s.dir, log),
		Sightings: st.Sightings, Evidence: st.Evidence}
	st.Sightings.Enable(true)
	t.Cleanup(func() { s.Trail.Close() })
	s.Trail.Enable(true)
	s.SetRules(Rules{Window: 30 * time.Minute, Manufacturers: outage.Manufacturers{"Landis+Gyr"}, Track: []outage.Form{outage.ServiceRequest, outage.SignedPreCommand},
		ClockTolerance: time.Minute, StoreTimeout: 10 * time.Second})
	return s
}

func (s *system) setSwitch(t testing.TB, to outage.Switch) {
	t.Helper()
	if _, err := s.st.Ledger.SetSwitch(t.Context(), to, "a test", "a reason", s.now); err != nil {
		t.Fatal(err)
	}
}

func (s *system) importDevices(t testing.TB) {
	text := fmt.Sprintf("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n%s,ESME,SMETS2,Landis+Gyr,E470,%s,%s\n%s,GSME,SMETS2,Landis+Gyr,G370,%s,\n%s,CHF,CHTS,X,Y,,\n",
		theMeter, theHub, theMPAN, gasMeter, theHub, theHub)
	s.importFiles(t, text, theMeter.String())
}

// importFiles imports an inventory and a device list.
func (s *system) importFiles(t testing.TB, inventory, list string) {
	t.Helper()
	files := []devices.File{{Name: "inventory", Reader: strings.NewReader(inventory)}}
	if _, err := s.st.Devices.ImportInventory(t.Context(), "a test", t0, func() (devices.File, error) {
		if len(files) == 0 {
			return devices.File{}, io.EOF
		}
		f := files[0]
		files = nil
		return f, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.st.Devices.ImportList(t.Context(), "a test", t0, devices.File{Name: "list", Reader: strings.NewReader(list)}); err != nil {
		t.Fatal(err)
	}
}

func request(counter uint64) outage.RequestID {
	return outage.RequestID{Originator: supplier, Target: theMeter, Counter: counter}
}

func ad1(counter uint64, hub outage.DeviceID, began time.Time) []byte {
	id := outage.RequestID{Originator: hub, Target: supplier, Counter: counter}
	return duis.AppendPowerOutage(nil, id, began, duis.PowerOutage{CHF: hub, Start: began, MPxN: theMPAN})
}

func whole(text []byte) Body { return Body{XML: true, Head: text} }

// A supply point, a request, an alert, a hub and a meter: whichever id is asked about, the
// explanation tells the same facts.
func TestExplain(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	p := s.Southbound(t.Context(), whole(duis.AppendActivateFirmware(nil, request(1), outage.Order{Kind: outage.OnDemand}, [32]byte{})))
	if p.Decision.Reason != outage.ReasonTracked {
		t.Fatal(p.Decision)
	}
	s.Answered(t.Context(), &p, Delivered, duis.AppendAnswer(nil, request(1), t0, "I99"))
	s.now = t0.Add(5 * time.Minute)
	if p := s.Northbound(t.Context(), whole(ad1(7, theHub, t0.Add(-time.Hour)))); p.Decision.Outcome != outage.Suppressed {
		t.Fatal(p.Decision)
	}
	s.now = t0.Add(31 * time.Minute)
	if p := s.Northbound(t.Context(), whole(ad1(8, theHub, s.now))); p.Decision.Reason != outage.ReasonWindowOver {
		t.Fatal(p.Decision)
	}
	alert := outage.RequestID{Originator: theHub, Target: supplier, Counter: 7}.String()
	const (
		entry   = "was suppressed (entry 1): within the window 2026-03-01 10:00:00.000 UTC to 2026-03-01 10:30:00.000 UTC"
		genuine = "before the window: it may have been genuine"
		window  = "has the window 2026-03-01 10:00:00.000 UTC to 2026-03-01 10:30:00.000 UTC"
		tracked = "is tracked: all conditions are met"
	)
	for _, c := range []struct {
		id   string
		at   time.Duration
		says []string
	}{
		{theHub.String(), 40 * time.Minute, []string{entry, genuine, window + "; over", "would go forward: the window of the activation on the hub is over"}},
		{strings.ToLower(theHub.String()), 10 * time.Minute, []string{window + "; open", "would be suppressed"}},
		{strings.ReplaceAll(strings.ToLower(theHub.String()), "-", ""), 10 * time.Minute, []string{window + "; open", "would be suppressed"}},
		{strings.ReplaceAll(theHub.String(), "-", ":"), 10 * time.Minute, []string{window + "; open", "would be suppressed"}},
		{theMeter.String(), 10 * time.Minute, []string{"is an ESME of Landis+Gyr", tracked, entry, window, "would be suppressed"}},
		{gasMeter.String(), 10 * time.Minute, []string{"is a GSME", "not tracked: the device is not an ESME", "would be suppressed"}},
		{theMPAN, 10 * time.Minute, []string{tracked, entry, window, "would be suppressed"}},
		{request(1).String(), 10 * time.Minute, []string{entry, window, "would be suppressed"}},
		{request(2).String(), 10 * time.Minute, []string{"No activation is recorded under request id", tracked}},
		{alert, 10 * time.Minute, []string{entry, genuine, window}},
		{outage.RequestID{Originator: theHub, Target: supplier, Counter: 8}.String(), 0, []string{"was forwarded: the window of the activation on the hub is over"}},
		{supplier.String(), 0, []string{"does not know the device", "would go forward: no activation is known for the hub"}},
		{"999", 0, []string{"Nothing is known of 999"}},
		{"content:00", 0, []string{"Nothing is known"}},
	} {
		x, err := s.Explain(t.Context(), c.id, t0.Add(c.at))
		if err != nil {
			t.Errorf("%s: %v", c.id, err)
			continue
		}
		text := strings.Join(x.Text, "\n")
		if unknown := []string{request(2).String(), supplier.String(), "999", "content:00"}; x.Known == slices.Contains(unknown, c.id) {
			t.Errorf("%s: known is %v", c.id, x.Known)
		}
		for _, want := range c.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: does not say %q:\n%s", c.id, want, text)
			}
		}
	}
	for _, id := range []string{"", "x", "12345678901234", "00-DB"} {
		if _, err := s.Explain(t.Context(), id, t0); !errors.Is(err, ErrNotAnID) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// An alert and an activation wait exactly store_timeout for a store that hangs, and then go
// on. Only this test moves the clock.
func TestStoreTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stall, free := false, make(chan struct{})
		s := newMotorwayOn(t, store.Options{BeforeCommit: func() {
			if stall {
				<-free
			}
		}})
		s.setSwitch(t, outage.SwitchOn)
		s.importDevices(t)
		rules := s.Rules()
		rules.StoreTimeout = 250 * time.Millisecond
		s.SetRules(rules)
		activate := func(counter uint64) outage.Reason {
			text := duis.AppendActivateFirmware(nil, request(counter), outage.Order{Kind: outage.OnDemand}, [32]byte{})
			p := s.Southbound(t.Context(), whole(text))
			return p.Decision.Reason
		}
		if r := activate(1); r != outage.ReasonTracked {
			t.Fatal(r)
		}
		s.now = t0.Add(time.Minute)
		stall = true
		began := time.Now()
		if p := s.Northbound(t.Context(), whole(ad1(1, theHub, s.now))); p.Decision != forward(outage.ReasonStoreUnavailable) {
			t.Error(p.Decision)
		}
		if waited := time.Since(began); waited != rules.StoreTimeout {
			t.Errorf("the alert waited %v, want %v", waited, rules.StoreTimeout)
		}
		began = time.Now()
		if r := activate(2); r != outage.ReasonStoreUnavailable {
			t.Error(r)
		}
		if waited := time.Since(began); waited != rules.StoreTimeout {
			t.Errorf("the activation waited %v, want %v", waited, rules.StoreTimeout)
		}
		close(free)
	})
}

// TestSenderIsGone: the sender hangs up. Its 11.3 is recorded, the answer to it counts, and its
// alert is decided, all without the journal.
func TestSenderIsGone(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	send := func(counter uint64, order outage.Order) Passage {
		t.Helper()
		p := s.Southbound(gone, whole(message(request(counter), outage.SignedPreCommand, order)))
		if p.Decision.Reason != outage.ReasonTracked || s.st.Ledger.Pending() != 0 {
			t.Errorf("the 11.3 %d: %+v, %d records in the journal", counter, p.Decision, s.st.Ledger.Pending())
		}
		return p
	}
	p := send(1, outage.Order{Kind: outage.OnDemand})
	alert := func(counter uint64, want outage.Reason) {
		t.Helper()
		p := s.Northbound(gone, whole(ad1(counter, theHub, s.now)))
		if p.Decision.Reason != want || s.st.Ledger.Pending() != 0 {
			t.Errorf("the alert %d: %+v, %d records in the journal", counter, p.Decision, s.st.Ledger.Pending())
		}
	}
	alert(1, outage.ReasonWindowOpen)
	s.Answered(gone, &p, Delivered, duis.AppendAnswer(nil, request(1), t0, "E4"))
	alert(2, outage.ReasonWindowWithdrawn)
	send(2, outage.Order{Kind: outage.OnDemand})
	alert(3, outage.ReasonWindowOpen)
	s.setSwitch(t, outage.SwitchOff)
	send3 := s.Southbound(gone, whole(message(request(3), outage.SignedPreCommand, outage.Order{Kind: outage.FutureDated, At: t0.Add(time.Hour)})))
	if send3.Decision.Reason != outage.ReasonSwitchedOff || s.st.Ledger.Pending() != 0 {
		t.Errorf("an 11.3 that may only close: %+v, %d records in the journal", send3.Decision, s.st.Ledger.Pending())
	}
}

// A node without its database does not decide that a hub has no window: another node may
// have recorded one. A retry gets the same decision, on any node.
func TestNoWindowKnown(t *testing.T) {
	server := storetest.Start(t)
	url := server.URL("postgres")
	s, other := newMotorwayOn(t, store.Options{Database: url}), newMotorwayOn(t, store.Options{Database: url})
	s.setSwitch(t, outage.SwitchOn)
	const hub = theHub + 99 // without a window
	counter := uint64(0)
	reason := func(m *system) outage.Reason {
		counter++
		return m.Northbound(t.Context(), whole(ad1(counter, hub, s.now))).Decision.Reason
	}
	eventually := func(what string, cond func() bool) {
		t.Helper()
		for began := time.Now(); !cond(); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("never: %s", what)
			}
		}
	}
	eventually("the windows are known", func() bool { return reason(s) == outage.ReasonNoWindow })
	for _, fault := range []struct {
		what      string
		away, end func()
	}{{"it hangs", server.Freeze, server.Thaw}, {"it is away", server.Kill, server.Restart}} {
		fault.away()
		eventually(fault.what, func() bool { return reason(s) == outage.ReasonStoreUnavailable })
		last := counter
		for range 10 {
			if r := reason(s); r != outage.ReasonStoreUnavailable {
				t.Errorf("%s: %s", fault.what, r)
			}
		}
		fault.end()
		eventually("it answers again", func() bool { return reason(s) == outage.ReasonNoWindow })
		eventually("the journal is played", func() bool { return s.st.Ledger.Pending() == 0 })
		eventually(fault.what+": what was forwarded is known to the other node", func() bool {
			list, err := other.st.Ledger.ForwardedAlerts(t.Context(), ledger.Filter{CHF: hub}, 1000)
			return err == nil && slices.ContainsFunc(list, func(f ledger.ForwardedNote) bool {
				id, _ := outage.ParseRequestID(f.AlertID)
				return id.Counter == last && f.Reason == outage.ReasonStoreUnavailable
			})
		})
	}
}

// A node that was started without its database does not know the switch. It may be off, so
// alerts go forward, and so do their retries.
func TestSwitchUnknown(t *testing.T) {
	s := newMotorwayOn(t, store.Options{})
	s.importDevices(t)
	p := s.Southbound(t.Context(), whole(duis.AppendActivateFirmware(nil, request(1), outage.Order{Kind: outage.OnDemand}, [32]byte{})))
	if p.Decision.Reason != outage.ReasonTracked {
		t.Fatal(p.Decision)
	}
	s.now = t0.Add(5 * time.Minute)
	if p := s.Northbound(t.Context(), whole(ad1(1, theHub, s.now))); p.Decision != forward(outage.ReasonStoreUnavailable) {
		t.Error(p.Decision)
	}
	s.setSwitch(t, outage.SwitchOn)
	if p := s.Northbound(t.Context(), whole(ad1(1, theHub, s.now))); p.Decision != forward(outage.ReasonStoreUnavailable) {
		t.Errorf("the retry: %v", p.Decision)
	}
	if p := s.Northbound(t.Context(), whole(ad1(2, theHub, s.now))); p.Decision.Outcome != outage.Suppressed {
		t.Errorf("the next: %v", p.Decision)
	}
}

// An entry says in words what makes its alert a possible genuine outage.
func TestEntryText(t *testing.T) {
	e := outage.Entry{Outcome: outage.Suppressed, Repeated: true}
	const repeated = " The hub had reported another outage in that window before: this one may have been genuine."
	if text := entryText(&e); !strings.HasSuffix(text, repeated) {
		t.Errorf("repeated: %s", text)
	}
	e.Repeated = false
	if text := entryText(&e); strings.Contains(text, "genuine") {
		t.Errorf("not repeated: %s", text)
	}
}

// The trail has the ids, never the MPxN, and a line only for what passed.
func TestTrail(t *testing.T) {
	s := newMotorway(t)
	p := s.Northbound(t.Context(), whole(ad1(1, theHub, t0)))
	s.Passed(&p, 503)
	s.Trail.Enable(false)
	s.Passed(&p, 200)
	if err := s.Trail.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "audit", "trail.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var line TrailLine
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatal(err)
	}
	want := TrailLine{Time: t0, Direction: outage.North, ResponseID: outage.RequestID{Originator: theHub, Target: supplier, Counter: 1}.String(), AlertCode: "AD1",
		Reason: outage.ReasonNoWindow, Status: 503}
	if line != want || strings.Contains(string(text), theMPAN) {
		t.Errorf("%s", text)
	}
}

func TestMetrics(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	order := outage.Order{Kind: outage.FutureDated, At: t0.Add(time.Hour)}
	p := s.Southbound(t.Context(), whole(duis.AppendActivateFirmware(nil, request(1), order, [32]byte{})))
	s.Northbound(t.Context(), whole([]byte("<rubbish")))
	q := s.Southbound(t.Context(), whole(duis.AppendActivateFirmware(nil, request(2), order, [32]byte{})))
	s.Answered(t.Context(), &q, Delivered, duis.AppendAnswer(nil, request(2), t0, "E4"))
	s.Answered(t.Context(), &p, Delivered, nil)
	for name, c := range map[string]struct {
		got, want float64
	}{
		"tracked":    {testutil.ToFloat64(s.Metrics.Activations.WithLabelValues("future-dated", "tracked")), 2},
		"withdrawn":  {testutil.ToFloat64(s.Metrics.Withdrawn), 1},
		"unreadable": {testutil.ToFloat64(s.Metrics.Northbound.WithLabelValues("forwarded", "unreadable")), 1},
		"fail open":  {testutil.ToFloat64(s.Metrics.FailOpen.WithLabelValues("unreadable")), 1},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// BenchmarkDecide measures the decision on an AD1 of a hub without a window, after it was
// read, with the note that it was forwarded. Only the look into the set of hubs depends on
// the number of windows: BenchmarkMiss in internal/hubs measures that.
func BenchmarkDecide(b *testing.B) {
	s := newMotorway(b)
	m, err := duis.Read(ad1(1, theHub, t0))
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		p := Passage{Message: m, Received: t0}
		if d := s.decideAlert(ctx, &p, nil, outage.SwitchOn); d.Reason != outage.ReasonNoWindow {
			b.Fatal(d)
		}
	}
}

// An alert was not suppressed because its 11.3 was not tracked. The meter, its hub, the
// request and an alert of the hub all lead to that 11.3 and the reason.
func TestExplainUntracked(t *testing.T) {
	s := newMotorway(t)
	s.importDevices(t)
	send := func(target outage.DeviceID, counter uint64, want outage.Reason) string {
		t.Helper()
		id := outage.RequestID{Originator: supplier, Target: target, Counter: counter}
		p := s.Southbound(t.Context(), whole(duis.AppendActivateFirmware(nil, id, outage.Order{Kind: outage.OnDemand}, [32]byte{})))
		if p.Decision.Reason != want {
			t.Errorf("%s: %s, want %s", id, p.Decision.Reason, want)
		}
		return id.String()
	}
	const stranger = outage.DeviceID(0x00DB1234567890FF)
	gas, unknown := send(gasMeter, 1, outage.ReasonNotESME), send(stranger, 2, outage.ReasonUnknownDevice)
	s.setSwitch(t, outage.SwitchOff)
	off := send(theMeter, 3, outage.ReasonSwitchedOff)
	s.setSwitch(t, outage.SwitchOn)
	s.now = t0.Add(4 * time.Minute)
	if p := s.Northbound(t.Context(), whole(ad1(9, theHub, t0))); p.Decision.Reason != outage.ReasonNoWindow {
		t.Errorf("the alert: %+v", p.Decision)
	}
	tracked := send(theMeter, 4, outage.ReasonTracked)
	if err := s.st.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id   string
		says []string
	}{
		{theMeter.String(), []string{off}},
		{gasMeter.String(), []string{gas, off}}, // all meters on its hub
		{theHub.String(), []string{gas, off}},
		{stranger.String(), []string{unknown}},
		{off, []string{off}},
		{unknown, []string{unknown}},
		{tracked, []string{off}}, // of the meter
		{theMPAN, []string{gas, off}},
		{outage.RequestID{Originator: theHub, Target: supplier, Counter: 9}.String(), []string{gas, off}},
	} {
		x, err := s.Explain(t.Context(), c.id, s.now)
		if err != nil || !x.Known {
			t.Errorf("%s: %+v %v", c.id, x, err)
			continue
		}
		var have []string
		for _, u := range x.Untracked {
			have = append(have, u.RequestID)
			if text := strings.Join(x.Text, "\n"); !strings.Contains(text, "Request "+u.RequestID+" (service-request) for meter ") ||
				!strings.Contains(text, "was not tracked and opened no window: "+u.Reason.Text()+".") {
				t.Errorf("%s does not say so of %+v:\n%s", c.id, u, text)
			}
		}
		slices.Sort(have)
		slices.Sort(c.says)
		if !slices.Equal(have, c.says) {
			t.Errorf("%s: %v, want %v", c.id, have, c.says)
		}
	}
}
