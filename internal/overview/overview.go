// Package overview is what an operator wants to know first: how this quell is, and what it did in the
// last day. It is read once for all who look at it.
package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/console"
	"quell/internal/draw"
	"quell/internal/events"
	"quell/internal/evidence"
	"quell/internal/flow"
	"quell/internal/outage"

	"github.com/prometheus/client_golang/prometheus"
)

// Every is how often it is read, for all who look at it together; again is for what could not all
// be read, and campaignsEvery for the windows of the day. timeout is how long that may take.
const (
	Every          = 3 * time.Second
	timeout        = 2 * time.Second
	again          = 500 * time.Millisecond
	campaignsEvery = time.Minute
)

// What Now shows of the day: as many steps, up to the one that runs.
const (
	chartStep  = 15 * time.Minute
	chartSteps = int(24 * time.Hour / chartStep)
)

// suspectLimit is how many suspects Now shows, and suspectsFrom how many of the latest it looks
// through for them.
const (
	suspectLimit = 10
	suspectsFrom = 100
)

// Overview keeps what was read last. Its methods may be called from any goroutine.
type Overview struct {
	console   *console.Console
	began     time.Time
	fallbacks *prometheus.Registry // what counts alerts that were forwarded since something failed, and says how next hops are

	mu       sync.Mutex // guards the fields below, and is held while they are read
	view     *View
	read     time.Time
	counting chan struct{} // closed when a count of campaigns ends; nil: none is under way

	campaigns atomic.Pointer[campaigns] // the last count; nil: none yet
}

// campaigns are how many windows were open in each step from an instant on.
type campaigns struct {
	from time.Time
	open []int64
	due  time.Time // when the next count may begin
}

// View is what Now shows.
type View struct {
	At time.Time
	console.Status
	Change    *events.Event // the last of the switch
	Wrong     []Wrong
	Next      []Beginning
	MoreNext  bool         // there may be more windows at the last of those
	Hour, Day flow.Counted // the totals of the last hour and of 24 hours
	Unknown   []string     // what could not be read
	Strips    []draw.Strip
	Hours     []Hours // the strips as numbers
	FailOpen  []FailOpen
	Began     time.Time // since when those are counted
	Suspects  []Suspect
	Strong    int // entries of the last 24 hours, as the leader knows
	Weak      int
	Hops      []Hop
	Remotes   []Remote
	Report    int64 // the last one; 0 if there is none
	ReportAt  time.Time
	Engine    string // SQLite or PostgreSQL
	StoreUp   bool
}

// Beginning says how many windows begin at an instant.
type Beginning struct {
	At    time.Time
	Count int
}

// Hours has the numbers of the strips for the hour from At on.
type Hours struct {
	At                            time.Time
	Suppressed, Shadow, Forwarded int64
	Windows                       int64 // -1: not known yet
}

// FailOpen says how many messages this node has forwarded since something failed.
type FailOpen struct {
	Cause string
	Count int64
}

// Suspect is an entry whose alert was probably genuine, and why.
type Suspect struct {
	outage.Entry
	Level evidence.Level
	Text  string
}

// Hop says whether a next hop took and answered the last message.
type Hop struct {
	Name string
	Up   bool
}

// Remote says how many files wait for a remote, and since when.
type Remote struct {
	Name    string
	Waiting int
	Since   time.Time
}

// Has reports whether a part could be read: those that Unknown does not name.
func (v *View) Has(part string) bool { return !slices.Contains(v.Unknown, part) }

// New returns the overview of a console.
func New(c *console.Console) *Overview {
	n := &Overview{console: c, began: time.Now(), fallbacks: prometheus.NewRegistry()}
	n.fallbacks.MustRegister(c.Motorway.Metrics.FailOpen, c.Motorway.Metrics.NextHopUp)
	return n
}

// Get returns the overview, which is at most Every old. What cannot be read is left out.
func (n *Overview) Get(ctx context.Context) *View {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.view != nil {
		fresh := Every - 100*time.Millisecond
		if len(n.view.Unknown) > 0 {
			fresh = again
		}
		if time.Since(n.read) < fresh {
			return n.view
		}
	}
	// It is for others too, who do not go away when this one does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	c := n.console
	status := make(chan console.Status, 1)
	go func() { // beside the other parts, since with millions of windows it takes as long as they do
		s, _ := c.Status(ctx)
		status <- s
	}()
	v := &View{At: c.Motorway.Now(), Began: n.began, StoreUp: c.DB.Available(), Engine: "SQLite"}
	if c.DB.Remote() {
		v.Engine = "PostgreSQL"
	}
	for _, part := range []struct {
		name string
		read func(context.Context, *View) error
	}{
		{"the last change of the switch", n.readSwitch}, {"the windows that begin next", n.readNext}, {"the alerts of the day", n.readDay},
		{"the suspects", n.readSuspects}, {"the remotes", n.readRemotes},
	} {
		if err := part.read(ctx, v); err != nil {
			v.Unknown = append(v.Unknown, part.name)
		}
	}
	n.readMetrics(v)
	v.Status = <-status
	v.Wrong = explained(v.Degraded)
	n.view, n.read = v, time.Now()
	return v
}

func (n *Overview) readSwitch(ctx context.Context, v *View) error {
	list, err := events.LastOfEach(ctx, n.console.DB, []string{"switch"}, 1<<62)
	if err == nil && len(list) > 0 {
		v.Change = &list[0]
	}
	return err
}

// nextLimit is how many windows are read to say which begin next, and nextShown how many instants
// are shown.
const (
	nextLimit = 1000
	nextShown = 3
)

func (n *Overview) readNext(ctx context.Context, v *View) error {
	list, err := n.console.Windows.Next(ctx, v.At, nextLimit)
	slices.SortStableFunc(list, func(a, b outage.Activation) int { return a.Start.Compare(b.Start) })
	for _, a := range list {
		if k := len(v.Next); k == 0 || !v.Next[k-1].At.Equal(a.Start) {
			v.Next = append(v.Next, Beginning{At: a.Start})
		}
		v.Next[len(v.Next)-1].Count++
	}
	v.MoreNext = len(list) == nextLimit && len(v.Next) <= nextShown
	v.Next = v.Next[:min(len(v.Next), nextShown)]
	return err
}

func (n *Overview) readDay(ctx context.Context, v *View) error {
	c := n.console
	end := v.At.Truncate(chartStep).Add(chartStep)
	a := draw.Axis{From: end.Add(-24 * time.Hour), To: end}
	chart, err := c.Flow.Chart(ctx, a.From, a.To, chartStep, v.At)
	if err != nil {
		return err
	}
	v.Hour, v.Day = chart.LastHour, chart.LastDay
	open, err := n.countCampaigns(a.From)
	if err != nil {
		v.Unknown = append(v.Unknown, err.Error())
	}
	var suppressed, forwarded [chartSteps]int64
	v.Hours = make([]Hours, 24)
	for i := range v.Hours {
		v.Hours[i].At = a.From.Add(time.Duration(i) * time.Hour)
	}
	for i, p := range chart.Points {
		suppressed[i], forwarded[i] = p.Suppressed, p.Forwarded+p.Shadow
		h := &v.Hours[i/(chartSteps/24)]
		h.Suppressed, h.Shadow, h.Forwarded = h.Suppressed+p.Suppressed, h.Shadow+p.Shadow, h.Forwarded+p.Forwarded
	}
	v.Strips = []draw.Strip{draw.NewStrip("Suppressed", "first", a, chartStep, suppressed[:]), draw.NewStrip("Forwarded", "second", a, chartStep, forwarded[:])}
	if err != nil {
		for i := range v.Hours {
			v.Hours[i].Windows = -1
		}
		return nil
	}
	for i, n := range open {
		h := &v.Hours[i/(chartSteps/24)]
		h.Windows = max(h.Windows, n)
	}
	v.Strips = append(v.Strips, draw.NewStrip("Windows open", "window", a, chartStep, open))
	return nil
}

// countWait is how long the page waits for a count of campaigns, and countShare limits the time
// for counting to one part in countShare.
const (
	countWait  = 20 * time.Millisecond
	countShare = 100
)

var errCounting = errors.New("the windows of the day, which are being counted")

// countCampaigns returns how many windows were open in each step from an instant on. It counts in the
// background, since a day may have hundreds of thousands; meanwhile the last count has to do. The
// caller holds n.mu.
func (n *Overview) countCampaigns(from time.Time) ([]int64, error) {
	last := n.campaigns.Load()
	// A step that the last count does not have would be drawn as one without windows.
	if n.counting == nil && (last == nil || from.After(last.from) || !time.Now().Before(last.due)) {
		n.counting = make(chan struct{})
		go n.countAll(from, n.counting)
	}
	if n.counting != nil {
		select {
		case <-n.counting:
			n.counting, last = nil, n.campaigns.Load()
		case <-time.After(countWait):
		}
	}
	open := make([]int64, chartSteps)
	if last == nil {
		return open, errCounting
	}
	if gone := int(from.Sub(last.from) / chartStep); gone >= 0 && gone < chartSteps {
		copy(open, last.open[gone:])
	}
	return open, nil
}

// countAll counts campaigns.
func (n *Overview) countAll(from time.Time, done chan struct{}) {
	defer close(done)
	began := time.Now()
	open, err := n.console.Windows.OpenBy(context.Background(), from, chartStep, chartSteps)
	if err == nil {
		n.campaigns.Store(&campaigns{from, open, time.Now().Add(max(campaignsEvery, countShare*time.Since(began)))})
	}
}

// readSuspects finds the latest entries that were probably genuine and that nobody has released:
// the strong before the weak, and the latest first.
func (n *Overview) readSuspects(ctx context.Context, v *View) error {
	c := n.console
	for _, level := range []evidence.Level{evidence.Strong, evidence.Weak} {
		list, err := c.Search.Suspects(ctx, suspectsFrom, level == evidence.Weak)
		if err != nil {
			return err
		}
		for _, s := range list.Suspects {
			if s.Evidence != nil && s.Evidence.Level == level && len(v.Suspects) < suspectLimit && s.Received.After(v.At.Add(-24*time.Hour)) {
				v.Suspects = append(v.Suspects, Suspect{Entry: s.Entry, Level: level, Text: strings.Join(s.Evidence.Text, " ")})
			}
		}
	}
	if a := c.Motorway.Evidence; a != nil {
		levels := a.Levels()
		v.Strong, v.Weak = levels[evidence.Strong], levels[evidence.Weak]
	}
	return nil
}

func (n *Overview) readRemotes(ctx context.Context, v *View) error {
	c := n.console
	list, err := c.Reports.List(ctx, 1<<62, 1)
	if err != nil {
		return err
	}
	waiting, err := c.Reports.Waiting(ctx)
	for _, w := range waiting {
		v.Remotes = append(v.Remotes, Remote{w.Remote, w.Files, w.Oldest})
	}
	for _, r := range list {
		v.Report, v.ReportAt = r.No, r.CutAt
		for _, f := range r.Files {
			for _, d := range f.Deliveries {
				if !slices.ContainsFunc(v.Remotes, func(x Remote) bool { return x.Name == d.Remote }) {
					v.Remotes = append(v.Remotes, Remote{Name: d.Remote})
				}
			}
		}
	}
	slices.SortFunc(v.Remotes, func(a, b Remote) int { return cmp.Compare(a.Name, b.Name) })
	return err
}

// readMetrics reads what this process counts in memory.
func (n *Overview) readMetrics(v *View) {
	families, err := n.fallbacks.Gather()
	if err != nil {
		v.Unknown = append(v.Unknown, fmt.Sprintf("the metrics (%v)", err))
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if name := m.GetLabel()[0].GetValue(); f.GetName() == "quell_next_hop_up" {
				v.Hops = append(v.Hops, Hop{name, m.GetGauge().GetValue() == 1})
			} else if count := int64(m.GetCounter().GetValue()); count > 0 {
				v.FailOpen = append(v.FailOpen, FailOpen{name, count})
			}
		}
	}
}
