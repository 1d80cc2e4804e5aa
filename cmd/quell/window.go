package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"quell/internal/console"
	"quell/internal/motorway"
	"quell/internal/outage"
)

var windowCommand = command{
	name: "window", usage: "list [HUB|METER|REQUEST|--supplier EUI] [--limit N] | close HUB|METER|REQUEST|--supplier EUI|--all --why TEXT [--config FILE]",
	short: "List the windows that are open or pending, or close some by hand",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("An EUI-64 may have hyphens, colons or neither. list shows the window first that begins first.\n" +
			"close closes windows at once, on all nodes, also those that were replaced and might come back. Alerts then go forward.\n" +
			"Another activation (11.3) opens another window. Each closing is kept, with who made it, when and why.\nThe exit status is 1 if there was nothing to close.")
		file := configFlag(fs, e.environ)
		w := whoseFlags(fs)
		why := fs.String("why", "", "close: `TEXT` is the reason, for the audit and for all distributors' reports; required")
		limit := fs.Int("limit", 100, "list: `N` windows at most, up to 10000; 100 if not said")
		rest, err := parse(fs, args)
		if err != nil || len(rest) == 0 || rest[0] != "list" && rest[0] != "close" {
			return orUsage(err, "say what to do: list or close")
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
		case given["why"] && !closes, given["all"] && !closes:
			return errUsage{"--why and --all belong to close"}
		case given["limit"] && closes:
			return errUsage{"--limit belongs to list"}
		case given["limit"] && (*limit < 1 || *limit > 10_000):
			return errUsage{fmt.Sprintf("--limit %d is not from 1 to 10000", *limit)}
		case closes && strings.TrimSpace(*why) == "":
			return errUsage{"say why: --why TEXT"}
		}
		if closes || w.Target != "" || given["supplier"] {
			if _, err := w.Which(); err != nil {
				return errUsage{err.Error()}
			}
		}
		c, absent, done, err := connect(ctx, *file, e)
		if err != nil {
			return err
		}
		if closes {
			err = closeWindows(ctx, e, c, absent, console.Close{Whose: *w, Who: whoami(), Why: *why})
		} else {
			err = listWindows(ctx, e, c, *w, *limit)
		}
		return firstOf(err, done())
	},
}

func whoseFlags(fs *flag.FlagSet) (w *console.Whose) {
	w = &console.Whose{}
	fs.StringVar(&w.Supplier, "supplier", "", "the windows of requests from this supplier (`EUI`-64)")
	fs.BoolVar(&w.All, "all", false, "close: every window")
	return w
}

func listWindows(ctx context.Context, e *env, c *console.Client, w console.Whose, limit int) error {
	list, err := c.Windows(ctx, w, limit)
	if err != nil {
		return err
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
		fmt.Fprintln(e.stdout, "There are more; --limit N lists up to N.")
	}
	return nil
}

func closeWindows(ctx context.Context, e *env, c *console.Client, absent string, what console.Close) error {
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
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FROM\tTO (UTC)\tMETER\tHUB\tREQUEST\tMODE\tSTATE")
	for _, a := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", stampOf(a.WindowStart), stampOf(a.WindowEnd), a.ESME, a.CHF, a.RequestID, a.Mode, condition(&a, at))
	}
	return t.Flush()
}

// condition is what a window is at an instant, if it is not over.
func condition(a *motorway.Activation, at time.Time) string {
	switch {
	case a.State == outage.Uncertain:
		return "uncertain"
	case !a.Standing:
		return "replaced"
	case a.WindowStart != nil && at.Before(*a.WindowStart):
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
