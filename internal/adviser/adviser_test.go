package adviser

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quell/internal/advice"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/liveness"
	"quell/internal/outage"
	"quell/internal/sighting"
	"quell/internal/store"
	"quell/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// open opens a store with an adviser. Meter n of the inventory is on hub n; meter 4 is on none,
// and meter 5 is a gas meter.
func open(t *testing.T) (*store.Store, *Adviser) {
	s := storetest.MakeLeader(t, storetest.Open(t, t.TempDir()))
	text := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n"
	for i, row := range []string{"ESME,SMETS2,Landis+Gyr,E470,%s,1200023305967", "ESME,SMETS2,Landis+Gyr,E470,%s,1400000000000", "ESME,SMETS2,Other Ltd,M2,%s,", "ESME,SMETS2,Landis+Gyr,E470,,1200023305967", "GSME,SMETS2,Landis+Gyr,G370,%s,"} {
		if strings.Contains(row, "%s") {
			row = fmt.Sprintf(row, storetest.Hub(i+1))
		}
		text += storetest.Meter(i+1).String() + "," + row + "\n"
	}
	for range 2 { // the second import takes the place of the first
		if err := storetest.ImportInventory(t.Context(), s, text); err != nil {
			t.Fatal(err)
		}
	}
	return s, &Adviser{Windows: s.Windows, Devices: s.Devices, Ledger: s.Ledger, DB: s.DB, Now: func() time.Time { return storetest.T0 },
		InForce: func(string) (from, to time.Duration) { return 0, 30 * time.Minute }, Asks: func() bool { return true }}
}

func TestAdviser(t *testing.T) { storetest.EachEngine(t, testAdviser) }

func testAdviser(t *testing.T) {
	s, a := open(t)
	ctx := t.Context()
	if n, err := s.Devices.Homes(ctx); n != 3 || err != nil {
		t.Errorf("%d homes, %v", n, err)
	}
	if l, err := a.List(ctx); err != nil || !l.NoBaseRate || !l.LearnedUntil.IsZero() {
		t.Errorf("without evidence: %+v, %v", l, err)
	}
	if w, err := a.Window(ctx); err != nil || len(w.Models) != 0 {
		t.Errorf("without evidence: %+v, %v", w, err)
	}
	if _, err := a.Supply(ctx, 1); !errors.Is(err, ErrNoEvidence) {
		t.Errorf("without evidence: %v", err)
	}
	learned := &evidence.Learning{Until: storetest.T0, Models: map[evidence.Model]*evidence.Behaviour{"Landis+Gyr E470": {Activations: 1000, AD1s: 500}},
		Rates: []*evidence.Rate{{Model: "Landis+Gyr E470", Tracked: true, Activations: 1000, AD1s: 500}, {Model: "Other Ltd M2", Activations: 100, AD1s: 90}},
		Quiet: map[string]int{"2026-02-01": 9, "2026-02-02": 1, "2026-02-03": 9}}
	learned.Models["Landis+Gyr E470"].Came[40] = 500 // after ten minutes
	a.Learned = func(context.Context) (*evidence.Learning, error) { return learned, nil }
	l, err := a.List(ctx)
	if err != nil || len(l.Add) != 1 || l.Add[0].Model != "Other Ltd M2" || l.LearnedActivations != 1100 {
		t.Errorf("%+v, %v", l, err)
	}
	w, err := a.Window(ctx)
	if want := 1 / (3. * 24 * 60); err != nil || len(w.Models) != 1 || w.Models[0].Learned == nil || w.Models[0].Learned.To != 41*15+30 || w.BasePerMinute != want {
		t.Errorf("%+v, %v", w, err)
	}

	// What is coming: of two models, at two distributors and one that is not known.
	at := storetest.T0
	record := func(act outage.Activation) { s.Ledger.Record(ctx, act) }
	record(storetest.FutureDated(1, 1, at.Add(-time.Hour), at.Add(65*time.Minute)))
	record(storetest.FutureDated(2, 1, at.Add(-time.Hour), at.Add(65*time.Minute)))
	record(storetest.FutureDated(3, 1, at.Add(-time.Hour), at.Add(23*time.Hour)))
	record(storetest.FutureDated(4, 1, at.Add(-time.Hour), at.Add(30*time.Hour))) // later
	record(storetest.OnDemand(1, 2, at.Add(-55*time.Minute)))                     // over; it takes the place of the first
	record(storetest.OnDemand(1, 3, at.Add(-5*time.Minute).Add(time.Second)).Within(outage.Span{From: time.Minute, To: 20 * time.Minute}))
	coming, err := s.Windows.Coming(ctx, devices.Newest, at, at.Add(24*time.Hour), advice.Step)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range coming {
		got = append(got, fmt.Sprintf("%s %s, %q, %s: %d", c.Manufacturer, c.Model, c.Distributor, c.Begins.Sub(at), c.Count))
	}
	want := []string{`Landis+Gyr E470, "12", -5m0s: 1`, `Landis+Gyr E470, "14", 1h5m0s: 1`, `Other Ltd M2, "", 23h0m0s: 1`}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	f, err := a.Forecast(ctx)
	if err != nil || f.Activations != 2 || f.Alerts != 2 || f.Unlearned != 1 { // half an AD1 each of two, and one
		t.Errorf("%+v, %v", f.Forecast, err)
	}
	// Firmware on its way to meter 2, by an N60.
	if len(f.Updates) != 0 {
		t.Errorf("%+v", f.Updates)
	}
	a.Updates = s.Updates
	s.Updates.Arrived(outage.RequestID{Originator: 7}, storetest.Meter(2), true, at)
	if err := s.Updates.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if f, err = a.Forecast(ctx); err != nil {
		t.Fatal(err)
	}
	if want := []advice.Update{{Model: "Landis+Gyr E470", Supplier: "00-00-00-00-00-00-00-07", Arrived: 1, Alerts: .5, Likely: -1}}; !slices.Equal(f.Updates, want) || f.Activations != 2 {
		t.Errorf("%+v", f.Forecast)
	}

	// The window of the on-demand activation started before it was over, and is over; the other
	// started four minutes ago. That of a Service Request says nothing of what the meter does.
	sr := storetest.OnDemand(2, 9, at.Add(-10*time.Minute))
	sr.Form = outage.ServiceRequest
	record(sr)
	for _, c := range []struct {
		from, to      time.Duration
		limit         int
		started, open int
	}{
		{-time.Hour, 0, 100, 2, 3}, {-time.Hour, 0, 1, 1, 1}, {-24 * time.Minute, 0, 100, 1, 2}, {-4*time.Minute + time.Second, 0, 100, 1, 2},
		{-4*time.Minute + 2*time.Second, 0, 100, 0, 2}, {-time.Hour, -4*time.Minute + time.Second, 100, 1, 2}, {-time.Hour, -4*time.Minute + 2*time.Second, 100, 2, 3},
	} {
		started, err1 := s.Windows.Started(ctx, at.Add(c.from), at.Add(c.to), c.limit)
		open, err2 := s.Windows.WereOpen(ctx, at.Add(c.from), at.Add(c.to), c.limit)
		if started != c.started || open != c.open || err1 != nil || err2 != nil {
			t.Errorf("from %v to %v: %d started, %d were open (%v, %v)", c.from, c.to, started, open, err1, err2)
		}
	}
}

func TestSupply(t *testing.T) { storetest.EachEngine(t, testSupply) }

func testSupply(t *testing.T) {
	s, a := open(t)
	start := storetest.T0.Add(-25 * time.Hour)
	for i := range 6 {
		s.Ledger.Record(t.Context(), storetest.OnDemand(1, uint64(i+1), start.Add(time.Duration(i)*5*time.Hour)))
		storetest.Decide(t, s, storetest.AD1(1, fmt.Sprint("a", i), start.Add(time.Duration(i)*5*time.Hour+time.Minute)))
	}
	a.Assessed = func(_ context.Context, from, to int64) (list []evidence.Assessment, err error) {
		for seq := from; seq <= to; seq++ {
			x := evidence.Assessment{Entry: seq, Level: evidence.Weak}
			switch seq {
			case 3:
				x.Level = evidence.None
			case 4:
				x.Facts.Restored = true
			}
			list = append(list, x)
		}
		return list, nil
	}
	entries := func(limit int) (seqs []int64, more bool) {
		list, err := a.Supply(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list.Asks {
			seqs = append(seqs, x.Entry)
		}
		return seqs, list.More
	}
	// The first is over 24 hours old, and the last was received a minute ago.
	a.Now = func() time.Time { return storetest.T0.Add(2 * time.Minute) }
	if got, more := entries(10); !slices.Equal(got, []int64{2, 5}) || more {
		t.Errorf("%v %v", got, more)
	}
	if got, more := entries(1); !slices.Equal(got, []int64{2}) || !more {
		t.Errorf("%v %v", got, more)
	}
	a.Now = func() time.Time { return storetest.T0.Add(6 * time.Minute) }
	if got, _ := entries(10); !slices.Equal(got, []int64{2, 5, 6}) {
		t.Errorf("%v", got)
	}
	a.Asks = func() bool { return false }
	if _, err := a.Supply(t.Context(), 10); !errors.Is(err, ErrNotAsked) {
		t.Error(err)
	}
}

// A campaign whose AD1s do not come is noticed, and that they come after all.
func TestWatch(t *testing.T) { storetest.EachEngine(t, testWatch) }

func testWatch(t *testing.T) {
	s, a := open(t)
	now, alerts := storetest.T0, uint64(7)
	a.Now, a.Nodes = func() time.Time { return now }, func() int { return 1 }
	a.Arrived = func() (uint64, uint64) { return 2 * alerts, alerts }
	var log storetest.Buffer
	a.Log = slog.New(slog.NewTextHandler(&log, nil))
	for n := range liveness.Campaign {
		s.Ledger.Record(t.Context(), storetest.OnDemand(n+1, 1, storetest.T0.Add(20*time.Minute)))
	}
	minutes := func(n int) {
		for range n {
			sample, err := a.sample(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			a.addSample(sample)
			now = now.Add(time.Minute)
		}
	}
	minutes(44)
	if list := a.Conditions(); list != nil {
		t.Errorf("%q", list)
	}
	minutes(1)
	if !a.Raised(liveness.NoAlerts) || len(a.Conditions()) != 1 || !strings.Contains(log.String(), "level=WARN msg=\"liveness: a campaign runs, with 200 windows or more") {
		t.Errorf("%q %s", a.Conditions(), &log)
	}
	storetest.Decide(t, s, storetest.AD1(3, "x", storetest.T0.Add(45*time.Minute)))
	minutes(1)
	if a.Conditions() != nil || !strings.Contains(log.String(), "level=INFO msg=\"liveness: a condition is over\" condition=no-alerts-in-campaign") {
		t.Errorf("%q %s", a.Conditions(), &log)
	}
	minutes(1)
	if a.watch.Suppressed(now, 1) != 1 {
		t.Error("the entry is not counted")
	}
}

// The advice on the list is written once a week, and never in part; files of more than a year ago
// go.
func TestWriteWeekly(t *testing.T) {
	_, a := open(t)
	dir := filepath.Join(t.TempDir(), "a[b", "advice") // which is no pattern
	write := func(at time.Time, want string) {
		t.Helper()
		a.Now = func() time.Time { return at }
		path, err := a.WriteWeekly(t.Context(), dir)
		if err != nil || path != "" && filepath.Base(path) != want || path == "" && want != "" {
			t.Errorf("%q, not %q (%v)", path, want, err)
		}
	}
	monday := time.Date(2025, 12, 29, 0, 0, 0, 0, time.UTC)
	write(monday, "") // nothing is learned
	a.Learned = func(context.Context) (*evidence.Learning, error) {
		return &evidence.Learning{Until: monday, Rates: []*evidence.Rate{{Model: "Other Ltd M2", Activations: 100, AD1s: 90}}, Quiet: map[string]int{"2025-12-01": 9, "2025-12-02": 1, "2025-12-03": 9}}, nil
	}
	write(monday.Add(-time.Second), "list-2025-W52.txt")
	write(monday, "list-2026-W01.txt")
	write(monday.Add(7*24*time.Hour-time.Second), "")
	text, err := os.ReadFile(filepath.Join(dir, "list-2026-W01.txt"))
	info, _ := os.Stat(filepath.Join(dir, "list-2026-W01.txt"))
	if err != nil || !strings.Contains(string(text), "Other Ltd M2") || info.Mode().Perm() != 0o600 {
		t.Errorf("%s %v %v", text, info.Mode(), err)
	}
	for week := range keepWeeks {
		a.Now = func() time.Time { return monday.Add(time.Duration(week+1) * 7 * 24 * time.Hour) }
		if _, err := a.WriteWeekly(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	names, err := os.ReadDir(dir) // in order
	if err != nil || len(names) != keepWeeks || names[0].Name() != "list-2026-W02.txt" {
		t.Errorf("%d: %v, %v", len(names), names, err)
	}
}

// What quell has seen pass becomes advice: the assessor learns from sightings, and keeps that.
func TestSeenToAdvised(t *testing.T) { storetest.EachEngine(t, testSeenToAdvised) }

func testSeenToAdvised(t *testing.T) {
	const homes = advice.MinWindowAlerts + 10
	s, a := open(t)
	var rows []string
	for n := range homes {
		rows = append(rows, storetest.DeviceRow(n+1, n+1))
	}
	if err := storetest.ImportRows(t.Context(), s, rows...); err != nil {
		t.Fatal(err)
	}
	a.Learned, a.Assessed = s.Evidence.Learned, s.Evidence.Assessed
	s.Sightings.Enable(true)
	for n := range homes {
		hub, begins := evidence.Home{Hub: storetest.Hub(n + 1)}, storetest.T0.Add(time.Duration(n)*time.Second)
		order := storetest.OnDemand(n+1, 1, begins).Within(outage.Span{From: 165 * time.Second, To: 30 * time.Minute})
		s.Ledger.Record(t.Context(), order)
		s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Ordered, Received: begins, Home: hub, Meter: order.ESME, Request: order.RequestID, Form: order.Form, Tracked: true, Start: begins}})
		lost := storetest.AD1(n+1, fmt.Sprint("a", n), begins.Add(5*time.Minute+time.Second))
		if n%2 == 0 { // the others passed
			lost.OutageStart = lost.Received.Add(-3 * time.Minute)
			storetest.Decide(t, s, lost)
		}
		s.Sightings.Add(&sighting.Seen{Sighting: evidence.Sighting{Kind: evidence.Lost, Received: lost.Received, Home: hub, Start: lost.Received.Add(-3 * time.Minute)}})
	}
	s.Sightings.Flush()
	if err := s.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Evidence.Assess(t.Context(), storetest.T0.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	w, err := a.Window(t.Context())
	if err != nil || len(w.Models) != 1 {
		t.Fatalf("%+v, %v", w, err)
	}
	m := w.Models[0]
	if m.Model != "Landis+Gyr E470" || m.Activations != homes || m.Alerts != homes || m.Median != 5*60+15 || m.Learned == nil || m.Learned.To != 5*60+45 || m.Learned.Share != 1 {
		t.Errorf("%s: %d activations, %d AD1s, median %d, learned %+v", m.Model, m.Activations, m.Alerts, m.Median, m.Learned)
	}
	// Of those that were suppressed nothing was heard since, and the inventory has no postcodes.
	a.Now = func() time.Time { return storetest.T0.Add(3 * time.Hour) }
	asks, err := a.Supply(t.Context(), 1000)
	if err != nil || len(asks.Asks) != homes/2 || len(asks.Asks[0].Why) == 0 || asks.Asks[0].Level != evidence.None {
		t.Errorf("%d homes, %v", len(asks.Asks), err)
	}
}
