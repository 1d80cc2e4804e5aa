package operator

import (
	"context"

	"quell/internal/console"
)

// LoginLink asks for a link with which a browser begins a session with this client's role.
func (c *Client) LoginLink(ctx context.Context) (out console.LoginLink, err error) {
	return out, c.call(ctx, "POST", "/api/v1/login-links", nil, "", nil, &out)
}
