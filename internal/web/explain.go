package web

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"quell/internal/assess"
	"quell/internal/console"
	"quell/internal/draw"
	"quell/internal/evidence"
	"quell/internal/guard"
	"quell/internal/ledger"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/release"
	"quell/internal/role"
	"quell/internal/sqldb"
	"quell/internal/wording"
)

// explanation is what a page of Explain shows.
type explanation struct {
	Short    []string // the answer, in a sentence or two
	Suspect  evidence.Level
	X        *motorway.Explanation
	Entry    *outage.Entry // what the page is about, or the last one; nil if there is none
	Evidence *assess.Evidence
	Releases []release.Release
	Time     *draw.Timeline
	Open     bool // MPxNs are shown
	MayOpen  bool // who asks may have them shown
	Path     string
	Release  string // "form", "role": who asks may not; "" if there is nothing to release
	Done     string // what was just done
}

func (p *Web) explainPages() {
	p.page("GET /explain", role.Viewer, func(*http.Request) (any, error) {
		return view{Template: "explain", Title: "Explain", Data: explanation{}}, nil
	})
	p.page("POST /explain", role.Viewer, p.findTyped)
	for _, kind := range []struct {
		path string
		read func(*http.Request) (view, error)
	}{{"/explain/device/{id}", p.explainDevice}, {"/explain/message/{id}", p.explainMessage}, {"/explain/entry/{no}", p.explainEntry}} {
		p.page("GET "+kind.path, role.Viewer, func(r *http.Request) (any, error) { return kind.read(r) }, "done")
		p.page("POST "+kind.path+"/mpxn", role.Analyst, func(r *http.Request) (any, error) {
			v, err := kind.read(r)
			if err != nil {
				return nil, err
			}
			d := v.Data.(explanation)
			d.Open = true
			v.Data = d
			return v, p.Console.Guard.LookedUp(r, d.X.ID)
		})
	}
	p.releasePages()
}

// findTyped leads to the page about what somebody has typed. An MPxN, which no address may have,
// becomes its hub, or else its meter, or else its last entry.
func (p *Web) findTyped(r *http.Request) (any, error) {
	text, err := field(r, "id", "enter what to explain")
	if err != nil {
		return nil, err
	}
	t, err := readTyped(text)
	switch {
	case err != nil:
		return nil, err
	case t.Entry != "":
		return seeOther("/explain/entry/" + t.Entry), nil
	case t.Message != "":
		return seeOther("/explain/message/" + t.Message), nil
	case t.Device != 0:
		return seeOther("/explain/device/" + t.Device.String()), nil
	}
	if guard.HideMPxN(r) {
		return nil, console.ErrNoMPxN
	}
	if err := p.Console.Guard.LookedUp(r, t.MPxN); err != nil {
		return nil, err
	}
	x, err := p.Console.Motorway.Explain(r.Context(), t.MPxN, p.Console.Motorway.Now())
	if err != nil {
		return nil, err
	}
	for _, d := range x.Devices {
		if d.Type == "ESME" && d.CHF != 0 {
			return seeOther("/explain/device/" + d.CHF.String()), nil
		}
	}
	switch {
	case len(x.Entries) > 0:
		return seeOther(fmt.Sprintf("/explain/entry/%d", x.Entries[0].Seq)), nil
	case len(x.Devices) > 0:
		return seeOther("/explain/device/" + x.Devices[0].ID.String()), nil
	}
	return nil, console.NotFound{Err: errors.New("nothing is known of this MPxN: it is not in the inventory, and there is no entry for it")}
}

func (p *Web) explainDevice(r *http.Request) (view, error) {
	id, err := outage.ParseAnyDeviceID(r.PathValue("id"))
	if err != nil {
		return view{}, err
	}
	what := "Device "
	d, err := p.explain(r, id.String(), nil)
	if err != nil {
		return view{}, err
	}
	if len(d.X.Verdicts) == 1 && d.X.Verdicts[id.String()] != (motorway.Verdict{}) {
		what = "Hub "
	} else if len(d.X.Activations) > 0 || len(d.X.Devices) > 0 && d.X.Devices[0].Type == "ESME" {
		what = "Meter "
	}
	switch {
	case d.Entry != nil:
		d.Short = append(d.Short, entrySentence(d.Entry), "That was the last AD1 in the log from here: entry "+wording.Number(d.Entry.Seq)+".")
	case !d.X.Known:
		d.Short = d.X.Text[:1:1]
	default:
		d.Short = append(d.Short, "No AD1 from here was suppressed.")
	}
	d.addEvidence()
	for _, hub := range slices.Sorted(func(yield func(string) bool) {
		for hub := range d.X.Verdicts {
			if !yield(hub) {
				return
			}
		}
	}) {
		v, verb := d.X.Verdicts[hub], "would go forward"
		if v.Decision == outage.Suppressed && p.Console.Ledger.Switch() == outage.SwitchOn {
			verb = "would be suppressed"
		}
		d.Short = append(d.Short, fmt.Sprintf("An AD1 of hub %s that came now %s: %s.", hub, verb, v.Reason.Text()))
	}
	return view{Template: "explain", Title: what + id.String(), Data: d}, nil
}

func (p *Web) explainMessage(r *http.Request) (view, error) {
	t, err := readTyped(r.PathValue("id"))
	if err == nil && t.Message == "" {
		err = errTyped
	}
	if err != nil {
		return view{}, err
	}
	d, err := p.explain(r, t.Message, nil)
	if err != nil {
		return view{}, err
	}
	title := "Message "
	for i := range d.X.Activations {
		if a := &d.X.Activations[i]; a.RequestID == t.Message {
			title = "Request "
			text := "This request opened no window."
			if a.WindowStart != nil {
				text = fmt.Sprintf("This request of %s has the window %s to %s.", draw.OrderedBy(a.RequestID), utc(*a.WindowStart), utc(*a.WindowEnd))
			}
			d.Short = append(d.Short, text+" "+draw.StateText(a))
		}
	}
	for _, u := range d.X.Untracked {
		if u.RequestID == t.Message {
			title = "Request "
			d.Short = append(d.Short, "This request opened no window: "+u.Reason.Text()+".")
		}
	}
	if i := slices.IndexFunc(d.X.Entries, func(e outage.Entry) bool { return e.AlertID == t.Message }); i >= 0 {
		title, d.Entry = "Alert ", &d.X.Entries[i]
		d.Short = append(d.Short, entrySentence(d.Entry))
		d.addEvidence()
	} else if len(d.X.Entries) > 0 {
		d.Short = append(d.Short, fmt.Sprintf("%s of its window.", count(len(d.X.Entries), "AD1 in the log is", "AD1s in the log are")))
	}
	for _, f := range d.X.Forwarded {
		if f.AlertID == t.Message && title == "Message " {
			title = "Alert "
			d.Short = append(d.Short, "Forwarded: "+f.Reason.Text()+".")
		}
	}
	if len(d.Short) == 0 {
		d.Short = d.X.Text[:1:1]
	}
	return view{Template: "explain", Title: title + t.Message, Data: d}, nil
}

func (p *Web) explainEntry(r *http.Request) (view, error) {
	no, err := strconv.ParseInt(r.PathValue("no"), 10, 64)
	if err != nil || no < 1 {
		return view{}, badForm{fmt.Errorf("%q is not the number of an entry", r.PathValue("no"))}
	}
	e, err := ledger.EntryOf(r.Context(), p.Console.DB, no)
	if errors.Is(err, sqldb.ErrNoRows) {
		return view{}, console.NotFound{Err: fmt.Errorf("the log has no entry %d", no)}
	}
	if err != nil {
		return view{}, sqldb.Unavailable(err)
	}
	d, err := p.explain(r, e.CHF.String(), &e)
	if err != nil {
		return view{}, err
	}
	d.Short = []string{entrySentence(&e)}
	d.addEvidence()
	if d.Entry.Outcome == outage.Suppressed && len(d.Releases) == 0 {
		if d.Release = "role"; guard.Caller(r).Role >= role.Operator {
			d.Release = "form"
		}
	}
	if r.URL.Query().Get("done") == "release" {
		d.Done = "The release is asked for. The alert is delivered as soon as the next hop takes it: reload this page to see."
	}
	return view{Template: "explain", Title: "Entry " + number(no), Data: d}, nil
}

// explain reads what is known of an id. focus is the entry that the page is about; nil: the last one.
func (p *Web) explain(r *http.Request, id string, focus *outage.Entry) (d explanation, err error) {
	c, ctx := p.Console, r.Context()
	if d.X, err = c.Motorway.Explain(ctx, id, c.Motorway.Now()); err != nil {
		return d, err
	}
	d.Path, d.MayOpen = "/explain/device/"+id, guard.Caller(r).Role >= role.Analyst
	if focus != nil {
		d.Path = fmt.Sprintf("/explain/entry/%d", focus.Seq)
		if !slices.ContainsFunc(d.X.Entries, func(e outage.Entry) bool { return e.Seq == focus.Seq }) { // it is older than those that are shown
			more, err := c.Motorway.EvidenceOf(ctx, []outage.Entry{*focus})
			if err != nil {
				return d, err
			}
			d.X.Entries, d.X.Evidence = append(d.X.Entries, *focus), append(d.X.Evidence, more...)
		}
		d.Entry = focus
	} else if len(d.X.Entries) > 0 {
		d.Entry = &d.X.Entries[0]
	}
	if _, err := outage.ParseAnyDeviceID(id); err != nil {
		d.Path = "/explain/message/" + id
	}
	var facts *evidence.Assessment
	if d.Entry != nil {
		if i := slices.IndexFunc(d.X.Evidence, func(e *assess.Evidence) bool { return e.Entry == d.Entry.Seq }); i >= 0 {
			d.Evidence = d.X.Evidence[i]
			list, err := c.Motorway.Evidence.Assessed(ctx, d.Entry.Seq, d.Entry.Seq)
			if err != nil {
				return d, err
			}
			if len(list) > 0 {
				facts = &list[0]
			}
		}
		if d.Releases, err = c.Releases.Of(ctx, []int64{d.Entry.Seq}); err != nil {
			return d, err
		}
	}
	d.Time = draw.NewTimeline(d.X, d.Entry, facts, d.Releases)
	return d, nil
}

// addEvidence says whether the alert of the entry was genuine, and what has become of its release.
func (d *explanation) addEvidence() {
	if d.Entry == nil {
		return
	}
	if d.Evidence != nil && d.Entry.Outcome == outage.Suppressed {
		d.Suspect = d.Evidence.Level
	}
	switch {
	case d.Evidence == nil:
	case d.Evidence.Level == evidence.Strong:
		d.Short = append(d.Short, "It was probably genuine: the evidence is strong.")
	case d.Evidence.Level == evidence.Weak:
		d.Short = append(d.Short, "It may have been genuine: the evidence is weak.")
	default:
		d.Short = append(d.Short, "Nothing that quell saw says that it was genuine.")
	}
	for i := range d.Releases {
		d.Short = append(d.Short, d.Releases[i].Text())
	}
}

// entrySentence says what was done with an alert, and why.
func entrySentence(e *outage.Entry) string {
	done := map[outage.Outcome]string{
		outage.Suppressed: "Suppressed: its",
		outage.Released:   "Suppressed, and delivered late because it was released: its",
		outage.Shadow:     "Forwarded, since the switch was on shadow. It would have been suppressed: its",
		outage.Forwarded:  "Forwarded, since the store did not answer in time or the switch was changed. It was to be suppressed: its",
	}[e.Outcome]
	return fmt.Sprintf("%s meter %s was activating firmware from %s to %s UTC on %s, ordered by %s.", done, e.ESME,
		e.WindowStart.UTC().Format("15:04:05"), e.WindowEnd.UTC().Format("15:04:05"), e.WindowStart.UTC().Format("2 January 2006"), draw.OrderedBy(e.RequestID))
}
