package nation

import (
	"math"
	"time"

	"quell/internal/evidence"
)

// Detail says what the inventory knows of where homes are.
type Detail string

const (
	FullPostcode Detail = "full postcode"
	SectorOnly   Detail = "sector only"
	NoPlace      Detail = "no postcode"
)

// Moments are those at which precision and recall are measured.
var Moments = []struct {
	Name  string
	Stage evidence.Stage
}{{"+5 min", evidence.After5}, {"window's end", evidence.AtWindowEnd}, {"+24 h", evidence.Final}}

// Counts is what became of the suppressed alerts of some nights. All but Alerts and Genuine are weighted.
type Counts struct {
	Nights              int
	Alerts              int // false ones, unweighted
	Genuine             int // unweighted
	False, Real         float64
	TruePositive        [3]float64 // strong and genuine, at each moment
	FalsePositive       [3]float64
	CutSoon             [3]float64              // of the false positives, homes that were cut off soon after
	EverFalse           float64                 // false, and strong at any time
	Found               [Feeder + 1][3]float64  // as TruePositive, by size
	Sizes               [Feeder + 1]float64     // genuine ones
	FalseFar            [3]int                  // false positives that no fault is near to, unweighted
	Hidden, HiddenFound [3]float64              // cut off while rebooting
	Odds                [3][2][oddsBins]float64 // histogram of odds, false and genuine
}

// oddsBins: of the decimal logarithm of odds, from -8 to 8, 4 to each power.
const oddsBins = 64

// Add adds the counts of other nights.
func (c *Counts) Add(o *Counts) {
	c.Nights += o.Nights
	c.Alerts += o.Alerts
	c.Genuine += o.Genuine
	c.False += o.False
	c.Real += o.Real
	c.EverFalse += o.EverFalse
	for i := range 3 {
		c.TruePositive[i] += o.TruePositive[i]
		c.FalsePositive[i] += o.FalsePositive[i]
		c.FalseFar[i] += o.FalseFar[i]
		c.CutSoon[i] += o.CutSoon[i]
		c.Hidden[i] += o.Hidden[i]
		c.HiddenFound[i] += o.HiddenFound[i]
		for s := range c.Found {
			c.Found[s][i] += o.Found[s][i]
		}
		for k := range o.Odds[i] {
			for b := range o.Odds[i][k] {
				c.Odds[i][k][b] += o.Odds[i][k][b]
			}
		}
	}
	for s := range c.Sizes {
		c.Sizes[s] += o.Sizes[s]
	}
}

// Precision is the share of the strong alerts that are genuine at a moment; 1 if none is strong.
func (c *Counts) Precision(moment int) float64 {
	return share(c.TruePositive[moment], c.TruePositive[moment]+c.FalsePositive[moment])
}

// Without is the share of the strong alerts whose homes lost supply: with the outage that the
// alert is about, or within 15 minutes after it began.
func (c *Counts) Without(moment int) float64 {
	return share(c.TruePositive[moment]+c.CutSoon[moment], c.TruePositive[moment]+c.FalsePositive[moment])
}

// Recall is the share of the genuine alerts that are strong.
func (c *Counts) Recall(moment int) float64 { return share(c.TruePositive[moment], c.Real) }

func share(part, whole float64) float64 {
	if whole == 0 {
		return 1
	}
	return part / whole
}

// FalseReleases is how many of 1,000 false alerts were strong at any time.
func (c *Counts) FalseReleases() float64 { return 1000 * c.EverFalse / c.False }

// Run has an engine watch a night, with what it learned before, until all is final. It returns
// the engine, for what it has learned by then.
func (w *World) Run(n *Night, detail Detail, learned *evidence.Learning, each func(evidence.Assessment)) *evidence.Engine {
	e := evidence.New(evidence.Options{Hubs: w.Hubs})
	if learned != nil {
		e.SetLearning(learned)
	}
	next := 0
	for t := n.Begin.Add(-12 * time.Hour); t.Before(n.End.Add(30 * time.Hour)); t = t.Add(time.Minute) {
		for next < len(n.Sightings) && !n.Sightings[next].Received.After(t) {
			s := n.Sightings[next]
			if detail != FullPostcode {
				s.Home.Postcode = 0
			}
			if detail == NoPlace {
				s.Home.Sector = 0
			}
			e.Add(s)
			next++
		}
		for _, a := range e.Advance(t) {
			if each != nil {
				each(a)
			}
		}
	}
	return e
}

// Levels counts the suppressed alerts of a night by the level that they have in the end, if nothing was
// learned before. It counts each copy of an alert that was told to two users.
func (w *World) Levels(n *Night) map[evidence.Level]int {
	last := map[int64]evidence.Level{}
	w.Run(n, FullPostcode, nil, func(a evidence.Assessment) { last[a.Entry] = a.Level })
	levels := map[evidence.Level]int{}
	for _, level := range last {
		levels[level]++
	}
	return levels
}

// Measure counts a night.
func (w *World) Measure(s Scenario, n *Night, detail Detail, learned *evidence.Learning) *Counts {
	type seen struct {
		odds   [3]float64
		strong [3]bool
		ever   bool
	}
	all := map[int64]*seen{}
	for _, a := range n.Alerts {
		all[a.Entry] = new(seen)
	}
	w.Run(n, detail, learned, func(a evidence.Assessment) {
		x := all[a.Entry]
		if x == nil {
			return // a copy
		}
		x.ever = x.ever || a.Level == evidence.Strong
		for i, m := range Moments {
			if a.Stage == m.Stage {
				x.odds[i], x.strong[i] = a.Odds, a.Level == evidence.Strong
			}
		}
	})
	c := &Counts{Nights: 1}
	for _, a := range n.Alerts {
		x := all[a.Entry]
		weight := 1.0
		if a.Genuine || a.NearFault {
			weight = 1 / max(1, s.MoreFaults)
		}
		kind := 0
		if a.Genuine {
			kind = 1
			c.Genuine++
			c.Real += weight
			c.Sizes[a.Size] += weight
		} else {
			c.Alerts++
			c.False += weight
			if x.ever {
				c.EverFalse += weight
			}
		}
		for i := range 3 {
			c.Odds[i][kind][oddsBin(x.odds[i])] += weight
			if a.Hidden {
				c.Hidden[i] += weight
			}
			switch {
			case !x.strong[i]:
			case a.Genuine:
				c.TruePositive[i] += weight
				c.Found[a.Size][i] += weight
				if a.Hidden {
					c.HiddenFound[i] += weight
				}
			default:
				c.FalsePositive[i] += weight
				if a.CutSoon {
					c.CutSoon[i] += weight
				}
				if !a.NearFault {
					c.FalseFar[i]++
				}
			}
		}
	}
	return c
}

// oddsBin is the bin of odds in a histogram.
func oddsBin(odds float64) int {
	return int(min(max((math.Log10(odds)+8)*4, 0), oddsBins-1))
}
