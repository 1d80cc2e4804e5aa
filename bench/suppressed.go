package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"quell/bench/load"
	"quell/bench/page"
	"quell/bench/rig"
)

// suppressed is row 3: an AD1 whose hub has an open window is logged durably. Beside it
// run the bare statement that decides and logs, in batches as large as those of quell,
// and the AD1s of row 1, which HTTP and reading cost too.
func (h *harness) suppressed() error {
	t, err := h.theTown()
	if err != nil {
		return err
	}
	program, err := h.GoTests("internal/ledger")
	if err != nil {
		return err
	}
	false1, passed := load.PowerOutage(0, uint32(t.windows)), load.PowerOutage(load.Elsewhere, 1_000_000)
	var full, plain, bare, batch, evidence page.Sample
	for round := range h.rounds {
		us, _, err := h.Measure(&t.quell.Candidate, passed, h.each)
		if err != nil {
			return err
		}
		plain = append(plain, us)
		before, err := t.quell.Metrics()
		if err != nil {
			return err
		}
		us, n, err := h.Measure(&t.quell.Candidate, false1, h.each)
		if err != nil {
			return err
		}
		after, err := t.quell.Metrics()
		if err != nil {
			return err
		}
		full = append(full, us)
		// wrk stops while some messages are under way.
		if got := decided(after, "suppressed") - decided(before, "suppressed"); math.Abs(got-float64(n)) > load.Connections {
			return fmt.Errorf("quell says that it suppressed %.0f alerts of %d", got, n)
		}
		later, err := h.assessed([]*rig.Node{t.quell}, nil)
		if err != nil {
			return err
		}
		evidence = append(evidence, float64(later.quell.Microseconds())/float64(n))
		const sum, count = "quell_store_batch_size_sum", "quell_store_batch_size_count"
		size := (after[sum] - before[sum]) / (after[count] - before[count])
		batch = append(batch, size)
		us, err = h.bareStatement(h.Ctx, program, int(math.Round(size)), t.windows, int(n))
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		bare = append(bare, us)
	}
	limit := bare.Plus(plain)
	ratio := full.Over(limit)
	text := page.Table(
		[]string{"µs of processor time for each alert", "median (spread)"},
		[]string{"an AD1 that quell suppresses, over HTTP and durable", full.String()},
		[]string{"the bare statement, in batches of " + batch.String() + " alerts", bare.String()},
		[]string{"an AD1 that quell passes", plain.String()},
		[]string{"**suppressed against the two together**", ratio.String()},
		[]string{"evidence on it afterwards, when no alerts come in a rush", evidence.String()})
	fmt.Print(text)
	h.set("suppressed", text)
	h.doc.Aim("3", "processor time per suppressed AD1, durable on SQLite", "the bare statement in batches, plus row 1", "at most 1.3 times", ratio.String(), ratio.Median() <= 1.3)
	h.suppressedAD1 = full
	if h.passedAD1 == nil {
		h.passedAD1 = plain
	}
	if h.quick && h.profile == "" {
		return nil
	}
	text, err = h.Where(&t.quell.Candidate, h.profile, "suppressed", false1, full)
	fmt.Print(text)
	h.set("where-suppressed", text)
	return err
}

// bareStatement returns the microseconds of processor time of the bare statement for an
// alert, as BenchmarkBare in internal/ledger measures them.
func (h *harness) bareStatement(ctx context.Context, program string, batch, windows, alerts int) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	results, err := h.GoBench(ctx, program, "internal/ledger", "^BenchmarkBare$", fmt.Sprint(alerts, "x"), 1, fmt.Sprintf("QUELL_TEST_BARE=%d %d", batch, windows))
	if err != nil {
		return 0, err
	}
	for _, r := range results {
		if ns, ok := r.Figures["cpu-ns/op"]; ok && r.Name == "Bare" {
			return ns / 1000, nil
		}
	}
	return 0, fmt.Errorf("BenchmarkBare printed no cpu-ns/op: %v", results)
}

// decided returns how many alerts a node has decided in a way.
func decided(metrics map[string]float64, decision string) (sum float64) {
	for name, v := range metrics {
		if strings.HasPrefix(name, `quell_northbound_total{decision="`+decision+`"`) {
			sum += v
		}
	}
	return sum
}
