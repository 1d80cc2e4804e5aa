package console

import (
	"net/http"

	"quell/internal/guard"
	"quell/internal/role"
)

func (c *Console) auditRoutes(mux guard.Endpoints) {
	mux.Handle("GET /api/v1/audit", role.Operator, c.try(c.listAudit), "after", "limit")
}

// listAudit answers with an audit.Page.
func (c *Console) listAudit(r *http.Request) (any, error) {
	after, err := number(r, "after", 0, 0, 1<<62)
	if err != nil {
		return nil, err
	}
	limit, err := number(r, "limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	return c.Audit.Page(r.Context(), after, int(limit))
}

// changes are the endpoints that change something.
var changes = map[string]guard.Change{
	"PUT /api/v1/switch":             {What: "switch", Recorded: true},
	"POST /api/v1/inventory":         {What: "inventory", Recorded: true},
	"POST /api/v1/devices":           {What: "devices", Recorded: true},
	"POST /api/v1/windows/close":     {What: "windows", Recorded: true},
	"POST /api/v1/reports/resume":    {What: "reports", Recorded: true},
	"POST /api/v1/releases":          {What: "release", Recorded: true},
	"POST /api/v1/reports":           {What: "report-cut"},
	"POST /api/v1/reports/{no}/send": {What: "report-send"},
	"POST /api/v1/tokens":            {What: "token", Recorded: true},
	"POST /api/v1/login-links":       {What: "login-link"},
	"DELETE /api/v1/tokens/{id}":     {What: "token", Recorded: true},
}
