package main

import (
	"fmt"
	"math"

	"quell/bench/load"
	"quell/bench/page"
)

// cost is what rows have measured, for the arithmetic of the scale on paper.
type cost struct {
	town *town
	svg  string

	hubBytes, restBytes page.Sample
	// µs: of a node for a passed AD1, a suppressed one, one of the mix of a campaign on
	// three nodes; of PostgreSQL for a suppressed one.
	passedAD1, suppressedAD1, clusterAD1, postgresAD1 page.Sample
}

// paper writes what a national blackout needs, from what this run measured. Without all
// of the rows 1, 3, 4 and 7 it prints what it can.
func (h *harness) paper() {
	if len(h.passedAD1) == 0 {
		return
	}
	const (
		hubs     = 30_000_000
		seconds  = 300
		rate     = hubs / seconds
		cores    = 8   // of a node
		busy     = 0.6 // the share of them that may be used
		campaign = 500_000
	)
	p := h.passedAD1.Median()
	node := cores * busy * 1e6 / p
	nodes := math.Ceil(rate / node)
	lines := [][]string{
		{"what", "how it is computed", "result"},
		{"AD1 a second", fmt.Sprintf("%s hubs ÷ %d s", page.Thousands(hubs), seconds), page.Thousands(rate) + "/s"},
		{"a passed AD1", "row 1", page.Number(p) + " µs"},
		{"a core carries", fmt.Sprintf("1,000,000 µs ÷ %s µs", page.Number(p)), page.Thousands(int64(1e6/p)) + "/s"},
		{"a node carries", fmt.Sprintf("%d cores × %.0f %% × 1,000,000 µs ÷ %s µs", cores, 100*busy, page.Number(p)), page.Thousands(int64(node)) + "/s"},
		{"**nodes for a blackout** in which nothing is suppressed", fmt.Sprintf("%s/s ÷ %s/s", page.Thousands(rate), page.Thousands(int64(node))), fmt.Sprintf("**%.0f**", nodes)},
	}
	add := func(what, how, result string) { lines = append(lines, []string{what, how, result}) }
	bits := float64(rate) * float64(load.PowerOutage(load.Elsewhere, 1).Size()+300) * 8
	add("network of all nodes, in and out each", fmt.Sprintf("%s/s × (%d bytes + about 300 of HTTP) × 8", page.Thousands(rate), load.PowerOutage(load.Elsewhere, 1).Size()), fmt.Sprintf("%.1f Gbit/s", bits/1e9))
	if len(h.restBytes) > 0 {
		b := h.restBytes.Median()
		add("at rest for all of them", fmt.Sprintf("%s × %s bytes", page.Thousands(hubs), page.Number(b)), fmt.Sprintf("%s MB", page.Thousands(int64(hubs*b/1e6))))
	}
	if len(h.hubBytes) > 0 {
		b := h.hubBytes.Median()
		add("memory for a window of every hub", fmt.Sprintf("%s × %s bytes", page.Thousands(hubs), page.Number(b)), fmt.Sprintf("%s MB on each node", page.Thousands(int64(hubs*b/1e6))))
	}
	whole := len(h.postgresAD1) > 0 && len(h.suppressedAD1) > 0 && len(h.restBytes) > 0
	if len(h.suppressedAD1) > 0 {
		s := h.suppressedAD1.Median()
		add("a suppressed AD1, on SQLite", "row 3", page.Number(s)+" µs")
		add("one node on SQLite suppresses, with one core for it", fmt.Sprintf("1,000,000 µs ÷ %s µs", page.Number(s)), page.Thousands(int64(1e6/s))+"/s")
	}
	if len(h.postgresAD1) > 0 {
		q := h.postgresAD1.Median()
		share := float64(campaign) / hubs
		during := rate * share
		add("PostgreSQL's part of a suppressed AD1", "row 7, three nodes", page.Number(q)+" µs")
		add("PostgreSQL carries", fmt.Sprintf("%d cores × %.0f %% × 1,000,000 µs ÷ %s µs", cores, 100*busy, page.Number(q)), page.Thousands(int64(cores*busy*1e6/q))+"/s")
		add("a blackout during a campaign: suppressed", fmt.Sprintf("%s/s × %s ÷ %s", page.Thousands(rate), page.Thousands(campaign), page.Thousands(hubs)), page.Thousands(int64(during))+"/s")
		add("**cores of PostgreSQL for that**", fmt.Sprintf("%s/s × %s µs", page.Thousands(int64(during)), page.Number(q)), fmt.Sprintf("**%s**", page.Number(during*q/1e6)))
		add("if every hub had a window, cores of PostgreSQL", fmt.Sprintf("%s/s × %s µs", page.Thousands(rate), page.Number(q)), page.Number(rate*q/1e6))
	}
	text := page.Table(lines...)
	fmt.Printf("\n== scale on paper\n%s", text)
	if whole {
		h.set("paper", text)
	}
}
