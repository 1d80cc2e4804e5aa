package ledger_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"quell/internal/outage"
	"quell/internal/store"
	"quell/internal/store/storetest"

	"github.com/anishathalye/porcupine"
)

// hubState models the store, without a database, a queue or a journal: it is the state of one
// hub, and each operation takes effect at once. The rules are those of package outage.
type hubState struct {
	acts    []outage.Activation // in order of recording
	decided map[string]reply
	seq     int64 // the last number of an entry of this hub
}

// reply is the decision that the sender of an alert gets, and the request whose window was the
// reason for it.
type reply struct {
	outage.Decision
	Request string
}

// operation is one call of the store.
type operation struct {
	kind     string // record, recordAnswer, decide, correct
	hub      int
	act      outage.Activation
	accepted bool
	alert    outage.Alert
}

// answer is the result of an operation. If it is lost, the operation takes effect at some time.
type answer struct {
	lost     bool
	repeated bool
	reply    reply
	retry    bool
	seq      int64
}

func (h hubState) do(op operation, a answer) (bool, hubState) {
	switch op.kind {
	case "record":
		repeated := slices.ContainsFunc(h.acts, func(b outage.Activation) bool {
			return b.SameMessage(&op.act) && (b.State != outage.Withdrawn || b.Received.Equal(op.act.Received))
		})
		if !repeated {
			act := op.act
			act.ID = int64(len(h.acts) + 1)
			h.acts = append(slices.Clone(h.acts), act)
		}
		return a.lost || a.repeated == repeated, h
	case "recordAnswer":
		return true, h.recordAnswer(&op.act, op.accepted)
	case "correct":
		if was, ok := h.decided[op.alert.ID]; !ok || was.Outcome == outage.Suppressed {
			h.setReply(op.alert.ID, reply{outage.Decision{Outcome: outage.Forwarded, Reason: outage.ReasonStoreUnavailable}, ""})
		}
		return true, h
	}
	if was, ok := h.decided[op.alert.ID]; ok {
		return a.lost || a.retry && a.reply == was, h
	}
	meters := map[outage.DeviceID][]outage.Activation{}
	for _, a := range h.acts {
		meters[a.ESME] = append(meters[a.ESME], a)
	}
	var acts []outage.Activation
	for _, of := range meters {
		outage.SortByArrival(of)
		outage.ResolveWindows(of)
		acts = append(acts, of...)
	}
	d, w := outage.Decide(acts, op.alert.Received)
	want := reply{d, ""}
	if d.Outcome == outage.Suppressed {
		want.Request = w.RequestID.String()
	}
	h.setReply(op.alert.ID, want)
	if a.lost {
		return true, h
	}
	inOrder := want.Request == "" || a.seq > h.seq
	h.seq = max(h.seq, a.seq)
	return !a.retry && a.reply == want && inOrder, h
}

func (h *hubState) setReply(id string, r reply) {
	h.decided = maps.Clone(h.decided)
	if h.decided == nil {
		h.decided = map[string]reply{}
	}
	h.decided[id] = r
}

// recordAnswer applies the next hop's answer to the latest attempt that is not later than act.
func (h hubState) recordAnswer(act *outage.Activation, accepted bool) hubState {
	of := -1
	for i, b := range h.acts {
		if b.SameMessage(act) && !b.Received.After(act.Received) && (of < 0 || !b.Received.Before(h.acts[of].Received)) {
			of = i
		}
	}
	if of < 0 || !accepted && h.acts[of].State != outage.Unanswered {
		return h
	}
	h.acts = slices.Clone(h.acts)
	if !accepted {
		h.acts[of].State = outage.Withdrawn
		return h
	}
	for i, b := range h.acts {
		if i != of && b.SameMessage(act) && b.State == outage.Accepted {
			return h // another attempt was accepted
		}
	}
	for i, b := range h.acts {
		if i != of && b.SameMessage(act) && b.State == outage.Unanswered {
			h.acts[i].State = outage.Withdrawn // it repeats the attempt that was accepted
		}
	}
	h.acts[of].State = outage.Accepted
	return h
}

var sequential = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		hubs := map[int][]porcupine.Operation{}
		for _, o := range history {
			n := o.Input.(operation).hub
			hubs[n] = append(hubs[n], o)
		}
		return slices.Collect(maps.Values(hubs))
	},
	Init: func() any { return hubState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(hubState).do(input.(operation), output.(answer))
	},
	Equal: func(a, b any) bool { return reflect.DeepEqual(a, b) },
	Hash: func(a any) uint64 {
		h := a.(hubState)
		return uint64(h.seq)<<32 | uint64(len(h.acts))<<16 | uint64(len(h.decided))
	},
}

// history has the operations, their answers and their times.
type history struct {
	mu   sync.Mutex // guards the next fields
	ops  []porcupine.Operation
	lost []int // indexes of the operations that take effect before the journals are empty
	gone int   // how many answers were lost
}

func (h *history) add(client int, op operation, began time.Time, a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := porcupine.Operation{ClientId: client, Input: op, Output: a, Call: began.UnixNano(), Return: time.Now().UnixNano()}
	if a.lost {
		h.gone++
		if op.kind == "decide" {
			// It may have been decided or not. Both are the same as a decision after the
			// note that the alert went forward, and that note is certain.
			h.lost = append(h.lost, len(h.ops))
			h.ops = append(h.ops, o)
			op.kind = "correct"
			o.Input = op
		}
		h.lost = append(h.lost, len(h.ops))
	}
	h.ops = append(h.ops, o)
}

// applyLost says that all operations whose answers were lost have taken effect by now.
func (h *history) applyLost() {
	for _, i := range h.lost {
		h.ops[i].Return = time.Now().UnixNano()
	}
	h.lost = nil
}

// count returns how many operations have ended so far, and how many of their answers were lost.
func (h *history) count() (ops, lost int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops), h.gone
}

const (
	// wait is how long a client waits for an answer.
	wait = 500 * time.Millisecond
	// enough is how many answers may be lost: about five for each client. An operation whose
	// answer is lost may take effect at any later time. With many of them, as on a machine that
	// hangs, there are too many orders to try.
	enough = 30
)

// client sends operations on a few hubs to a store.
func (h *history) client(t *testing.T, s *store.Store, client, hubs, n int, rnd *rand.Rand) {
	for range n {
		if _, lost := h.count(); lost >= enough {
			return
		}
		op := operation{hub: rnd.IntN(hubs)}
		at := storetest.T0.Add(time.Duration(rnd.IntN(12)) * 5 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		began := time.Now()
		if rnd.IntN(3) > 0 {
			op.kind, op.alert = "decide", storetest.AD1(op.hub, fmt.Sprintf("hub %d alert %d", op.hub, rnd.IntN(12)), at)
			d, err := s.Ledger.Decide(ctx, op.alert, outage.Suppressed, 0)
			h.add(client, op, began, answer{lost: err != nil, reply: reply{d.Decision, d.Entry.RequestID}, retry: d.Retry, seq: d.Entry.Seq})
			cancel()
			continue
		}
		// The counter decides what the request asks for, so that two requests with the same
		// counter are the same message.
		counter := rnd.Uint64N(6)
		op.kind = "record"
		switch id := 10*op.hub + int(counter%2); counter / 2 {
		case 0:
			op.act = storetest.OnDemand(id, counter, at)
		case 1:
			op.act = storetest.FutureDated(id, counter, at, storetest.T0.Add(30*time.Minute))
		default:
			op.act = outage.Request{ID: outage.RequestID{Originator: storetest.Supplier, Target: storetest.Meter(id), Counter: counter},
				Form: outage.SignedPreCommand, Order: outage.Order{Kind: outage.Cancellation}, Received: at}.Activation(0, 30*time.Minute)
		}
		op.act.CHF = storetest.Hub(op.hub)
		r := s.Ledger.Record(ctx, op.act)
		h.add(client, op, began, answer{lost: r.Remembered, repeated: r.Repeated})
		if rnd.IntN(2) == 0 {
			op.kind, op.accepted = "recordAnswer", rnd.IntN(2) == 0
			began = time.Now()
			state := outage.Withdrawn
			if op.accepted {
				state = outage.Accepted
			}
			remembered := s.Ledger.RecordAnswer(ctx, op.act, state)
			h.add(client, op, began, answer{lost: remembered})
		}
		cancel()
	}
}

// Several senders record requests, record answers and decide at once, on several nodes if the
// engine allows it, while the database is locked and connections break. The results are the same
// as those of a store that does one operation after the other, each between its call and its
// return.
func TestLinearizable(t *testing.T) {
	nodes, rounds := 1, 7
	if storetest.OnPostgres(t) {
		nodes = 3
	}
	const clients, hubs, each = 6, 12, 100
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	lost := 0
	for round := range rounds {
		dirs, database := []string{t.TempDir()}, ""
		for range nodes - 1 {
			dirs = append(dirs, t.TempDir())
		}
		database = storetest.Database(t, dirs[0])
		var list []*store.Store
		for _, dir := range dirs {
			list = append(list, storetest.Open(t, dir, func(o *store.Options) { o.Database, o.Log = database, nil }))
		}
		var h history
		var wg sync.WaitGroup
		done := make(chan struct{})
		for c := range clients {
			wg.Go(func() {
				h.client(t, list[c%nodes], c, hubs, each, rand.New(rand.NewPCG(seed, uint64(round*clients+c))))
			})
		}
		go func() {
			wg.Wait()
			close(done)
		}()
		if round > 0 {
			h.until(done, func(ops, _ int) bool { return ops >= clients*each/4 })
			if database != "" && round%2 == 0 {
				storetest.BreakConnections(t, database)
			} else {
				// The senders wait until the lock is taken. Otherwise they may be done before.
				h.mu.Lock()
				release := storetest.HoldWriteLock(t, dirs[0])
				h.mu.Unlock()
				h.until(done, func(_, lost int) bool { return lost >= clients })
				release()
			}
		}
		<-done
		for _, s := range list {
			storetest.Eventually(t, "the journal is played", func() bool { return s.Ledger.Pending() == 0 && s.DB.Ping(t.Context()) == nil })
		}
		h.applyLost()
		lost += h.gone
		// All alerts once more, when nothing else runs, to see what the store has kept.
		for n := range hubs {
			for alert := range 12 {
				op := operation{kind: "decide", hub: n, alert: storetest.AD1(n, fmt.Sprintf("hub %d alert %d", n, alert), storetest.T0.Add(29*time.Minute))}
				began := time.Now()
				d := storetest.Decide(t, list[alert%nodes], op.alert)
				h.add(clients, op, began, answer{reply: reply{d.Decision, d.Entry.RequestID}, retry: d.Retry, seq: d.Entry.Seq})
			}
		}
		switch porcupine.CheckOperationsTimeout(sequential, h.ops, time.Minute) {
		case porcupine.Illegal:
			t.Errorf("round %d: not linearizable, %d operations, %d answers lost", round, len(h.ops), h.gone)
		case porcupine.Unknown:
			t.Errorf("round %d: not decided within a minute, %d answers lost", round, h.gone)
		}
		for i, e := range storetest.Entries(t, list[0]) {
			if e.Seq != int64(i+1) {
				t.Fatalf("entry %d has number %d", i+1, e.Seq)
			}
		}
		for _, s := range list {
			s.Close()
		}
	}
	t.Logf("%d answers were lost", lost)
	if lost == 0 {
		t.Error("no answer was lost")
	}
}

// until waits until the history is far enough, or done is closed.
func (h *history) until(done <-chan struct{}, far func(ops, lost int) bool) {
	for !far(h.count()) {
		select {
		case <-time.After(time.Millisecond):
		case <-done:
			return
		}
	}
}
