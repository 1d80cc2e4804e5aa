package browse

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"quell/internal/evidence"
	"quell/internal/guard"
	"quell/internal/outage"
	"quell/internal/page"
	"quell/internal/role"
	"quell/internal/search"
)

// logLimit is how many entries a page of the log has.
const logLimit = 50

func (p *pages) addLog(f Frame) {
	filter := []string{"from", "to", "distributor", "hub", "meter", "outcome", "evidence", "before", "after"}
	f.Page("GET /log", role.Viewer, p.showLog, filter...)
	f.File("GET /log/entries.csv", role.Viewer, p.exportLog, filter...)
}

// logView is what the page of the log shows.
type logView struct {
	*query
	search.Query
	Page    *search.Page // nil if the form is wrong
	Rows    []logRow
	Masked  bool // the rows have MPxNs, which the template masks; otherwise none
	Limit   int  // of entries in an export
	Ranges  []timeRange
	Any     bool // nothing is filtered
	Backing bool // the search goes back
}

// timeRange is a time that one often asks for.
type timeRange struct{ Name, To string }

// logRow is an entry in a list.
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
		return v, page.Bad(errors.New("the address has both before and after"))
	}
	v.Any, v.Backing = v.Filter == search.Filter{}, v.After == 0
	v.Limit, v.Query.Limit = search.MaxExport, logLimit
	return v, errors.Join(errs[:]...)
}

// at is an address with the filter, and with a place in the log.
func (v *logView) at(path string, before, after int64) string {
	return address(path, "from", instantText(v.From), "to", instantText(v.To), "distributor", v.Distributor, "hub", deviceText(v.Hub), "meter", deviceText(v.Meter),
		"outcome", string(v.Outcome), "evidence", string(v.Level), "before", numberText(before), "after", numberText(after))
}

// Older, Newer and Export are addresses.
func (v *logView) Older() string  { return v.at("/log", v.Page.Older, 0) }
func (v *logView) Newer() string  { return v.at("/log", 0, v.Page.Newer) }
func (v *logView) Export() string { return v.at("/log/entries.csv", v.Before, v.After) }

func (p *pages) showLog(r *http.Request) (any, error) {
	v, err := readLog(r)
	if err != nil {
		return nil, err
	}
	if len(v.faults) == 0 {
		if v.Page, err = p.console.Search.Log(r.Context(), v.Query); err != nil {
			return nil, err
		}
		levels := map[int64]evidence.Level{}
		for _, e := range v.Page.Evidence {
			levels[e.Entry] = e.Level
		}
		v.Masked = !guard.HideMPxN(r)
		for _, e := range v.Page.Entries {
			if !v.Masked {
				e.MPxN = ""
			}
			v.Rows = append(v.Rows, logRow{e, levels[e.Seq]})
		}
		now := p.console.Motorway.Now()
		for _, x := range []struct {
			name string
			d    time.Duration
		}{{"Last hour", time.Hour}, {"Last 24 hours", 24 * time.Hour}, {"Last 7 days", 7 * 24 * time.Hour}} {
			of := v
			of.From, of.To = now.Add(-x.d).Truncate(time.Minute), time.Time{}
			v.Ranges = append(v.Ranges, timeRange{x.name, of.at("/log", 0, 0)})
		}
	}
	return page.View{Template: "log", Title: "Suppression log", Data: &v, Status: v.status()}, nil
}

// exportLog answers with the entries that the page shows and those after it, as CSV. If it is not
// complete its last line says so. If it fails, the connection is cut, so that the file is not taken
// for a complete one.
func (p *pages) exportLog(w http.ResponseWriter, r *http.Request) error {
	v, err := readLog(r)
	if err == nil && len(v.faults) > 0 {
		err = page.Bad(errors.New("the filter cannot be read; look at the form"))
	}
	mpxn := !guard.HideMPxN(r)
	if err == nil {
		first := v.Query
		first.Limit = 1
		_, err = p.console.Search.Log(r.Context(), first) // finds faults before the answer begins
	}
	if err == nil && mpxn {
		err = p.console.Guard.LookedUp(r, "export of "+v.Export())
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="suppression-log.csv"`)
	v.Query.Limit = search.MaxExport
	next, err := p.console.Search.Export(r.Context(), w, v.Query, mpxn)
	if err != nil {
		p.console.Log.Error("an export failed", "error", err)
		panic(http.ErrAbortHandler)
	}
	if next != 0 {
		to := v.at("/log", next, 0)
		if !v.Backing {
			to = v.at("/log", 0, next)
		}
		fmt.Fprintf(w, "not complete: go on at %s\r\n", to)
	}
	return nil
}
