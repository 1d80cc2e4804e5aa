package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"quell/internal/guard"
	"quell/internal/report"
	"quell/internal/role"
)

// Reporting has what the console can have done with reports.
type Reporting struct {
	Cut  func(context.Context) (report.Report, error)
	Send func(ctx context.Context, no int64, remote string) error
	// Resume starts cutting and delivering again, with the number next, after a store that
	// lacks delivered reports was put back.
	Resume func(ctx context.Context, next int64, who, why string) error
	// Status returns what is known of the delivery of reports.
	Status func(ctx context.Context) (report.Status, error)
	// Chain returns up to limit reports with numbers below before, the latest first, and whether
	// each follows the one before it.
	Chain func(ctx context.Context, before int64, limit int) ([]report.Linked, error)
	// Open opens a file of a report.
	Open func(ctx context.Context, no int64, stream string) (*os.File, error)
	// Export returns the function that writes a format. The error says that the format is
	// unknown.
	Export func(format string) (contentType string, write func(ctx context.Context, w io.Writer, from, to time.Time) error, err error)
}

// Conflict marks an error as one about the state of the reports: 409.
type Conflict struct{ Err error }

// NotFound marks an error as one about something that does not exist: 404.
type NotFound struct{ Err error }

func (e Conflict) Error() string { return e.Err.Error() }
func (e NotFound) Error() string { return e.Err.Error() }

func (e Conflict) Unwrap() error { return e.Err }
func (e NotFound) Unwrap() error { return e.Err }

func (c *Console) reportRoutes(mux guard.Endpoints) {
	mux.Handle("GET /api/v1/reports", role.Viewer, c.try(c.listReports), "before", "limit")
	mux.Handle("POST /api/v1/reports", role.Operator, c.try(func(r *http.Request) (any, error) { return c.Reporting.Cut(r.Context()) }))
	mux.Handle("GET /api/v1/reports/{no}", role.Viewer, c.try(func(r *http.Request) (any, error) {
		no, err := reportNumber(r)
		if err != nil {
			return nil, err
		}
		return c.Reports.Report(r.Context(), no)
	}))
	mux.Handle("GET /api/v1/reports/{no}/file", role.Analyst, c.reportFile, "stream")
	mux.Handle("GET /api/v1/reports/chain", role.Viewer, c.try(c.reportChain), "before", "limit")
	mux.Handle("GET /api/v1/remotes", role.Viewer, c.try(func(r *http.Request) (any, error) { return c.Reporting.Status(r.Context()) }))
	mux.Handle("POST /api/v1/reports/{no}/send", role.Operator, c.try(c.sendReport), "remote")
	mux.Handle("POST /api/v1/reports/resume", role.Operator, c.try(c.resumeReports))
	mux.Handle("GET /api/v1/export", role.Analyst, c.export, "format", "from", "to")
}

func reportNumber(r *http.Request) (int64, error) {
	text := r.PathValue("no")
	no, err := strconv.ParseInt(text, 10, 64)
	if err != nil || no < 1 {
		return 0, badRequest{fmt.Errorf("%q is not the number of a report", text)}
	}
	return no, nil
}

// Reports is the answer to GET /api/v1/reports: the latest first. Next is the value of
// "before" for the next page.
type Reports struct {
	Reports []report.Report `json:"reports"`
	Next    int64           `json:"next"`
}

// Chain is the answer to GET /api/v1/reports/chain: reports, the latest first, and whether each follows
// the one before it. Next is as in Reports.
type Chain struct {
	Reports []report.Linked `json:"reports"`
	Next    int64           `json:"next"`
}

func (c *Console) reportChain(r *http.Request) (any, error) {
	list, next, err := latestReports(r, c.Reporting.Chain, func(l *report.Linked) int64 { return l.No })
	if list == nil {
		return nil, err
	}
	return Chain{Reports: list, Next: next}, err
}

func (c *Console) listReports(r *http.Request) (any, error) {
	list, next, err := latestReports(r, c.Reports.List, func(x *report.Report) int64 { return x.No })
	if list == nil {
		return nil, err
	}
	return Reports{Reports: list, Next: next}, err
}

// latestReports reads a page of reports, the latest first, and returns the value of "before" for the
// next page. The list is nil if the parameters are wrong.
func latestReports[T any](r *http.Request, read func(ctx context.Context, before int64, limit int) ([]T, error), no func(*T) int64) (list []T, next int64, err error) {
	before, err := number(r, "before", 1<<62, 1, 1<<62)
	if err != nil {
		return nil, 0, err
	}
	limit, err := number(r, "limit", defaultLimit, 1, 1000)
	if err != nil {
		return nil, 0, err
	}
	list, err = read(r.Context(), before, int(limit))
	if next = before; len(list) > 0 {
		next = no(&list[len(list)-1])
	}
	return append([]T{}, list...), next, err
}

// reportFile answers with a file of a report: the consolidated one, unless the parameter
// stream names another.
func (c *Console) reportFile(w http.ResponseWriter, r *http.Request) {
	no, err := reportNumber(r)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	stream := r.URL.Query().Get("stream")
	if stream == "" {
		stream = report.Consolidated
	}
	f, err := c.Reporting.Open(r.Context(), no, stream)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		c.fail(w, r, err)
		return
	}
	if err := c.Guard.LookedUp(r, info.Name()); err != nil {
		c.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", info.Name()))
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// sendReport asks for a report to be delivered again, to the remote in the parameter remote,
// or to all. It answers with the report as it is now.
func (c *Console) sendReport(r *http.Request) (any, error) {
	no, err := reportNumber(r)
	if err != nil {
		return nil, err
	}
	if err := c.Reporting.Send(r.Context(), no, r.URL.Query().Get("remote")); err != nil {
		return nil, err
	}
	return c.Reports.Report(r.Context(), no)
}

// ResumeRequest is the body of POST /api/v1/reports/resume.
type ResumeRequest struct {
	From int64  `json:"from"` // the number of the next report
	Why  string `json:"why"`
}

func (c *Console) resumeReports(r *http.Request) (any, error) {
	var in ResumeRequest
	if err := readJSON(r, &in, "a request to resume reports"); err != nil {
		return nil, err
	}
	in.Why = strings.TrimSpace(in.Why)
	if in.From < 1 || !isText(in.Why) {
		return nil, badRequest{errors.New("needs from (a number above 0) and why")}
	}
	return in, c.Reporting.Resume(r.Context(), in.From, guard.Caller(r).Name, in.Why)
}

// export answers with the log entries received in [from, to), in a format. Both times are
// optional. If the export fails, the connection is cut, so that the answer is not taken for
// a complete one.
func (c *Console) export(w http.ResponseWriter, r *http.Request) {
	from, err := instant(r, "from", time.Time{})
	if err != nil {
		c.fail(w, r, err)
		return
	}
	to, err := instant(r, "to", time.Time{}) // no bound: entries may be from a time when the clock was ahead
	if err == nil && !from.IsZero() && !to.IsZero() && !from.Before(to) {
		err = badRequest{fmt.Errorf("from=%s is not before to=%s: there can be no entries", from.Format(time.RFC3339Nano), to.Format(time.RFC3339Nano))}
	}
	if err != nil {
		c.fail(w, r, err)
		return
	}
	kind, write, err := c.Reporting.Export(r.URL.Query().Get("format"))
	if err != nil {
		c.fail(w, r, badRequest{fmt.Errorf("format: %w", err)})
		return
	}
	if err := c.Guard.LookedUp(r, exported(from, to)); err != nil {
		c.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", kind)
	if err := write(r.Context(), w, from, to); err != nil {
		c.Log.Error("an export failed", "error", err)
		panic(http.ErrAbortHandler)
	}
}

// exported says which entries an export has.
func exported(from, to time.Time) string {
	text := "entries"
	if !from.IsZero() {
		text += " from " + from.Format(time.RFC3339Nano)
	}
	if !to.IsZero() {
		text += " to " + to.Format(time.RFC3339Nano)
	}
	return text
}
