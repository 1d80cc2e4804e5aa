package main

import (
	"context"
	"fmt"

	"quell/internal/motorway"
	"quell/internal/operator"
)

var explainCommand = command{
	name: "explain", usage: "ID [--at TIME] [--json] [--config FILE]", short: "Explain why an alert was, or would be, suppressed or not",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("ID is that of a hub or a meter (EUI-64), a supply point (MPxN), a request or an alert, or \"entry\" and the\n" +
			"number of an entry of the suppression log. An EUI-64 may have hyphens, colons or neither, and an MPxN blanks.\n" +
			"The exit status is 1 if nothing is known of the id.")
		file := e.consoleFlags(fs)
		var at instant
		fs.Var(&at, "at", "say what would happen to an alert received at `TIME`, instead of now: 2026-03-01 or 2026-03-01T10:00:00Z")
		asJSON := fs.Bool("json", false, "print the records as JSON")
		rest, err := parse(fs, args)
		id, one := operator.OneID(rest)
		if err != nil || !one {
			return orUsage(err, "needs one id")
		}
		c, _, done, err := connect(ctx, *file, e, false)
		if err != nil {
			return err
		}
		x, err := c.Explain(ctx, id, at.Time)
		if err := firstOf(err, done()); err != nil {
			return err
		}
		if *asJSON {
			return firstOf(printJSON(e.stdout, x), orUnknown(x))
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
