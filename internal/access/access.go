// Package access says who sends a request to the console, and which role they have.
//
// There are six ways in. On the Unix socket the operating system names the user. A machine
// sends a token, or has a client certificate. A person logs in with OpenID Connect, or follows a
// link that somebody with one of the first three ways has asked for, and has a session. And
// those who connect over loopback without any of these may look, as viewers.
//
// A name says by which way it came, so that no way can take the name of another: "alice" is a
// user of the operating system, "token:grafana" a token, "CN=grafana" or "DNS:grafana.example"
// a certificate, "oidc:alice" a person who has logged in, "link:alice" one with a link of alice.
package access

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"quell/internal/role"
	"quell/internal/tokens"
)

// Identity is who sends a request. Without a name it is anyone.
type Identity struct {
	Name string
	Role role.Role
	From string // the address that the request comes from, or "socket"
	// Key names the client for limits of its rate: its name, or the network that it comes from.
	Key     string
	Session bool // it is in a browser, and somebody began it there
	token   string
}

var (
	// ErrCredentials says that the credentials of a request are wrong.
	ErrCredentials = errors.New("the credentials are not valid")
	// ErrTries says that too many wrong credentials came from an address.
	ErrTries = errors.New("too many wrong credentials came from this address: wait")
	// ErrHost says that a request without credentials has another host name than localhost. It
	// may come from a web page whose name was made to point to this machine.
	ErrHost = errors.New("without credentials the console does not answer under the name")
)

// Settings can change while quell runs.
type Settings struct {
	// Clients has the roles of client certificates, by a name of the certificate: "CN=…" of the
	// subject, "DNS:…" or "URI:…" of the alternative names.
	Clients map[string]role.Role
	OIDC    *OIDCSettings // nil: nobody can log in
}

// Access finds out who sends a request. Its fields are set before use.
type Access struct {
	Tokens *tokens.Tokens
	Now    func() time.Time
	Rates  *Rates

	settings atomic.Pointer[Settings]
	oidc     atomic.Pointer[login]
	sessions sessions
	links    links
}

// Set puts settings into force. Sessions stay when OIDC stays as it is; otherwise all end. Those of
// links end when the roles of certificates change.
func (a *Access) Set(s Settings) {
	before := a.settings.Swap(&s)
	if before != nil && !maps.Equal(before.Clients, s.Clients) {
		a.links.dropAll()
		a.sessions.drop(func(s *session) bool { return strings.HasPrefix(s.name, linkPrefix) })
	}
	if before != nil && before.OIDC.equal(s.OIDC) {
		return
	}
	a.oidc.Store(newLogin(s.OIDC)) // first, so that no login by the old one starts a session afterwards
	a.sessions.drop(func(*session) bool { return true })
}

func (a *Access) clients() map[string]role.Role {
	if s := a.settings.Load(); s != nil {
		return s.Clients
	}
	return nil
}

// Identify says who sends a request. A token counts before all else, then the socket, a
// session, and a certificate. The error is ErrCredentials, ErrTries, ErrHost or
// sqldb.ErrUnavailable; the identity then says where the request comes from.
func (a *Access) Identify(r *http.Request) (Identity, error) {
	id := Identity{From: from(r), Key: "at " + network(r)}
	named := func(name string, as role.Role) (Identity, error) {
		id.Name, id.Role, id.Key = name, as, name
		return id, nil
	}
	if header := r.Header.Get("Authorization"); header != "" {
		t, err := a.token(r.Context(), header, id.Key)
		if err != nil {
			return id, err
		}
		id.token = t.ID
		return named("token:"+t.Name, t.Role)
	}
	if uid, ok := peer(r); ok {
		return named(userName(uid), userRole(uid))
	}
	if s, ok := a.sessions.get(r, time.Now()); ok && !a.hasToken(r, s.token) {
		a.sessions.end(r)
	} else if ok {
		id.Session = true
		return named(s.name, s.role)
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return named(certificate(r.TLS.PeerCertificates[0], a.clients()))
	}
	if !fromThisMachine(r) {
		return id, nil
	}
	if host := hostName(r.Host); !isLocal(host) {
		return id, fmt.Errorf("%w %q", ErrHost, host)
	}
	id.Role = role.Viewer
	return id, nil
}

// Still reports whether who sends a request is who they were, with the same role. If that cannot be found
// out, it is as before.
func (a *Access) Still(r *http.Request, was Identity) bool {
	id, err := a.Identify(r)
	switch {
	case errors.Is(err, ErrTries): // this token was right, so to look at it again is no try
		return a.hasToken(r, was.token)
	case err != nil:
		return !errors.Is(err, ErrCredentials) && !errors.Is(err, ErrHost)
	case r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && time.Now().After(r.TLS.PeerCertificates[0].NotAfter):
		return false
	}
	return id.Name == was.Name && id.Role == was.Role
}

// token checks the token of a header. After some wrong ones from a network, none from there is
// checked for a while; those that were right a moment ago are right all the same.
func (a *Access) token(ctx context.Context, header, key string) (tokens.Token, error) {
	scheme, text, _ := strings.Cut(header, " ")
	if text = strings.TrimSpace(text); strings.EqualFold(scheme, "Bearer") {
		if t, ok := a.Tokens.Remembered(text, a.Now()); ok {
			return t, nil
		}
	}
	if !a.Rates.MayTry(key) {
		return tokens.Token{}, ErrTries
	}
	err := fmt.Errorf("%w: the header Authorization has no Bearer token", ErrCredentials)
	if strings.EqualFold(scheme, "Bearer") {
		var t tokens.Token
		if t, err = a.Tokens.Check(ctx, text, a.Now()); err == nil {
			return t, nil
		}
		if !errors.Is(err, tokens.ErrWrong) {
			return t, err
		}
		err = fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	a.Rates.Failed(key)
	return tokens.Token{}, err
}

// userName returns the operating system's name of a user.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", uid)
}

// userRole is the role of a user at the socket. The permissions of the socket and its folder
// say who gets that far.
func userRole(uid int) role.Role {
	if uid == 0 || uid == os.Geteuid() {
		return role.Admin
	}
	return role.Operator
}

// from returns the address that a request comes from.
func from(r *http.Request) string {
	if _, ok := peer(r); ok {
		return "socket"
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// network returns whose rates a request without a name uses: its address, or the network of 64
// bits, since one machine may have all addresses of it.
func network(r *http.Request) string {
	ip, err := netip.ParseAddr(from(r))
	if err != nil {
		return from(r)
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// fromThisMachine reports whether a request came over loopback, and not through a proxy on this
// machine that says so.
func fromThisMachine(r *http.Request) bool {
	for _, header := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if r.Header.Get(header) != "" {
			return false
		}
	}
	ip, err := netip.ParseAddr(from(r))
	return err == nil && ip.Unmap().IsLoopback()
}

// hostName returns a host without its port and without brackets.
func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.Trim(host, "[]")
}

// isLocal reports whether a host is an address, or localhost: neither is a name that a web page
// can point to this machine.
func isLocal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}
