package motorway

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"quell/internal/devices"
	"quell/internal/duis"
	"quell/internal/gbcs"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"

	"github.com/prometheus/client_golang/prometheus"
)

// tally is what happened in histories.
type tally struct {
	suppressed, corrected, deleted int // alerts, entries, entries
	away                           int // messages while the store was
}

func (s *tally) add(h tally) {
	s.suppressed += h.suppressed
	s.corrected += h.corrected
	s.deleted += h.deleted
	s.away += h.away
}

// TestHistoriesWithoutStore is TestHistories, but the store does not hang, it fails.
func TestHistoriesWithoutStore(t *testing.T) {
	playHistories(t, 12, 80, func(*testing.T, int) string { return "" })
}

func TestHistoriesOnPostgreSQL(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long")
	}
	server := storetest.Start(t)
	db, err := sql.Open("pgx", server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	playHistories(t, 6, 200, func(t *testing.T, n int) string {
		name := fmt.Sprint("history", n)
		if _, err := db.Exec(`CREATE DATABASE ` + name); err != nil {
			t.Fatal(err)
		}
		return server.URL(name)
	})
}

// playHistories plays several histories in parallel: they wait more than they compute.
func playHistories(t *testing.T, n, steps int, database func(t *testing.T, n int) string) {
	var mu sync.Mutex // guards sum
	var sum tally
	t.Run("at once", func(t *testing.T) {
		for i := range n {
			url := database(t, i)
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				one := playHistory(t, steps, url, false)
				mu.Lock()
				defer mu.Unlock()
				sum.add(one)
			})
		}
	})
	t.Logf("%+v", sum)
	if sum.suppressed == 0 || sum.away < 20 {
		t.Errorf("the histories say little: %+v", sum)
	}
}

// playHistory plays the history of the seed in QUELL_TEST_SEED, or of a new seed. It
// returns what happened in it.
func playHistory(t *testing.T, steps int, database string, hangs bool) tally {
	seed := rand.Uint64()
	if text := os.Getenv("QUELL_TEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	h := &history{T: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 0)), options: store.Options{Dir: t.TempDir(), Database: database}, hangs: hangs}
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

	hangs   bool         // when the store is away, it hangs; if false, it fails
	release func()       // ends that
	since   []naiveAlert // alerts that were sent since the store is away
	lastSeq int64
	tally   tally
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
	h.wait(time.Minute)
}

// spans are the windows of a history's models. The first is that of models without their own.
var spans = []outage.Span{{To: 30 * time.Minute}, {From: 165 * time.Second, To: 12 * time.Minute}, {From: 20 * time.Minute, To: 90 * time.Minute}, {To: time.Minute}}

// wait sets how long messages wait for the store.
func (h *history) wait(d time.Duration) {
	own := outage.Spans{}
	for _, m := range h.n.town {
		if m.span != spans[0] {
			own[outage.ModelKey("Landis+Gyr "+m.model)] = m.span
		}
	}
	h.m.SetRules(Rules{Window: 30 * time.Minute, Spans: own, Manufacturers: outage.Manufacturers{"Landis+Gyr"}, Track: []outage.Form{outage.ServiceRequest, outage.SignedPreCommand},
		ClockTolerance: 10 * time.Minute, StoreTimeout: d, Suppliers: []outage.DeviceID{supplier, secondSupplier}, SouthSignatures: outage.SignaturesVerify})
	h.m.SetCertificates(secondSigner().known)
}

func (h *history) play(steps int) tally {
	h.now = t0
	h.n = naive{town: map[outage.DeviceID]*home{}, alerts: map[naiveAlert]*naiveOutcome{}, sw: outage.SwitchOn}
	for i := range 3 {
		h.n.town[meterOf(i)] = &home{hub: hubOf(i), listed: true, ours: true, model: fmt.Sprint("E47", i), span: spans[max(h.rnd.IntN(2*len(spans))-len(spans), 0)]}
	}
	h.open()
	defer func() { h.st.Close() }()
	h.setSwitch(outage.SwitchOn)
	h.importTown()
	for range steps {
		h.now = h.now.Add(time.Duration(h.rnd.IntN(10))*time.Minute + time.Millisecond) // no two messages are received at the same instant
		if h.n.away {
			h.tally.away++
			if h.rnd.IntN(4) == 0 {
				h.comeBack()
			}
		}
		switch what := h.rnd.IntN(25); {
		case what < 7:
			h.request()
		case what >= 23:
			h.stranger()
		case what < 9:
			h.answerAny()
		case what < 14:
			for i := range 3 {
				h.alert(hubOf(i))
			}
		case what == 14 && h.n.away && h.hangs: // it would be written after later messages
		case what == 14:
			h.failure()
		case what == 15:
			h.restart()
		case what == 16:
			h.slow = time.Duration(h.rnd.IntN(8)) * time.Minute
			h.note("the clock is %s slow", h.slow)
		case what == 17 && h.n.away:
			h.setSwitch(outage.SwitchOff)
		case h.n.away: // the other steps need the store
		case what == 17:
			h.setSwitch([]outage.Switch{outage.SwitchOn, outage.SwitchOn, outage.SwitchShadow, outage.SwitchOff}[h.rnd.IntN(4)])
		case what == 18:
			h.move()
		case what == 19:
			h.housekeep()
		case what >= 20 && what < 22:
			h.cut()
		default:
			h.goAway()
		}
	}
	if h.n.away {
		h.comeBack()
	}
	h.check()
	return h.tally
}

// goAway makes the store take no changes: its writer hangs, or somebody else holds the lock,
// as a backup or a shell may. The store can still be read.
func (h *history) goAway() {
	switch {
	case h.hangs:
		h.release = storetest.HoldWriter(h.T, h.st)
	case h.options.Database == "":
		h.release = storetest.HoldWriteLock(h.T, h.options.Dir)
	default:
		db, err := sql.Open("pgx", h.options.Database)
		if err != nil {
			h.fail("%v", err)
		}
		tx, err := db.Begin()
		if err == nil {
			_, err = tx.Exec(`SELECT pg_advisory_xact_lock($1)`, int64(storetest.WriterLock))
		}
		if err != nil {
			h.fail("%v", err)
		}
		h.release = func() {
			tx.Rollback()
			db.Close()
		}
	}
	h.n.away, h.since = true, nil
	h.wait(30 * time.Millisecond)
	h.note("the store is away")
}

// comeBack makes the store take changes again, and waits until the journal is played.
func (h *history) comeBack() {
	h.release()
	h.note("the store is back")
	for deadline := time.Now().Add(time.Minute); h.st.Ledger.Pending() > 0 || h.st.DB.Ping(h.Context()) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.fail("%d records of the journal are not played", h.st.Ledger.Pending())
		}
	}
	h.n.away = false
	h.wait(time.Minute)
	// An alert may have been logged although nobody waited any more. Then its entry is
	// corrected, unless it says shadow: then it says already that the alert went forward.
	for _, a := range h.since {
		if f, e := h.n.alerts[a], h.entry(a); e.Seq != 0 && f.entered.IsZero() {
			h.note("alert %s of %s was logged all the same", a.id, a.hub)
			f.entered, f.outcome, f.corrected, f.seq = e.Received, outage.Forwarded, true, e.Seq
			if e.Outcome == outage.Shadow {
				f.outcome, f.corrected = outage.Shadow, false
			}
			h.lastSeq = max(h.lastSeq, e.Seq)
		}
	}
}

// entry returns the log entry of an alert; its number is 0 if there is none.
func (h *history) entry(a naiveAlert) (found outage.Entry) {
	list, err := h.st.Ledger.Entries(h.Context(), ledger.Filter{AlertID: a.id.String()}, 100)
	if err != nil {
		h.fail("%v", err)
	}
	for _, e := range list {
		if e.CHF == a.hub && e.OutageStart.Equal(a.start) {
			if found.Seq != 0 {
				h.fail("alert %s of %s has the entries %d and %d", a.id, a.hub, found.Seq, e.Seq)
			}
			found = e
		}
	}
	return found
}

// restart closes the store and opens it again. What it could not take is in the journal.
func (h *history) restart() {
	h.note("restart")
	if h.n.away && h.hangs {
		h.release() // Close waits for the writer
	}
	h.st.Close()
	if h.n.away {
		h.release()
	}
	h.pending = nil
	h.open()
	if h.n.away {
		h.comeBack()
	}
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
			if _, to := r.window(); r.order.Kind != outage.Cancellation && r.order.Kind != outage.Closing && to.After(h.now.Add(time.Hour)) && !h.isPending(r) {
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
		if id.Target != suppliedMeter && h.rnd.IntN(2) == 0 {
			id.Originator = secondSupplier
		}
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

// stranger sends a request that must have no effect, because of who sent or signed it. The model
// does not hear of it.
func (h *history) stranger() {
	h.counter++
	id := outage.RequestID{Originator: supplier, Target: meterOf(h.rnd.IntN(3)), Counter: h.counter}
	form := []outage.Form{outage.ServiceRequest, outage.SignedPreCommand}[h.rnd.IntN(2)]
	order := outage.Order{Kind: []outage.Kind{outage.OnDemand, outage.FutureDated, outage.Cancellation}[h.rnd.IntN(3)]}
	if order.Kind == outage.FutureDated {
		order.At = h.now.Add(time.Duration(h.rnd.IntN(80)) * time.Minute)
	}
	var text []byte
	var want outage.Reason
	what := h.rnd.IntN(4)
	switch what {
	case 0:
		id.Originator, want = secondSupplier+1, outage.ReasonNotASupplier
		text = message(id, form, order)
	case 1:
		id.Originator, id.Target, want = secondSupplier, suppliedMeter, outage.ReasonOtherSupplier
		text = message(id, form, order)
	case 2:
		text, want = secondSigner().sign(h.T, message(id, form, order)), outage.ReasonSignerMismatch
	case 3:
		id.Originator, want = secondSupplier, outage.ReasonSignatureInvalid
		text = secondSigner().sign(h.T, message(id, form, order))
		changed := id
		changed.Counter++
		text = bytes.Replace(text, []byte(id.String()), []byte(changed.String()), 1)
	}
	if what < 2 && h.rnd.IntN(3) == 0 {
		text = text[:len(text)-20] // what it is about can still be read
	}
	p := h.m.Southbound(h.Context(), whole(text))
	h.note("stranger %d: %s %s %v: %s", what, form, id, order, p.Decision.Reason)
	if h.n.away && what == 1 && p.Tracked() {
		// Reading was slow too, so nobody knew who supplies the meter. The request went on, and is in
		// the journal; whatever its answer is, it must have no effect either.
		d := []Delivery{InDoubt, Delivered, Refused}[h.counter%3]
		h.m.Answered(h.Context(), &p, d, nil)
		h.note("the inventory did not answer; the answer is %d", d)
		return
	}
	if p.Decision.Reason != want && p.Decision.Reason != outage.ReasonSwitchedOff || p.Tracked() {
		h.fail("a stranger's request: %+v, want %s", p.Decision, want)
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
	if err := h.st.DB.Ping(h.Context()); err != nil && !h.n.away { // nobody waits for it; now it is in the store, or in the journal
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
	case 0, 1:
		told := h.sent
		if h.rnd.IntN(2) == 0 {
			told = slices.DeleteFunc(slices.Clone(told), func(a naiveAlert) bool { f := h.n.alerts[a]; return f == nil || f.entered.IsZero() })
		}
		if len(told) == 0 {
			return
		}
		a = told[h.rnd.IntN(len(told))]
		if h.rnd.IntN(3) == 0 {
			a.hub, a.start = hubOf(h.rnd.IntN(3)), a.start.Add(time.Duration(h.rnd.IntN(2))*time.Minute)
		}
	default:
		h.counter++
		a = naiveAlert{outage.RequestID{Originator: hub, Target: supplier, Counter: h.counter}, hub, h.now.Add(-3 * time.Minute)}
	}
	asks := h.st.Ledger.MayHaveWindow(a.hub)
	p := h.m.Northbound(h.Context(), whole(duis.AppendPowerOutage(nil, a.id, h.now, duis.PowerOutage{CHF: a.hub, Start: a.start, MPxN: theMPAN})))
	was := h.n.alerts[a]
	logged := was != nil && !was.entered.IsZero()
	want := h.n.decide(a, p.Received)
	if f := h.n.alerts[a]; !asks {
		f.brief = true
	}
	h.note("alert %s of %s, received %s: %+v", a.id, a.hub, p.Received.Format(time.TimeOnly), p.Decision)
	if p.Decision.Outcome != want {
		h.fail("%+v, the naive model says %s", p.Decision, want)
	}
	if f := h.n.alerts[a]; want != outage.Forwarded && !logged {
		e := h.entry(a)
		if e.Seq <= h.lastSeq {
			h.fail("entry %d is after entry %d", e.Seq, h.lastSeq)
		}
		f.seq, h.lastSeq = e.Seq, e.Seq
		h.tally.suppressed++
	}
	h.sent = append(h.sent, a)
	if h.n.away {
		h.since = append(h.since, a)
	}
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
	inventory, list := "device_id,device_type,smets_version,manufacturer,model,chf_id,mpxn,import_supplier\n", ""
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
		by := ""
		if id == suppliedMeter {
			by = supplier.String()
		}
		inventory += fmt.Sprintf("%s,ESME,SMETS2,%s,%s,%s,,%s\n", id, maker, m.model, hub, by)
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
	if _, err := h.st.Ledger.SetSwitch(h.Context(), to, "a test", fmt.Sprint("step ", len(h.text)), h.now); err != nil && !(h.n.away && errors.Is(err, ledger.ErrHereOnly)) {
		h.fail("%v", err)
	}
	h.note("switch %s", to)
}

// housekeep deletes windows that have just ended. Half of the time it also deletes old
// entries and notes.
func (h *history) housekeep() {
	limits := store.Limits{WindowsBefore: h.m.Now()}
	if h.rnd.IntN(2) == 0 {
		limits.LogBefore = h.m.Now().Add(-time.Duration(h.rnd.IntN(240)) * time.Minute)
		h.n.forget(limits.LogBefore)
	}
	did, err := h.st.Housekeep(h.Context(), limits)
	if err != nil {
		h.fail("%v", err)
	}
	h.tally.deleted += did.Entries
	h.note("housekeeping, the log before %s: %+v", limits.LogBefore.Format(time.TimeOnly), did)
}

// cut cuts a report with the entries up to the last, or up to one before it.
func (h *history) cut() {
	last := h.lastSeq - int64(h.rnd.IntN(3))
	r := storetest.WriteReport(h.T, h.st, last)
	h.n.report(r.LastSeq)
	h.note("report %d, entries up to %d", r.No, r.LastSeq)
}

// check compares the log with the model.
func (h *history) check() {
	if err := h.st.DB.Ping(h.Context()); err != nil { // nobody waits for notes
		h.fail("%v", err)
	}
	list, err := h.st.Ledger.EntriesAfter(h.Context(), 0, 10_000)
	if err != nil {
		h.fail("%v", err)
	}
	numbers, of, err := h.st.Ledger.CorrectionsAfter(h.Context(), 0, math.MaxInt64, 10_000)
	if err != nil {
		h.fail("%v", err)
	}
	corrections := map[int64]int{} // by entry
	for _, no := range numbers {
		corrections[of[no].Seq]++
	}
	logged := 0
	for _, f := range h.n.alerts {
		if !f.entered.IsZero() {
			logged++
		}
	}
	if len(list) != logged {
		h.fail("%d entries, the naive model has %d", len(list), logged)
	}
	for i, e := range list {
		id, _ := outage.ParseRequestID(e.AlertID)
		f := h.n.alerts[naiveAlert{id, e.CHF, e.OutageStart}]
		if f == nil || f.outcome != e.Outcome || e.Seq != f.seq || h.tally.deleted == 0 && e.Seq != int64(i+1) {
			h.fail("entry %d is %+v, the naive model has %+v", e.Seq, e, f)
		}
		want := 0
		if f.corrected {
			want = 1
			h.tally.corrected++
		}
		if corrections[e.Seq] != want {
			h.fail("entry %d has %d corrections, the naive model has %+v", e.Seq, corrections[e.Seq], f)
		}
	}
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
