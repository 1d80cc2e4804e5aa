package motorway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"quell/internal/assess"
	"quell/internal/cluster"
	"quell/internal/duis"
	"quell/internal/evidence"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"

	"github.com/prometheus/client_golang/prometheus"
)

// A street has homes with a hub and a meter each, all in one postcode. It is driven through the
// real motorway, and assessed as the leader does.
type street struct {
	*system
	t     *testing.T
	homes int
	n     uint64       // the last counter used
	clock atomic.Int64 // what now is, for the store's goroutines
}

func meterAt(home int) outage.DeviceID { return storetest.Meter(home) }
func hubAt(home int) outage.DeviceID   { return storetest.Hub(home) }

// mpanOf returns a valid MPAN of London.
func mpanOf(home int) string {
	for check := range 10 {
		mpan := fmt.Sprintf("12%010d%d", home, check)
		if _, ok := outage.DistributorOf(mpan); ok {
			return mpan
		}
	}
	return mpanOf(home + 1_000_000) // no check digit fits
}

func newStreet(t *testing.T, homes int, o store.Options) *street {
	s := &street{system: &system{dir: t.TempDir(), now: t0}, t: t, homes: homes}
	s.set(t0)
	s.open(o)
	s.setSwitch(t, outage.SwitchOn)
	var inventory, list strings.Builder
	inventory.WriteString("device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,postcode\n")
	for i := 1; i <= homes; i++ {
		fmt.Fprintf(&inventory, "%s,ESME,SMETS2,Landis+Gyr,E470,%s,%s,sw1a 1aa\n", meterAt(i), hubAt(i), mpanOf(i))
		fmt.Fprintln(&list, meterAt(i))
	}
	s.importFiles(t, inventory.String(), list.String())
	return s
}

// open opens the street's store, or opens it again after a restart.
func (s *street) open(o store.Options) {
	if s.st != nil {
		s.st.Close()
	}
	st := storetest.Open(s.t, s.dir, func(to *store.Options) { to.Now, to.Elapsed = s.read, o.Elapsed })
	if st.DB.Remote() {
		storetest.MakeLeader(s.t, st)
	}
	s.st = st
	s.on(st)
}

// on makes messages pass through a node.
func (s *street) on(st *store.Store) {
	log := slog.New(slog.DiscardHandler)
	rules := Rules{Window: 30 * time.Minute, Manufacturers: outage.Manufacturers{"Landis+Gyr"}, Track: []outage.Form{outage.ServiceRequest, outage.SignedPreCommand},
		ClockTolerance: time.Minute, StoreTimeout: 10 * time.Second}
	st.Sightings.Enable(true)
	s.Motorway = &Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: func() time.Time { return s.now }, Log: log,
		Metrics: NewMetrics(prometheus.NewRegistry()), Sightings: st.Sightings, Evidence: st.Evidence}
	s.SetRules(rules)
}

func (s *street) counter() uint64 { s.n++; return s.n }

func (s *street) activate(home int, order outage.Order) outage.RequestID {
	s.t.Helper()
	id := outage.RequestID{Originator: supplier, Target: meterAt(home), Counter: s.counter()}
	p := s.Southbound(s.t.Context(), whole(message(id, outage.SignedPreCommand, order)))
	if p.Decision.Reason != outage.ReasonTracked && order.Kind != outage.Cancellation {
		s.t.Fatal(p.Decision)
	}
	s.Answered(s.t.Context(), &p, Delivered, nil)
	return id
}

// lose sends the AD1 of a home, and returns whether it was suppressed.
func (s *street) lose(home int, began time.Time) bool {
	id := outage.RequestID{Originator: hubAt(home), Target: supplier, Counter: s.counter()}
	b := duis.AppendPowerOutage(nil, id, s.now, duis.PowerOutage{CHF: hubAt(home), Start: began, MPxN: mpanOf(home)})
	return s.Northbound(s.t.Context(), whole(b)).Decision.Outcome == outage.Suppressed
}

func (s *street) restore(home int, start, end time.Time) {
	id := outage.RequestID{Originator: meterAt(home), Target: supplier, Counter: s.counter()}
	r := gbcs.Restoration{Meter: meterAt(home), Code: 0x8F36, Start: start, End: end}
	payload := gbcs.AppendSigned(nil, gbcs.AppendRestoration(nil, r, supplier, id.Counter), [64]byte{})
	if p := s.Northbound(s.t.Context(), whole(duis.AppendDeviceAlert(nil, id, s.now, "8F36", payload))); p.Decision != forward(outage.ReasonNotAD1) {
		s.t.Error(p.Decision)
	}
}

// assess lets the leader assess what there is, and returns what is known of the log's first entry.
func (s *street) assess() *assess.Evidence {
	s.t.Helper()
	s.st.Sightings.Flush()
	if err := s.st.DB.Ping(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.st.Evidence.Assess(s.t.Context(), s.now); err != nil {
		s.t.Fatal(err)
	}
	found, err := s.st.Evidence.Of(s.t.Context(), []int64{1})
	if err != nil || found[1] == nil {
		s.t.Fatalf("no evidence of the entry: %v", err)
	}
	return found[1]
}

// learn makes the model known: of 100,000 activations 90,000 had an AD1, four minutes later, and restored
// of those a restoration alert.
func (s *street) learn(restored int) {
	b := &evidence.Behaviour{Activations: 100_000, AD1s: 90_000, Restored: restored, Heard: 89_000}
	b.Bins[16] = 90_000
	value, err := json.Marshal(&evidence.Learning{Until: t0.Add(-time.Hour), Models: map[evidence.Model]*evidence.Behaviour{"Landis+Gyr E470": b}})
	if err != nil {
		s.t.Fatal(err)
	}
	storetest.Script(s.t, s.st, fmt.Sprintf(`INSERT INTO learned (name, sighting, entry, at, value) VALUES ('models', 0, 0, 0, '%s')`, value))
}

func (s *street) at(d time.Duration) *street { s.set(t0.Add(d)); return s }

func (s *street) set(now time.Time) {
	s.now = now
	s.clock.Store(now.UnixMicro())
}

func (s *street) read() time.Time { return time.UnixMicro(s.clock.Load()).UTC() }

func (s *street) says(e *assess.Evidence, level evidence.Level, want string) {
	s.t.Helper()
	if text := strings.Join(e.Text, "\n"); e.Level != level || !strings.Contains(text, want) {
		s.t.Errorf("at %s: %s (odds %g), want %s with %q:\n%s", s.now.Sub(t0), e.Level, e.Odds, level, want, text)
	}
}

var onDemand = outage.Order{Kind: outage.OnDemand}

// Each kind of evidence, from messages to words.
func TestEvidence(t *testing.T) { storetest.EachEngine(t, testEvidence) }

func testEvidence(t *testing.T) {
	const m = time.Minute
	// A reboot as it usually is: one AD1 three and a half minutes later.
	reboot := func(t *testing.T) *street {
		s := newStreet(t, 20, store.Options{})
		s.activate(1, onDemand)
		s.at(10 * m)
		if !s.lose(1, t0.Add(6*m)) {
			t.Fatal("the alert was not suppressed")
		}
		return s
	}
	t.Run("nothing", func(t *testing.T) {
		s := reboot(t)
		s.says(s.assess(), evidence.None, "")
		s.at(40 * m)
		s.says(s.assess(), evidence.None, "")
	})
	t.Run("neighbours", func(t *testing.T) {
		s := reboot(t)
		for home := 2; home <= 15; home++ {
			s.lose(home, t0.Add(6*m))
		}
		s.at(16 * m)
		e := s.assess()
		s.says(e, evidence.Strong, "14 of 19 hubs")
		x, err := s.Explain(t.Context(), hubAt(1).String(), s.now)
		if text := strings.Join(x.Text, "\n"); err != nil || !strings.Contains(text, "Entry 1: there is strong evidence that the alert was genuine (odds ") || !strings.Contains(text, "14 of 19 hubs") ||
			!strings.Contains(text, " to strong.") || len(x.Evidence) != 1 {
			t.Errorf("%v %s", err, text)
		}
		if len(e.History) == 0 || e.History[len(e.History)-1].Level != evidence.Strong {
			t.Errorf("history %+v", e.History)
		}
	})
	t.Run("windows of others", func(t *testing.T) {
		s := newStreet(t, 20, store.Options{})
		for home := 1; home <= 15; home++ {
			s.activate(home, onDemand)
		}
		s.at(10 * m)
		for home := 1; home <= 15; home++ {
			s.lose(home, t0.Add(6*m))
		}
		s.at(16 * m)
		s.says(s.assess(), evidence.None, "")
	})
	t.Run("restored", func(t *testing.T) {
		s := reboot(t)
		s.learn(0)
		s.assess()
		s.at(60*m).restore(1, t0.Add(6*m), t0.Add(55*m))
		s.at(61 * m)
		e := s.assess()
		s.says(e, evidence.Strong, "the outage lasted from 10:06:00 to 10:55:00")
		if len(e.History) != 1 || e.History[0].Was != evidence.None {
			t.Errorf("history %+v", e.History)
		}
	})
	t.Run("restored, of a model that breaks A5", func(t *testing.T) {
		s := reboot(t)
		s.learn(30_000)
		s.assess()
		s.at(60*m).restore(1, t0.Add(6*m), t0.Add(10*m))
		s.at(61 * m)
		s.says(s.assess(), evidence.None, "the outage lasted from 10:06:00 to 10:10:00")
	})
	t.Run("did not run", func(t *testing.T) {
		s := reboot(t)
		id := outage.RequestID{Originator: supplier, Target: meterAt(1), Counter: 1}
		o := gbcs.Outcome{Meter: meterAt(1), Originator: supplier, Counter: 1, Executed: true, Code: gbcs.NoImage, Version: "01"}
		payload := gbcs.AppendSigned(nil, gbcs.AppendOutcome(nil, o, 9), [64]byte{})
		s.at(12 * m)
		answer := bytes.Replace(duis.AppendAnswer(nil, id, s.now, "I0"), []byte("</sr:ResponseMessage>"),
			append(base64.StdEncoding.AppendEncode([]byte("<sr:GBCSPayload>"), payload), "</sr:GBCSPayload></sr:ResponseMessage>"...), 1)
		s.Northbound(t.Context(), whole(answer))
		s.at(16 * m)
		s.says(s.assess(), evidence.None, "no image")
	})
	t.Run("heard again", func(t *testing.T) {
		s := reboot(t)
		s.st.Evidence.FollowOnce(t.Context())
		s.at(14 * m)
		id := outage.RequestID{Originator: meterAt(1), Target: supplier, Counter: s.counter()}
		s.Northbound(t.Context(), whole(duis.AppendDeviceAlert(nil, id, s.now, "81A0", []byte("x"))))
		s.at(16 * m)
		s.says(s.assess(), evidence.None, "heard")
	})
	t.Run("silent", func(t *testing.T) {
		s := reboot(t)
		s.at(31 * m)
		s.says(s.assess(), evidence.None, "not been heard")
	})
	t.Run("second outage", func(t *testing.T) {
		s := reboot(t)
		s.at(20*m).lose(1, t0.Add(16*m))
		s.at(36 * m)
		found := s.assess()
		if again, err := s.st.Evidence.Of(t.Context(), []int64{2}); err != nil || again[2] == nil || !strings.Contains(strings.Join(again[2].Text, " "), "second") {
			t.Errorf("%+v %v, the first %+v", again[2], err, found)
		}
	})
	t.Run("too early", func(t *testing.T) {
		s := newStreet(t, 20, store.Options{})
		s.activate(1, onDemand)
		s.at(m).lose(1, t0.Add(-2*m))
		s.at(6 * m)
		e := s.assess()
		if !strings.Contains(strings.Join(e.Text, " "), "early") && !strings.Contains(strings.Join(e.Text, " "), "before") {
			t.Errorf("%q", e.Text)
		}
	})
}

// A restart in the middle, at any time, changes no level, and nothing is learned twice.
func TestEvidenceRestart(t *testing.T) { storetest.EachEngine(t, testEvidenceRestart) }

func testEvidenceRestart(t *testing.T) {
	type told struct {
		level evidence.Level
		odds  float64
		text  string
	}
	// A night: some homes reboot, some of them in a cut, some are restored.
	night := func(t *testing.T, step func(s *street, minute int)) (said []told, learned string) {
		s := newStreet(t, 30, store.Options{})
		for minute := range 180 {
			s.at(time.Duration(minute) * time.Minute)
			if minute < 12 {
				s.activate(minute+1, onDemand)
			}
			if home := minute - 5; home >= 1 && home <= 12 && home%3 != 0 {
				s.lose(home, s.now.Add(-200*time.Second))
			}
			if minute == 14 {
				for home := 18; home <= 28; home++ {
					s.lose(home, s.now.Add(-210*time.Second))
				}
			}
			if minute == 40 {
				s.restore(8, t0.Add(10*time.Minute), t0.Add(39*time.Minute))
			}
			s.st.Sightings.Flush()
			step(s, minute)
		}
		s.assess()
		entries := storetest.Entries(t, s.st)
		list, err := s.EvidenceOf(t.Context(), entries)
		if err != nil || len(list) != len(entries) || len(list) < 6 {
			t.Fatalf("%d of %d entries: %v", len(list), len(entries), err)
		}
		for _, e := range list {
			said = append(said, told{e.Level, e.Odds, strings.Join(e.Text, " ")})
		}
		if err := s.st.DB.QueryRow(t.Context(), `SELECT value FROM learned`).Scan(&learned); err != nil {
			t.Fatal(err)
		}
		learned, _, _ = strings.Cut(strings.TrimSuffix(learned, "}"), `,"quiet"`) // it is counted when the engine tidies up, and may lose some at a restart
		return said, learned
	}
	whole, learned := night(t, func(*street, int) {})
	each, learnedEach := night(t, func(s *street, minute int) {
		if minute >= 8 {
			s.assess() // a new engine each time
		}
	})
	if fmt.Sprint(each) != fmt.Sprint(whole) {
		t.Errorf("a new engine each minute says %v\nwant %v", each, whole)
	}
	if learnedEach != learned {
		t.Errorf("a new engine each minute has learned %s\nwant %s", learnedEach, learned)
	}
	if !strings.Contains(learned, `"activations":`) || strings.Contains(learned, `"activations":0`) {
		t.Errorf("nothing was learned: %s", learned)
	}
	levels := map[evidence.Level]int{}
	for _, x := range whole {
		levels[x.level]++
	}
	if len(levels) < 2 {
		t.Errorf("all levels are the same: %v", levels)
	}
	if storetest.OnPostgres(t) {
		return // to open the store again and again takes long there
	}
	again, learnedAgain := night(t, func(s *street, minute int) {
		if minute%20 == 9 {
			s.assess()
			s.open(store.Options{})
		}
	})
	if fmt.Sprint(again) != fmt.Sprint(whole) || learnedAgain != learned {
		t.Errorf("with restarts %v %s\nwant %v %s", again, learnedAgain, whole, learned)
	}
}

// What one node sees counts at the other, which is the leader.
func TestEvidenceOfTwoNodes(t *testing.T) { storetest.OnlyPostgres(t, testEvidenceOfTwoNodes) }

func testEvidenceOfTwoNodes(t *testing.T) {
	s := newStreet(t, 20, store.Options{})
	leader := s.st
	// The data folder is another one, the database the same.
	other, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Database: storetest.Database(t, s.dir), Now: s.read})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	s.activate(1, onDemand)
	s.at(10 * time.Minute)
	if !s.lose(1, t0.Add(6*time.Minute)) {
		t.Fatal("the alert was not suppressed")
	}
	s.on(other)
	if err := other.Evidence.FollowOnce(t.Context()); err != nil || other.Sightings.Watched() == 0 {
		t.Errorf("the other node waits for %d devices: %v", other.Sightings.Watched(), err)
	}
	for home := 2; home <= 15; home++ {
		s.lose(home, t0.Add(6*time.Minute))
	}
	s.at(12 * time.Minute)
	id := outage.RequestID{Originator: meterAt(1), Target: supplier, Counter: s.counter()}
	s.Northbound(t.Context(), whole(duis.AppendDeviceAlert(nil, id, s.now, "81A0", []byte("x"))))
	other.Sightings.Flush()
	if err := other.DB.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.on(leader)
	s.st = leader
	s.at(16 * time.Minute)
	e := s.assess()
	s.says(e, e.Level, "14 of 19 hubs")
	s.says(e, e.Level, "heard again 2 minutes after")
	if err := other.Evidence.Assess(t.Context(), s.now); !errors.Is(err, cluster.ErrNotLeader) {
		t.Errorf("a node that is not the leader assesses: %v", err)
	}
}

// Decisions are the same, whether evidence is collected or not, also while the database does not
// take sightings.
func TestEvidenceDecidesNothing(t *testing.T) {
	run := func(on bool) (said []string) {
		s := newStreet(t, 10, store.Options{})
		s.st.Sightings.Enable(on)
		r := rand.New(rand.NewPCG(1, 2))
		for range 400 {
			s.set(s.now.Add(time.Duration(r.IntN(120)) * time.Second))
			home := 1 + r.IntN(10)
			var p Passage
			id := outage.RequestID{Originator: hubAt(home), Target: supplier, Counter: s.counter()}
			request := outage.RequestID{Originator: supplier, Target: meterAt(home), Counter: s.counter()}
			switch r.IntN(6) {
			case 0:
				order := outage.Order{Kind: []outage.Kind{outage.OnDemand, outage.Cancellation}[r.IntN(2)]}
				p = s.Southbound(t.Context(), whole(message(request, outage.SignedPreCommand, order)))
				s.Answered(t.Context(), &p, Delivered, nil)
			case 1:
				order := outage.Order{Kind: outage.FutureDated, At: s.now.Add(time.Hour).Truncate(time.Second)}
				p = s.Southbound(t.Context(), whole(message(request, outage.SignedPreCommand, order)))
			case 2:
				s.restore(home, s.now.Add(-10*time.Minute), s.now)
				continue
			default:
				p = s.Northbound(t.Context(), whole(duis.AppendPowerOutage(nil, id, s.now, duis.PowerOutage{CHF: hubAt(home), Start: s.now.Add(-200 * time.Second), MPxN: mpanOf(home)})))
			}
			said = append(said, fmt.Sprint(p.Decision))
			if on && r.IntN(20) == 0 {
				s.st.Sightings.Flush()
				s.st.DB.Ping(t.Context())
				if err := s.st.Evidence.Assess(t.Context(), s.now); err != nil {
					t.Fatal(err)
				}
				s.st.Evidence.FollowOnce(t.Context())
			} else if !on {
				r.IntN(20)
			}
		}
		return said
	}
	with, without := run(true), run(false)
	if !slices.Equal(with, without) {
		t.Error("decisions differ")
	}
	if !slices.Contains(with, fmt.Sprint(outage.Decision{Outcome: outage.Suppressed, Reason: outage.ReasonWindowOpen})) {
		t.Error("nothing was suppressed")
	}
}
