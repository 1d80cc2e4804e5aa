package console

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"quell/internal/access"
	"quell/internal/outage"
	"quell/internal/role"
)

// Route is an endpoint, and the least role that may use it. docs/operations.md has them all.
type Route struct {
	Pattern string // "GET /api/v1/status"
	Least   role.Role
}

// Routes returns the endpoints. Handler must have been called.
func (c *Console) Routes() []Route { return c.routes }

// Attempt is something that somebody tried at the console, for the audit.
type Attempt struct {
	At      time.Time
	Who     string // "" if that is not known
	Role    role.Role
	From    string // an address, or "socket"
	What    string // method and path, without parameters: they may hold secrets
	Object  string // what was looked up; "" if it is no look-up
	Outcome string // "done", "refused" or "failed"
	Why     string // it was refused
}

// Outcomes of an attempt.
const (
	Done    = "done"
	Refused = "refused"
)

var (
	errNoMPxN  = errors.New("MPxNs are for analysts and above")
	errNoAudit = errors.New("the audit does not take the record of this look-up, so it is not answered")
)

// routes has the endpoints, each with its least role and the parameters that it takes.
type routes struct {
	c *Console
	*http.ServeMux
	list *[]Route
}

// anyParameters stands for all parameters, where another program chooses them.
const anyParameters = "*"

// handle adds an endpoint for those who have a role, the least one or above. It refuses
// requests with an unknown parameter, or with one parameter twice: otherwise a misspelt filter
// would be ignored. The role.Anyone makes an endpoint open, also to those whose credentials are
// wrong: a load balancer must learn whether the node is ready.
func (m routes) handle(pattern string, least role.Role, h http.HandlerFunc, parameters ...string) {
	*m.list = append(*m.list, Route{pattern, least})
	m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		id, ref := m.c.admit(r, least)
		if ref != nil {
			m.c.refuse(w, r, id, ref)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, id))
		w.Header().Set("Cache-Control", "no-store") // it may have personal data
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if len(parameters) == 0 || parameters[0] != anyParameters {
			if err := checkParameters(r.URL.RawQuery, parameters); err != nil {
				m.c.fail(w, r, badRequest{err})
				return
			}
		}
		h(w, r)
	})
}

type callerKey struct{}

// caller returns who sends a request.
func caller(r *http.Request) access.Identity {
	id, _ := r.Context().Value(callerKey{}).(access.Identity)
	return id
}

// refusal is why a request is not handled.
type refusal struct {
	status int
	err    error
	wait   time.Duration // with status 429
}

var crossOrigin = http.NewCrossOriginProtection()

// admit finds out who sends a request, and whether they may use an endpoint with a least role.
func (c *Console) admit(r *http.Request, least role.Role) (access.Identity, *refusal) {
	id, err := c.Access.Identify(r)
	allowed, wait := c.allow(r, id, least)
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
func (c *Console) allow(r *http.Request, id access.Identity, least role.Role) (bool, time.Duration) {
	switch {
	case id.Role == role.Anyone && isProbe(r):
		return true, 0
	case id.Role == role.Anyone:
		return c.Access.Rates.Allow(id.Key, access.Anonymous)
	case least >= role.Operator:
		return c.Access.Rates.Allow(id.Key, access.Changes)
	}
	return c.Access.Rates.Allow(id.Key, access.Reads)
}

// auditTimeout limits the wait for the record of an attempt that is refused whether it is
// recorded or not.
const auditTimeout = time.Second

// lookupTimeout limits the wait for the record of a look-up, without which it is not answered.
const lookupTimeout = 5 * time.Second

// refuse refuses a request, and records that.
func (c *Console) refuse(w http.ResponseWriter, r *http.Request, id access.Identity, ref *refusal) {
	why, record := ref.err.Error(), ref.status < 500
	if ref.status == http.StatusTooManyRequests {
		var before int
		if record, before = c.Access.Rates.Record(id.Key); before > 0 {
			why += fmt.Sprintf("; %d more were refused before", before)
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(ref.wait.Seconds()))))
	}
	if record {
		ctx, cancel := context.WithTimeout(r.Context(), auditTimeout)
		defer cancel()
		if err := c.audit(ctx, r, id, Attempt{Outcome: Refused, Why: why}); err != nil {
			c.Log.Error("a refused request is not in the audit", "from", id.From, "what", what(r), "error", err)
		}
	}
	if ref.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeError(w, ref.status, ref.err)
}

// what returns method and path of a request. The path is not that of a server that nobody
// asked for: it is cut, and quoted if it has to be.
func what(r *http.Request) string {
	path := r.URL.EscapedPath()
	return r.Method + " " + path[:min(len(path), 200)]
}

func (c *Console) audit(ctx context.Context, r *http.Request, id access.Identity, a Attempt) error {
	if c.Audit == nil {
		return nil
	}
	a.At, a.Who, a.Role, a.From, a.What = c.Motorway.Now(), id.Name, id.Role, id.From, what(r)
	return c.Audit(ctx, a)
}

// lookedUp records that MPxNs are shown, before they are. If that fails they must not be.
func (c *Console) lookedUp(r *http.Request, object string) error {
	ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
	defer cancel()
	if err := c.audit(ctx, r, caller(r), Attempt{Object: object, Outcome: Done}); err != nil {
		return fmt.Errorf("%w: %w", errNoAudit, err)
	}
	return nil
}

// hideMPxN reports whether MPxNs are to be left out of the answer to a request.
func hideMPxN(r *http.Request) bool { return caller(r).Role < role.Analyst }

func hideEntries(list []outage.Entry) {
	for i := range list {
		list[i].MPxN = ""
	}
}

// isMPxN reports whether an id is that of a supply point.
func isMPxN(id string) bool {
	return id != "" && len(id) <= 13 && strings.Trim(id, "0123456789") == ""
}
