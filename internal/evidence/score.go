package evidence

import "time"

// The constants of the score. None is measured on real alerts, which are not public: each is
// an assumption, with its reason. docs/outage-safety.md shows what comes of them in a simulation.
const (
	// near is how far apart the starts of one outage may be at several hubs: hubs round
	// their times, and their clocks differ by some seconds.
	near = 60 * time.Second

	// A hub that starts again after the supply failed would report nothing new. So neighbours
	// that lose power until later after the alert say that its supply is lost as well. Later
	// than that, the hub is back and would say so itself.
	later = 600 * time.Second

	// recent is how long after an activation the AD1 of a hub says nothing about the supply
	// of its neighbours: twice the longest known time, and twice again.
	recent = 2 * time.Hour

	// An average customer has a cut in two years. That is prior in two times near.
	prior = 1.9e-6
	// weight is how many hubs the prior counts for within a distributor. Of a distributor
	// alone the prior counts more, since its hubs have little to do with each other.
	weight = 1e3

	// A hub sends an AD1 three minutes after it lost power. These are the delays that are
	// believed; another one says that the hub's clock is wrong, and usualDelay is assumed.
	leastDelay = 100 * time.Second
	mostDelay  = 1200 * time.Second
	usualDelay = 200 * time.Second

	// No AD1 of an activation can come sooner: three minutes, less some seconds for clocks.
	earliest = 165 * time.Second
	// distinct is how far apart the starts of two outages of one hub are at least. Two
	// messages about one outage may differ by less.
	distinct = 90 * time.Second

	// What is learned of when a model loses power: bins of binWidth from the activation on.
	binWidth = 15 * time.Second
	binCount = 120
	learned  = 0.97                            // the rest may come at any time: clocks, slow meters
	flat     = (1 - learned) / (binCount * 15) // for each second
	pseudo   = 60.0                            // before anything is learned each bin counts half an AD1
	swaps    = 0.05 / (365.25 * 24 * 3600)     // hubs that are unplugged, for each hub and second: one in 20 years
	tooEarly = 0.01                            // an activation that looks too early to be the cause is it in 1 of 100 cases: its time is wrong
	notRun   = 0.001                           // a meter that says that it did not run is wrong in 1 of 1,000 cases
	second   = 0.05                            // of the activations with one reboot, 1 of 20 have two
	hit      = 0.8                             // of the hubs in an area that loses supply, the share that says so
	mostHit  = 0.95                            // later neighbours alone are never surer than 19 to 1

	// A home that is heard soon after has supply. heardSoon is a bit over the longest reboot,
	// and few real cuts are that short.
	heardSoon   = 1000 * time.Second
	soonFactor  = 0.15
	silence     = 15 * time.Minute // silent for so long counts
	silentReal  = 0.6              // of the homes with a real cut, how many are silent for so long
	silentFalse = 1.02             // less the learned share that is heard: even if that is all, 0.02 are silent
	heardWithin = 20 * time.Minute // that share is of what is heard within so long

	// A restoration alert is about an alert if it says that the outage began at about the same
	// time, or soon after and there is no other AD1 that it may be about.
	matchNear    = 120 * time.Second
	matchLater   = 900 * time.Second
	restoredReal = 0.4              // of real cuts, the share with such an alert that looks like a reboot; and about as many have a longer one
	longReboot   = 20 * time.Minute // no reboot lasts that long
	longShare    = 0.003            // of the restoration alerts after reboots, the share that looks long or early: clocks
	longLeast    = 1e-6             // and at least so many of the reboots
	unrestored   = 0.12             // of real cuts, the share without any within a day: some are lost

	strongFrom, weakFrom = 9, 1 // odds: 9 of 10 and 1 of 2 are genuine
)

// maxOfHub is how many outages, activations, restorations and failures of activations are kept of one
// hub. What comes beyond is left out, and an entry whose outage is left out has no assessment. No home
// has as many within a day, and the work that one more makes grows with those that are there.
const maxOfHub = 50

// How long after an alert its stages are, and when all ends.
const (
	after5  = 5 * time.Minute
	after15 = 15 * time.Minute
	after24 = 24 * time.Hour
	keep    = 26 * time.Hour
)

// level returns the level of odds.
func level(odds float64) Level {
	switch {
	case odds >= strongFrom:
		return Strong
	case odds >= weakFrom:
		return Weak
	}
	return None
}

// affected estimates the share of hubs around that lost power, from the smallest areas that
// are known. Each area's estimate is the prior of the one within it.
func affected(f *Facts, postcode, sector, distributor Count) float64 {
	if !f.HasPostcode && !f.HasSector {
		return (float64(distributor.K) + prior*weight) / (float64(distributor.N) + weight)
	}
	p := prior
	if f.HasSector {
		p = (float64(sector.K) + p) / float64(sector.N+1)
	}
	if f.HasPostcode {
		p = (float64(postcode.K) + p) / float64(postcode.N+1)
	}
	return p
}

// base returns the odds by neighbours and timing: how fast real cuts take out hubs around,
// against how fast this model reboots at this second.
func (f *Facts) base(reboots float64) float64 {
	c := 1.0
	if f.TooEarly {
		c *= tooEarly
	}
	if f.NotRun != "" || f.OnlyRequested {
		c *= notRun
	}
	if f.Second {
		c *= second
	}
	odds := affected(f, f.Postcode, f.Sector, f.Distributor) / (2 * near.Seconds()) / (reboots*c + swaps)
	if !f.Again {
		m := min(affected(f, f.LaterPostcode, f.LaterSector, f.LaterDistributor)/hit, mostHit)
		odds += m / (1 - m)
	}
	return odds
}

// restoration returns the factor of what is known of a restoration, for a model that sends one
// after the share q of its reboots.
func (f *Facts) restoration(q float64, final bool) float64 {
	switch {
	case f.Restored && f.RestoredLong:
		return restoredReal / (longShare*q + longLeast)
	case f.Restored:
		return restoredReal / q
	case final:
		return unrestored
	}
	return 1
}

// hearing returns the factor of whether the home was heard again, for a model of whose homes
// the share heard is heard soon after a reboot. Silence does not count at the end: by then
// whether there was a restoration alert says more, and both depend on how long the outage was.
func (f *Facts) hearing(heard float64, final bool) float64 {
	switch {
	case f.Heard > 0 && f.Heard <= heardSoon:
		return soonFactor
	case f.Silent && !final:
		return silentReal / (silentFalse - heard)
	}
	return 1
}
