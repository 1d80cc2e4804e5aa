package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"quell/internal/role"
)

// A Link lets somebody who has another way in begin a session in a browser. Its code is after the
// "#" of an address, which browsers send to nobody: it comes in a form.
type Link struct {
	Code    string    `json:"code"`
	Name    string    `json:"name"` // of the session
	Role    role.Role `json:"role"`
	Expires time.Time `json:"expires_at"`
}

var (
	// ErrNoName says that somebody without a name asks for a link.
	ErrNoName = errors.New("a link is for those with a name: use the socket, a token or a certificate")
	// ErrChain says that somebody asks for a link from within a session: sessions would never end.
	ErrChain = errors.New("a session in a browser cannot ask for a link")
	// ErrLinks says that somebody asks for links too often.
	ErrLinks = errors.New("too many links were asked for: wait some seconds")
	// ErrCode says that no link has a code, or no longer.
	ErrCode = errors.New("this code is not valid: it has been used, or it is older than a minute, or a part of it is missing")
	// ErrPlain says that others can read what a browser sends.
	ErrPlain = errors.New("links are for HTTPS, or for a browser on the machine that runs quell: others could read the code")
)

const (
	linkValid   = time.Minute
	linksOfName = 3 // that wait for their browser; one more takes the place of the oldest
	// linkMax is how long a session lasts that a link began. It is shorter than others: whether a
	// user of the socket still has the role is asked only when the link is.
	linkMax    = time.Hour
	linkPrefix = "link:"
)

// links are those that wait for their browser.
type links struct {
	mu   sync.Mutex // guards open
	open []openLink // the oldest first
}

type openLink struct {
	hash    [sha256.Size]byte // of the code, which is nowhere
	name    string            // of who asked
	role    role.Role
	token   string // the id of the token that who asked has; "" if none
	expires time.Time
}

// Ask makes a link for who sends a request. The error may be ErrNoName, ErrChain or ErrLinks.
func (a *Access) Ask(id Identity) (Link, error) {
	switch {
	case id.Session:
		return Link{}, ErrChain
	case id.Name == "" || id.Role == role.Anyone:
		return Link{}, ErrNoName
	}
	if ok, _ := a.Rates.Allow(id.Key, asking); !ok {
		return Link{}, ErrLinks
	}
	now := a.Now()
	link := Link{rand.Text(), linkPrefix + id.Name, id.Role, now.Add(linkValid)}
	a.links.add(openLink{sha256.Sum256([]byte(link.Code)), id.Name, id.Role, id.token, link.Expires}, now)
	return link, nil
}

func (ls *links) add(l openLink, now time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	same := 0
	for i := len(ls.open) - 1; i >= 0; i-- {
		x := &ls.open[i]
		if x.name == l.name {
			same++
		}
		if !now.Before(x.expires) || x.name == l.name && same >= linksOfName {
			ls.open = slices.Delete(ls.open, i, i+1)
		}
	}
	ls.open = append(ls.open, l)
}

// take returns the link with a code, which serves no second time.
func (ls *links) take(code string, now time.Time) (l openLink, ok bool) {
	hash := sha256.Sum256([]byte(code))
	ls.mu.Lock()
	defer ls.mu.Unlock()
	at := -1
	for i := range ls.open { // all, so that the time says nothing
		if subtle.ConstantTimeCompare(ls.open[i].hash[:], hash[:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return l, false
	}
	l = ls.open[at]
	ls.open = slices.Delete(ls.open, at, at+1)
	return l, now.Before(l.expires)
}

func (ls *links) dropAll() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.open = nil
}

// Follow begins the session of the link with a code, and returns its name and role. The error may be
// ErrPlain, ErrTries or ErrCode.
func (a *Access) Follow(w http.ResponseWriter, r *http.Request, code string) (name string, as role.Role, err error) {
	if !Private(r) {
		return "", role.Anyone, ErrPlain
	}
	key := "at " + network(r)
	if !a.Rates.MayTry(key) {
		return "", role.Anyone, ErrTries
	}
	l, ok := a.links.take(code, a.Now())
	if !ok {
		a.Rates.Failed(key)
		return "", role.Anyone, ErrCode
	}
	name = linkPrefix + l.name
	a.sessions.end(r) // of an earlier login in this browser
	a.sessions.start(w, session{name: name, role: l.role, token: l.token, longest: linkMax}, time.Now())
	return name, l.role, nil
}

// tokenTimeout bounds the wait for the store when it is asked whether a token is in force.
const tokenTimeout = time.Second

// hasToken reports whether a token is in force, by its id; also if there is none. A session ends with the
// token with which its link was asked for. While the store does not say so, the session goes on: the
// switch must work then too.
func (a *Access) hasToken(r *http.Request, id string) bool {
	if id == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(r.Context(), tokenTimeout)
	defer cancel()
	ok, err := a.Tokens.InForce(ctx, id, a.Now())
	return ok || err != nil
}

// Private reports whether nobody on the way can read a request: it came over TLS, to quell or to a
// proxy on its machine, or it never left the machine.
func Private(r *http.Request) bool {
	if _, socket := peer(r); socket || r.TLS != nil || fromThisMachine(r) {
		return true
	}
	ip, err := netip.ParseAddr(from(r))
	return err == nil && ip.Unmap().IsLoopback() && r.Header.Get("X-Forwarded-Proto") == "https"
}
