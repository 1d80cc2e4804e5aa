package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"

	"quell/internal/console"
	"quell/internal/screen"
)

var tailCommand = command{
	name: "tail", usage: "[--hub EUI] [--meter EUI] [--kind KIND] [--decision D] [--reason R] [--distributor ID] [--json] [--config FILE]",
	short: "Show decisions on alerts and activations as they fall",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("It shows each AD1 and each 11.3 that passes this node from now on, until you press Ctrl-C: time (UTC), decision, reason, distributor, the hub of\n" +
			"an alert or the meter of an activation, and the number of the entry in the suppression log. --json has all that is known; MPxNs are for analysts.\n" +
			"It never delays a message: if this terminal is too slow, lines are lost, and it says how many.")
		file := e.consoleFlags(fs)
		fs.String("hub", "", "only alerts and tracked activations of this hub (`EUI`-64)")
		fs.String("meter", "", "only activations of this meter, and alerts in its window (`EUI`-64)")
		fs.String("kind", "", "only this `KIND`: alert or activation")
		fs.String("decision", "", "only this decision (`D`): suppressed, shadow or forwarded")
		fs.String("reason", "", "only this reason (`R`), such as no-window: see docs/reasons.md")
		fs.String("distributor", "", "only alerts of this distributor: the first two digits of the MPAN (`ID`)")
		asJSON := fs.Bool("json", false, "print each decision as a line of JSON")
		if rest, err := parse(fs, args); err != nil || len(rest) > 0 {
			return orUsage(err, "takes no arguments")
		}
		q := url.Values{}
		fs.Visit(func(f *flag.Flag) {
			switch f.Name {
			case "hub", "meter", "kind", "decision", "reason", "distributor":
				q.Set(f.Name, f.Value.String())
			}
		})
		c, _, err := running(ctx, *file, e)
		if err != nil {
			return err
		}
		out := json.NewEncoder(e.stdout)
		err = c.Tail(ctx, q, func(l console.TailLine) (err error) {
			if *asJSON {
				return out.Encode(l)
			}
			if text := screen.TailLine(&l, e.style()); text != "" {
				_, err = fmt.Fprintln(e.stdout, text)
			}
			return err
		})
		if ctx.Err() != nil {
			return nil // somebody has seen enough
		}
		return err
	},
}
