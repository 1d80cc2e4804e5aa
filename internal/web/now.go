package web

import (
	"net/http"

	"quell/internal/role"
)

func (p *Web) nowPages() {
	p.page("GET /{$}", role.Viewer, p.showNow)
}

func (p *Web) showNow(r *http.Request) (any, error) {
	return view{Template: "now", Title: "Now", Data: p.Console.Status(r.Context())}, nil
}
