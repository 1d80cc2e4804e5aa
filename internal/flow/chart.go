package flow

import (
	"context"
	"errors"
	"slices"
	"time"

	"quell/internal/sqldb"
)

// Counted are numbers of AD1s by how their way through quell ended, as they were counted within the
// last second. Its JSON is part of the API.
type Counted struct {
	Received   int64 `json:"received"`
	Forwarded  int64 `json:"forwarded"`
	Suppressed int64 `json:"suppressed"`
	Shadow     int64 `json:"shadow"`
	Refused    int64 `json:"refused"`
	Failed     int64 `json:"failed"`
}

func (c *Counted) add(o *Counted) {
	c.Received += o.Received
	c.Forwarded += o.Forwarded
	c.Suppressed += o.Suppressed
	c.Shadow += o.Shadow
	c.Refused += o.Refused
	c.Failed += o.Failed
}

// Point has the AD1s that were received within a step of a chart.
type Point struct {
	From time.Time `json:"from"`
	Counted
}

// Chart has AD1s by time. Its JSON is part of the API.
type Chart struct {
	From   time.Time     `json:"from"`
	To     time.Time     `json:"to"`
	Step   time.Duration `json:"step_ns"`
	Points []Point       `json:"points"` // one for each step, in order
	Total  Counted       `json:"total"`
	// Since is from when on AD1s were counted; zero if none was.
	Since time.Time `json:"since,omitzero"`
	// Distributors are the totals by distributor, as Line has them, for those that have any.
	Distributors map[string]*Counted `json:"distributors"`
}

// chartSQL finds the counts of the minutes from ?1 to before ?2.
const chartSQL = `SELECT minute, counts FROM flow WHERE minute >= ?1 AND minute < ?2`

// Chart returns how many AD1s were received, and what became of them, in steps of whole minutes from
// one instant to another. It takes the counts as they are, and looks for no differences: Audit does.
// The error is ErrRange, or sqldb.ErrUnavailable.
func (c *Counters) Chart(ctx context.Context, from, to time.Time, step time.Duration) (*Chart, error) {
	from, to = from.UTC().Truncate(time.Minute), to.UTC().Add(time.Minute-1).Truncate(time.Minute)
	length := to.Sub(from)
	if step < time.Minute || step%time.Minute != 0 || length <= 0 || length > MaxRange || length/step > 24*60 {
		return nil, ErrRange
	}
	out := &Chart{From: from, To: to, Step: step, Distributors: map[string]*Counted{}}
	for at := from; at.Before(to); at = at.Add(step) {
		out.Points = append(out.Points, Point{From: at})
	}
	var since, minute int64
	if err := c.db.QueryRow(ctx, `SELECT coalesce(max(minute), 0) FROM flow_since`).Scan(&since); err != nil {
		return nil, sqldb.Unavailable(err)
	}
	if since > 0 {
		out.Since = startOf(since)
	}
	var packed []byte
	var fault error
	rows, err := c.db.Query(ctx, chartSQL, minuteOf(from), minuteOf(to))
	_, err = sqldb.Each(rows, err, func() {
		p := &out.Points[int(startOf(minute).Sub(from)/step)]
		fault = errors.Join(fault, eachCounts(packed, func(distributor string, v counts) {
			one := Counted{Received: v[received], Forwarded: v[Forwarded], Suppressed: v[Suppressed], Shadow: v[Shadow], Refused: v[Refused], Failed: v[Failed]}
			p.add(&one)
			out.Total.add(&one)
			name := nameOf(distributor)
			if out.Distributors[name] == nil {
				out.Distributors[name] = &Counted{}
			}
			out.Distributors[name].add(&one)
		}))
	}, &minute, &packed)
	return out, sqldb.Unavailable(errors.Join(err, fault))
}

// Last returns the totals of the points that begin within some time before the end of the chart.
func (c *Chart) Last(d time.Duration) (sum Counted) {
	for _, p := range slices.Backward(c.Points) {
		if p.From.Before(c.To.Add(-d)) {
			break
		}
		sum.add(&p.Counted)
	}
	return sum
}
