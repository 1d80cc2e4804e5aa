package advice

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func round(n float64) float64 { return math.Round(1e3*n) / 1e3 }

func TestAddUpdates(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 20, 0, 0, time.UTC)
	ago := func(hours int) time.Time { return now.Truncate(time.Hour).Add(-time.Duration(hours) * time.Hour) }
	m := Times{Model: "M", Activations: 100, Bins: []int{20: 25, 40: 25}} // half of them
	// Supplier A has activated a fifth of many within the fourth hour, and the others within the
	// sixth. B activates after ten days.
	waits := []Wait{{"A", true, 3, 20e6}, {"A", true, 5, 80e6}, {"B", true, 240, 100e6}}
	f := Expect(now, 24, nil, []Times{m})
	f.AddUpdates([]Waiting{
		{"M", "12", "A", true, ago(4), 40}, // within the sixth hour: the next one
		{"M", "14", "A", true, ago(0), 50}, // 10 within the fourth hour, 40 within the sixth
		{"M", "12", "A", true, ago(6), 7},  // longer than it ever waited
		{"M", "12", "B", true, ago(1), 8},
		{"M", "12", "A", false, ago(1), 9}, // of those that have not arrived nothing is known
		{"new", "", "A", true, ago(5), 10},
	}, waits, []Times{m})
	want := []Update{{"M", "A", 9, 97, 53, 90}, {"M", "B", 0, 8, 4, 0}, {"new", "A", 0, 10, -1, 10}}
	for i := range f.Updates {
		f.Updates[i].Likely = round(f.Updates[i].Likely)
	}
	if !reflect.DeepEqual(f.Updates, want) {
		t.Errorf("%+v", f.Updates)
	}
	hours := []LikelyHour{{now.Truncate(time.Hour), "", 10, 0}, {ago(-1), "12", 40, 20}, {ago(-3), "14", 10, 5}, {ago(-5), "14", 40, 20}}
	for i := range f.Likely {
		f.Likely[i].Activations, f.Likely[i].Alerts = round(f.Likely[i].Activations), round(f.Likely[i].Alerts)
	}
	if !reflect.DeepEqual(f.Likely, hours) {
		t.Errorf("%+v", f.Likely)
	}
	if f.Activations != 0 || f.Alerts != 0 || len(f.Hours) != 0 {
		t.Errorf("what is estimated is among what was ordered: %+v", f)
	}
}

// What waits still counts among those that were not activated when they had waited so long; and a supplier of
// which too little is known waits as all do.
func TestSharesOf(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	shares := sharesOf([]Waiting{{"M", "12", "A", true, now.Add(-2 * time.Hour), 100}, {"M", "12", "B", true, now, 1}},
		[]Wait{{"A", true, 1, 50}, {"A", true, 3, 50}, {"B", true, 1, minWaits - 1}}, now)
	if got, want := shares[known{"A", true}], []float64{0, .25, 0, 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("A: %v", got)
	}
	if got, want := shares[known{"B", true}], []float64{0, 99. / 249, 0, 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("B: %v", got)
	}
	if got := sharesOf([]Waiting{{"M", "12", "B", true, now, 1}}, []Wait{{"B", true, 1, minWaits - 1}}, now); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
