package search

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"quell/internal/advice"
	"quell/internal/devices"
	"quell/internal/outage"
	"quell/internal/sqldb"
)

// The calendar has the windows that began or begin from calendarPast ago until calendarDays from now.
const (
	calendarPast = 24 * time.Hour
	calendarDays = 30
)

// Numbers are about windows, by the time at which their meters are to activate. The JSON is part of
// the API.
type Numbers struct {
	Windows int     `json:"windows"` // in force, or over
	Pending int     `json:"pending"`
	Open    int     `json:"open"`
	Over    int     `json:"over"`
	Raised  int     `json:"raised"` // whose hub has sent an AD1 that is in the log
	Alerts  float64 `json:"alerts"` // AD1s that are still expected
}

func (n *Numbers) add(o *Numbers) {
	n.Windows += o.Windows
	n.Pending += o.Pending
	n.Open += o.Open
	n.Over += o.Over
	n.Raised += o.Raised
	n.Alerts += o.Alerts
}

// Hour has the windows of one hour.
type Hour struct {
	From time.Time `json:"from"`
	Numbers
}

// OfSupplier has the windows that one supplier's requests opened.
type OfSupplier struct {
	Supplier outage.DeviceID `json:"supplier"`
	Numbers
}

// OfModel has the windows of one model of meters, as the inventory names it: its manufacturer and
// its model. It is "" of meters that are not in the inventory.
type OfModel struct {
	Model string `json:"model"`
	Numbers
}

// Calendar says when windows were, are and will be open. Its JSON is part of the API.
type Calendar struct {
	// At is when the windows were counted; zero if they are being counted for the first time.
	At    time.Time `json:"at,omitzero"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	Hours []Hour    `json:"hours"` // in order; those without anything are left out
	// Of all suppliers and of all models, whatever was asked for: those with the most windows first.
	Suppliers []OfSupplier `json:"suppliers"`
	Models    []OfModel    `json:"models"`
	Total     Numbers      `json:"total"`
	// LearnedUntil is until when AD1s of models were learned; zero if nothing was.
	LearnedUntil time.Time `json:"learned_until,omitzero"`
	// Unlearned are the pending windows of models of which little is known: each counts as one AD1.
	Unlearned int `json:"unlearned"`
	// Merged says that there are so many suppliers, models and hours that some are in "other".
	Merged bool `json:"merged,omitempty"`
}

// CalendarQuery selects windows. A field that is zero is no condition.
type CalendarQuery struct {
	Supplier outage.DeviceID
	Model    *string // nil: any
}

// Calendar returns the windows by hour, supplier and model, as they were counted last.
func (s *Search) Calendar(ctx context.Context, q CalendarQuery) *Calendar {
	out := &Calendar{Hours: []Hour{}, Suppliers: []OfSupplier{}, Models: []OfModel{}}
	out.From, out.Until = calendarRange(s.Now())
	c, known := s.calendar.get(ctx, s.FirstWait, s.countWindows)
	if !known {
		return out
	}
	out.At, out.From, out.Until = c.at, c.from, c.until
	out.LearnedUntil, out.Unlearned, out.Merged = c.learnedUntil, c.unlearned, c.merged
	hours, suppliers, models := map[int64]*Numbers{}, map[outage.DeviceID]*Numbers{}, map[string]*Numbers{}
	for k, v := range c.cells {
		ofSupplier, ofModel := q.Supplier == 0 || k.supplier == q.Supplier, q.Model == nil || k.model == *q.Model
		if ofModel {
			sumOf(suppliers, k.supplier).add(&v.Numbers)
		}
		if ofSupplier {
			sumOf(models, k.model).add(&v.Numbers)
		}
		if ofModel && ofSupplier {
			sumOf(hours, k.hour).add(&v.Numbers)
			out.Total.add(&v.Numbers)
		}
	}
	for h, n := range hours {
		out.Hours = append(out.Hours, Hour{hourAt(h), *n})
	}
	for id, n := range suppliers {
		out.Suppliers = append(out.Suppliers, OfSupplier{id, *n})
	}
	for m, n := range models {
		out.Models = append(out.Models, OfModel{m, *n})
	}
	slices.SortFunc(out.Hours, func(a, b Hour) int { return a.From.Compare(b.From) })
	slices.SortFunc(out.Suppliers, func(a, b OfSupplier) int {
		return cmp.Or(b.Windows-a.Windows, cmp.Compare(a.Supplier, b.Supplier))
	})
	slices.SortFunc(out.Models, func(a, b OfModel) int { return cmp.Or(b.Windows-a.Windows, cmp.Compare(a.Model, b.Model)) })
	return out
}

func sumOf[K comparable](m map[K]*Numbers, k K) *Numbers {
	n := m[k]
	if n == nil {
		n = &Numbers{}
		m[k] = n
	}
	return n
}

func calendarRange(now time.Time) (from, until time.Time) {
	first := now.UTC().Truncate(time.Hour)
	return first.Add(-calendarPast), first.Add(calendarDays * 24 * time.Hour)
}

func hourOf(us int64) int64 { return us / time.Hour.Microseconds() }

func hourAt(h int64) time.Time { return time.UnixMicro(h * time.Hour.Microseconds()).UTC() }

// cellKey is what windows are counted by.
type cellKey struct {
	hour     int64 // since 1970, in which the meters activate
	supplier outage.DeviceID
	model    string
}

// cell has the windows of a cellKey.
type cell struct {
	Numbers
	begins      int64 // sum of the times at which meters activate, after the beginning of the hour
	first, last int64 // the first start of a window, and the last end
}

// count is what the calendar has counted.
type count struct {
	at, from, until time.Time
	cells           map[cellKey]*cell
	merged          bool
	learnedUntil    time.Time
	unlearned       int
}

// maxCells bounds the memory of a count. What is beyond has no supplier, and the model otherModels.
const (
	maxCells    = 50_000
	otherModels = "other"
)

func (c *count) cell(k cellKey) *cell {
	v := c.cells[k]
	if v == nil && len(c.cells) >= maxCells {
		c.merged = true
		k.supplier, k.model = 0, otherModels
		v = c.cells[k]
	}
	if v == nil {
		v = &cell{}
		c.cells[k] = v
	}
	return v
}

// countPage is how many windows one query counts.
const countPage = 4000

const (
	// countPageSQL finds the next activations to count.
	countPageSQL = `SELECT count(*), coalesce(max(id), 0) FROM (SELECT id FROM activation WHERE id > ? ORDER BY id LIMIT ?) AS page`
	// countSQL counts the windows among the activations from ?1 to ?2 that end after ?3. ?4 is now.
	countSQL = `SELECT a.begins / 3600000000, a.supplier, coalesce(d.manufacturer, ''), coalesce(d.model, ''), count(*), CAST(sum(a.begins % 3600000000) AS BIGINT),
		sum(CASE WHEN a.starts_at > ?4 THEN 1 ELSE 0 END), sum(CASE WHEN a.ends_at <= ?4 THEN 1 ELSE 0 END), min(a.starts_at), max(a.ends_at),
		coalesce(sum(CASE WHEN a.starts_at <= ?4 THEN (SELECT 1 FROM suppression s WHERE s.esme = a.esme AND s.activation_id = a.id LIMIT 1) END), 0)
		FROM (SELECT id, esme, substr(request_id, 1, 23) AS supplier, starts_at, ends_at, CASE WHEN mode = 'future-dated' THEN execute_at ELSE received_at END AS begins
			FROM activation WHERE id > ?1 AND id <= ?2 AND standing + 0 = 1 AND ends_at + 0 > ?3) AS a
		LEFT JOIN inventory d ON d.device_id = a.esme AND ` + devices.Newest + ` GROUP BY 1, 2, 3, 4`
)

// countWindows counts all windows, a page of activations at a time.
func (s *Search) countWindows(ctx context.Context) (*count, error) {
	c := &count{at: s.Now(), cells: map[cellKey]*cell{}}
	c.from, c.until = calendarRange(c.at)
	for last, n := int64(0), countPage; n == countPage; {
		began := time.Now()
		after := last
		if err := s.DB.QueryRow(ctx, countPageSQL, after, countPage).Scan(&n, &last); err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		if err := s.countSome(ctx, c, after, last); err != nil {
			return nil, err
		}
		if err := rest(ctx, began); err != nil {
			return nil, err
		}
	}
	return c, s.forecast(ctx, c)
}

// countSome counts the windows of the activations from one number to another.
func (s *Search) countSome(ctx context.Context, c *count, after, last int64) error {
	var hour, begins, first, end int64
	var supplier, manufacturer, model string
	var windows, pending, over, raised int
	rows, err := s.DB.Query(ctx, countSQL, after, last, sqldb.Micros(c.from), sqldb.Micros(c.at))
	_, err = sqldb.Each(rows, err, func() {
		if at := hourAt(hour); at.Before(c.from) || !at.Before(c.until) {
			return
		}
		id, _ := outage.ParseDeviceID(supplier)
		v := c.cell(cellKey{hour, id, strings.TrimSpace(manufacturer + " " + model)})
		v.add(&Numbers{Windows: windows, Pending: pending, Over: over, Open: windows - pending - over, Raised: raised})
		v.begins += begins
		if v.first == 0 || first < v.first {
			v.first = first
		}
		v.last = max(v.last, end)
	}, &hour, &supplier, &manufacturer, &model, &windows, &begins, &pending, &over, &first, &end, &raised)
	return err
}

// forecast adds the AD1s that are expected. Each supplier and model has a forecast of its own. The
// windows of an hour count as if they all began at the mean of their times: nearly always these
// are the same.
func (s *Search) forecast(ctx context.Context, c *count) error {
	var times []advice.Times
	if s.Learned != nil {
		l, err := s.Learned(ctx)
		if err != nil {
			return err
		}
		if l != nil {
			times, c.learnedUntil = advice.TimesOf(l), l.Until
		}
	}
	type of struct {
		supplier outage.DeviceID
		model    string
	}
	pending := map[of][]advice.Pending{}
	for k, v := range c.cells {
		mean := hourAt(k.hour).Add(time.Duration(v.begins/int64(v.Windows)) * time.Microsecond)
		if mean.Before(c.at.Add(-time.Hour)) {
			continue // its AD1s have come
		}
		pending[of{k.supplier, k.model}] = append(pending[of{k.supplier, k.model}], advice.Pending{Model: k.model, Begins: mean, Count: v.Windows})
	}
	for k, list := range pending {
		f := advice.Expect(c.at, calendarDays*24, list, times)
		c.unlearned += f.Unlearned
		for _, h := range f.Hours {
			if h.Alerts > 0 {
				c.cell(cellKey{hourOf(h.From.UnixMicro()), k.supplier, k.model}).Alerts += h.Alerts
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
