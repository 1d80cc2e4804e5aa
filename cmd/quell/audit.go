package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"quell/internal/audit"
	"quell/internal/operator"
)

var auditCommand = command{
	name: "audit", usage: "list [--after N] [--limit N] [--json] | verify [--head N:HASH]",
	short: "List the audit log, or verify that it was not changed",
	run:   runAudit,
}

const auditHelp = `The audit log has a record of each change, each look-up of supply points (MPxN), and each
attempt that was refused. Each record has a hash of its contents and of the record before it.

list     lists the last records, the latest last
verify   reads all records, checks that each is as it was written and follows from the one
         before, and prints the head: the number and hash of the last. The owner of the database
         could write all records anew. So note the head elsewhere, and give it with --head
         the next time. The exit status is 1 if anything was changed`

func runAudit(ctx context.Context, e *env, args []string) error {
	fs := e.flags(auditHelp)
	file := e.consoleFlags(fs)
	after := fs.Int64("after", 0, "list: the records after the number `N`, instead of the last ones")
	limit := fs.Int("limit", 100, "list: at most `N` records, up to 10000")
	asJSON := fs.Bool("json", false, "list: print each record as a line of JSON")
	noted := fs.String("head", "", "verify: a head that was noted before, which must still be there (`N:HASH`)")
	rest, err := parse(fs, args)
	if err != nil || len(rest) != 1 || rest[0] != "list" && rest[0] != "verify" {
		return orUsage(err, "say what to do: list or verify")
	}
	if err := checkFlags(fs, rest[0], map[string]string{"after": "list", "limit": "list", "json": "list", "head": "verify"}); err != nil {
		return err
	}
	var head audit.Head
	last := true
	fs.Visit(func(f *flag.Flag) { last = last && f.Name != "after" })
	switch {
	case *limit < 1 || *limit > 10_000:
		return errUsage{fmt.Sprintf("--limit %d is not from 1 to 10000", *limit)}
	case *after < 0:
		return errUsage{fmt.Sprintf("--after %d is not a number of a record", *after)}
	case *noted != "":
		if head, err = audit.ParseHead(*noted); err != nil {
			return errUsage{"--head " + err.Error()}
		}
	}
	c, _, done, err := connect(ctx, *file, e, false)
	if err != nil {
		return err
	}
	if rest[0] == "list" {
		err = listAudit(ctx, e, c, *after, *limit, last, *asJSON)
	} else {
		err = verifyAudit(ctx, e, c, head)
	}
	return firstOf(err, done())
}

func listAudit(ctx context.Context, e *env, c *operator.Client, after int64, limit int, last, asJSON bool) error {
	if last {
		ends, err := c.Audit(ctx, 0, 1)
		if err != nil {
			return err
		}
		after = max(0, ends.Head.No-int64(limit))
	}
	p, err := c.Audit(ctx, after, limit)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(e.stdout)
	if asJSON {
		out := json.NewEncoder(w)
		for _, r := range p.Records {
			if err := out.Encode(r); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	if len(p.Records) == 0 {
		fmt.Fprintln(e.stdout, "There are no such records.")
		return nil
	}
	if err := printAudit(w, p.Records); err != nil {
		return err
	}
	if last := p.Records[len(p.Records)-1].No; last < p.Head.No {
		fmt.Fprintf(w, "There are more: --after %d lists the next.\n", last)
	}
	return w.Flush()
}

func printAudit(w io.Writer, list []audit.Record) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NUMBER\tTIME (UTC)\tWHO\tROLE\tFROM\tWHAT\tOBJECT\tOUTCOME\tTIMES\tWHY\tDETAIL")
	or := func(text string) string {
		if text == "" {
			return "-"
		}
		return printable(text)
	}
	for _, r := range list {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", r.No, stamp(r.At), or(r.Who), or(r.Role), or(r.From), or(r.What), or(r.Object), or(string(r.Outcome)), r.Count, or(r.Why), or(r.Detail))
	}
	return t.Flush()
}

// auditPage is how many records are asked for at a time.
const auditPage = 10_000

func verifyAudit(ctx context.Context, e *env, c *operator.Client, noted audit.Head) error {
	v, err := audit.Verify(ctx, func(ctx context.Context, after int64, _ int) (audit.Page, error) {
		return c.Audit(ctx, after, auditPage)
	}, noted)
	if err != nil {
		return err
	}
	if v.Head.No == 0 {
		fmt.Fprintln(e.stdout, "There are no records yet.")
		return nil
	}
	fmt.Fprintf(e.stdout, "Records %d to %d are sound: each is as it was written, and none is missing.\n", v.Anchor.No+1, v.Head.No)
	if v.Anchor.No > 0 {
		fmt.Fprintf(e.stdout, "Housekeeping has deleted those up to %s.\n", v.Anchor)
	}
	if noted.No > 0 {
		fmt.Fprintf(e.stdout, "Record %d is the noted one, so nothing up to it was written anew.\n", noted.No)
	}
	fmt.Fprintf(e.stdout, "Head: %s\n", v.Head)
	if noted.No == 0 {
		fmt.Fprintln(e.stdout, "Note the head elsewhere, and give it with --head next time: only that shows whether all records were written anew.")
	}
	return nil
}
