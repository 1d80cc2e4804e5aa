package web

import (
	"bytes"
	"context"
	"net/http"

	"quell/internal/overview"
	"quell/internal/role"
)

func (p *Web) nowPages() {
	now := overview.New(p.Console)
	p.page("GET /{$}", role.Viewer, func(r *http.Request) (any, error) {
		return view{Template: "now", Title: "Now", Data: now.Get(r.Context())}, nil
	})
	p.endpoints.HandleLong("GET /live/now", role.Viewer, func(w http.ResponseWriter, r *http.Request) {
		p.stream(w, r, overview.Every, func(ctx context.Context) ([]byte, error) {
			var b bytes.Buffer
			err := p.templates["now"].ExecuteTemplate(&b, "live", now.Get(ctx))
			return b.Bytes(), err
		})
	})
}
