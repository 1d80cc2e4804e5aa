package web

import (
	"errors"
	"net/http"

	"quell/internal/access"
	"quell/internal/audit"
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
		name, err := at.Callback(w, r)
		if err != nil {
			p.failLogin(w, r, name, err)
			return
		}
		p.Console.Log.Info("somebody has logged in", "who", name)
	}, guard.AnyParameters)
	p.endpoints.Handle("POST /logout", role.Anyone, func(w http.ResponseWriter, r *http.Request) {
		at.Logout(w, r)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
}

// failLogin shows that a login did not succeed, and records it.
func (p *Web) failLogin(w http.ResponseWriter, r *http.Request, name string, err error) {
	status := http.StatusUnauthorized
	switch {
	case errors.Is(err, access.ErrNoLogin):
		status = http.StatusNotFound
	case errors.Is(err, access.ErrNoRole):
		status = http.StatusForbidden
	case errors.Is(err, access.ErrProvider):
		status = http.StatusBadGateway
	}
	f := failure{Status: status, Text: sentence(err.Error()), LoginErr: true}
	if status != http.StatusNotFound {
		p.Console.Log.Warn("a login failed", "who", name, "from", guard.Caller(r).From, "error", err)
		audit.Identify(r.Context(), name, "")
		guard.Because(w, err)
		f.Login = "/login"
	}
	p.show(w, r, view{Template: "error", Title: "You are not logged in", Data: f, Status: status})
}
