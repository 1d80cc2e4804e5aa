package reporter

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"quell/internal/report"
	"quell/internal/reportfile"
)

// Status returns what is known of the delivery of reports. Only the leader knows when remotes are
// tried again, and whether the store lacks reports. The error is sqldb.ErrUnavailable.
func (r *Reporter) Status(ctx context.Context) (report.Status, error) {
	s := report.Status{Remotes: []report.RemoteStatus{}}
	s.Unknown, s.File, s.Place = r.unknown.last()
	r.wakeMu.Lock()
	for _, to := range r.settings.Load().Remotes {
		s.Remotes = append(s.Remotes, report.RemoteStatus{Waiting: report.Waiting{Remote: to.Name}, Stream: to.Stream, NextTry: r.tries[to.Name]})
	}
	r.wakeMu.Unlock()
	slices.SortFunc(s.Remotes, func(a, b report.RemoteStatus) int { return cmp.Compare(a.Remote, b.Remote) })
	waiting, err := r.Register.Waiting(ctx)
	for _, w := range waiting {
		i := slices.IndexFunc(s.Remotes, func(to report.RemoteStatus) bool { return to.Remote == w.Remote })
		if i < 0 {
			i, s.Remotes = len(s.Remotes), append(s.Remotes, report.RemoteStatus{})
		}
		to := &s.Remotes[i]
		to.Waiting = w
		oldest, err := r.Register.Report(ctx, w.Report)
		if err != nil && !errors.Is(err, report.ErrNoReport) {
			return s, err
		}
		for _, f := range oldest.Files {
			for _, d := range f.Deliveries {
				if d.Remote == w.Remote && d.State != report.StateConfirmed {
					to.Tries, to.Error = d.Tries, d.Error
				}
			}
		}
	}
	return s, err
}

// setTry sets when a remote is tried again; zero if its last try did not fail.
func (r *Reporter) setTry(name string, at time.Time) {
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	if r.tries == nil {
		r.tries = map[string]time.Time{}
	}
	if r.tries[name] = at; at.IsZero() {
		delete(r.tries, name)
	}
}

// Chain returns up to limit reports with numbers below before, the latest first, and checks the link
// of each to the one before it: by the header of its file, if this node has that. The error is
// sqldb.ErrUnavailable.
func (r *Reporter) Chain(ctx context.Context, before int64, limit int) ([]report.Linked, error) {
	list, err := r.Register.List(ctx, before, limit+1)
	var chain []report.Linked
	for i, rep := range list[:min(limit, len(list))] {
		l := report.Linked{Report: rep, Link: report.LinkUnchecked, Why: "the report before it is not kept any more"}
		if i+1 < len(list) {
			l.Link, l.Why = r.link(list[i+1], rep)
		} else if len(rep.Files) > 0 && rep.Files[0].Previous == 0 {
			l.Link, l.Why = report.LinkFirst, ""
		}
		chain = append(chain, l)
	}
	return chain, err
}

func (r *Reporter) link(before, rep report.Report) (report.LinkState, string) {
	if rep.SHA256() == "" || before.SHA256() == "" {
		return report.LinkUnchecked, "its file is not written yet"
	}
	var fault *reportfile.Fault
	switch err := reportfile.CheckLink(filepath.Join(r.Dir, rep.Files[0].Name), before); {
	case err == nil:
		return report.LinkHolds, ""
	case errors.Is(err, fs.ErrNotExist):
		return report.LinkUnchecked, "this node does not have its file"
	case errors.As(err, &fault):
		return report.LinkBroken, fault.Err.Error()
	default:
		return report.LinkUnchecked, "its file cannot be read: " + err.Error()
	}
}
