package main

import (
	"context"
	"fmt"

	"quell/internal/operator"
)

var adviseCommand = command{
	name: "advise", usage: "list | window [--model MODEL] | forecast | supply [--limit N] [--csv] [--json] [--config FILE]",
	short: "Say which meters and windows are right, what is coming, and where to ask",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("list compares how often AD1s follow activations, for models and firmware versions that are tracked or not.\n" +
			"window shows when they follow, and what each window would remove and hide. A model is its manufacturer and its model, as the inventory has them.\n" +
			"forecast says how many false AD1s are expected in the next 24 hours, by hour and distributor, and which meters have firmware on its way.\n" +
			"supply lists homes whose suppressed alert may have been genuine, where a Read Supply Status would settle it; it needs evidence.ask: true.\n" +
			"Advice changes nothing.")
		file := e.consoleFlags(fs)
		model := fs.String("model", "", "window: the whole curve of this `MODEL`")
		limit := fs.Int("limit", 100, "supply: at most `N` homes, up to 10000")
		asCSV := fs.Bool("csv", false, "supply: print the homes as CSV, to hand on to distributors")
		asJSON := fs.Bool("json", false, "print the answer as JSON")
		rest, err := parse(fs, args)
		if err != nil || len(rest) != 1 {
			return orUsage(err, "say on what: list, window, forecast or supply")
		}
		ask := operator.AdviceOn[rest[0]]
		switch {
		case ask == nil:
			return errUsage{"say on what: list, window, forecast or supply"}
		case *asCSV && *asJSON:
			return errUsage{"either --csv or --json"}
		case *limit < 1 || *limit > 10_000:
			return errUsage{fmt.Sprintf("--limit %d is not from 1 to 10000", *limit)}
		}
		if err := checkFlags(fs, rest[0], map[string]string{"model": "window", "limit": "supply", "csv": "supply"}); err != nil {
			return err
		}
		c, _, done, err := connect(ctx, *file, e, false)
		if err != nil {
			return err
		}
		answer, print, err := ask(ctx, c, *limit)
		switch {
		case err != nil:
		case *asJSON:
			err = printJSON(e.stdout, answer)
		default:
			err = print(e.stdout, operator.AdviceFlags{Model: *model, CSV: *asCSV})
		}
		return firstOf(err, done())
	},
}
