package advice

import (
	"cmp"
	"slices"
)

// What list advice needs, and how sure it is.
const (
	// minActivations is how many activations of a group are needed before it is looked at: with
	// fewer, hardly any share is distinguishable from another.
	minActivations = 50
	// minAlerts is how many AD1s a group must have had before it is advised to list it: one
	// power cut can take out a few homes of a group at once.
	minAlerts = 5
	// worth is the share of activations with an AD1 that divides those that belong in the list
	// from the others, unless the base rate is higher. A meter that really cuts its hub's power
	// does so at nearly each activation. Below one in a hundred, a window would hide genuine
	// outages for little. A storm at the time of a campaign may raise the share of a harmless
	// group, but hardly above this.
	worth = 0.01
	// FalseShare is which share of the advised changes may be wrong, as far as chance goes: the
	// level at which the false-discovery rate is controlled, of additions and removals each.
	FalseShare = 0.05
)

// A Group is what was seen of meters that have something in common. Firmware is the hash of the
// image that was activated, "" if that is not known.
type Group struct {
	Model       string
	Firmware    string
	Tracked     bool // their activations opened windows
	Activations int
	Alerts      int // activations with an AD1 of the hub within 30 minutes
}

// A Base is what was seen of hubs that had neither a window nor a recent activation.
type Base struct {
	Alerts     int
	HubMinutes float64
}

// PerMinute is the rate of AD1s of a hub. It is 0 if nothing was seen.
func (b Base) PerMinute() float64 {
	if b.HubMinutes <= 0 {
		return 0
	}
	return float64(b.Alerts) / b.HubMinutes
}

// window is after how many minutes an AD1 no longer counts as one that follows an activation.
const window = 30

// limit returns the share of activations that a genuine AD1 follows within 30 minutes by chance:
// an upper limit, since the rate is known from few AD1s at first.
func (b Base) limit() float64 {
	if b.HubMinutes <= 0 {
		return 1
	}
	return min(1, upperRate(b.Alerts)*window/b.HubMinutes)
}

// A Finding is a group that is advised to be listed, or no longer to be.
type Finding struct {
	Model       string  `json:"model"`
	Firmware    string  `json:"firmware,omitempty"` // "": all that the model has
	Activations int     `json:"activations"`
	Alerts      int     `json:"alerts"`
	Share       float64 `json:"share"` // alerts of activations
	Low         float64 `json:"low"`   // of the share: Wilson's interval, at 95 %
	High        float64 `json:"high"`
	P           float64 `json:"p"` // how probable that many, or that few, AD1s would be at the share that divides the two
}

// List is what is advised about the list of meters.
type List struct {
	Add    []Finding `json:"add"`    // not tracked, but AD1s follow their activations
	Remove []Finding `json:"remove"` // tracked, but no AD1s follow

	BaseShare  float64 `json:"base_share"`   // of activations, how many a genuine AD1 follows by chance, at most
	Groups     int     `json:"groups"`       // models and versions that were compared
	TooFew     int     `json:"too_few"`      // those that had too few activations
	NoBaseRate bool    `json:"no_base_rate"` // no hub without a window was watched, so nothing can be compared
}

// AdviseList compares the groups, and each model as a whole, with the base rate. It advises to
// list those that are not tracked, and whose share of activations with an AD1 is significantly
// above the base rate and above what is worth a window. It advises no longer to list those that
// are tracked, and whose share is significantly below that.
func AdviseList(groups []Group, base Base) List {
	l := List{Add: []Finding{}, Remove: []Finding{}, BaseShare: base.limit(), NoBaseRate: base.HubMinutes <= 0}
	var add, remove []Finding
	for _, g := range withWholeModels(groups) {
		if g.Activations < minActivations {
			l.TooFew++
			continue
		}
		l.Groups++
		low, high := wilson(g.Alerts, g.Activations)
		f := Finding{Model: g.Model, Firmware: g.Firmware, Activations: g.Activations, Alerts: g.Alerts, Share: float64(g.Alerts) / float64(g.Activations), Low: low, High: high}
		if g.Tracked {
			f.P = atMost(g.Alerts, g.Activations, worth)
			remove = append(remove, f)
		} else {
			f.P = atLeast(g.Alerts, g.Activations, max(worth, l.BaseShare))
			add = append(add, f)
		}
	}
	if l.NoBaseRate {
		return l
	}
	for i, found := range discoveries(chances(add), FalseShare) {
		if f := add[i]; found && f.Alerts >= minAlerts {
			l.Add = append(l.Add, f)
		}
	}
	for i, found := range discoveries(chances(remove), FalseShare) {
		if found {
			l.Remove = append(l.Remove, remove[i])
		}
	}
	return l
}

func chances(list []Finding) (ps []float64) {
	for _, f := range list {
		ps = append(ps, f.P)
	}
	return ps
}

// withWholeModels returns the groups in order, each model first as a whole if it has several
// versions.
func withWholeModels(groups []Group) (all []Group) {
	type key struct {
		model    string
		firmware string
		tracked  bool
	}
	sums := map[key]*Group{}
	versions := map[key]int{}
	sum := func(k key, g Group) {
		s := sums[k]
		if s == nil {
			s = &Group{Model: k.model, Firmware: k.firmware, Tracked: k.tracked}
			sums[k] = s
			versions[key{k.model, "", k.tracked}]++
		}
		s.Activations += g.Activations
		s.Alerts += min(g.Alerts, g.Activations)
	}
	for _, g := range groups {
		if g.Firmware != "" {
			sum(key{g.Model, g.Firmware, g.Tracked}, g)
		}
		sum(key{g.Model, "", g.Tracked}, g)
	}
	for k, s := range sums {
		if k.firmware != "" && versions[key{k.model, "", k.tracked}] == 2 && sums[key{k.model, "", k.tracked}].Activations == s.Activations {
			continue // the model has only this version
		}
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Group) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Firmware, b.Firmware), boolCompare(a.Tracked, b.Tracked))
	})
	return all
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
