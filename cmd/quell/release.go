package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"quell/internal/console"
	"quell/internal/operator"
	releases "quell/internal/release"
)

var releaseCommand = command{
	name: "release", usage: "ENTRY --why TEXT [--config FILE]", short: "Deliver a suppressed alert after all",
	run: func(ctx context.Context, e *env, args []string) error {
		fs := e.flags("ENTRY is the number of an entry in the suppression log, or the id of its alert. quell explain shows both.\n" +
			"The alert goes to the northbound next hop as it came, once, with the header Quell-Decision: released. Its entry then says so, also in the\n" +
			"next report, and quell records who asked, when and why. An alert that was delivered before cannot be released, nor one from more\n" +
			"than 48 hours ago. While the next hop does not take it, quell tries again. The exit status is 1 if it is not delivered within ten seconds.")
		file := e.consoleFlags(fs)
		why := fs.String("why", "", "`TEXT` is the reason, which is recorded, and is in the reports of all distributors; required")
		rest, err := parse(fs, args)
		if err != nil || len(rest) != 1 {
			return orUsage(err, "needs one entry")
		}
		if strings.TrimSpace(*why) == "" {
			return errUsage{"say why: --why TEXT"}
		}
		c, absent, done, err := connect(ctx, *file, e, false)
		if err != nil {
			return err
		}
		return firstOf(releaseEntry(ctx, e, c, absent, console.ReleaseRequest{Entry: rest[0], Why: *why}), done())
	},
}

// releaseWait is how long the command waits for the delivery.
const releaseWait = 10 * time.Second

func releaseEntry(ctx context.Context, e *env, c *operator.Client, absent string, in console.ReleaseRequest) error {
	x, err := c.Release(ctx, in)
	if err != nil {
		return err
	}
	if absent != "" {
		fmt.Fprintf(e.stdout, "Entry %d is to be released.\n%s\n", x.Entry, absent)
		return nil
	}
	for until := time.Now().Add(releaseWait); time.Now().Before(until); {
		now, err := c.ReleaseOf(ctx, x.Entry)
		if ctx.Err() != nil {
			break // an interrupt does not take the release back
		} else if err != nil {
			return err
		}
		x = now
		switch x.State {
		case releases.Done:
			fmt.Fprintf(e.stdout, "Entry %d was released: alert %s was delivered.\n", x.Entry, printable(x.AlertID))
			return nil
		case releases.Failed:
			return fmt.Errorf("entry %d is not released: %s", x.Entry, x.Error)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	text := "the node that leads has not sent it yet"
	if x.Error != "" {
		text = x.Error
	}
	return fmt.Errorf("entry %d is not delivered yet, and quell goes on trying (%s); quell explain %s says how far it is", x.Entry, text, x.AlertID)
}
