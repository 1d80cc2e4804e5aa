package steer

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"quell/internal/console"
	"quell/internal/guard"
	"quell/internal/page"
	"quell/internal/report"
	"quell/internal/reportfile"
	"quell/internal/role"
)

func (p *pages) addReports(f Frame) {
	f.Page("GET /reports", role.Viewer, p.showReports, "before")
	f.Page("GET /reports/{no}", role.Viewer, p.showReport)
	f.Change("/reports/cut", role.Operator, p.askCut, p.cut)
	f.Change("/reports/{no}/send", role.Operator, p.askSend, p.send)
	f.Change("/reports/resume", role.Operator, p.askResume, p.resume)
	f.Page("GET /reports/verify", role.Analyst, func(*http.Request) (any, error) {
		return page.View{Template: "verify", Title: "Verify report files", Data: verified{Most: maxVerify >> 20}}, nil
	})
	f.Upload("POST /reports/verify", role.Analyst, maxVerify, p.verify)
}

// reportsPage is how many reports a page has.
const reportsPage = 25

type reportsView struct {
	page.Rights
	Reports []report.Linked
	Older   int64 // "before" of the next page; 0 if there is none
	Later   bool  // this is not the first page
	Status  report.Status
	Next    int64 // the number of the next report, after some were lost
}

func (p *pages) showReports(r *http.Request) (any, error) {
	v := reportsView{Rights: page.RightsOf(r)}
	from, err := page.Before(r)
	if err != nil {
		return nil, err
	}
	v.Later = from > 0
	if v.Reports, err = p.console.Reporting.Chain(r.Context(), cmp.Or(from, 1<<62), reportsPage+1); err != nil {
		return nil, err
	}
	if len(v.Reports) > reportsPage {
		v.Reports = v.Reports[:reportsPage]
		v.Older = v.Reports[reportsPage-1].No
	}
	v.Status, err = p.console.Reporting.Status(r.Context())
	if v.Next = v.Status.Unknown + 1; len(v.Reports) > 0 && !v.Later {
		v.Next = max(v.Next, v.Reports[0].No+1)
	}
	return page.View{Template: "reports", Title: "Reports", Data: v}, err
}

// reportOf returns the report of an address.
func (p *pages) reportOf(r *http.Request) (report.Report, error) {
	no, err := strconv.ParseInt(r.PathValue("no"), 10, 64)
	if err != nil || no < 1 {
		return report.Report{}, page.Bad(fmt.Errorf("%q is not the number of a report", r.PathValue("no")))
	}
	return p.console.Reports.Report(r.Context(), no)
}

type reportView struct {
	page.Rights
	report.Linked
	Remotes []string // to send it to
}

// remotes returns the names of the remotes in use.
func (p *pages) remotes(r *http.Request) (names []string, err error) {
	status, err := p.console.Reporting.Status(r.Context())
	for _, to := range status.Remotes {
		if to.Stream != "" {
			names = append(names, to.Remote)
		}
	}
	return names, err
}

func (p *pages) showReport(r *http.Request) (any, error) {
	rep, err := p.reportOf(r)
	if err != nil {
		return nil, err
	}
	list, err := p.console.Reporting.Chain(r.Context(), rep.No+1, 1)
	if err != nil || len(list) == 0 {
		return nil, cmp.Or(err, report.ErrNoReport)
	}
	v := reportView{Rights: page.RightsOf(r), Linked: list[0]}
	v.Remotes, err = p.remotes(r)
	return page.View{Template: "report", Title: fmt.Sprintf("Report %d", rep.No), Data: v}, err
}

func (p *pages) askCut(r *http.Request) (page.Confirmation, error) {
	reason, err := page.Why(r)
	return page.Confirmation{Title: "Cut a report now", Button: "Cut the report", Back: "/reports", Will: []string{
		"quell cuts a report of all entries that are in no report yet, even if there are none, and writes its files.",
		"The files go to all remotes. A report cannot be taken back.", "The next report is cut when it is due, as always.", page.Kept(reason)}}, err
}

func (p *pages) cut(r *http.Request) (any, error) {
	reason, err := page.Why(r)
	if err != nil {
		return nil, err
	}
	rep, err := p.console.Reporting.Cut(r.Context())
	if err != nil {
		return nil, err
	}
	p.console.Guard.Changed(r, "report-cut", fmt.Sprintf("reports/%d", rep.No), reason)
	return page.SeeOther(fmt.Sprintf("/reports/%d", rep.No)), nil
}

func (p *pages) askSend(r *http.Request) (c page.Confirmation, err error) {
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
		return c, page.Bad(fmt.Errorf("there is no remote %q", to))
	}
	reason, err := page.Why(r)
	c = page.Confirmation{Title: fmt.Sprintf("Send report %d again", rep.No), Button: "Send it again", Back: fmt.Sprintf("/reports/%d", rep.No), Will: []string{
		fmt.Sprintf("quell sends the files of report %d again to %s.", rep.No, cmp.Or(to, "all remotes")),
		"What a remote has under the same name, and is the same, stays. If it has another file under that name, that file stays too, and the delivery fails.", page.Kept(reason)}}
	return c, err
}

func (p *pages) send(r *http.Request) (any, error) {
	c, err := p.askSend(r)
	if err != nil {
		return nil, err
	}
	no, _ := strconv.ParseInt(r.PathValue("no"), 10, 64)
	to, reason := r.PostForm.Get("remote"), r.PostForm.Get("why")
	if err := p.console.Reporting.Send(r.Context(), no, to); err != nil {
		return nil, err
	}
	p.console.Guard.Changed(r, "report-send", fmt.Sprintf("reports/%d to %s", no, cmp.Or(to, "all remotes")), reason)
	return page.SeeOther(c.Back), nil
}

func (p *pages) askResume(r *http.Request) (page.Confirmation, error) {
	from, err := strconv.ParseInt(r.PostForm.Get("from"), 10, 64)
	if err != nil || from < 1 {
		return page.Confirmation{}, page.Bad(errors.New("give the number of the next report"))
	}
	reason, err := page.Why(r)
	return page.Confirmation{Title: "Resume reports", Button: "Resume reports", Back: "/reports", Serious: true, Will: []string{
		"quell takes back the reports whose files this node has, with their entries.",
		fmt.Sprintf("It cuts and delivers reports again. The next has the number %d. No report gets a number that is skipped.", from),
		"The reason goes into the reports, where receivers read it. None of this can be undone.", page.Kept(reason)}}, err
}

func (p *pages) resume(r *http.Request) (any, error) {
	if _, err := p.askResume(r); err != nil {
		return nil, err
	}
	from, _ := strconv.ParseInt(r.PostForm.Get("from"), 10, 64)
	reason, _ := page.Why(r)
	return page.SeeOther("/reports"), p.console.Reporting.Resume(r.Context(), from, guard.Caller(r).Name, reason)
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
func (p *pages) verify(r *http.Request) (any, error) {
	if !p.verifying.TryLock() {
		return nil, console.Conflict{Err: errors.New("quell verifies files of somebody else: try again in a minute")}
	}
	defer p.verifying.Unlock()
	next, err := page.Files(r, maxVerifyFiles)
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
			known, err := p.console.Reports.File(r.Context(), f.Header.Report, f.Header.Stream)
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
	return page.View{Template: "verify", Title: "Verify report files", Data: v}, nil
}
