// Package senders counts how many 11.3s each originator has sent within an hour.
package senders

import (
	"slices"
	"sync"
	"time"

	"quell/internal/outage"
)

// Counts counts the 11.3s of each originator within an hour. The zero value is ready.
type Counts struct {
	mu    sync.Mutex // guards the fields below
	of    map[outage.DeviceID]*sender
	swept int64 // the minute in which those that were silent for an hour were last deleted
}

// sender is what one originator has sent.
type sender struct {
	minutes [60]int // 11.3s in each minute of the last hour
	sum     int     // of minutes
	last    int64   // the newest minute, counted from 1970
	over    int64   // the last minute in which it was over its limit; 0 if never
}

// maxSenders bounds how many originators are counted each by itself. There are about two
// hundred suppliers. Those beyond are counted together, as originator 0.
const maxSenders = 10_000

// Count counts an 11.3, and reports whether its originator has sent more than most within an
// hour; first is true for the first such one in an hour. If most is 0, there is no limit.
func (s *Counts) Count(originator outage.DeviceID, at time.Time, most int) (over, first bool) {
	if most == 0 {
		return false, false
	}
	minute := at.Unix() / 60
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.find(originator, minute)
	one.advance(minute)
	if one.sum >= most {
		first = minute-one.over >= 60
		one.over = minute
		return true, first
	}
	one.minutes[one.last%60]++
	one.sum++
	return false, false
}

func (s *Counts) find(originator outage.DeviceID, minute int64) *sender {
	if one := s.of[originator]; one != nil {
		return one
	}
	if len(s.of) >= maxSenders && s.swept != minute {
		s.swept = minute
		for id, one := range s.of {
			if minute-one.last >= 60 {
				delete(s.of, id)
			}
		}
	}
	if len(s.of) >= maxSenders && originator != 0 {
		return s.find(0, minute)
	}
	if s.of == nil {
		s.of = map[outage.DeviceID]*sender{}
	}
	one := &sender{last: minute}
	s.of[originator] = one
	return one
}

// advance forgets the minutes that are more than an hour old.
func (o *sender) advance(minute int64) {
	for ; o.last < minute && o.sum > 0; o.last++ {
		next := &o.minutes[(o.last+1)%60]
		o.sum -= *next
		*next = 0
	}
	o.last = max(o.last, minute)
}

// TooMany returns the originators that were over their limit in the last ten minutes, in
// order.
func (s *Counts) TooMany(now time.Time) (list []outage.DeviceID) {
	minute := now.Unix() / 60
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, one := range s.of {
		if one.over != 0 && minute-one.over < 10 {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	return list
}
