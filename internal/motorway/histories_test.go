package motorway

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"

	"github.com/prometheus/client_golang/prometheus"
)

// TestHistories plays requests of every kind and form, answers, failures, retries, alerts,
// imports, changes of the switch, housekeeping, restarts and steps of the clock, in random
// order. Each decision must be that of a naive model that never forgets, and the log must
// agree. So none of these, at any moment, makes a cancelled, replaced or refused request
// suppress an alert.
func TestHistories(t *testing.T) {
	suppressed := 0
	for range 90 {
		suppressed += playHistory(t, 80, "")
	}
	if suppressed < 200 {
		t.Errorf("%d alerts were suppressed: the histories say little", suppressed)
	}
}

func TestHistoriesOnPostgreSQL(t *testing.T) {
	server := storetest.Start(t)
	db, err := sql.Open("pgx", server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for n := range 6 {
		name := fmt.Sprint("history", n)
		if _, err := db.Exec(`CREATE DATABASE ` + name); err != nil {
			t.Fatal(err)
		}
		playHistory(t, 200, server.URL(name))
	}
}

// playHistory plays the history of the seed in QUELL_TEST_SEED, or of a new seed. It
// returns how many alerts were suppressed.
func playHistory(t *testing.T, steps int, database string) int {
	seed := rand.Uint64()
	if text := os.Getenv("QUELL_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	h := &history{T: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), options: store.Options{Dir: t.TempDir(), Database: database}}
	return h.play(steps)
}

// history is one random history.
type history struct {
	*testing.T
	seed    uint64
	rnd     *rand.Rand
	options store.Options

	m       *Motorway
	st      *store.Store
	n       naive
	now     time.Time     // the true time
	slow    time.Duration // how far the clock is behind it
	counter uint64
	pending []attempt    // not answered yet
	sent    []naiveAlert // so far
	text    []string
}

// attempt is one attempt to send a request.
type attempt struct {
	p Passage
	r *naiveRequest
}

// fail ends the history, and prints how to play it again.
func (h *history) fail(format string, args ...any) {
	h.Helper()
	h.Fatalf("QUELL_TEST_SEED=%d: %s\n%s", h.seed, fmt.Sprintf(format, args...), strings.Join(h.text, "\n"))
}

func (h *history) note(format string, args ...any) {
	h.text = append(h.text, h.now.Format(time.TimeOnly)+" "+fmt.Sprintf(format, args...))
}

func (h *history) open() {
	st, err := store.Open(h.Context(), h.options)
	if err != nil {
		h.fail("%v", err)
	}
	h.st = st
	h.m = &Motorway{Ledger: st.Ledger, Windows: st.Windows, Devices: st.Devices, Cluster: st.Cluster, Now: func() time.Time { return h.now.Add(-h.slow) }, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry())}
	if err := h.m.Resume(h.Context()); err != nil {
		h.fail("%v", err)
	}
	ctx, cancel := context.WithCancel(h.Context())
	h.Cleanup(cancel)
	if h.options.Database != "" {
		go st.Cluster.WhileLeader(ctx, func(ctx context.Context) { <-ctx.Done() })
		for deadline := time.Now().Add(20 * time.Second); !st.Cluster.IsLeader(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				h.fail("it never becomes the leader")
			}
		}
	}
	h.m.SetRules(Rules{Window: 30 * time.Minute, Manufacturers: outage.Manufacturers{"Landis+Gyr"}, Track: []outage.Form{outage.ServiceRequest, outage.SignedPreCommand},
		ClockTolerance: 10 * time.Minute, StoreTimeout: time.Minute})
}

func (h *history) play(steps int) (suppressed int) {
	h.now = t0
	h.n = naive{town: map[outage.DeviceID]*home{}, alerts: map[naiveAlert]*naiveOutcome{}, sw: outage.SwitchOn}
	for i := range 3 {
		h.n.town[meterOf(i)] = &home{hub: hubOf(i), listed: true, ours: true}
	}
	h.open()
	defer func() { h.st.Close() }()
	h.setSwitch(outage.SwitchOn)
	h.importTown()
	for range steps {
		h.now = h.now.Add(time.Duration(h.rnd.IntN(10))*time.Minute + time.Millisecond) // no two messages are received at the same instant
		switch what := h.rnd.IntN(20); {
		case what < 7:
			h.request()
		case what < 9:
			h.answerAny()
		case what < 14:
			for i := range 3 {
				h.alert(hubOf(i))
			}
		case what == 14:
			h.failure()
		case what == 15:
			h.move()
		case what == 16:
			h.setSwitch([]outage.Switch{outage.SwitchOn, outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff}[h.rnd.IntN(4)])
		case what == 17:
			h.housekeep()
		case what == 18:
			h.note("restart")
			h.st.Close()
			h.pending = nil
			h.open()
		default:
			h.slow = time.Duration(h.rnd.IntN(8)) * time.Minute
			h.note("the clock is %s slow", h.slow)
		}
	}
	return h.check()
}

func hubOf(i int) outage.DeviceID   { return theHub + outage.DeviceID(i) }
func meterOf(i int) outage.DeviceID { return theMeter + outage.DeviceID(16*i) }

func (h *history) request() {
	var r *naiveRequest
	var p Passage
	if again := h.rnd.IntN(4); again == 0 {
		// The same message, while its window is not over: afterwards it may be deleted.
		var list []*naiveRequest
		for _, r := range h.n.requests {
			if _, to, _ := r.window(); r.order.Kind != outage.Cancellation && r.order.Kind != outage.Closing && to.After(h.now.Add(time.Hour)) && !h.isPending(r) {
				list = append(list, r)
			}
		}
		if len(list) == 0 {
			return
		}
		r = list[h.rnd.IntN(len(list))]
		p = h.m.Southbound(h.Context(), whole(message(r.id, r.form, r.order)))
		h.note("again %s %s %v received %s: %s", r.form, r.id, r.order, p.Received.Format(time.TimeOnly), p.Decision.Reason)
		r = h.n.receive(r.id, r.form, r.order, true, p.Received)
	} else {
		h.counter++
		id := outage.RequestID{Originator: supplier, Target: meterOf(h.rnd.IntN(3)), Counter: h.counter}
		form := []outage.Form{outage.ServiceRequest, outage.SignedPreCommand, outage.SignedPreCommand}[h.rnd.IntN(3)]
		order := outage.Order{Kind: []outage.Kind{outage.OnDemand, outage.FutureDated, outage.FutureDated, outage.FutureDated, outage.Cancellation}[h.rnd.IntN(5)]}
		if order.Kind == outage.FutureDated {
			order.At = h.now.Add(time.Duration(h.rnd.IntN(80)-10) * time.Minute)
		}
		text := message(id, form, order)
		broken := h.rnd.IntN(8)
		switch {
		case broken == 0:
			text = text[:len(text)-20]
		case broken == 1 && form == outage.SignedPreCommand:
			text = duis.AppendSignedPreCommand(nil, id, 6, order, payload(id, order))
		case broken == 2 && form == outage.SignedPreCommand:
			text = duis.AppendSignedPreCommand(nil, id, 5, order, []byte("no GBCS"))
		default:
			broken = -1
		}
		if broken >= 0 && order.Kind != outage.Cancellation {
			order = outage.Order{Kind: outage.Closing}
		} else if broken == 0 {
			order = outage.Order{Kind: outage.Closing}
		}
		p = h.m.Southbound(h.Context(), whole(text))
		h.note("%s %s %v received %s (broken %d): %s", form, id, order, p.Received.Format(time.TimeOnly), broken, p.Decision.Reason)
		r = h.n.receive(id, form, order, broken < 0, p.Received)
	}
	h.pending = append(h.pending, attempt{p, r})
	if h.rnd.IntN(4) > 0 {
		h.answer(len(h.pending) - 1)
	}
}

// isPending reports whether a message is not answered yet. TestAttempts in internal/windows
// tests attempts that overlap.
func (h *history) isPending(r *naiveRequest) bool {
	return slices.ContainsFunc(h.pending, func(a attempt) bool { return a.r.id == r.id && a.r.form == r.form && a.r.order == r.order })
}

// answerAny answers one of the requests that are not answered yet.
func (h *history) answerAny() {
	if len(h.pending) > 0 {
		h.answer(h.rnd.IntN(len(h.pending)))
	}
}

// answer answers the i-th of the requests that are not answered yet.
func (h *history) answer(i int) {
	f := h.pending[i]
	h.pending = slices.Delete(h.pending, i, i+1)
	answer := []string{"I99", "I99", "I99", "I99", "I99", "E4", "E4", "in doubt"}[h.rnd.IntN(8)]
	d, text := Delivered, duis.AppendAnswer(nil, f.r.id, h.now, answer)
	if answer == "in doubt" {
		d, text = InDoubt, nil
	}
	h.m.Answered(h.Context(), &f.p, d, text)
	h.note("answer %s to %s %s", answer, f.r.form, f.r.id)
	switch {
	case answer == "I99":
		f.r.accepted = true
	case f.r.accepted || f.r.failed:
	case answer == "E4":
		f.r.refused = true
	default:
		f.r.failed = true
	}
}

// failure reports that an activation did not run.
func (h *history) failure() {
	if len(h.n.requests) == 0 {
		return
	}
	id := h.n.requests[h.rnd.IntN(len(h.n.requests))].id
	p := h.m.Northbound(h.Context(), whole(duis.AppendAnswer(nil, id, h.now, "E20")))
	if p.Decision.Outcome != outage.Forwarded {
		h.fail("%+v", p.Decision)
	}
	if err := h.st.DB.Ping(h.Context()); err != nil { // nobody waits for it
		h.fail("%v", err)
	}
	h.note("failed %s", id)
	for _, r := range h.n.requests {
		if r.id == id && !r.refused {
			r.failed = true
		}
	}
}

// alert sends a new alert of a hub, or one with the id or the outage of an earlier one.
func (h *history) alert(hub outage.DeviceID) {
	var a naiveAlert
	switch h.rnd.IntN(5) {
	case 0:
		if len(h.sent) == 0 {
			return
		}
		a = h.sent[h.rnd.IntN(len(h.sent))]
		if h.rnd.IntN(3) == 0 {
			a.hub, a.start = hubOf(h.rnd.IntN(3)), a.start.Add(time.Duration(h.rnd.IntN(2))*time.Minute)
		}
	default:
		h.counter++
		a = naiveAlert{outage.RequestID{Originator: hub, Target: supplier, Counter: h.counter}, hub, h.now.Add(-3 * time.Minute)}
	}
	p := h.m.Northbound(h.Context(), whole(duis.AppendPowerOutage(nil, a.id, h.now, duis.PowerOutage{CHF: a.hub, Start: a.start, MPxN: theMPAN})))
	want := h.n.decide(a, p.Received)
	h.note("alert %s of %s, received %s: %+v", a.id, a.hub, p.Received.Format(time.TimeOnly), p.Decision)
	if p.Decision.Outcome != want {
		h.fail("%+v, the naive model says %s", p.Decision, want)
	}
	h.sent = append(h.sent, a)
}

// move imports the devices again: a meter is on another hub, off the list, or from another
// manufacturer.
func (h *history) move() {
	m := h.n.town[meterOf(h.rnd.IntN(3))]
	switch h.rnd.IntN(4) {
	case 0:
		m.listed = h.rnd.IntN(3) > 0
	case 1:
		m.ours = h.rnd.IntN(3) > 0
	case 2:
		m.hub = hubOf(9) * outage.DeviceID(h.rnd.IntN(2)) // not known, or one without other meters
	default:
		m.hub = hubOf(h.rnd.IntN(3))
	}
	h.importTown()
}

func (h *history) importTown() {
	inventory, list := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn\n", ""
	for i := range 3 {
		id := meterOf(i)
		m := h.n.town[id]
		maker, hub := "Other", ""
		if m.ours {
			maker = "Landis+Gyr"
		}
		if m.hub != 0 {
			hub = m.hub.String()
		}
		inventory += fmt.Sprintf("%s,ESME,SMETS2,%s,E470,%s,\n", id, maker, hub)
		if m.listed {
			list += id.String() + "\n"
		}
		h.note("%s is on %s, listed %v, ours %v", id, m.hub, m.listed, m.ours)
	}
	files := []devices.File{{Name: "inventory", Reader: strings.NewReader(inventory)}}
	if _, err := h.st.Devices.ImportInventory(h.Context(), "a test", h.m.Now(), func() (f devices.File, err error) {
		if len(files) == 0 {
			return f, io.EOF
		}
		f, files = files[0], nil
		return f, nil
	}); err != nil {
		h.fail("%v", err)
	}
	if list == "" {
		list = gasMeter.String() + "\n"
	}
	if _, err := h.st.Devices.ImportList(h.Context(), "a test", h.m.Now(), devices.File{Name: "list", Reader: strings.NewReader(list)}); err != nil {
		h.fail("%v", err)
	}
}

func (h *history) setSwitch(to outage.Switch) {
	h.n.sw = to
	if _, err := h.st.Ledger.SetSwitch(h.Context(), to, "a test", fmt.Sprint("step ", len(h.text)), h.now); err != nil {
		h.fail("%v", err)
	}
	h.note("switch %s", to)
}

// housekeep deletes windows that have just ended. Entries and notes stay, because they
// decide about retries.
func (h *history) housekeep() {
	if _, err := h.st.Housekeep(h.Context(), store.Limits{WindowsBefore: h.m.Now()}); err != nil {
		h.fail("%v", err)
	}
	h.note("housekeeping")
}

// check compares the log with the model.
func (h *history) check() (suppressed int) {
	if err := h.st.DB.Ping(h.Context()); err != nil { // nobody waits for notes
		h.fail("%v", err)
	}
	list, err := h.st.Ledger.EntriesAfter(h.Context(), 0, 10_000)
	if err != nil {
		h.fail("%v", err)
	}
	logged := 0
	for _, f := range h.n.alerts {
		if f.logged {
			logged++
		}
	}
	if len(list) != logged {
		h.fail("%d entries, the naive model has %d", len(list), logged)
	}
	for i, e := range list {
		id, _ := outage.ParseRequestID(e.AlertID)
		f := h.n.alerts[naiveAlert{id, e.CHF, e.OutageStart}]
		if f == nil || f.outcome != e.Outcome || e.Seq != int64(i+1) {
			h.fail("entry %d is %+v, the naive model has %+v", i+1, e, f)
		}
	}
	return len(list)
}

// message returns an 11.3.
func message(id outage.RequestID, form outage.Form, order outage.Order) []byte {
	if form == outage.ServiceRequest {
		return duis.AppendActivateFirmware(nil, id, order, [32]byte{})
	}
	return duis.AppendSignedPreCommand(nil, id, 5, order, payload(id, order))
}

func payload(id outage.RequestID, order outage.Order) []byte {
	return gbcs.AppendSigned(nil, gbcs.AppendCS06(nil, gbcs.CS06{Originator: id.Originator, Target: id.Target, Counter: id.Counter, Order: order}), [64]byte{1})
}
