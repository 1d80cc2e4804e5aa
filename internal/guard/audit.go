package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"quell/internal/audit"
)

// ErrNoAudit says that an answer with MPxNs is withheld.
var ErrNoAudit = errors.New("the answer has MPxNs, and is withheld, since the audit log cannot be written")

// Change is what the audit log says of an endpoint that changes something.
type Change struct {
	What     string // the word for it
	Recorded bool   // a change makes a record itself, in its own transaction
}

// recordTimeout bounds the wait for a record.
const recordTimeout = 2 * time.Second

// LookedUp records that MPxNs are shown, before they are. If that fails they must not be: the
// error is ErrNoAudit.
func (g *Guard) LookedUp(r *http.Request, object string) error {
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	by := audit.CallerOf(ctx)
	err := g.Record(ctx, audit.Record{Who: by.Who, Role: by.Role, From: by.From, What: "look-up", Object: object, Outcome: audit.Done})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoAudit, err)
	}
	return nil
}

// Changed records a change that was made for a reason, and that makes no record itself.
func (g *Guard) Changed(r *http.Request, what, object, why string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), recordTimeout)
	defer cancel()
	by := audit.CallerOf(ctx)
	if err := g.Record(ctx, audit.Record{Who: by.Who, Role: by.Role, From: by.From, What: what, Object: object, Outcome: audit.Done, Why: why}); err != nil {
		g.Log.Error("a change is not in the audit log", "what", what, "object", object, "error", err)
	}
}

// ServeHTTP handles a request, and records what is asked apart from look-ups, which record
// themselves: changes that make no record of their own, changes that are refused or fail, and
// whatever is refused for a lack of rights.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = r.WithContext(audit.WithCaller(r.Context(), originOf(r)))
	rec := &recorder{ResponseWriter: w}
	ended := false
	defer func() {
		if !ended && rec.status == 0 {
			rec.status = http.StatusInternalServerError // it panicked, and net/http hangs up
		}
		g.recordOutcome(r, rec)
	}()
	g.serve(rec, r)
	ended = true
}

// serve has the endpoint handle a request.
func (g *Guard) serve(rec *recorder, r *http.Request) {
	if _, pattern := g.mux.Handler(r); pattern == "" && g.otherwise != nil && r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/api/") {
		g.otherwise(rec, r)
		return
	}
	g.mux.ServeHTTP(rec, r)
}

// originOf returns where a request comes from, for the audit log.
func originOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return audit.Socket // its connections have no address
	}
	return host
}

// ObjectOf returns what a request is about: its path in the API, and its parameters. Those of
// other paths may be secret: they belong to a login.
func ObjectOf(r *http.Request) string {
	object, isAPI := strings.CutPrefix(r.URL.Path, "/api/v1/")
	if isAPI && r.URL.RawQuery != "" {
		object += "?" + r.URL.RawQuery
	}
	return object
}

// recordOutcome records a request that was answered.
func (g *Guard) recordOutcome(r *http.Request, rec *recorder) {
	change, isChange := g.changes[rec.pattern]
	by := audit.CallerOf(r.Context())
	out := audit.Record{Who: by.Who, Role: by.Role, From: by.From, What: change.What, Object: ObjectOf(r), Detail: rec.said()}
	switch status := rec.status; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusTooManyRequests:
		if !isChange {
			out.What, out.Object = "request", r.Method+" "+out.Object
		}
		g.Refused(out)
	case !isChange:
	case status >= 500:
		out.Outcome = audit.Failed
		g.Refused(out)
	case status >= 400:
		g.Refused(out)
	case !change.Recorded:
		out.Outcome, out.Detail = audit.Done, ""
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), recordTimeout)
		defer cancel()
		if err := g.Record(ctx, out); err != nil {
			g.Log.Error("a change is not in the audit log", "what", out.What, "object", out.Object, "error", err)
		}
	}
}

// recorder notes the status of an answer, and the beginning of an error's text.
type recorder struct {
	http.ResponseWriter
	pattern string // of the endpoint that the request came to; "" if none: the mux leads from //a to /a by itself
	status  int    // 0 before the answer begins
	text    []byte // of an error
	why     string // what is wrong, if the answer does not say it in JSON
}

// Because says why a request is refused, or fails, for an answer that is not JSON. w is what
// the handler got.
func Because(w http.ResponseWriter, err error) {
	if rec, ok := w.(*recorder); ok {
		rec.why = err.Error()
	}
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
