package web

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"quell/internal/assess"
	"quell/internal/console"
	"quell/internal/evidence"
	"quell/internal/guard"
	"quell/internal/ledger"
	"quell/internal/outage"
	"quell/internal/role"
	"quell/internal/search"
	"quell/internal/sqldb"
)

// logLimit is how many entries a page of the log has.
const logLimit = 50

func (p *Web) logPages() {
	filter := []string{"from", "to", "distributor", "hub", "meter", "outcome", "evidence", "before", "after"}
	p.page("GET /log", role.Viewer, p.showLog, filter...)
	p.endpoints.Handle("GET /log/entries.csv", role.Viewer, p.exportLog, filter...)
	p.page("GET /log/{entry}", role.Viewer, func(r *http.Request) (any, error) { return p.showEntry(r, false) })
	p.page("POST /log/{entry}/mpxn", role.Analyst, func(r *http.Request) (any, error) { return p.showEntry(r, true) })
}

// logView is what the page of the log shows.
type logView struct {
	*query
	search.Query
	Page    *search.Page // nil if the form is wrong
	Rows    []logRow
	Masked  bool // the rows have masked MPxNs; otherwise none
	Limit   int  // of entries in an export
	Ranges  []link
	Any     bool // nothing is filtered
	Backing bool // the search goes back
}

// logRow is an entry in a list. Its MPxN is masked, or left out.
type logRow struct {
	outage.Entry
	Level evidence.Level // "" if it was not assessed
}

// readLog reads the filter of the log.
func readLog(r *http.Request) (v logView, err error) {
	v.query = queryOf(r)
	v.From, v.To = v.times()
	v.Hub, v.Meter = v.device("hub"), v.device("meter")
	v.Outcome = outage.Outcome(v.choice("outcome", string(outage.Suppressed), string(outage.Shadow), string(outage.Forwarded), string(outage.Released)))
	v.Level = evidence.Level(v.choice("evidence", string(evidence.None), string(evidence.Weak), string(evidence.Strong)))
	if v.Distributor = v.text("distributor"); v.Distributor != "" && v.Distributor != outage.UnknownDistributor && !outage.IsDistributor(v.Distributor) {
		v.faults["distributor"] = "This is no distributor: it has two digits, such as 12, or is the word unknown."
	}
	var errs [2]error
	v.Before, errs[0] = v.number("before")
	v.After, errs[1] = v.number("after")
	if v.Before > 0 && v.After > 0 {
		return v, badForm{errors.New("the address has both before and after")}
	}
	v.Any, v.Backing = v.Filter == search.Filter{}, v.After == 0
	v.Limit, v.Query.Limit = search.MaxExport, logLimit
	return v, errors.Join(errs[:]...)
}

// at is an address with the filter, and with a place in the log.
func (v *logView) at(path string, from time.Time, before, after int64) string {
	return address(path, "from", instantText(from), "to", instantText(v.To), "distributor", v.Distributor, "hub", deviceText(v.Hub), "meter", deviceText(v.Meter),
		"outcome", string(v.Outcome), "evidence", string(v.Level), "before", numberText(before), "after", numberText(after))
}

// Older, Newer and Export are addresses.
func (v *logView) Older() string  { return v.at("/log", v.From, v.Page.Older, 0) }
func (v *logView) Newer() string  { return v.at("/log", v.From, 0, v.Page.Newer) }
func (v *logView) Export() string { return v.at("/log/entries.csv", v.From, v.Before, v.After) }

func (p *Web) showLog(r *http.Request) (any, error) {
	v, err := readLog(r)
	if err != nil {
		return nil, err
	}
	if len(v.faults) == 0 {
		if v.Page, err = p.Console.Search.Log(r.Context(), v.Query); err != nil {
			return nil, err
		}
		levels := map[int64]evidence.Level{}
		for _, e := range v.Page.Evidence {
			levels[e.Entry] = e.Level
		}
		v.Masked = !guard.HideMPxN(r)
		for _, e := range v.Page.Entries {
			if e.MPxN = maskMPxN(e.MPxN); !v.Masked {
				e.MPxN = ""
			}
			v.Rows = append(v.Rows, logRow{e, levels[e.Seq]})
		}
		now := p.Console.Motorway.Now()
		for _, x := range []struct {
			name string
			d    time.Duration
		}{{"Last hour", time.Hour}, {"Last 24 hours", 24 * time.Hour}, {"Last 7 days", 7 * 24 * time.Hour}} {
			v.Ranges = append(v.Ranges, link{x.name, v.at("/log", now.Add(-x.d).Truncate(time.Minute), 0, 0)})
		}
	}
	return view{Template: "log", Title: "Suppression log", Data: &v, Status: v.status()}, nil
}

// exportLog answers with the entries that the page shows and those after it, as CSV. If it is not
// complete its last line says so. If it fails, the connection is cut, so that the file is not taken
// for a complete one.
func (p *Web) exportLog(w http.ResponseWriter, r *http.Request) {
	v, err := readLog(r)
	if err == nil && len(v.faults) > 0 {
		err = badForm{errors.New("the filter cannot be read; look at the form")}
	}
	mpxn := !guard.HideMPxN(r)
	if err == nil {
		first := v.Query
		first.Limit = 1
		_, err = p.Console.Search.Log(r.Context(), first) // finds faults before the answer begins
	}
	if err == nil && mpxn {
		err = p.Console.Guard.LookedUp(r, "export of "+v.Export())
	}
	if err != nil {
		p.failWith(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="suppression-log.csv"`)
	v.Query.Limit = search.MaxExport
	next, err := p.Console.Search.Export(r.Context(), w, v.Query, mpxn)
	if err != nil {
		p.Console.Log.Error("an export failed", "error", err)
		panic(http.ErrAbortHandler)
	}
	if next != 0 {
		to := v.at("/log", v.From, next, 0)
		if !v.Backing {
			to = v.at("/log", v.From, 0, next)
		}
		fmt.Fprintf(w, "not complete: go on at %s\r\n", to)
	}
}

// entryView is what the page of an entry shows.
type entryView struct {
	outage.Entry
	Evidence *assess.Evidence // nil if it was not assessed
	Of       outage.Distributor
	Opened   bool // the MPxN is shown
	MayOpen  bool
}

// showEntry shows an entry; its MPxN if it is to be opened, which is recorded before.
func (p *Web) showEntry(r *http.Request, open bool) (any, error) {
	seq, err := (&query{values: map[string][]string{"entry": {r.PathValue("entry")}}}).number("entry")
	if err != nil {
		return nil, console.NotFound{Err: errors.New("no page has this address")}
	}
	e, err := ledger.EntryOf(r.Context(), p.Console.DB, seq)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, console.NotFound{Err: fmt.Errorf("the log has no entry %d", seq)}
	}
	if err != nil {
		return nil, sqldb.Unavailable(err)
	}
	v := entryView{Entry: e, Opened: open, MayOpen: !guard.HideMPxN(r)}
	if v.Of, _ = outage.DistributorOf(e.MPxN); v.Of.Operator == outage.UnknownDistributor {
		v.Of.Operator = ""
	}
	found, err := p.Console.Motorway.EvidenceOf(r.Context(), []outage.Entry{e})
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		v.Evidence = found[0]
	}
	switch {
	case !v.MayOpen:
		v.MPxN = ""
	case !open:
		v.MPxN = maskMPxN(e.MPxN)
	default:
		err = p.Console.Guard.LookedUp(r, fmt.Sprintf("entry %d", seq))
	}
	return view{Template: "entry", Title: "Entry " + number(seq), Data: &v}, err
}
