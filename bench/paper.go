package main

import (
	"fmt"
	"math"
)

// cost is what rows have measured, for the arithmetic of the scale on paper.
type cost struct {
	town *town
	svg  string

	hubBytes, restBytes sample
	// µs: of a node for a passed AD1, a suppressed one, one of the mix of a campaign on
	// three nodes; of PostgreSQL for a suppressed one.
	passedAD1, suppressedAD1, clusterAD1, postgresAD1 sample
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
	p := h.passedAD1.median()
	node := cores * busy * 1e6 / p
	nodes := math.Ceil(rate / node)
	lines := [][]string{
		{"what", "how it is computed", "result"},
		{"AD1 a second", fmt.Sprintf("%s hubs ÷ %d s", thousands(hubs), seconds), thousands(rate) + "/s"},
		{"a passed AD1", "row 1", number(p) + " µs"},
		{"a core carries", fmt.Sprintf("1,000,000 µs ÷ %s µs", number(p)), thousands(int64(1e6/p)) + "/s"},
		{"a node carries", fmt.Sprintf("%d cores × %.0f %% × 1,000,000 µs ÷ %s µs", cores, 100*busy, number(p)), thousands(int64(node)) + "/s"},
		{"**nodes for a blackout** in which nothing is suppressed", fmt.Sprintf("%s/s ÷ %s/s", thousands(rate), thousands(int64(node))), fmt.Sprintf("**%.0f**", nodes)},
	}
	add := func(what, how, result string) { lines = append(lines, []string{what, how, result}) }
	bits := float64(rate) * float64(powerOutage(elsewhere, 1).size()+300) * 8
	add("network of all nodes, in and out each", fmt.Sprintf("%s/s × (%d bytes + about 300 of HTTP) × 8", thousands(rate), powerOutage(elsewhere, 1).size()), fmt.Sprintf("%.1f Gbit/s", bits/1e9))
	if len(h.restBytes) > 0 {
		b := h.restBytes.median()
		add("at rest for all of them", fmt.Sprintf("%s × %s bytes", thousands(hubs), number(b)), fmt.Sprintf("%s MB", thousands(int64(hubs*b/1e6))))
	}
	if len(h.hubBytes) > 0 {
		b := h.hubBytes.median()
		add("memory for a window of every hub", fmt.Sprintf("%s × %s bytes", thousands(hubs), number(b)), fmt.Sprintf("%s MB on each node", thousands(int64(hubs*b/1e6))))
	}
	whole := len(h.postgresAD1) > 0 && len(h.suppressedAD1) > 0 && len(h.restBytes) > 0
	if len(h.suppressedAD1) > 0 {
		s := h.suppressedAD1.median()
		add("a suppressed AD1, on SQLite", "row 3", number(s)+" µs")
		add("one node on SQLite suppresses, with one core for it", fmt.Sprintf("1,000,000 µs ÷ %s µs", number(s)), thousands(int64(1e6/s))+"/s")
	}
	if len(h.postgresAD1) > 0 {
		q := h.postgresAD1.median()
		share := float64(campaign) / hubs
		during := rate * share
		add("PostgreSQL's part of a suppressed AD1", "row 7, three nodes", number(q)+" µs")
		add("PostgreSQL carries", fmt.Sprintf("%d cores × %.0f %% × 1,000,000 µs ÷ %s µs", cores, 100*busy, number(q)), thousands(int64(cores*busy*1e6/q))+"/s")
		add("a blackout during a campaign: suppressed", fmt.Sprintf("%s/s × %s ÷ %s", thousands(rate), thousands(campaign), thousands(hubs)), thousands(int64(during))+"/s")
		add("**cores of PostgreSQL for that**", fmt.Sprintf("%s/s × %s µs", thousands(int64(during)), number(q)), fmt.Sprintf("**%s**", number(during*q/1e6)))
		add("if every hub had a window, cores of PostgreSQL", fmt.Sprintf("%s/s × %s µs", thousands(rate), number(q)), number(rate*q/1e6))
	}
	text := table(lines...)
	fmt.Printf("\n== scale on paper\n%s", text)
	if whole {
		h.doc.set("paper", text)
	}
}
