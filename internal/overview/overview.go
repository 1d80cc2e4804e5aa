// Package overview is what an operator wants to know first: how this quell is, and what it did in the
// last day. It is read once for all who look at it.
package overview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/assess"
	"quell/internal/console"
	"quell/internal/draw"
	"quell/internal/events"
	"quell/internal/evidence"
	"quell/internal/flow"
	"quell/internal/ledger"
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

// suspectLimit is how many suspects Now shows, and suspectsFrom how many changes of evidence it
// looks through for them.
const (
	suspectLimit = 10
	suspectsFrom = 300
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
	MoreNext  bool        // there may be more windows at the last of those
	Hour, Day flow.Minute // the totals of the last hour and of 24 hours
	Unknown   []string    // what could not be read
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
	At                                     time.Time
	Suppressed, Shadow, Forwarded, Windows int64
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
	v := &View{At: c.Motorway.Now(), Status: c.Status(ctx), Began: n.began, StoreUp: c.DB.Available(), Engine: "SQLite"}
	if c.DB.Remote() {
		v.Engine = "PostgreSQL"
	}
	v.Wrong = explained(v.Degraded)
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
	minutes, err := c.Flow.Recent(ctx, a.From, a.To)
	if err != nil {
		return err
	}
	open, err := n.countCampaigns(a.From)
	if err != nil {
		v.Unknown = append(v.Unknown, err.Error())
	}
	var suppressed, forwarded [chartSteps]int64
	v.Hours = make([]Hours, 24)
	for i := range v.Hours {
		v.Hours[i].At = a.From.Add(time.Duration(i) * time.Hour)
	}
	for _, m := range minutes {
		step := int(m.At.Sub(a.From) / chartStep)
		suppressed[step] += m.Suppressed
		forwarded[step] += m.Forwarded + m.Shadow
		h := &v.Hours[int(m.At.Sub(a.From)/time.Hour)]
		h.Suppressed, h.Shadow, h.Forwarded = h.Suppressed+m.Suppressed, h.Shadow+m.Shadow, h.Forwarded+m.Forwarded
		add(&v.Day, m)
		if !m.At.Before(v.At.Add(-time.Hour).Truncate(time.Minute)) {
			add(&v.Hour, m)
		}
	}
	for i, n := range open {
		h := &v.Hours[i/(chartSteps/24)]
		h.Windows = max(h.Windows, n)
	}
	v.Strips = []draw.Strip{draw.NewStrip("Suppressed", "first", a, chartStep, suppressed[:]), draw.NewStrip("Forwarded", "second", a, chartStep, forwarded[:]),
		draw.NewStrip("Windows open", "window", a, chartStep, open)}
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
	if n.counting == nil && (last == nil || !time.Now().Before(last.due)) {
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

// countAll counts campaigns. The windows are at most as long as the rules say now.
func (n *Overview) countAll(from time.Time, done chan struct{}) {
	defer close(done)
	rules, began := n.console.Motorway.Rules(), time.Now()
	longest := rules.Window
	for _, s := range rules.Spans {
		longest = max(longest, s.To)
	}
	open, err := n.console.Windows.OpenBy(context.Background(), from, chartStep, chartSteps, longest)
	if err == nil {
		n.campaigns.Store(&campaigns{from, open, time.Now().Add(max(campaignsEvery, countShare*time.Since(began)))})
	}
}

func add(to *flow.Minute, m flow.Minute) {
	to.Received += m.Received
	to.Forwarded += m.Forwarded
	to.Suppressed += m.Suppressed
	to.Shadow += m.Shadow
	to.Refused += m.Refused
	to.Failed += m.Failed
}

// readSuspects finds the latest entries that were probably genuine and that nobody has released:
// the strong before the weak, and the latest first.
func (n *Overview) readSuspects(ctx context.Context, v *View) error {
	c := n.console
	last, err := assess.LastChange(ctx, c.DB, 1<<62)
	if err != nil {
		return err
	}
	changes, err := assess.Changes(ctx, c.DB, last-suspectsFrom, last, suspectsFrom)
	if err != nil {
		return err
	}
	seen := map[int64]bool{}
	for _, x := range slices.Backward(changes) {
		if seen[x.Entry] || x.At.Before(v.At.Add(-24*time.Hour)) {
			continue
		}
		seen[x.Entry] = true
		if x.Level == evidence.Strong || x.Level == evidence.Weak {
			v.Suspects = append(v.Suspects, Suspect{Entry: outage.Entry{Seq: x.Entry}, Level: x.Level, Text: x.Text})
		}
	}
	slices.SortStableFunc(v.Suspects, func(a, b Suspect) int { return cmp.Compare(rank(b.Level), rank(a.Level)) })
	list := v.Suspects
	v.Suspects = nil
	for _, s := range list {
		if s.Entry, err = ledger.EntryOf(ctx, c.DB, s.Seq); err == nil && s.Outcome == outage.Suppressed {
			v.Suspects = append(v.Suspects, s)
		}
		if len(v.Suspects) == suspectLimit {
			break
		}
	}
	if a := c.Motorway.Evidence; a != nil {
		levels := a.Levels()
		v.Strong, v.Weak = levels[evidence.Strong], levels[evidence.Weak]
	}
	return nil
}

func rank(l evidence.Level) int {
	if l == evidence.Strong {
		return 1
	}
	return 0
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
