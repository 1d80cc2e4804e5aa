package web

import (
	"fmt"
	"net/http"

	"quell/internal/console"
	"quell/internal/guard"
	"quell/internal/outage"
	"quell/internal/release"
	"quell/internal/role"
	"quell/internal/wording"
)

// releasePages add the release of the alert of an entry: a form with the reason, a page that says
// what will happen, and the release.
func (p *Web) releasePages() {
	p.change("/explain/entry/{no}/release", role.Operator, p.askRelease, func(r *http.Request) (any, error) {
		reason, err := why(r)
		if err != nil {
			return nil, err
		}
		seq, err := p.Console.Releases.Find(r.Context(), r.PathValue("no"))
		if err != nil {
			return nil, err
		}
		_, err = p.Console.Releases.Release(r.Context(), seq, guard.Caller(r).Name, reason)
		return seeOther(fmt.Sprintf("/explain/entry/%d?done=release", seq)), err
	})
}

func (p *Web) askRelease(r *http.Request) (confirmation, error) {
	reason, err := why(r)
	if err != nil {
		return confirmation{}, err
	}
	v, err := p.explainEntry(r)
	if err != nil {
		return confirmation{}, err
	}
	e := v.Data.(explanation).Entry
	if e.Outcome != outage.Suppressed {
		return confirmation{}, console.Conflict{Err: fmt.Errorf("%w: its outcome is %s", release.ErrRefused, e.Outcome)}
	}
	return confirmation{
		Title: "Release the alert of entry " + wording.Number(e.Seq) + "?",
		Will: []string{
			fmt.Sprintf("The AD1 of hub %s, received at %s, is sent north now: late, and as it came.", e.CHF, utc(e.Received)),
			"The Service Users get it once. It cannot be taken back.",
			"The entry says “released” from then on, and the next report has that.",
			fmt.Sprintf("Your name (%s) and your reason are kept: “%s”.", guard.Caller(r).Name, reason),
		},
		Button: "Release the alert",
		Back:   fmt.Sprintf("/explain/entry/%d", e.Seq),
	}, nil
}
