package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"quell/internal/console"
	"quell/internal/motorway"
	"quell/internal/operator"
	"quell/internal/outage"
	"quell/internal/screen"
)

var windowCommand = command{
	name: "window", usage: "list [HUB|METER|REQUEST|--supplier EUI] [--limit N] [--json] | close HUB|METER|REQUEST|--supplier EUI|--all --why TEXT [--config FILE]",
	short: "List the windows that are open or pending, or close some by hand",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("An EUI-64 may have hyphens, colons or neither. list shows the windows by the time of their start.\n" +
			"close closes windows at once, on all nodes, also those that were replaced and might open again. Alerts then go forward.\n" +
			"Another activation (11.3) opens another window. quell records who closed windows, when and why.\nThe exit status is 1 if there was nothing to close.")
		file := e.consoleFlags(fs)
		w := selectionFlags(fs)
		why := fs.String("why", "", "close: `TEXT` is the reason, which is recorded, and is in the reports of all distributors; required")
		limit := fs.Int("limit", 100, "list: at most `N` windows, up to 10000")
		asJSON := fs.Bool("json", false, "list: print the windows as JSON")
		rest, err := parse(fs, args)
		if err != nil || len(rest) == 0 || rest[0] != "list" && rest[0] != "close" {
			return orUsage(err, "say what to do: list or close")
		}
		if err := checkFlags(fs, rest[0], map[string]string{"limit": "list", "json": "list", "all": "close", "why": "close"}); err != nil {
			return err
		}
		if len(rest) > 2 {
			return errUsage{"one hub, meter or request at a time"}
		}
		if len(rest) == 2 {
			w.Target = rest[1]
		}
		closes := rest[0] == "close"
		given := map[string]bool{}
		fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
		switch {
		case given["limit"] && (*limit < 1 || *limit > 10_000):
			return errUsage{fmt.Sprintf("--limit %d is not from 1 to 10000", *limit)}
		case closes && strings.TrimSpace(*why) == "":
			return errUsage{"say why: --why TEXT"}
		}
		if closes || w.Target != "" || given["supplier"] {
			if _, err := w.Parse(); err != nil {
				return errUsage{err.Error()}
			}
		}
		c, absent, done, err := connect(ctx, *file, e, false)
		if err != nil {
			return err
		}
		if closes {
			err = closeWindows(ctx, e, c, absent, console.CloseRequest{Selection: *w, Why: *why})
		} else {
			err = listWindows(ctx, e, c, *w, *limit, *asJSON)
		}
		return firstOf(err, done())
	},
}

func selectionFlags(fs *flag.FlagSet) (w *console.Selection) {
	w = &console.Selection{}
	fs.StringVar(&w.Supplier, "supplier", "", "the windows of requests from this supplier (`EUI`-64)")
	fs.BoolVar(&w.All, "all", false, "close: every window")
	return w
}

func listWindows(ctx context.Context, e *env, c *operator.Client, w console.Selection, limit int, asJSON bool) error {
	list, err := c.Windows(ctx, w, limit)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.stdout, list)
	}
	if len(list.Windows) == 0 {
		of := cmp.Or(w.Target, w.Supplier)
		if of != "" {
			of = " of " + of
		}
		fmt.Fprintf(e.stdout, "No window%s is open or pending.\n", of)
		return nil
	}
	if err := printWindows(e.stdout, list.Windows, list.At); err != nil {
		return err
	}
	if list.More {
		fmt.Fprintln(e.stdout, "There are more: --limit N lists up to N.")
	}
	return nil
}

func closeWindows(ctx context.Context, e *env, c *operator.Client, absent string, what console.CloseRequest) error {
	out, err := c.CloseWindows(ctx, what)
	if err != nil {
		return err
	}
	if err := printWindows(e.stdout, out.Windows, out.At); err != nil {
		return err
	}
	if n := out.Closed - len(out.Windows); n > 0 {
		fmt.Fprintf(e.stdout, "And %d more.\n", n)
	}
	fmt.Fprintf(e.stdout, "Closed: %d.\n", out.Closed)
	if absent != "" {
		fmt.Fprintln(e.stdout, absent)
	}
	return nil
}

func printWindows(w io.Writer, list []motorway.Activation, at time.Time) error {
	t := screen.Table{Heads: []string{"FROM", "TO (UTC)", "MODE", "STATE", "METER", "HUB", "REQUEST"}, Main: 4}
	for _, a := range list {
		t.Row(stampOf(a.WindowStart), stampOf(a.WindowEnd), a.Mode, windowState(&a, at), a.ESME, a.CHF, a.RequestID)
	}
	return t.Print(w)
}

// windowState returns the state of a window that is not over, at an instant.
func windowState(a *motorway.Activation, at time.Time) string {
	switch {
	case a.State == outage.Uncertain:
		return "uncertain"
	case !a.Standing:
		return "replaced"
	case a.WindowStart != nil && at.Before(*a.WindowStart): // or its activation has begun, and its model's window starts later
		return "pending"
	}
	return "open"
}

func stampOf(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return stamp(*t)
}
