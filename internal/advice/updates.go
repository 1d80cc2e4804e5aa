package advice

import (
	"cmp"
	"slices"
	"time"
)

// Waiting are meters of one model, at homes of one distributor, that have new firmware on its way
// of one supplier and no 11.3 yet.
type Waiting struct {
	Model       string
	Distributor string // "" if it is not known
	Supplier    string
	Arrived     bool      // the image is at the hub
	Since       time.Time // when it arrived; if it has not, when it was ordered
	Count       int
}

// Wait says of how many updates of a supplier the activation began within the hour that is so many
// after it was ordered, or after it arrived.
type Wait struct {
	Supplier     string
	Arrived      bool
	Hours, Count int
}

// minWaits is how many updates of a supplier must have been activated before it is said when it
// will activate others. With fewer, those of all suppliers together say it.
const minWaits = 50

// An Update is what is on its way to meters of one model, of one supplier.
type Update struct {
	Model    string `json:"model"`
	Supplier string `json:"supplier"`
	Ordered  int    `json:"ordered"` // meters whose image has not arrived, as far as is known
	Arrived  int    `json:"arrived"` // meters whose image has
	// Alerts are the false AD1s that they cause when all are activated, whenever that is; -1 if too little
	// is learned of the model.
	Alerts float64 `json:"alerts"`
	// Likely is how many of them are probably activated by the end of the forecast; -1 if nothing
	// is known of how long suppliers wait.
	Likely float64 `json:"likely"`
}

// A LikelyHour is an Hour that is estimated.
type LikelyHour struct {
	From        time.Time `json:"from"`
	Distributor string    `json:"distributor"` // "" if it is not known
	Activations float64   `json:"activations"`
	Alerts      float64   `json:"alerts"`
}

// AddUpdates adds what probably comes of meters that have firmware on its way. No message says when they
// will be activated. So it goes by how long the same supplier has waited before: which share of those
// that had waited so many hours was activated within the next. A supplier that always activates at
// night is spread over the day by that.
func (f *Forecast) AddUpdates(waiting []Waiting, waits []Wait, times []Times) {
	shares := sharesOf(waiting, waits, f.Now)
	of := map[string]*Times{}
	for i := range times {
		of[times[i].Model] = &times[i]
	}
	first := f.Now.UTC().Truncate(time.Hour)
	hours := int(f.Until.Sub(first) / time.Hour)
	type key struct {
		hour        int
		distributor string
	}
	sum := map[key]*LikelyHour{}
	updates := map[[2]string]*Update{}
	for _, w := range waiting {
		u := updates[[2]string{w.Model, w.Supplier}]
		if u == nil {
			u = &Update{Model: w.Model, Supplier: w.Supplier, Alerts: -1, Likely: -1}
			updates[[2]string{w.Model, w.Supplier}] = u
		}
		if w.Arrived {
			u.Arrived += w.Count
		} else {
			u.Ordered += w.Count
		}
		alerts := 0.0 // of each
		if t := of[w.Model]; t != nil && t.Activations >= minActivations {
			alerts = min(1, float64(t.alerts())/float64(t.Activations))
			u.Alerts = max(u.Alerts, 0) + alerts*float64(w.Count)
		}
		share := shares[known{w.Supplier, w.Arrived}]
		if share == nil {
			continue
		}
		left, age := float64(w.Count), ageOf(w.Since, f.Now)
		u.Likely = max(u.Likely, 0)
		for h := 0; h < hours && age+h < len(share); h++ {
			n := left * share[age+h]
			left -= n
			if n == 0 {
				continue
			}
			u.Likely += n
			k := key{h, w.Distributor}
			if sum[k] == nil {
				sum[k] = &LikelyHour{From: first.Add(time.Duration(h) * time.Hour), Distributor: w.Distributor}
			}
			sum[k].Activations += n
			sum[k].Alerts += n * alerts
		}
	}
	f.Updates, f.Likely = []Update{}, []LikelyHour{}
	for _, u := range updates {
		f.Updates = append(f.Updates, *u)
	}
	for _, h := range sum {
		f.Likely = append(f.Likely, *h)
	}
	slices.SortFunc(f.Updates, func(a, b Update) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Supplier, b.Supplier))
	})
	slices.SortFunc(f.Likely, func(a, b LikelyHour) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Distributor, b.Distributor))
	})
}

// known is what updates have in common of which waits are compared.
type known struct {
	supplier string // "" for all together
	arrived  bool
}

// ageOf returns for how many hours something is known.
func ageOf(since, now time.Time) int { return max(0, int(now.Sub(since)/time.Hour)) }

// sharesOf returns of those that had waited for h hours, which share was activated within the next
// hour, for each supplier with something that waits; nil if that is not known.
func sharesOf(waiting []Waiting, waits []Wait, now time.Time) map[known][]float64 {
	// By hour: how many began then, and how many waited still when the forecast was made.
	began, still := map[known]map[int]int{}, map[known]map[int]int{}
	count := func(m map[known]map[int]int, supplier string, arrived bool, hour, n int) {
		for _, k := range []known{{supplier, arrived}, {"", arrived}} {
			if m[k] == nil {
				m[k] = map[int]int{}
			}
			m[k][hour] += n
		}
	}
	for _, w := range waits {
		count(began, w.Supplier, w.Arrived, max(0, w.Hours), w.Count)
	}
	for _, w := range waiting {
		count(still, w.Supplier, w.Arrived, ageOf(w.Since, now), w.Count)
	}
	shares := map[known][]float64{}
	for k := range still {
		from := k
		if total(began[k]) < minWaits {
			from = known{"", k.arrived}
		}
		if total(began[from]) < minWaits {
			continue
		}
		last := 0
		for h := range began[from] {
			last = max(last, h)
		}
		share := make([]float64, last+1)
		for h, waited := 0, total(began[from])+total(still[from]); h <= last; h++ {
			waited -= still[from][h] // within this hour the forecast was made
			if waited > 0 {
				share[h] = float64(began[from][h]) / float64(waited)
			}
			waited -= began[from][h]
		}
		shares[k] = share
	}
	return shares
}

func total(m map[int]int) (n int) {
	for _, c := range m {
		n += c
	}
	return n
}
