package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/internal/evidence"
	"quell/internal/nation"
	"quell/internal/simnight"
)

var simulateCommand = command{
	name: "simulate", usage: "[--homes N] [--scenario NAME] [--nights N] [--worlds N] [--seed N] [--report DIR] [--out DIR] [--record FILE] [--southbound URL --northbound URL [--speed N]]",
	short: "Measure evidence in nights that are made up, with power cuts of which the truth is known",
	run:   simulate,
}

func simulate(ctx context.Context, e *env, args []string) error {
	fs := e.flags("It makes up homes, the network that supplies them, firmware campaigns and power cuts, and has the evidence of quell judge each suppressed alert.\n" +
		"The table says, for each scenario, how many of the alerts that evidence calls strong are genuine (precision), and how many of the genuine ones it finds (recall).\n" +
		"The same seed gives the same nights. All assumptions are in internal/nation/assumptions.go; docs/outage-safety.md discusses them.\n" +
		"With --out it only writes one night of the scenario: what quell sees (sightings.jsonl) and the truth (truth.jsonl).\n" +
		"With --record it only writes one night as traffic, for quell replay: the recording FILE; FILE.inventory.csv and FILE.list.txt, which belong to it; and FILE.truth.\n" +
		"It prints the levels that the simulation's own engine comes to. Those of quell replay --evidence --inventory FILE.inventory.csv FILE are the same.\n" +
		"With --southbound and --northbound it sends such a night to a quell, which needs that inventory and list, and \"Simulated\" among its manufacturers.")
	y := nation.Study{Before: 3}
	fs.IntVar(&y.Homes, "homes", 200_000, "how many `homes` there are, from a town (5000) to a nation (29000000)")
	fs.IntVar(&y.Nights, "nights", 10, "how many `nights` are measured in each world")
	fs.IntVar(&y.Worlds, "worlds", 6, "how many `worlds` there are, each with other meters and another network")
	fs.Uint64Var(&y.Seed, "seed", 1, "the `number` that all is made up from")
	name := fs.String("scenario", "", "the `name` of the only scenario to measure, such as \"quiet campaign\"")
	report := fs.String("report", "", "write the tables into outage-safety.md in this `folder`, and the charts beside it")
	out := fs.String("out", "", "write one night as JSON lines into this `folder`")
	var to simnight.Sender
	fs.StringVar(&to.Southbound, "southbound", "", "send one night to the listeners of a quell. This is the `URL` of the southbound one")
	fs.StringVar(&to.Northbound, "northbound", "", "the `URL` of the northbound one")
	fs.Float64Var(&to.Speed, "speed", 1, "send `N` times as fast as the night is. Windows do not become shorter by that")
	record := fs.String("record", "", "write one night as a recording into `FILE`, with its inventory, device list and truth beside it")
	if rest, err := parse(fs, args); err != nil || len(rest) > 0 {
		return orUsage(err, "takes no arguments")
	}
	one := *out+*record+to.Southbound+to.Northbound != ""
	var stray []string
	fs.Visit(func(f *flag.Flag) {
		if one && slices.Contains([]string{"nights", "worlds", "report"}, f.Name) || f.Name == "speed" && to.Southbound == "" {
			stray = append(stray, "--"+f.Name)
		}
	})
	var scenarios []nation.Scenario
	var names []string
	for _, s := range nation.Scenarios {
		names = append(names, strconv.Quote(s.Name))
		if *name == "" || *name == s.Name {
			scenarios = append(scenarios, s)
		}
	}
	switch {
	case len(stray) > 0:
		return errUsage{strings.Join(stray, ", ") + ": not in this use, see --help"}
	case len(scenarios) == 0:
		return errUsage{fmt.Sprintf("there is no scenario %q; there are %s", *name, strings.Join(names, ", "))}
	case y.Homes < 100 || y.Nights < 1 || y.Worlds < 1:
		return errUsage{"it needs 100 homes, one night and one world at least"}
	case *report != "" && *name != "":
		return errUsage{"a report has all scenarios"}
	case one:
		return writeNight(ctx, e, scenarios[0], y, *out, *record, to)
	}
	p := newProgress(e, "simulating", int64(len(scenarios)*y.Worlds*y.Nights), func(n int64) string { return fmt.Sprintf("%d nights", n) })
	const line = "%-20s %-14s %-13s %10s %8s %15s\n"
	fmt.Fprintf(e.stdout, line, "scenario", "inventory has", "when", "precision", "recall", "false, of 1,000")
	var results []*nation.Result
	for _, s := range scenarios {
		of := y.Run(ctx, s, func() { p.add(1) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, r := range of {
			for m, moment := range nation.Moments {
				fmt.Fprintf(e.stdout, line, s.Name, r.Detail, moment.Name, fmt.Sprintf("%.4f", r.Counts.Precision(m)), fmt.Sprintf("%.3f", r.Counts.Recall(m)), fmt.Sprintf("%.5f", r.Counts.FalseReleases()))
			}
		}
		results = append(results, of...)
	}
	p.end()
	if *report == "" {
		return nil
	}
	return simnight.WriteReport(*report, y, results)
}

// writeNight writes a night as sightings, as a recording, or both, and sends it if it is told to whom.
func writeNight(ctx context.Context, e *env, s nation.Scenario, y nation.Study, dir, recording string, to simnight.Sender) error {
	send := to.Southbound != "" || to.Northbound != ""
	if err := to.Check(); send && err != nil {
		return errUsage{err.Error()}
	}
	w := nation.NewWorld(y.Seed, y.Homes)
	n := w.Night(s, y.Seed, time.Date(2026, 11, 1, 22, 0, 0, 0, time.UTC))
	fmt.Fprintf(e.stdout, "%s, %d homes: %d activated, %d cut off; AD1s of %d outages suppressed.\n", s.Name, y.Homes, n.Activated, n.Cut, len(n.Alerts))
	if dir != "" {
		if err := simnight.WriteSightings(dir, n); err != nil {
			return err
		}
	}
	if recording != "" {
		if err := simnight.WriteFiles(recording, w, n, s); err != nil {
			return err
		}
		levels := w.Levels(n)
		strong, weak, none := levels[evidence.Strong], levels[evidence.Weak], levels[evidence.None]
		fmt.Fprintf(e.stdout, "An outage has an entry for each user who gets an AD1. Evidence of the %d entries at the end: %d strong, %d weak, %d none.\n", strong+weak+none, strong, weak, none)
	}
	if !send {
		return nil
	}
	p := newProgress(e, "sending", int64(len(n.Sightings)), func(n int64) string { return fmt.Sprintf("%d messages", n) })
	defer p.end()
	to.Sent = func() { p.add(1) }
	failed, err := to.Send(ctx, w, n)
	if err == nil {
		_, err = fmt.Fprintf(e.stdout, "%d messages sent, %d had another answer than success.\n", len(n.Sightings), failed)
	}
	return err
}
