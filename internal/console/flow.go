package console

import (
	"net/http"
	"time"

	"quell/internal/flow"
	"quell/internal/guard"
	"quell/internal/role"
)

func (c *Console) flowRoutes(mux guard.Endpoints) {
	mux.Handle("GET /api/v1/flow", role.Viewer, c.try(c.flow), "from", "to", "minutes")
}

// flow answers with a flow.Result: of the last day, unless from or to say otherwise.
func (c *Console) flow(r *http.Request) (any, error) {
	to, err := instant(r, "to", c.Motorway.Now())
	if err != nil {
		return nil, err
	}
	from, err := instant(r, "from", to.Truncate(time.Minute).Add(-flow.MaxMinutes+time.Minute))
	if err != nil {
		return nil, err
	}
	return c.Flow.Audit(r.Context(), flow.Query{From: from, To: to, Minutes: r.URL.Query().Get("minutes") == "true"})
}
