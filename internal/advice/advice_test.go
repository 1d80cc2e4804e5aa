package advice

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"quell/internal/evidence"
	"quell/internal/outage"
)

// naiveAtLeast sums the binomial distribution with big numbers.
func naiveAtLeast(k, n int, p float64) float64 {
	sum := new(big.Float).SetPrec(300)
	for i := max(k, 0); i <= n; i++ {
		term := new(big.Float).SetPrec(300).SetInt(new(big.Int).Binomial(int64(n), int64(i)))
		for range i {
			term.Mul(term, big.NewFloat(p))
		}
		for range n - i {
			term.Mul(term, new(big.Float).Sub(big.NewFloat(1).SetPrec(300), big.NewFloat(p)))
		}
		sum.Add(sum, term)
	}
	v, _ := sum.Float64()
	return v
}

func TestBinomial(t *testing.T) {
	near := func(got, want float64) bool { return math.Abs(got-want) <= 1e-9*want+1e-15 }
	for _, n := range []int{1, 2, 7, 60, 110} {
		for _, p := range []float64{1e-6, 0.01, 0.3, 0.5, 0.99} {
			for k := -1; k <= n+1; k++ {
				if got, want := atLeast(k, n, p), naiveAtLeast(k, n, p); !near(got, want) {
					t.Fatalf("atLeast(%d, %d, %g) is %g, not %g", k, n, p, got, want)
				}
				// The others are those of which the complement fails.
				if got, want := atMost(k, n, p), naiveAtLeast(n-k, n, 1-p); math.Abs(got-want) > 1e-7*want+1e-13 {
					t.Fatalf("atMost(%d, %d, %g) is %g, not %g", k, n, p, got, want)
				}
			}
		}
	}
	for _, c := range []struct{ got, want float64 }{{atLeast(3, 10, 0), 0}, {atLeast(3, 10, 1), 1}, {atMost(3, 10, 0), 1}, {atMost(3, 10, 1), 0}, {atMost(10, 10, 1), 1}} {
		if c.got != c.want {
			t.Errorf("%g, not %g", c.got, c.want)
		}
	}
	// Millions take no time, and the far tail is 0 and no nonsense.
	if p := atLeast(900_000, 1_000_000, 0.01); p != 0 {
		t.Errorf("%g", p)
	}
	if p := atLeast(10_000, 1_000_000, 0.01); p < 0.49 || p > 0.51 {
		t.Errorf("%g", p)
	}
}

// The ends of Wilson's interval are the shares from which k of n is as far away, in standard
// deviations of that share, as an interval of 95 % allows.
func TestWilson(t *testing.T) {
	for _, n := range []int{1, 10, 250, 1_000_000} {
		for _, k := range []int{0, 1, n / 3, n - 1, n} {
			low, high := wilson(k, n)
			share := float64(k) / float64(n)
			for _, p := range []float64{low, high} {
				far := math.Abs(share-p) / math.Sqrt(p*(1-p)/float64(n))
				if p != share && math.Abs(far-1.959964) > 1e-4 {
					t.Errorf("%d of %d: %g is %g standard deviations away", k, n, p, far)
				}
			}
			if low > share || high < share || low == high || low < 0 || high > 1 {
				t.Errorf("%d of %d: %g to %g", k, n, low, high)
			}
		}
	}
	if low, high := wilson(0, 0); low != 0 || high != 1 {
		t.Errorf("%g to %g", low, high)
	}
}

// The limit of a rate holds in at least 97 of 100 samples.
func TestUpperRate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 0))
	for _, mean := range []float64{0.5, 3, 20, 400} {
		const runs = 4000
		under := 0
		for range runs {
			if upperRate(poisson(rnd, mean)) < mean {
				under++
			}
		}
		if share := float64(under) / runs; share > 0.033 {
			t.Errorf("mean %g: the limit is too low in %g of the samples", mean, share)
		}
	}
}

// Of the hypotheses that are rejected, as many are wrong on average as the level allows, and
// nearly as many: a rule without ranks, or one that ignores how many are tested, is found.
func TestDiscoveries(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 0))
	const runs, q = 4000, 0.1
	share, power := 0.0, 0.0
	for range runs {
		ps := make([]float64, 40)
		for i := range ps {
			ps[i] = rnd.Float64()
			if i < 10 {
				ps[i] = math.Pow(ps[i], 12) // not by chance
			}
		}
		wrong, right := 0, 0
		for i, found := range discoveries(ps, q) {
			switch {
			case found && i < 10:
				right++
			case found:
				wrong++
			}
		}
		share += float64(wrong) / float64(max(1, wrong+right)) / runs
		power += float64(right) / 10 / runs
	}
	if limit := q * 30 / 40; share > limit*1.1 || share < limit*0.9 {
		t.Errorf("%g of the discoveries are wrong, not %g", share, limit)
	}
	if power < 0.6 {
		t.Errorf("only %g of what is there is found", power)
	}
	if got := discoveries(nil, q); len(got) != 0 {
		t.Error(got)
	}
	// By hand: the third rank saves the second.
	if got := discoveries([]float64{0.5, 0.01, 0.07, 0.04}, 0.1); !slices.Equal(got, []bool{false, true, true, true}) {
		t.Error(got)
	}
}

func poisson(rnd *rand.Rand, mean float64) int {
	n := 0
	for t := rnd.ExpFloat64(); t < mean; t += rnd.ExpFloat64() {
		n++
	}
	return n
}

func binomial(rnd *rand.Rand, n int, p float64) (k int) {
	for range n {
		if rnd.Float64() < p {
			k++
		}
	}
	return k
}

// quiet is a base rate of an AD1 a hub in twenty years, of 100,000 hubs in a month.
var quiet = Base{Alerts: 411, HubMinutes: 100_000 * 30 * 24 * 60}

// TestListSimulated simulates systems whose truth is known: groups of meters of which most
// raise no more AD1s than others or just as many as divides the list from the rest, some raise
// more, and listed ones of which some raise none. The share of wrong advice stays below its level.
func TestListSimulated(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 0))
	const runs = 300
	wrongAdd, wrongRemove, found, there := 0.0, 0.0, 0, 0
	for range runs {
		var groups []Group
		truth := map[string]float64{}
		for i := range 40 {
			model := string(rune('a'+i/10)) + string(rune('a'+i%10))
			share := []float64{worth, worth, worth, worth, worth, worth, 0.003, quiet.PerMinute() * window, 0.05, 0.9}[rnd.IntN(10)]
			n := 20 + rnd.IntN(1500)
			truth[model] = share
			groups = append(groups, Group{Model: model, Tracked: i%2 == 0, Activations: n, Alerts: binomial(rnd, n, share)})
		}
		l := AdviseList(groups, quiet)
		wrong := func(list []Finding, is func(share float64) bool) float64 {
			n := 0
			for _, f := range list {
				if is(truth[f.Model]) {
					n++
				}
			}
			return float64(n) / float64(max(1, len(list))) / runs
		}
		wrongAdd += wrong(l.Add, func(share float64) bool { return share <= worth })
		wrongRemove += wrong(l.Remove, func(share float64) bool { return share >= worth })
		for _, g := range groups {
			if !g.Tracked && g.Activations >= 100 && truth[g.Model] >= 0.05 {
				there++
				if slices.ContainsFunc(l.Add, func(f Finding) bool { return f.Model == g.Model }) {
					found++
				}
			}
		}
	}
	if wrongAdd > FalseShare || wrongRemove > FalseShare {
		t.Errorf("wrong additions %g, wrong removals %g: more than %g", wrongAdd, wrongRemove, FalseShare)
	}
	if power := float64(found) / float64(there); power < 0.8 {
		t.Errorf("only %g of the groups that belong in the list are found", power)
	}
	t.Logf("wrong additions %.4f, wrong removals %.4f, found %d of %d", wrongAdd, wrongRemove, found, there)
}

func TestAdviseList(t *testing.T) {
	for _, c := range []struct {
		name        string
		groups      []Group
		base        Base
		add, remove []string
		tooFew      int
	}{
		{"nothing", nil, quiet, nil, nil, 0},
		{"each activation", []Group{{"M", "", false, 60, 55}}, quiet, []string{"M"}, nil, 0},
		{"too few activations", []Group{{"M", "", false, 49, 49}}, quiet, nil, nil, 1},
		{"too few AD1s", []Group{{"M", "", false, 50, 4}}, quiet, nil, nil, 0},
		{"just enough", []Group{{"M", "", false, 50, 5}}, quiet, []string{"M"}, nil, 0},
		{"listed already", []Group{{"M", "", true, 1000, 950}}, quiet, nil, nil, 0},
		{"by chance", []Group{{"M", "", false, 1000, 10}}, quiet, nil, nil, 0},
		{"more often than others, but too seldom", []Group{{"M", "", false, 1_000_000, 5_000}}, quiet, nil, nil, 0},
		{"never", []Group{{"M", "", true, 400, 0}}, quiet, nil, []string{"M"}, 0},
		{"never, but that says little", []Group{{"M", "", true, 200, 0}}, quiet, nil, nil, 0},
		{"hardly ever", []Group{{"M", "", true, 100_000, 500}}, quiet, nil, []string{"M"}, 0},
		{"nobody watched the others", []Group{{"M", "", false, 60, 55}, {"N", "", true, 5000, 0}}, Base{}, nil, nil, 0},
		{"a storm all the time", []Group{{"M", "", false, 1000, 50}}, Base{Alerts: 200_000, HubMinutes: 100e6}, nil, nil, 0},
		{"one version of a model", []Group{{"M", "good", false, 1000, 0}, {"M", "bad", false, 100, 90}}, quiet, []string{"M", "M bad"}, nil, 0},
		{"the only version of a model", []Group{{"M", "bad", false, 100, 90}}, quiet, []string{"M"}, nil, 0},
		{"some versions are not known", []Group{{"M", "", false, 100, 90}, {"M", "bad", false, 100, 90}}, quiet, []string{"M", "M bad"}, nil, 0},
		{"tracked and not", []Group{{"M", "x", false, 100, 90}, {"M", "y", true, 1000, 0}}, quiet, []string{"M"}, []string{"M"}, 0},
	} {
		l := AdviseList(c.groups, c.base)
		names := func(list []Finding) (names []string) {
			for _, f := range list {
				name := f.Model
				if f.Firmware != "" {
					name += " " + f.Firmware
				}
				names = append(names, name)
			}
			return names
		}
		if !slices.Equal(names(l.Add), c.add) || !slices.Equal(names(l.Remove), c.remove) || l.TooFew != c.tooFew {
			t.Errorf("%s: add %v, remove %v, too few %d", c.name, names(l.Add), names(l.Remove), l.TooFew)
		}
		if l.NoBaseRate != (c.base.HubMinutes == 0) {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
}

// bins spreads n AD1s over the bins from one time to another.
func bins(n int, from, to time.Duration) []int {
	list := make([]int, 120)
	first, last := int(from/Bin), int(to/Bin)
	for i := range n {
		list[first+i%(last-first)]++
	}
	return list
}

func assessed(string) (from, to time.Duration) { return 0, 30 * time.Minute }

func TestAdviseWindows(t *testing.T) {
	base := Base{Alerts: 60, HubMinutes: 1e6} // 6 in 100,000 hub-minutes
	for _, c := range []struct {
		name    string
		bins    []int
		from    int // of the learned window, in seconds; -1: none
		to      int
		removed float64
	}{
		{"one too few", bins(MinWindowAlerts-1, 5*time.Minute, 6*time.Minute), -1, 0, 0},
		{"just enough", bins(MinWindowAlerts, 5*time.Minute, 6*time.Minute), 165, 390, MinWindowAlerts},
		{"all too early", bins(1000, 0, time.Minute), -1, 0, 0},
		{"some too early", append(append([]int{10: 100}, make([]int, 9)...), append([]int{900}, make([]int, 99)...)...), 165, 345, 900},
		{"a long tail", func() []int { b := bins(9900, 4*time.Minute, 10*time.Minute); b[100] = 99; b[119] = 1; return b }(), 165, 10*60 + 30, 9900},
		{"one in a hundred is late", func() []int { b := bins(9900, 4*time.Minute, 10*time.Minute); b[100] = 101; return b }(), 165, 101*15 + 30, 10001},
	} {
		list := AdviseWindows([]Times{{Model: "M", Activations: 20_000, Bins: c.bins}}, base, assessed)
		w := list[0]
		if (w.Learned == nil) != (c.from < 0) {
			t.Errorf("%s: %+v", c.name, w.Learned)
			continue
		}
		if l := w.Learned; l != nil && (l.From != c.from || l.To != c.to || math.Abs(l.Removed-c.removed) > 1e-6) {
			t.Errorf("%s: %+v", c.name, l)
		}
		if got, want := w.Now.Hidden, 6e-5*30*20_000; math.Abs(got-want) > 1e-9*want {
			t.Errorf("%s: a window of 30 minutes hides %g, not %g", c.name, got, want)
		}
		if len(w.Curve) != MaxMinutes || w.Curve[29] != w.Now {
			t.Errorf("%s: the curve has %d windows; that of 30 minutes is %+v", c.name, len(w.Curve), w.Curve[29])
		}
	}
}

// A longer window removes no fewer and hides more; each share is between 0 and 1; and the learned
// window reaches 99 of 100 AD1s that do not come too early.
func TestWindowProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 0))
	for range 300 {
		b := make([]int, 120)
		early := 0
		for range rnd.IntN(3000) {
			i := min(max(int(24+rnd.NormFloat64()*12), 0), 119)
			b[i]++
			if time.Duration(i)*Bin < Earliest {
				early++
			}
		}
		times := Times{Model: "M", Activations: 5000, Bins: b}
		w := AdviseWindows([]Times{times}, quiet, assessed)[0]
		for i, c := range w.Curve {
			if c.Share < 0 || c.Share > 1+1e-9 || i > 0 && (c.Removed < w.Curve[i-1].Removed || c.Hidden <= w.Curve[i-1].Hidden) {
				t.Fatalf("%d minutes: %+v after %+v", i+1, c, w.Curve[max(i-1, 0)])
			}
		}
		if w.Alerts > 0 && w.Curve[MaxMinutes-1].Removed != float64(w.Alerts) {
			t.Fatalf("the longest window removes %g of %d", w.Curve[MaxMinutes-1].Removed, w.Alerts)
		}
		if l := w.Learned; l != nil && l.Removed < 0.99*float64(w.Alerts)-float64(early)-1e-6 {
			t.Fatalf("%+v of %d, %d of them early", l, w.Alerts, early)
		}
		if w.Alerts >= MinWindowAlerts && w.Learned == nil {
			t.Fatalf("%d AD1s, and no window", w.Alerts)
		}
	}
}

func TestExpect(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 20, 0, 0, time.UTC)
	at := func(hour, minute int) time.Time { return time.Date(2026, 3, 1, hour, minute, 0, 0, time.UTC) }
	// Half of the activations of M have an AD1 after 5 minutes, of these half after 10.
	m := Times{Model: "M", Activations: 100, Bins: []int{20: 25, 40: 25}}
	f := Expect(now, 24, []Pending{
		{"M", "12", at(12, 0), 40},
		{"M", "14", at(12, 0), 20},
		{"M", "12", at(11, 52), 40},  // at 11:57 and 12:02
		{"M", "12", at(10, 13), 40},  // at 10:18, which is over, and 10:23
		{"new", "", at(13, 0), 10},   // counts as one AD1 each
		{"M", "12", at(34, 0), 1000}, // after the end
	}, []Times{m})
	want := []Hour{
		{at(10, 0), "12", 0, 10}, {at(11, 0), "12", 40, 10}, {at(12, 0), "12", 40, 30}, {at(12, 0), "14", 20, 10}, {at(13, 0), "", 10, 10},
	}
	if !slices.Equal(f.Hours, want) {
		t.Errorf("%+v", f.Hours)
	}
	if f.Activations != 110 || f.Alerts != 70 || f.Unlearned != 10 || !f.Until.Equal(at(34, 0)) {
		t.Errorf("%+v", f)
	}
	if f := Expect(now, 24, []Pending{{"new", "12", at(11, 0), 7}}, nil); f.Alerts != 7 || len(f.Hours) != 1 {
		t.Errorf("%+v", f)
	}
	if f := Expect(now, 24, nil, nil); f.Hours == nil || f.Alerts != 0 {
		t.Errorf("%+v", f)
	}
}

func TestLearned(t *testing.T) {
	l := &evidence.Learning{Quiet: map[string]int{"2026-02-27": 50, "2026-02-28": 3, "2026-03-02": 4, "2026-03-03": 60}}
	if got, want := BaseOf(l, 1000), (Base{Alerts: 7, HubMinutes: 3 * 24 * 60 * 1000}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
	if got := BaseOf(&evidence.Learning{Quiet: map[string]int{"2026-02-27": 50, "2026-02-28": 3}}, 1000); got != (Base{}) {
		t.Errorf("%+v of days that are not whole", got)
	}
	l.Models = map[evidence.Model]*evidence.Behaviour{"N": {Activations: 3}, "M": {Activations: 9, AD1s: 2}}
	l.Models["M"].Came[7], l.Models["M"].Bins[5] = 2, 2
	l.Rates = []*evidence.Rate{{Model: "M", Firmware: "f", Tracked: true, Activations: 9, AD1s: 2}}
	times := TimesOf(l)
	if len(times) != 2 || times[0].Model != "M" || times[0].Activations != 9 || times[0].Bins[7] != 2 || times[0].Bins[5] != 0 || len(times[0].Bins) != 120 {
		t.Errorf("%+v", times)
	}
	if got, want := GroupsOf(l), []Group{{"M", "f", true, 9, 2}}; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// A home is asked about from five minutes after its alert on, for a day, unless it was heard of
// since; and if nothing can be told of it, once it has been silent for too long.
func TestWorthAsking(t *testing.T) {
	weak, none, strong := evidence.Weak, evidence.None, evidence.Strong
	silent := evidence.Facts{Silent: true}
	for _, c := range []struct {
		level evidence.Level
		facts evidence.Facts
		age   time.Duration
		want  bool
	}{
		{weak, evidence.Facts{}, askAfter - 1, false}, {weak, evidence.Facts{}, askAfter, true},
		{weak, evidence.Facts{}, askFor - 1, true}, {weak, evidence.Facts{}, askFor, false},
		{weak, evidence.Facts{HasPostcode: true}, time.Hour, true},
		{weak, evidence.Facts{Restored: true}, time.Hour, false}, {weak, evidence.Facts{Heard: 1}, time.Hour, false},
		{none, evidence.Facts{}, time.Hour, false}, {none, silent, time.Hour, true}, {none, silent, askAfter - 1, false},
		{none, evidence.Facts{Silent: true, HasSector: true}, time.Hour, false}, {none, evidence.Facts{Silent: true, HasPostcode: true}, time.Hour, false},
		{none, evidence.Facts{Silent: true, Heard: 1}, time.Hour, false},
		{strong, silent, time.Hour, false}, // there is no doubt
	} {
		now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
		if got := WorthAsking(&evidence.Assessment{Level: c.level, Facts: c.facts}, now.Add(-c.age), now); got != c.want {
			t.Errorf("%s, %+v, %s: %v", c.level, c.facts, c.age, got)
		}
	}
}

// While a clock was wrong for some hours, AD1s were counted for days of another year. These do not make
// the time any longer in which the others came.
func TestBaseClockWasWrong(t *testing.T) {
	e := evidence.New(evidence.Options{Hubs: func(evidence.Area) int { return 0 }})
	day := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	pass := func(at time.Time) {
		e.Add(evidence.Sighting{Kind: evidence.Lost, Received: at, Start: at.Add(-3 * time.Minute), Home: evidence.Home{Hub: outage.DeviceID(at.Unix())}})
		e.Advance(at.Add(3 * time.Hour))
	}
	restart := func(until time.Time) {
		l := e.Learning()
		l.Until = until // as package assess does when the clock is right again
		e = evidence.New(evidence.Options{Hubs: func(evidence.Area) int { return 0 }})
		e.SetLearning(l)
	}
	pass(day.AddDate(-56, 0, 0)) // the machine began with a clock of 1970
	for n := range 5 {
		pass(day.AddDate(0, 0, n))
	}
	now := day.AddDate(0, 0, 4).Add(4 * time.Hour)
	pass(day.AddDate(1, 0, 0))
	restart(now)
	l := e.Learning()
	if got, want := BaseOf(l, 1000), (Base{Alerts: 3, HubMinutes: 3 * 24 * 60 * 1000}); got != want || len(l.Quiet) != 7 {
		t.Errorf("%+v, want %+v, of %v", got, want, l.Quiet)
	}
}
