package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"quell/internal/console"
	"quell/internal/operator"
	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/screen"

	"github.com/dustin/go-humanize"
)

var reportCommand = command{
	name: "report", usage: "list [--json] | show N [--json] | cut | send N [--remote R] | resume --next N --why TEXT | verify FILE|DIR... | export --format csv|jsonl|parquet [--from T] [--to T]",
	short: "List, cut, send and verify reports of the suppression log, or export it",
	run:   runReport,
}

const reportHelp = `list     lists the last reports, and the state of their delivery
show     shows one report: its files, and the state of their delivery to each remote
cut      cuts a report now, of everything that is in no report yet
send     sends the files of a report again, to all remotes or to one
resume   cuts and delivers again, after a backup was put back that lacks some of the reports
         that were delivered. The next report gets the number N. Reports whose files are in
         "reports" in the data folder are first taken back, with their entries
verify   checks report files, or folders of them. It needs no configuration. It names the
         first fault and its place; the exit status is then 1
export   writes to standard output the log entries that were received from --from (included)
         to --to (not included). T is 2026-03-01 or 2026-03-01T10:00:00Z`

func runReport(ctx context.Context, e *env, args []string) error {
	fs := e.flags(reportHelp)
	file := e.consoleFlags(fs)
	remote := fs.String("remote", "", "send: only to the remote `R`")
	format := fs.String("format", "csv", "export: the `FORMAT`: csv, jsonl or parquet")
	next := fs.Int64("next", 0, "resume: `N` is the number of the next report, higher than those of all delivered reports")
	why := fs.String("why", "", "resume: `TEXT` is the reason; it is recorded, and is in the reports")
	asJSON := fs.Bool("json", false, "list, show: print JSON")
	from, to := instant{}, instant{}
	fs.Var(&from, "from", "export: entries received at `T` or later")
	fs.Var(&to, "to", "export: entries received before `T`")
	rest, err := parse(fs, args)
	if err != nil || len(rest) == 0 {
		return orUsage(err, "say what to do: list, show, cut, send, resume, verify or export")
	}
	what, rest := rest[0], rest[1:]
	if err := checkFlags(fs, what, map[string]string{"remote": "send", "format": "export", "from": "export", "to": "export", "next": "resume", "why": "resume"}); err != nil {
		return err
	}
	if *asJSON && what != "list" && what != "show" {
		return errUsage{`--json is for "list" and "show" only`}
	}
	if !from.IsZero() && !to.IsZero() && !from.Before(to.Time) {
		return errUsage{fmt.Sprintf("--from %s is not before --to %s: there can be no entries", from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano))}
	}
	if what == "verify" {
		return verifyReports(e, rest)
	}
	if what == "resume" && (*next < 1 || strings.TrimSpace(*why) == "") {
		return errUsage{"resume needs --next NUMBER and --why TEXT"}
	}
	do, ok := map[string]func(*operator.Client, string, int64) error{
		"list": func(c *operator.Client, _ string, _ int64) error { return listReports(ctx, e, c, *asJSON) },
		"show": func(c *operator.Client, _ string, no int64) error { return showReport(ctx, e, c, no, *asJSON) },
		"cut":  func(c *operator.Client, absent string, _ int64) error { return cutReport(ctx, e, c, absent) },
		"send": func(c *operator.Client, absent string, no int64) error {
			return sendReport(ctx, e, c, absent, no, *remote)
		},
		"resume": func(c *operator.Client, absent string, _ int64) error {
			if err := c.ResumeReports(ctx, console.ResumeRequest{From: *next, Why: *why}); err != nil {
				return err
			}
			fmt.Fprintln(e.stdout, strings.TrimSpace(fmt.Sprintf("Reports go on. The next has the number %d. %s", *next, absent)))
			return nil
		},
		"export": func(c *operator.Client, _ string, _ int64) error {
			return exportEntries(ctx, e, c, *format, from.Time, to.Time)
		},
	}[what]
	if !ok {
		return errUsage{fmt.Sprintf("there is no %q; say list, show, cut, send, resume, verify or export", what)}
	}
	if what == "export" {
		if err := checkFormat(e, *format); err != nil {
			return err
		}
	}
	var no int64
	if what == "show" || what == "send" {
		if len(rest) != 1 {
			return errUsage{what + " needs the number of a report"}
		}
		if no, err = strconv.ParseInt(rest[0], 10, 64); err != nil || no < 1 {
			return errUsage{fmt.Sprintf("%q is not the number of a report", rest[0])}
		}
	} else if len(rest) != 0 {
		return errUsage{what + " takes no arguments"}
	}
	c, absent, done, err := connect(ctx, *file, e, false)
	if err != nil {
		return err
	}
	return firstOf(do(c, absent, no), done())
}

// instant is a flag: an RFC 3339 time, or a date, which is its first instant in UTC.
type instant struct{ time.Time }

func (i *instant) String() string { return "" }

func (i *instant) Set(s string) (err error) {
	if i.Time, err = time.Parse(time.DateOnly, s); err != nil {
		if i.Time, err = time.Parse(time.RFC3339, s); err != nil {
			return errors.New("not a time such as 2026-03-01 or 2026-03-01T10:00:00Z")
		}
	}
	return nil
}

// stamp returns an instant as text for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func listReports(ctx context.Context, e *env, c *operator.Client, asJSON bool) error {
	const last = 20
	list, err := c.Reports(ctx, 1<<62, last)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.stdout, list)
	}
	if len(list.Reports) == 0 {
		fmt.Fprintln(e.stdout, "There are no reports yet.")
		return nil
	}
	t := screen.Table{Heads: []string{"REPORT", "FROM (UTC)", "TO", "ENTRIES", "CAUSE", "FILES", "SIZE", "DELIVERY"}, Main: 6}
	for _, r := range list.Reports {
		var size int64
		var deliveries []string
		for _, f := range r.Files {
			size += f.Size
			for _, d := range f.Deliveries {
				deliveries = append(deliveries, d.Remote+" "+deliveryState(d))
			}
		}
		t.Row(r.No, stamp(r.Start), stamp(r.End), r.LastSeq-r.FirstSeq+1, r.Cause, len(r.Files), humanize.IBytes(uint64(size)), strings.Join(deliveries, ", "))
	}
	if len(list.Reports) == last {
		defer fmt.Fprintf(e.stdout, "These are the last %d. For earlier ones: GET /api/v1/reports?before=%d at the console.\n", last, list.Next)
	}
	return t.Print(e.stdout)
}

func deliveryState(d report.Delivery) string {
	if d.State == report.StateConfirmed || d.Tries == 0 {
		return string(d.State)
	}
	return fmt.Sprintf("%s after %s", d.State, plural(d.Tries, "try"))
}

func showReport(ctx context.Context, e *env, c *operator.Client, no int64, asJSON bool) error {
	r, err := c.Report(ctx, no)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(e.stdout, r)
	}
	printReport(e.stdout, r)
	return nil
}

func printReport(w io.Writer, r report.Report) {
	say := func(indent, text string, args ...any) {
		fmt.Fprintln(w, screen.Wrap(fmt.Sprintf(text, args...), indent))
	}
	say("", "Report %d of %s, %s to %s UTC, cut at %s (%s)", r.No, r.SystemID, stamp(r.Start), stamp(r.End), stamp(r.CutAt), r.Cause)
	if n := r.LastSeq - r.FirstSeq + 1; n > 0 {
		say("", "%s: numbers %d to %d", plural(n, "entry"), r.FirstSeq, r.LastSeq)
	} else {
		say("", "No entries")
	}
	say("", "The switch was %s; device list SHA-256 %s", r.Switch, cmp.Or(r.DeviceList, "-"))
	for _, f := range r.Files {
		fmt.Fprintln(w)
		say("", "%s", f.Name)
		if f.SHA256 == "" {
			say("  ", "cut, not written yet")
		} else {
			say("  ", "%s, %d bytes, SHA-256 %s", plural(f.Records, "entry"), f.Size, f.SHA256)
		}
		for _, d := range f.Deliveries {
			text := fmt.Sprintf("to %s: %s, %s", d.Remote, d.State, stamp(d.At))
			if d.Tries > 0 {
				text += fmt.Sprintf(", tries %d", d.Tries)
			}
			say("  ", "%s", text)
			if d.Error != "" {
				say("    ", "last error: %s", printable(d.Error))
			}
		}
	}
}

// plural returns a number with its noun.
func plural[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		noun = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func cutReport(ctx context.Context, e *env, c *operator.Client, absent string) error {
	r, err := c.CutReport(ctx)
	if err != nil {
		return err
	}
	printReport(e.stdout, r)
	if absent != "" {
		fmt.Fprintln(e.stdout, "\nNot delivered yet. "+absent)
	}
	return nil
}

// sendWait bounds the wait for the result of a delivery.
const sendWait = 30 * time.Second

func sendReport(ctx context.Context, e *env, c *operator.Client, absent string, no int64, remote string) error {
	r, err := c.SendReport(ctx, no, remote)
	if err != nil {
		return err
	}
	if absent != "" {
		fmt.Fprintln(e.stdout, "Not delivered yet. "+absent)
		return nil
	}
	if r, err = awaitDelivery(ctx, c, r, remote); err != nil {
		return err
	}
	printReport(e.stdout, r)
	if pending(r, remote) {
		return errors.New("not confirmed yet; it is retried")
	}
	return nil
}

// awaitDelivery waits until a remote has confirmed the files of a report, or all remotes if
// the name is empty. It stops waiting when a try fails, or after sendWait.
func awaitDelivery(ctx context.Context, c *operator.Client, r report.Report, remote string) (report.Report, error) {
	for deadline := time.Now().Add(sendWait); pending(r, remote) && !failed(r, remote) && time.Now().Before(deadline); {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return r, ctx.Err()
		}
		var err error
		if r, err = c.Report(ctx, r.No); err != nil {
			return r, err
		}
	}
	return r, nil
}

// pending reports whether any delivery is not confirmed.
func pending(r report.Report, remote string) bool {
	return anyDelivery(r, remote, func(d report.Delivery) bool { return d.State != report.StateConfirmed })
}

// failed reports whether the last try of any delivery failed.
func failed(r report.Report, remote string) bool {
	return anyDelivery(r, remote, func(d report.Delivery) bool { return d.Error != "" })
}

func anyDelivery(r report.Report, remote string, is func(report.Delivery) bool) bool {
	for _, f := range r.Files {
		for _, d := range f.Deliveries {
			if (remote == "" || d.Remote == remote) && is(d) {
				return true
			}
		}
	}
	return false
}

// checkFormat refuses a format that cannot be written to standard output.
func checkFormat(e *env, format string) error {
	f, err := reportfile.ParseFormat(format)
	if err != nil {
		return errUsage{"--format " + err.Error()}
	}
	if f == reportfile.Parquet && terminal(e.stdout) != nil {
		return errUsage{"Parquet is not for a terminal; write it to a file: > FILE"}
	}
	return nil
}

func exportEntries(ctx context.Context, e *env, c *operator.Client, format string, from, to time.Time) error {
	w := bufio.NewWriter(e.stdout)
	if err := c.Export(ctx, w, format, from, to); err != nil {
		return err
	}
	return w.Flush()
}

func verifyReports(e *env, paths []string) error {
	if len(paths) == 0 {
		return errUsage{"verify needs files, or folders of them"}
	}
	files, size, err := reportfile.List(paths)
	if err != nil {
		return err
	}
	p := newProgress(e, "verifying", size, inBytes)
	chains, err := reportfile.Verify(files, p.add)
	p.end()
	if err != nil {
		return err
	}
	for _, c := range chains {
		last := c.Newest
		fmt.Fprintln(e.stdout, screen.Wrap(fmt.Sprintf("%s, %s: reports %d to %d in %s with %s, up to %s UTC and number %d",
			printable(c.System), printable(c.Stream), c.First, c.Last, plural(c.Files, "file"), plural(c.Entries, "entry"), stamp(last.End), last.LastSeq), ""))
		if c.Gaps > 0 {
			fmt.Fprintf(e.stdout, "  No file of this distributor was written for %s between them\n", plural(c.Gaps, "period"))
		}
		if !c.Complete {
			fmt.Fprintf(e.stdout, "  The file before report %d is not among these files: %s\n", c.First, printable(c.Before))
		}
	}
	fmt.Fprintln(e.stdout, "All sound: nothing is missing, changed or there twice. The files alone cannot show whether later files are missing, or\n"+
		"whether the newest was changed: compare its name and SHA-256 with what its receiver noted.")
	return nil
}
