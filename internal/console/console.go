// Package console is the admin API of a running quell: health, metrics, the suppression
// log and explanations of it, and the changes that operators make. The commands use it
// through Client.
//
// Answers are JSON; an error is {"error": TEXT}. Package access says who sends a request, and
// each endpoint has the least role that may use it. It refuses requests from web pages of others.
package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"quell/internal/access"
	"quell/internal/adviser"
	"quell/internal/assess"
	"quell/internal/audit"
	"quell/internal/cluster"
	"quell/internal/devices"
	"quell/internal/events"
	"quell/internal/flow"
	"quell/internal/guard"
	"quell/internal/ledger"
	"quell/internal/motorway"
	"quell/internal/outage"
	"quell/internal/release"
	"quell/internal/report"
	"quell/internal/role"
	"quell/internal/search"
	"quell/internal/sqldb"
	"quell/internal/tail"
	"quell/internal/tokens"
	"quell/internal/windows"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// ErrNoMPxN says that somebody may not ask for an MPxN.
var ErrNoMPxN = errors.New("MPxNs are for analysts and above")

// Limits of a listing.
const (
	defaultLimit = 100
	maxLimit     = 10_000
)

// Console serves the admin API. Its fields are set before Register is called.
type Console struct {
	Motorway *motorway.Motorway
	DB       *sqldb.DB
	Ledger   *ledger.Ledger
	Windows  *windows.Windows
	Devices  *devices.Devices
	Cluster  *cluster.Cluster
	Reports  *report.Register
	Releases *release.Releases
	Audit    *audit.Log
	Flow     *flow.Counters
	Search   *search.Search
	Metrics  prometheus.Gatherer
	Log      *slog.Logger
	Version  string
	// Manufacturers finds the listed meters that are not tracked for their manufacturer.
	Manufacturers *devices.ManufacturerCheck
	Guard         *guard.Guard
	Tokens        *tokens.Tokens
	// Configured returns the configuration key that names the files of the "inventory" or the
	// "devices", "" if there is none. If there is one, an import by hand needs Force.
	Configured func(kind string) string
	Reporting  Reporting
	Adviser    *adviser.Adviser
	// Neighbours returns the next hops and the remotes; nil: there are none.
	Neighbours func() ([]NextHop, []Remote)
	// Conditions returns what is wrong while alerts still pass, apart from what the console
	// finds itself.
	Conditions func() []string

	drain drain
}

// drain has a context that ends when Drain is called.
type drain struct {
	once sync.Once // creates the fields below
	ctx  context.Context
	end  context.CancelFunc
}

// Drain makes /readyz answer 503 from now on, so that load balancers send no new messages
// here. It ends imports that are under way.
func (c *Console) Drain() {
	c.Draining()
	c.drain.end()
	c.Manufacturers.Stop()
}

// Draining returns a context that ends when Drain is called.
func (c *Console) Draining() context.Context {
	c.drain.once.Do(func() { c.drain.ctx, c.drain.end = context.WithCancel(context.Background()) })
	return c.drain.ctx
}

// Register adds the endpoints of the API to the guard.
func (c *Console) Register() {
	mux := c.Guard.Endpoints(guard.WriteError, changes)
	mux.Handle("GET /healthz", role.Anyone, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /readyz", role.Anyone, c.readyz)
	mux.Handle("GET /metrics", role.Viewer, promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{}).ServeHTTP, "name[]")
	mux.Handle("GET /api/v1/status", role.Viewer, c.wholeStatus)
	mux.Handle("POST /api/v1/login-links", role.Viewer, c.try(c.askLink))
	mux.Handle("GET /api/v1/suppressions", role.Viewer, c.try(c.suppressions), "after", "limit")
	mux.Handle("GET /api/v1/activations", role.Viewer, c.try(c.activations), "chf", "esme", "limit")
	mux.Handle("GET /api/v1/explain", role.Viewer, c.try(c.explain), "id", "at")
	mux.Handle("GET /api/v1/events", role.Viewer, c.try(c.events), "limit")
	mux.Handle("PUT /api/v1/switch", role.Operator, c.try(c.setSwitch))
	mux.HandleFiles("POST /api/v1/inventory", role.Operator, c.try(c.untilDrain(c.importInventory)), "dry_run", "force")
	mux.HandleFiles("POST /api/v1/devices", role.Operator, c.try(c.untilDrain(c.importDevices)), "dry_run", "force")
	mux.Handle("GET /api/v1/devices", role.Viewer, c.try(c.listDevices), "after", "limit")
	mux.Handle("GET /api/v1/devices/{id}", role.Viewer, c.try(c.checkDevice))
	c.windowRoutes(mux)
	c.adviceRoutes(mux)
	c.reportRoutes(mux)
	c.releaseRoutes(mux)
	c.auditRoutes(mux)
	c.flowRoutes(mux)
	c.searchRoutes(mux)
	c.tokenRoutes(mux)
	c.tailRoutes(mux)
}

// readyz says whether this node takes messages, and to those with a role how it is.
func (c *Console) readyz(w http.ResponseWriter, r *http.Request) {
	var answer any
	ready := c.Draining().Err() == nil
	if guard.Caller(r).Role >= role.Viewer {
		answer, _ = c.Status(r.Context())
	} else {
		answer = map[string]bool{"ready": ready} // and no question to the store, which anyone could repeat
	}
	code := http.StatusOK
	if !ready {
		code = http.StatusServiceUnavailable
	}
	c.answer(w, r, code, answer)
}

// badRequest marks an error as a fault of the request: 400.
type badRequest struct{ error }

// try returns a handler that answers with the value or the error of f.
func (c *Console) try(f func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		if err != nil {
			c.fail(w, r, err)
			return
		}
		c.answer(w, r, http.StatusOK, v)
	}
}

// StatusOf returns the status of an error in HTTP. Only this function decides that.
func StatusOf(err error) int {
	status := http.StatusInternalServerError
	var bad badRequest
	var notFound NotFound
	var conflict Conflict
	var faults *devices.LineErrors
	switch {
	case errors.As(err, &bad), errors.Is(err, flow.ErrRange), errors.Is(err, motorway.ErrNotAnID), errors.Is(err, outage.ErrDeviceID), errors.Is(err, tokens.ErrName), errors.Is(err, tokens.ErrExpiry):
		status = http.StatusBadRequest
	case errors.Is(err, access.ErrNoName):
		status = http.StatusUnauthorized
	case errors.Is(err, access.ErrLinks):
		status = http.StatusTooManyRequests
	case errors.Is(err, ErrNoMPxN), errors.Is(err, access.ErrChain):
		status = http.StatusForbidden
	case errors.Is(err, report.ErrNoReport), errors.Is(err, windows.ErrNoWindows), errors.Is(err, tokens.ErrNone), errors.Is(err, release.ErrNoEntry), errors.As(err, &notFound):
		status = http.StatusNotFound
	case errors.Is(err, errConfigured), errors.Is(err, devices.ErrImporting), errors.Is(err, devices.ErrShrinks), errors.Is(err, tokens.ErrMany), errors.Is(err, tail.ErrMany), errors.Is(err, release.ErrRefused), errors.As(err, &conflict), errors.Is(err, adviser.ErrNotAsked), errors.Is(err, adviser.ErrNoEvidence):
		status = http.StatusConflict
	case errors.As(err, &faults), errors.Is(err, devices.ErrTwice):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, sqldb.ErrUnavailable), errors.Is(err, errStopping), errors.Is(err, guard.ErrNoAudit):
		status = http.StatusServiceUnavailable
	}
	return status
}

// fail answers with an error.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := StatusOf(err)
	if status >= 500 {
		c.Log.Error("a request to the console failed", "path", r.URL.Path, "error", err)
	}
	guard.WriteError(w, r, status, err)
}

const jsonType = "application/json"

// answer answers with a value as JSON, or with 500 if it cannot be written as JSON.
func (c *Console) answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		c.fail(w, r, fmt.Errorf("the answer cannot be written as JSON: %w", err))
		return
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// readJSON reads the body of a request. what names the request in the error.
func readJSON(r *http.Request, to any, what string) error {
	d := json.NewDecoder(io.LimitReader(r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return badRequest{fmt.Errorf("the body is not the JSON of %s: %w", what, err)}
	}
	return nil
}

// number reads a query parameter that is a number from least to most. If the parameter is
// missing, it returns value.
func number(r *http.Request, name string, value, least, most int64) (int64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return value, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, badRequest{fmt.Errorf("%s=%q is not a number from %d to %d", name, text, least, most)}
	}
	return n, nil
}

// instant reads a query parameter that is a time. If the parameter is missing, it returns
// value.
func instant(r *http.Request, name string, value time.Time) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return value, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, badRequest{fmt.Errorf("%s=%q is not a time such as 2026-03-01T10:00:00Z", name, text)}
	}
	return t.UTC(), nil
}

func hideEntries(list []outage.Entry) {
	for i := range list {
		list[i].MPxN = ""
	}
}

// isMPxN reports whether an id is that of a supply point.
func isMPxN(id string) bool {
	return id != "" && len(id) <= 13 && strings.Trim(id, "0123456789") == ""
}

// Suppressions is the answer to GET /api/v1/suppressions: entries in order of their
// numbers. Next is the value of "after" for the next page.
type Suppressions struct {
	Entries []outage.Entry `json:"entries"`
	// Evidence says of the entries that were assessed whether their alerts were genuine.
	Evidence []*assess.Evidence `json:"evidence"`
	Next     int64              `json:"next"`
	// MPxNHidden says that MPxNs are left out, since the role of who asks is below analyst.
	MPxNHidden bool `json:"mpxn_hidden,omitempty"`
}

func (c *Console) suppressions(r *http.Request) (any, error) {
	after, err := number(r, "after", 0, 0, 1<<62)
	if err != nil {
		return nil, err
	}
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	list, err := c.Ledger.EntriesAfter(r.Context(), after, int(limit))
	out := Suppressions{Entries: append([]outage.Entry{}, list...), Next: after}
	if len(list) > 0 {
		out.Next = list[len(list)-1].Seq
	}
	if err == nil {
		out.Evidence, err = c.Motorway.EvidenceOf(r.Context(), list)
	}
	if out.MPxNHidden = guard.HideMPxN(r); out.MPxNHidden {
		hideEntries(out.Entries)
	} else if err == nil && len(list) > 0 {
		err = c.Guard.LookedUp(r, fmt.Sprintf("entries %d to %d", list[0].Seq, out.Next))
	}
	return out, err
}

func (c *Console) activations(r *http.Request) (any, error) {
	var f windows.Filter
	for name, id := range map[string]*outage.DeviceID{"chf": &f.CHF, "esme": &f.ESME} {
		if text := r.URL.Query().Get(name); text != "" {
			v, err := outage.ParseAnyDeviceID(text)
			if err != nil {
				return nil, badRequest{fmt.Errorf("%s=%q: %w", name, text, err)}
			}
			*id = v
		}
	}
	if (f.CHF == 0) == (f.ESME == 0) {
		return nil, badRequest{errors.New("give either chf=EUI or esme=EUI")}
	}
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	list, err := c.Windows.Activations(r.Context(), f, int(limit))
	return map[string]any{"activations": views(list)}, err
}

func (c *Console) explain(r *http.Request) (any, error) {
	at, err := instant(r, "at", c.Motorway.Now())
	if err != nil {
		return nil, err
	}
	id := strings.TrimSpace(r.URL.Query().Get("id"))
	if guard.HideMPxN(r) && isMPxN(id) {
		return nil, ErrNoMPxN
	}
	x, err := c.Motorway.Explain(r.Context(), id, at)
	if err != nil {
		return nil, err
	}
	if err := c.explainReleases(r.Context(), x); err != nil {
		return nil, err
	}
	if guard.HideMPxN(r) {
		hideEntries(x.Entries)
		for i := range x.Devices {
			x.Devices[i].MPxN = ""
		}
		return Explained{x, true}, nil
	}
	if isMPxN(id) || len(x.Entries) > 0 || slices.ContainsFunc(x.Devices, func(d motorway.ExplainedDevice) bool { return d.MPxN != "" }) {
		err = c.Guard.LookedUp(r, id)
	}
	return Explained{x, false}, err
}

// Explained is the answer to GET /api/v1/explain.
type Explained struct {
	*motorway.Explanation
	MPxNHidden bool `json:"mpxn_hidden,omitempty"` // see Suppressions
}

func (c *Console) events(r *http.Request) (any, error) {
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	list, err := events.Latest(r.Context(), c.DB, int(limit))
	return map[string]any{"events": append([]events.Event{}, list...)}, err
}

// SwitchChange is the body of PUT /api/v1/switch.
type SwitchChange struct {
	Switch outage.Switch `json:"switch"`
	Why    string        `json:"why"`
}

// SwitchChanged is the answer to PUT /api/v1/switch.
type SwitchChanged struct {
	Old outage.Switch `json:"old"`
	New outage.Switch `json:"new"`
	// HereOnly says that the switch is off on this node only. The store gets the change when
	// it answers again, and with it the other nodes.
	HereOnly bool `json:"here_only,omitempty"`
}

// isText reports whether a text is not empty, and can be stored in any database.
func isText(s string) bool { return s != "" && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func (c *Console) setSwitch(r *http.Request) (any, error) {
	var in SwitchChange
	if err := readJSON(r, &in, "a change of the switch"); err != nil {
		return nil, err
	}
	return c.ChangeSwitch(r.Context(), guard.Caller(r).Name, in)
}

// ChangeSwitch sets the switch, for a reason.
func (c *Console) ChangeSwitch(ctx context.Context, who string, in SwitchChange) (SwitchChanged, error) {
	in.Why = strings.TrimSpace(in.Why)
	if !in.Switch.Valid() || !isText(in.Why) {
		return SwitchChanged{}, badRequest{errors.New("needs switch (on, shadow or off) and why")}
	}
	old, err := c.Ledger.SetSwitch(ctx, in.Switch, who, in.Why, c.Motorway.Now())
	hereOnly := errors.Is(err, ledger.ErrHereOnly)
	if hereOnly {
		c.Log.Error("the store does not answer: the switch is off on this node only, until it does", "error", err)
		err = nil
	}
	if err == nil {
		c.Log.Warn("the switch was changed", "old", old, "new", in.Switch, "who", who, "why", in.Why)
	}
	return SwitchChanged{old, in.Switch, hereOnly}, err
}
