package rig

import (
	"fmt"
	"time"

	"quell/bench/load"
)

// Settle is how long a candidate may still work on messages that were answered, such
// as writing its notes, before its processor time is read.
const Settle = 300 * time.Millisecond

// Measure sends messages of a kind to a candidate for a time, and returns how many
// microseconds of processor time it took for each.
func (r *Rig) Measure(c *Candidate, m *load.Message, d time.Duration) (micros float64, messages int64, err error) {
	from := r.Numbers(int64(d/time.Second+1) * 200_000)
	return r.MeasureScript(c, load.Scripted(m, c.Addr, from), d)
}

// MeasureScript is measure with a script for wrk.
func (r *Rig) MeasureScript(c *Candidate, script string, d time.Duration) (micros float64, messages int64, err error) {
	before, err := c.CPU()
	if err != nil {
		return 0, 0, err
	}
	n, err := load.Wrk(r.Ctx, r.Dir, c.URL(), script, d)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", c.Name, err, c.Tail())
	}
	if err := Sleep(r.Ctx, Settle); err != nil {
		return 0, 0, err
	}
	after, err := c.CPU()
	return float64((after - before).Microseconds()) / float64(n), n, err
}

// Allocated returns how many bytes and objects a node has allocated so far, without
// those of answering this question, which costs the same each time.
func (n *Node) Allocated() (bytes, objects float64, err error) {
	first, err := n.Metrics()
	if err != nil {
		return 0, 0, err
	}
	second, err := n.Metrics()
	if err != nil {
		return 0, 0, err
	}
	const b, o = "go_memstats_alloc_bytes_total", "go_memstats_mallocs_total"
	return 2*first[b] - second[b], 2*first[o] - second[o], nil
}
