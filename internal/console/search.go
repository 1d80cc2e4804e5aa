package console

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"quell/internal/cluster"
	"quell/internal/devices"
	"quell/internal/evidence"
	"quell/internal/guard"
	"quell/internal/outage"
	"quell/internal/role"
	"quell/internal/search"
)

// openAPI describes the API. TestOpenAPI and TestAnswers hold it against the handlers.
//
//go:embed openapi.json
var openAPI []byte

// Parameters of a filter of the log.
var filterParameters = []string{"from", "to", "distributor", "hub", "meter", "outcome", "evidence", "before", "after", "limit"}

func (c *Console) searchRoutes(mux guard.Endpoints) {
	mux.Handle("GET /api/v1/openapi.json", role.Viewer, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		w.Write(openAPI)
	})
	mux.Handle("GET /api/v1/log", role.Viewer, c.try(c.searchLog), filterParameters...)
	mux.Handle("GET /api/v1/log/export", role.Analyst, c.exportLog, filterParameters...)
	mux.Handle("GET /api/v1/suspects", role.Viewer, c.try(c.suspects), "weak", "limit")
	mux.Handle("GET /api/v1/calendar", role.Viewer, c.try(c.calendar), "supplier", "model")
	mux.Handle("GET /api/v1/windows/gantt", role.Viewer, c.try(c.gantt), "hub", "meter", "supplier", "from", "to", "limit")
	mux.Handle("GET /api/v1/windows/raised", role.Viewer, c.try(c.campaign), "from", "to", "supplier", "which", "after", "limit")
	mux.Handle("GET /api/v1/chart", role.Viewer, c.try(c.chart), "from", "to", "minutes")
	mux.Handle("GET /api/v1/settings", role.Viewer, c.try(func(r *http.Request) (any, error) { return c.Search.Settings(r.Context()) }))
	mux.Handle("GET /api/v1/switch", role.Viewer, c.try(c.switchHistory), "before", "limit")
	mux.Handle("GET /api/v1/imports", role.Viewer, c.try(c.imports), "kind", "before", "limit")
	mux.Handle("GET /api/v1/preview/window", role.Viewer, c.try(c.previewWindow), "model", "from", "to")
	mux.HandleFiles("POST /api/v1/preview/list", role.Operator, c.try(c.untilDrain(c.previewList)))
}

// asBad makes errors that the request is to blame for a 400.
func asBad(err error, kinds ...error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return badRequest{err}
		}
	}
	return err
}

// device reads a query parameter that is the EUI-64 of a device; 0 if the parameter is missing.
func device(r *http.Request, name string) (id outage.DeviceID, err error) {
	if text := r.URL.Query().Get(name); text != "" {
		if id, err = outage.ParseAnyDeviceID(text); err != nil {
			return 0, badRequest{fmt.Errorf("%s=%q: %w", name, text, err)}
		}
	}
	return id, nil
}

// choice reads a query parameter that is one of some words; value if the parameter is missing.
func choice[T ~string](r *http.Request, name string, value T, words ...T) (T, error) {
	text := T(r.URL.Query().Get(name))
	if text == "" {
		return value, nil
	}
	if !slices.Contains(words, text) {
		return "", badRequest{fmt.Errorf("%s=%q is not one of %v", name, string(text), words)}
	}
	return text, nil
}

// logQuery reads a query of the log from the parameters of a request.
func logQuery(r *http.Request, limit, most int64) (q search.Query, err error) {
	var errs [9]error
	q.From, errs[0] = instant(r, "from", time.Time{})
	q.To, errs[1] = instant(r, "to", time.Time{})
	q.Hub, errs[2] = device(r, "hub")
	q.Meter, errs[3] = device(r, "meter")
	q.Outcome, errs[4] = choice(r, "outcome", "", outage.Suppressed, outage.Shadow, outage.Forwarded, outage.Released)
	q.Level, errs[5] = choice(r, "evidence", "", evidence.None, evidence.Weak, evidence.Strong)
	q.Before, errs[6] = number(r, "before", 0, 1, 1<<62)
	q.After, errs[7] = number(r, "after", 0, 1, 1<<62)
	limit, errs[8] = number(r, "limit", limit, 1, most)
	q.Limit, q.Distributor = int(limit), r.URL.Query().Get("distributor")
	if q.Distributor != "" && q.Distributor != outage.UnknownDistributor && !outage.IsDistributor(q.Distributor) {
		return q, badRequest{fmt.Errorf("distributor=%q is neither two digits nor %s", q.Distributor, outage.UnknownDistributor)}
	}
	return q, errors.Join(errs[:]...)
}

// maxPage is how many entries a page of a search has at most.
const maxPage = 1000

// LogPage is the answer to GET /api/v1/log.
type LogPage struct {
	*search.Page
	MPxNHidden bool `json:"mpxn_hidden,omitempty"` // see Suppressions
}

func (c *Console) searchLog(r *http.Request) (any, error) {
	q, err := logQuery(r, defaultLimit, maxPage)
	if err != nil {
		return nil, err
	}
	p, err := c.Search.Log(r.Context(), q)
	if err != nil {
		return nil, asBad(err, search.ErrQuery)
	}
	out := LogPage{p, guard.HideMPxN(r)}
	if out.MPxNHidden {
		hideEntries(p.Entries)
	} else if n := len(p.Entries); n > 0 {
		err = c.Guard.LookedUp(r, fmt.Sprintf("entries %d to %d, %d of them", p.Entries[n-1].Seq, p.Entries[0].Seq, n))
	}
	return out, err
}

// nextTrailer is the trailer of an export that says with which number it goes on; 0 if it is complete.
const nextTrailer = "Quell-Next"

// exportLog answers with the entries of a query as CSV, up to search.MaxExport. If it fails, the
// connection is cut, so that the answer is not taken for a complete one.
func (c *Console) exportLog(w http.ResponseWriter, r *http.Request) {
	q, err := logQuery(r, search.MaxExport, search.MaxExport)
	if err == nil {
		_, err = c.Search.Log(r.Context(), search.Query{Filter: q.Filter, Before: q.Before, After: q.After, Limit: 1}) // finds faults before the answer begins
		err = asBad(err, search.ErrQuery)
	}
	if err == nil {
		err = c.Guard.LookedUp(r, "export of "+guard.ObjectOf(r))
	}
	if err != nil {
		c.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
	w.Header().Set("Content-Disposition", `attachment; filename="suppressions.csv"`)
	w.Header().Set("Trailer", nextTrailer)
	next, err := c.Search.Export(r.Context(), w, q, true)
	if err != nil {
		c.Log.Error("an export failed", "error", err)
		panic(http.ErrAbortHandler)
	}
	w.Header().Set(nextTrailer, strconv.FormatInt(next, 10))
}

// Suspected is the answer to GET /api/v1/suspects.
type Suspected struct {
	*search.Suspects
	MPxNHidden bool `json:"mpxn_hidden,omitempty"` // see Suppressions
}

func (c *Console) suspects(r *http.Request) (any, error) {
	limit, err := number(r, "limit", defaultLimit, 1, maxPage)
	if err != nil {
		return nil, err
	}
	weak, err := choice(r, "weak", "true", "true", "false")
	if err != nil {
		return nil, err
	}
	list, err := c.Search.Suspects(r.Context(), int(limit), weak == "true")
	if err != nil {
		return nil, err
	}
	out := Suspected{list, guard.HideMPxN(r)}
	if out.MPxNHidden {
		for i := range list.Suspects {
			list.Suspects[i].MPxN = ""
		}
	} else if n := len(list.Suspects); n > 0 {
		err = c.Guard.LookedUp(r, fmt.Sprintf("entries %d to %d, %d of them", list.Suspects[n-1].Seq, list.Suspects[0].Seq, n))
	}
	return out, err
}

func (c *Console) calendar(r *http.Request) (any, error) {
	supplier, err := device(r, "supplier")
	q := search.CalendarQuery{Supplier: supplier}
	if model := r.URL.Query().Get("model"); r.URL.Query().Has("model") {
		q.Model = &model
	}
	if err != nil {
		return nil, err
	}
	return c.Search.Calendar(r.Context(), q), nil
}

func (c *Console) gantt(r *http.Request) (any, error) {
	var q search.GanttQuery
	var errs [6]error
	now := c.Motorway.Now()
	q.Hub, errs[0] = device(r, "hub")
	q.Meter, errs[1] = device(r, "meter")
	q.Supplier, errs[2] = device(r, "supplier")
	q.From, errs[3] = instant(r, "from", now.Add(-24*time.Hour))
	q.To, errs[4] = instant(r, "to", now.AddDate(0, 0, 30))
	limit, err := number(r, "limit", defaultLimit, 1, maxPage)
	if errs[5] = err; errors.Join(errs[:]...) != nil {
		return nil, errors.Join(errs[:]...)
	}
	q.Limit = int(limit)
	g, err := c.Search.Gantt(r.Context(), q)
	return g, asBad(err, search.ErrWhose)
}

func (c *Console) campaign(r *http.Request) (any, error) {
	var q search.CampaignQuery
	var errs [6]error
	hour := c.Motorway.Now().Truncate(time.Hour)
	q.From, errs[0] = instant(r, "from", hour)
	q.To, errs[1] = instant(r, "to", q.From.Add(time.Hour))
	q.Supplier, errs[2] = device(r, "supplier")
	q.Which, errs[3] = choice(r, "which", search.All, search.All, search.Raised, search.Silent)
	q.After, errs[4] = number(r, "after", 0, 1, 1<<62)
	limit, err := number(r, "limit", defaultLimit, 1, maxPage)
	if errs[5] = err; errors.Join(errs[:]...) != nil {
		return nil, errors.Join(errs[:]...)
	}
	q.Limit = int(limit)
	out, err := c.Search.Campaign(r.Context(), q)
	if errors.Is(err, search.ErrNoWindow) {
		return nil, NotFound{err}
	}
	return out, asBad(err, search.ErrQuery)
}

// chart answers with AD1s by time: of the last day in steps of ten minutes, unless the parameters say
// otherwise.
func (c *Console) chart(r *http.Request) (any, error) {
	to, err := instant(r, "to", c.Motorway.Now())
	if err != nil {
		return nil, err
	}
	from, err := instant(r, "from", to.Truncate(time.Minute).Add(time.Minute-24*time.Hour))
	if err != nil {
		return nil, err
	}
	minutes, err := number(r, "minutes", 10, 1, 24*60)
	if err != nil {
		return nil, err
	}
	return c.Flow.Chart(r.Context(), from, to, time.Duration(minutes)*time.Minute, c.Motorway.Now())
}

func (c *Console) switchHistory(r *http.Request) (any, error) {
	before, limit, err := backward(r)
	if err != nil {
		return nil, err
	}
	return c.Search.SwitchHistory(r.Context(), before, limit)
}

func (c *Console) imports(r *http.Request) (any, error) {
	kind, err := choice(r, "kind", "devices", "devices", "inventory")
	if err != nil {
		return nil, err
	}
	before, limit, err := backward(r)
	if err != nil {
		return nil, err
	}
	return c.Search.History(r.Context(), kind, before, limit)
}

// backward reads the parameters of a list that begins with the latest.
func backward(r *http.Request) (before int64, _ int, _ error) {
	before, err1 := number(r, "before", 0, 1, 1<<62)
	limit, err2 := number(r, "limit", defaultLimit, 1, maxPage)
	return before, int(limit), errors.Join(err1, err2)
}

// previewWindow answers with what another window would have done. Its times are as in the
// configuration: "2m45s", "30m".
func (c *Console) previewWindow(r *http.Request) (any, error) {
	var times [2]time.Duration
	for i, name := range []string{"from", "to"} {
		text := r.URL.Query().Get(name)
		d, err := time.ParseDuration(text)
		if err != nil && (text != "" || name == "to") {
			return nil, badRequest{fmt.Errorf("%s=%q is not a time such as 2m45s", name, text)}
		}
		times[i] = d
	}
	out, err := c.Search.PreviewWindow(r.Context(), r.URL.Query().Get("model"), times[0], times[1])
	return out, asBad(err, search.ErrWindow)
}

// previewList answers with what another device list would have done. The list is a file of a form, as
// for an import. It is not imported.
func (c *Console) previewList(r *http.Request) (any, error) {
	next, err := parts(r)
	if err != nil {
		return nil, err
	}
	f, err := next()
	if err != nil {
		return nil, badRequest{fmt.Errorf("the request has no file: %w", err)}
	}
	end, err := c.Search.BeginPreview()
	if err != nil {
		return nil, err
	}
	defer end()
	var list search.PreviewList
	if err := devices.ReadList(f, list.Add); err != nil {
		return nil, asBad(fmt.Errorf("%s: %w", f.Name, err), search.ErrLong)
	}
	return c.Search.PreviewList(r.Context(), &list)
}

// InForce returns what decides now which alerts are suppressed.
func (c *Console) InForce() (out search.Settings) {
	rules := c.Motorway.Rules()
	out = search.Settings{Switch: c.Ledger.Switch(), Window: int(rules.Window.Seconds()), WindowByModel: []search.ModelWindow{}, Manufacturers: append([]string{}, rules.Manufacturers...),
		Track: append([]outage.Form{}, rules.Track...), Nodes: append([]cluster.Node{}, c.Cluster.Nodes()...), Differences: append([]string{}, c.Cluster.Differences()...)}
	for _, model := range slices.Sorted(maps.Keys(rules.Spans)) {
		s := rules.Spans[model]
		out.WindowByModel = append(out.WindowByModel, search.ModelWindow{Model: model, From: int(s.From.Seconds()), To: int(s.To.Seconds())})
	}
	return out
}
