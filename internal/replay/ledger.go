package replay

import (
	"context"
	"iter"
	"slices"
	"time"

	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/passed"
	"quell/internal/windows"
)

// memory is a ledger without a database, for one goroutine. Its methods do what those of
// packages ledger and windows do; TestAgainstStore holds it to them. It forgets nothing, and no
// call fails. What there is a lot of has no pointers, or is in large pieces: otherwise the garbage
// collector would take half of the time.
type memory struct {
	sw        outage.Switch
	acts      [][]outage.Activation // by their ids, from 1, in pieces of actsAtOnce
	next      [][2]int32            // by id, from 0: the next activation of the meter, and of the hub
	ofMeter   map[outage.DeviceID]span
	ofHub     map[outage.DeviceID]span
	counters  map[counterOf]uint64 // the highest of verified requests
	alerts    map[uint64]uint16    // what was decided, by passed.Key: an index of decisions
	decisions []outage.Decision
	first     map[int32]int64 // by activation: the start of the first outage in its window, in microseconds
	entries   int64
	fresh     *outage.Entry // the entry that the last Decide added; nil if it added none
}

const actsAtOnce = 1024

// span has the ids of the first and the last activation of a meter or a hub, in order of arrival.
type span struct{ first, last int32 }

// counterOf is what a counter is kept for.
type counterOf struct {
	originator, target outage.DeviceID
	form               outage.Form
}

func newMemory() *memory {
	return &memory{next: [][2]int32{{}}, ofMeter: map[outage.DeviceID]span{}, ofHub: map[outage.DeviceID]span{}, counters: map[counterOf]uint64{}, alerts: map[uint64]uint16{}, first: map[int32]int64{}}
}

// act returns an activation by its id.
func (m *memory) act(id int32) *outage.Activation {
	return &m.acts[(id-1)/actsAtOnce][(id-1)%actsAtOnce]
}

// add adds an activation, and returns it.
func (m *memory) add(a outage.Activation) *outage.Activation {
	id := int32(len(m.next))
	a.ID = int64(id)
	if (id-1)%actsAtOnce == 0 {
		m.acts = append(m.acts, make([]outage.Activation, 0, actsAtOnce))
	}
	piece := &m.acts[len(m.acts)-1]
	*piece = append(*piece, a)
	m.next = append(m.next, [2]int32{})
	link := func(of map[outage.DeviceID]span, key outage.DeviceID, which int) {
		s := of[key]
		if s.last == 0 {
			s.first = id
		} else {
			m.next[s.last][which] = id
		}
		s.last = id
		of[key] = s
	}
	link(m.ofMeter, a.ESME, 0)
	if a.CHF != 0 {
		link(m.ofHub, a.CHF, 1)
	}
	return m.act(id)
}

// meter yields the activations of a meter in order of arrival.
func (m *memory) meter(id outage.DeviceID) iter.Seq[*outage.Activation] {
	return func(yield func(*outage.Activation) bool) {
		for n := m.ofMeter[id].first; n != 0 && yield(m.act(n)); n = m.next[n][0] {
		}
	}
}

// decided notes what was decided on an alert.
func (m *memory) decided(key uint64, d outage.Decision) {
	i := slices.Index(m.decisions, d)
	if i < 0 {
		i = len(m.decisions)
		m.decisions = append(m.decisions, d)
	}
	m.alerts[key] = uint16(i)
}

func (m *memory) Switch() outage.Switch                          { return m.sw }
func (m *memory) LastReceipt(context.Context) (time.Time, error) { return time.Time{}, nil }
func (m *memory) NoteUntracked(windows.Untracked)                {}
func (m *memory) MayHaveWindow(hub outage.DeviceID) bool         { return m.ofHub[hub].first != 0 }
func (m *memory) Record(_ context.Context, a outage.Activation) ledger.Recorded {
	return m.record(a, false)
}
func (m *memory) RecordClosing(_ context.Context, a outage.Activation) ledger.Recorded {
	return m.record(a, true)
}

// RecordUnresolved is not called: a replay's inventory always answers.
func (m *memory) RecordUnresolved(context.Context, outage.Activation, outage.Manufacturers, outage.Spans, bool) {
}

// record does what windows.Record does.
func (m *memory) record(a outage.Activation, closing bool) (r ledger.Recorded) {
	asked := a
	if a.Verified {
		r.Replayed = m.isOld(&a)
		closing = closing || r.Replayed
	}
	if closing {
		a = a.AsClosing()
	}
	var again *outage.Activation // the latest attempt that this one repeats
	same, closes := false, false
	for b := range m.meter(a.ESME) {
		closes = closes || b.End.After(a.Received)
		counts := b.State == outage.Unanswered || b.State == outage.Accepted || b.State == outage.Closed || b.Received.Equal(a.Received)
		if b.RequestID != a.RequestID || b.Form != a.Form || !counts {
			continue
		}
		same = same || asksFor(b, asked.Order) || asksFor(b, a.Order)
		if asksFor(b, asked.Order) || b.Order.Kind == outage.Closing {
			again = b
		}
	}
	if same || closing && !closes {
		if again == nil {
			return ledger.Recorded{Recorded: windows.Recorded{Replayed: r.Replayed, Nothing: true}}
		}
		return ledger.Recorded{Recorded: windows.Recorded{Hub: again.CHF, Repeated: true}}
	}
	r.TooMany = m.resolveNew(m.add(a))
	r.Hub = a.CHF
	return r
}

func asksFor(b *outage.Activation, o outage.Order) bool {
	return b.Order.Kind == o.Kind && b.Order.At.Equal(o.At)
}

// isOld does what windows.raiseCounter does.
func (m *memory) isOld(a *outage.Activation) bool {
	key := counterOf{a.RequestID.Originator, a.RequestID.Target, a.Form}
	last, ok := m.counters[key]
	if !ok || last < a.RequestID.Counter {
		m.counters[key] = a.RequestID.Counter
		return false
	}
	if last != a.RequestID.Counter {
		return true
	}
	kept, failed := false, false
	for b := range m.meter(a.ESME) {
		if b.RequestID != a.RequestID || b.Form != a.Form {
			continue
		}
		is := asksFor(b, a.Order)
		kept = kept || is
		failed = failed || b.State == outage.Failed && (is || b.Order.Kind == outage.Closing)
	}
	return !kept || failed
}

// resolveNew works out which windows of a meter are in force now that a counts. If the meter has
// as many as it may have, a opens none.
func (m *memory) resolveNew(a *outage.Activation) (tooMany bool) {
	left := 0
	for b := range m.meter(a.ESME) {
		if b == a || !b.Standing || !b.End.After(a.Received) {
			continue
		}
		if !after(a, b) || !a.Supersedes(b) {
			left++
			continue
		}
		b.Standing, b.SupersededBy = false, a.ID
	}
	if tooMany = left >= windows.MaxWindows && a.HasWindow() && a.State.Opens(); tooMany {
		a.Start, a.End = time.Time{}, time.Time{}
		return true
	}
	m.resolveOne(a)
	return false
}

// resolveOne works out whether b is in force: it is, unless a later request supersedes it.
func (m *memory) resolveOne(b *outage.Activation) {
	b.Standing, b.SupersededBy = b.State.Opens(), 0
	if !b.Standing || !b.HasWindow() {
		return
	}
	for a := range m.meter(b.ESME) {
		if after(a, b) && a.State != outage.Withdrawn && a.Received.Before(b.End) && a.Supersedes(b) {
			b.Standing, b.SupersededBy = false, a.ID
			return
		}
	}
}

func after(a, b *outage.Activation) bool {
	return a.Received.After(b.Received) || a.Received.Equal(b.Received) && a.ID > b.ID
}

// withdraw does what windows.resolveWithdrawn does.
func (m *memory) withdraw(a *outage.Activation) {
	a.State, a.Standing, a.SupersededBy = outage.Withdrawn, false, 0
	for b := range m.meter(a.ESME) {
		if b.SupersededBy == a.ID {
			m.resolveOne(b)
		}
	}
}

// RecordAnswer does what windows.RecordAnswer does.
func (m *memory) RecordAnswer(_ context.Context, a outage.Activation, answer outage.State) (remembered bool) {
	var last *outage.Activation
	for b := range m.meter(a.ESME) {
		if isSame(b, &a) && !b.Received.After(a.Received) {
			last = b
		}
	}
	if last == nil {
		return false
	}
	switch {
	case answer == outage.Accepted && last.State == outage.Unanswered:
		last.State = answer
	case last.State == outage.Withdrawn && last.Why != "" && answer != outage.Withdrawn:
		last.State = outage.Failed
		m.resolveNew(last)
	case answer == outage.Accepted && (last.State == outage.Withdrawn || last.State == outage.Uncertain):
		m.accept(last)
	case answer == outage.Withdrawn && last.State == outage.Unanswered:
		m.withdraw(last)
	case answer == outage.Uncertain && (last.State == outage.Unanswered || last.State == outage.Withdrawn):
		last.State = answer
		m.resolveNew(last)
	}
	return false
}

// isSame does what windows.sameMessage does.
func isSame(b, a *outage.Activation) bool {
	return b.RequestID == a.RequestID && b.Form == a.Form && (asksFor(b, a.Order) || b.Order.Kind == outage.Closing)
}

// accept does what windows.accept does.
func (m *memory) accept(a *outage.Activation) {
	for b := range m.meter(a.ESME) {
		if b.RequestID != a.RequestID || b.Form != a.Form || !asksFor(b, a.Order) {
			continue
		}
		switch b.State {
		case outage.Accepted, outage.Closed:
			return
		case outage.Unanswered:
			m.withdraw(b)
		}
	}
	a.State = outage.Accepted
	m.resolveNew(a)
}

// Fail does what windows.Fail does.
func (m *memory) Fail(f windows.Failed) {
	for b := range m.meter(f.Request.Target) {
		if b.RequestID != f.Request {
			continue
		}
		switch b.State {
		case outage.Unanswered, outage.Accepted, outage.Uncertain:
			b.State, b.Standing, b.Why = outage.Failed, false, f.Why
		case outage.Withdrawn:
			b.Why = f.Why
		}
	}
}

// Decide does what ledger.Decide does.
func (m *memory) Decide(_ context.Context, a outage.Alert, outcome outage.Outcome, tolerance time.Duration) (ledger.Decision, error) {
	m.fresh = nil
	key := passed.Key(a.ID, a.CHF, a.OutageStart)
	if i, ok := m.alerts[key]; ok {
		was := m.decisions[i]
		if outcome == outage.Shadow && was.Outcome == outage.Suppressed {
			was = outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonInShadow}
			m.decided(key, was)
		}
		return ledger.Decision{Decision: was, Retry: true}, nil
	}
	var acts []outage.Activation
	for n := m.ofHub[a.CHF].first; n != 0; n = m.next[n][1] {
		acts = append(acts, *m.act(n))
	}
	decision, act := outage.Decide(acts, a.Received)
	if decision.Outcome == outage.Forwarded {
		m.decided(key, decision)
		return ledger.Decision{Decision: decision}, nil
	}
	decision.Outcome = outcome
	m.entries++
	id := int32(act.ID)
	start := a.OutageStart.UnixMicro()
	first, ok := m.first[id]
	if !ok {
		m.first[id], first = start, start
	}
	d, valid := outage.DistributorOf(a.MPxN)
	e := &outage.Entry{Seq: m.entries, AlertID: a.ID, AlertCode: a.Code, CHF: a.CHF, ESME: act.ESME, MPxN: a.MPxN, MPxNValid: valid, Distributor: d.ID,
		OutageStart: a.OutageStart, Received: a.Received, RequestID: act.RequestID.String(), Mode: act.Mode(), WindowStart: act.Start, WindowEnd: act.End, Throttled: a.Throttled,
		Outcome: outcome, StartedBefore: act.Begins().Sub(a.OutageStart) > tolerance, Repeated: first != start}
	m.decided(key, decision)
	m.fresh = e
	return ledger.Decision{Decision: decision, Entry: *e}, nil
}

// NotePassed notes that an alert went forward.
func (m *memory) NotePassed(id []byte, hub outage.DeviceID, start, _ time.Time, reason outage.Reason) {
	m.forwarded(passed.Key(id, hub, start), reason)
}

// RememberForwarded is NotePassed for an alert whose entry, if it has one, is corrected.
func (m *memory) RememberForwarded(_ context.Context, f ledger.ForwardedNote) {
	m.forwarded(f.Key(), f.Reason)
}

func (m *memory) forwarded(key uint64, reason outage.Reason) {
	if i, ok := m.alerts[key]; !ok || m.decisions[i].Outcome != outage.Forwarded {
		m.decided(key, outage.Decision{Outcome: outage.Forwarded, Reason: reason})
	}
}
