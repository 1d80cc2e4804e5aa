package console

import (
	"net/http"

	"quell/internal/access"
	"quell/internal/guard"
)

// LoginLink is the answer to POST /api/v1/login-links. Nothing else ever shows the code.
type LoginLink struct {
	access.Link
	// Path is the page that takes the code, which follows it after a "#".
	Path string `json:"path"`
}

// LoginPath is the page that takes the code of a link.
const LoginPath = "/login/link"

func (c *Console) askLink(r *http.Request) (any, error) {
	link, err := c.Guard.Access.Ask(guard.Caller(r))
	if err != nil {
		return nil, err
	}
	c.Log.Info("a link to log in was asked for", "who", guard.Caller(r).Name, "role", link.Role)
	return LoginLink{link, LoginPath}, nil
}
