package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"quell/internal/role"
)

// A session is the time after a login. It is in memory of this node only, so it ends with a
// restart.
type session struct {
	name    string
	role    role.Role
	started time.Time
	seen    time.Time
	longest time.Duration // after it started, whatever happens
	token   string        // the id of the token that must be in force; "" if none
}

const (
	sessionIdle  = 30 * time.Minute // without a request
	sessionMax   = 8 * time.Hour    // after a login
	maxSessions  = 1000
	cookieName   = "__Host-quell" // a name that no other host, no path and no plain HTTP can set
	secretLength = 32
)

// sessions are kept under the SHA-256 of the value of their cookie.
type sessions struct {
	mu   sync.Mutex // guards all
	open map[[sha256.Size]byte]*session
}

// random returns 256 random bits as text.
func random() string {
	b := make([]byte, secretLength)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// start starts a session, of which the times that it started and was seen are set, and sets its
// cookie. If there are too many, the one that has been
// silent longest ends.
func (ss *sessions) start(w http.ResponseWriter, s session, now time.Time) {
	s.started, s.seen = now, now
	value := random()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.open == nil {
		ss.open = map[[sha256.Size]byte]*session{}
	}
	for key, s := range ss.open {
		if s.over(now) {
			delete(ss.open, key)
		}
	}
	if len(ss.open) >= maxSessions {
		var oldest [sha256.Size]byte
		seen := now
		for key, s := range ss.open {
			if s.seen.Before(seen) {
				oldest, seen = key, s.seen
			}
		}
		delete(ss.open, oldest)
	}
	ss.open[sha256.Sum256([]byte(value))] = &s
	setCookie(w, cookieName, value, s.longest)
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.seen) >= sessionIdle || now.Sub(s.started) >= s.longest
}

// get returns the session of a request.
func (ss *sessions) get(r *http.Request, now time.Time) (session, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return session{}, false
	}
	key := sha256.Sum256([]byte(c.Value))
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s, ok := ss.open[key]
	if !ok {
		return session{}, false
	}
	if s.over(now) {
		delete(ss.open, key)
		return session{}, false
	}
	if !byItself(r) {
		s.seen = now
	}
	return *s, true
}

// byItself reports whether a request is one that an open page sends without the person, to follow
// what happens. It keeps no session alive: the person may have left.
func byItself(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/live/") || r.URL.Path == "/api/v1/tail"
}

// end ends the session of a request.
func (ss *sessions) end(r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		ss.mu.Lock()
		delete(ss.open, sha256.Sum256([]byte(c.Value)))
		ss.mu.Unlock()
	}
}

// drop ends the sessions that over returns true of.
func (ss *sessions) drop(over func(*session) bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	maps.DeleteFunc(ss.open, func(_ [sha256.Size]byte, s *session) bool { return over(s) })
}

// setCookie sets a cookie that no script reads, that only HTTPS sends, and that other sites
// send only when a person follows a link. The provider leads back by such a link, so
// SameSite=Strict would not do.
func setCookie(w http.ResponseWriter, name, value string, valid time.Duration) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(valid / time.Second), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}
