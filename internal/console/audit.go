package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/internal/audit"
)

func (c *Console) auditRoutes(mux routes) {
	mux.handle("GET /api/v1/audit", c.try(c.listAudit), "after", "limit")
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

// Audit returns up to limit records of the audit log with numbers above after, in order, and the
// ends of its chain. audit.Verify can use it.
func (c *Client) Audit(ctx context.Context, after int64, limit int) (p audit.Page, err error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
	return p, c.call(ctx, "GET", "/api/v1/audit", q, "", nil, &p)
}

// lookUps are the endpoints whose answers have MPxNs. Each answer is recorded.
var lookUps = []string{"GET /api/v1/suppressions", "GET /api/v1/explain", "GET /api/v1/export", "GET /api/v1/reports/{no}/file"}

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
	"POST /api/v1/reports":           {"report-cut", false},
	"POST /api/v1/reports/{no}/send": {"report-send", false},
}

// originOf returns where a request comes from, for the audit log.
func originOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return audit.Socket // its connections have no address
	}
	return host
}

// audited records what is asked of next, whose endpoints mux has:
//   - answers that have MPxNs, before their first byte is sent. If an answer cannot be recorded,
//     it is not sent;
//   - changes that do not make a record themselves;
//   - changes that are refused or fail, and whatever is refused for a lack of rights.
func (c *Console) audited(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(audit.WithCaller(r.Context(), originOf(r)))
		_, pattern := mux.Handler(r)
		rec := &recorder{ResponseWriter: w}
		if slices.Contains(lookUps, pattern) {
			rec.before = func() error { return c.recordLookUp(r) }
		}
		defer func() { c.recordOutcome(r, pattern, rec) }()
		next.ServeHTTP(rec, r)
	})
}

// recordTimeout bounds the wait for the record of a look-up.
const recordTimeout = 2 * time.Second

// objectOf returns what a request is about: its path in the API, and its parameters.
func objectOf(r *http.Request) string {
	object := strings.TrimPrefix(r.URL.Path, "/api/v1/")
	if r.URL.RawQuery != "" {
		object += "?" + r.URL.RawQuery
	}
	return object
}

func (c *Console) recordLookUp(r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	by := audit.CallerOf(r.Context())
	err := c.Audit.Write(ctx, audit.Record{Who: by.Who, Role: by.Role, From: by.From, What: "look-up", Object: objectOf(r), Outcome: audit.Done})
	if err != nil {
		c.Log.Error("an answer with MPxNs was withheld, since the audit log cannot be written", "path", r.URL.Path, "error", err)
		err = fmt.Errorf("the answer has MPxNs, and is withheld, since the audit log cannot be written: %w", err)
	}
	return err
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
		c.Audit.Refused(out)
	case !isChange:
	case status >= 500:
		out.Outcome = audit.Failed
		c.Audit.Refused(out)
	case status >= 400:
		c.Audit.Refused(out)
	case !change.recorded:
		out.Outcome, out.Detail = audit.Done, ""
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), recordTimeout)
		defer cancel()
		if err := c.Audit.Write(ctx, out); err != nil {
			c.Log.Error("a change is not in the audit log", "what", out.What, "object", out.Object, "error", err)
		}
	}
}

// recorder notes the status of an answer, and the beginning of an error's text.
type recorder struct {
	http.ResponseWriter
	before   func() error // called before an answer that is no error; may be nil
	status   int          // 0 before the answer begins
	text     []byte
	withheld error
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	if w.status != 0 || status < 200 {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
	if w.before != nil && status < 400 {
		if w.withheld = w.before(); w.withheld != nil {
			w.status = http.StatusServiceUnavailable
			for _, name := range []string{"Content-Length", "Content-Disposition", "Accept-Ranges", "Last-Modified", "Content-Range"} {
				w.Header().Del(name)
			}
			writeError(w.ResponseWriter, w.status, w.withheld)
			return
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.withheld != nil {
		return 0, w.withheld
	}
	if w.status >= 400 && len(w.text) < 1<<10 {
		w.text = append(w.text, b[:min(len(b), 1<<10)]...)
	}
	return w.ResponseWriter.Write(b)
}

// said returns what an answer says is wrong.
func (w *recorder) said() string {
	var e struct{ Error string }
	if json.Unmarshal(w.text, &e) == nil && e.Error != "" {
		return e.Error
	}
	return strings.TrimSpace(string(w.text))
}
