package store

import (
	"fmt"
	"testing"
	"time"

	"quell/internal/outage"

	"pgregory.net/rapid"
)

// naive is what the rules say, told another way than outage.Settle tells it:
// it keeps for each meter the intervals of time that are covered, and undoes a
// refused request by starting over without it.
type naive struct {
	orders []order
}

type order struct {
	outage.Activation
	refused bool
}

type interval struct {
	from, to time.Time
	form     outage.Form
	kind     outage.Kind
	waiting  bool
}

func (n *naive) covered(hub outage.DeviceID, at time.Time) bool {
	meters := map[outage.DeviceID][]interval{}
	for _, o := range n.orders {
		if o.CHF != hub || o.refused {
			continue
		}
		var keep []interval
		for _, iv := range meters[o.ESME] {
			stillWaits := iv.waiting && iv.from.After(o.Received)
			later := o.Order.Kind == outage.FutureDated && o.Order.At.After(o.Received) || o.Order.Kind == outage.Cancellation
			own := o.Form == outage.SignedPreCommand && iv.form == outage.ServiceRequest && iv.kind == o.Order.Kind && iv.to.After(o.Received)
			if !(stillWaits && later) && !own {
				keep = append(keep, iv)
			}
		}
		if o.Order.Kind != outage.Cancellation {
			from := o.Received
			waiting := o.Order.Kind == outage.FutureDated && o.Order.At.After(from)
			if waiting {
				from = o.Order.At
			}
			keep = append(keep, interval{from, from.Add(30 * time.Minute), o.Form, o.Order.Kind, waiting})
		}
		meters[o.ESME] = keep
	}
	for _, list := range meters {
		for _, iv := range list {
			if !at.Before(iv.from) && at.Before(iv.to) {
				return true
			}
		}
	}
	return false
}

// For random traffic of a few hubs, some with two meters, what the store
// decides is what the naive account says; every alert is decided one way, its
// retry the same; the log has each suppressed one once, numbered without gaps.
func TestAgainstNaiveAccount(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := openIn(t, t.TempDir())
		defer s.Close()
		var n naive
		now, suppressed, forwarded, counter := t0, 0, 0, uint64(0)
		decided := map[string]Decision{}
		for step := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			// Small steps of whole minutes meet the boundaries often.
			now = now.Add(time.Duration(rapid.IntRange(0, 15).Draw(rt, "minutes")) * time.Minute)
			h := rapid.IntRange(0, 1).Draw(rt, "hub")
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0, 1:
				counter++
				o := outage.Order{Kind: rapid.SampledFrom([]outage.Kind{outage.OnDemand, outage.FutureDated, outage.Cancellation}).Draw(rt, "kind")}
				if o.Kind == outage.FutureDated {
					o.At = now.Add(time.Duration(rapid.IntRange(-15, 60).Draw(rt, "at")) * time.Minute)
				}
				id := outage.RequestID{Originator: supplier, Target: meter(10*h + rapid.IntRange(0, 1).Draw(rt, "meter")), Counter: counter}
				form := rapid.SampledFrom([]outage.Form{outage.ServiceRequest, outage.SignedPreCommand}).Draw(rt, "form")
				a := outage.NewActivation(id, form, o, hub(h), now, 30*time.Minute)
				s.Record(t.Context(), a)
				refused := rapid.IntRange(0, 3).Draw(rt, "refused") == 0
				s.Settle(t.Context(), a, !refused)
				n.orders = append(n.orders, order{a, refused})
			default:
				id := fmt.Sprint("alert ", step)
				d := decide(t, s, ad1(h, id, now))
				if want := n.covered(hub(h), now); (d.Outcome == outage.Suppressed) != want {
					rt.Fatalf("step %d, hub %d at %s: %+v, the naive account says suppressed=%v", step, h, now, d, want)
				}
				if !s.MayHold(hub(h)) && d.Reason != outage.ReasonNoWindow {
					rt.Fatalf("the index would have forwarded what was decided as %+v", d)
				}
				if d.Outcome == outage.Suppressed {
					suppressed++
				} else {
					forwarded++
				}
				decided[id] = d
			}
		}
		for id, want := range decided {
			if d := decide(t, s, ad1(rapid.IntRange(0, 1).Draw(rt, "retry"), id, now)); d.Decision != want.Decision {
				rt.Fatalf("retry of %s: %+v, first %+v", id, d, want)
			}
		}
		entries := allEntries(t, s)
		if len(entries) != suppressed || suppressed+forwarded != len(decided) {
			rt.Fatalf("%d entries, %d suppressed, %d forwarded of %d", len(entries), suppressed, forwarded, len(decided))
		}
		for i, e := range entries {
			if e.Seq != int64(i)+1 {
				rt.Fatalf("entry %d has number %d", i+1, e.Seq)
			}
		}
	})
}
