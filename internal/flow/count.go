package flow

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"quell/internal/outage"
)

// Longest is for how long a message may be under way: longer than the limits for the store and for
// the next hop together.
const Longest = 5 * time.Minute

// End is how a message's way through quell ended.
type End uint8

// The ends.
const (
	Forwarded End = 1 + iota
	Shadow
	Suppressed
	Refused
	Failed
)

// What a cell counts: received, the five ends by their numbers, and these.
const (
	received = 0
	entered  = 6 // messages that were decided with a new entry of the log
	numbers  = 7 // the sum of the numbers of those entries
	fields   = 8
)

// Cell has the counts of one minute and distributor. A nil cell counts nothing.
type Cell struct{ n [fields]atomic.Int64 }

// End counts the end of a message.
func (c *Cell) End(e End) {
	if c != nil {
		c.n[e].Add(1)
	}
}

// Entered counts a message that was decided with a new entry of the log, which has this number.
func (c *Cell) Entered(seq int64) {
	if c != nil {
		c.n[numbers].Add(seq)
		c.n[entered].Add(1)
	}
}

// read returns the counts. The ends are read first, so none comes without its receipt.
func (c *Cell) read() (v counts) {
	for i := fields - 1; i >= 0; i-- {
		v[i] = c.n[i].Load()
	}
	return v
}

// counts are the counts of a cell.
type counts [fields]int64

// noEnd returns how many messages have no end.
func (v *counts) noEnd() int64 {
	n := v[received]
	for e := Forwarded; e <= Failed; e++ {
		n -= v[e]
	}
	return n
}

// unknown is the index of the cell for alerts whose MPxN names no distributor.
const unknown = 100

// indexOf returns the index of the cell of a distributor, as the log names it: two digits, or "".
func indexOf(id string) int {
	if len(id) != 2 {
		return unknown
	}
	return int(id[0]-'0')*10 + int(id[1]-'0')
}

func distributorAt(i int) string {
	if i == unknown {
		return ""
	}
	return string([]byte{'0' + byte(i/10), '0' + byte(i%10)})
}

// minute has the cells of the AD1s that were received in one minute.
type minute struct {
	no    int64 // minutes since 1970
	cells [unknown + 1]atomic.Pointer[Cell]
	next  atomic.Pointer[minute] // one that was made earlier

	// Only who writes uses these.
	written string    // the counts that the database has
	over    time.Time // since when it is known that there is a later minute
}

// Received counts a received AD1, and returns the cell in which its end is to be counted. It takes
// no lock. Counters that are nil count nothing.
func (c *Counters) Received(at time.Time, mpan string) *Cell {
	if c == nil {
		return nil
	}
	to := &c.minute(minuteOf(at)).cells[indexOf(outage.DistributorID(mpan))]
	cell := to.Load()
	if cell == nil {
		if cell = new(Cell); !to.CompareAndSwap(nil, cell) {
			cell = to.Load()
		}
	}
	cell.n[received].Add(1)
	return cell
}

func minuteOf(at time.Time) int64 { return at.Unix() / 60 }

// startOf is when a minute starts.
func startOf(minute int64) time.Time { return time.Unix(60*minute, 0).UTC() }

// minute returns the cells of a minute, which it makes if there are none.
func (c *Counters) minute(no int64) *minute {
	var made *minute
	for {
		head := c.minutes.Load()
		for m := head; m != nil; m = m.next.Load() {
			if m.no == no {
				return m
			}
		}
		if made == nil {
			made = &minute{no: no}
		}
		made.next.Store(head)
		if c.minutes.CompareAndSwap(head, made) {
			return made
		}
	}
}

// appendCounts appends the counts of a minute as the table has them: for each distributor with any,
// its index; a byte with a bit for each count that is not 0; and those counts as varints.
func (m *minute) appendCounts(b []byte) []byte {
	for i := range m.cells {
		cell := m.cells[i].Load()
		if cell == nil {
			continue
		}
		v := cell.read()
		b = append(b, byte(i), 0)
		mask := len(b) - 1
		for k, n := range v {
			if n != 0 {
				b[mask] |= 1 << k
				b = binary.AppendVarint(b, n)
			}
		}
	}
	return b
}

var errCounts = errors.New("the counts of a minute cannot be read")

// eachCounts reads what appendCounts has written.
func eachCounts(b []byte, f func(distributor string, v counts)) error {
	for len(b) > 0 {
		if len(b) < 2 || b[0] > unknown {
			return errCounts
		}
		var v counts
		i, mask := int(b[0]), b[1]
		b = b[2:]
		for k := range v {
			if mask&(1<<k) == 0 {
				continue
			}
			n, size := binary.Varint(b)
			if size <= 0 {
				return errCounts
			}
			v[k], b = n, b[size:]
		}
		f(distributorAt(i), v)
	}
	return nil
}
