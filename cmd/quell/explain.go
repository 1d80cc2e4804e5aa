package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"quell/internal/motorway"
)

var explainCommand = command{
	name: "explain", usage: "ID [--at TIME] [--json] [--config FILE]", short: "Say why an alert was or would be suppressed or not",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("ID names a hub or a meter (EUI-64), a supply point (MPxN), a request or an alert.\n" +
			"An EUI-64 may have hyphens, colons or neither. The exit status is 1 if nothing is known of the id.")
		file := configFlag(fs, e.environ)
		at := fs.String("at", "", "judge an alert received at `TIME` (2026-03-01T10:00:00Z) instead of now")
		asJSON := fs.Bool("json", false, "print the records that say so as JSON")
		rest, err := parse(fs, args)
		if err != nil || len(rest) != 1 {
			return orUsage(err, "needs one id")
		}
		var when time.Time
		if *at != "" {
			if when, err = time.Parse(time.RFC3339, *at); err != nil {
				return errUsage{fmt.Sprintf("--at %q is not a time such as 2026-03-01T10:00:00Z", *at)}
			}
		}
		c, _, done, err := connect(ctx, *file, e)
		if err != nil {
			return err
		}
		x, err := c.Explain(ctx, rest[0], when)
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
			fmt.Fprintln(e.stdout, line)
		}
		return orUnknown(x)
	},
}

// orUnknown is the error for an id that nothing is known of: a slip of the finger
// must not look like an answer.
func orUnknown(x motorway.Explanation) error {
	if x.Known {
		return nil
	}
	return fmt.Errorf("nothing is known of %s", x.ID)
}
