package main

import (
	"fmt"
	"time"
)

// latency is row 2: how long a message takes at a fixed rate, from the time at which it
// should have been sent.
func (h *harness) latency() error {
	t, err := h.theTown()
	if err != nil {
		return err
	}
	const rate = 5000
	m := powerOutage(elsewhere, 1_000_000)
	measured := map[string][2]sample{}
	both := []*candidate{t.lua, &t.quell.candidate}
	for round := range h.rounds + 1 {
		for _, c := range both {
			l := &loop{addrs: []string{c.addr}, senders: connections, messages: []*message{m}, total: int(h.each.Seconds() * rate), rate: rate}
			l.from = h.numbers(int64(l.total))
			if err := l.run(h.ctx); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round == 0 {
				continue
			}
			p := measured[c.name]
			for k, share := range []float64{0.5, 0.99} {
				p[k] = append(p[k], float64(percentile(l.latency, share))/float64(time.Microsecond))
			}
			measured[c.name] = p
			if err := sleep(h.ctx, settle); err != nil {
				return err
			}
		}
	}
	lines := [][]string{{"µs at " + thousands(rate) + " AD1 a second", "p50", "p99"}}
	for _, c := range both {
		lines = append(lines, []string{c.name, measured[c.name][0].String(), measured[c.name][1].String()})
	}
	p50 := measured["quell"][0].over(measured[t.lua.name][0])
	p99 := measured["quell"][1].over(measured[t.lua.name][1])
	lines = append(lines, []string{"**quell against nginx + Lua**", p50.String(), p99.String()})
	text := table(lines...)
	fmt.Print(text)
	h.doc.set("latency", text)
	h.doc.aim(aim{"2", "p50 and p99 at a fixed 5,000/s (open loop)", "nginx + Lua", "at most 1.2 times", p50.String() + "; " + p99.String(), p50.median() <= 1.2 && p99.median() <= 1.2})
	return nil
}
