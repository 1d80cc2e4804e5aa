package main

import (
	"fmt"
	"time"

	"quell/bench/load"
	"quell/bench/page"
	"quell/bench/rig"
)

// latency is row 2: how long a message takes at a fixed rate, from the time at which it
// should have been sent.
func (h *harness) latency() error {
	t, err := h.theTown()
	if err != nil {
		return err
	}
	const rate = 5000
	m := load.PowerOutage(load.Elsewhere, 1_000_000)
	measured := map[string][2]page.Sample{}
	both := []*rig.Candidate{t.lua, &t.quell.Candidate}
	for round := range h.rounds + 1 {
		for _, c := range both {
			l := &load.Loop{Addrs: []string{c.Addr}, Senders: load.Connections, Messages: []*load.Message{m}, Total: int(h.each.Seconds() * rate), Rate: rate}
			l.From = h.Numbers(int64(l.Total))
			if err := l.Run(h.Ctx); err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			if round == 0 {
				continue
			}
			p := measured[c.Name]
			for k, share := range []float64{0.5, 0.99} {
				p[k] = append(p[k], float64(load.Percentile(l.Latency, share))/float64(time.Microsecond))
			}
			measured[c.Name] = p
			if err := rig.Sleep(h.Ctx, rig.Settle); err != nil {
				return err
			}
		}
	}
	lines := [][]string{{"µs at " + page.Thousands(rate) + " AD1 a second", "p50", "p99"}}
	for _, c := range both {
		lines = append(lines, []string{c.Name, measured[c.Name][0].String(), measured[c.Name][1].String()})
	}
	p50 := measured["quell"][0].Over(measured[t.lua.Name][0])
	p99 := measured["quell"][1].Over(measured[t.lua.Name][1])
	lines = append(lines, []string{"**quell against nginx + Lua**", p50.String(), p99.String()})
	text := page.Table(lines...)
	fmt.Print(text)
	h.set("latency", text)
	h.doc.Aim("2", "p50 and p99 at a fixed 5,000/s (open loop)", "nginx + Lua", "at most 1.2 times", p50.String()+"; "+p99.String(), p50.Median() <= 1.2 && p99.Median() <= 1.2)
	return nil
}
