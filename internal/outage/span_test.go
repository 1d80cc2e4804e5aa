package outage

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A window that starts later than its activation changes nothing of what supersedes what, nor of
// how its activation is called. And nothing is suppressed that would not be without that.
func TestWithin(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 0))
	t0 := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	const length = 30 * time.Minute
	suppressed := 0
	for range 5000 {
		var plain, moved []Activation
		at := t0
		for i := range 1 + rnd.IntN(6) {
			at = at.Add(time.Duration(rnd.IntN(12)) * 5 * time.Minute)
			order := Order{Kind: []Kind{OnDemand, FutureDated, Cancellation, Closing}[rnd.IntN(4)]}
			if order.Kind == FutureDated {
				order.At = at.Add(time.Duration(rnd.IntN(12)-2) * 5 * time.Minute)
			}
			r := Request{ID: RequestID{1, 2, uint64(i)}, Form: []Form{ServiceRequest, SignedPreCommand}[rnd.IntN(2)], Order: order, Received: at}
			a := r.Activation(3, length)
			a.ID, a.State = int64(i+1), []State{Unanswered, Accepted, Accepted, Withdrawn, Uncertain}[rnd.IntN(5)]
			m := a.Within(Span{time.Duration(rnd.IntN(29)) * time.Minute, length})
			if a.Within(Span{0, length}) != a || m.Mode() != a.Mode() || !m.Begins().Equal(a.Begins()) || m.HasWindow() != a.HasWindow() || !m.End.Equal(a.End) || m.Start.Before(a.Start) {
				t.Fatalf("%+v is not within %+v", m, a)
			}
			plain, moved = append(plain, a), append(moved, m)
		}
		ResolveWindows(plain)
		ResolveWindows(moved)
		for i := range plain {
			if moved[i].Standing != plain[i].Standing || moved[i].SupersededBy != plain[i].SupersededBy {
				t.Fatalf("%+v, but from the activation on %+v", moved[i], plain[i])
			}
		}
		for range 10 {
			alert := t0.Add(time.Duration(rnd.IntN(600)) * time.Minute / 4)
			was, _ := Decide(plain, alert)
			is, _ := Decide(moved, alert)
			if is.Outcome == Suppressed && was.Outcome != Suppressed {
				t.Fatalf("suppressed at %s: %+v", alert, moved)
			}
			if is.Outcome == Suppressed {
				suppressed++
			}
		}
	}
	if suppressed < 1000 {
		t.Errorf("%d alerts were suppressed", suppressed)
	}
}

func TestOn(t *testing.T) {
	r := Request{ID: RequestID{1, 2, 3}, Order: Order{Kind: OnDemand}, Received: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
	a := r.Activation(0, 30*time.Minute)
	spans := Spans{ModelKey("Landis+Gyr E470"): {165 * time.Second, 12 * time.Minute}}
	for _, c := range []struct {
		manufacturer, model string
		want                string
	}{
		{"Landis+Gyr", "E470", "2m45s 12m0s"}, {"landis + gyr", " e 470", "2m45s 12m0s"}, {"Landis+Gyr", "E470X", "0s 30m0s"}, {"Landis+Gyr", "", "0s 30m0s"}, {"", "", "0s 30m0s"},
	} {
		on := a.On(&Device{CHF: 9, Manufacturer: c.manufacturer, Model: c.model}, spans)
		if got := fmt.Sprint(on.Start.Sub(a.Received), " ", on.End.Sub(a.Received)); got != c.want || on.CHF != 9 {
			t.Errorf("%s %s: %s on %s, not %s", c.manufacturer, c.model, got, on.CHF, c.want)
		}
	}
	if a.On(nil, spans) != a || a.On(&Device{CHF: 9}, nil).End != a.End {
		t.Error("a device that is not known, or no spans, change the window")
	}
	if c := a.AsClosing().On(&Device{CHF: 9, Manufacturer: "Landis+Gyr", Model: "E470"}, spans); c.HasWindow() || !c.End.IsZero() {
		t.Errorf("a closing has a window: %+v", c)
	}
}
