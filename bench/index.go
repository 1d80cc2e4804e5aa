package main

import (
	"fmt"
	"slices"
	"strings"

	"quell/bench/page"
)

// index is row 5: how long the set of hubs takes to say whether a hub may have a window.
// The benchmarks of internal/hubs measure it. Those of adding and removing, which look
// for the longest pause, take a minute.
func (h *harness) index() error {
	const pkg = "internal/hubs"
	program, err := h.GoTests(pkg)
	if err != nil {
		return err
	}
	results, err := h.GoBench(h.Ctx, program, pkg, "^Benchmark(Hit|Miss)$", "200ms", h.rounds)
	if err != nil {
		return err
	}
	if !h.quick {
		pauses, err := h.GoBench(h.Ctx, program, pkg, "^BenchmarkPause$", "3x", 1)
		if err != nil {
			return err
		}
		results = append(results, pauses...)
	}
	names, by := []string{}, map[string]map[string]page.Sample{}
	for _, r := range results {
		if by[r.Name] == nil {
			names, by[r.Name] = append(names, r.Name), map[string]page.Sample{}
		}
		for unit, v := range r.Figures {
			by[r.Name][unit] = append(by[r.Name][unit], v)
		}
	}
	lines := [][]string{{"benchmark of internal/hubs, with so many hubs", "ns", "longest pause in ms", "bytes for each hub"}}
	var pauses []string
	longest := 0.0
	for _, name := range names {
		line := []string{name, "–", "–", "–"}
		if ns := by[name]["ns/op"]; !strings.HasPrefix(name, "Pause") {
			line[1] = ns.String()
		}
		var parts []string
		for unit, v := range by[name] {
			if what, ok := strings.CutPrefix(unit, "ms-longest-"); ok {
				parts = append(parts, what+" "+page.Number(v.Median()))
				longest = max(longest, v.Median())
			}
		}
		if len(parts) > 0 {
			slices.Sort(parts)
			pauses = append(pauses, name)
			line[2] = strings.Join(parts, ", ")
		}
		if memory, ok := by[name]["bytes/hub"]; ok {
			line[3] = memory.String()
			h.hubBytes = memory
		}
		lines = append(lines, line)
	}
	text := page.Table(lines...)
	fmt.Print(text)
	h.set("index", text)
	for _, a := range []struct {
		key, what, name string
		ns              float64
	}{{"5, hit", "a hub with a window, among 10,000,000", "Hit/10000000", 150}, {"5, miss", "a hub without a window, among 10,000,000", "Miss/10000000", 100}} {
		if ns := by[a.name]["ns/op"]; len(ns) > 0 {
			h.doc.Aim(a.key, a.what, "Alertmanager's silencer (1.4 ms at 10,000)", fmt.Sprintf("under %.0f ns", a.ns), ns.String()+" ns", ns.Median() < a.ns)
		}
	}
	if len(pauses) > 0 {
		h.doc.Aim("5, pause", "the longest pause of the set, up to 10,000,000", "–", "at most 5 ms", page.Number(longest)+" ms", longest <= 5)
	}
	return nil
}
