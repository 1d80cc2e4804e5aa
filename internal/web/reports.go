package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"quell/internal/console"
	"quell/internal/guard"
	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/role"
)

func (p *Web) reportPages() {
	p.page("GET /reports", role.Viewer, p.showReports, "before")
	p.page("GET /reports/{no}", role.Viewer, p.showReport)
	p.change("/reports/cut", role.Operator, p.askCut, p.cut)
	p.change("/reports/{no}/send", role.Operator, p.askSend, p.send)
	p.change("/reports/resume", role.Operator, p.askResume, p.resume)
	p.page("GET /reports/verify", role.Analyst, func(*http.Request) (any, error) {
		return view{Template: "verify", Title: "Verify report files", Data: verified{Most: maxVerify >> 20}}, nil
	})
	p.upload("POST /reports/verify", role.Analyst, maxVerify, p.verify)
}

// reportsPage is how many reports a page has.
const reportsPage = 25

// rights are what somebody may do, as far as pages ask.
type rights struct{ Analyst, Operator bool }

func rightsOf(r *http.Request) rights {
	return rights{!guard.HideMPxN(r), guard.Caller(r).Role >= role.Operator}
}

type reportsView struct {
	rights
	Reports []report.Linked
	Older   int64 // "before" of the next page; 0 if there is none
	Later   bool  // this is not the first page
	Status  report.Status
	Next    int64 // the number of the next report, after some were lost
}

// before reads the parameter before, a number; 0 if it is missing.
func before(r *http.Request) (int64, error) {
	text := r.URL.Query().Get("before")
	n, err := strconv.ParseInt(text, 10, 64)
	if text != "" && (err != nil || n < 1) {
		return 0, badForm{fmt.Errorf("before=%q is not a number", text)}
	}
	return n, nil
}

func (p *Web) showReports(r *http.Request) (any, error) {
	v := reportsView{rights: rightsOf(r)}
	from, err := before(r)
	if err != nil {
		return nil, err
	}
	v.Later = from > 0
	if v.Reports, err = p.Console.Reporting.Chain(r.Context(), cmp.Or(from, 1<<62), reportsPage+1); err != nil {
		return nil, err
	}
	if len(v.Reports) > reportsPage {
		v.Reports = v.Reports[:reportsPage]
		v.Older = v.Reports[reportsPage-1].No
	}
	v.Status, err = p.Console.Reporting.Status(r.Context())
	if v.Next = v.Status.Unknown + 1; len(v.Reports) > 0 && !v.Later {
		v.Next = max(v.Next, v.Reports[0].No+1)
	}
	return view{Template: "reports", Title: "Reports", Data: v}, err
}

// reportOf returns the report of an address.
func (p *Web) reportOf(r *http.Request) (report.Report, error) {
	no, err := strconv.ParseInt(r.PathValue("no"), 10, 64)
	if err != nil || no < 1 {
		return report.Report{}, badForm{fmt.Errorf("%q is not the number of a report", r.PathValue("no"))}
	}
	return p.Console.Reports.Report(r.Context(), no)
}

type reportView struct {
	rights
	report.Linked
	Remotes []string // to send it to
}

// remotes returns the names of the remotes in use.
func (p *Web) remotes(r *http.Request) (names []string, err error) {
	status, err := p.Console.Reporting.Status(r.Context())
	for _, to := range status.Remotes {
		if to.Stream != "" {
			names = append(names, to.Remote)
		}
	}
	return names, err
}

func (p *Web) showReport(r *http.Request) (any, error) {
	rep, err := p.reportOf(r)
	if err != nil {
		return nil, err
	}
	list, err := p.Console.Reporting.Chain(r.Context(), rep.No+1, 1)
	if err != nil || len(list) == 0 {
		return nil, cmp.Or(err, report.ErrNoReport)
	}
	v := reportView{rights: rightsOf(r), Linked: list[0]}
	v.Remotes, err = p.remotes(r)
	return view{Template: "report", Title: fmt.Sprintf("Report %d", rep.No), Data: v}, err
}

func (p *Web) askCut(r *http.Request) (confirmation, error) {
	_, err := why(r)
	return confirmation{Title: "Cut a report now", Button: "Cut the report", Back: "/reports", Will: []string{
		"quell cuts a report of all entries that are in no report yet, even if there are none, and writes its files.",
		"The files go to all remotes. A report cannot be taken back.", "The next report is cut when it is due, as always."}}, err
}

func (p *Web) cut(r *http.Request) (any, error) {
	reason, err := why(r)
	if err != nil {
		return nil, err
	}
	rep, err := p.Console.Reporting.Cut(r.Context())
	if err != nil {
		return nil, err
	}
	p.Console.Guard.Changed(r, "report-cut", fmt.Sprintf("reports/%d", rep.No), reason)
	return seeOther(fmt.Sprintf("/reports/%d", rep.No)), nil
}

func (p *Web) askSend(r *http.Request) (c confirmation, err error) {
	rep, err := p.reportOf(r)
	if err != nil {
		return c, err
	}
	remotes, err := p.remotes(r)
	if err != nil {
		return c, err
	}
	to := r.PostForm.Get("remote")
	if to != "" && !slices.Contains(remotes, to) {
		return c, badForm{fmt.Errorf("there is no remote %q", to)}
	}
	c = confirmation{Title: fmt.Sprintf("Send report %d again", rep.No), Button: "Send it again", Back: fmt.Sprintf("/reports/%d", rep.No), Will: []string{
		fmt.Sprintf("quell sends the files of report %d again to %s.", rep.No, cmp.Or(to, "all remotes")),
		"What a remote has under the same name, and is the same, stays. If it has another file under that name, that file stays too, and the delivery fails."}}
	_, err = why(r)
	return c, err
}

func (p *Web) send(r *http.Request) (any, error) {
	c, err := p.askSend(r)
	if err != nil {
		return nil, err
	}
	no, _ := strconv.ParseInt(r.PathValue("no"), 10, 64)
	to, reason := r.PostForm.Get("remote"), r.PostForm.Get("why")
	if err := p.Console.Reporting.Send(r.Context(), no, to); err != nil {
		return nil, err
	}
	p.Console.Guard.Changed(r, "report-send", fmt.Sprintf("reports/%d to %s", no, cmp.Or(to, "all remotes")), reason)
	return seeOther(c.Back), nil
}

func (p *Web) askResume(r *http.Request) (confirmation, error) {
	from, err := strconv.ParseInt(r.PostForm.Get("from"), 10, 64)
	if err != nil || from < 1 {
		return confirmation{}, badForm{errors.New("give the number of the next report")}
	}
	_, err = why(r)
	return confirmation{Title: "Resume reports", Button: "Resume reports", Back: "/reports", Serious: true, Will: []string{
		"quell takes back the reports whose files this node has, with their entries.",
		fmt.Sprintf("It cuts and delivers reports again. The next has the number %d. No report gets a number that is skipped.", from),
		"The reason goes into the reports, where receivers read it. None of this can be undone."}}, err
}

func (p *Web) resume(r *http.Request) (any, error) {
	if _, err := p.askResume(r); err != nil {
		return nil, err
	}
	from, _ := strconv.ParseInt(r.PostForm.Get("from"), 10, 64)
	reason, _ := why(r)
	return seeOther("/reports"), p.Console.Reporting.Resume(r.Context(), from, guard.Caller(r).Name, reason)
}

// Bounds of what is verified at once.
const (
	maxVerify      = 512 << 20
	maxVerifyFiles = 5000
)

// verified is what the page of a verification shows.
type verified struct {
	Most int // MiB
	*reportfile.Checked
	Others int // files that are sound, and not what this quell wrote
	Known  int // files that are what it wrote
	Shown  []verifiedFile
}

// verifiedFile is a file, and how it compares with the register.
type verifiedFile struct {
	reportfile.CheckedFile
	State string // "fault", "other", "unknown" (the register does not have it) or "same"
}

// maxShown is how many files that were verified a page shows.
const maxShown = 200

// verify says whether the files of a form hold. It keeps none of them.
func (p *Web) verify(r *http.Request) (any, error) {
	if !p.verifying.TryLock() {
		return nil, console.Conflict{Err: errors.New("quell verifies files of somebody else: try again in a minute")}
	}
	defer p.verifying.Unlock()
	next, err := uploaded(r, maxVerifyFiles)
	if err != nil {
		return nil, err
	}
	v := verified{Most: maxVerify >> 20}
	if v.Checked, err = reportfile.Check(next); err != nil {
		return nil, err
	}
	for _, f := range v.Files {
		shown := verifiedFile{f, "fault"}
		if f.Fault == nil {
			known, err := p.Console.Reports.File(r.Context(), f.Header.Report, f.Header.Stream)
			switch {
			case errors.Is(err, report.ErrNoReport), err == nil && known.Name != f.Name:
				shown.State = "unknown"
			case err != nil:
				return nil, err
			case known.SHA256 == f.SHA256:
				shown.State = "same"
				v.Known++
			default:
				shown.State = "other"
				v.Others++
			}
		}
		v.Shown = append(v.Shown, shown)
	}
	order := []string{"fault", "other", "unknown", "same"}
	slices.SortStableFunc(v.Shown, func(a, b verifiedFile) int { return slices.Index(order, a.State) - slices.Index(order, b.State) })
	v.Shown = v.Shown[:min(maxShown, len(v.Shown))]
	return view{Template: "verify", Title: "Verify report files", Data: v}, nil
}
