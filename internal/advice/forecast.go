package advice

import (
	"cmp"
	"slices"
	"time"
)

// Pending are activations of one model, at homes of one distributor, that begin within the same
// Step.
type Pending struct {
	Model       string
	Distributor string // "" if it is not known
	Begins      time.Time
	Count       int
}

// Step is how exactly a forecast knows when activations begin.
const Step = 5 * time.Minute

// A Hour is how many false AD1s are expected of one distributor within an hour.
type Hour struct {
	From        time.Time `json:"from"`
	Distributor string    `json:"distributor"` // "" if it is not known
	Activations int       `json:"activations"` // that begin within it
	Alerts      float64   `json:"alerts"`
}

// Forecast is what activations that were ordered by Now lead to.
type Forecast struct {
	Now         time.Time `json:"now"`
	Until       time.Time `json:"until"`
	Hours       []Hour    `json:"hours"` // by time, then by distributor; those without anything are left out
	Activations int       `json:"activations"`
	Alerts      float64   `json:"alerts"`
	// Unlearned are the activations of models of which fewer than minActivations were seen: each
	// counts as one AD1, at the times of all models together.
	Unlearned int `json:"unlearned"`

	// What is announced by updates of firmware, and not ordered by an 11.3. It is not in the sums
	// above. See AddUpdates.
	Updates []Update     `json:"updates"`      // by model and supplier
	Likely  []LikelyHour `json:"likely_hours"` // as Hours
}

// Expect says how many AD1s are expected from now on, for whole hours after the one of now, so
// that there are hours of them. It spreads the AD1s of an activation over the times that were
// seen of its model; without any times, all come with the activation.
func Expect(now time.Time, hours int, pending []Pending, times []Times) Forecast {
	first := now.UTC().Truncate(time.Hour)
	f := Forecast{Now: now, Until: first.Add(time.Duration(hours) * time.Hour), Hours: []Hour{}, Updates: []Update{}, Likely: []LikelyHour{}}
	all := Times{}
	of := map[string]*Times{}
	for i := range times {
		of[times[i].Model] = &times[i]
		all.add(&times[i])
	}
	type key struct {
		hour        int
		distributor string
	}
	sum := map[key]*Hour{}
	at := func(t time.Time, distributor string) *Hour {
		k := key{int(t.Sub(first) / time.Hour), distributor}
		if sum[k] == nil {
			sum[k] = &Hour{From: first.Add(time.Duration(k.hour) * time.Hour), Distributor: distributor}
		}
		return sum[k]
	}
	for _, p := range pending {
		t, share := of[p.Model], 0.0
		if t != nil && t.Activations >= minActivations {
			share = min(1, float64(t.alerts())/float64(t.Activations))
		} else {
			t, share = &all, 1
			f.Unlearned += p.Count
		}
		if !p.Begins.Before(now) && p.Begins.Before(f.Until) {
			at(p.Begins, p.Distributor).Activations += p.Count
			f.Activations += p.Count
		}
		expect := func(t time.Time, alerts float64) {
			if !t.Before(now) && t.Before(f.Until) && alerts > 0 {
				at(t, p.Distributor).Alerts += alerts
				f.Alerts += alerts
			}
		}
		seen := float64(t.alerts())
		if seen == 0 {
			expect(p.Begins, share*float64(p.Count))
		}
		for i, n := range t.Bins {
			expect(p.Begins.Add(time.Duration(i)*Bin), share*float64(p.Count)*float64(n)/max(seen, 1))
		}
	}
	for _, h := range sum {
		f.Hours = append(f.Hours, *h)
	}
	slices.SortFunc(f.Hours, func(a, b Hour) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Distributor, b.Distributor)) })
	return f
}

// add adds what was seen of another model.
func (t *Times) add(o *Times) {
	t.Activations += o.Activations
	for len(t.Bins) < len(o.Bins) {
		t.Bins = append(t.Bins, 0)
	}
	for i, n := range o.Bins {
		t.Bins[i] += n
	}
}
