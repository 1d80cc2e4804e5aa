package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"quell/internal/flow"
	"quell/internal/operator"
	"quell/internal/screen"
)

// auditFlow prints what became of the AD1s that were received. It fails if anything does not balance.
func auditFlow(ctx context.Context, e *env, c *operator.Client, q flow.Query, asJSON bool) error {
	r, err := c.Flow(ctx, q)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(e.stdout)
	if asJSON {
		err = printJSON(w, r)
	} else {
		err = printFlow(w, &r)
	}
	if err := firstOf(err, w.Flush()); err != nil {
		return err
	}
	if !r.Balanced {
		return errors.New("the AD1s do not balance")
	}
	return nil
}

func printFlow(w io.Writer, r *flow.Result) error {
	fmt.Fprintf(w, "AD1s received from %s to %s (UTC):\n", minuteStamp(r.From), minuteStamp(r.To))
	if err := printFlowLines(w, r.Minutes); err != nil {
		return err
	}
	if err := printFlowLines(w, append(r.Lines, flow.Line{Distributor: "all", Totals: r.Total})); err != nil {
		return err
	}
	fmt.Fprintln(w)
	which := "each"
	if r.Total.UnderWay > 0 {
		fmt.Fprintf(w, "Under way, without an end yet: %d.\n", r.Total.UnderWay)
		which = "each other"
	}
	if r.Corrected > 0 {
		fmt.Fprintln(w, screen.Wrap(fmt.Sprintf("Entries of the log whose AD1 went forward all the same, since the store answered too late: %d.", r.Corrected), ""))
	}
	if r.Balanced {
		fmt.Fprintln(w, screen.Wrap("All balances: "+which+" AD1 has one end, and the suppression log has each entry that was written, and no other.", ""))
		return nil
	}
	fmt.Fprintln(w, "This does not balance:")
	for _, d := range r.Differences {
		of := ""
		if d.Distributor != "" {
			of = " distributor " + d.Distributor
		}
		if d.Node != "" {
			of += " at " + printable(d.Node)
		}
		fmt.Fprintf(w, "%s\n%s\n", screen.Wrap("- "+minuteStamp(d.Minute)+of+":", ""), screen.Wrap(printable(d.Text), "  "))
	}
	return nil
}

// printFlowLines prints a table for each node, or for each minute of a node.
func printFlowLines(w io.Writer, list []flow.Line) error {
	var t *screen.Table
	var node string
	var minute time.Time
	for i, l := range list {
		if i == 0 || l.Node != node || !l.Minute.Equal(minute) {
			if t != nil {
				if err := t.Print(w); err != nil {
					return err
				}
			}
			title := "All nodes"
			if l.Node != "" {
				title = "Node " + printable(l.Node)
			}
			if !l.Minute.IsZero() {
				title = minuteStamp(l.Minute) + " " + title
			}
			node, minute = l.Node, l.Minute
			fmt.Fprintf(w, "\n%s\n", screen.Wrap(title, ""))
			t = &screen.Table{Heads: []string{"DISTRIBUTOR", "RECEIVED", "FORWARDED", "SUPPRESSED", "RELEASED", "SHADOW", "RETURNED", "OPEN"}, Right: true}
		}
		t.Row(l.Distributor, l.Received, l.Forwarded, l.Suppressed, l.Released, l.Shadow, l.Refused+l.Failed, l.UnderWay+l.NoEnd+l.Unknown)
	}
	if t == nil {
		return nil
	}
	return t.Print(w)
}

func minuteStamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
