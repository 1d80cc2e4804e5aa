package flow

import (
	"context"
	"errors"
	"time"

	"quell/internal/sqldb"
)

// Recent returns what became of the AD1s of the last hour and of the last 24 hours, as far as the
// database has it: what this node counted up to a second ago. It counts whole minutes, with the
// present one, and compares nothing. Of each, Released is 0.
func (c *Counters) Recent(ctx context.Context, now time.Time) (hour, day Totals, err error) {
	ctx, cancel := c.db.Bounded(ctx)
	defer cancel()
	last := minuteOf(now)
	var no int64
	var packed []byte
	var fault error
	rows, err := c.db.Query(ctx, `SELECT minute, counts FROM flow WHERE minute > ? AND minute <= ?`, last-24*60, last)
	_, err = sqldb.Each(rows, err, func() {
		fault = errors.Join(fault, eachCounts(packed, func(_ string, v counts) {
			t := Totals{Received: v[received], Forwarded: v[Forwarded], Shadow: v[Shadow], Suppressed: v[Suppressed], Refused: v[Refused], Failed: v[Failed], UnderWay: v.noEnd()}
			day.Add(&t)
			if no > last-60 {
				hour.Add(&t)
			}
		}))
	}, &no, &packed)
	return hour, day, sqldb.Unavailable(errors.Join(err, fault))
}
