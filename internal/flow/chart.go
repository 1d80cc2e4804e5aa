package flow

import (
	"context"
	"errors"
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

// NoEnd returns how many have no end yet: they are under way, or were when a process was killed.
func (c *Counted) NoEnd() int64 {
	return c.Received - c.Forwarded - c.Suppressed - c.Shadow - c.Refused - c.Failed
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
	// LastHour and LastDay are those before now, whatever the chart is of.
	LastHour Counted `json:"last_hour"`
	LastDay  Counted `json:"last_day"`
	// Since is from when on AD1s were counted; zero if none was.
	Since time.Time `json:"since,omitzero"`
	// Distributors are the totals by distributor, as Line has them, for those that have any.
	Distributors map[string]*Counted `json:"distributors"`
}

// chartSQL finds the counts of the minutes from ?1 to before ?2.
const chartSQL = `SELECT minute, counts FROM flow WHERE minute >= ?1 AND minute < ?2`

// Chart returns how many AD1s were received, and what became of them, in steps of whole minutes from
// one instant to another, and those of the hour and the day before now. It takes the counts as they are, and looks for no differences: Audit does.
// The error is ErrRange, or sqldb.ErrUnavailable.
func (c *Counters) Chart(ctx context.Context, from, to time.Time, step time.Duration, now time.Time) (*Chart, error) {
	from, to = from.UTC().Truncate(time.Minute), to.UTC().Add(time.Minute-1).Truncate(time.Minute)
	length := to.Sub(from)
	if step < time.Minute || step%time.Minute != 0 || length <= 0 || length > MaxRange || length/step > 24*60 {
		return nil, ErrRange
	}
	out := &Chart{From: from, To: to, Step: step, Distributors: map[string]*Counted{}}
	for at := from; at.Before(to); at = at.Add(step) {
		out.Points = append(out.Points, Point{From: at})
	}
	var since int64
	if err := c.db.QueryRow(ctx, `SELECT coalesce(max(minute), 0) FROM flow_since`).Scan(&since); err != nil {
		return nil, sqldb.Unavailable(err)
	}
	if since > 0 {
		out.Since = startOf(since)
	}
	err := c.eachMinute(ctx, from, to, func(minute int64, distributor string, one *Counted) {
		out.Points[int(startOf(minute).Sub(from)/step)].add(one)
		out.Total.add(one)
		name := nameOf(distributor)
		if out.Distributors[name] == nil {
			out.Distributors[name] = &Counted{}
		}
		out.Distributors[name].add(one)
	})
	if err != nil {
		return nil, err
	}
	out.LastHour, out.LastDay, err = c.Recent(ctx, now)
	return out, err
}

// Recent returns how many AD1s were received in the hour and the 24 hours before an instant, with its
// minute. The error is sqldb.ErrUnavailable.
func (c *Counters) Recent(ctx context.Context, now time.Time) (hour, day Counted, err error) {
	end := now.UTC().Truncate(time.Minute).Add(time.Minute)
	err = c.eachMinute(ctx, end.Add(-24*time.Hour), end, func(minute int64, _ string, one *Counted) {
		day.add(one)
		if !startOf(minute).Before(end.Add(-time.Hour)) {
			hour.add(one)
		}
	})
	return hour, day, err
}

// eachMinute calls f with the counts of each minute, run and distributor.
func (c *Counters) eachMinute(ctx context.Context, from, to time.Time, f func(minute int64, distributor string, one *Counted)) error {
	var minute int64
	var packed []byte
	var fault error
	rows, err := c.db.Query(ctx, chartSQL, minuteOf(from), minuteOf(to))
	_, err = sqldb.Each(rows, err, func() {
		fault = errors.Join(fault, eachCounts(packed, func(distributor string, v counts) {
			f(minute, distributor, &Counted{Received: v[received], Forwarded: v[Forwarded], Suppressed: v[Suppressed], Shadow: v[Shadow], Refused: v[Refused], Failed: v[Failed]})
		}))
	}, &minute, &packed)
	return sqldb.Unavailable(errors.Join(err, fault))
}
