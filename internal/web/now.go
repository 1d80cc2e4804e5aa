package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/assess"
	"quell/internal/console"
	"quell/internal/events"
	"quell/internal/evidence"
	"quell/internal/flow"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/role"

	"github.com/prometheus/client_golang/prometheus"
)

// nowEvery is how often what Now shows is read again, for all who look at it together, and how
// long that may take. campaignsEvery is for the windows of the day.
const (
	nowEvery       = 3 * time.Second
	nowTimeout     = 2 * time.Second
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

// now keeps what the page shows, so that it is read once for all who look.
type now struct {
	web       *Web
	began     time.Time
	fallbacks *prometheus.Registry // what counts alerts that were forwarded since something failed, and says how next hops are

	mu       sync.Mutex // guards the fields below, and is held while they are read
	view     *nowView
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

// nowView is what Now shows.
type nowView struct {
	At time.Time
	console.Status
	Change    *events.Event // the last of the switch
	Wrong     []wrong
	Next      []beginning
	MoreNext  bool
	Hour, Day flow.Minute
	Unknown   []string // what could not be read
	Strips    []strip
	Hours     []hour // the strips as numbers
	FailOpen  []failOpen
	Began     time.Time // since when those are counted
	Suspects  []suspect
	Strong    int // entries of the last 24 hours, as the leader knows
	Weak      int
	Hops      []hop
	Remotes   []remote
	Report    int64 // the last one; 0 if there is none
	ReportAt  time.Time
	Engine    string
	StoreUp   bool
}

type beginning struct {
	At    time.Time
	Count int
}

type hour struct {
	At                                     time.Time
	Suppressed, Shadow, Forwarded, Windows int64
}

type failOpen struct {
	Cause string
	Count int64
}

type suspect struct {
	outage.Entry
	Level evidence.Level
	Text  string
}

type hop struct {
	Name string
	Up   bool
}

type remote struct {
	Name    string
	Waiting int
	Since   time.Time
}

func (p *Web) nowPages() {
	n := &now{web: p, began: time.Now(), fallbacks: prometheus.NewRegistry()}
	n.fallbacks.MustRegister(p.Console.Motorway.Metrics.FailOpen, p.Console.Motorway.Metrics.NextHopUp)
	p.page("GET /{$}", role.Viewer, func(r *http.Request) (any, error) {
		return view{Template: "now", Title: "Now", Data: n.get(r.Context())}, nil
	})
	p.endpoints.Handle("GET /live/now", role.Viewer, func(w http.ResponseWriter, r *http.Request) {
		p.stream(w, r, nowEvery, func(ctx context.Context) ([]byte, error) {
			var b bytes.Buffer
			err := p.templates["now"].ExecuteTemplate(&b, "live", n.get(ctx))
			return b.Bytes(), err
		})
	})
}

// get returns what Now shows, which is at most nowEvery old. What cannot be read is left out.
func (n *now) get(ctx context.Context) *nowView {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.view != nil && time.Since(n.read) < nowEvery-100*time.Millisecond {
		return n.view
	}
	// It is for others too, who do not go away when this one does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nowTimeout)
	defer cancel()
	c := n.web.Console
	v := &nowView{At: c.Motorway.Now(), Status: c.Status(ctx), Began: n.began, StoreUp: c.DB.Available(), Engine: "SQLite"}
	if c.DB.Remote() {
		v.Engine = "PostgreSQL"
	}
	v.Wrong = explained(v.Degraded)
	for _, part := range []struct {
		name string
		read func(context.Context, *nowView) error
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

func (n *now) readSwitch(ctx context.Context, v *nowView) error {
	list, err := events.LastOfEach(ctx, n.web.Console.DB, []string{"switch"}, 1<<62)
	if err == nil && len(list) > 0 {
		v.Change = &list[0]
	}
	return err
}

// nextLimit is how many windows are read to say which begin next.
const nextLimit = 1000

func (n *now) readNext(ctx context.Context, v *nowView) error {
	list, err := n.web.Console.Windows.Next(ctx, v.At, nextLimit)
	slices.SortStableFunc(list, func(a, b outage.Activation) int { return a.Start.Compare(b.Start) })
	for _, a := range list {
		if k := len(v.Next); k == 0 || !v.Next[k-1].At.Equal(a.Start) {
			v.Next = append(v.Next, beginning{At: a.Start})
		}
		v.Next[len(v.Next)-1].Count++
	}
	v.MoreNext = len(list) == nextLimit
	v.Next = v.Next[:min(len(v.Next), 3)]
	return err
}

func (n *now) readDay(ctx context.Context, v *nowView) error {
	c := n.web.Console
	end := v.At.Truncate(chartStep).Add(chartStep)
	a := axis{From: end.Add(-24 * time.Hour), To: end}
	minutes, err := c.Flow.Recent(ctx, a.From, a.To)
	if err != nil {
		return err
	}
	open, err := n.countCampaigns(a.From)
	if err != nil {
		v.Unknown = append(v.Unknown, err.Error())
	}
	var suppressed, forwarded [chartSteps]int64
	v.Hours = make([]hour, 24)
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
	v.Strips = []strip{newStrip("Suppressed", "first", a, chartStep, suppressed[:]), newStrip("Forwarded", "second", a, chartStep, forwarded[:]),
		newStrip("Windows open", "window", a, chartStep, open)}
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
func (n *now) countCampaigns(from time.Time) ([]int64, error) {
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
func (n *now) countAll(from time.Time, done chan struct{}) {
	defer close(done)
	rules, began := n.web.Console.Motorway.Rules(), time.Now()
	longest := rules.Window
	for _, s := range rules.Spans {
		longest = max(longest, s.To)
	}
	open, err := n.web.Console.Windows.OpenBy(context.Background(), from, chartStep, chartSteps, longest)
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
func (n *now) readSuspects(ctx context.Context, v *nowView) error {
	c := n.web.Console
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
			v.Suspects = append(v.Suspects, suspect{Entry: outage.Entry{Seq: x.Entry}, Level: x.Level, Text: x.Text})
		}
	}
	slices.SortStableFunc(v.Suspects, func(a, b suspect) int { return cmp.Compare(rank(b.Level), rank(a.Level)) })
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

func (n *now) readRemotes(ctx context.Context, v *nowView) error {
	c := n.web.Console
	list, err := c.Reports.List(ctx, 1<<62, 1)
	if err != nil {
		return err
	}
	waiting, err := c.Reports.Waiting(ctx)
	for _, w := range waiting {
		v.Remotes = append(v.Remotes, remote{w.Remote, w.Files, w.Oldest})
	}
	for _, r := range list {
		v.Report, v.ReportAt = r.No, r.CutAt
		for _, f := range r.Files {
			for _, d := range f.Deliveries {
				if !slices.ContainsFunc(v.Remotes, func(x remote) bool { return x.Name == d.Remote }) {
					v.Remotes = append(v.Remotes, remote{Name: d.Remote})
				}
			}
		}
	}
	slices.SortFunc(v.Remotes, func(a, b remote) int { return cmp.Compare(a.Name, b.Name) })
	return err
}

// readMetrics reads what this process counts in memory.
func (n *now) readMetrics(v *nowView) {
	families, err := n.fallbacks.Gather()
	if err != nil {
		v.Unknown = append(v.Unknown, fmt.Sprintf("the metrics (%v)", err))
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if name := m.GetLabel()[0].GetValue(); f.GetName() == "quell_next_hop_up" {
				v.Hops = append(v.Hops, hop{name, m.GetGauge().GetValue() == 1})
			} else if count := int64(m.GetCounter().GetValue()); count > 0 {
				v.FailOpen = append(v.FailOpen, failOpen{name, count})
			}
		}
	}
}
