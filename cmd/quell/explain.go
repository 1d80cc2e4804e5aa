package main

import (
	"context"
	"encoding/json"
	"fmt"

	"quell/internal/motorway"
)

var explainCommand = command{
	name: "explain", usage: "ID [--at TIME] [--json] [--config FILE]", short: "Explain why an alert was, or would be, suppressed or not",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("ID is that of a hub or a meter (EUI-64), a supply point (MPxN), a request or an alert.\n" +
			"An EUI-64 may have hyphens, colons or neither. The exit status is 1 if nothing is known of the id.")
		file := e.consoleFlags(fs)
		var at instant
		fs.Var(&at, "at", "say what would happen to an alert received at `TIME`, instead of now: 2026-03-01 or 2026-03-01T10:00:00Z")
		asJSON := fs.Bool("json", false, "print the records as JSON")
		rest, err := parse(fs, args)
		if err != nil || len(rest) != 1 {
			return orUsage(err, "needs one id")
		}
		c, _, done, err := connect(ctx, *file, e, false)
		if err != nil {
			return err
		}
		x, err := c.Explain(ctx, rest[0], at.Time)
		if err := firstOf(err, done()); err != nil {
			return err
		}
		if *asJSON {
			out := json.NewEncoder(e.stdout)
			out.SetIndent("", "  ")
			if err := out.Encode(x); err != nil {
				return err
			}
			return orUnknown(x)
		}
		for _, line := range x.Text {
			fmt.Fprintln(e.stdout, printable(line))
		}
		return orUnknown(x)
	},
}

// orUnknown returns an error if nothing is known of the id: a typing error must not look
// like an answer.
func orUnknown(x motorway.Explanation) error {
	if x.Known {
		return nil
	}
	return fmt.Errorf("nothing is known of %s", x.ID)
}
