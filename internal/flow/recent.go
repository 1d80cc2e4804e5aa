package flow

import (
	"context"
	"errors"
	"time"

	"quell/internal/sqldb"
)

// Minute has the numbers of AD1s that were received in one minute, by all nodes. What is under way,
// has no end or was released is not in it: Audit finds those.
type Minute struct {
	At                                                       time.Time // when it starts
	Received, Forwarded, Suppressed, Shadow, Refused, Failed int64
}

// Recent returns the minutes in [from, to) in which AD1s were received, in order, as far as the
// database has them: the last second or two may be missing. Unlike Audit it compares nothing with
// the log, and is as fast for a log of any length. The error is ErrRange if that is more than
// MaxMinutes, or sqldb.ErrUnavailable.
func (c *Counters) Recent(ctx context.Context, from, to time.Time) ([]Minute, error) {
	if length := to.Sub(from); length <= 0 || length > MaxMinutes {
		return nil, ErrRange
	}
	ctx, cancel := c.db.Bounded(ctx)
	defer cancel()
	var list []Minute
	var no int64
	var packed []byte
	var fault error
	rows, err := c.db.Query(ctx, `SELECT minute, counts FROM flow WHERE minute >= ? AND minute < ? ORDER BY minute`, minuteOf(from), minuteOf(to))
	_, err = sqldb.Each(rows, err, func() {
		if n := len(list); n == 0 || !list[n-1].At.Equal(startOf(no)) {
			list = append(list, Minute{At: startOf(no)})
		}
		m := &list[len(list)-1]
		fault = errors.Join(fault, eachCounts(packed, func(_ string, v counts) {
			m.Received += v[received]
			m.Forwarded += v[Forwarded]
			m.Suppressed += v[Suppressed]
			m.Shadow += v[Shadow]
			m.Refused += v[Refused]
			m.Failed += v[Failed]
		}))
	}, &no, &packed)
	if err = errors.Join(err, fault); err != nil {
		return nil, sqldb.Unavailable(err)
	}
	return list, nil
}
