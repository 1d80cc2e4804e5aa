package console

import (
	"fmt"
	"net/http"

	"quell/internal/role"
)

func (c *Console) adviceRoutes(mux routes) {
	mux.handle("GET /api/v1/advice/list", role.Viewer, c.try(func(r *http.Request) (any, error) { return c.Adviser.List(r.Context()) }))
	mux.handle("GET /api/v1/advice/window", role.Viewer, c.try(func(r *http.Request) (any, error) { return c.Adviser.Window(r.Context()) }))
	mux.handle("GET /api/v1/advice/forecast", role.Viewer, c.try(func(r *http.Request) (any, error) { return c.Adviser.Forecast(r.Context()) }))
	mux.handle("GET /api/v1/advice/supply", role.Viewer, c.try(c.adviseSupply), "limit")
}

func (c *Console) adviseSupply(r *http.Request) (any, error) {
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	s, err := c.Adviser.Supply(r.Context(), int(limit))
	if s.MPxNHidden = hideMPxN(r); s.MPxNHidden {
		for i := range s.Asks {
			s.Asks[i].MPxN = ""
		}
	} else if n := len(s.Asks); err == nil && n > 0 {
		err = c.lookedUp(r, fmt.Sprintf("entries %d to %d", s.Asks[0].Entry, s.Asks[n-1].Entry))
	}
	return s, err
}
