package main

import (
	"context"
	"fmt"
	"strings"

	"quell/internal/console"
	"quell/internal/events"
	"quell/internal/outage"
	"quell/internal/screen"
)

var switchCommand = command{
	name: "switch", usage: "[on|shadow|off --why TEXT] [--json] [--config FILE]", short: "Show the switch, or set it to on, shadow or off",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("Without a position it shows the one in force, since when, who set it and why.\non: suppress. shadow: log what would be suppressed, and forward everything. off: forward everything, and open no window.\nquell records each change: who made it, when and why.")
		file := e.consoleFlags(fs)
		why := fs.String("why", "", "`TEXT` is the reason, which is recorded; required with a position")
		asJSON := fs.Bool("json", false, "show the switch and its last change as JSON")
		rest, err := parse(fs, args)
		if err == nil && len(rest) == 0 && *why == "" {
			return showSwitch(ctx, e, *file, *asJSON)
		}
		if err == nil && *asJSON {
			return errUsage{"--json is to show the switch only"}
		}
		if err != nil || len(rest) != 1 || !outage.Switch(rest[0]).Valid() {
			return orUsage(err, "say on, shadow or off")
		}
		if strings.TrimSpace(*why) == "" {
			return errUsage{"say why: --why TEXT"}
		}
		c, absent, done, err := connect(ctx, *file, e, false)
		if err != nil {
			return err
		}
		out, err := c.SetSwitch(ctx, console.SwitchChange{Switch: outage.Switch(rest[0]), Why: *why})
		if err := firstOf(err, done()); err != nil {
			return err
		}
		if out.HereOnly {
			fmt.Fprintf(e.stdout, "The switch is off on this node now; it was %s.\nThe store does not answer; it gets the change when it does. Until then every other node keeps its own position: set each to off.\n", orNone(string(out.Old)))
			return nil
		}
		fmt.Fprintf(e.stdout, "The switch is %s now; it was %s.\n", out.New, orNone(string(out.Old)))
		if absent != "" {
			fmt.Fprintln(e.stdout, absent)
		}
		return nil
	},
}

// showSwitch prints the position of the switch, and its last change.
func showSwitch(ctx context.Context, e *env, file string, asJSON bool) error {
	c, _, done, err := connect(ctx, file, e, false)
	if err != nil {
		return err
	}
	status, err := c.Status(ctx)
	if err == nil && asJSON {
		var last *events.Event
		if last, err = c.LastSwitchChange(ctx); err == nil {
			err = printJSON(e.stdout, map[string]any{"switch": status.Switch, "change": last})
		}
	} else if err == nil {
		fmt.Fprintf(e.stdout, "The switch is %s.\n", orNone(string(status.Switch)))
		var last *events.Event
		if last, err = c.LastSwitchChange(ctx); err == nil && last != nil {
			if last.New != string(status.Switch) {
				fmt.Fprintf(e.stdout, "That is so on this node only. The store has %s:\n", printable(last.New))
			}
			fmt.Fprintln(e.stdout, screen.Wrap(fmt.Sprintf("Since %s UTC, by %s: %s", stamp(last.At), printable(last.Who), printable(last.Why)), ""))
		}
	}
	return firstOf(err, done())
}

func orNone(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}
