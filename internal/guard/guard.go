// Package guard is what every request to the console passes before it is handled, whether it is
// for the API or for a page: who sends it, whether their role and their rate allow it, whether
// it comes from a web page of others, and which parameters it has. What is refused, what
// changes something, and each look-up of supply points goes to the audit log.
//
// The API and the pages add their endpoints to the same guard, each with its least role. So no
// page can be reached, or do anything, that its role may not.
package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"quell/internal/access"
	"quell/internal/audit"
	"quell/internal/role"
)

// Guard admits requests to the endpoints that are added to it. Its fields are set before the
// first endpoint is added.
type Guard struct {
	Access *access.Access
	Log    *slog.Logger
	// Where records go: the Write and the Refused of an audit.Log.
	Record  func(context.Context, ...audit.Record) error
	Refused func(audit.Record)

	mux       http.ServeMux
	routes    []Route
	changes   map[string]Change // by pattern
	otherwise http.HandlerFunc  // nil: there is none

	turns       turns
	bodyTimeout time.Duration // of tests; 0: the constant
}

// Route is an endpoint, and the least role that may use it. docs/operations.md has them all.
type Route struct {
	Pattern string // "GET /api/v1/status"
	Least   role.Role
}

// Routes returns the endpoints that were added.
func (g *Guard) Routes() []Route { return g.routes }

// Fail answers that a request is refused, or cannot be read: with a status, and with what is
// wrong.
type Fail func(w http.ResponseWriter, r *http.Request, status int, err error)

// Endpoints are endpoints of one kind: they answer in the same way when one is refused.
type Endpoints struct {
	guard *Guard
	fail  Fail
}

// Endpoints returns where to add endpoints of one kind. changes are those that change something,
// by their patterns.
func (g *Guard) Endpoints(fail Fail, changes map[string]Change) Endpoints {
	if g.changes == nil {
		g.changes = map[string]Change{}
	}
	maps.Copy(g.changes, changes)
	return Endpoints{g, fail}
}

// AnyParameters stands for all parameters, where another program chooses them.
const AnyParameters = "*"

// Handle adds an endpoint for those who have a role, the least one or above. It refuses
// requests with an unknown parameter, or with one parameter twice: otherwise a misspelt filter
// would be ignored. The role.Anyone makes an endpoint open, also to those whose credentials are
// wrong: a load balancer must learn whether the node is ready.
func (e Endpoints) Handle(pattern string, least role.Role, h http.HandlerFunc, parameters ...string) {
	e.HandleFiles(pattern, least, func(w http.ResponseWriter, r *http.Request) {
		e.guard.limitBody(w, r)
		h(w, r)
	}, parameters...)
}

// HandleFiles is Handle for a body that may take long to arrive.
func (e Endpoints) HandleFiles(pattern string, least role.Role, h http.HandlerFunc, parameters ...string) {
	if least > role.Anyone {
		h = e.inTurn(h)
	}
	e.HandleLong(pattern, least, h, parameters...)
}

// inTurn is h for as many requests of a client at once as there may be. A scrape of metrics does not
// wait for the other requests of its client.
func (e Endpoints) inTurn(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := Caller(r).Key
		if r.URL.Path == "/metrics" {
			key = "metrics " + key
		}
		end := e.guard.turns.begin(r.Context(), key)
		if end == nil {
			e.refuse(w, r, &refusal{http.StatusTooManyRequests, errTurns, time.Second})
			return
		}
		defer end()
		h(w, r)
	}
}

// HandleLong is Handle for an answer that has no end, of which the caller limits the number.
func (e Endpoints) HandleLong(pattern string, least role.Role, h http.HandlerFunc, parameters ...string) {
	e.guard.routes = append(e.guard.routes, Route{pattern, least})
	e.guard.mux.HandleFunc(pattern, e.admitted(pattern, least, h, parameters))
}

// Otherwise sets what handles a GET of a path that no endpoint has, outside of /api/. It is open
// to anyone.
func (e Endpoints) Otherwise(h http.HandlerFunc) {
	e.guard.otherwise = e.admitted("", role.Anyone, h, []string{AnyParameters})
}

// admitted is h for those who may use it.
func (e Endpoints) admitted(pattern string, least role.Role, h http.HandlerFunc, parameters []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if rec, ok := w.(*recorder); ok {
			rec.pattern = pattern
		}
		id, ref := e.guard.admit(r, least)
		audit.Identify(r.Context(), id.Name, roleName(id.Role))
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, id))
		if ref != nil {
			e.refuse(w, r, ref)
			return
		}
		w.Header().Set("Cache-Control", "no-store") // it may have personal data
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if len(parameters) == 0 || parameters[0] != AnyParameters {
			if err := checkParameters(r.URL.RawQuery, parameters); err != nil {
				e.fail(w, r, http.StatusBadRequest, err)
				return
			}
		}
		h(w, r)
	}
}

type callerKey struct{}

// Caller returns who sends a request.
func Caller(r *http.Request) access.Identity {
	id, _ := r.Context().Value(callerKey{}).(access.Identity)
	return id
}

// StillAllowed reports whether who sends a request is who they were when its answer began, with the
// same role. An answer that has no end asks this again and again: a token may be revoked meanwhile,
// a certificate expire, and a person log out. If that cannot be found out, it is as before.
func (g *Guard) StillAllowed(r *http.Request) bool { return g.Access.Still(r, Caller(r)) }

// HideMPxN reports whether MPxNs are to be left out of the answer to a request.
func HideMPxN(r *http.Request) bool { return Caller(r).Role < role.Analyst }

// refusal is why a request is not handled.
type refusal struct {
	status int
	err    error
	wait   time.Duration // with status 429
}

var crossOrigin = http.NewCrossOriginProtection()

// admit finds out who sends a request, and whether they may use an endpoint with a least role.
func (g *Guard) admit(r *http.Request, least role.Role) (access.Identity, *refusal) {
	id, err := g.Access.Identify(r)
	allowed, wait := g.allow(r, id, least)
	if least == role.Anyone {
		if err != nil || !allowed {
			id = access.Identity{From: id.From, Key: id.Key}
		}
		if isProbe(r) {
			return id, nil
		}
	}
	switch {
	case !allowed:
		return id, &refusal{http.StatusTooManyRequests, errors.New("too many requests"), wait}
	case least == role.Anyone:
	case errors.Is(err, access.ErrTries):
		return id, &refusal{http.StatusTooManyRequests, err, 10 * time.Second}
	case errors.Is(err, access.ErrCredentials):
		return id, &refusal{status: http.StatusUnauthorized, err: err}
	case errors.Is(err, access.ErrHost):
		return id, &refusal{status: http.StatusForbidden, err: err}
	case err != nil:
		return id, &refusal{status: http.StatusServiceUnavailable, err: err}
	case id.Name == "" && id.Role < least:
		return id, &refusal{status: http.StatusUnauthorized, err: fmt.Errorf("this needs credentials with the role %s", least)}
	}
	if err := crossOrigin.Check(r); err != nil {
		return id, &refusal{status: http.StatusForbidden, err: err}
	}
	if id.Role < least {
		return id, &refusal{status: http.StatusForbidden, err: fmt.Errorf("this needs the role %s; %s has %s", least, id.Name, roleText(id.Role))}
	}
	return id, nil
}

func roleText(r role.Role) string {
	if r == role.Anyone {
		return "none"
	}
	return "the role " + r.String()
}

// isProbe reports whether a request asks what load balancers ask. These are not limited: a node
// that does not answer them gets no messages. Without a role the answers cost nothing.
func isProbe(r *http.Request) bool { return r.URL.Path == "/healthz" || r.URL.Path == "/readyz" }

// allow reports whether a client may ask now, at its rate.
func (g *Guard) allow(r *http.Request, id access.Identity, least role.Role) (bool, time.Duration) {
	switch {
	case id.Role == role.Anyone && isProbe(r):
		return true, 0
	case id.Role == role.Anyone:
		return g.Access.Rates.Allow(id.Key, access.Anonymous)
	case least >= role.Operator:
		return g.Access.Rates.Allow(id.Key, access.Changes)
	}
	return g.Access.Rates.Allow(id.Key, access.Reads)
}

// refuse refuses a request. What records requests records that.
func (e Endpoints) refuse(w http.ResponseWriter, r *http.Request, ref *refusal) {
	switch ref.status {
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(ref.wait.Seconds()))))
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	e.fail(w, r, ref.status, ref.err)
}

// WriteError is a Fail that answers in JSON.
func WriteError(w http.ResponseWriter, _ *http.Request, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

// roleName returns the role for the audit log; "" if there is none.
func roleName(r role.Role) string {
	if r == role.Anyone {
		return ""
	}
	return r.String()
}

func checkParameters(query string, known []string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("the query cannot be read: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case len(known) == 0:
			return fmt.Errorf("unknown parameter %q; this endpoint takes none", name)
		case !slices.Contains(known, name):
			return fmt.Errorf("unknown parameter %q; this endpoint takes %s", name, strings.Join(known, ", "))
		case len(values[name]) > 1 && !strings.HasSuffix(name, "[]"):
			return fmt.Errorf("the parameter %s is there more than once", name)
		}
	}
	return nil
}
