package access

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"quell/internal/role"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// OIDCSettings say how people log in with OpenID Connect.
type OIDCSettings struct {
	Issuer, ClientID string
	SecretFile       string // read at each login, so a changed one needs no restart
	// URL is the console's own, as browsers know it. The provider leads back to a path of it. It
	// is a setting, since the header Host is what the sender of a request says.
	URL    string
	Groups map[role.Role][]string // which groups have a role
}

func (s *OIDCSettings) equal(other *OIDCSettings) bool { return reflect.DeepEqual(s, other) }

var (
	// ErrNoLogin says that there is no OpenID Connect in the configuration.
	ErrNoLogin = errors.New("nobody can log in here: the configuration has no console.oidc")
	// ErrProvider says that the provider of OpenID Connect does not answer as it should.
	ErrProvider = errors.New("the provider of OpenID Connect does not answer as it should")
	// ErrLogin says that a login did not succeed.
	ErrLogin = errors.New("the login did not succeed")
	// ErrNoRole says that somebody who is known has no role.
	ErrNoRole = errors.New("none of your groups has a role at this console")
)

// login is OpenID Connect with one provider. The provider is asked about itself at the first
// login, not at the start: quell starts whether it answers or not.
type login struct {
	OIDCSettings
	client *http.Client

	failed atomic.Pointer[error] // why the last try failed; nil if it did not

	mu       sync.Mutex     // guards the fields below, while the provider is asked about itself
	provider *oidc.Provider // nil: not known yet
	scopes   []string
	tried    time.Time
}

// providerTimeout limits each answer of the provider, and providerPause how often one that
// failed is asked about itself.
const (
	providerTimeout = 10 * time.Second
	providerPause   = 5 * time.Second
)

func newLogin(s *OIDCSettings) *login {
	if s == nil {
		return nil
	}
	return &login{OIDCSettings: *s, client: &http.Client{Timeout: providerTimeout}}
}

// Conditions says what is wrong with the provider; nil if nothing is known to be.
func (a *Access) Conditions() []string {
	l := a.oidc.Load()
	if l == nil {
		return nil
	}
	err := l.failed.Load()
	if err == nil {
		return nil
	}
	return []string{"console.oidc: nobody can log in: " + (*err).Error()}
}

// discover returns the configuration of OAuth, and what verifies tokens.
func (l *login) discover() (*oauth2.Config, *oidc.IDTokenVerifier, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.provider == nil && (l.failed.Load() == nil || time.Since(l.tried) >= providerPause) {
		l.tried = time.Now()
		// The context is kept for later requests of keys.
		p, err := oidc.NewProvider(oidc.ClientContext(context.Background(), l.client), l.Issuer)
		var about struct {
			Scopes []string `json:"scopes_supported"`
		}
		if err == nil {
			err = p.Claims(&about)
		}
		if err != nil {
			l.failed.Store(&err)
		} else {
			l.failed.Store(nil)
			l.provider, l.scopes = p, []string{oidc.ScopeOpenID}
			for _, s := range []string{"profile", "groups"} { // some refuse a scope that they do not know
				if slices.Contains(about.Scopes, s) {
					l.scopes = append(l.scopes, s)
				}
			}
		}
	}
	if l.provider == nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrProvider, *l.failed.Load())
	}
	return &oauth2.Config{ClientID: l.ClientID, Endpoint: l.provider.Endpoint(), RedirectURL: strings.TrimSuffix(l.URL, "/") + "/callback", Scopes: l.scopes},
		l.provider.Verifier(&oidc.Config{ClientID: l.ClientID}), nil
}

// attempt is a login that has begun. The browser keeps it, in a cookie, until the provider
// leads it back.
type attempt struct {
	State, Nonce, Verifier string
	To                     string // where to go afterwards
}

const (
	attemptCookie = "__Host-quell-login"
	attemptValid  = 10 * time.Minute
)

// Login leads a browser to the provider. The error may be ErrNoLogin or ErrProvider.
func (a *Access) Login(w http.ResponseWriter, r *http.Request) error {
	l := a.oidc.Load()
	if l == nil {
		return ErrNoLogin
	}
	config, _, err := l.discover()
	if err != nil {
		return err
	}
	t := attempt{random(), random(), oauth2.GenerateVerifier(), localPath(r.URL.Query().Get("to"))}
	text, _ := json.Marshal(t)
	setCookie(w, attemptCookie, base64.RawURLEncoding.EncodeToString(text), attemptValid)
	http.Redirect(w, r, config.AuthCodeURL(t.State, oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier)), http.StatusSeeOther)
	return nil
}

// localPath returns a path of this console: the one given, or "/" if that leads elsewhere.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || len(to) > 1000 ||
		!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

// Callback finishes a login: the provider has led the browser back with a code. It returns who has
// logged in, and their role. The error may be ErrNoLogin, ErrProvider, ErrLogin or ErrNoRole; name is
// then who tried, if that is known.
func (a *Access) Callback(w http.ResponseWriter, r *http.Request) (name string, as role.Role, err error) {
	l := a.oidc.Load()
	if l == nil {
		return "", role.Anyone, ErrNoLogin
	}
	begun, err := readAttempt(r)
	setCookie(w, attemptCookie, "", -time.Second) // each serves once
	if err != nil {
		return "", role.Anyone, err
	}
	q := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(begun.State)) != 1 {
		return "", role.Anyone, fmt.Errorf("%w: it did not begin in this browser", ErrLogin)
	}
	if q.Has("error") {
		return "", role.Anyone, fmt.Errorf("%w: the provider says %q", ErrLogin, oneLine(q.Get("error")))
	}
	if iss := q.Get("iss"); iss != "" && iss != l.Issuer {
		return "", role.Anyone, fmt.Errorf("%w: the answer is from another provider", ErrLogin)
	}
	name, as, err = l.redeem(r.Context(), q.Get("code"), begun)
	if err != nil {
		return name, role.Anyone, err
	}
	if a.oidc.Load() != l {
		return name, role.Anyone, fmt.Errorf("%w: the configuration has changed meanwhile", ErrLogin)
	}
	a.sessions.end(r) // of an earlier login in this browser
	a.sessions.start(w, session{name: name, role: as, longest: sessionMax}, time.Now())
	http.Redirect(w, r, localPath(begun.To), http.StatusSeeOther)
	return name, as, nil
}

// Logout ends the session of a request, if it has one.
func (a *Access) Logout(w http.ResponseWriter, r *http.Request) {
	a.sessions.end(r)
	setCookie(w, cookieName, "", -time.Second)
}

// LoginPossible reports whether the configuration lets people log in.
func (a *Access) LoginPossible() bool { return a.oidc.Load() != nil }

func readAttempt(r *http.Request) (t attempt, err error) {
	c, err := r.Cookie(attemptCookie)
	if err == nil {
		var text []byte
		if text, err = base64.RawURLEncoding.DecodeString(c.Value); err == nil {
			err = json.Unmarshal(text, &t)
		}
	}
	if err != nil || t.State == "" || t.Nonce == "" || t.Verifier == "" {
		return t, fmt.Errorf("%w: it did not begin in this browser, or more than %s ago", ErrLogin, attemptValid)
	}
	return t, nil
}

// redeem exchanges the code for a token of who logs in, and checks that.
func (l *login) redeem(ctx context.Context, code string, begun attempt) (name string, as role.Role, err error) {
	config, verifier, err := l.discover()
	if err != nil {
		return "", 0, err
	}
	if config.ClientSecret, err = readSecret(l.SecretFile); err != nil {
		return "", 0, fmt.Errorf("%w: console.oidc.client_secret_file: %w", ErrLogin, err)
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, l.client), providerTimeout)
	defer cancel()
	answer, err := config.Exchange(ctx, code, oauth2.VerifierOption(begun.Verifier))
	if err != nil {
		return "", 0, fmt.Errorf("%w: %s", ErrLogin, exchangeError(err))
	}
	text, _ := answer.Extra("id_token").(string)
	token, err := verifier.Verify(ctx, text)
	if err != nil {
		return "", 0, fmt.Errorf("%w: the provider's token is not valid: %w", ErrLogin, err)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(begun.Nonce)) != 1 {
		return "", 0, fmt.Errorf("%w: the provider's token is of another login", ErrLogin)
	}
	var claims claims
	if err := token.Claims(&claims); err != nil {
		return "", 0, fmt.Errorf("%w: the provider's token cannot be read: %w", ErrLogin, err)
	}
	if claims.Name == "" || len(claims.Groups) == 0 {
		if err := l.askMore(ctx, answer, token.Subject, &claims); err != nil {
			return "", 0, err
		}
	}
	name = personName(claims.Name, token.Subject)
	for r, groups := range l.Groups {
		if r > as && slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(claims.Groups, g) }) {
			as = r
		}
	}
	if as == role.Anyone {
		return name, as, ErrNoRole
	}
	return name, as, nil
}

// claims are what a provider says of a person.
type claims struct {
	Name   string `json:"preferred_username"`
	Groups groups `json:"groups"`
}

// askMore asks the provider for claims that are not in its token: some give them only at their
// endpoint for user information.
func (l *login) askMore(ctx context.Context, answer *oauth2.Token, subject string, to *claims) error {
	l.mu.Lock()
	provider := l.provider
	l.mu.Unlock()
	if provider.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(answer))
	var more claims
	if err == nil {
		err = info.Claims(&more)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: the provider does not say who logs in", ErrLogin) // its answer may be anything
	case info.Subject != subject:
		return fmt.Errorf("%w: the provider speaks of two persons", ErrLogin)
	}
	to.Name = cmp.Or(to.Name, more.Name)
	if len(to.Groups) == 0 {
		to.Groups = more.Groups
	}
	return nil
}

// exchangeError says what went wrong, without what the provider answered: that may have a
// secret in it.
func exchangeError(err error) string {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil {
		return fmt.Sprintf("the provider refused the code: %s %q", refused.Response.Status, oneLine(refused.ErrorCode))
	}
	return "the provider could not be asked about the code"
}

// groups is a list of groups. Some providers send a single one as text.
type groups []string

func (g *groups) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*g = groups{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(g))
}

// personName names who has logged in. The subject is the only name that a provider never gives
// to another person, so it is always there.
func personName(name, subject string) string {
	if name == "" || name == subject {
		return "oidc:" + oneLine(subject)
	}
	return fmt.Sprintf("oidc:%s (%s)", oneLine(name), oneLine(subject))
}

// oneLine keeps a text short and on one line.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), 100)], "")
}

// maxSecret is the size of the largest file with a secret.
const maxSecret = 4096

// readSecret reads a file with a secret, without the end of its line. Not everybody may be able
// to read it.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s: everyone can read it: chmod o= %s", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" || len(text) > maxSecret {
		return "", fmt.Errorf("%s has no secret of 1 to %d bytes", path, maxSecret)
	}
	return secret, nil
}
