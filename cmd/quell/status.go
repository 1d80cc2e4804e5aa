package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"quell/internal/console"
	"quell/internal/screen"
)

var statusCommand = command{
	name: "status", usage: "[--watch] [--json] [--config FILE]", short: "Show on one screen whether all is well",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("It shows the switch, what is wrong, windows, what became of the AD1s of the last hour and day, the store, the journal, nodes,\n" +
			"next hops, remotes, the device list and the inventory. The exit status is 0 if all is well, 1 if anything is wrong,\n" +
			"and 2 if no quell answers within five seconds. Colours are for terminals, unless the variable NO_COLOR is set.")
		file := e.consoleFlags(fs)
		watch := fs.Bool("watch", false, "show it again every two seconds")
		asJSON := fs.Bool("json", false, "print the status as JSON, with the names of /api/v1/status")
		if rest, err := parse(fs, args); err != nil || len(rest) > 0 {
			return orUsage(err, "takes no arguments")
		}
		for {
			var b bytes.Buffer
			err := showStatus(ctx, e, *file, &b, *asJSON)
			if ctx.Err() != nil && *watch {
				return nil // somebody has seen enough
			}
			if !*watch {
				b.WriteTo(e.stdout)
				return err
			}
			if x, ok := err.(errExit); ok && x.error != nil {
				fmt.Fprintf(&b, "%s\n", printableLines(err.Error()))
			}
			if terminal(e.stdout) != nil && !*asJSON {
				fmt.Fprint(e.stdout, "\x1b[H\x1b[2J")
			}
			if !*asJSON {
				b.WriteByte('\n')
			}
			if _, err := b.WriteTo(e.stdout); err != nil {
				return err
			}
			select {
			case <-time.After(statusEvery):
			case <-ctx.Done():
				return err
			}
		}
	},
}

const (
	statusEvery = 2 * time.Second
	statusWait  = 5 * time.Second
)

// showStatus writes the status to w. Its error is an errExit, or about the command line.
func showStatus(ctx context.Context, e *env, file string, w io.Writer, asJSON bool) error {
	limited, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	var s console.Status
	c, _, err := running(limited, file, e)
	if err == nil {
		s, err = c.Status(limited)
	}
	if err == nil && e.invalid != nil {
		s.Degraded = append(s.Degraded, "the configuration is not valid: "+strings.ReplaceAll(e.invalid.Error(), "\n", "; "))
	}
	switch {
	case err != nil:
		if asJSON {
			printJSON(w, map[string]string{"error": err.Error()})
		}
		return errExit{err, 2}
	case asJSON:
		err = printJSON(w, s)
	default:
		err = screen.Status(w, &s, e.style())
	}
	if err == nil && len(s.Degraded) > 0 {
		err = errExit{status: 1}
	}
	return err
}

// style returns the style for standard output: colours on a terminal, and not if somebody has
// set NO_COLOR.
func (e *env) style() screen.Style {
	return screen.Style{Colours: terminal(e.stdout) != nil && getenv(e.environ, "NO_COLOR") == "" && getenv(e.environ, "TERM") != "dumb"}
}

// printJSON prints a value as one JSON document.
func printJSON(w io.Writer, v any) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(v)
}
