package operator

import (
	"context"
	"net/url"
	"strconv"

	"quell/internal/adviser"
)

// AdviseList returns advice on the list of meters.
func (c *Client) AdviseList(ctx context.Context) (out adviser.List, err error) {
	return out, c.call(ctx, "GET", "/api/v1/advice/list", nil, "", nil, &out)
}

// AdviseWindow returns advice on the windows of models.
func (c *Client) AdviseWindow(ctx context.Context) (out adviser.Windows, err error) {
	return out, c.call(ctx, "GET", "/api/v1/advice/window", nil, "", nil, &out)
}

// Forecast returns what AD1s are to be expected.
func (c *Client) Forecast(ctx context.Context) (out adviser.Forecast, err error) {
	return out, c.call(ctx, "GET", "/api/v1/advice/forecast", nil, "", nil, &out)
}

// AdviseSupply returns up to limit homes whose supply status should be read.
func (c *Client) AdviseSupply(ctx context.Context, limit int) (out adviser.Supply, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	return out, c.call(ctx, "GET", "/api/v1/advice/supply", q, "", nil, &out)
}
