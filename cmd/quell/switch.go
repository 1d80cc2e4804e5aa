package main

import (
	"context"
	"fmt"
	"strings"

	"quell/internal/console"
	"quell/internal/events"
	"quell/internal/outage"
)

var switchCommand = command{
	name: "switch", usage: "[on|shadow|off --why TEXT] [--config FILE]", short: "Set the switch to on, shadow or off, or show where it is",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("Without a position it shows the one in force, since when, who set it and why.\non: suppress. shadow: log what would be suppressed, forward everything. off: pass everything, track nothing.\nEach change is kept, with who made it, when and why.")
		file := configFlag(fs, e.environ)
		why := fs.String("why", "", "`TEXT` is the reason, for the audit; required")
		rest, err := parse(fs, args)
		if err == nil && len(rest) == 0 && *why == "" {
			return showSwitch(ctx, e, *file)
		}
		if err != nil || len(rest) != 1 || !outage.Switch(rest[0]).Valid() {
			return orUsage(err, "say on, shadow or off")
		}
		if strings.TrimSpace(*why) == "" {
			return errUsage{"say why: --why TEXT"}
		}
		c, absent, done, err := connect(ctx, *file, e)
		if err != nil {
			return err
		}
		out, err := c.TurnSwitch(ctx, console.Turn{Switch: outage.Switch(rest[0]), Who: whoami(), Why: *why})
		if err := firstOf(err, done()); err != nil {
			return err
		}
		if out.HereOnly {
			fmt.Fprintf(e.stdout, "The switch is off on this node now; it was %s.\nThe store does not answer: it will be told when it does. Until then every other node keeps its own position: turn each off.\n", orNone(string(out.Old)))
			return nil
		}
		fmt.Fprintf(e.stdout, "The switch is %s now; it was %s.\n", out.New, orNone(string(out.Old)))
		if absent != "" {
			fmt.Fprintln(e.stdout, absent)
		}
		return nil
	},
}

// showSwitch says how the switch is.
func showSwitch(ctx context.Context, e *env, file string) error {
	c, _, done, err := connect(ctx, file, e)
	if err != nil {
		return err
	}
	status, err := c.Status(ctx)
	if err == nil {
		fmt.Fprintf(e.stdout, "The switch is %s.\n", orNone(string(status.Switch)))
		var last *events.Event
		if last, err = lastTurn(ctx, c); err == nil && last != nil {
			fmt.Fprintf(e.stdout, "Since %s UTC, by %s: %s\n", stamp(last.At), last.Who, last.Why)
		}
	}
	return firstOf(err, done())
}

// lastTurn is the last change of the switch, nil if it is not among the last events.
func lastTurn(ctx context.Context, c *console.Client) (*events.Event, error) {
	events, err := c.Events(ctx, 1000)
	for i := range events {
		if events[i].What == "switch" {
			return &events[i], nil
		}
	}
	return nil, err
}

func orNone(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}
