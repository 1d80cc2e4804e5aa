package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"

	"quell/internal/audit"
	"quell/internal/flow"
	"quell/internal/operator"
	"quell/internal/screen"
)

var auditCommand = command{
	name: "audit", usage: "list [--after N] [--limit N] [--json] | verify [--head N:HASH] | flow [--from T] [--to T] [--minutes] [--json]",
	short: "List the audit log, or verify that it was not changed; prove that no AD1 is lost",
	run:   runAudit,
}

const auditHelp = `The audit log has a record of each change, each look-up of supply points (MPxN), and each
attempt that was refused. Each record has a hash of its contents and of the record before it.

list     lists the last records, the latest last
verify   reads all records, checks that each is as it was written and follows from the one
         before, and prints the head: the number and hash of the last. The owner of the database
         could write all records anew. So note the head elsewhere, and give it with --head
         the next time. The exit status is 1 if anything was changed
flow     compares the AD1s that were received from --from (included) to --to (not included),
         of the last day without them, with what became of each: forwarded, suppressed, shadow,
         or returned to the sender with an error. It also compares the suppression log with what
         was counted when it was written. It names each difference. A time is a date or has the
         form 2026-03-01T10:00:00Z; minutes count as a whole. At most 31 days. The exit status
         is 1 if anything does not balance`

func runAudit(ctx context.Context, e *env, args []string) error {
	fs := e.flags(auditHelp)
	file := e.consoleFlags(fs)
	after := fs.Int64("after", 0, "list: the records after the number `N`, instead of the last ones")
	limit := fs.Int("limit", 100, "list: at most `N` records, up to 10000")
	asJSON := fs.Bool("json", false, "list: print each record as a line of JSON; flow: print all as JSON")
	noted := fs.String("head", "", "verify: a head that was noted before, which must still be there (`N:HASH`)")
	from, to := instant{}, instant{}
	fs.Var(&from, "from", "flow: AD1s received at `T` or later")
	fs.Var(&to, "to", "flow: AD1s received before `T`")
	minutes := fs.Bool("minutes", false, "flow: show each minute too, of a day at most")
	rest, err := parse(fs, args)
	if err != nil || len(rest) != 1 || rest[0] != "list" && rest[0] != "verify" && rest[0] != "flow" {
		return orUsage(err, "say what to do: list, verify or flow")
	}
	if *asJSON && rest[0] == "verify" {
		return errUsage{`--json is for "list" and "flow" only`}
	}
	if err := checkFlags(fs, rest[0], map[string]string{"after": "list", "limit": "list", "head": "verify", "from": "flow", "to": "flow", "minutes": "flow"}); err != nil {
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
	switch rest[0] {
	case "list":
		err = listAudit(ctx, e, c, *after, *limit, last, *asJSON)
	case "verify":
		err = verifyAudit(ctx, e, c, head)
	case "flow":
		err = auditFlow(ctx, e, c, flow.Query{From: from.Time, To: to.Time, Minutes: *minutes}, *asJSON)
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
	t := screen.Table{Heads: []string{"NUMBER", "TIME (UTC)", "WHAT", "OUTCOME", "TIMES", "WHO", "ROLE", "FROM", "OBJECT", "WHY", "DETAIL"}, Main: 5}
	for _, r := range list {
		t.Row(r.No, stamp(r.At), printable(r.What), r.Outcome, r.Count, printable(r.Who), printable(r.Role), printable(r.From), printable(r.Object), printable(r.Why), printable(r.Detail))
	}
	return t.Print(w)
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
