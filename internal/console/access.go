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
	"quell/internal/audit"
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

var (
	errNoMPxN  = errors.New("MPxNs are for analysts and above")
	errNoAudit = errors.New("the answer has MPxNs, and is withheld, since the audit log cannot be written")
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
		audit.Identify(r.Context(), id.Name, roleName(id.Role))
		if ref != nil {
			refuse(w, ref)
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

// refuse refuses a request. What records requests records that.
func refuse(w http.ResponseWriter, ref *refusal) {
	switch ref.status {
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(ref.wait.Seconds()))))
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeError(w, ref.status, ref.err)
}

// roleName returns the role for the audit log; "" if there is none.
func roleName(r role.Role) string {
	if r == role.Anyone {
		return ""
	}
	return r.String()
}

// lookedUp records that MPxNs are shown, before they are. If that fails they must not be.
func (c *Console) lookedUp(r *http.Request, object string) error {
	ctx, cancel := context.WithTimeout(r.Context(), recordTimeout)
	defer cancel()
	by := audit.CallerOf(ctx)
	err := c.record(ctx, audit.Record{Who: by.Who, Role: by.Role, From: by.From, What: "look-up", Object: object, Outcome: audit.Done})
	if err != nil {
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
