package console

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"quell/internal/flow"
	"quell/internal/role"
)

func (c *Console) flowRoutes(mux routes) {
	mux.handle("GET /api/v1/flow", role.Viewer, c.try(c.flow), "from", "to", "minutes")
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

// Flow returns what became of the AD1s that were received in [from, to). A zero time is the default:
// now, and a day before.
func (c *Client) Flow(ctx context.Context, query flow.Query) (out flow.Result, err error) {
	q := url.Values{}
	for name, t := range map[string]time.Time{"from": query.From, "to": query.To} {
		if !t.IsZero() {
			q.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	if query.Minutes {
		q.Set("minutes", "true")
	}
	return out, c.call(ctx, "GET", "/api/v1/flow", q, "", nil, &out)
}
