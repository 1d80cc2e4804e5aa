package console

import (
	_ "embed"
	"errors"
	"html/template"
	"net/http"

	"quell/internal/access"
	"quell/internal/audit"
	"quell/internal/guard"
	"quell/internal/role"
)

//go:embed login.html
var pageText string

var page = template.Must(template.New("login.html").Parse(pageText))

// pageData is what the page shows.
type pageData struct {
	Name, Role, Error string
	Login             bool // there is a way to log in
}

func (c *Console) loginRoutes(mux guard.Endpoints) {
	mux.Handle("GET /{$}", role.Anyone, func(w http.ResponseWriter, r *http.Request) {
		id := guard.Caller(r)
		d := pageData{Name: id.Name, Login: c.Guard.Access.LoginPossible()}
		if id.Role > role.Anyone {
			d.Role = id.Role.String()
		}
		c.showPage(w, http.StatusOK, d)
	})
	mux.Handle("GET /login", role.Anyone, func(w http.ResponseWriter, r *http.Request) {
		if err := c.Guard.Access.Login(w, r); err != nil {
			c.failLogin(w, r, "", err)
		}
	}, "to")
	mux.Handle("GET /callback", role.Anyone, func(w http.ResponseWriter, r *http.Request) {
		name, err := c.Guard.Access.Callback(w, r)
		if err != nil {
			c.failLogin(w, r, name, err)
			return
		}
		c.Log.Info("somebody has logged in", "who", name)
	}, guard.AnyParameters)
	mux.Handle("POST /logout", role.Anyone, func(w http.ResponseWriter, r *http.Request) {
		c.Guard.Access.Logout(w, r)
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
}

// failLogin shows that a login did not succeed, and records it.
func (c *Console) failLogin(w http.ResponseWriter, r *http.Request, name string, err error) {
	status := http.StatusUnauthorized
	switch {
	case errors.Is(err, access.ErrNoLogin):
		status = http.StatusNotFound
	case errors.Is(err, access.ErrNoRole):
		status = http.StatusForbidden
	case errors.Is(err, access.ErrProvider):
		status = http.StatusBadGateway
	}
	if status != http.StatusNotFound {
		c.Log.Warn("a login failed", "who", name, "from", guard.Caller(r).From, "error", err)
		audit.Identify(r.Context(), name, "")
		guard.Because(w, err)
	}
	c.showPage(w, status, pageData{Error: err.Error(), Login: status != http.StatusNotFound})
}

func (c *Console) showPage(w http.ResponseWriter, status int, d pageData) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	if err := page.Execute(w, d); err != nil {
		c.Log.Debug("the page cannot be sent", "error", err)
	}
}
