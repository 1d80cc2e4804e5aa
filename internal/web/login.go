package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"quell/internal/access"
	"quell/internal/audit"
	"quell/internal/console"
	"quell/internal/guard"
	"quell/internal/role"
)

func (p *Web) loginPages() {
	at := p.Console.Guard.Access
	p.endpoints.Handle("GET /login", role.Anyone, func(w http.ResponseWriter, r *http.Request) {
		if err := at.Login(w, r); err != nil {
			p.failLogin(w, r, "", err)
		}
	}, "to")
	p.endpoints.Handle("GET /callback", role.Anyone, func(w http.ResponseWriter, r *http.Request) {
		name, as, err := at.Callback(w, r)
		if err != nil {
			p.failLogin(w, r, name, err)
			return
		}
		audit.Identify(r.Context(), name, as.String())
		p.Console.Guard.Changed(r, "login", r.URL.Path, "")
		p.Console.Log.Info("somebody has logged in", "who", name, "role", as)
	}, guard.AnyParameters)
	p.page("GET "+console.LoginPath, role.Anyone, func(r *http.Request) (any, error) {
		return view{Template: "link", Title: "Log in with a link", Data: access.Private(r)}, nil
	})
	p.endpoints.Handle("POST "+console.LoginPath, role.Anyone, p.followLink)
	p.endpoints.Handle("POST /logout", role.Anyone, func(w http.ResponseWriter, r *http.Request) {
		at.Logout(w, r)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
}

// followLink begins the session of a link. The code comes in the form of the link's page, by a
// button: what only opens the address, such as a preview, has not the code and uses nothing up.
func (p *Web) followLink(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		p.fail(w, r, http.StatusBadRequest, fmt.Errorf("the form cannot be read: %w", err))
		return
	}
	name, as, err := p.Console.Guard.Access.Follow(w, r, strings.TrimSpace(r.PostForm.Get("code")))
	if err != nil {
		p.failLogin(w, r, "", err)
		return
	}
	audit.Identify(r.Context(), name, as.String())
	p.Console.Log.Info("somebody has logged in", "who", name, "role", as)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// failLogin shows that a login did not succeed, and records it.
func (p *Web) failLogin(w http.ResponseWriter, r *http.Request, name string, err error) {
	status := http.StatusUnauthorized
	switch {
	case errors.Is(err, access.ErrNoLogin):
		status = http.StatusNotFound
	case errors.Is(err, access.ErrNoRole), errors.Is(err, access.ErrPlain):
		status = http.StatusForbidden
	case errors.Is(err, access.ErrTries):
		status = http.StatusTooManyRequests
	case errors.Is(err, access.ErrProvider):
		status = http.StatusBadGateway
	}
	f := failure{Status: status, Text: sentence(err.Error()), LoginErr: true}
	if status != http.StatusNotFound {
		p.Console.Log.Warn("a login failed", "who", name, "from", guard.Caller(r).From, "error", err)
		audit.Identify(r.Context(), name, "")
		guard.Because(w, err)
		f.Link = r.URL.Path == console.LoginPath
		if !f.Link {
			f.Login = "/login"
		}
	}
	p.show(w, r, view{Template: "error", Title: "You are not logged in", Data: f, Status: status})
}
