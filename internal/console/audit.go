package console

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"time"

	"quell/internal/audit"
	"quell/internal/role"
)

func (c *Console) auditRoutes(mux routes) {
	mux.handle("GET /api/v1/audit", role.Operator, c.try(c.listAudit), "after", "limit")
}

// listAudit answers with an audit.Page.
func (c *Console) listAudit(r *http.Request) (any, error) {
	after, err := number(r, "after", 0, 0, 1<<62)
	if err != nil {
		return nil, err
	}
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	return c.Audit.Page(r.Context(), after, int(limit))
}

// changes are the endpoints that change something, by the word for it in the audit log. recorded
// says that a change makes a record itself, in its own transaction.
var changes = map[string]struct {
	what     string
	recorded bool
}{
	"PUT /api/v1/switch":             {"switch", true},
	"POST /api/v1/inventory":         {"inventory", true},
	"POST /api/v1/devices":           {"devices", true},
	"POST /api/v1/windows/close":     {"windows", true},
	"POST /api/v1/reports/resume":    {"reports", true},
	"POST /api/v1/releases":          {"release", true},
	"POST /api/v1/reports":           {"report-cut", false},
	"POST /api/v1/reports/{no}/send": {"report-send", false},
	"POST /api/v1/tokens":            {"token", true},
	"DELETE /api/v1/tokens/{id}":     {"token", true},
}

// originOf returns where a request comes from, for the audit log.
func originOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return audit.Socket // its connections have no address
	}
	return host
}

// audited records what is asked of the endpoints of mux, apart from look-ups, which record
// themselves: changes that make no record of their own, changes that are refused or fail, and
// whatever is refused for a lack of rights.
func (c *Console) audited(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(audit.WithCaller(r.Context(), originOf(r)))
		_, pattern := mux.Handler(r)
		rec := &recorder{ResponseWriter: w}
		defer func() { c.recordOutcome(r, pattern, rec) }()
		mux.ServeHTTP(rec, r)
	})
}

// recordTimeout bounds the wait for a record.
const recordTimeout = 2 * time.Second

// objectOf returns what a request is about: its path in the API, and its parameters. Those of
// other paths may be secret: they belong to a login.
func objectOf(r *http.Request) string {
	object, isAPI := strings.CutPrefix(r.URL.Path, "/api/v1/")
	if isAPI && r.URL.RawQuery != "" {
		object += "?" + r.URL.RawQuery
	}
	return object
}

// recordOutcome records a request that was answered.
func (c *Console) recordOutcome(r *http.Request, pattern string, rec *recorder) {
	change, isChange := changes[pattern]
	by := audit.CallerOf(r.Context())
	out := audit.Record{Who: by.Who, Role: by.Role, From: by.From, What: change.what, Object: objectOf(r), Detail: rec.said()}
	switch status := rec.status; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusTooManyRequests:
		if !isChange {
			out.What, out.Object = "request", r.Method+" "+out.Object
		}
		c.refused(out)
	case !isChange:
	case status >= 500:
		out.Outcome = audit.Failed
		c.refused(out)
	case status >= 400:
		c.refused(out)
	case !change.recorded:
		out.Outcome, out.Detail = audit.Done, ""
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), recordTimeout)
		defer cancel()
		if err := c.record(ctx, out); err != nil {
			c.Log.Error("a change is not in the audit log", "what", out.What, "object", out.Object, "error", err)
		}
	}
}

// recorder notes the status of an answer, and the beginning of an error's text.
type recorder struct {
	http.ResponseWriter
	status int    // 0 before the answer begins
	text   []byte // of an error
	why    string // what is wrong, if the handler says it in another way
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.status >= 400 && len(w.text) < 1<<10 {
		w.text = append(w.text, b[:min(len(b), 1<<10)]...)
	}
	return w.ResponseWriter.Write(b)
}

// said returns what an answer says is wrong.
func (w *recorder) said() string {
	if w.why != "" {
		return w.why
	}
	var e struct{ Error string }
	json.Unmarshal(w.text, &e)
	return e.Error // "" if it is not in JSON
}
