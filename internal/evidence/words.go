package evidence

import (
	"fmt"
	"math"
	"time"
)

// Sentences say the facts of an assessment in plain words, the most important first.
func (a Assessment) Sentences() []string {
	f := &a.Facts
	var s []string
	say := func(format string, args ...any) { s = append(s, fmt.Sprintf(format, args...)) }
	around := func(c Count, where, when string) {
		if c.N > 0 {
			say("%s %s lost power %s.", c.of("hub"), where, when)
		}
	}

	where := "in the same postcode"
	if f.Group {
		where = "of the same group of the network operator"
	}
	const within, after = "within a minute", "one to ten minutes later"
	if !f.HasPostcode && !f.HasSector {
		around(f.Distributor, "of the same distributor", within)
		if f.LaterDistributor.K > 0 {
			around(f.LaterDistributor, "of the same distributor", after)
		}
		if !f.Restored && !f.Missing {
			say("The inventory has no postcode for this hub, so quell cannot tell before restoration.")
		}
	}
	if f.HasPostcode {
		around(f.Postcode, where, within)
	}
	if f.HasSector {
		around(f.Sector, "in the same postcode sector", within)
	}
	if f.LaterPostcode.K > 0 {
		around(f.LaterPostcode, where, after)
	}
	if f.LaterSector.K > 0 {
		around(f.LaterSector, "in the same postcode sector", after)
	}

	switch {
	case f.SinceActivation < 0:
		say("The outage began %s before the activation.", duration(-f.SinceActivation))
	case f.Share > 0:
		say("The outage began %s after the activation; this model reboots at that moment in %s activations.", duration(f.SinceActivation), oneOf(f.Share))
	}
	if f.ClockWrong {
		say("The start that the alert gives does not fit its arrival, so quell assumes that it began at %s.", clock(f.OutageStart))
	}
	if f.TooEarly {
		say("The alert came too early after the activation to be caused by it.")
	}
	if f.NotRun != "" {
		say("The activation did not run: %s.", f.NotRun)
	}
	if f.OnlyRequested {
		say("quell saw a Service Request for the activation, but no Signed Pre-Command.")
	}
	if f.Second {
		say("It is the second outage of this hub in the window.")
	}
	if f.Again {
		say("The hub had another outage later.")
	}

	switch {
	case f.Heard > 0:
		say("The home was heard again %s after the alert.", duration(f.Heard))
	case f.Silent:
		say("The home has not been heard since the alert.")
	}
	switch {
	case f.Restored:
		say("The meter says that the outage lasted from %s to %s, %s; this model sends such a restoration alert after %s reboots.",
			clock(f.RestoredStart), clock(f.RestoredEnd), duration(f.RestoredEnd.Sub(f.RestoredStart)), oneOf(f.RestoredShare))
		if f.RestoredLong {
			say("No reboot looks like that: it lasted too long, or began before the activation.")
		}
	case f.Missing:
		say("No restoration alert came within 24 hours.")
	}
	return s
}

// of is the count in words: "14 of 17 hubs", "None of 17 hubs".
func (c Count) of(what string) string {
	if c.N != 1 {
		what += "s"
	}
	if c.K == 0 {
		return fmt.Sprintf("None of %d %s", c.N, what)
	}
	return fmt.Sprintf("%d of %d %s", c.K, c.N, what)
}

// oneOf is a share in words: "1 of 400".
func oneOf(share float64) string {
	switch n := 1 / share; {
	case n < 1.5:
		return "almost all"
	case n < 20:
		return fmt.Sprintf("1 of %.0f", n)
	default:
		// Two digits are enough, and no more is known.
		scale := math.Pow(10, math.Floor(math.Log10(n))-1)
		return fmt.Sprintf("1 of %.0f", math.Round(n/scale)*scale)
	}
}

// duration is a time of some seconds to some days in words.
func duration(d time.Duration) string {
	unit := func(n int64, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %ss", n, one)
	}
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 120:
		return unit(s, "second")
	case s < 2*3600:
		return unit((s+30)/60, "minute")
	case s%3600 < 60 || s >= 48*3600:
		return unit((s+1800)/3600, "hour")
	}
	return unit(s/3600, "hour") + " " + unit(s%3600/60, "minute")
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") }
