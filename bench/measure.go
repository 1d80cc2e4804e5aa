package main

import (
	"fmt"
	"time"
)

// settle is how long a candidate may still work on messages that were answered, such
// as writing its notes, before its processor time is read.
const settle = 300 * time.Millisecond

// measure sends messages of a kind to a candidate for a time, and returns how many
// microseconds of processor time it took for each.
func (r *rig) measure(c *candidate, m *message, d time.Duration) (micros float64, messages int64, err error) {
	from := r.numbers(int64(d/time.Second+1) * 200_000)
	return r.measureScript(c, scripted(m, c.addr, from), d)
}

// measureScript is measure with a script for wrk.
func (r *rig) measureScript(c *candidate, script string, d time.Duration) (micros float64, messages int64, err error) {
	before, err := c.cpu()
	if err != nil {
		return 0, 0, err
	}
	n, err := wrk(r.ctx, r.dir, c.url(), script, d)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", c.name, err, c.tail())
	}
	if err := sleep(r.ctx, settle); err != nil {
		return 0, 0, err
	}
	after, err := c.cpu()
	return float64((after - before).Microseconds()) / float64(n), n, err
}

// allocated returns how many bytes and objects a node has allocated so far, without
// those of answering this question, which costs the same each time.
func (n *node) allocated() (bytes, objects float64, err error) {
	first, err := n.metrics()
	if err != nil {
		return 0, 0, err
	}
	second, err := n.metrics()
	if err != nil {
		return 0, 0, err
	}
	const b, o = "go_memstats_alloc_bytes_total", "go_memstats_mallocs_total"
	return 2*first[b] - second[b], 2*first[o] - second[o], nil
}
