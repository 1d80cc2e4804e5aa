package liveness

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// system is a simulated node, minute by minute.
type system struct {
	t *testing.T
	w Watch
	s Sample
	// What has changed, as "+alerts-stopped".
	log []string
}

func newSystem(t *testing.T) *system {
	return &system{t: t, s: Sample{At: start, Nodes: 1, Alerts: 1000, Northbound: 5000, Entries: 70}}
}

// run lets minutes pass, in each of which change may count something.
func (x *system) run(minutes int, change func(minute int)) {
	for i := range minutes {
		if change != nil {
			change(i)
		}
		x.s.At = x.s.At.Add(Every)
		for _, c := range x.w.Add(x.s) {
			x.log = append(x.log, map[bool]string{true: "+", false: "-"}[c.Raised]+string(c.Condition))
			if c.Text == "" || strings.Contains(c.Text, "%!") {
				x.t.Errorf("%+v", c)
			}
		}
		n := 0
		for _, c := range All {
			if x.w.Raised(c) {
				n++
			}
		}
		if n != len(x.w.Conditions()) {
			x.t.Fatalf("%d raised, %q", n, x.w.Conditions())
		}
	}
}

func (x *system) want(log string) {
	x.t.Helper()
	if got := strings.Join(x.log, " "); got != log {
		x.t.Errorf("%s: %q, not %q", x.s.At.Sub(start), got, log)
	}
	x.log = nil
}

// alerts counts n AD1s in each minute.
func (x *system) alerts(n uint64) func(int) {
	return func(int) { x.s.Alerts, x.s.Northbound = x.s.Alerts+n, x.s.Northbound+10*n }
}

// A system in which nothing happens raises no alarm, however long.
func TestIdle(t *testing.T) {
	x := newSystem(t)
	x.run(3*24*60, nil)
	x.want("")
	x.run(24*60, func(m int) { // a few
		if m%40 == 0 {
			x.s.Alerts++
		}
	})
	x.run(24*60, nil)
	x.want("")
}

func TestCampaignWithoutAlerts(t *testing.T) {
	x := newSystem(t)
	x.run(60, x.alerts(1))
	x.run(44, func(int) { x.s.Campaign = Campaign })
	x.want("") // an AD1 came within 45 minutes
	x.run(1, nil)
	x.want("+no-alerts-in-campaign")
	x.run(20, func(int) { x.s.Campaign = campaignOver })
	x.want("")
	x.run(1, func(int) { x.s.Campaign-- })
	x.want("-no-alerts-in-campaign")
	x.run(20, func(int) { x.s.Campaign = Campaign - 1 })
	x.want("")
	x.run(1, func(int) { x.s.Campaign++ })
	x.run(1, x.alerts(1))
	x.want("+no-alerts-in-campaign -no-alerts-in-campaign")
}

// One that was suppressed at another node counts.
func TestCampaignElsewhere(t *testing.T) {
	x := newSystem(t)
	x.run(300, func(m int) {
		x.s.Campaign = Campaign
		if m%44 == 0 {
			x.s.Entries++
		}
	})
	x.want("")
}

// A node that has just started does not know what came before.
func TestCampaignAfterStart(t *testing.T) {
	x := newSystem(t)
	x.run(44, func(int) { x.s.Campaign = Campaign })
	x.want("")
	x.run(1, nil)
	x.want("+no-alerts-in-campaign")
}

func TestMoreThanWindows(t *testing.T) {
	x := newSystem(t)
	x.s.Windows = 100
	x.run(30, func(int) { x.s.Entries += 13 })
	x.want("") // 377 within half an hour
	x.run(1, func(int) { x.s.Entries += 13 + 10 })
	x.want("") // 400: the limit
	x.run(1, func(int) { x.s.Entries += 14 })
	x.want("+more-suppressed-than-windows")
	if text := x.w.Conditions()[0]; !strings.HasPrefix(text, "401 alerts were suppressed within 30 minutes, but 100 windows were open") {
		t.Error(text)
	}
	x.run(9, nil)
	x.want("") // 284: between the thresholds
	x.run(4, nil)
	x.want("-more-suppressed-than-windows")
}

// A night in a town with a campaign, with two users and repeated outages, is none of that.
func TestUsualCampaign(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 0))
	x := newSystem(t)
	var windows, entries []int
	sum := func(list []int, n int) (sum int) {
		for _, v := range list[max(0, len(list)-n):] {
			sum += v
		}
		return sum
	}
	for range 24 * 60 {
		n := rnd.IntN(400) * rnd.IntN(2)
		windows = append(windows, n)
		old := 0
		if len(windows) > 5 {
			old = windows[len(windows)-6]
		}
		entries = append(entries, old*2+old/5)
		x.run(1, func(int) {
			x.s.Entries += int64(entries[len(entries)-1])
			x.s.Alerts += uint64(entries[len(entries)-1])
			x.s.Campaign = min(Campaign, sum(windows, 45)-sum(windows, 15))
			x.s.Windows = sum(windows, 60)
		})
	}
	x.want("")
}

func TestFeedStops(t *testing.T) {
	x := newSystem(t)
	x.run(25*60, x.alerts(1))
	x.run(59, nil)
	x.want("")
	x.run(17, nil) // slots began with the first sample
	x.want("+alerts-stopped")
	x.run(3*24*60, nil) // a silence does not become usual
	x.want("")
	x.run(1, x.alerts(1))
	x.want("-alerts-stopped")
	x.run(59, nil)
	x.want("")
}

// Less than a day is not enough to know what is usual.
func TestFeedStopsEarly(t *testing.T) {
	x := newSystem(t)
	x.run(22*60, x.alerts(20))
	x.run(90, nil)
	x.want("")
}

// After a storm it is quiet again, which is usual; and so are nights in which hardly any come.
func TestStormAndNight(t *testing.T) {
	x := newSystem(t)
	x.run(24*60, nil)
	x.run(9*60, x.alerts(500))
	x.run(24*60, nil)
	for range 5 {
		x.run(16*60, x.alerts(20))
		x.run(8*60, nil)
	}
	x.want("")
}

// If a load balancer sends everything to other nodes, nothing is wrong. If only AD1s stop, it is.
func TestOtherNodes(t *testing.T) {
	x := newSystem(t)
	x.s.Nodes = 3
	x.run(25*60, x.alerts(1))
	x.run(5*60, nil)
	x.want("")
	x.run(25*60, x.alerts(1))
	x.run(5*60, func(int) { x.s.Northbound++ })
	x.want("+alerts-stopped")
}

// After a step of the clock, or a pause, everything is learned anew, and what was raised is cleared.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		x := newSystem(t)
		x.run(25*60, x.alerts(1))
		x.run(80, nil)
		x.want("+alerts-stopped")
		x.s.At = x.s.At.Add(step)
		x.run(1, nil)
		x.want("-alerts-stopped")
		x.run(5*60, nil)
		x.want("")
	}
}
