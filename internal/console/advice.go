package console

import (
	"fmt"
	"net/http"

	"quell/internal/guard"
	"quell/internal/role"
)

func (c *Console) adviceRoutes(mux guard.Endpoints) {
	mux.Handle("GET /api/v1/advice/list", role.Viewer, c.try(func(r *http.Request) (any, error) { return c.Adviser.List(r.Context()) }))
	mux.Handle("GET /api/v1/advice/window", role.Viewer, c.try(func(r *http.Request) (any, error) { return c.Adviser.Window(r.Context()) }))
	mux.Handle("GET /api/v1/advice/forecast", role.Viewer, c.try(func(r *http.Request) (any, error) { return c.Adviser.Forecast(r.Context()) }))
	mux.Handle("GET /api/v1/advice/supply", role.Viewer, c.try(c.adviseSupply), "limit")
}

func (c *Console) adviseSupply(r *http.Request) (any, error) {
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	s, err := c.Adviser.Supply(r.Context(), int(limit))
	if s.MPxNHidden = guard.HideMPxN(r); s.MPxNHidden {
		for i := range s.Asks {
			s.Asks[i].MPxN = ""
		}
	} else if n := len(s.Asks); err == nil && n > 0 {
		err = c.Guard.LookedUp(r, fmt.Sprintf("entries %d to %d", s.Asks[0].Entry, s.Asks[n-1].Entry))
	}
	return s, err
}
