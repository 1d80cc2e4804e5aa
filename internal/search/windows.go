package search

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"quell/internal/outage"
	"quell/internal/sqldb"
	"quell/internal/windows"
)

// Bar is a window, or all windows of a supplier and a model that begin within the same hour: then
// Start is the first start, and End the last end. Its JSON is part of the API.
type Bar struct {
	Start    time.Time       `json:"start"`
	End      time.Time       `json:"end"`
	Windows  int             `json:"windows"`
	Raised   int             `json:"raised"` // windows whose hub has sent an AD1 that is in the log
	Supplier outage.DeviceID `json:"supplier"`
	Model    string          `json:"model,omitempty"`

	// Of one window only.
	Activation int64           `json:"activation,omitempty"`
	RequestID  string          `json:"request_id,omitempty"`
	ESME       outage.DeviceID `json:"esme_id,omitzero"`
	CHF        outage.DeviceID `json:"chf_id,omitzero"`
	State      outage.State    `json:"state,omitempty"`
	InForce    bool            `json:"in_force"` // no state and no later request has ended it
	Entry      int64           `json:"entry,omitempty"`
}

// Gantt has the windows of a hub, a meter or a supplier, in order of their starts. Its JSON is part of
// the API.
type Gantt struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Bars []Bar     `json:"bars"`
	More bool      `json:"more"` // there are more than the limit
	// At is when the windows of a supplier were counted; zero if they are being counted for the first
	// time, or if it is not about a supplier.
	At time.Time `json:"at,omitzero"`
}

// GanttQuery asks for the windows that are open at some time in [From, To). Exactly one of Hub, Meter
// and Supplier is set.
type GanttQuery struct {
	Hub, Meter, Supplier outage.DeviceID
	From, To             time.Time
	Limit                int
}

// ErrWhose says that a query does not say whose windows it asks for.
var ErrWhose = errors.New("say whose windows: of a hub, a meter or a supplier, only one of these; and from when to when")

// ganttSQL finds the windows of a hub or a meter.
const (
	ganttHubSQL   = `SELECT ` + windows.ActivationColumns + ` FROM activation WHERE chf = ?1 AND standing IN (0, 1) AND ends_at > ?2 AND starts_at + 0 < ?3 ORDER BY starts_at, id LIMIT ?4`
	ganttMeterSQL = `SELECT ` + windows.ActivationColumns + ` FROM activation WHERE esme = ?1 AND ends_at > ?2 AND starts_at + 0 < ?3 ORDER BY starts_at, id LIMIT ?4`
	entryOfSQL    = `SELECT coalesce((SELECT min(s.seq) FROM suppression s WHERE s.esme = p.esme AND s.activation_id = p.id), 0)
		FROM (SELECT CAST(value->>0 AS BIGINT) AS esme, CAST(value->>1 AS BIGINT) AS id FROM json_each(?)) AS p`
)

// Gantt returns windows as bars on a line of time. The windows of a hub or a meter are one bar each;
// those of a supplier, of which there may be hundreds of thousands, are bars of hours, which reach
// from a day ago until 30 days from now. The error may be ErrWhose.
func (s *Search) Gantt(ctx context.Context, q GanttQuery) (*Gantt, error) {
	given := 0
	for _, id := range []outage.DeviceID{q.Hub, q.Meter, q.Supplier} {
		if id != 0 {
			given++
		}
	}
	if given != 1 || !q.From.Before(q.To) {
		return nil, ErrWhose
	}
	out := &Gantt{From: q.From, To: q.To, Bars: []Bar{}}
	if q.Supplier != 0 {
		s.ganttOfSupplier(ctx, q, out)
	} else if err := s.ganttOfDevice(ctx, q, out); err != nil {
		return nil, sqldb.Unavailable(err)
	}
	if out.More = len(out.Bars) > q.Limit; out.More {
		out.Bars = out.Bars[:q.Limit]
	}
	return out, nil
}

func (s *Search) ganttOfSupplier(ctx context.Context, q GanttQuery, out *Gantt) {
	c, known := s.calendar.get(ctx, s.FirstWait, s.countWindows)
	if !known {
		return
	}
	out.At = c.at
	for k, v := range c.cells {
		start, end := sqldb.Instant(v.first), sqldb.Instant(v.last)
		if k.supplier == q.Supplier && v.Windows > 0 && end.After(q.From) && start.Before(q.To) {
			out.Bars = append(out.Bars, Bar{Start: start, End: end, Windows: v.Windows, Raised: v.Raised, Supplier: k.supplier, Model: k.model, InForce: true})
		}
	}
	slices.SortFunc(out.Bars, func(a, b Bar) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Model, b.Model)) })
}

func (s *Search) ganttOfDevice(ctx context.Context, q GanttQuery, out *Gantt) error {
	query, id := ganttHubSQL, q.Hub
	if q.Meter != 0 {
		query, id = ganttMeterSQL, q.Meter
	}
	list, err := windows.ScanActivations(s.DB.Query(ctx, query, int64(id), sqldb.Micros(q.From), sqldb.Micros(q.To), q.Limit+1))
	if err != nil {
		return err
	}
	entries, err := s.entriesOf(ctx, list)
	if err != nil {
		return err
	}
	for i, a := range list {
		b := Bar{Start: a.Start, End: a.End, Windows: 1, Supplier: a.RequestID.Originator, Activation: a.ID, RequestID: a.RequestID.String(),
			ESME: a.ESME, CHF: a.CHF, State: a.State, InForce: a.Standing, Entry: entries[i]}
		if b.Entry != 0 {
			b.Raised = 1
		}
		out.Bars = append(out.Bars, b)
	}
	return nil
}

// entriesOf returns the first entry of each of some windows; 0 if it has none.
func (s *Search) entriesOf(ctx context.Context, list []outage.Activation) ([]int64, error) {
	keys := make([]string, len(list))
	for i, a := range list {
		keys[i] = fmt.Sprintf("[%d,%d]", int64(a.ESME), a.ID)
	}
	return sqldb.Numbers(s.DB.Query(ctx, entryOfSQL, "["+strings.Join(keys, ",")+"]"))
}

// Which windows of a campaign are asked for.
type Which string

// The windows that are asked for.
const (
	All    Which = "all"
	Raised Which = "raised" // whose hub has sent an AD1 that is in the log
	Silent Which = "silent" // the others
)

// CampaignQuery asks for the windows that start in [From, To), an hour or a day of a campaign.
type CampaignQuery struct {
	From, To time.Time
	Supplier outage.DeviceID // 0: any
	Which    Which
	After    int64 // Next of the page before; 0: the first page
	Limit    int
}

// MeterWindow is the window of one meter. Its JSON is part of the API.
type MeterWindow struct {
	Activation int64           `json:"activation"`
	ESME       outage.DeviceID `json:"esme_id"`
	CHF        outage.DeviceID `json:"chf_id"`
	Supplier   outage.DeviceID `json:"supplier"`
	Model      string          `json:"model"`
	Start      time.Time       `json:"window_start"`
	End        time.Time       `json:"window_end"`
	Entry      int64           `json:"entry,omitempty"` // the first one in the log; 0: no AD1 is in the log
}

// Campaign is a page of the windows of a campaign, in order of their ends. Its JSON is part of the API.
type Campaign struct {
	From    time.Time     `json:"from"`
	To      time.Time     `json:"to"`
	Windows []MeterWindow `json:"windows"`
	Looked  int           `json:"looked_at"` // windows that were looked at for this page, of which Raised raised an AD1
	Raised  int           `json:"raised"`
	Next    int64         `json:"next,omitempty"` // After of the next page; 0 if there is none
}

// One query reads campaignStep windows of a campaign, and for one page there are campaignSteps at most,
// unless more queries find nothing.
const (
	campaignStep  = 500
	campaignSteps = 4
)

// step is campaignStep, unless a test sets less.
func (s *Search) step() int { return int(cmp.Or(s.scan, campaignStep)) }

// ErrNoWindow says that the window after which a page begins is not there any more.
var ErrNoWindow = errors.New("the window with this number is not there any more: begin again")

// These find the windows after one in the index of their ends: hundreds of thousands may end at the same
// time, so there is a query for the rest of those, and one for the others. All that is looked at is in
// the index, except the windows that are found. "+ 0" keeps the database from reading in that order
// instead.
const (
	sameEndSQL = `SELECT ` + windows.ActivationColumns + ` FROM activation WHERE id IN (SELECT id FROM (SELECT id FROM activation
		WHERE ends_at = ?1 AND starts_at = ?2 AND id > ?3 ORDER BY id LIMIT ?4) AS same) ORDER BY id + 0`
	laterEndSQL = `SELECT ` + windows.ActivationColumns + ` FROM activation WHERE id IN (SELECT id FROM (SELECT id FROM activation
		WHERE (ends_at, starts_at) > (?1, ?2) AND ends_at < ?3 AND starts_at >= ?4 AND starts_at < ?5 ORDER BY ends_at, starts_at, id LIMIT ?6) AS later)
		ORDER BY ends_at + 0, starts_at, id`
	windowSQL = `SELECT ` + windows.ActivationColumns + ` FROM activation WHERE id = ?`
)

// Campaign returns which meters of a campaign raised AD1s, and which did not. AD1s that went forward
// without an entry in the log do not count. The error may be ErrQuery or ErrNoWindow.
func (s *Search) Campaign(ctx context.Context, q CampaignQuery) (*Campaign, error) {
	if !q.From.Before(q.To) {
		return nil, ErrQuery
	}
	last, same := outage.Activation{End: q.From}, q.After > 0
	if same {
		list, err := windows.ScanActivations(s.DB.Query(ctx, windowSQL, q.After))
		if err != nil {
			return nil, sqldb.Unavailable(err)
		}
		if len(list) == 0 {
			return nil, ErrNoWindow
		}
		last = list[0]
	}
	out := &Campaign{From: q.From, To: q.To, Windows: []MeterWindow{}}
	for looked, full := 0, false; looked < campaignSteps*s.step() && !full; {
		list, err := s.windowsAfter(ctx, &q, &last, same)
		n := 0
		if err == nil {
			n, err = s.addWindows(ctx, &q, list, out)
		}
		if err != nil {
			return nil, sqldb.Unavailable(err)
		}
		looked, full = looked+n, n < len(list)
		if n > 0 {
			last, out.Next = list[n-1], list[n-1].ID
		}
		if len(list) < s.step() && !full {
			if !same {
				out.Next = 0
				break
			}
			same = false
		} else {
			same = true // more may end with the last one
		}
	}
	return out, s.addModels(ctx, out.Windows)
}

// windowsAfter returns the next windows after one: those with the same times, or the others.
func (s *Search) windowsAfter(ctx context.Context, q *CampaignQuery, last *outage.Activation, same bool) ([]outage.Activation, error) {
	if same {
		return windows.ScanActivations(s.DB.Query(ctx, sameEndSQL, sqldb.Micros(last.End), sqldb.Micros(last.Start), last.ID, s.step()))
	}
	return windows.ScanActivations(s.DB.Query(ctx, laterEndSQL, sqldb.Micros(last.End), sqldb.Micros(last.Start), sqldb.Micros(q.To.Add(outage.MaxWindow)),
		sqldb.Micros(q.From), sqldb.Micros(q.To), s.step()))
}

// addWindows adds those of some windows that are asked for, until the page is full. It returns how many
// it has looked at.
func (s *Search) addWindows(ctx context.Context, q *CampaignQuery, list []outage.Activation, out *Campaign) (int, error) {
	wanted := func(a *outage.Activation) bool {
		return a.Standing && !a.Start.Before(q.From) && a.Start.Before(q.To) && (q.Supplier == 0 || a.RequestID.Originator == q.Supplier)
	}
	some := slices.DeleteFunc(slices.Clone(list), func(a outage.Activation) bool { return !wanted(&a) })
	entries, err := s.entriesOf(ctx, some)
	if err != nil {
		return 0, err
	}
	for i := range list {
		a := &list[i]
		switch {
		case len(out.Windows) == q.Limit:
			return i, nil
		case !wanted(a):
			continue
		}
		entry := entries[0]
		entries = entries[1:]
		out.Looked++
		if entry != 0 {
			out.Raised++
		}
		if q.Which != Raised && q.Which != Silent || (q.Which == Raised) == (entry != 0) {
			out.Windows = append(out.Windows, MeterWindow{Activation: a.ID, ESME: a.ESME, CHF: a.CHF, Supplier: a.RequestID.Originator, Start: a.Start, End: a.End, Entry: entry})
		}
	}
	return len(list), nil
}

// addModels says which models the meters are.
func (s *Search) addModels(ctx context.Context, list []MeterWindow) error {
	ids := make([]int64, len(list))
	for i := range list {
		ids[i] = int64(list[i].ESME)
	}
	known, err := s.Devices.OfIDs(ctx, ids)
	models := map[outage.DeviceID]string{}
	for _, d := range known {
		models[d.ID] = strings.TrimSpace(d.Manufacturer + " " + d.Model)
	}
	for i := range list {
		list[i].Model = models[list[i].ESME]
	}
	return err
}
